/* Two TCP connections joined: what comes on one goes out on the other, both ways, through pipes (splice(2)): no byte is
 * looked at or copied by us.
 *
 * An end of data is passed on as such (shutdown), after all that came before it; the other way goes on. A reset is passed on
 * as a reset. Whoever does not read is not sent to: nothing is read for him beyond what a pipe holds. */
#ifndef BK_NET_SPLICE_H
#define BK_NET_SPLICE_H

#include <event2/event.h>

#include "base/clock.h"
#include "base/err.h"

enum {
    BK_SPLICE_RATES_MAX = 2,
    BK_PIPES_KEPT_MAX = 32,
};

/* Pipes at hand: only pairs that have bytes under way hold one, so that silent ones cost no descriptors. */
struct bk_pipes {
    int fds[BK_PIPES_KEPT_MAX][2];
    unsigned n;
};
void bk_pipes_close(struct bk_pipes *pipes);

/* A limit that several pairs share. Zeroes: none. */
struct bk_byte_rate {
    uint64_t per_s; /* 0: no limit; a quarter of it may come at once */
    uint64_t left;
    bk_time at;
};

struct bk_splice;

struct bk_splice_config {
    struct bk_pipes *pipes;                          /* shared, outlives the pair */
    struct bk_byte_rate *rates[BK_SPLICE_RATES_MAX]; /* or NULL; they outlive the pair */
    uint64_t *moved[2]; /* counters to add to: bytes from a to b, from b to a; or NULL */
    uint32_t idle_ms;   /* nothing moved for one to two times as long: the pair ends; 0: never */
    uint32_t dead_ms;   /* TCP asks silent peers and gives up after so long; 0: never */
    void *ctx;
    /* Both descriptors are closed. Last; never from inside bk_splice_new. May free the pair, and must at some time. */
    void (*ended)(void *ctx, struct bk_splice *pair);
};

/* The descriptors (non-blocking) are the pair's from now on, also on failure. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_splice_new(struct event_base *base,
                                       const struct bk_splice_config *config, int a, int b,
                                       struct bk_splice **out);
/* Without `ended`; connections that still stand are reset. NULL is fine. */
void bk_splice_free(struct bk_splice *s);

#endif
