/* One job's thread: finds the router, waits for the right to ask it, asks, keeps what it got alive, and gives it back.
 * Invariant: of the jobs of a group one at most holds anything in the router (`holder`). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "net/portmap_internal.h"

enum {
    RETRY_S = 5,     /* after a renewal that failed */
    RECHECK_S = 600, /* a lease without end is asked for again: the router may have been replaced */
    PREFER_MS =
        150, /* one that has found the router waits so long for those that are preferred to it */
    RANDOM_PORT_FIRST = 20000,
    RANDOM_PORTS = 40000,
    EPOCH_SLACK_S = 2, /* RFC 6887, 8.5 */
};

static const struct portmap_protocol *protocol_of(const struct portmap_job *job)
{
    return bk_portmap_protocols[job->index];
}

/* ---- For the protocols ---- */

bool bk_portmap_stopping(struct portmap_job *job)
{
    pthread_mutex_lock(&job->shared->lock);
    bool stop = job->shared->stop[protocol_of(job)->group];
    pthread_mutex_unlock(&job->shared->lock);
    return stop;
}

void bk_portmap_say(struct portmap_job *job, const char *reason)
{
    (void)snprintf(job->reason, sizeof job->reason, "%s", reason);
}

bool bk_portmap_take_address(struct portmap_job *job, const struct bk_addr *addr)
{
    job->outer = *addr;
    job->outer.port = 0;
    job->has_outer = true;
    if (bk_addr_scope(addr) != BK_SCOPE_GLOBAL) {
        bk_portmap_say(job, "router has no public address");
        return false;
    }
    return true;
}

void bk_portmap_take_epoch(struct portmap_job *job, uint32_t server_s)
{
    struct portmap_epoch *e = &job->epoch;
    bk_time now = bk_clock_mono();
    if (e->known) {
        uint64_t client = (now - e->at) / BK_SECOND;
        uint64_t server = server_s - (uint64_t)e->server_s;
        if ((uint64_t)server_s + 1 < e->server_s) {
            job->reset = true;
        } else if (server_s >= e->server_s && (client + EPOCH_SLACK_S < server - server / 16 ||
                                               server + EPOCH_SLACK_S < client - client / 16)) {
            job->reset = true;
        }
    }
    *e = (struct portmap_epoch){true, server_s, now};
}

void bk_portmap_random(uint8_t *out, size_t n)
{
    ssize_t got = getrandom(out, n, GRND_NONBLOCK);
    if (got < (ssize_t)n) { /* early in a boot; what has to be unlike others' is, by the clock */
        bk_time now = bk_clock_mono();
        memset(out, 0, n);
        memcpy(out, &now, n < sizeof now ? n : sizeof now);
    }
}

uint16_t bk_portmap_random_port(void)
{
    uint8_t r[2];
    bk_portmap_random(r, sizeof r);
    return (uint16_t)(RANDOM_PORT_FIRST + ((unsigned)r[0] << 8 | r[1]) % RANDOM_PORTS);
}

/* ---- Telling ---- */

static void wake_owner(struct portmap_shared *sh)
{
    const uint64_t one = 1;
    (void)!write(sh->notify_fd, &one, sizeof one);
}

/* What finding brought, and where the job stands. */
static void report_state(struct portmap_job *job, enum portmap_state state)
{
    struct portmap_shared *sh = job->shared;
    enum portmap_group group = protocol_of(job)->group;
    pthread_mutex_lock(&sh->lock);
    struct portmap_report *r = &sh->reports[job->index];
    r->state = state;
    r->there = job->there;
    r->has_outer = job->has_outer;
    r->lets_v6_in = job->lets_v6_in;
    r->outer = job->outer;
    r->version = job->version;
    r->found_at = job->found_at;
    (void)snprintf(r->reason, sizeof r->reason, "%s", job->reason);
    if (state == PORTMAP_OVER) {
        for (size_t i = 0; i < job->n_items; i++) {
            r->items[i].mapped = false;
        }
        if (sh->holder[group] == (int)job->index) {
            sh->holder[group] = PORTMAP_NOBODY;
        }
    }
    pthread_cond_broadcast(&sh->changed);
    pthread_mutex_unlock(&sh->lock);
    wake_owner(sh);
}

