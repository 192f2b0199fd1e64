/* The relay on real sockets: what it carries arrives, whole and in order, and ends as it was ended. */
#include "beckond/relay_world.h"
#include "net/clock.h"

static void test_bytes_both_ways(void **state)
{
    struct world *w = *state;
    struct bk_addr relayed, here;
    struct bk_turn_attempt attempt;
    char got[16] = "";
    int control = world_allocate(w, NULL, &relayed), peer = world_peer(&relayed), client;

    assert_true(peer >= 0);
    assert_int_equal(send(peer, "early", 5, 0), 5); /* before there is anybody to read it */
    attempt = world_attempt(w, control);
    here = bk_sockaddr_local(peer);
    assert_true(bk_addr_equal(&attempt.peer, &here));
    /* What follows ConnectionBind at once is the peer's already. */
    client = world_bind(w, attempt.connection_id, bk_slice_text("eager"));
    world_read_all(w, client, got, 5);
    assert_memory_equal(got, "early", 5);
    world_read_all(w, peer, got, 5);
    assert_memory_equal(got, "eager", 5);
    assert_int_equal(send(client, "question", 8, 0), 8);
    world_read_all(w, peer, got, 8);
    assert_memory_equal(got, "question", 8);
    assert_int_equal(send(peer, "answer", 6, 0), 6);
    world_read_all(w, client, got, 6);
    assert_memory_equal(got, "answer", 6);
    close(control);
    close(client);
    close(peer);
}

/* One end's last bytes and its end arrive; the other way goes on until it ends too. */
static void test_half_close(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 2; i++) {
        struct joined j = world_join(w);
        int first = i == 0 ? j.client : j.peer, second = i == 0 ? j.peer : j.client;
        char got[16];
        assert_int_equal(send(first, "last words", 10, 0), 10);
        assert_int_equal(shutdown(first, SHUT_WR), 0);
        world_read_all(w, second, got, 10);
        assert_int_equal(world_read(w, second, got, sizeof got), 0);
        for (int n = 0; n < 3; n++) {
            assert_int_equal(send(second, "more", 4, 0), 4);
            world_read_all(w, first, got, 4);
        }
        close(second);
        assert_int_equal(world_read(w, first, got, sizeof got), 0);
        close(first);
        close(j.control);
    }
}

static void test_reset(void **state)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct world *w = *state;

    for (int i = 0; i < 2; i++) {
        struct joined j = world_join(w);
        int first = i == 0 ? j.client : j.peer, second = i == 0 ? j.peer : j.client;
        char got[16];
        assert_int_equal(setsockopt(first, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
        close(first);
        assert_int_equal(world_read(w, second, got, sizeof got), -1);
        assert_int_equal(errno, ECONNRESET);
        close(second);
        close(j.control);
    }
}

/* Bytes of a pattern by their place in the stream. */
static void fill_pattern(uint8_t *p, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t x = (at + i) * UINT64_C(0x9E3779B97F4A7C15);
        p[i] = (uint8_t)(x >> 56);
    }
}

struct flow {
    int from, to;
    uint64_t sent, got, total;
};

/* As much as goes now. */
static void push(struct flow *f)
{
    static uint8_t buf[65536];

    while (f->sent < f->total) {
        uint64_t left = f->total - f->sent;
        size_t n = left < sizeof buf ? (size_t)left : sizeof buf;
        ssize_t done;
        fill_pattern(buf, n, f->sent);
        done = send(f->from, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0) {
            assert_int_equal(errno, EAGAIN);
            return;
        }
        f->sent += (uint64_t)done;
        if (f->sent == f->total) {
            assert_int_equal(shutdown(f->from, SHUT_WR), 0);
        }
    }
}

/* Takes what is there. True: the end. */
static bool pull(struct flow *f)
{
    static uint8_t buf[65536], expected[65536];

    for (;;) {
        ssize_t n = recv(f->to, buf, sizeof buf, MSG_DONTWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return false;
        }
        if (n == 0) {
            return true;
        }
        fill_pattern(expected, (size_t)n, f->got);
        assert_memory_equal(buf, expected, (size_t)n);
        f->got += (uint64_t)n;
    }
}

