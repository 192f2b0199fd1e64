/* The server's UDP sockets, on loopback: from which port and address an answer leaves, and what INFO tells of them. */
#include "beckond/serve_world.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/own_network.h"
#include "wire/binding.h"

enum {
    ANSWER_MS = 20000,
    QUIET_MS = 150,
    WORKERS = 2,
};

static struct sockaddr_in at(const char *ip, uint16_t port)
{
    struct bk_addr a;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};

    assert_int_equal(bk_addr_parse(bk_slice_text(ip), 1, &a), BK_OK);
    memcpy(&sin.sin_addr, a.ip + 12, 4);
    return sin;
}

static int client(void)
{
    struct sockaddr_in sin = at("127.0.0.9", 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    return fd;
}

/* Asks there, and tells where the answer came from; port 0: there was none. */
static struct sockaddr_in ask(struct bk_serve *s, int fd, const char *ip, uint16_t port,
                              uint8_t change, int wait_ms)
{
    const uint8_t value[4] = {0, 0, 0, change};
    const uint8_t txid[BK_STUN_TXID_BYTES] = {change, 7};
    uint8_t buf[256];
    struct bk_slice b;
    struct sockaddr_in to = at(ip, port), from = {.sin_port = 0};
    socklen_t len = sizeof from;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct bk_stun m;
    struct bk_addr mapped;
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);

    bk_stun_put(&w, BK_ATTR_CHANGE_REQUEST, BK_SLICE_OF(value));
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    assert_int_equal(sendto(fd, b.p, b.n, 0, (struct sockaddr *)&to, sizeof to), (ssize_t)b.n);
    for (int waited = 0; waited < wait_ms && poll(&p, 1, 10) == 0; waited += 10) {
        assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
    }
    ssize_t n = recvfrom(fd, buf, sizeof buf, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    if (n < 0) {
        return (struct sockaddr_in){.sin_port = 0};
    }
    assert_int_equal(bk_stun_read(bk_slice(buf, (size_t)n), &m), BK_OK);
    assert_memory_equal(m.txid, txid, sizeof txid);
    assert_int_equal(bk_binding_response_read(&m, &mapped), BK_OK);
    return from;
}

static void expect(struct bk_serve *s, int fd, const char *ip, uint16_t port, uint8_t change,
                   const char *from_ip, uint16_t from_port)
{
    struct sockaddr_in right = at(from_ip, from_port);
    struct sockaddr_in from = ask(s, fd, ip, port, change, ANSWER_MS);

    assert_int_equal(ntohs(from.sin_port), from_port);
    assert_int_equal(from.sin_addr.s_addr, right.sin_addr.s_addr);
}

static void answers_leave_by_the_port_and_address_that_were_asked_for(void **state)
{
    static const char *const listen[] = {"127.0.0.1", "127.0.0.2"};
    struct bk_serve *s = serve_open(listen, 2, WORKERS);
    uint16_t first = s->config.udp_port, second = s->config.second_udp_port;
    int fd = client();

    (void)state;
    assert_int_equal(bk_serve_changes(s), BK_CHANGE_PORT | BK_CHANGE_IP);
    expect(s, fd, "127.0.0.1", first, 0, "127.0.0.1", first);
    expect(s, fd, "127.0.0.1", first, BK_CHANGE_PORT, "127.0.0.1", second);
    expect(s, fd, "127.0.0.1", second, 0, "127.0.0.1", second);
    expect(s, fd, "127.0.0.1", second, BK_CHANGE_PORT, "127.0.0.1", first);
    expect(s, fd, "127.0.0.2", first, BK_CHANGE_IP, "127.0.0.1", first);
    expect(s, fd, "127.0.0.1", first, BK_CHANGE_IP | BK_CHANGE_PORT, "127.0.0.2", second);
    expect(s, fd, "127.0.0.1", second, BK_CHANGE_IP | BK_CHANGE_PORT, "127.0.0.2", first);
    close(fd);
    serve_free(s);
}

/* One socket for all addresses: the other port's answers leave from the address that was asked, too. */
static void where_the_server_listens_on_all_addresses_the_address_stays(void **state)
{
    static const char *const listen[] = {"0.0.0.0"};
    struct bk_serve *s = serve_open(listen, 1, WORKERS);
    uint16_t first = s->config.udp_port, second = s->config.second_udp_port;
    int fd = client();

    (void)state;
    assert_int_equal(bk_serve_changes(s), BK_CHANGE_PORT);
    for (int i = 0; i < 2; i++) { /* the sockets come to know the addresses in different orders */
        expect(s, fd, "127.0.0.5", second, 0, "127.0.0.5", second);
        expect(s, fd, "127.0.0.4", first, BK_CHANGE_PORT, "127.0.0.4", second);
        expect(s, fd, "127.0.0.3", second, BK_CHANGE_PORT, "127.0.0.3", first);
        expect(s, fd, "127.0.0.5", first, BK_CHANGE_PORT, "127.0.0.5", second);
    }
    assert_int_equal(ask(s, fd, "127.0.0.5", first, BK_CHANGE_IP, QUIET_MS).sin_port, 0);
    close(fd);
    serve_free(s);
}

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;

    assert_int_equal(bk_addr_parse(bk_slice_text(text), 0, &a), BK_OK);
    return a;
}

