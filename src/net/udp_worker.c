/* One worker's turn: datagrams in, answers out. The slots are the worker's alone; what other threads touch is the
 * descriptor, the table of ways and `state`. */
#include "net/udp_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/clock.h"
#include "net/sockaddr.h"
#include "net/steer.h"
#include "net/udp.h"
#include "net/udp_send.h"

enum {
    /* An odd number of cache lines, so that the first ones of all slots do not fall onto a few places of the cache. */
    SLOT_BYTES = 25 * 64,
    WAIT_MIN_MS = 5,
    WAIT_MAX_MS = 10000,
    TROUBLE_MS =
        10, /* what the kernel says of a socket that stands is no reason to ask all the time */
    SEND_BUFFER_BYTES = 1024 * 1024,
};

_Static_assert(SLOT_BYTES >= (int)BK_UDP_WORKER_BYTES, "a datagram fits");

enum state {
    MADE,    /* no thread */
    UP,      /* waits for the word */
    RUNNING, /* reads */
    ENDING,
};

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct bk_udp_worker {
    int fd;
    int family;
    bool wildcard;
    struct bk_ways *ways;
    struct bk_udp_worker_callbacks on;
    uint64_t waits_ms; /* what SO_RCVTIMEO is set to */
    bk_time due_at;    /* because of this */

    pthread_t thread;
    pthread_mutex_t lock; /* of `state`, for those who wait for it */
    pthread_cond_t changed;
    enum state state;
    atomic_bool ending; /* the same, for every turn */

    struct mmsghdr in[BK_UDP_WORKER_BATCH], out[BK_UDP_WORKER_BATCH];
    struct iovec in_iov[BK_UDP_WORKER_BATCH], out_iov[BK_UDP_WORKER_BATCH];
    union name names[BK_UDP_WORKER_BATCH];
    struct bk_udp_datagram datagrams[BK_UDP_WORKER_BATCH];
    unsigned slots[BK_UDP_WORKER_BATCH]; /* of each of these */
    struct bk_slice answers[BK_UDP_WORKER_BATCH];
    struct bk_ways_control in_control[BK_UDP_WORKER_BATCH], out_control[BK_UDP_WORKER_BATCH];
    uint8_t bytes[BK_UDP_WORKER_BATCH][SLOT_BYTES];
};

/* ---- a turn ---- */

static void prepare(struct bk_udp_worker *w)
{
    for (unsigned i = 0; i < BK_UDP_WORKER_BATCH; i++) {
        w->in_iov[i] = (struct iovec){.iov_base = w->bytes[i], .iov_len = BK_UDP_WORKER_BYTES};
        w->in[i].msg_hdr = (struct msghdr){.msg_name = &w->names[i],
                                           .msg_namelen = sizeof w->names[i],
                                           .msg_iov = &w->in_iov[i],
                                           .msg_iovlen = 1};
        w->out[i].msg_hdr = (struct msghdr){.msg_iov = &w->out_iov[i], .msg_iovlen = 1};
        if (w->wildcard) {
            w->in[i].msg_hdr.msg_control = w->in_control[i].bytes;
            w->in[i].msg_hdr.msg_controllen = sizeof w->in_control[i].bytes;
        }
    }
}

/* What the kernel wrote over in a head. */
static void renew(struct bk_udp_worker *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        w->in[i].msg_hdr.msg_namelen = sizeof w->names[i];
        if (w->wildcard) {
            w->in[i].msg_hdr.msg_controllen = sizeof w->in_control[i].bytes;
        }
    }
}

/* Those that can be handed over; how many. */
static size_t sort_in(struct bk_udp_worker *w, unsigned n)
{
    size_t good = 0;

    for (unsigned i = 0; i < n; i++) {
        struct msghdr *head = &w->in[i].msg_hdr;
        struct bk_udp_datagram *d = &w->datagrams[good];

        if ((head->msg_flags & MSG_TRUNC) != 0 || head->msg_namelen == 0 ||
            bk_sockaddr_read(&w->names[i].any, &d->from) != BK_OK) {
            continue;
        }
        d->bytes = bk_slice(w->bytes[i], w->in[i].msg_len);
        d->way = w->wildcard ? (uint8_t)bk_ways_arrived(w->ways, head) : 0;
        w->answers[good] = BK_SLICE_EMPTY;
        w->slots[good] = i;
        good++;
    }
    return good;
}

