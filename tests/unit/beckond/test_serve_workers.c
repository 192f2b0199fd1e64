/* Workers with devices of their own, on loopback: what they decide alone, and what reaches the main thread. */
#include "beckond/serve_world.h"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/beckond/config_defaults.h"
#include "net/own_network.h"
#include "wire/register.h"

enum {
    WORKERS = 3,
    DEVICES = 60,
    ANSWER_MS = 20000,
    QUIET_MS = 150,
    STEP_MS = 5,
};

static const char *const here[] = {"127.0.0.1"};

/* ---- what is heard of on its way (--wrap) ---- */

static struct {
    unsigned datagrams, news;
    uint64_t device; /* of the last news */
} fed;
static atomic_uint timers;

void __real_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
void __wrap_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
void __wrap_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event)
{
    if (event->type == BK_SERVER_ROW_NEWS) {
        fed.news++;
        fed.device = event->row_news.equipment_id;
    } else if (event->type == BK_SERVER_DATAGRAM) {
        fed.datagrams++;
    }
    __real_bk_serve_feed(s, event);
}

void __real_bk_registrar_timer(struct bk_registrar *r, const struct bk_now *now);
void __wrap_bk_registrar_timer(struct bk_registrar *r, const struct bk_now *now);
void __wrap_bk_registrar_timer(struct bk_registrar *r, const struct bk_now *now)
{
    atomic_fetch_add(&timers, 1);
    __real_bk_registrar_timer(r, now);
}

/* ---- a device ---- */

struct device {
    int fd;
    uint64_t id;
    uint32_t counter;
    uint8_t key[BK_KEY_BYTES];
};

static struct device device(uint64_t id)
{
    const uint8_t master[BK_KEY_BYTES] = {0}; /* serve_core's */
    const struct bk_mac_ops mac = bk_mac_openssl();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct device d = {.id = id, .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

    assert_true(d.fd >= 0);
    assert_int_equal(bind(d.fd, (struct sockaddr *)&at, sizeof at), 0);
    bk_registration_key(&mac, master, id, 1, d.key);
    return d;
}

static void say(const struct bk_serve *s, const struct device *d, struct bk_slice bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(s->config.udp_port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};

    assert_int_equal(sendto(d->fd, bytes.p, bytes.n, 0, (struct sockaddr *)&to, sizeof to),
                     (ssize_t)bytes.n);
}

/* What comes from the first port within that time; nothing: empty. `turn`: the main thread works meanwhile. */
static struct bk_slice hear(struct bk_serve *s, const struct device *d, bool turn, int wait_ms)
{
    static uint8_t buf[BK_REGISTRAR_REPLY_BYTES];
    struct pollfd p = {.fd = d->fd, .events = POLLIN};
    struct sockaddr_in from = {.sin_port = 0};
    socklen_t len = sizeof from;
    ssize_t n;