static void report_item(struct portmap_job *job, size_t i, bool mapped, bool renewed, bool remade)
{
    struct portmap_shared *sh = job->shared;
    const struct portmap_item *item = &job->items[i];
    pthread_mutex_lock(&sh->lock);
    struct portmap_report *r = &sh->reports[job->index];
    struct portmap_report_item *ri = &r->items[i];
    ri->tried = true;
    ri->mapped = mapped;
    ri->renewed = renewed;
    ri->remade = ri->remade || remade; /* unless the owner has seen it */
    ri->seq++;
    ri->external = item->external;
    ri->lease_s = item->lease_s;
    (void)snprintf(r->reason, sizeof r->reason, "%s", mapped ? "" : job->reason);
    pthread_cond_broadcast(&sh->changed);
    pthread_mutex_unlock(&sh->lock);
    wake_owner(sh);
}

/* ---- Waiting ---- */

static struct timespec timespec_of(bk_time t)
{
    return (struct timespec){.tv_sec = (time_t)(t / BK_SECOND), .tv_nsec = (long)(t % BK_SECOND)};
}

/* Under the lock. Is there one of the group that this one has to let go first? */
static bool must_wait(const struct portmap_job *job, bk_time since, bool *for_a_while)
{
    const struct portmap_shared *sh = job->shared;
    enum portmap_group group = protocol_of(job)->group;
    *for_a_while = false;
    if (sh->holder[group] != PORTMAP_NOBODY) {
        return true;
    }
    for (size_t i = 0; i < job->index; i++) {
        if (bk_portmap_protocols[i]->group != group) {
            continue;
        }
        if (sh->reports[i].state == PORTMAP_FOUND) {
            return true;
        }
        if (sh->reports[i].state == PORTMAP_LOOKING &&
            bk_clock_mono() < bk_time_add(since, PREFER_MS * BK_MS)) {
            *for_a_while = true;
            return true;
        }
    }
    return false;
}

/* Waits for the right to ask; false: all is to stop. One that holds something keeps it until the end. */
static bool claim(struct portmap_job *job)
{
    struct portmap_shared *sh = job->shared;
    enum portmap_group group = protocol_of(job)->group;
    bk_time since = bk_clock_mono();
    bool for_a_while;
    report_state(job, PORTMAP_FOUND);
    pthread_mutex_lock(&sh->lock);
    while (!sh->stop[group] && must_wait(job, since, &for_a_while)) {
        struct timespec ts = timespec_of(bk_time_add(since, PREFER_MS * BK_MS));
        if (for_a_while) {
            (void)pthread_cond_timedwait(&sh->changed, &sh->lock, &ts);
        } else {
            (void)pthread_cond_wait(&sh->changed, &sh->lock);
        }
    }
    bool mine = !sh->stop[group];
    if (mine) {
        sh->holder[group] = (int)job->index;
        sh->reports[job->index].state = PORTMAP_HOLDING;
    }
    pthread_mutex_unlock(&sh->lock);
    if (!mine) {
        bk_portmap_say(job, "not needed");
    }
    return mine;
}

/* Under the lock. */
static bool take_doubts(struct portmap_job *job)
{
    struct portmap_report *r = &job->shared->reports[job->index];
    bool any = false;
    for (size_t i = 0; i < job->n_items; i++) {
        if (r->items[i].doubt && job->items[i].used) {
            job->items[i].doubted = true;
            any = true;
        }
        r->items[i].doubt = false;
    }
    return any;
}

/* Under the lock. */
static bool take_hurry(struct portmap_job *job)
{
    enum portmap_group group = protocol_of(job)->group;
    bool hurry = job->shared->hurry[group];
    job->shared->hurry[group] = false;
    for (size_t i = 0; i < job->n_items && hurry; i++) {
        job->items[i].next = 0;
    }
    return hurry;
}

/* Until then, or until there is a doubt or a hurry. False: time to stop. */
static bool sleep_until(struct portmap_job *job, bk_time until)
{
    struct portmap_shared *sh = job->shared;
    enum portmap_group group = protocol_of(job)->group;
    struct timespec ts = timespec_of(until);
    pthread_mutex_lock(&sh->lock);
    for (int err = 0;
         !sh->stop[group] && !take_doubts(job) && !take_hurry(job) && err != ETIMEDOUT;) {
        err = until == BK_TIME_NEVER ? pthread_cond_wait(&sh->changed, &sh->lock)
                                     : pthread_cond_timedwait(&sh->changed, &sh->lock, &ts);
    }
    bool stop = sh->stop[group];
    pthread_mutex_unlock(&sh->lock);
    return !stop;
}

/* ---- Keeping ---- */

