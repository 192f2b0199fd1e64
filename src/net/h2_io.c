/* TLS under the session: from SSL_read to nghttp2 and from nghttp2 to SSL_write. Knows no stream.
 *
 * Data frames come as one run of head and payload in `stage` and are encrypted in one SSL_write; small frames are
 * gathered in `plain` first. Encrypted bytes wait in the BIO and leave once a turn, or when it is full. While the
 * socket is blocked no data frame is made: nothing piles up, and what is urgent waits behind one frame at most.
 * The end of a stream is never concluded from what happens here. */
#include "net/h2_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SMALL_DATA_BYTES = 4 * 1024,
    UNSENT_MS = 4,
    UNSENT_MAX_BYTES = 2 * 1024 * 1024,
    UNSENT_EVERY_MS = 20,
};

/* ---- Reading ---- */

static bool is_certificate_alert(int alert)
{
    return (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) ||
           alert == SSL_AD_UNKNOWN_CA || alert == SSL_AD_ACCESS_DENIED ||
           alert == SSL_AD_CERTIFICATE_REQUIRED;
}

/* SSL_read failed for good. */
static void lose_by_tls(struct bk_h2 *h)
{
    unsigned long e = ERR_peek_last_error();
    int reason = ERR_GET_REASON(e);
    bool by_ssl = ERR_GET_LIB(e) == ERR_LIB_SSL;
    int error = h->bio.error;
    bool eof = h->bio.eof;
    ERR_clear_error();
    if (error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH) {
        bk_h2_lose(h, BK_E_TIMEOUT, "the peer is no longer reached");
    } else if (error != 0) {
        bk_h2_lose(h, BK_E_CLOSED, "the connection was reset");
    } else if (eof) {
        bk_h2_lose(h, BK_E_CLOSED, "the connection was cut");
    } else if (by_ssl && reason > SSL_AD_REASON_OFFSET) {
        bool refused = is_certificate_alert(reason - SSL_AD_REASON_OFFSET);
        bk_h2_lose(h, refused ? BK_E_AUTH : BK_E_MALFORMED,
                   refused ? "the peer refused our certificate" : "the peer ended TLS by an alert");
    } else {
        bk_h2_lose(h, BK_E_MALFORMED, "broken TLS");
    }
}

/* Up to a buffer full. False: no more for now, or ever (then the failure is in *ssl_error). */
static bool fill(struct bk_h2 *h, size_t *n, int *ssl_error)
{
    *n = 0;
    *ssl_error = SSL_ERROR_NONE;
    ERR_clear_error();
    while (*n < sizeof h->read_buf) { /* successes leave no errors behind */
        int got = SSL_read(h->ssl, h->read_buf + *n, (int)(sizeof h->read_buf - *n));
        if (got <= 0) {
            int why = SSL_get_error(h->ssl, got);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
                *ssl_error = why;
            }
            return false;
        }
        *n += (size_t)got;
    }
    return true;
}

/* close_notify: the end of the connection, and no stream may be open by then. */
static void peer_ended(struct bk_h2 *h)
{
    bool agreed = h->ng == NULL || nghttp2_session_want_read(h->ng) == 0;
    bk_h2_lose(h, agreed ? BK_OK : BK_E_CLOSED,
               agreed ? "ended" : "the peer closed the connection without ending the session");
}

