/* The first bytes of HTTP/2 with our flight of the handshake: SETTINGS, and the CONNECT of the service that the sealed
 * request named. They go out before the device has proven itself, on one connection of a call ID and no more: the one that
 * would be picked if it stood.
 *
 * Which connection it was is noted in its SSL, so that it is known wherever that ends up, and its end is noticed however
 * it comes about. Invariants: nothing of the caller's own data is in them; a session that was begun so takes part in
 * nothing before its connection stands. */
#include <stdlib.h>
#include <string.h>

#include "lib/outgoing_private.h"
#include "lib/stream_text.h"

/* Belongs to the SSL. */
struct bk_outgoing_early {
    struct bk_outgoing *call; /* NULL: it is past */
    struct bk_outgoing_session *session;
};

static int early_index = -1;

/* That connection will not stand. This may be in the middle of anything: the core is told from the loop. */
static void lose(struct bk_outgoing_early *e)
{
    if (e != NULL && e->call != NULL) {
        e->call->early = NULL;
        event_active(e->call->early_lost, EV_TIMEOUT, 0);
        e->call = NULL;
    }
}

void bk_outgoing_early_lost(struct bk_conn *conn)
{
    SSL *ssl = bk_conn_borrow_ssl(conn);

    if (ssl != NULL) {
        lose(SSL_get_ex_data(ssl, early_index));
    }
}

/* The SSL goes, whatever became of it. */
static void on_freed(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    struct bk_outgoing_early *e = ptr;

    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    lose(e);
    free(e);
}

static void free_begun(struct bk_outgoing_session *s)
{
    bk_h2_free(s->early);
    *s = (struct bk_outgoing_session){0};
}

static void on_lost(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_outgoing *c = ctx;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < BK_OUTGOING_SESSIONS_MAX; i++) {
        struct bk_outgoing_session *s = &c->sessions[i];

        if (s->call != NULL && s->early != NULL && s->ssl == NULL &&
            (c->early == NULL || c->early->session != s)) {
            free_begun(s);
        }
    }
    bk_outgoing_say(c, "the connection that was to be used is lost");
    bk_outgoing_tell_type(c, BK_REQUESTER_EARLY_LOST);
}

enum beckon_status bk_outgoing_ready_early(struct bk_outgoing *c, struct beckon_error *error)
{
    if (early_index < 0) {
        early_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_freed);
    }
    c->early_lost = evtimer_new(c->client->base, on_lost, c);
    return early_index < 0 || c->early_lost == NULL ? bk_fail(error, BECKON_FAILED, "no memory")
                                                    : BECKON_OK;
}

/* Its HTTP/2, with the one stream. */
static bool begin(struct bk_outgoing_session *s)
{
    struct bk_outgoing *c = s->call;
    struct bk_h2_config config = bk_outgoing_h2_config(s);
    char authority[BK_AUTHORITY_BYTES];

    bk_authority(c->service, authority);
    if (bk_h2_new_early(c->client->base, &config, &s->early) != BK_OK) {
        s->early = NULL;
        return false;
    }
    return bk_h2_open_unjoined(s->early, authority, NULL, &s->early_stream) == BK_OK;
}

/* The note in the SSL. */
static bool note(struct bk_outgoing_session *s, SSL *ssl)
{
    struct bk_outgoing_early *e = calloc(1, sizeof *e);

    if (e == NULL || SSL_set_ex_data(ssl, early_index, e) != 1) {
        free(e);
        return false;
    }
    e->call = s->call;
    e->session = s;
    s->call->early = e;
    return true;
}

static bool wanted(const struct bk_outgoing *c, SSL *ssl, enum bk_candidate_kind kind)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    return c->on.early && c->service[0] != '\0' && c->expecting && !c->over && !c->ending &&
           c->early == NULL && name != NULL && strcmp(name, c->call_name) == 0 &&
           bk_outgoing_wants(c, kind) && !c->busy && bk_requester_may_be_early(c->core, kind);
}

struct bk_slice bk_outgoing_begin_early(struct bk_outgoing *c, struct bk_conn *conn,
                                        enum bk_candidate_kind kind)
{
    SSL *ssl = bk_conn_borrow_ssl(conn);
    struct bk_outgoing_session *s;
    struct bk_slice bytes;

    if (ssl == NULL || !wanted(c, ssl, kind)) {
        return BK_SLICE_EMPTY;
    }
    s = bk_outgoing_new_session(c);
    if (s == NULL) {
        return BK_SLICE_EMPTY;
    }
    s->kind = kind;
    bytes = begin(s) ? bk_h2_early(s->early) : BK_SLICE_EMPTY;
    if (bytes.n == 0 || !note(s, ssl)) {
        free_begun(s);
        return BK_SLICE_EMPTY;
    }
    bk_outgoing_tell_type(c, BK_REQUESTER_EARLY);
    return bytes;
}

struct bk_outgoing_session *bk_outgoing_early_session(struct bk_conn *conn, bool *lost)
{
    SSL *ssl = bk_conn_borrow_ssl(conn);
    struct bk_outgoing_early *e = SSL_get_ex_data(ssl, early_index);
    struct bk_outgoing_session *s = NULL;

    *lost = e != NULL && e->call == NULL;
    if (e != NULL && e->call != NULL) {
        s = e->session;
        e->call->early = NULL;
        (void)SSL_set_ex_data(ssl, early_index, NULL);
        free(e);
    }
    return s;
}

void bk_outgoing_drop_early(struct bk_outgoing *c)
{
    if (c->early != NULL) {
        free_begun(c->early->session);
        c->early->call = NULL; /* the rest is the SSL's */
        c->early = NULL;
    }
}

struct bk_h2_stream *bk_outgoing_take_early(struct bk_outgoing *c)
{
    struct bk_h2_stream *stream = NULL;

    if (c->preferred != NULL) {
        stream = c->preferred->early_stream;
        c->preferred->early_stream = NULL;
    }
    return stream;
}
