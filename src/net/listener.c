/* Accepting, within limits. Every accepted connection holds a seat; seats belong to a room that outlives the
 * listener for as long as connections do. Counting per address walks one bucket of a seeded hash. Seats whose
 * handshake is not over stand in a queue besides, by age; where somebody looks at first bytes, a seat begins with that. */
#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include "net/clock.h"
#include "net/conn_private.h"
#include "net/first_bytes.h"
#include "net/sockaddr.h"

enum {
    MAX_TOTAL = 4096,
    MAX_HANDSHAKES = 512,
    MAX_PER_ADDRESS = 64,
    BUCKETS = 1024,
    ACCEPTS_PER_TURN = 32,
    PAUSE_MS = 100,
    BACKLOG = 1024,
    FAST_PENDING =
        256, /* came with bytes and have not proven their address otherwise; more come as without */
    BURST_S = 8,
    FIRST_BYTES_MS = 5000, /* where the connections' limits do not say */
};

struct seat {
    struct room *room;
    struct bk_conn *conn;
    struct bk_first_bytes *first; /* before there is a conn */
    int fd;                       /* with `first` */
    struct bk_addr from;
    uint64_t key;
    bool open;
    struct seat *next, **link;    /* in its bucket */
    struct seat *older, *younger; /* while not open: in the room's queue */
};

/* New connections of the addresses of one bucket; `seed` keeps others from choosing to share one. */
struct rate {
    uint64_t tokens_milli;
    bk_time at; /* 0: never used */
};

struct room {
    struct bk_listener *listener; /* NULL once it is gone */
    uint32_t total, handshakes;
    uint64_t seed;
    struct seat *buckets[BUCKETS];
    struct seat *oldest, *youngest;
    struct rate rates[BUCKETS];
};

struct entrance {
    struct bk_listener *listener;
    int fd;
    struct event event;
};

struct bk_listener {
    struct event_base *base;
    struct bk_listener_config config;
    struct room *room;
    struct event pause;
    bool paused;
    size_t n;
    struct entrance entrances[BK_LISTENER_ADDRS_MAX];
};

/* ---- Seats ---- */

static size_t bucket_of(const struct room *room, uint64_t key)
{
    uint64_t x = (key ^ room->seed) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= x >> 32;
    x *= room->seed | 1;
    return (x >> 40) % BUCKETS;
}

static uint32_t seats_of_key(struct room *room, uint64_t key)
{
    uint32_t n = 0;
    for (const struct seat *s = room->buckets[bucket_of(room, key)]; s != NULL; s = s->next) {
        n += s->key == key;
    }
    return n;
}

static struct seat *take_seat(struct room *room, const struct bk_addr *from)
{
    struct seat *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->room = room;
    s->from = *from;
    s->key = bk_addr_rate_key(from);
    s->link = &room->buckets[bucket_of(room, s->key)];
    s->next = *s->link;
    if (s->next != NULL) {
        s->next->link = &s->next;
    }
    *s->link = s;
    room->total++;
    room->handshakes++;
    s->older = room->youngest;
    *(s->older != NULL ? &s->older->younger : &room->oldest) = s;
    room->youngest = s;
    return s;
}

/* The handshake is over, one way or the other. */
static void leave_queue(struct seat *s)
{
    struct room *room = s->room;
    *(s->older != NULL ? &s->older->younger : &room->oldest) = s->younger;
    *(s->younger != NULL ? &s->younger->older : &room->youngest) = s->older;
    s->older = s->younger = NULL;
    room->handshakes--;
}

static void leave_room(struct room *room)
{
    if (room->listener == NULL && room->total == 0) {
        free(room);
    }
}

static void leave_seat(void *ctx)
{
    struct seat *s = ctx;
    struct room *room = s->room;
    *s->link = s->next;
    if (s->next != NULL) {
        s->next->link = s->link;
    }
    room->total--;
    if (!s->open) {
        leave_queue(s);
    }
    free(s);
    leave_room(room);
}

static void seat_opened(void *ctx)
{
    struct seat *s = ctx;
    s->open = true;
    leave_queue(s);
}

static void seat_refused(void *ctx, const struct bk_conn_closed *why)
{
    const struct seat *s = ctx;
    const struct bk_listener *l = s->room->listener;
    if (l != NULL && l->config.refused != NULL) {
        l->config.refused(l->config.conn.on.ctx, &s->from, why);
    }
}

