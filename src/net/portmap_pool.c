/* The threads of a port mapping or a survey, one for each protocol that is asked. They touch only `struct
 * portmap_shared`, which lives until the last of them and the owner have left. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/portmap_internal.h"

const struct portmap_protocol *const bk_portmap_protocols[PORTMAP_JOBS] = {
    &bk_portmap_pcp, &bk_portmap_natpmp, &bk_portmap_upnp, &bk_portmap_pcp6, &bk_portmap_upnp6};

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
    for (size_t i = 0; i < PORTMAP_JOBS; i++) {
        free(sh->jobs[i].igd_url);
    }
    free(sh);
}

static void *run(void *arg)
{
    struct portmap_job *job = arg;
    struct portmap_shared *sh = job->shared;
    bk_portmap_job_run(job);
    unref(sh);
    return NULL;
}

static bool asked(const struct bk_portmap_options *o, bool survey,
                  const struct portmap_protocol *protocol)
{
    const bool no[BK_PORTMAP_PROTOCOLS] = {[BK_PORTMAP_PCP] = o->no_pcp,
                                           [BK_PORTMAP_NATPMP] = o->no_natpmp,
                                           [BK_PORTMAP_UPNP] = o->no_upnp};
    if (no[protocol->protocol]) {
        return false;
    }
    if (survey) { /* the gateway's description tells of IPv6 as well */
        return protocol != &bk_portmap_upnp6;
    }
    return protocol->group == PORTMAP_MAPPING ? !o->no_mapping : o->n_pinholes > 0;
}

static void init_job(struct portmap_job *job, const struct bk_portmap_options *o,
                     enum portmap_group group)
{
    uint16_t wish = o->external_port == 0 ? o->local_port : o->external_port;
    job->lease_wish_s = o->lease_s == 0 ? BK_PORTMAP_LEASE_S : o->lease_s;
    job->ssdp = o->ssdp;
    job->gateway = o->natpmp_gateway;
    job->gateway6 = o->pcp_gateway6;
    job->version = "";
    job->fd = -1;
    job->n_items = 1;
    job->items[0].local.port = o->local_port;
    job->items[0].external_port = wish;
    if (group == PORTMAP_PINHOLES) {
        job->n_items =
            o->n_pinholes < BK_PORTMAP_PINHOLES_MAX ? o->n_pinholes : BK_PORTMAP_PINHOLES_MAX;
        for (size_t i = 0; i < job->n_items; i++) {
            job->items[i].local = o->pinholes[i];
            job->items[i].local.port = o->local_port;
            job->items[i].external_port = o->local_port;
        }
    }
}

static struct portmap_shared *make_shared(const struct bk_portmap_options *o, bool survey)
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
    sh->survey = survey;
    sh->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = sh->notify_fd >= 0;
    for (size_t g = 0; g < PORTMAP_GROUPS; g++) {
        sh->holder[g] = PORTMAP_NOBODY;
    }
    for (size_t i = 0; i < PORTMAP_JOBS; i++) {
        struct portmap_job *job = &sh->jobs[i];
        job->shared = sh;
        job->index = i;
        init_job(job, o, bk_portmap_protocols[i]->group);
        sh->reports[i].version = "";
        sh->reports[i].state =
            asked(o, survey, bk_portmap_protocols[i]) ? PORTMAP_LOOKING : PORTMAP_UNASKED;
        if (o->igd_url != NULL) {
            job->igd_url = strdup(o->igd_url);
            ok = ok && job->igd_url != NULL;
        }
    }
    if (!ok) {
        unref(sh);
        return NULL;
    }
    return sh;
}

/* Signals are for the main thread; SIGPIPE from a router that hangs up is for nobody. */
static bool start_thread(struct portmap_pool *p, size_t i)
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

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct portmap_pool *p = arg;
    uint64_t count;
    (void)what;
    (void)!read(fd, &count, sizeof count);
    p->changed(p->ctx, false);
}

