/* A port mapping: two threads, one for each protocol, and what they tell the event loop. The threads touch only
 * `struct portmap_shared`, which lives until the last of them and the owner have left; the owner's callback runs
 * in the event loop alone. Invariant: at most one job holds a mapping (`holder`). */
#include "net/portmap.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/portmap_internal.h"

enum {
    JOBS = 2,
    UPNP = 0,
    NATPMP = 1,
    NOBODY = -1,
    RETRY_S = 5, /* after a renewal that failed */
};

/* What a job has told: read by the owner, under the lock. */
struct report {
    bool asked;
    bool over; /* nothing more will come */
    bool mapped;
    struct bk_addr external;
    uint32_t lease_s;
    char reason[BK_PORTMAP_REASON_BYTES];
};

struct portmap_shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    bool stop;
    int holder;
    int notify_fd;
    struct report reports[JOBS];
    struct portmap_job jobs[JOBS];
};

struct bk_portmap {
    struct portmap_shared *shared;
    struct event *ev_notify, *ev_wait;
    bk_portmap_fn *cb;
    void *ctx;
    bool told, over;
    bool mapped; /* as last told */
    struct bk_addr external;
    bool running[JOBS];
    pthread_t threads[JOBS];
};

static const struct portmap_protocol *const protocols[JOBS] = {&bk_portmap_upnp,
                                                               &bk_portmap_natpmp};

static void unref(struct portmap_shared *sh)
{
    pthread_mutex_lock(&sh->lock);
    bool last = --sh->refs == 0;
    pthread_mutex_unlock(&sh->lock);
    if (!last) {
        return;
    }
    close(sh->notify_fd);
    pthread_cond_destroy(&sh->changed);
    pthread_mutex_destroy(&sh->lock);
    for (size_t i = 0; i < JOBS; i++) {
        free(sh->jobs[i].igd_url);
    }
    free(sh);
}

/* ---- In the threads ---- */

bool bk_portmap_stopping(struct portmap_job *job)
{
    pthread_mutex_lock(&job->shared->lock);
    bool stop = job->shared->stop;
    pthread_mutex_unlock(&job->shared->lock);
    return stop;
}

void bk_portmap_say(struct portmap_job *job, const char *reason)
{
    (void)snprintf(job->reason, sizeof job->reason, "%s", reason);
}

bool bk_portmap_take_address(struct portmap_job *job, const struct bk_addr *addr)
{
    if (bk_addr_scope(addr) != BK_SCOPE_GLOBAL) {
        bk_portmap_say(job, "router has no public address");
        return false;
    }
    memcpy(job->external.ip, addr->ip, sizeof job->external.ip);
    return true;
}

static void report(struct portmap_job *job, bool mapped, bool over)
{
    struct portmap_shared *sh = job->shared;
    const uint64_t one = 1;
    pthread_mutex_lock(&sh->lock);
    struct report *r = &sh->reports[job->index];
    r->mapped = mapped;
    r->over = over;
    r->external = job->external;
    r->lease_s = job->lease_s;
    (void)snprintf(r->reason, sizeof r->reason, "%s", mapped ? "" : job->reason);
    if (!mapped && over && sh->holder == (int)job->index) {
        sh->holder = NOBODY;
    }
    pthread_cond_broadcast(&sh->changed);
    pthread_mutex_unlock(&sh->lock);
    (void)!write(sh->notify_fd, &one, sizeof one);
}

/* Waits for the right to ask for a mapping. False: the other has one, or all is to stop. */
static bool claim(struct portmap_job *job)
{
    struct portmap_shared *sh = job->shared;
    const struct report *other = &sh->reports[1 - job->index];
    pthread_mutex_lock(&sh->lock);
    while (!sh->stop && sh->holder != NOBODY && !other->mapped) {
        pthread_cond_wait(&sh->changed, &sh->lock);
    }
    bool mine = !sh->stop && sh->holder == NOBODY;
    if (mine) {
        sh->holder = (int)job->index;
    }
    pthread_mutex_unlock(&sh->lock);
    if (!mine) {
        bk_portmap_say(job, "not needed");
    }
    return mine;
}

/* False: time to stop. */
static bool sleep_until(struct portmap_job *job, bk_time until)
{
    struct portmap_shared *sh = job->shared;
    struct timespec ts = {.tv_sec = (time_t)(until / BK_SECOND),
                          .tv_nsec = (long)(until % BK_SECOND)};
    pthread_mutex_lock(&sh->lock);
    for (int err = 0; !sh->stop && err != ETIMEDOUT;) {
        err = until == BK_TIME_NEVER ? pthread_cond_wait(&sh->changed, &sh->lock)
                                     : pthread_cond_timedwait(&sh->changed, &sh->lock, &ts);
    }
    bool stop = sh->stop;
    pthread_mutex_unlock(&sh->lock);
    return !stop;
}

