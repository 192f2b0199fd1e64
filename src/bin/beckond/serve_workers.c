/* Workers on the first UDP port: a batch in, under the lock of its shard, and answers out. No system call is made here for
 * each datagram, but for those that go elsewhere than an answer goes. */
#include "bin/beckond/serve_workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "bin/beckond/config_defaults.h"
#include "bin/beckond/mailbox.h"
#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "net/udp_worker.h"

enum {
    LINE_BYTES = 64,
    MAILS_A_TURN = 256, /* connections come in between */
};

_Static_assert((int)BK_UDP_WORKER_BATCH <= (int)BK_REGISTRAR_BATCH_MAX, "looked ahead at");
_Static_assert((int)BK_UDP_WORKERS_MAX >= (int)BK_CONFIG_WORKERS_MAX &&
                   (int)BK_SHARDS_MAX >= (int)BK_CONFIG_WORKERS_MAX,
               "a worker and a shard each");
_Static_assert((int)BK_MAIL_BYTES >= (int)BK_UDP_WORKER_BYTES, "what came can be handed on");

struct shard {
    _Alignas(LINE_BYTES) pthread_mutex_t lock;
};

struct worker {
    struct bk_serve *serve;
    struct bk_udp_worker *udp;
    struct bk_registrar *registrar;
    pthread_mutex_t *lock;
    uint8_t shard;
    uint8_t local;   /* way 0 of its socket's address */
    bool keeps_time; /* one of those of a shard does */
    bool looked;     /* at the time, in the batch that has just been */
    bk_time due_at;
    struct bk_slice bytes[BK_UDP_WORKER_BATCH];
    enum bk_registrar_verdict verdicts[BK_UDP_WORKER_BATCH];
    unsigned rest[BK_UDP_WORKER_BATCH]; /* those with which there is more to do than to answer */
    struct bk_registrar_reply replies[BK_UDP_WORKER_BATCH];
};

struct bk_serve_workers {
    struct bk_serve *serve;
    struct bk_mailbox *mailbox;
    struct event *mail;
    uint32_t n_shards;
    size_t n_sockets;
    struct shard *shards;
    struct bk_ways ways[BK_CONFIG_LISTEN_MAX];
    struct bk_udp_worker *udp[BK_CONFIG_LISTEN_MAX][BK_UDP_WORKERS_MAX];
    struct worker *workers; /* shard by shard for each socket; NULL: not started */
};

/* ---- on a worker's thread ---- */

/* A device's news must not get lost; there is room for those of all calls. */
static void tell_news(const struct worker *w, uint64_t equipment_id)
{
    const struct bk_mail mail = {.kind = BK_MAIL_NEWS, .equipment_id = equipment_id};

    (void)bk_mailbox_put(w->serve->workers->mailbox, &mail);
}

static void hand_on(const struct worker *w, const struct bk_udp_datagram *in)
{
    const struct bk_mail mail = {.kind = BK_MAIL_DATAGRAM,
                                 .shard = w->shard,
                                 .local = (uint8_t)(w->local + in->way),
                                 .from = in->from,
                                 .bytes = in->bytes};

    (void)bk_mailbox_put(w->serve->workers->mailbox, &mail);
}

static void answer_elsewhere(const struct worker *w, const struct bk_udp_datagram *in,
                             const struct bk_registrar_reply *reply)
{
    struct bk_serve_departure d = {.shard = w->shard,
                                   .local = (uint8_t)(w->local + in->way),
                                   .second = reply->second,
                                   .change = reply->change,
                                   .to = in->from,
                                   .bytes = bk_slice(reply->bytes, reply->n)};

    d.to.port = reply->port;
    bk_serve_depart(w->serve, &d);
}

static bool goes_back(const struct bk_udp_datagram *in, const struct bk_registrar_reply *reply)
{
    return reply->port == in->from.port && !reply->second && reply->change == 0;
}

/* The shard's own time, if it has come; under its lock. */
static void keep_time(struct worker *w, const struct bk_now *now)
{
    if (!w->keeps_time) {
        return;
    }
    if (now->mono >= bk_registrar_deadline(w->registrar)) {
        bk_registrar_timer(w->registrar, now);
    }
    w->due_at = bk_registrar_deadline(w->registrar);
}

/* Under the shard's lock. How many are left for `finish`. */
static size_t work(struct worker *w, const struct bk_now *now, const struct bk_udp_datagram *in,
                   size_t n, struct bk_slice *answers)
{
    size_t rest = 0;

    bk_registrar_prefetch(w->registrar, w->bytes, n);
    for (size_t i = 0; i < n; i++) {
        struct bk_registrar_reply *reply = &w->replies[i];
        const struct bk_arrival arrival = {
            .from = in[i].from, .bytes = in[i].bytes, .local = (uint8_t)(w->local + in[i].way)};

        w->verdicts[i] = bk_registrar_datagram(w->registrar, now, &arrival, reply);
        if (w->verdicts[i] == BK_REGISTRAR_REPLY && goes_back(&in[i], reply)) {
            answers[i] = bk_slice(reply->bytes, reply->n);
        }
        if (reply->news || (w->verdicts[i] != BK_REGISTRAR_NOTHING && answers[i].n == 0)) {
            w->rest[rest++] = (unsigned)i;
        }
    }
    keep_time(w, now);
    return rest;
}