static void run_flows(struct world *w, struct flow *flows, size_t n)
{
    bk_time until = bk_clock_mono() + 6 * PATIENCE_MS * BK_MS;
    bool all = false;

    while (!all) {
        all = true;
        for (size_t i = 0; i < n; i++) {
            push(&flows[i]);
            world_turn(w);
            all = pull(&flows[i]) && all;
        }
        assert_true(bk_clock_mono() < until);
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(flows[i].got, flows[i].total);
    }
}

static void test_fifty_megabytes_both_ways(void **state)
{
    struct world *w = *state;
    struct joined j = world_join(w);
    struct flow flows[] = {{.from = j.client, .to = j.peer, .total = 50 << 20},
                           {.from = j.peer, .to = j.client, .total = (50 << 20) + 1}};

    run_flows(w, flows, 2);
    joined_close(&j);
}

/* Who does not read stops who writes; then all of it arrives. */
static void test_back_pressure(void **state)
{
    struct world *w = *state;
    struct joined j = world_join(w);
    struct flow out = {.from = j.client, .to = j.peer, .total = 200 << 20};
    struct flow back = {.from = j.peer, .to = j.client, .total = 1 << 20};
    uint64_t before = 1;

    for (int still = 0; still < 50;) {
        push(&out);
        world_turn(w);
        still = out.sent == before ? still + 1 : 0;
        before = out.sent;
        (void)poll(NULL, 0, 1);
    }
    assert_true(out.sent < 64 << 20);
    run_flows(w, &back, 1); /* the other way does not care */
    out.total = out.sent;
    assert_int_equal(shutdown(out.from, SHUT_WR), 0);
    run_flows(w, &out, 1);
    joined_close(&j);
}

/* The end of an allocation is the end of what it carries, and of its port. */
static void test_given_back(void **state)
{
    struct world *w = *state;
    struct joined j = world_join(w);
    struct bk_turn_answer answer;
    struct bk_turn_request zero = {.method = BK_METHOD_REFRESH, .has_lifetime = true};
    char got[16];
    uint32_t conns, allocations;

    assert_int_equal(world_ask(w, j.control, &zero, &answer), 0);
    assert_int_equal(world_read(w, j.peer, got, sizeof got), -1);
    assert_int_equal(world_read(w, j.client, got, sizeof got), -1);
    assert_int_equal(world_peer(&j.relayed), -1);
    bk_relay_count(w->relay, &conns, &allocations);
    assert_int_equal(allocations, 0);
    joined_close(&j);
}

static void test_control_closed(void **state)
{
    struct world *w = *state;
    struct joined j = world_join(w);
    char got[16];

    close(j.control);
    assert_int_equal(world_read(w, j.peer, got, sizeof got), -1);
    assert_int_equal(world_peer(&j.relayed), -1);
    close(j.client);
    close(j.peer);
}

static void test_user_ended(void **state)
{
    struct world *w = *state;
    struct joined j = world_join(w);
    char got[16];

    bk_relay_end_user(w->relay, bk_slice_text("bob"));
    world_turn(w);
    assert_int_equal(send(j.client, "x", 1, 0), 1);
    assert_int_equal(world_read(w, j.peer, got, sizeof got), 1);
    bk_relay_end_user(w->relay, bk_slice_text("alice"));
    assert_int_equal(world_read(w, j.peer, got, sizeof got), -1);
    assert_true(world_read(w, j.control, got, sizeof got) <= 0);
    joined_close(&j);
}

static void test_may_not_use(void **state)
{
    struct world *w = *state;
    int control = world_client(w);
    struct bk_turn_answer answer;
    struct bk_turn_request request = {.method = BK_METHOD_ALLOCATE,
                                      .transport = BK_TURN_TRANSPORT_TCP};

    w->may_use = false;
    assert_int_equal(world_ask(w, control, &request, &answer), 403);
    close(control);
}