static void plan(struct portmap_item *item, bk_time asked_at)
{
    item->since = asked_at;
    item->next = item->lease_s == 0 ? bk_time_add(asked_at, RECHECK_S * BK_SECOND)
                                    : bk_time_add(asked_at, item->lease_s * BK_SECOND / 2);
}

/* The router no longer knows what it gave: all of it is asked for again, now. */
static void forget_all(struct portmap_job *job)
{
    job->reset = false;
    for (size_t i = 0; i < job->n_items; i++) {
        job->items[i].forgotten = true;
        job->items[i].next = 0;
    }
}

static void undo_doubted(struct portmap_job *job, struct portmap_item *item)
{
    const struct portmap_protocol *protocol = protocol_of(job);
    if (item->held) {
        protocol->unmap(job, item);
        item->held = false;
    }
    if (item->doubts++ > 0 && protocol->group == PORTMAP_MAPPING) {
        item->external_port = bk_portmap_random_port(); /* the old one failed twice */
    }
}

static void failed(struct portmap_job *job, size_t i, bool remade)
{
    struct portmap_item *item = &job->items[i];
    bk_time now = bk_clock_mono();
    bool ended = item->lease_s != 0 && now >= bk_time_add(item->since, item->lease_s * BK_SECOND);
    item->next = bk_time_add(now, RETRY_S * BK_SECOND);
    if (item->mapped && item->lease_s != 0) {
        item->next = bk_time_min(item->next,
                                 ended ? now : bk_time_add(item->since, item->lease_s * BK_SECOND));
    }
    if (item->mapped && (ended || remade)) {
        item->mapped = false;
        item->next = bk_time_add(now, RETRY_S * BK_SECOND);
        report_item(job, i, false, false, remade);
    }
}

/* Renews an item that is due, or makes it anew. */
static void serve(struct portmap_job *job, size_t i)
{
    struct portmap_item *item = &job->items[i];
    struct bk_addr before = item->external;
    bool doubted = item->doubted;
    bk_time now = bk_clock_mono();
    item->doubted = false;
    if (doubted) {
        undo_doubted(job, item);
    }
    if (!protocol_of(job)->map(job, item)) {
        failed(job, i, doubted);
        return;
    }
    if (job->reset) {
        forget_all(job);
    }
    bool remade = doubted || item->forgotten;
    bool same = item->mapped && bk_addr_equal(&before, &item->external);
    item->forgotten = false;
    item->mapped = true;
    plan(item, now);
    report_item(job, i, true, same && !remade, remade);
}

/* While they are in use: renews them, until told to stop. */
static void keep(struct portmap_job *job)
{
    for (;;) {
        bk_time next = BK_TIME_NEVER;
        for (size_t i = 0; i < job->n_items; i++) {
            next = job->items[i].used ? bk_time_min(next, job->items[i].next) : next;
        }
        if (!sleep_until(job, next)) {
            return;
        }
        for (size_t i = 0; i < job->n_items && !bk_portmap_stopping(job); i++) {
            struct portmap_item *item = &job->items[i];
            if (item->used && (item->doubted || bk_clock_mono() >= item->next)) {
                serve(job, i);
            }
        }
    }
}

/* The first asking. True: there is something to keep. */
static bool ask(struct portmap_job *job)
{
    bool any = false;
    for (size_t i = 0; i < job->n_items && !bk_portmap_stopping(job); i++) {
        struct portmap_item *item = &job->items[i];
        bk_time now = bk_clock_mono();
        item->used = protocol_of(job)->map(job, item);
        if (item->used) {
            item->mapped = true;
            plan(item, now);
            any = true;
            report_item(job, i, true, false, false);
        }
    }
    job->reset = false; /* of before there was anything to forget */
    if (any) {          /* the others are over: their reasons are told */
        for (size_t i = 0; i < job->n_items; i++) {
            if (!job->items[i].used) {
                report_item(job, i, false, false, false);
            }
        }
    }
    return any;
}

void bk_portmap_job_run(struct portmap_job *job)
{
    const struct portmap_protocol *protocol = protocol_of(job);
    bool found = protocol->find(job);
    if (job->there && job->found_at == 0) {
        job->found_at = bk_clock_mono();
    }
    if (found && !job->shared->survey && claim(job)) {
        if (ask(job)) {
            keep(job);
            bk_portmap_say(job, "ended");
        }
        for (size_t i = 0; i < job->n_items; i++) {
            if (job->items[i].held) {
                protocol->unmap(job, &job->items[i]);
            }
        }
    }
    protocol->leave(job);
    report_state(job, PORTMAP_OVER);
}