    for (int waited = 0; waited < wait_ms && poll(&p, 1, STEP_MS) == 0; waited += STEP_MS) {
        assert_true(!turn || event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
    }
    n = recvfrom(d->fd, buf, sizeof buf, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    if (n < 0) {
        return BK_SLICE_EMPTY;
    }
    assert_int_equal(ntohs(from.sin_port), s->config.udp_port);
    return bk_slice(buf, (size_t)n);
}

static struct bk_register asking(struct device *d, struct bk_slice nonce)
{
    return (struct bk_register){.equipment_id = d->id,
                                .generation = 1,
                                .tag = {.random = d->id, .counter = ++d->counter},
                                .nonce = nonce};
}

static void ask(const struct bk_serve *s, struct device *d, struct bk_slice nonce)
{
    const uint8_t txid[BK_STUN_TXID_BYTES] = {1, (uint8_t)d->counter};
    const struct bk_mac_ops mac = bk_mac_openssl();
    struct bk_register r = asking(d, nonce);
    uint8_t buf[256];
    struct bk_slice b;

    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &r, &mac, BK_SLICE_OF(d->key), &b),
                     BK_OK);
    say(s, d, b);
}

/* The answer's code: 0 is success; the nonce that came with it. */
static uint16_t code_of(const struct device *d, struct bk_slice bytes, char nonce[BK_NONCE_BYTES])
{
    const struct bk_mac_ops mac = bk_mac_openssl();
    struct bk_register_answer a;
    struct bk_stun m;

    assert_int_equal(bk_stun_read(bytes, &m), BK_OK);
    assert_int_equal(bk_register_answer_read(&m, &mac, BK_SLICE_OF(d->key), &a), BK_OK);
    if (a.nonce.n == BK_NONCE_BYTES) {
        memcpy(nonce, a.nonce.p, BK_NONCE_BYTES);
    }
    return a.code;
}

/* With the main thread at rest. */
static void register_it(struct bk_serve *s, struct device *d)
{
    char nonce[BK_NONCE_BYTES] = "";

    ask(s, d, BK_SLICE_EMPTY);
    assert_int_equal(code_of(d, hear(s, d, false, ANSWER_MS), nonce), BK_CODE_STALE_NONCE);
    ask(s, d, bk_slice(nonce, BK_NONCE_BYTES));
    assert_int_equal(code_of(d, hear(s, d, false, ANSWER_MS), nonce), 0);
}

/* ---- tests ---- */

static void workers_register_devices_while_the_main_thread_rests(void **state)
{
    struct bk_serve *s = serve_open(here, 1, WORKERS);
    struct bk_server_row row;

    (void)state;
    fed.datagrams = 0;
    for (uint64_t id = 1; id <= DEVICES; id++) {
        struct device d = device(id);
        register_it(s, &d);
        ask(s, &d, BK_SLICE_EMPTY); /* a keepalive */
        char nonce[BK_NONCE_BYTES];
        assert_int_equal(code_of(&d, hear(s, &d, false, ANSWER_MS), nonce), 0);
        assert_true(bk_server_find(s->core, id, &row));
        close(d.fd);
    }
    assert_int_equal(bk_server_rows(s->core), DEVICES);
    for (uint32_t i = 0; i < WORKERS; i++) {
        bk_serve_workers_lock(s->workers).enter(s->workers, i);
        assert_true(bk_registrar_rows(bk_server_shard(s->core, i)) > 0);
        bk_serve_workers_lock(s->workers).leave(s->workers, i);
    }
    assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
    assert_int_equal(fed.datagrams, 0);
    serve_free(s);
}

/* As no device of ours writes it: the kernel finds no equipment ID where it looks. */
static void ask_oddly(const struct bk_serve *s, struct device *d, uint8_t last_of_txid)
{
    const uint8_t txid[BK_STUN_TXID_BYTES] = {[BK_STUN_TXID_BYTES - 1] = last_of_txid};
    const struct bk_mac_ops mac = bk_mac_openssl();
    struct bk_register r = asking(d, BK_SLICE_EMPTY);
    uint8_t usual[256], buf[256];
    struct bk_slice b;
    struct bk_stun m;
    struct bk_slice value;
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);

    assert_int_equal(
        bk_register_write(usual, sizeof usual, txid, &r, &mac, BK_SLICE_OF(d->key), &b), BK_OK);
    assert_int_equal(bk_stun_read(b, &m), BK_OK);
    static const uint16_t order[] = {BK_ATTR_TAG, BK_ATTR_REGISTRATION, BK_ATTR_EQUIPMENT_ID};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        assert_true(bk_stun_find(&m, order[i], &value));
        bk_stun_put(&w, order[i], value);
    }
    bk_stun_put_sha256(&w, &mac, BK_SLICE_OF(d->key), BK_STUN_SHORT_MAC_BYTES);
    bk_stun_put_fingerprint(&w);
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    say(s, d, b);
}

