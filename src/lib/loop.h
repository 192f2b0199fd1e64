/* What every shell of a core needs from its loop: the two clocks, one timer that follows a core's
 * deadline, and a way to be stopped from signal handlers and other threads. */
#ifndef BK_LIB_LOOP_H
#define BK_LIB_LOOP_H

#include <event2/event.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"

/* Samples both clocks. The wall clock counts as trusted (unix_s not 0) from 2024 on. */
struct bk_now bk_now_sample(void);

/* Arms `timer` for `deadline`; BK_TIME_NEVER disarms it. */
void bk_timer_follow(struct event *timer, const struct bk_now *now, bk_time deadline);

/* A stop that sticks: once raised, every loop that runs with it ends. */
struct bk_stop {
    int fd; /* eventfd */
    struct event *event;
};
BK_NODISCARD enum bk_err bk_stop_init(struct bk_stop *stop, struct event_base *base);
void bk_stop_raise(const struct bk_stop *stop); /* async-signal-safe */
bool bk_stop_raised(const struct bk_stop *stop);
void bk_stop_fini(struct bk_stop *stop);

#endif