static void feed(struct bk_h2 *h, size_t n)
{
    if (h->ng == NULL) { /* closing: what still comes is of no interest */
        h->closing_in += n;
        if (h->closing_in > H2_CLOSING_IN_BYTES) {
            bk_h2_lose(h, h->why, "ended");
        }
        return;
    }
    ssize_t used = nghttp2_session_mem_recv(h->ng, h->read_buf, n);
    if (used < 0 && h->guard.fault != NULL) {
        bk_h2_lose(h, BK_E_RANGE, h->guard.fault);
    } else if (used == NGHTTP2_ERR_FLOODED) {
        bk_h2_lose(h, BK_E_RANGE, "the peer floods us with frames that carry nothing");
    } else if (used == NGHTTP2_ERR_NOMEM || used == NGHTTP2_ERR_CALLBACK_FAILURE) {
        bk_h2_lose(h, BK_E_NOMEM, "out of memory");
    } else if (used < 0) {
        bk_h2_lose(h, BK_E_MALFORMED,
                   used == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? "the peer does not speak HTTP/2"
                                                        : "the peer broke the rules of HTTP/2");
    } else {
        bk_h2_guard_judge(h);
    }
    if (h->sweep) {
        bk_h2_sweep(
            h); /* streams that were opened and broken off hold nothing until the turn's end */
    }
}

void bk_h2_read(struct bk_h2 *h)
{
    uint64_t before = h->bio.received;
    bool more = true;
    for (size_t taken = 0; more && h->phase != H2_CLOSED;) {
        if (taken >= H2_TURN_BYTES) {
            h->again = true;
            break;
        }
        size_t n;
        int error;
        more = fill(h, &n, &error);
        taken += n;
        if (n > 0) {
            feed(h, n);
            taken += bk_h2_guard_effort(h);
        }
        if (h->phase == H2_CLOSED) {
            break;
        }
        if (bk_h2_guard_chatty(h)) {
            bk_h2_lose(h, BK_E_RANGE, "the peer talks within TLS without end");
        } else if (error == SSL_ERROR_ZERO_RETURN) {
            peer_ended(h);
        } else if (error != SSL_ERROR_NONE) {
            lose_by_tls(h);
        }
    }
    h->readable = more;
    if (h->bio.received != before) {
        h->heard = h->now;
    }
}

/* ---- Writing ---- */

/* What waits in the kernel delays all that comes after it, and keeps the path busy while we are not looking: so it may be
 * what leaves in a few milliseconds, however fast the path is. */