static void what_comes_to_another_shard_is_answered_by_the_main_thread(void **state)
{
    struct bk_serve *s = serve_open(here, 1, WORKERS);
    struct device d = device(2133);
    uint8_t own = (uint8_t)bk_shard_of(d.id, WORKERS);
    char nonce[BK_NONCE_BYTES];

    (void)state;
    register_it(s, &d);
    fed.datagrams = 0;
    ask_oddly(s, &d, own);
    assert_int_equal(code_of(&d, hear(s, &d, false, ANSWER_MS), nonce), 0);
    ask_oddly(s, &d, (uint8_t)(own + 1));
    assert_int_equal(hear(s, &d, false, QUIET_MS).n, 0);
    assert_int_equal(code_of(&d, hear(s, &d, true, ANSWER_MS), nonce), 0);
    assert_int_equal(fed.datagrams, 1);
    /* Not a reason to bother the main thread. */
    d.key[0] ^= 1;
    ask_oddly(s, &d, (uint8_t)(own + 1));
    assert_int_equal(hear(s, &d, true, QUIET_MS).n, 0);
    assert_int_equal(fed.datagrams, 1);
    close(d.fd);
    serve_free(s);
}

static void news_of_an_awaited_device_reach_the_main_thread(void **state)
{
    struct bk_serve *s = serve_open(here, 1, WORKERS);
    struct device d = device(2133), other = device(2134);
    uint32_t shard = bk_shard_of(d.id, WORKERS);
    struct bk_shard_lock lock = bk_serve_workers_lock(s->workers);

    (void)state;
    lock.enter(lock.ctx, shard);
    assert_int_equal(bk_registrar_await(bk_server_shard(s->core, shard), d.id), BK_OK);
    lock.leave(lock.ctx, shard);
    fed.news = 0;
    register_it(s, &other);
    register_it(s, &d);
    for (int waited = 0; waited < ANSWER_MS && fed.news == 0; waited += STEP_MS) {
        assert_int_equal(hear(s, &d, true, STEP_MS).n, 0);
    }
    assert_int_equal(fed.news, 1);
    assert_int_equal(fed.device, d.id);
    close(d.fd);
    close(other.fd);
    serve_free(s);
}

static void the_core_sends_by_the_port_that_devices_know(void **state)
{
    struct bk_serve *s = serve_open(here, 1, WORKERS);
    struct device d = device(2133);
    struct bk_server_row row;
    struct bk_server_action action = {.type = BK_SERVER_SEND_DATAGRAM};
    struct bk_slice heard;

    (void)state;
    register_it(s, &d);
    assert_true(bk_server_find(s->core, d.id, &row));
    action.datagram.to = row.addr;
    action.datagram.bytes = bk_slice("notified", 8);
    for (uint8_t shard = 0; shard < WORKERS; shard++) {
        action.datagram.shard = shard;
        bk_serve_send_datagram(s, &action);
        heard = hear(s, &d, false, ANSWER_MS);
        assert_true(bk_slice_equal(heard, action.datagram.bytes));
    }
    close(d.fd);
    serve_free(s);
}

/* Of all addresses one shard's rows, and one of its workers looks at the time. */
static void shards_keep_their_time_by_themselves(void **state)
{
    static const char *const both[] = {"127.0.0.1", "127.0.0.2"};
    struct bk_serve *s = serve_open(both, 2, 1);
    struct device d = device(2133);

    (void)state;
    register_it(s, &d);
    atomic_store(&timers, 0);
    for (int waited = 0; waited < ANSWER_MS && atomic_load(&timers) < 2; waited += STEP_MS) {
        assert_int_equal(poll(NULL, 0, STEP_MS), 0);
    }
    assert_true(atomic_load(&timers) >= 2);
    close(d.fd);
    serve_free(s);
}

static void as_many_as_there_are_processors(void **state)
{
    cpu_set_t set;
    struct bk_serve *s = serve_open(here, 1, 0);
    int n;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    n = CPU_COUNT(&set);
    assert_int_equal(bk_serve_workers_shards(s->workers),
                     n < BK_CONFIG_DEFAULT_WORKERS_MAX ? n : BK_CONFIG_DEFAULT_WORKERS_MAX);
    serve_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_register_devices_while_the_main_thread_rests),
        cmocka_unit_test(what_comes_to_another_shard_is_answered_by_the_main_thread),
        cmocka_unit_test(news_of_an_awaited_device_reach_the_main_thread),
        cmocka_unit_test(the_core_sends_by_the_port_that_devices_know),
        cmocka_unit_test(shards_keep_their_time_by_themselves),
        cmocka_unit_test(as_many_as_there_are_processors),
    };
    (void)own_network_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
