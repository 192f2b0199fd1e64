/* Host facts and name resolution. As root the tests move into namespaces of their own, where they give
 * themselves addresses, routes, and a name server; without them they check what holds anywhere. */
#include "net/loop.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/host.h"
#include "net/resolve.h"
#include "net/sockaddr.h"
#include "net/udp.h"

enum {
    DNS_PORT = 53,
    DNS_HEADER_BYTES = 12,
};

struct answer {
    unsigned n_calls;
    enum bk_err err;
    size_t n;
    struct bk_addr addrs[BK_RESOLVE_MAX];
    char text[80];
};

struct world {
    struct event_base *base;
    struct patience patience;
    struct bk_resolver *resolver;
    struct answer answer;
    unsigned changes;
    struct bk_udp *dns;
    unsigned dns_asked;
    bool dns_silent;
};

static bool own_namespaces;

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->base = loop_new(&w->patience);
    assert_int_equal(bk_resolver_new(w->base, &w->resolver), BK_OK);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bk_udp_free(w->dns);
    bk_resolver_free(w->resolver);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;
    assert_int_equal(bk_addr_parse(bk_slice_text(text), 1, &a), BK_OK);
    return a;
}

static void run(const char *command)
{
    assert_int_equal(system(command), 0);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* ---- Resolving ---- */

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct world *w = ctx;
    w->answer.n_calls++;
    w->answer.err = err;
    w->answer.n = n;
    memcpy(w->answer.addrs, addrs, n * sizeof *addrs);
    snprintf(w->answer.text, sizeof w->answer.text, "%s", text);
}

static struct bk_resolve *start(struct world *w, const char *host)
{
    struct bk_resolve *q = NULL;
    memset(&w->answer, 0, sizeof w->answer);
    assert_int_equal(bk_resolve_start(w->resolver, host, 1200, on_resolved, w, &q), BK_OK);
    assert_int_equal(w->answer.n_calls, 0); /* never from within */
    return q;
}

static void expect(struct world *w, const char *host, const char *first)
{
    struct bk_addr want = addr(first);
    start(w, host);
    WAIT_FOR(w, w->answer.n_calls == 1);
    assert_int_equal(w->answer.err, BK_OK);
    assert_true(w->answer.n >= 1);
    want.port = 1200;
    assert_true(bk_addr_equal(&w->answer.addrs[0], &want));
}

static void expect_failure(struct world *w, const char *host, enum bk_err err)
{
    start(w, host);
    WAIT_FOR(w, w->answer.n_calls == 1);
    assert_int_equal(w->answer.err, err);
    assert_int_equal(w->answer.n, 0);
    assert_true(strlen(w->answer.text) > 5);
}

static void test_literals(void **state)
{
    struct world *w = *state;
    struct bk_resolve *q = NULL;
    char long_name[300];
    expect(w, "130.74.23.6", "130.74.23.6");
    expect(w, "::1", "::1");
    expect(w, "[2001:db8::7]", "2001:db8::7");
    assert_int_equal(w->answer.n, 1);
    memset(long_name, 'a', sizeof long_name);
    long_name[256] = '\0';
    assert_int_equal(bk_resolve_start(w->resolver, long_name, 1, on_resolved, w, &q),
                     BK_E_MALFORMED);
    assert_int_equal(bk_resolve_start(w->resolver, "", 1, on_resolved, w, &q), BK_E_MALFORMED);
    assert_int_equal(bk_resolve_start(w->resolver, "[]", 1, on_resolved, w, &q), BK_E_MALFORMED);
    assert_int_equal(bk_resolve_start(w->resolver, NULL, 1, on_resolved, w, &q), BK_E_MALFORMED);
}

