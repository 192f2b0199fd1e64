/* Port mapping against a router of the test's own, NAT-PMP and UPnP-IGD, on loopback and in a thread of its
 * own (bk_portmap_free waits for the router). Discovery by multicast is left to the end-to-end laboratory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/portmap.h"

/* ---- The router ---- */

static struct router {
    pthread_t thread;
    struct event_base *base;
    int udp, stop_fd;
    struct evhttp *http;
    char url[64];
    struct bk_addr gateway;
    /* How it behaves; set before or while it runs. */
    atomic_uint ip; /* the outer address, host order */
    atomic_bool silent;
    atomic_bool refuses;
    atomic_bool twice;       /* answers NAT-PMP as routers do that were asked again */
    atomic_uint grants_port; /* 0: the one asked for */
    atomic_uint version;     /* of WANIPConnection */
    atomic_uint conflicts;   /* so many UPnP requests end in 718 */
    atomic_bool permanent_only;
    /* What it saw. */
    atomic_uint maps, unmaps, held, most_held, last_port, last_lease;
} router;

static void note_map(unsigned port, unsigned lease)
{
    router.last_port = port;
    router.last_lease = lease;
    router.maps++;
    if (router.held == 0) {
        router.held = 1;
    }
    router.most_held = router.held > router.most_held ? router.held : router.most_held;
}

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    uint8_t in[64], out[16] = {0};
    struct sockaddr_in from;
    socklen_t from_n = sizeof from;
    ssize_t n = recvfrom(fd, in, sizeof in, 0, (struct sockaddr *)&from, &from_n);
    if (n < 2 || router.silent) {
        return;
    }
    out[1] = (uint8_t)(in[1] + 128);
    out[3] = router.refuses && in[1] != 0 ? 2 : 0;
    size_t out_n = 16;
    if (in[1] == 0) {
        uint32_t ip = htonl(router.ip);
        memcpy(out + 8, &ip, 4);
        out_n = 12;
    } else if (n >= 12) {
        unsigned lease =
            (unsigned)in[8] << 24 | (unsigned)in[9] << 16 | (unsigned)in[10] << 8 | in[11];
        unsigned port = lease == 0 || router.grants_port == 0 ? (unsigned)in[6] << 8 | in[7]
                                                              : router.grants_port;
        memcpy(out + 8, in + 4, 2);
        out[10] = (uint8_t)(port >> 8);
        out[11] = (uint8_t)port;
        memcpy(out + 12, in + 8, 4);
        if (lease == 0) {
            router.unmaps++;
            router.held = 0;
        } else if (!router.refuses) {
            note_map(port, lease);
        }
    }
    for (int i = 0; i < (router.twice ? 2 : 1); i++) {
        sendto(fd, out, out_n, 0, (struct sockaddr *)&from, from_n);
    }
}

static void on_description(struct evhttp_request *req, void *arg)
{
    (void)arg;
    struct evbuffer *b = evbuffer_new();
    evbuffer_add_printf(
        b,
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>"
        "<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList>"
        "<device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</"
        "deviceType><serviceList><service>"
        "<serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType>"
        "<controlURL>/cif</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></service>"
        "</serviceList><deviceList><device>"
        "<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</"
        "deviceType><serviceList><service>"
        "<serviceType>urn:schemas-upnp-org:service:WANIPConnection:%u</serviceType>"
        "<controlURL>/ctl</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></service>"
        "</serviceList></device></deviceList></device></deviceList></device></root>",
        router.version);
    evhttp_send_reply(req, 200, "OK", b);
    evbuffer_free(b);
}

static unsigned number_in(const char *body, const char *tag)
{
    const char *at = strstr(body, tag);
    return at == NULL ? 0 : (unsigned)strtoul(at + strlen(tag), NULL, 10);
}