/* ---- Accepting ---- */

/* Takes one of the address's new connections of this second, if one is left. */
static bool may_come(struct bk_listener *l, uint64_t key)
{
    uint64_t per_s = l->config.rate_per_address, most_milli = per_s * BURST_S * 1000;
    struct rate *r = &l->room->rates[bucket_of(l->room, key)];
    bk_time now = bk_clock_mono();
    if (per_s == 0) {
        return true;
    }
    uint64_t passed_ms = (now - r->at) / BK_MS;
    if (r->at == 0 || passed_ms >= BURST_S * 1000ULL) {
        r->tokens_milli = most_milli;
        r->at = now;
    } else {
        uint64_t have_milli = r->tokens_milli + passed_ms * per_s;
        r->tokens_milli = have_milli < most_milli ? have_milli : most_milli;
        r->at += passed_ms * BK_MS;
    }
    if (r->tokens_milli < 1000) {
        return false;
    }
    r->tokens_milli -= 1000;
    return true;
}

/* Whoever has not finished: as if it had never come. */
static void drop_seat(struct seat *s)
{
    if (s->first != NULL) {
        bk_first_bytes_free(s->first);
        close(s->fd);
        leave_seat(s);
    } else {
        bk_conn_drop(s->conn); /* and with it its seat */
    }
}

static bool has_room(struct bk_listener *l, const struct bk_addr *from)
{
    struct room *room = l->room;
    uint64_t key = bk_addr_rate_key(from);
    bool full = room->handshakes >= l->config.max_handshakes;
    if ((!full && room->total >= l->config.max_total) ||
        seats_of_key(room, key) >= l->config.max_per_address || !may_come(l, key)) {
        return false;
    }
    if (full) {
        drop_seat(room->oldest);
    }
    return room->total < l->config.max_total;
}

static void begin_tls(struct bk_listener *l, struct seat *seat, int fd, uint32_t open_ms)
{
    struct bk_conn_config config = l->config.conn;
    struct bk_conn_hooks hooks = {
        .ctx = seat, .opened = seat_opened, .refused = seat_refused, .gone = leave_seat};
    config.limits.open_ms = open_ms;
    if (bk_conn_accept(l->base, &config, fd, &hooks, &seat->conn) != BK_OK) {
        leave_seat(seat);
    }
}

static void on_first_bytes(void *ctx, enum bk_first_kind kind, const char *name, uint32_t left_ms)
{
    struct seat *seat = ctx;
    struct bk_listener *l = seat->room->listener; /* there: it drops such seats before it goes */
    const struct bk_listener_first *first = &l->config.first;
    bool taken = false;
    seat->first = NULL;
    if (kind == BK_FIRST_PLAIN) {
        taken = first->plain(first->ctx, seat->fd, &seat->from);
    } else if (kind == BK_FIRST_TLS && name[0] != '\0' && first->named != NULL) {
        taken = first->named(first->ctx, seat->fd, &seat->from, name);
    }
    if (!taken && kind == BK_FIRST_TLS) {
        begin_tls(l, seat, seat->fd, left_ms);
        return;
    }
    if (!taken) {
        close(seat->fd);
    }
    leave_seat(seat);
}

static void admit(struct bk_listener *l, int fd, const struct bk_addr *from)
{
    struct seat *seat = has_room(l, from) ? take_seat(l->room, from) : NULL;
    uint32_t open_ms = l->config.conn.limits.open_ms;
    if (seat == NULL) {
        close(fd);
    } else if (l->config.first.plain == NULL) {
        begin_tls(l, seat, fd, open_ms);
    } else {
        seat->fd = fd;
        if (bk_first_bytes_new(l->base, fd, open_ms != 0 ? open_ms : FIRST_BYTES_MS, on_first_bytes,
                               seat, &seat->first) != BK_OK) {
            close(fd);
            leave_seat(seat);
        }
    }
}

/* Out of descriptors or memory: the queue stays readable, so waiting for it would spin. */
static void pause_accepting(struct bk_listener *l)
{
    l->paused = true;
    for (size_t i = 0; i < l->n; i++) {
        (void)event_del(&l->entrances[i].event);
    }
    bk_conn_arm(&l->pause, PAUSE_MS);
}

static void on_pause_over(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_listener *l = ctx;
    l->paused = false;
    for (size_t i = 0; i < l->n; i++) {
        (void)event_add(&l->entrances[i].event, NULL);
    }
}

