/* Signs of life: see lib/pulse.h. No clock, no session here. */
#include "lib/pulse.h"

static uint64_t asked_for_ms(const struct bk_pulse *p, bk_time now)
{
    return (now - p->asked_at) / BK_MS;
}

static bool answered(const struct bk_pulse *p, bk_time now)
{
    return p->asked && p->quiet_ms < asked_for_ms(p, now);
}

static bool silent(const struct bk_pulse *p, bk_time now)
{
    return p->asked && !answered(p, now) && asked_for_ms(p, now) >= BK_PULSE_WAIT_MS;
}

static void ask_all(struct bk_pulse *all, size_t n, bk_time now)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i].in_use && !all[i].asked) {
            all[i].asked = true;
            all[i].asked_at = now;
            all[i].ask = true;
        }
    }
}

static void forget(struct bk_pulse *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        all[i].asked = false;
    }
}

/* Has one that was asked answered; and have all that did not had their time? */
static void end_silent(struct bk_pulse *all, size_t n, bk_time now)
{
    bool lives = false, due = false;

    for (size_t i = 0; i < n; i++) {
        lives = lives || (all[i].in_use && answered(&all[i], now));
        due = due || (all[i].in_use && silent(&all[i], now));
    }
    for (size_t i = 0; lives && i < n; i++) {
        all[i].end = all[i].in_use && all[i].watched && silent(&all[i], now);
    }
    if (due && !lives) { /* all anew: when one answers, the others are to have had as long as it */
        forget(all, n);
        ask_all(all, n, now);
    }
}

/* In ms, until the first of those watched has been silent for so long; 0: one has. */
static uint32_t suspicion_ms(const struct bk_pulse *all, size_t n, uint32_t after_ms)
{
    uint32_t left = after_ms;

    for (size_t i = 0; i < n; i++) {
        if (!all[i].in_use || !all[i].watched) {
            continue;
        }
        if (all[i].quiet_ms >= after_ms) {
            return 0;
        }
        if (after_ms - all[i].quiet_ms < left) {
            left = (uint32_t)(after_ms - all[i].quiet_ms);
        }
    }
    return left;
}

uint32_t bk_pulse_look(struct bk_pulse *all, size_t n, uint32_t after_ms, bk_time now)
{
    uint32_t left = suspicion_ms(all, n, after_ms);
    size_t in_use = 0;

    for (size_t i = 0; i < n; i++) {
        all[i].ask = all[i].end = false;
        in_use += all[i].in_use;
    }
    if (in_use < 2 || left > 0) {
        forget(all, n);
        return in_use < 2 ? 0 : left;
    }
    ask_all(all, n, now);
    end_silent(all, n, now);
    return BK_PULSE_TICK_MS;
}
