/* Thousands of registered devices in one process: the agent's registration core as it is, one UDP socket
 * each. Takes their keys from the server's master key, so it needs the server's state directory: a tool
 * of the tests, never a product.
 *
 *   load-devices STATE_DIR SERVER_ADDR:PORT COUNT FIRST_ID KEEPALIVE_S
 *
 * Says "registered N notified M" on standard output whenever one of them has changed: how many devices
 * stand, and how many have answered at least one NOTIFY. Runs until it is killed. Opens no TCP
 * connection: a call ends with the answered NOTIFY.
 *
 * Invariant: a device's timer is set to its core's deadline whenever the core has been called. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/heap.h"
#include "base/number.h"
#include "bin/beckond/state.h"
#include "core/agent/registration.h"
#include "net/clock.h"
#include "net/sockaddr.h"
#include "seal/seal.h"

enum {
    COUNT_MAX = 50000,
    START_SPREAD_MS = 1000, /* nobody switches on ten thousand devices in one instant */
    REPORT_MS = 100,
    EVENTS = 64,
    DATAGRAM_BYTES = 600,
    SPARE_DESCRIPTORS = 64,
};

struct device {
    struct bk_timer timer; /* first: the heap hands out this */
    struct bk_registration core;
    int fd;
    bool started, up, notified;
};

struct load {
    struct bk_addr server;
    uint64_t count, first, keepalive_s;
    struct device *devices;
    struct bk_heap timers;
    int epoll;
    uint64_t n_up, n_notified;
    bool changed;
    struct bk_registration_out out;
};

static void die(const char *what)
{
    fprintf(stderr, "load-devices: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_up(struct load *l, struct device *d, bool up)
{
    l->n_up += up && !d->up ? 1 : 0;
    l->n_up -= !up && d->up ? 1 : 0;
    d->up = up;
    l->changed = true;
}

/* True if the core wants the server's address. */
static bool carry_out(struct load *l, struct device *d)
{
    bool resolve = false;

    for (size_t i = 0; i < l->out.n; i++) {
        const struct bk_registration_action *a = &l->out.actions[i];

        switch (a->type) {
        case BK_REGISTRATION_SEND:
            /* An earlier refusal (the server is down) is told by the first send after it, which then has
             * not sent: once more. What is lost after that is lost, as on any network. */
            if (send(d->fd, a->bytes.p, a->bytes.n, 0) < 0 && errno == ECONNREFUSED) {
                ssize_t ignored = send(d->fd, a->bytes.p, a->bytes.n, 0);
                (void)ignored;
            }
            break;
        case BK_REGISTRATION_RESOLVE:
            resolve = true;
            break;
        case BK_REGISTRATION_REGISTERED:
            set_up(l, d, true);
            break;
        case BK_REGISTRATION_LOST:
        case BK_REGISTRATION_REVOKED:
            set_up(l, d, false);
            break;
        case BK_REGISTRATION_RENEW:
        case BK_REGISTRATION_TUNNEL_OPEN:
        case BK_REGISTRATION_TUNNEL_CLOSE:
        case BK_REGISTRATION_FULL:
        case BK_REGISTRATION_RESULT_TOLD:
            break; /* no epoch ends while a load lasts, UDP is not blocked, and there are no calls */
        case BK_REGISTRATION_CALL:
            l->n_notified += d->notified ? 0 : 1;
            d->notified = true;
            l->changed = true;
            break;
        }
    }
    bk_heap_set(&l->timers, &d->timer, bk_registration_deadline(&d->core));
    return resolve;
}

static void tell(struct load *l, struct device *d, enum bk_registration_event_type type,
                 struct bk_slice bytes)
{
    struct bk_registration_event event = {.type = type, .addr = l->server, .bytes = bytes};
    struct bk_now now = bk_clock_now();

    bk_registration_input(&d->core, &now, &event, &l->out);
    if (carry_out(l, d)) {
        event = (struct bk_registration_event){.type = BK_REGISTRATION_RESOLVED, .addr = l->server};
        bk_registration_input(&d->core, &now, &event, &l->out);
        (void)carry_out(l, d);
    }
}

static void on_timer(struct load *l, struct device *d, const struct bk_now *now)
{
    if (!d->started) {
        d->started = true;
        tell(l, d, BK_REGISTRATION_START, BK_SLICE_EMPTY);
        return;
    }
    bk_registration_timer(&d->core, now, &l->out);
    (void)carry_out(l, d); /* the server has one address, and the core has it already */
}

static void on_readable(struct load *l, struct device *d)
{
    uint8_t bytes[DATAGRAM_BYTES];
    ssize_t n = recv(d->fd, bytes, sizeof bytes, 0);

    if (n > 0) { /* the socket is connected: it can only be from the server */
        tell(l, d, BK_REGISTRATION_DATAGRAM, bk_slice(bytes, (size_t)n));
    }
}

static void open_socket(struct load *l, uint64_t i)
{
    struct device *d = &l->devices[i];
    struct sockaddr_storage addr;
    socklen_t len;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
    int family = bk_sockaddr_family(&l->server);

    d->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0 || bk_sockaddr_write(&l->server, family, &addr, &len) != BK_OK ||
        connect(d->fd, (const struct sockaddr *)&addr, len) != 0 ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, d->fd, &event) != 0) {
        die("a device's socket");
    }
}