static void on_acceptable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct bk_listener *l = ((struct entrance *)ctx)->listener;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage ss = {0};
        struct sockaddr *sa = (struct sockaddr *)&ss;
        socklen_t len = sizeof ss;
        struct bk_addr from;
        int accepted = accept4(fd, sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            if (bk_sockaddr_read(sa, &from) == BK_OK) {
                admit(l, accepted, &from);
            } else {
                close(accepted);
            }
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(l);
        } else if (errno != EAGAIN) {
            continue; /* that one connection failed before we took it (accept(2)) */
        }
        return;
    }
}

/* ---- The owner's verbs ---- */

enum bk_err bk_listener_new(struct event_base *base, const struct bk_listener_config *config,
                            struct bk_listener **out)
{
    *out = NULL;
    struct bk_listener *l = calloc(1, sizeof *l);
    struct room *room = calloc(1, sizeof *room);
    if (l == NULL || room == NULL ||
        getrandom(&room->seed, sizeof room->seed, 0) != (ssize_t)sizeof room->seed) {
        free(l);
        free(room);
        return BK_E_NOMEM;
    }
    l->base = base;
    l->config = *config;
    l->room = room;
    room->listener = l;
    bk_listener_set_limits(l, config->max_total, config->max_handshakes, config->max_per_address);
    evtimer_assign(&l->pause, base, on_pause_over, l);
    *out = l;
    return BK_OK;
}

/* A SYN whose answer gets no answer holds its pair of addresses for a minute, and no dial of ours can leave by it
 * meanwhile. After one repetition, three seconds, it is over: who means it sends its SYN again. */
static void forget_soon(int fd)
{
    static const int repetitions = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &repetitions, sizeof repetitions);
}

enum bk_err bk_listener_add(struct bk_listener *l, const struct bk_addr *addr,
                            struct bk_addr *bound)
{
    static const int pending = FAST_PENDING;
    int fd = -1, family = 0;
    if (l->n == BK_LISTENER_ADDRS_MAX) {
        return BK_E_NOSPACE;
    }
    enum bk_err err = bk_socket_bind(SOCK_STREAM, addr, l->config.reuse_port, &fd, &family);
    if (err != BK_OK) {
        return err;
    }
    if (l->config.reuse_port) {
        forget_soon(fd);
    }
    if (l->config.fast) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &pending, sizeof pending);
    }
    if (listen(fd, BACKLOG) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return BK_E_IO;
    }
    struct entrance *e = &l->entrances[l->n++];
    e->listener = l;
    e->fd = fd;
    event_assign(&e->event, l->base, fd, EV_READ | EV_PERSIST, on_acceptable, e);
    if (!l->paused) {
        (void)event_add(&e->event, NULL);
    }
    if (bound != NULL) {
        *bound = bk_sockaddr_local(fd);
    }
    return BK_OK;
}

void bk_listener_set_tls(struct bk_listener *l, struct bk_tls *tls)
{
    l->config.conn.tls = tls;
}

void bk_listener_set_limits(struct bk_listener *l, uint32_t max_total, uint32_t max_handshakes,
                            uint32_t max_per_address)
{
    l->config.max_total = max_total != 0 ? max_total : MAX_TOTAL;
    l->config.max_handshakes = max_handshakes != 0 ? max_handshakes : MAX_HANDSHAKES;
    l->config.max_per_address = max_per_address != 0 ? max_per_address : MAX_PER_ADDRESS;
}

uint32_t bk_listener_count(const struct bk_listener *l)
{
    return l->room->total;
}

void bk_listener_free(struct bk_listener *l)
{
    if (l == NULL) {
        return;
    }
    struct room *room = l->room;
    for (size_t i = 0; i < l->n; i++) {
        (void)event_del(&l->entrances[i].event);
        close(l->entrances[i].fd);
    }
    (void)event_del(&l->pause);
    room->total++; /* keeps the room while its seats empty */
    for (size_t i = 0; i < BUCKETS; i++) {
        struct seat *next = NULL;
        for (struct seat *s = room->buckets[i]; s != NULL; s = next) {
            next = s->next;
            if (!s->open) {
                drop_seat(s);
            }
        }
    }
    room->listener = NULL;
    room->total--;
    leave_room(room);
    free(l);
}