static void on_control(struct evhttp_request *req, void *arg)
{
    (void)arg;
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *b = evbuffer_new();
    evbuffer_add(in, "", 1);
    const char *body = (const char *)evbuffer_pullup(in, -1);
    unsigned port = number_in(body, "<NewExternalPort>"),
             lease = number_in(body, "<NewLeaseDuration>");
    const char *name = strstr(body, "AddAnyPortMapping")      ? "AddAnyPortMapping"
                       : strstr(body, "AddPortMapping")       ? "AddPortMapping"
                       : strstr(body, "DeletePortMapping")    ? "DeletePortMapping"
                       : strstr(body, "GetExternalIPAddress") ? "GetExternalIPAddress"
                                                              : NULL;
    unsigned error = 0;
    char inside[128] = "";
    if (name == NULL) {
        error = 401;
    } else if (strstr(name, "Get") != NULL) {
        struct in_addr a = {htonl(router.ip)};
        snprintf(inside, sizeof inside, "<NewExternalIPAddress>%s</NewExternalIPAddress>",
                 inet_ntoa(a));
    } else if (strstr(name, "Delete") != NULL) {
        router.unmaps++;
        router.held = 0;
        router.last_port = port;
    } else if (router.refuses) {
        error = 606;
    } else if (router.permanent_only && lease != 0) {
        error = 725;
    } else if (router.conflicts > 0) {
        router.conflicts--;
        error = 718;
    } else {
        port = router.grants_port != 0 && strstr(name, "Any") ? router.grants_port : port;
        note_map(port, lease);
        snprintf(inside, sizeof inside, "<NewReservedPort>%u</NewReservedPort>", port);
    }
    if (error != 0) {
        evbuffer_add_printf(
            b,
            "<s:Envelope><s:Body><s:Fault><detail><UPnPError><errorCode>%u</errorCode>"
            "</UPnPError></detail></s:Fault></s:Body></s:Envelope>",
            error);
    } else {
        evbuffer_add_printf(
            b, "<s:Envelope><s:Body><u:%sResponse>%s</u:%sResponse></s:Body></s:Envelope>", name,
            inside, name);
    }
    evhttp_send_reply(req, error != 0 ? 500 : 200, error != 0 ? "Error" : "OK", b);
    evbuffer_free(b);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    event_base_loopbreak(router.base);
}

static void *router_main(void *arg)
{
    (void)arg;
    event_base_dispatch(router.base);
    return NULL;
}

/* ---- The world of one test ---- */

static struct {
    struct event_base *base;
    struct bk_portmap *map;
    unsigned calls;
    struct bk_portmap_result result;
    char upnp_reason[BK_PORTMAP_REASON_BYTES], natpmp_reason[BK_PORTMAP_REASON_BYTES];
    bool free_inside;
    struct event *ev_udp, *ev_stop;
} w;

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&router, 0, sizeof router);
    router.ip = 0x0411A802; /* 4.17.168.2 */
    router.version = 1;
    router.base = event_base_new();
    /* NAT-PMP has one port; an address of the process's own keeps runs side by side apart. */
    unsigned own = (unsigned)getpid();
    router.gateway = bk_addr_v4(127, 77, (uint8_t)(own >> 8), (uint8_t)(own % 250 + 1), 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(5351)};
    memcpy(&a.sin_addr, router.gateway.ip + 12, 4);
    router.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(router.udp, (struct sockaddr *)&a, sizeof a), 0);
    router.stop_fd = eventfd(0, EFD_CLOEXEC);
    w.ev_udp = event_new(router.base, router.udp, EV_READ | EV_PERSIST, on_datagram, NULL);
    w.ev_stop = event_new(router.base, router.stop_fd, EV_READ, on_stop, NULL);
    event_add(w.ev_udp, NULL);
    event_add(w.ev_stop, NULL);
    router.http = evhttp_new(router.base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(router.http, "127.0.0.1", 0);
    assert_non_null(bound);
    struct sockaddr_in http;
    socklen_t n = sizeof http;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&http, &n);
    snprintf(router.url, sizeof router.url, "http://127.0.0.1:%u/desc.xml", ntohs(http.sin_port));
    evhttp_set_cb(router.http, "/desc.xml", on_description, NULL);
    evhttp_set_cb(router.http, "/ctl", on_control, NULL);
    assert_int_equal(pthread_create(&router.thread, NULL, router_main, NULL), 0);
    w.base = event_base_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bk_portmap_free(w.map);
    uint64_t one = 1;
    assert_int_equal(write(router.stop_fd, &one, sizeof one), sizeof one);
    pthread_join(router.thread, NULL);
    event_free(w.ev_udp);
    event_free(w.ev_stop);
    evhttp_free(router.http);
    event_base_free(router.base);
    close(router.udp);
    close(router.stop_fd);
    event_base_free(w.base);
    return 0;
}