static void answer(struct bk_udp_worker *w, size_t n)
{
    unsigned n_out = 0;

    for (size_t i = 0; i < n; i++) {
        struct msghdr *head = &w->out[n_out].msg_hdr;
        unsigned slot = w->slots[i];

        if (w->answers[i].n == 0) {
            continue;
        }
        head->msg_name = &w->names[slot];
        head->msg_namelen = w->in[slot].msg_hdr.msg_namelen;
        /* An iovec takes no const, but sending only reads. */
        w->out_iov[n_out] = (struct iovec){.iov_base = (void *)(uintptr_t)w->answers[i].p,
                                           .iov_len = w->answers[i].n};
        if (w->wildcard) {
            bk_ways_leave(w->ways, w->datagrams[i].way, w->family, head, &w->out_control[n_out]);
        }
        n_out++;
    }
    bk_udp_send_heads(w->fd, w->out, n_out);
}

/* False: nothing came in all that time. */
static bool take_batch(struct bk_udp_worker *w)
{
    int n = recvmmsg(w->fd, w->in, BK_UDP_WORKER_BATCH, MSG_WAITFORONE, NULL);

    if (n > 0) {
        if (!atomic_load_explicit(&w->ending, memory_order_acquire)) {
            size_t good = sort_in(w, (unsigned)n);
            if (good > 0) {
                w->on.batch(w->on.ctx, w->datagrams, good, w->answers);
                answer(w, good);
            }
        }
        renew(w, (unsigned)n);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        (void)poll(NULL, 0, TROUBLE_MS);
    }
    return n > 0;
}

/* The kernel is told of another waiting time only where it is much another one: what is due may be somewhat late. While
 * datagrams come, which is when every call counts, it is looked for after each batch in any case. */
static void wait_until(struct bk_udp_worker *w, bk_time at, bool busy)
{
    struct timeval tv;
    uint64_t ms;

    if (busy && at == w->due_at) {
        return;
    }
    w->due_at = at;
    ms =
        at == BK_TIME_NEVER ? WAIT_MAX_MS : (bk_time_left(bk_clock_mono(), at) + BK_MS - 1) / BK_MS;
    ms = ms < WAIT_MIN_MS ? WAIT_MIN_MS : ms;
    ms = ms > WAIT_MAX_MS ? WAIT_MAX_MS : ms;
    if (ms < 4 * w->waits_ms && w->waits_ms < 4 * ms) {
        return;
    }
    tv = bk_timeval_ms(ms);
    if (setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0) {
        w->waits_ms = ms;
    }
}

/* ---- the thread ---- */