static void finish(const struct worker *w, const struct bk_udp_datagram *in, size_t n,
                   const struct bk_slice *answers)
{
    for (size_t k = 0; k < n; k++) {
        unsigned i = w->rest[k];

        if (w->verdicts[i] == BK_REGISTRAR_PASS) {
            hand_on(w, &in[i]);
        } else if (w->verdicts[i] == BK_REGISTRAR_REPLY && answers[i].n == 0) {
            answer_elsewhere(w, &in[i], &w->replies[i]);
        }
        if (w->replies[i].news) {
            tell_news(w, w->replies[i].equipment_id);
        }
    }
}

static void on_batch(void *ctx, const struct bk_udp_datagram *in, size_t n,
                     struct bk_slice *answers)
{
    struct worker *w = ctx;
    struct bk_now now = bk_clock_now();
    size_t rest;

    for (size_t i = 0; i < n; i++) {
        w->bytes[i] = in[i].bytes;
    }
    (void)pthread_mutex_lock(w->lock);
    rest = work(w, &now, in, n, answers);
    (void)pthread_mutex_unlock(w->lock);
    w->looked = true;
    finish(w, in, rest, answers);
}

static bk_time on_due(void *ctx)
{
    struct worker *w = ctx;

    if (w->keeps_time && !w->looked) {
        struct bk_now now = bk_clock_now();
        (void)pthread_mutex_lock(w->lock);
        keep_time(w, &now);
        (void)pthread_mutex_unlock(w->lock);
    }
    w->looked = false;
    return w->due_at;
}

/* ---- on the main thread ---- */

static void take_mail(struct bk_serve *s, const struct bk_mail *mail)
{
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};

    if (mail->kind == BK_MAIL_NEWS) {
        event.type = BK_SERVER_ROW_NEWS;
        event.row_news.equipment_id = mail->equipment_id;
    } else {
        event.datagram.shard = mail->shard;
        event.datagram.local = mail->local;
        event.datagram.from = mail->from;
        event.datagram.bytes = mail->bytes;
    }
    bk_serve_feed(s, &event);
}

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_serve_workers *w = ctx;
    struct bk_mail mail;

    (void)fd;
    (void)what;
    for (int i = 0; i < MAILS_A_TURN && bk_mailbox_take(w->mailbox, &mail); i++) {
        take_mail(w->serve, &mail);
    }
}

static void enter_shard(void *ctx, uint32_t shard)
{
    struct bk_serve_workers *w = ctx;

    (void)pthread_mutex_lock(&w->shards[shard].lock);
}

static void leave_shard(void *ctx, uint32_t shard)
{
    struct bk_serve_workers *w = ctx;

    (void)pthread_mutex_unlock(&w->shards[shard].lock);
}

struct bk_shard_lock bk_serve_workers_lock(struct bk_serve_workers *w)
{
    return (struct bk_shard_lock){.ctx = w, .enter = enter_shard, .leave = leave_shard};
}

uint32_t bk_serve_workers_shards(const struct bk_serve_workers *w)
{
    return w->n_shards;
}

struct bk_ways *bk_serve_workers_ways(struct bk_serve_workers *w, size_t socket)
{
    return &w->ways[socket];
}

void bk_serve_workers_send(const struct bk_serve_workers *w, size_t socket, uint8_t shard,
                           unsigned way, const struct bk_addr *to, struct bk_slice bytes)
{
    (void)bk_udp_worker_send(w->udp[socket][shard % w->n_shards], way, to, bytes);
}

/* ---- opening ---- */

static void close_sockets(struct bk_serve_workers *w)
{
    for (size_t i = 0; i < BK_CONFIG_LISTEN_MAX; i++) {
        for (size_t k = 0; k < BK_UDP_WORKERS_MAX; k++) {
            bk_udp_worker_free(w->udp[i][k]);
            w->udp[i][k] = NULL;
        }
    }
}

/* The sockets of all addresses, `*n` each; less, if any address cannot have so many. */
static enum beckon_status open_sockets(struct bk_serve *s, struct bk_serve_workers *w, unsigned *n)
{
    unsigned wanted = *n;

    for (size_t i = 0; i < s->config.n_listen && *n == wanted; i++) {
        struct bk_addr addr = s->config.listen[i];
        enum bk_err err;
        addr.port = s->config.udp_port;
        err = bk_udp_workers_open(&addr, &w->ways[i], n, w->udp[i]);
        if (err != BK_OK) {
            return bk_serve_cannot_bind(&addr, "UDP", err);
        }
    }
    return BECKON_OK;
}

/* One for each processor that we may run on. */
static unsigned usual_number(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1                               ? 1
           : n > BK_CONFIG_DEFAULT_WORKERS_MAX ? BK_CONFIG_DEFAULT_WORKERS_MAX
                                               : (unsigned)n;
}