static void make_devices(struct load *l, const struct bk_master_key *master)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_now now = bk_clock_now();
    struct bk_timer **nodes = calloc(l->count, sizeof *nodes);

    l->devices = calloc(l->count, sizeof *l->devices);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (nodes == NULL || l->devices == NULL || l->epoll < 0) {
        die("memory for the devices");
    }
    bk_heap_init(&l->timers, nodes, l->count);
    for (uint64_t i = 0; i < l->count; i++) {
        struct device *d = &l->devices[i];
        struct bk_registration_config config = {
            .rng = bk_random_system(),
            .mac = mac,
            .equipment_id = l->first + i,
            .generation = 1,
            .epoch = master->epoch,
            .keepalive_s = (uint32_t)l->keepalive_s,
        };

        bk_registration_key(&mac, master->key, config.equipment_id, config.generation, config.key);
        bk_registration_init(&d->core, &config);
        open_socket(l, i);
        bk_heap_set(&l->timers, &d->timer,
                    bk_time_add(now.mono, i * START_SPREAD_MS * BK_MS / l->count));
    }
}

/* Milliseconds until the next timer or report. */
static int wait_ms(const struct load *l, bk_time now, bk_time report_at)
{
    bk_time next =
        bk_time_min(bk_heap_first(&l->timers)->at, l->changed ? report_at : BK_TIME_NEVER);
    uint64_t ms = (bk_time_left(now, next) + BK_MS - 1) / BK_MS;

    return ms < 1000 ? (int)ms : 1000;
}

static void run(struct load *l)
{
    struct epoll_event events[EVENTS];
    bk_time report_at = 0;

    for (;;) {
        struct bk_now now = bk_clock_now();
        struct bk_timer *t;
        int n = epoll_wait(l->epoll, events, EVENTS, wait_ms(l, now.mono, report_at));

        for (int i = 0; i < n; i++) {
            on_readable(l, &l->devices[events[i].data.u64]);
        }
        now = bk_clock_now();
        while ((t = bk_heap_pop_due(&l->timers, now.mono)) != NULL) {
            on_timer(l, (struct device *)t, &now);
        }
        if (l->changed && now.mono >= report_at) {
            l->changed = false;
            report_at = bk_time_add(now.mono, REPORT_MS * BK_MS);
            printf("registered %llu notified %llu\n", (unsigned long long)l->n_up,
                   (unsigned long long)l->n_notified);
            fflush(stdout);
        }
    }
}

static void raise_descriptor_limit(uint64_t count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        die("descriptor limit");
    }
    if (limit.rlim_cur < count + SPARE_DESCRIPTORS) {
        limit.rlim_cur = count + SPARE_DESCRIPTORS;
        limit.rlim_max = limit.rlim_max > limit.rlim_cur ? limit.rlim_max : limit.rlim_cur;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            die("descriptor limit");
        }
    }
}

static bool read_arguments(struct load *l, char **argv)
{
    return bk_addr_parse(bk_slice_text(argv[2]), 0, &l->server) == BK_OK &&
           bk_number_parse(bk_slice_text(argv[3]), COUNT_MAX, &l->count) == BK_OK && l->count > 0 &&
           bk_equipment_id_parse(bk_slice_text(argv[4]), &l->first) == BK_OK &&
           bk_number_parse(bk_slice_text(argv[5]), 3600, &l->keepalive_s) == BK_OK;
}

int main(int argc, char **argv)
{
    static struct load load;
    struct bk_master_key master[BK_SERVER_EPOCHS_MAX];
    size_t n_master;

    if (argc != 6 || !read_arguments(&load, argv)) {
        fprintf(stderr,
                "usage: load-devices STATE_DIR SERVER_ADDR:PORT COUNT FIRST_ID KEEPALIVE_S\n");
        return 2;
    }
    if (bk_seal_init() != BK_OK || bk_state_master_load(argv[1], master, &n_master) != BK_OK) {
        fprintf(stderr, "load-devices: %s holds no master key that can be read\n", argv[1]);
        return 1;
    }
    raise_descriptor_limit(load.count);
    make_devices(&load, &master[0]);
    bk_wipe(master, sizeof master);
    run(&load);
}