static void test_cancel(void **state)
{
    struct world *w = *state;
    bk_resolve_cancel(start(w, "127.0.0.1"));
    start(w, "127.0.0.1");
    bk_resolver_free(w->resolver); /* drops the second */
    w->resolver = NULL;
    assert_int_equal(event_base_loop(w->base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(w->answer.n_calls, 0);
}

static void test_hosts_file(void **state)
{
    struct world *w = *state;
    if (!own_namespaces) {
        expect(w, "localhost", "127.0.0.1");
        return;
    }
    put("/etc/hosts", "# 9.9.9.9 server.lab\n"
                      "130.74.23.6\tother.lab  Server.Lab # rest\n"
                      "2001:db8::6 server.lab\n");
    put("/etc/resolv.conf", "");
    expect(w, "server.LAB", "2001:db8::6");
    assert_int_equal(w->answer.n, 2);
    struct bk_addr second = bk_addr_v4(130, 74, 23, 6, 1200);
    assert_true(bk_addr_equal(&w->answer.addrs[1], &second));
    expect(w, "other.lab", "130.74.23.6");
    expect_failure(w, "rest", BK_E_IO);
}

static void test_no_name_server(void **state)
{
    struct world *w = *state;
    if (!own_namespaces) {
        return;
    }
    put("/etc/hosts", "");
    put("/etc/resolv.conf", "# nothing\nsearch lab\n");
    expect_failure(w, "server.lab", BK_E_IO);
    assert_string_equal(w->answer.text, "no name server is configured");
    unlink("/etc/resolv.conf");
    expect_failure(w, "server.lab", BK_E_IO);
    expect(w, "1.2.3.4", "1.2.3.4");
}

/* A name server that knows good.lab: 130.74.23.6 and nothing of IPv6. */
static void on_query(void *ctx, const struct bk_addr *from, struct bk_slice q)
{
    static const uint8_t known[] = {4, 'g', 'o', 'o', 'd', 3, 'l', 'a', 'b', 0};
    static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 130, 74, 23, 6};
    struct world *w = ctx;
    uint8_t out[512];
    w->dns_asked++;
    if (w->dns_silent) {
        return;
    }
    assert_true(q.n > DNS_HEADER_BYTES && q.n < 256);
    size_t name = 0;
    while (q.p[DNS_HEADER_BYTES + name] != 0) {
        name += q.p[DNS_HEADER_BYTES + name] + 1U;
    }
    name++;
    size_t n = DNS_HEADER_BYTES + name + 4;
    memcpy(out, q.p, n);
    bool is_known = name == sizeof known;
    for (size_t i = 0; is_known && i < name; i++) {
        is_known = (q.p[DNS_HEADER_BYTES + i] | 0x20) == (known[i] | 0x20);
    }
    bool is_a = q.p[DNS_HEADER_BYTES + name + 1] == 1;
    out[2] = 0x81;
    out[3] = is_known ? 0x80 : 0x83; /* NXDOMAIN */
    memset(out + 6, 0, 6);
    if (is_known && is_a) {
        out[7] = 1;
        memcpy(out + n, record, sizeof record);
        n += sizeof record;
    }
    assert_true(bk_udp_send(w->dns, from, bk_slice(out, n)));
}

static void test_name_server(void **state)
{
    struct world *w = *state;
    if (!own_namespaces) {
        return;
    }
    struct bk_addr at = bk_addr_v4(127, 0, 0, 1, DNS_PORT);
    struct bk_udp_callbacks on = {.ctx = w, .received = on_query};
    put("/etc/hosts", "");
    put("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    assert_int_equal(bk_udp_new(w->base, &at, false, true, &on, &w->dns), BK_OK);
    expect(w, "good.lab", "130.74.23.6");
    assert_int_equal(w->answer.n, 1);
    assert_int_equal(w->dns_asked, 2); /* both families */
    expect_failure(w, "bad.lab", BK_E_NOTFOUND);
    assert_string_equal(w->answer.text, "no such host name");
    /* Cancelled while its answer is on the way */
    bk_resolve_cancel(start(w, "good.lab"));
    unsigned asked = w->dns_asked;
    expect(w, "good.lab", "130.74.23.6");
    assert_true(w->dns_asked >= asked + 2);
    /* Dropped with the resolver while asking */
    start(w, "good.lab");
    bk_resolver_free(w->resolver);
    w->resolver = NULL;
    assert_int_equal(event_base_loop(w->base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(w->answer.n_calls, 0);
}

static void test_silent_name_server(void **state)
{
    struct world *w = *state;
    if (!own_namespaces) {
        return;
    }
    struct bk_addr at = bk_addr_v4(127, 0, 0, 1, DNS_PORT);
    struct bk_udp_callbacks on = {.ctx = w, .received = on_query};
    put("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    w->dns_silent = true;
    assert_int_equal(bk_udp_new(w->base, &at, false, true, &on, &w->dns), BK_OK);
    expect_failure(w, "good.lab", BK_E_TIMEOUT);
}

/* ---- The host ---- */

static void on_changed(void *ctx)
{
    ((struct world *)ctx)->changes++;
}

static void test_anywhere(void **state)
{
    (void)state;
    struct bk_host_addr addrs[BK_HOST_ADDRS_MAX];
    struct bk_addr gateways[8], source, target = bk_addr_v4(127, 0, 0, 1, 0);
    size_t n = 0;
    assert_int_equal(bk_host_addresses(addrs, BK_HOST_ADDRS_MAX, &n), BK_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(bk_addr_scope(&addrs[i].addr), BK_SCOPE_LOOPBACK);
        assert_true(bk_prefix_contains(&addrs[i].prefix, &addrs[i].addr));
    }
    n = bk_host_gateways(gateways, 8);
    assert_int_equal(bk_host_source_toward(&target, &source), BK_OK);
    assert_true(bk_addr_equal(&source, &target));
}

static void test_own_network(void **state)
{
    struct world *w = *state;
    struct bk_host_addr addrs[BK_HOST_ADDRS_MAX];
    struct bk_addr gateways[8], source, want, target = bk_addr_v4(130, 74, 23, 6, 0);
    struct bk_host_watch *watch = NULL;
    size_t n = 0;
    if (!own_namespaces) {
        return;
    }
    assert_int_equal(bk_host_source_toward(&target, &source), BK_E_NOTFOUND);
    assert_int_equal(bk_host_watch_new(w->base, on_changed, w, &watch), BK_OK);
    run("ip link add lan0 type veth peer name lan1");
    run("ip addr add 192.168.1.3/24 dev lan0");
    run("ip link set lan0 up && ip link set lan1 up");
    run("ip route add default via 192.168.1.1");
    WAIT_FOR(w, w->changes == 1);
    assert_int_equal(bk_host_addresses(addrs, BK_HOST_ADDRS_MAX, &n), BK_OK);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (!bk_addr_is_v4(&addrs[i].addr)) {
            continue;
        }
        want = addr("192.168.1.3");
        assert_true(bk_addr_same_ip(&addrs[i].addr, &want));
        assert_int_equal(addrs[i].addr.port, 0);
        assert_int_equal(addrs[i].prefix.bits, 96 + 24);
        want = addr("192.168.1.0");
        assert_memory_equal(addrs[i].prefix.ip, want.ip, 16);
        found = true;
    }
    assert_true(found);
    assert_int_equal(bk_host_addresses(addrs, 0, &n), BK_OK);
    assert_int_equal(n, 0);
    n = bk_host_gateways(gateways, 8);
    assert_int_equal(n, 1);
    want = addr("192.168.1.1");
    assert_true(bk_addr_same_ip(&gateways[0], &want));
    unsigned interface = 77;
    assert_false(bk_host_gateway6(&gateways[0], &interface));
    run("ip -6 route add default via fe80::1 dev lan0");
    want = addr("fe80::1");
    assert_true(bk_host_gateway6(&gateways[0], &interface));
    assert_true(bk_addr_same_ip(&gateways[0], &want));
    assert_int_equal(interface, if_nametoindex("lan0"));
    assert_int_equal(bk_host_source_toward(&target, &source), BK_OK);
    want = addr("192.168.1.3");
    assert_true(bk_addr_same_ip(&source, &want));
    unsigned before = w->changes;
    run("ip addr add 192.168.1.4/24 dev lan0");
    WAIT_FOR(w, w->changes > before);
    bk_host_watch_free(watch);
}

/* ---- Routes ---- */

static bool none_has(const struct bk_addr *target)
{
    (void)target;
    return false;
}

static bool only_v4(const struct bk_addr *target)
{
    return bk_addr_is_v4(target);
}

static bool only_v6(const struct bk_addr *target)
{
    return !bk_addr_is_v4(target);
}

static void test_keep_routed(void **state)
{
    (void)state;
    const struct bk_addr all[] = {addr("2001:db8::7"), addr("130.74.23.6"), addr("2001:db8::8"),
                                  addr("130.74.23.7")};
    struct bk_addr kept[4];
    memcpy(kept, all, sizeof all);
    assert_int_equal(bk_host_keep_routed(kept, 4, only_v4), 2);
    assert_true(bk_addr_equal(&kept[0], &all[1]) && bk_addr_equal(&kept[1], &all[3]));
    memcpy(kept, all, sizeof all);
    assert_int_equal(bk_host_keep_routed(kept, 4, only_v6), 2);
    assert_true(bk_addr_equal(&kept[0], &all[0]) && bk_addr_equal(&kept[1], &all[2]));
    memcpy(kept, all, sizeof all);
    assert_int_equal(bk_host_keep_routed(kept, 4, none_has), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(bk_addr_equal(&kept[i], &all[i]));
    }
    assert_int_equal(bk_host_keep_routed(kept, 0, only_v4), 0);
}

static void test_has_route(void **state)
{
    (void)state;
    const struct bk_addr v4 = addr("130.74.23.6"), v6 = addr("2001:db8:1::7");
    if (!own_namespaces) {
        return;
    }
    run("ip link add out0 type veth peer name out1 && ip link set out1 up && ip link set out0 up");
    run("ip route del default 2>/dev/null; ip -6 route del default 2>/dev/null; true");
    assert_false(bk_host_has_route(&v4));
    assert_false(bk_host_has_route(&v6));
    run("ip addr add 10.9.8.2/24 dev out0 && ip route add default via 10.9.8.1");
    assert_true(bk_host_has_route(&v4));
    assert_false(bk_host_has_route(&v6));
    /* a default route, and nothing to send from but the address that every link has */
    run("ip -6 route add default via fe80::1 dev out0");
    assert_false(bk_host_has_route(&v6));
    run("ip addr add 2001:db8:2::2/64 dev out0 nodad");
    assert_true(bk_host_has_route(&v6));
    run("ip link del out0");
}

/* A network and a /etc of this process's own; false without the rights. */
static bool enter_namespaces(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
        return false;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/etc", "tmpfs", 0, NULL) != 0) {
        return false;
    }
    return system("ip link set lo up") == 0;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    own_namespaces = enter_namespaces();
    const struct CMUnitTest tests[] = {
        CASE(test_literals),       CASE(test_cancel),      CASE(test_hosts_file),
        CASE(test_no_name_server), CASE(test_name_server), CASE(test_silent_name_server),
        CASE(test_anywhere),       CASE(test_own_network), CASE(test_keep_routed),
        CASE(test_has_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
