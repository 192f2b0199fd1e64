/* Three UDP sockets and a timer for the core that asks. */
#include "lib/netcheck_udp.h"

#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "net/host.h"
#include "net/udp.h"
#include "seal/seal.h"

struct end {
    struct bk_netcheck_udp *owner;
    struct bk_udp *udp;
};

struct bk_netcheck_udp {
    bk_netcheck_udp_fn *done;
    void *ctx;
    struct event *timer;
    struct end ends[BK_BEHAVIOUR_SOCKETS];
    struct bk_behaviour core;
    struct bk_behaviour_out out;
    bool begun;
};

/* u may be gone afterwards. */
static void carry_out(struct bk_netcheck_udp *u)
{
    struct bk_now now = bk_now_sample();

    bk_timer_follow(u->timer, &now, bk_behaviour_deadline(&u->core));
    for (size_t i = 0; i < u->out.n; i++) {
        const struct bk_behaviour_action *a = &u->out.actions[i];

        if (a->type == BK_BEHAVIOUR_OVER) {
            u->done(u->ctx, &u->core.result, &u->core.config.local);
            return;
        }
        (void)bk_udp_send(u->ends[a->socket].udp, &a->to, a->bytes); /* lost: it is tried again */
    }
}

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    struct end *end = ctx;
    struct bk_netcheck_udp *u = end->owner;
    struct bk_now now = bk_now_sample();
    struct bk_behaviour_event event = {.type = BK_BEHAVIOUR_DATAGRAM,
                                       .socket = (enum bk_behaviour_socket)(end - u->ends),
                                       .from = *from,
                                       .bytes = bytes};

    bk_behaviour_input(&u->core, &now, &event, &u->out);
    carry_out(u);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_netcheck_udp *u = ctx;
    struct bk_now now = bk_now_sample();
    const struct bk_behaviour_event start = {.type = BK_BEHAVIOUR_START};

    (void)fd;
    (void)what;
    if (u->begun) {
        bk_behaviour_timer(&u->core, &now, &u->out);
    } else {
        u->begun = true;
        bk_behaviour_input(&u->core, &now, &start, &u->out);
    }
    carry_out(u);
}

enum bk_err bk_netcheck_udp_new(struct event_base *base, const struct bk_addr *addrs,
                                size_t n_addrs, bk_netcheck_udp_fn *done, void *ctx,
                                struct bk_netcheck_udp **out)
{
    struct bk_netcheck_udp *u = calloc(1, sizeof *u);
    struct bk_behaviour_config config = {.rng = bk_random_system(), .n_addrs = n_addrs};
    struct bk_addr any;
    enum bk_err err = BK_OK;

    *out = NULL;
    if (u == NULL) {
        return BK_E_NOMEM;
    }
    u->done = done;
    u->ctx = ctx;
    memcpy(config.addrs, addrs, n_addrs * sizeof addrs[0]);
    err = bk_host_source_toward(&addrs[0], &any);
    any.port = 0; /* bound to the one address: so it is known from where they send */
    for (size_t i = 0; i < BK_BEHAVIOUR_SOCKETS && err == BK_OK; i++) {
        struct bk_udp_callbacks on = {.ctx = &u->ends[i], .received = on_datagram};

        u->ends[i].owner = u;
        err = bk_udp_new(base, &any, false, true, &on, &u->ends[i].udp);
    }
    if (err == BK_OK) {
        config.local = bk_udp_local(u->ends[BK_BEHAVIOUR_MAIN].udp);
        bk_behaviour_init(&u->core, &config);
        u->timer = evtimer_new(base, on_timer, u);
        err = u->timer != NULL ? BK_OK : BK_E_NOMEM;
    }
    if (err != BK_OK) {
        bk_netcheck_udp_free(u);
        return err == BK_E_NOMEM ? err : BK_E_IO;
    }
    event_active(u->timer, EV_TIMEOUT, 0);
    *out = u;
    return BK_OK;
}

void bk_netcheck_udp_free(struct bk_netcheck_udp *u)
{
    if (u == NULL) {
        return;
    }
    for (size_t i = 0; i < BK_BEHAVIOUR_SOCKETS; i++) {
        if (u->ends[i].udp != NULL) {
            bk_udp_free(u->ends[i].udp);
        }
    }
    if (u->timer != NULL) {
        event_free(u->timer);
    }
    free(u);
}