/* By the server's own port: not a byte of the ClientHello is taken away. */
static void test_named(void **state)
{
    struct world *w = *state;
    struct bk_addr relayed, from;
    int fds[2], control, client;
    char got[16];

    tcp_pair(fds);
    from = bk_sockaddr_remote(fds[1]);
    assert_int_equal(send(fds[0], "hello", 5, 0), 5);
    assert_false(bk_relay_take_named(w->relay, fds[1], &from, "abc.call"));
    control = world_allocate(w, "abcabcab00000000abcabcab00000000.call.invalid", &relayed);
    assert_true(bk_relay_take_named(w->relay, fds[1], &from,
                                    "ABCABCAB00000000abcabcab00000000.call.invalid"));
    client = world_bind(w, world_attempt(w, control).connection_id, BK_SLICE_EMPTY);
    world_read_all(w, client, got, 5);
    assert_memory_equal(got, "hello", 5);
    close(fds[0]);
    assert_int_equal(world_read(w, client, got, sizeof got), 0);
    close(client);
    close(control);
}

/* A call's name that nobody goes by: reset, and nobody is told anything; the server's own names are TLS's as before. */
static void test_named_unknown(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"0123456789abcdef0123456789abcdef.call.invalid",
                                        "0123.CALL.invalid"};
    static const char *const others[] = {"server.lab", ".call.invalid", "call.invalid",
                                         "x.call.invalid.server.lab"};
    int fds[2];
    char byte;

    for (size_t i = 0; i < 2; i++) {
        tcp_pair(fds);
        struct bk_addr from = bk_sockaddr_remote(fds[1]);
        assert_int_equal(send(fds[0], "hello", 5, 0), 5);
        assert_true(bk_relay_take_named(w->relay, fds[1], &from, names[i]));
        assert_int_equal(world_read(w, fds[0], &byte, 1), -1);
        assert_int_equal(errno, ECONNRESET);
        close(fds[0]);
    }
    tcp_pair(fds);
    struct bk_addr from = bk_sockaddr_remote(fds[1]);
    for (size_t i = 0; i < 4; i++) {
        assert_false(bk_relay_take_named(w->relay, fds[1], &from, others[i]));
    }
    close(fds[0]);
    close(fds[1]);
}

static void test_garbage(void **state)
{
    struct world *w = *state;
    static const char *const what[] = {"GET / HTTP/1.0\r\n\r\n....",
                                       "\0\3\xFF\xFC!\x12\xA4\x42...........",
                                       "\0\3\0\4!\x12\xA4\x42transaction!\0\6\0\x40"};
    static const size_t n[] = {22, 20, 24};

    for (size_t i = 0; i < 3; i++) {
        int fd = world_client(w);
        char got[16];
        assert_int_equal(send(fd, what[i], n[i], 0), n[i]);
        assert_true(world_read(w, fd, got, sizeof got) <= 0);
        close(fd);
    }
}

static void test_connect(void **state)
{
    struct world *w = *state;
    struct bk_addr relayed, at, any = bk_addr_v4(127, 0, 0, 1, 0);
    struct bk_turn_answer answer;
    struct bk_turn_request request = {.method = BK_METHOD_TURN_CONNECT, .n_peers = 1};
    int control, client, peer, listener = -1, family = 0;
    char got[8];

    bk_relay_free(w->relay);
    w->config.relay_connect = true;
    w->nonce[0] = '\0';
    world_new_relay(w);
    control = world_allocate(w, NULL, &relayed);
    assert_int_equal(bk_socket_bind(SOCK_STREAM, &any, false, &listener, &family), BK_OK);
    at = bk_sockaddr_local(listener);
    request.peers[0] = at;
    assert_int_equal(world_ask(w, control, &request, &answer), 447); /* nobody listens yet */
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(world_ask(w, control, &request, &answer), 0);
    peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(peer >= 0);
    at = bk_sockaddr_remote(peer);
    assert_true(bk_addr_equal(&at, &relayed)); /* from the relayed address itself */
    client = world_bind(w, answer.connection_id, BK_SLICE_EMPTY);
    assert_int_equal(send(client, "x", 1, 0), 1);
    world_read_all(w, peer, got, 1);
    close(control);
    close(client);
    close(peer);
    close(listener);
}

static void test_rate(void **state)
{
    struct world *w = *state;
    struct bk_config slow = w->config;
    struct joined j = world_join(w);
    struct flow flow = {.from = j.client, .to = j.peer, .total = 600000};
    bk_time start = bk_clock_mono();

    slow.relay_user_bytes_per_s = 800000; /* a quarter at once: what is left takes half a second */
    bk_relay_reload(w->relay, &slow);
    run_flows(w, &flow, 1);
    assert_in_range((bk_clock_mono() - start) / BK_MS, 450, 5000);
    joined_close(&j);
}