static void on_wait(evutil_socket_t fd, short what, void *arg)
{
    struct portmap_pool *p = arg;
    (void)fd;
    (void)what;
    p->changed(p->ctx, true);
}

enum bk_err bk_portmap_pool_init(struct portmap_pool *p, struct event_base *base,
                                 const struct bk_portmap_options *options, bool survey,
                                 portmap_changed_fn *changed, void *ctx)
{
    const struct timeval wait = bk_timeval_ms(BK_PORTMAP_WAIT_MS);
    memset(p, 0, sizeof *p);
    p->changed = changed;
    p->ctx = ctx;
    p->announce_fd = -1;
    p->gateway = options->natpmp_gateway;
    p->shared = make_shared(options, survey);
    if (p->shared == NULL) {
        return BK_E_NOMEM;
    }
    p->ev_notify = event_new(base, p->shared->notify_fd, EV_READ | EV_PERSIST, on_notify, p);
    p->ev_wait = evtimer_new(base, on_wait, p);
    bool ok = p->ev_notify != NULL && p->ev_wait != NULL && event_add(p->ev_notify, NULL) == 0 &&
              event_add(p->ev_wait, &wait) == 0;
    bool any = false;
    for (size_t i = 0; ok && i < PORTMAP_JOBS; i++) {
        if (p->shared->reports[i].state == PORTMAP_LOOKING) {
            ok = start_thread(p, i);
            any = true;
        }
    }
    if (!ok) {
        bk_portmap_pool_fini(p);
        return BK_E_IO;
    }
    if (!survey) {
        bk_portmap_announce_init(p, base);
    }
    if (!any) {
        event_active(p->ev_notify, EV_READ, 0); /* nobody to ask: that is a result too */
    }
    return BK_OK;
}

void bk_portmap_pool_stop(struct portmap_pool *p, enum portmap_group group)
{
    /* We hold one of its references until fini; the analyzer does not count them. */
    pthread_mutex_lock(&p->shared->lock);
    p->shared->stop[group] = true; // NOLINT(clang-analyzer-unix.Malloc)
    pthread_cond_broadcast(&p->shared->changed);
    pthread_mutex_unlock(&p->shared->lock);
}

/* True: the job's thread has nothing left to do but to return. One that still looks for a router holds no
 * mapping, and gets none any more, so that nobody need wait for it. */
static bool await_over(struct portmap_shared *sh, size_t i, bk_time until)
{
    struct timespec ts = {.tv_sec = (time_t)(until / BK_SECOND),
                          .tv_nsec = (long)(until % BK_SECOND)};
    enum portmap_group group = bk_portmap_protocols[i]->group;
    pthread_mutex_lock(&sh->lock);
    for (int err = 0;
         sh->reports[i].state != PORTMAP_OVER && sh->holder[group] == (int)i && err != ETIMEDOUT;) {
        err = pthread_cond_timedwait(&sh->changed, &sh->lock, &ts);
    }
    bool over = sh->reports[i].state == PORTMAP_OVER;
    pthread_mutex_unlock(&sh->lock);
    return over;
}

void bk_portmap_pool_fini(struct portmap_pool *p)
{
    for (size_t g = 0; g < PORTMAP_GROUPS; g++) {
        bk_portmap_pool_stop(p, (enum portmap_group)g);
    }
    bk_time until = bk_time_add(bk_clock_mono(), BK_PORTMAP_FREE_MS * BK_MS);
    for (size_t i = 0; i < PORTMAP_JOBS; i++) {
        if (!p->running[i]) {
            continue;
        }
        if (await_over(p->shared, i, until)) {
            pthread_join(p->threads[i], NULL);
        } else {
            /* Still looking, or stuck in a slow router's answer: what it holds it takes back by itself. */
            pthread_detach(p->threads[i]);
        }
    }
    bk_portmap_announce_fini(p);
    if (p->ev_notify != NULL) {
        event_free(p->ev_notify);
    }
    if (p->ev_wait != NULL) {
        event_free(p->ev_wait);
    }
    unref(p->shared);
}
