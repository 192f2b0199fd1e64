/* The idle part's second UDP socket, which is there only while core/agent/lifetime.h measures the NAT. */
#include <string.h>

#include "lib/agent_private.h"
#include "lib/fail.h"
#include "lib/random_kernel.h"

static void carry_out(struct beckon_agent *a, const struct bk_lifetime_out *out);

static void tell(struct beckon_agent *a, const struct bk_lifetime_event *event)
{
    struct bk_lifetime_out out;
    struct bk_now now = bk_now_sample();

    bk_lifetime_input(&a->lifetime.core, &now, &a->registration, event, &out);
    carry_out(a, &out);
}

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    struct bk_lifetime_event event = {.type = BK_LIFETIME_DATAGRAM, .addr = *from, .bytes = bytes};

    tell(ctx, &event);
}

static void send_second(struct beckon_agent *a, const struct bk_lifetime_action *action)
{
    struct bk_addr any = {.port = 0};
    struct bk_udp_callbacks on = {.ctx = a, .received = on_datagram};

    if (a->lifetime.udp == NULL &&
        bk_udp_new(a->base, &any, false, true, &on, &a->lifetime.udp) != BK_OK) {
        a->lifetime.udp = NULL; /* as if it were lost */
        return;
    }
    (void)bk_udp_send(a->lifetime.udp, &action->addr, action->bytes);
}

static void kept(struct beckon_agent *a, uint32_t kept_s)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_KEPT, .kept_s = kept_s};

    bk_agent_tell(a, &event);
    bk_log(a->log, a->ctx, 1,
           "the NAT keeps silent mappings for %u s%s; a keepalive every %u s from now on",
           (unsigned)kept_s, kept_s == 0 ? " or an unknown time" : "",
           (unsigned)a->registration.interval_s);
}

static void carry_out(struct beckon_agent *a, const struct bk_lifetime_out *out)
{
    struct bk_now now = bk_now_sample();

    bk_timer_follow(a->lifetime.timer, &now, bk_lifetime_deadline(&a->lifetime.core));
    for (size_t i = 0; i < out->n; i++) {
        const struct bk_lifetime_action *action = &out->actions[i];

        switch (action->type) {
        case BK_LIFETIME_SEND_SECOND:
            send_second(a, action);
            break;
        case BK_LIFETIME_SEND_MAIN:
            (void)bk_udp_send(a->udp, &action->addr, action->bytes);
            break;
        case BK_LIFETIME_KEPT:
            kept(a, action->kept_s);
            break;
        case BK_LIFETIME_CLOSE:
            bk_udp_free(a->lifetime.udp);
            a->lifetime.udp = NULL;
            break;
        }
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_lifetime_out out;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    bk_lifetime_timer(&a->lifetime.core, &now, &a->registration, &out);
    carry_out(a, &out);
}

void bk_agent_lifetime_registered(struct beckon_agent *a, bool registered)
{
    struct bk_lifetime_event event = {.type =
                                          registered ? BK_LIFETIME_REGISTERED : BK_LIFETIME_LOST,
                                      .server = a->registration.server,
                                      .addr = a->observed};

    if (a->lifetime.timer != NULL) {
        tell(a, &event);
    }
}

enum bk_err bk_agent_lifetime_begin(struct beckon_agent *a)
{
    struct bk_random rng = bk_random_kernel();

    if (a->config.keepalive_s != 0) { /* as it is told to be */
        return BK_OK;
    }
    bk_lifetime_init(&a->lifetime.core, &rng);
    a->lifetime.timer = evtimer_new(a->base, on_timer, a);
    return a->lifetime.timer != NULL ? BK_OK : BK_E_NOMEM;
}

void bk_agent_lifetime_end(struct beckon_agent *a)
{
    bk_udp_free(a->lifetime.udp);
    if (a->lifetime.timer != NULL) {
        event_free(a->lifetime.timer);
    }
}