static void test_secret(void **state)
{
    struct world *w = *state;
    char path[96], first[BK_TURN_PASSWORD_TEXT_BYTES];
    struct stat st;
    uint64_t now_s = bk_clock_unix_s();

    (void)snprintf(path, sizeof path, "%s/relay.secret", w->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 32);
    bk_relay_offer(w->relay, bk_slice_text("alice"), now_s, &w->offer, &w->info);
    memcpy(first, w->offer.password, sizeof first);
    bk_relay_free(w->relay);
    world_new_relay(w);
    w->info.n_relays = 0;
    bk_relay_offer(w->relay, bk_slice_text("alice"), now_s, &w->offer, &w->info);
    assert_string_equal(first, w->offer.password);
    bk_relay_free(w->relay);
    w->relay = NULL;
    assert_int_equal(truncate(path, 31), 0);
    struct bk_relay_start start = {.base = w->base, .config = &w->config, .dir = w->dir};
    assert_int_equal(bk_relay_new(&start, &w->relay), BK_E_MALFORMED);
}

static void test_offer(void **state)
{
    struct world *w = *state;
    struct bk_config config = w->config;
    struct bk_info info = {.n_relays = 0};

    bk_relay_offer(w->relay, bk_slice_text("alice"), 1000, &w->offer, &info);
    assert_int_equal(info.n_relays, 2);
    assert_int_equal(info.relays[0].port, 1201);
    assert_int_equal(info.relays[0].host.n, 0);
    assert_int_equal(info.relays[1].port, 1300);
    assert_string_equal(w->offer.username, "4600:alice");
    assert_int_equal(info.lifetime_s, 3600);
    info.n_relays = 0;
    bk_relay_offer(w->relay, BK_SLICE_EMPTY, 1000, &w->offer, &info);
    assert_int_equal(info.n_relays, 0);
    bk_relay_offer(w->relay, bk_slice_text("alice"), 0, &w->offer, &info);
    assert_int_equal(info.n_relays, 0);
    config.relay = false;
    bk_relay_reload(w->relay, &config);
    bk_relay_offer(w->relay, bk_slice_text("alice"), 1000, &w->offer, &info);
    assert_int_equal(info.n_relays, 0);
    int fds[2];
    tcp_pair(fds);
    assert_false(bk_relay_take(w->relay, fds[1], &(struct bk_addr){.port = 1}));
    close(fds[0]);
    close(fds[1]);
    /* coturn's own documented convention, computed elsewhere: openssl dgst -sha1 -hmac north */
    (void)snprintf(config.external_relay, sizeof config.external_relay, "[2001:4860::1]:3478");
    (void)snprintf(config.external_relay_secret, sizeof config.external_relay_secret, "north");
    bk_relay_reload(w->relay, &config);
    bk_relay_offer(w->relay, bk_slice_text("alice"), 1000, &w->offer, &info);
    assert_int_equal(info.n_relays, 1);
    assert_int_equal(info.relays[0].port, 3478);
    assert_true(bk_slice_equal(info.relays[0].host, bk_slice_text("2001:4860::1")));
    assert_string_equal(w->offer.username, "87400:alice");
    assert_string_equal(w->offer.password, "Zwdxk2HCh/rwZv1ktOGIwbin5l4=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_bytes_both_ways), WORLD_TEST(test_half_close),
        WORLD_TEST(test_reset),           WORLD_TEST(test_fifty_megabytes_both_ways),
        WORLD_TEST(test_back_pressure),   WORLD_TEST(test_given_back),
        WORLD_TEST(test_control_closed),  WORLD_TEST(test_user_ended),
        WORLD_TEST(test_may_not_use),     WORLD_TEST(test_named),
        WORLD_TEST(test_named_unknown),   WORLD_TEST(test_garbage),
        WORLD_TEST(test_connect),         WORLD_TEST(test_rate),
        WORLD_TEST(test_secret),          WORLD_TEST(test_offer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
