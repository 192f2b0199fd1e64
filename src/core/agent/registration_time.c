/* The time that servers tell with their answers: the only clock of a device that has none, and a second opinion where there
 * is one. Whose clock counts depends on what for:
 *
 *   freshness  bk_registration_unix_s     the host's; without one the server's, which never goes back
 *   an access  bk_registration_latest_s   whichever is later: no clock set back opens what has ended
 *   the rest   bk_registration_calendar_s the server's newest word where the two are far apart, so that what is signed is
 *                                         good by other people's clocks, and is so again once a server has been set right */
#include "core/agent/registration_private.h"

enum {
    SLOW_CLOCK_S = 10,      /* the server's clock may fall behind ours by so much, */
    SLOW_CLOCK_PART = 1000, /* and by such a part of the time since its first answer */
};

/* Never of the next century, nor older than what was believed before, nor much slower than our own time runs: a server
 * cannot stop the clock of a device that has no other. */
void bk_registration_take_time(struct bk_registration *r, bk_time now, uint64_t unix_s)
{
    if (unix_s >= BK_TIME_BELIEVED_BELOW_S) {
        return;
    }
    if (unix_s >= BK_TIME_BELIEVED_FROM_S) {
        r->told_unix_s = unix_s;
        r->told_at = now;
    }
    if (r->first_unix_s == 0) {
        if (unix_s < r->config.newest_unix_s) {
            return;
        }
        r->first_unix_s = unix_s;
        r->first_time_at = now;
    }
    uint64_t passed_s = (now - r->first_time_at) / BK_SECOND;
    uint64_t behind_s = passed_s / SLOW_CLOCK_PART + SLOW_CLOCK_S;
    if (unix_s >= r->server_unix_s && unix_s - r->first_unix_s + behind_s >= passed_s) {
        r->server_unix_s = unix_s;
        r->server_time_at = now;
    }
}

uint64_t bk_registration_unix_s(const struct bk_registration *r, const struct bk_now *now)
{
    if (now->unix_s != 0 || r->server_unix_s == 0) {
        return now->unix_s;
    }
    return r->server_unix_s + (now->mono - r->server_time_at) / BK_SECOND;
}

bool bk_registration_run_s(const struct bk_registration *r, const struct bk_now *now,
                           uint64_t *began_s, uint64_t *now_s)
{
    *began_s = r->first_unix_s;
    *now_s = r->first_unix_s + (now->mono - r->first_time_at) / BK_SECOND;
    return r->first_unix_s != 0;
}

uint64_t bk_registration_server_unix_s(const struct bk_registration *r)
{
    return r->server_unix_s;
}

/* 0: nothing has been told in this run. */
static uint64_t told(const struct bk_registration *r, const struct bk_now *now)
{
    return r->told_unix_s == 0 ? 0 : r->told_unix_s + (now->mono - r->told_at) / BK_SECOND;
}

uint64_t bk_registration_calendar_s(const struct bk_registration *r, const struct bk_now *now)
{
    uint64_t told_s = told(r, now);
    if (told_s == 0) {
        return bk_registration_unix_s(r, now);
    }
    return bk_clock_off(now->unix_s, told_s) ? told_s : now->unix_s;
}

uint64_t bk_registration_latest_s(const struct bk_registration *r, const struct bk_now *now)
{
    uint64_t told_s = told(r, now);
    return now->unix_s == 0 || now->unix_s > told_s ? bk_registration_unix_s(r, now) : told_s;
}