static void on_result(void *ctx, const struct bk_portmap_result *result)
{
    assert_ptr_equal(ctx, &w);
    w.calls++;
    w.result = *result;
    strncpy(w.upnp_reason, result->upnp_reason, sizeof w.upnp_reason - 1);
    strncpy(w.natpmp_reason, result->natpmp_reason, sizeof w.natpmp_reason - 1);
    if (w.free_inside) {
        bk_portmap_free(w.map);
        w.map = NULL;
    }
}

enum { NATPMP = 1, UPNP = 2 };

static void start(unsigned protocols, uint32_t lease_s)
{
    const struct bk_portmap_options options = {
        .local_port = 5000,
        .no_upnp = (protocols & UPNP) == 0,
        .no_natpmp = (protocols & NATPMP) == 0,
        .igd_url = router.url,
        .natpmp_gateway = router.gateway,
        .lease_s = lease_s,
    };
    assert_int_equal(bk_portmap_new(w.base, &options, on_result, &w, &w.map), BK_OK);
    assert_int_equal(w.calls, 0);
}

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Runs the loop until so many results are there. */
static void await_calls(unsigned calls)
{
    const struct timeval step = {0, 20000};
    double until = seconds() + 20;
    while (w.calls < calls) {
        assert_true(seconds() < until);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
    }
}

static void assert_external(uint16_t port)
{
    struct bk_addr a = bk_addr_v4(4, 17, 168, 2, port);
    assert_true(w.result.mapped);
    assert_true(bk_addr_equal(&a, &w.result.external));
}

static void free_map(void)
{
    bk_portmap_free(w.map);
    w.map = NULL;
}

/* ---- Tests ---- */

static void natpmp_maps_and_takes_back(void **state)
{
    (void)state;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "NAT-PMP");
    assert_int_equal(w.result.lease_s, BK_PORTMAP_LEASE_S);
    assert_int_equal(router.held, 1);
    free_map();
    assert_int_equal(router.held, 0);
    assert_int_equal(router.unmaps, 1);
}

static void natpmp_answers_that_come_late_are_not_taken_for_others(void **state)
{
    (void)state;
    router.twice = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(5000);
    free_map();
    assert_int_equal(router.held, 0);
}

static void natpmp_may_grant_another_port(void **state)
{
    (void)state;
    router.grants_port = 6111;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(6111);
}

static void natpmp_refusal_says_why(void **state)
{
    (void)state;
    router.refuses = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "the router does not allow mappings");
    assert_string_equal(w.upnp_reason, "");
}

static void a_private_outer_address_is_no_success(void **state)
{
    (void)state;
    router.ip = 0x64400102; /* 100.64.1.2: a carrier's */
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "router has no public address");
    assert_string_equal(w.upnp_reason, "router has no public address");
    free_map();
    assert_int_equal(router.maps, 0);
}

static void a_silent_router_is_given_up_in_time(void **state)
{
    (void)state;
    router.silent = true;
    double began = seconds();
    start(NATPMP, 0);
    await_calls(1);
    assert_true(seconds() - began < BK_PORTMAP_WAIT_MS / 1000.0 + 1);
    assert_false(w.result.mapped);
    assert_true(w.natpmp_reason[0] != '\0');
}

static void nobody_there_is_known_at_once(void **state)
{
    (void)state;
    router.gateway.ip[15] = (uint8_t)(router.gateway.ip[15] + 1);
    start(NATPMP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "the router does not speak it");
}

static void igd1_maps_and_takes_back(void **state)
{
    (void)state;
    start(UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "UPnP-IGD");
    assert_int_equal(router.last_lease, BK_PORTMAP_LEASE_S);
    free_map();
    assert_int_equal(router.held, 0);
    assert_int_equal(router.last_port, 5000);
}