/* What INFO tells somebody from `remote` who is connected to `local`; `right` ends with NULL. */
static void tells(const struct bk_serve *s, const char *local, const char *remote,
                  const char *const *right)
{
    struct bk_addr out[BK_INFO_BINDINGS_MAX], l = addr(local), r = addr(remote);
    size_t n = bk_serve_bindings(s, &l, &r, out);
    size_t i = 0;

    for (; right[i] != NULL; i++) {
        struct bk_addr expected = addr(right[i]);
        assert_true(i < n && bk_addr_equal(&out[i], &expected));
    }
    assert_int_equal(n, i);
}

static void what_is_told_is_what_the_asker_can_reach(void **state)
{
    static const char *const nothing[] = {NULL};
    static const char *const usual[] = {"4.17.168.6:1200", NULL};
    static const char *const any[] = {"::"};
    static const char *const any4[] = {"0.0.0.0"};
    static const char *const two[] = {"4.17.168.6", "2a00::6", "4.17.168.7", "10.0.0.7"};
    static const char *const port[] = {"4.17.168.6:1200", "4.17.168.6:1202", NULL};
    static const char *const port6[] = {"[2a00::6]:1200", "[2a00::6]:1202", NULL};
    static const char *const private[] = {"10.0.0.7:1200", "10.0.0.7:1202", NULL};
    static const char *const all[] = {"4.17.168.6:1200", "4.17.168.6:1202", "4.17.168.7:1200",
                                      "4.17.168.7:1202", NULL};
    struct bk_serve *s = serve_new(any, 1);

    (void)state;
    tells(s, "4.17.168.6:1201", "9.9.9.9:5", port);
    tells(s, "[2a00::6]:1201", "[2a01::1]:5", port6);
    tells(s, "10.0.0.7:1201", "10.0.0.8:5", private);
    tells(s, "10.0.0.7:1201", "9.9.9.9:5",
          nothing); /* behind a NAT: it has another address outside */
    s->config.answer_binding = false;
    tells(s, "4.17.168.6:1201", "9.9.9.9:5", nothing);
    serve_free(s);

    s = serve_new(any4, 1);
    tells(s, "4.17.168.6:1201", "9.9.9.9:5", port);
    tells(s, "[2a00::6]:1201", "[2a01::1]:5", nothing);
    s->config.second_udp_port = 0;
    tells(s, "4.17.168.6:1201", "9.9.9.9:5", usual);
    assert_int_equal(bk_serve_changes(s), 0);
    serve_free(s);

    s = serve_new(two, 4);
    tells(s, "4.17.168.6:1201", "9.9.9.9:5", all);
    tells(s, "[2a00::6]:1201", "[2a01::1]:5", port6); /* no other of its family */
    tells(s, "10.0.0.7:1201", "10.0.0.8:5", private);
    tells(s, "4.17.168.9:1201", "9.9.9.9:5", nothing); /* nobody hears there */
    serve_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_leave_by_the_port_and_address_that_were_asked_for),
        cmocka_unit_test(where_the_server_listens_on_all_addresses_the_address_stays),
        cmocka_unit_test(what_is_told_is_what_the_asker_can_reach),
    };
    (void)own_network_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