static void set_state(struct bk_udp_worker *w, enum state state)
{
    (void)pthread_mutex_lock(&w->lock);
    w->state = state;
    (void)pthread_cond_broadcast(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
}

static void wait_for_other_than(struct bk_udp_worker *w, enum state state)
{
    (void)pthread_mutex_lock(&w->lock);
    while (w->state == state) {
        (void)pthread_cond_wait(&w->changed, &w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct bk_udp_worker *w = arg;

    set_state(w, UP);
    wait_for_other_than(w, UP);
    while (!atomic_load_explicit(&w->ending, memory_order_acquire)) {
        bool busy = take_batch(w);
        wait_until(w, w->on.due(w->on.ctx), busy);
    }
    return NULL;
}

enum bk_err bk_udp_worker_start(struct bk_udp_worker *w, const struct bk_udp_worker_callbacks *on)
{
    sigset_t all, before;
    int err;

    w->on = *on;
    (void)sigfillset(&all);
    /* A thread has the mask of who makes it: signals are for others. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&w->thread, NULL, run, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0) {
        return BK_E_NOMEM;
    }
    wait_for_other_than(w, MADE);
    return BK_OK;
}

void bk_udp_worker_go(struct bk_udp_worker *w)
{
    set_state(w, RUNNING);
}

void bk_udp_worker_stop(struct bk_udp_worker *w)
{
    bool started;

    (void)pthread_mutex_lock(&w->lock);
    started = w->state == UP || w->state == RUNNING;
    (void)pthread_mutex_unlock(&w->lock);
    if (!started) {
        return;
    }
    atomic_store_explicit(&w->ending, true, memory_order_release);
    set_state(w, ENDING);
    /* Says ENOTCONN, and wakes who waits for a datagram. */
    (void)shutdown(w->fd, SHUT_RD);
    (void)pthread_join(w->thread, NULL);
}

/* ---- sockets ---- */

void bk_udp_worker_free(struct bk_udp_worker *w)
{
    if (w == NULL) {
        return;
    }
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    (void)pthread_cond_destroy(&w->changed);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

static void set_buffers(int fd)
{
    static const int in = BK_UDP_BUFFER_BYTES, out = SEND_BUFFER_BYTES;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &in, sizeof in);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &out, sizeof out);
    /* Beyond the system's limit, for those who may. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &in, sizeof in);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &out, sizeof out);
}

/* Whole datagrams, and none in pieces: what the kernel does to number the pieces of IPv4 datagrams, should there be any, is
 * a tenth of all that an answer costs. What is forged about the path's size then changes nothing, either. */
static void never_cut(int fd, int family)
{
    static const int v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;

    (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof v4);
    if (family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof v6);
    }
}

static enum bk_err open_one(const struct bk_addr *bind_to, struct bk_ways *ways, bool join,
                            struct bk_udp_worker **out)
{
    const struct timeval wait = bk_timeval_ms(WAIT_MAX_MS);
    struct bk_udp_worker *w = calloc(1, sizeof *w);
    enum bk_err err;
    int flags;

    if (w == NULL) {
        return BK_E_NOMEM;
    }
    w->fd = -1;
    w->ways = ways;
    w->waits_ms = WAIT_MAX_MS;
    w->due_at = BK_TIME_NEVER;
    (void)pthread_mutex_init(&w->lock, NULL); /* neither fails without attributes */
    (void)pthread_cond_init(&w->changed, NULL);
    err = bk_socket_bind(SOCK_DGRAM, bind_to, join, &w->fd, &w->family);
    flags = err == BK_OK ? fcntl(w->fd, F_GETFL) : -1;
    if (err == BK_OK && (flags < 0 || fcntl(w->fd, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
                         setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0)) {
        err = BK_E_IO;
    }
    if (err != BK_OK) {
        int saved = errno;
        bk_udp_worker_free(w);
        errno = saved;
        return err;
    }
    w->wildcard = bk_addr_scope(bind_to) == BK_SCOPE_UNSPECIFIED && bk_ways_hear(w->fd, w->family);
    set_buffers(w->fd);
    never_cut(w->fd, w->family);
    prepare(w);
    *out = w;
    return BK_OK;
}

/* Frees those from `from` on. */
static void close_from(struct bk_udp_worker **workers, unsigned from, unsigned n)
{
    int saved = errno;

    for (unsigned i = from; i < n; i++) {
        bk_udp_worker_free(workers[i]);
        workers[i] = NULL;
    }
    errno = saved;
}

/* The first socket takes the port for itself; only then may others join it, which only a process of its user can. */
enum bk_err bk_udp_workers_open(const struct bk_addr *bind_to, struct bk_ways *ways, unsigned *n,
                                struct bk_udp_worker **out)
{
    static const int on = 1;
    unsigned wanted = *n, got = 0;
    struct bk_addr at = *bind_to;
    enum bk_err err = open_one(bind_to, ways, false, &out[0]);

    if (err != BK_OK) {
        return err;
    }
    got = 1;
    at.port = bk_udp_worker_local(out[0]).port;
    if (wanted > 1 && setsockopt(out[0]->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        wanted = 1;
    }
    while (got < wanted && err == BK_OK) {
        err = open_one(&at, ways, true, &out[got]);
        got += err == BK_OK ? 1 : 0;
    }
    if (err == BK_OK && got > 1) {
        err = bk_steer_attach(out[0]->fd, got);
    }
    if (err == BK_E_NOMEM) {
        close_from(out, 0, got);
        return err;
    }
    if (err != BK_OK) {
        close_from(out, 1, got);
        got = 1;
    }
    *n = got;
    return BK_OK;
}

bool bk_udp_worker_send(const struct bk_udp_worker *w, unsigned way, const struct bk_addr *to,
                        struct bk_slice bytes)
{
    return bytes.n <= BK_UDP_WORKER_BYTES &&
           bk_udp_send_one(w->fd, w->family, w->ways, w->wildcard ? way : 0, to, bytes);
}

struct bk_addr bk_udp_worker_local(const struct bk_udp_worker *w)
{
    return bk_sockaddr_local(w->fd);
}