static enum beckon_status open_as_many_as_can_be(struct bk_serve *s, struct bk_serve_workers *w)
{
    unsigned wanted = s->config.workers == 0 ? usual_number() : s->config.workers, n = wanted;
    enum beckon_status status = open_sockets(s, w, &n);

    if (status == BECKON_OK && n < wanted) {
        bk_say("datagrams cannot be shared among workers here (%s); one does all the work",
               strerror(errno));
        close_sockets(w);
        n = 1;
        status = open_sockets(s, w, &n);
    }
    w->n_shards = n;
    w->n_sockets = s->config.n_listen;
    return status;
}

static bool make_locks(struct bk_serve_workers *w)
{
    w->shards = aligned_alloc(LINE_BYTES, w->n_shards * sizeof *w->shards);
    for (uint32_t i = 0; w->shards != NULL && i < w->n_shards; i++) {
        (void)pthread_mutex_init(&w->shards[i].lock, NULL); /* cannot fail without attributes */
    }
    return w->shards != NULL;
}

static bool make_mailbox(struct bk_serve *s, struct bk_serve_workers *w)
{
    if (bk_mailbox_new(&w->mailbox) != BK_OK) {
        return false;
    }
    w->mail = event_new(s->base, bk_mailbox_fd(w->mailbox), EV_READ | EV_PERSIST, on_mail, w);
    return w->mail != NULL && event_add(w->mail, NULL) == 0;
}

static enum beckon_status no_memory(void)
{
    bk_say("out of memory or descriptors; free some and start again");
    return BECKON_FAILED;
}

enum beckon_status bk_serve_workers_open(struct bk_serve *s)
{
    struct bk_serve_workers *w = calloc(1, sizeof *w);
    enum beckon_status status;

    if (w == NULL) {
        return no_memory();
    }
    w->serve = s;
    s->workers = w;
    for (size_t i = 0; i < BK_CONFIG_LISTEN_MAX; i++) {
        bk_ways_init(&w->ways[i]);
    }
    status = open_as_many_as_can_be(s, w);
    if (status == BECKON_OK && (!make_locks(w) || !make_mailbox(s, w))) {
        status = no_memory();
    }
    return status;
}

/* ---- threads ---- */

static bool start_one(struct bk_serve_workers *w, size_t socket, uint32_t shard)
{
    struct worker *worker = &w->workers[socket * w->n_shards + shard];
    const struct bk_udp_worker_callbacks on = {.ctx = worker, .batch = on_batch, .due = on_due};

    worker->serve = w->serve;
    worker->registrar = bk_server_shard(w->serve->core, shard);
    worker->lock = &w->shards[shard].lock;
    worker->shard = (uint8_t)shard;
    worker->local = (uint8_t)(socket * BK_UDP_WAYS);
    worker->keeps_time = socket == 0;
    worker->due_at = BK_TIME_NEVER;
    worker->udp = w->udp[socket][shard];
    return bk_udp_worker_start(worker->udp, &on) == BK_OK;
}

enum beckon_status bk_serve_workers_start(struct bk_serve *s)
{
    struct bk_serve_workers *w = s->workers;

    w->workers = calloc(w->n_sockets * w->n_shards, sizeof *w->workers);
    if (w->workers == NULL) {
        return no_memory();
    }
    for (size_t i = 0; i < w->n_sockets; i++) {
        for (uint32_t k = 0; k < w->n_shards; k++) {
            if (!start_one(w, i, k)) {
                bk_say("there can be no more threads; allow more, or set fewer workers in "
                       "beckond.conf");
                return BECKON_FAILED;
            }
        }
    }
    return BECKON_OK;
}

static void for_each(struct bk_serve_workers *w, void (*what)(struct bk_udp_worker *udp))
{
    for (size_t i = 0; w != NULL && i < w->n_sockets; i++) {
        for (uint32_t k = 0; k < w->n_shards; k++) {
            if (w->udp[i][k] != NULL) {
                what(w->udp[i][k]);
            }
        }
    }
}

void bk_serve_workers_go(struct bk_serve_workers *w)
{
    for_each(w, bk_udp_worker_go);
}

void bk_serve_workers_stop(struct bk_serve_workers *w)
{
    for_each(w, bk_udp_worker_stop);
}

void bk_serve_workers_free(struct bk_serve_workers *w)
{
    if (w == NULL) {
        return;
    }
    bk_serve_workers_stop(w);
    close_sockets(w);
    if (w->mail != NULL) {
        event_free(w->mail);
    }
    bk_mailbox_free(w->mailbox);
    for (uint32_t i = 0; w->shards != NULL && i < w->n_shards; i++) {
        (void)pthread_mutex_destroy(&w->shards[i].lock);
    }
    for (size_t i = 0; i < BK_CONFIG_LISTEN_MAX; i++) {
        bk_ways_fini(&w->ways[i]);
    }
    free(w->shards);
    free(w->workers);
    free(w);
}
