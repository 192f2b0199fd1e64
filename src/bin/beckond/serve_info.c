/* INFO: what is told of the asker's connection, of relays and of further addresses. Who may ask, and how often, has been
 * decided by the core. And the relay's place in this server. */
#include <errno.h>
#include <string.h>

#include "bin/beckond/serve_private.h"
#include "bin/beckond/state.h"
#include "net/clock.h"
#include "seal/seal.h"
#include "wire/info.h"

enum { ANSWER_BYTES = 2048 };

void bk_serve_send_info(struct bk_serve *s, const struct bk_server_action *action)
{
    struct bk_serve_stream *stream = bk_serve_stream_find(s, action->info.stream);
    struct bk_info info = {.observed = action->info.from};
    struct bk_relay_offer offer;
    uint8_t buf[ANSWER_BYTES];
    struct bk_slice answer;
    struct bk_addr local;

    if (stream == NULL || stream->closing) {
        return;
    }
    local = bk_conn_local(stream->conn);
    info.n_bindings = bk_serve_bindings(s, &local, &info.observed, info.bindings);
    bk_relay_offer(s->relay, action->info.user, bk_clock_now().unix_s, &offer, &info);
    if (bk_info_answer_write(buf, sizeof buf, action->info.txid, &info, &answer) == BK_OK) {
        enum bk_err ignored = bk_conn_send(stream->conn, answer);
        (void)ignored;
    }
    bk_wipe(&offer, sizeof offer);
    bk_wipe(buf, sizeof buf);
}

/* ---- the relay ---- */

/* Credentials outlive a revocation: whoever makes use of them must still be enrolled. */
static bool may_use(void *ctx, struct bk_slice user)
{
    struct bk_serve *s = ctx;
    enum bk_err err = bk_store_enrolled(s->store, user);

    if (err != BK_OK && err != BK_E_NOTFOUND) {
        bk_serve_store_trouble(s);
    }
    return err == BK_OK;
}

enum beckon_status bk_serve_open_relay(struct bk_serve *s)
{
    const struct bk_relay_start start = {
        .base = s->base,
        .config = &s->config,
        .dir = s->dir,
        .max_connections = s->max_relayed,
        .may_use = may_use,
        .ctx = s,
    };
    enum bk_err err = bk_relay_new(&start, &s->relay);

    if (err == BK_E_NOMEM) {
        bk_say("out of memory; free some and start again");
        return BECKON_FAILED;
    }
    if (err != BK_OK) {
        bk_say("%s in %s: %s; delete it, and a new one is made", BK_STATE_RELAY_SECRET, s->dir,
               err == BK_E_IO ? strerror(errno) : bk_err_text(err));
        return err == BK_E_MALFORMED ? BECKON_BAD_CONFIG : BECKON_FAILED;
    }
    return BECKON_OK;
}

static bool first_plain(void *ctx, int fd, const struct bk_addr *from)
{
    struct bk_serve *s = ctx;

    return s->relay != NULL && bk_relay_take(s->relay, fd, from);
}

static bool first_named(void *ctx, int fd, const struct bk_addr *from, const char *server_name)
{
    struct bk_serve *s = ctx;

    return s->relay != NULL && bk_relay_take_named(s->relay, fd, from, server_name);
}

struct bk_listener_first bk_serve_first(struct bk_serve *s)
{
    return (struct bk_listener_first){.ctx = s, .plain = first_plain, .named = first_named};
}