/* While the mapping is in use: renews it, until told to stop. */
static void keep(struct portmap_job *job, const struct portmap_protocol *protocol)
{
    bool mapped = true;
    bk_time since = bk_clock_mono();
    for (;;) {
        uint64_t lease = job->lease_s * BK_SECOND;
        bk_time ends = lease == 0 ? BK_TIME_NEVER : bk_time_add(since, lease);
        bk_time next = lease == 0 ? BK_TIME_NEVER : bk_time_add(since, lease / 2);
        if (next < bk_clock_mono()) { /* the last renewal failed */
            next = bk_time_add(bk_clock_mono(), RETRY_S * BK_SECOND);
            next = mapped ? bk_time_min(next, ends) : next;
        }
        if (!sleep_until(job, next)) {
            return;
        }
        bk_time now = bk_clock_mono();
        struct bk_addr before = job->external;
        if (protocol->map(job)) {
            since = now;
            if (!mapped || !bk_addr_equal(&before, &job->external)) {
                report(job, true, false);
            }
            mapped = true;
        } else if (mapped && bk_clock_mono() >= ends) {
            mapped = false;
            report(job, false, false);
        }
    }
}

static void *run(void *arg)
{
    struct portmap_job *job = arg;
    struct portmap_shared *sh = job->shared;
    const struct portmap_protocol *protocol = protocols[job->index];
    if (protocol->find(job) && claim(job)) {
        if (protocol->map(job)) {
            report(job, true, false);
            keep(job, protocol);
            bk_portmap_say(job, "ended");
        }
        if (job->held) {
            protocol->unmap(job);
        }
    }
    protocol->leave(job);
    report(job, false, true);
    unref(sh);
    return NULL;
}

/* ---- In the event loop ---- */

static void stop_all(struct bk_portmap *p)
{
    /* We hold one of its references until bk_portmap_free; the analyzer does not count them. */
    pthread_mutex_lock(&p->shared->lock);
    p->shared->stop = true; // NOLINT(clang-analyzer-unix.Malloc)
    pthread_cond_broadcast(&p->shared->changed);
    pthread_mutex_unlock(&p->shared->lock);
}

/* Last thing its caller does: the callback may free p. */
static void tell(struct bk_portmap *p, bool out_of_time)
{
    struct report r[JOBS];
    pthread_mutex_lock(&p->shared->lock);
    memcpy(r, p->shared->reports, sizeof r);
    pthread_mutex_unlock(&p->shared->lock);
    const struct report *won = r[UPNP].mapped ? &r[UPNP] : r[NATPMP].mapped ? &r[NATPMP] : NULL;
    bool all_over = r[UPNP].over && r[NATPMP].over;
    if (p->over || (!p->told && won == NULL && !all_over && !out_of_time)) {
        return;
    }
    bool same = won == NULL ? !p->mapped : p->mapped && bk_addr_equal(&won->external, &p->external);
    if (p->told && same) {
        return;
    }
    p->over = !p->told && won == NULL;
    p->told = true;
    p->mapped = won != NULL;
    event_del(p->ev_wait);
    if (p->over) {
        stop_all(p); /* a mapping that came now would be nobody's */
    }
    for (size_t i = 0; i < JOBS; i++) {
        if (won == NULL && r[i].asked && r[i].reason[0] == '\0') {
            (void)snprintf(r[i].reason, sizeof r[i].reason, "no answer in time");
        }
    }
    struct bk_portmap_result result = {.upnp_reason = r[UPNP].reason,
                                       .natpmp_reason = r[NATPMP].reason};
    if (won != NULL) {
        p->external = won->external;
        result.mapped = true;
        result.external = won->external;
        result.protocol = protocols[won - r]->name;
        result.lease_s = won->lease_s;
    }
    p->cb(p->ctx, &result);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    tell(arg, false);
}

static void on_wait(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tell(arg, true);
}

