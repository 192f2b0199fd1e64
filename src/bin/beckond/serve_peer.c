/* Who is at the other end of a connection: what the certificate says, whether that one may come by this protocol
 * name, and whether the store still knows it. */
#include <string.h>

#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "seal/subject.h"
#include "wire/alpn.h"
#include "wire/stun.h"

/* Which certificate each protocol name wants; joining needs none and looks at none. */
static const struct way {
    const char *alpn;
    enum bk_server_purpose purpose;
    bool device, user;
    bool
        told; /* who is no longer enrolled hears so, in answer to the first request; others are closed */
} ways[] = {
    {BK_ALPN_REQUEST, BK_STREAM_PLAIN, false, true, true},
    {BK_ALPN_AGENT, BK_STREAM_PLAIN, true, false,
     false}, /* a device learns by REGISTER, or RENEW */
    {BK_ALPN_RENEW, BK_STREAM_RENEW, true, true, true},
    {BK_ALPN_WATCH, BK_STREAM_WATCH, true, false, true},
    {BK_ALPN_REGISTER, BK_STREAM_REGISTER, true, false, false},
    {BK_ALPN_JOIN, BK_STREAM_PLAIN, false, false, false},
};

static const struct way *way_of(const char *alpn)
{
    size_t n = sizeof ways / sizeof ways[0];

    for (size_t i = 0; i < n; i++) {
        if (strcmp(ways[i].alpn, alpn) == 0) {
            return &ways[i];
        }
    }
    return &ways[n - 1]; /* TLS agrees on no other names */
}

enum bk_server_purpose bk_serve_purpose(const char *alpn)
{
    return way_of(alpn)->purpose;
}

enum bk_err bk_serve_identify(struct bk_serve *s, const struct bk_tls_peer *peer,
                              struct bk_identity *who)
{
    const struct way *way = way_of(peer->alpn);

    memset(who, 0, sizeof *who);
    if (!way->device && !way->user) {
        return BK_OK;
    }
    if (!peer->certified || bk_subject_read(bk_slice_text(peer->uri), who) != BK_OK ||
        !((who->role == BK_ROLE_DEVICE && way->device) ||
          (who->role == BK_ROLE_USER && way->user))) {
        return BK_E_MALFORMED;
    }
    /* What was in a drawer for a year comes back; people join again. */
    if (peer->expired && who->role != BK_ROLE_DEVICE) {
        return BK_E_MALFORMED;
    }
    memcpy(who->key, peer->key, sizeof who->key);
    return bk_store_admit(s->store, who);
}

static const char *refusal(enum bk_err err, bool expired)
{
    switch ((int)err) {
    case BK_E_NOTFOUND:
        return "is not enrolled here";
    case BK_E_AUTH:
        return "has been replaced by a newer enrolment";
    case BK_E_EXPIRED:
        return "is revoked";
    case BK_E_MALFORMED:
        return expired ? "has a certificate that has expired"
                       : "shows no certificate of the role that it speaks for";
    default:
        return "cannot be checked: the store fails";
    }
}

void bk_serve_refuse(struct bk_serve *s, struct bk_serve_stream *stream,
                     const struct bk_tls_peer *peer, enum bk_err err)
{
    struct bk_addr from = bk_conn_remote(stream->conn);
    char text[BK_ADDR_TEXT_BYTES], who[4 * BK_SUBJECT_TEXT_BYTES];

    bk_addr_format(&from, text);
    bk_say_escape(bk_slice_text(peer->uri), who, sizeof who);
    bk_say_limited(&s->refused_log, bk_clock_now().mono, "%s from %s %s; refused",
                   who[0] == '\0' ? "a peer" : who, text, refusal(err, peer->expired));
    if (way_of(peer->alpn)->told && peer->certified && err != BK_E_MALFORMED) {
        bool gone = err == BK_E_NOTFOUND || err == BK_E_AUTH || err == BK_E_EXPIRED;
        stream->refuse = gone ? BK_CODE_FORBIDDEN : BK_CODE_OVERLOADED;
        bk_conn_set_idle(stream->conn, BK_SERVE_JOIN_IDLE_MS);
    } else {
        bk_serve_stream_close(stream);
    }
}

/* The one answer to somebody who is no longer enrolled. */
void bk_serve_answer_refused(struct bk_serve_stream *stream, struct bk_slice frame)
{
    uint8_t buf[128];
    struct bk_stun m;
    struct bk_slice answer;
    const char *reason = stream->refuse == BK_CODE_OVERLOADED ? "overloaded" : "revoked";

    if (bk_stun_read(frame, &m) == BK_OK && m.cls == BK_STUN_REQUEST &&
        bk_error_write(buf, sizeof buf, m.method, m.txid, stream->refuse, reason, &answer) ==
            BK_OK) {
        enum bk_err ignored = bk_conn_send(stream->conn, answer);
        (void)ignored;
    }
    bk_serve_stream_close(stream);
}
