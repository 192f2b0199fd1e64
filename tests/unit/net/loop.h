/* An event loop for tests, and patience with it: a test that takes longer than PATIENCE_S has failed. */
#ifndef BK_TEST_NET_LOOP_H
#define BK_TEST_NET_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

#include <cmocka.h>
#include <event2/event.h>

enum {
    PATIENCE_S = 20,
};

struct patience {
    struct event *timer;
    bool late;
};

static inline void patience_on_end(evutil_socket_t fd, short what, void *ctx)
{
    struct patience *p = ctx;
    (void)fd, (void)what;
    p->late = true;
    event_base_loopbreak(event_get_base(p->timer));
}

/* From now on. */
static inline void patience_begin(struct patience *p)
{
    const struct timeval tv = {.tv_sec = PATIENCE_S};
    assert_int_equal(evtimer_add(p->timer, &tv), 0);
}

/* A loop; patience with it begins now. `p` stays where it is. */
static inline struct event_base *loop_new(struct patience *p)
{
    struct event_base *base = event_base_new();
    assert_non_null(base);
    *p = (struct patience){.timer = evtimer_new(base, patience_on_end, p)};
    patience_begin(p);
    return base;
}

static inline void loop_free(struct event_base *base, struct patience *p)
{
    event_free(p->timer);
    event_base_free(base);
}

/* Runs the loop of `w` (its members `base` and `patience`) until the condition holds. */
#define WAIT_FOR(w, condition)                                                                     \
    do {                                                                                           \
        while (!(condition)) {                                                                     \
            assert_false((w)->patience.late);                                                      \
            assert_int_equal(event_base_loop((w)->base, EVLOOP_ONCE), 0);                          \
        }                                                                                          \
    } while (0)

#endif