static struct portmap_shared *make_shared(const struct bk_portmap_options *o)
{
    struct portmap_shared *sh = calloc(1, sizeof *sh);
    if (sh == NULL) {
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&sh->lock, NULL);
    pthread_cond_init(&sh->changed, &attr);
    pthread_condattr_destroy(&attr);
    sh->refs = 1;
    sh->holder = NOBODY;
    sh->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = sh->notify_fd >= 0;
    for (size_t i = 0; i < JOBS; i++) {
        sh->jobs[i] = (struct portmap_job){
            .shared = sh,
            .index = i,
            .local_port = o->local_port,
            .lease_wish_s = o->lease_s == 0 ? BK_PORTMAP_LEASE_S : o->lease_s,
            .gateway = o->natpmp_gateway,
            .external_port = o->external_port == 0 ? o->local_port : o->external_port,
        };
        sh->reports[i].asked = i == UPNP ? !o->no_upnp : !o->no_natpmp;
        sh->reports[i].over = !sh->reports[i].asked;
    }
    if (o->igd_url != NULL) {
        sh->jobs[UPNP].igd_url = strdup(o->igd_url);
        ok = ok && sh->jobs[UPNP].igd_url != NULL;
    }
    if (!ok) {
        unref(sh);
        return NULL;
    }
    return sh;
}

/* Signals are for the main thread; SIGPIPE from a router that hangs up is for nobody. */
static bool start_thread(struct bk_portmap *p, size_t i)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_lock(&p->shared->lock);
    p->shared->refs++;
    pthread_mutex_unlock(&p->shared->lock);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    p->running[i] = pthread_create(&p->threads[i], NULL, run, &p->shared->jobs[i]) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!p->running[i]) {
        unref(p->shared);
    }
    return p->running[i];
}

enum bk_err bk_portmap_new(struct event_base *base, const struct bk_portmap_options *options,
                           bk_portmap_fn *cb, void *ctx, struct bk_portmap **out)
{
    assert(options->local_port != 0);
    const struct timeval wait = bk_timeval_ms(BK_PORTMAP_WAIT_MS);
    *out = NULL;
    struct bk_portmap *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return BK_E_NOMEM;
    }
    p->cb = cb;
    p->ctx = ctx;
    p->shared = make_shared(options);
    if (p->shared == NULL) {
        free(p);
        return BK_E_NOMEM;
    }
    p->ev_notify = event_new(base, p->shared->notify_fd, EV_READ | EV_PERSIST, on_notify, p);
    p->ev_wait = evtimer_new(base, on_wait, p);
    bool ok = p->ev_notify != NULL && p->ev_wait != NULL && event_add(p->ev_notify, NULL) == 0 &&
              event_add(p->ev_wait, &wait) == 0;
    for (size_t i = 0; ok && i < JOBS; i++) {
        ok = !p->shared->reports[i].asked || start_thread(p, i);
    }
    if (!ok) {
        bk_portmap_free(p);
        return BK_E_IO;
    }
    if (options->no_upnp && options->no_natpmp) {
        event_active(p->ev_notify, EV_READ, 0); /* nobody to ask: that is a result too */
    }
    *out = p;
    return BK_OK;
}

/* True: the job's thread has nothing left to do but to return. One that still looks for a router holds no
 * mapping, and gets none any more, so that nobody need wait for it. */
static bool await_over(struct portmap_shared *sh, size_t i, bk_time until)
{
    struct timespec ts = {.tv_sec = (time_t)(until / BK_SECOND),
                          .tv_nsec = (long)(until % BK_SECOND)};
    pthread_mutex_lock(&sh->lock);
    for (int err = 0; !sh->reports[i].over && sh->holder == (int)i && err != ETIMEDOUT;) {
        err = pthread_cond_timedwait(&sh->changed, &sh->lock, &ts);
    }
    bool over = sh->reports[i].over;
    pthread_mutex_unlock(&sh->lock);
    return over;
}

void bk_portmap_free(struct bk_portmap *p)
{
    if (p == NULL) {
        return;
    }
    stop_all(p);
    bk_time until = bk_time_add(bk_clock_mono(), BK_PORTMAP_FREE_MS * BK_MS);
    for (size_t i = 0; i < JOBS; i++) {
        if (!p->running[i]) {
            continue;
        }
        if (await_over(p->shared, i, until)) {
            pthread_join(p->threads[i], NULL);
        } else {
            /* Still looking, or stuck in a slow router's answer: a mapping it takes back by itself. */
            pthread_detach(p->threads[i]);
        }
    }
    if (p->ev_notify != NULL) {
        event_free(p->ev_notify);
    }
    if (p->ev_wait != NULL) {
        event_free(p->ev_wait);
    }
    unref(p->shared);
    free(p);
}