static void fit_unsent(struct bk_h2 *h)
{
    bk_time passed_ms = (h->now - h->unsent_at) / BK_MS;
    if (passed_ms < UNSENT_EVERY_MS) {
        return;
    }
    uint64_t fit = (h->bio.sent - h->unsent_from) * UNSENT_MS / passed_ms;
    fit = fit < H2_UNSENT_BYTES ? H2_UNSENT_BYTES : fit > UNSENT_MAX_BYTES ? UNSENT_MAX_BYTES : fit;
    h->unsent_at = h->now;
    h->unsent_from = h->bio.sent;
    if (fit > h->unsent + h->unsent / 4 || fit < h->unsent / 2) {
        int bytes = (int)fit;
        h->unsent = fit;
        (void)setsockopt(h->bio.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
    }
}

/* `more`: there is a frame at hand that leaves in this turn. */
static void flush(struct bk_h2 *h, bool more)
{
    enum bk_err err = bk_h2_bio_flush(&h->bio, more);
    if (err == BK_E_TRUNCATED) {
        fit_unsent(h);
        h->blocked = event_add(&h->ev_write, NULL) == 0;
        h->write_failed = !h->blocked;
        if (h->phase == H2_OPEN && !evtimer_pending(&h->ev_closing, NULL)) {
            const struct timeval limit = bk_timeval_ms(h->config.stall_ms);
            h->closing_left = 0;
            (void)event_add(&h->ev_closing, &limit);
        }
    } else if (err != BK_OK) {
        h->write_failed = true;
    }
    if (h->write_failed) {
        h->bio.out_len = 0;
    }
}

static bool room(struct bk_h2 *h, size_t n)
{
    if (bk_h2_bio_room(&h->bio, n)) {
        return true;
    }
    if (!h->blocked && !h->write_failed) {
        flush(h, true);
    }
    return bk_h2_bio_room(&h->bio, n);
}

/* There is room (asserted by the BIO never asking to retry). */
static int encrypt(struct bk_h2 *h, const uint8_t *bytes, size_t n)
{
    ERR_clear_error();
    int done = SSL_write(h->ssl, bytes, (int)n);
    return done == (int)n ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int encrypt_plain(struct bk_h2 *h)
{
    if (h->plain_n == 0) {
        return 0;
    }
    if (!room(h, h->plain_n)) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    size_t n = h->plain_n;
    h->plain_n = 0;
    return encrypt(h, h->plain, n);
}

int bk_h2_put_small(struct bk_h2 *h, const uint8_t *bytes, size_t n)
{
    if (h->phase == H2_EARLY && n > BK_H2_EARLY_BYTES - h->plain_n) {
        return NGHTTP2_ERR_WOULDBLOCK; /* the rest goes when there is a connection */
    }
    if (n > sizeof h->plain - h->plain_n) {
        int err = encrypt_plain(h);
        if (err != 0) {
            return err;
        }
    }
    if (n > sizeof h->plain) {
        return room(h, n) ? encrypt(h, bytes, n) : NGHTTP2_ERR_WOULDBLOCK;
    }
    memcpy(h->plain + h->plain_n, bytes, n);
    h->plain_n += n;
    return 0;
}

int bk_h2_put_stage(struct bk_h2 *h, const uint8_t *head, size_t n)
{
    assert(h->staged == n);
    if (h->turn_out >= H2_TURN_BYTES) {
        h->again = true;
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    memcpy(h->stage, head, H2_FRAME_HEAD_BYTES);
    size_t whole = H2_FRAME_HEAD_BYTES + n;
    int err;
    if (h->blocked || !room(h, h->plain_n + whole)) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    if (whole <= SMALL_DATA_BYTES) {
        err = bk_h2_put_small(h, h->stage, whole);
    } else {
        err = encrypt_plain(h);
        err = err != 0 ? err : encrypt(h, h->stage, whole);
    }
    if (err == 0) {
        h->staged = 0;
        h->turn_out += whole;
    }
    return err;
}

void bk_h2_write(struct bk_h2 *h)
{
    h->turn_out = 0;
    int err = nghttp2_session_send(h->ng);
    if (err == 0) {
        err = encrypt_plain(h);
    }
    if (err != 0 && err != NGHTTP2_ERR_WOULDBLOCK) {
        bk_h2_lose(h, err == NGHTTP2_ERR_NOMEM ? BK_E_NOMEM : BK_E_IO, "sending failed");
        return;
    }
    if (!h->blocked && !h->write_failed) {
        flush(h, false);
    }
    if (h->write_failed) {
        bk_h2_read(h); /* the peer may have said why */
        bk_h2_lose(h, BK_E_CLOSED, "the connection was cut");
    }
}

/* ---- The end ---- */

void bk_h2_begin_closing(struct bk_h2 *h)
{
    const struct timeval limit = bk_timeval_ms(BK_H2_CLOSING_MS);
    h->phase = H2_CLOSING;
    h->closing_left = 0;
    ERR_clear_error();
    (void)SSL_shutdown(h->ssl);
    if (event_add(&h->ev_closing, &limit) != 0) {
        bk_h2_lose(h, BK_E_NOMEM, "out of memory");
    }
}

void bk_h2_closing_turn(struct bk_h2 *h)
{
    if (!h->blocked && !h->write_failed) {
        flush(h, false);
    }
    if (!h->half_closed && h->bio.out_len == 0) {
        h->half_closed = true;
        (void)shutdown(h->bio.fd, SHUT_WR);
    }
    if (h->readable) {
        bk_h2_read(h);
    }
}

void bk_h2_close_socket(struct bk_h2 *h)
{
    if (h->ssl == NULL) {
        return;
    }
    event_del(&h->ev_read);
    event_del(&h->ev_write);
    event_del(&h->ev_idle);
    event_del(&h->ev_closing);
    SSL_free(h->ssl);
    h->ssl = NULL;
    close(h->bio.fd);
    h->bio.fd = -1;
}