static void igd1_conflict_takes_another_port(void **state)
{
    (void)state;
    router.conflicts = 2;
    start(UPNP, 0);
    await_calls(1);
    assert_true(w.result.mapped);
    assert_int_not_equal(w.result.external.port, 5000);
    assert_int_equal(w.result.external.port, router.last_port);
    uint16_t port = w.result.external.port;
    free_map();
    assert_int_equal(router.last_port, port);
    assert_int_equal(router.unmaps, 1);
}

static void igd2_any_port(void **state)
{
    (void)state;
    router.version = 2;
    router.grants_port = 7222;
    start(UPNP, 0);
    await_calls(1);
    assert_external(7222);
    free_map();
    assert_int_equal(router.last_port, 7222);
}

static void igd_that_knows_no_leases(void **state)
{
    (void)state;
    router.permanent_only = true;
    start(UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_int_equal(w.result.lease_s, 0);
    free_map();
    assert_int_equal(router.held, 0);
}

static void igd_refusal_says_why(void **state)
{
    (void)state;
    router.refuses = true;
    start(UPNP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_non_null(strstr(w.upnp_reason, "606"));
}

/* Both could; one mapping is asked for, and it stands until the end. */
static void both_protocols_make_one_mapping(void **state)
{
    (void)state;
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_int_equal(router.maps, 1);
    assert_int_equal(router.unmaps, 0);
    free_map();
    assert_int_equal(router.maps, 1);
    assert_int_equal(router.unmaps, 1);
}

static void the_second_takes_over_when_the_first_fails(void **state)
{
    (void)state;
    router.silent = true; /* NAT-PMP */
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_string_equal(w.result.protocol, "UPnP-IGD");
}

static void a_lease_is_renewed_and_changes_are_told(void **state)
{
    (void)state;
    for (unsigned protocol = NATPMP; protocol <= UPNP; protocol++) {
        unsigned calls = w.calls, maps = router.maps;
        router.ip = 0x0411A802;
        start(protocol, 1);
        await_calls(calls + 1);
        double until = seconds() + 10;
        while (router.maps < maps + 3) {
            assert_true(seconds() < until);
            usleep(10000);
        }
        assert_int_equal(w.calls, calls + 1); /* nothing changed, nothing told */
        router.ip = 0x0411A803;
        await_calls(calls + 2);
        assert_true(w.result.mapped);
        assert_int_equal(w.result.external.ip[15], 3);
        router.refuses = true;
        await_calls(calls + 3);
        assert_false(w.result.mapped);
        router.refuses = false;
        free_map();
        w.calls = 0;
    }
}

static void nothing_asked_is_answered_too(void **state)
{
    (void)state;
    start(0, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.upnp_reason, "");
    assert_string_equal(w.natpmp_reason, "");
}

static void free_at_once_and_from_inside(void **state)
{
    (void)state;
    double began = seconds();
    start(NATPMP | UPNP, 0);
    free_map();
    assert_true(seconds() - began < BK_PORTMAP_FREE_MS / 1000.0 + 1);
    assert_int_equal(w.calls, 0);
    assert_int_equal(router.held, 0);
    w.free_inside = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_null(w.map);
    assert_int_equal(router.held, 0);
}

static void a_search_is_not_waited_for(void **state)
{
    (void)state;
    router.silent = true;
    double began = seconds();
    start(NATPMP, 0);
    free_map();
    assert_true(seconds() - began < 1.0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(natpmp_maps_and_takes_back),
        T(natpmp_answers_that_come_late_are_not_taken_for_others),
        T(natpmp_may_grant_another_port),
        T(natpmp_refusal_says_why),
        T(a_private_outer_address_is_no_success),
        T(a_silent_router_is_given_up_in_time),
        T(nobody_there_is_known_at_once),
        T(igd1_maps_and_takes_back),
        T(igd1_conflict_takes_another_port),
        T(igd2_any_port),
        T(igd_that_knows_no_leases),
        T(igd_refusal_says_why),
        T(both_protocols_make_one_mapping),
        T(the_second_takes_over_when_the_first_fails),
        T(a_lease_is_renewed_and_changes_are_told),
        T(nothing_asked_is_answered_too),
        T(free_at_once_and_from_inside),
        T(a_search_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
