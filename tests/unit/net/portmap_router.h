/* A router of the tests' own, on loopback and in a thread of its own (bk_portmap_free waits for it): NAT-PMP and PCP on
 * one port, PCP for IPv6 on another, UPnP-IGD by HTTP and found by SSDP. And the world of one test around it. */
#ifndef BK_TESTS_PORTMAP_ROUTER_H
#define BK_TESTS_PORTMAP_ROUTER_H

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

#include "net/own_network.h"
#include "net/portmap.h"

enum { NATPMP = 1, UPNP = 2, PCP = 4 };

/* So much longer than promised something may take on a busy machine. */
enum { LATE_S = 5 };

/* Wrong answers to PCP's MAP, each sent before the right one (bits). */
enum {
    WRONG_OPCODE = 1,
    WRONG_NONCE = 2,
    WRONG_PORT = 4,
    WRONG_PROTOCOL = 8,
    TRUNCATED = 16,
    NO_ANSWER_BIT = 32,
    UNEVEN = 64,
    GARBAGE = 128,
    ALL_WRONG = 255,
};

/* ---- The router ---- */

static struct router {
    pthread_t thread;
    struct event_base *base;
    int udp, udp6, ssdp_fd, stop_fd;
    struct evhttp *http;
    char url[64];
    struct bk_addr gateway, gateway6, ssdp;
    /* How it behaves; set before or while it runs. */
    atomic_uint ip; /* the outer address, host order */
    atomic_bool silent;
    atomic_bool refuses;
    atomic_bool twice;       /* answers NAT-PMP as routers do that were asked again */
    atomic_uint grants_port; /* 0: the one asked for */
    atomic_uint version;     /* of WANIPConnection */
    atomic_uint conflicts;   /* so many UPnP requests end in 718 */
    atomic_bool permanent_only;
    atomic_uint delay_ms;   /* before each answer */
    atomic_uint epoch_from; /* NAT-PMP and PCP: the router came up then, in seconds of our clock */
    atomic_bool forgets_version_2; /* PCP is answered as by a router that knows NAT-PMP only */
    atomic_uint pcp_result;        /* of MAP */
    atomic_uint pcp_wrong;         /* sent before each right answer to MAP */
    atomic_bool pcp_never_right;   /* and the right one is not sent */
    atomic_bool no_announce;       /* ANNOUNCE is not known */
    atomic_bool pinholes_off;      /* the description tells of none */
    atomic_bool pinholes_not_allowed;
    atomic_bool second_works; /* the first of two connections has no address */
    atomic_bool ssdp_lies;    /* it announces somebody else's description first */
    atomic_bool
        maps_late; /* PCP: that a mapping was made is said when its end is asked for, and then the end */
    /* What it saw. */
    atomic_uint maps, unmaps, held, most_held, last_port, last_lease;
    atomic_uint pcp_maps, pcp_unmaps, announces, pinholes, pinhole_updates, pinhole_deletes;
    uint8_t nonce[12];
} router;

static inline double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* An answer that leaves later. */
struct later {
    struct event *event;
    struct later *next;
    int fd; /* -1: HTTP */
    uint8_t bytes[1200];
    size_t n;
    struct sockaddr_storage to;
    socklen_t to_n;
    struct evhttp_request *req;
    int status;
    struct evbuffer *body;
};

static inline void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct later *l = arg;
    (void)fd;
    (void)what;
    if (l->fd >= 0) {
        sendto(l->fd, l->bytes, l->n, 0, (struct sockaddr *)&l->to, l->to_n);
    } else {
        evhttp_send_reply(l->req, l->status, "Done", l->body);
        evbuffer_free(l->body);
    }
    event_free(l->event);
    free(l);
}

static inline void leave_later(struct later *l)
{
    struct timeval tv = {router.delay_ms / 1000, router.delay_ms % 1000 * 1000};
    l->event = evtimer_new(router.base, on_later, l);
    event_add(l->event, &tv);
}

static inline void answer(int fd, const void *bytes, size_t n, const struct sockaddr_storage *to,
                          socklen_t to_n)
{
    if (router.delay_ms == 0) {
        sendto(fd, bytes, n, 0, (const struct sockaddr *)to, to_n);
        return;
    }
    struct later *l = calloc(1, sizeof *l);
    l->fd = fd;
    memcpy(l->bytes, bytes, n);
    l->n = n;
    l->to = *to;
    l->to_n = to_n;
    leave_later(l);
}

static inline void reply(struct evhttp_request *req, int status, struct evbuffer *body)
{
    if (router.delay_ms == 0) {
        evhttp_send_reply(req, status, "Done", body);
        evbuffer_free(body);
        return;
    }
    struct later *l = calloc(1, sizeof *l);
    *l = (struct later){.fd = -1, .req = req, .status = status, .body = body};
    leave_later(l);
}

static inline uint32_t router_epoch(void)
{
    return (uint32_t)seconds() - router.epoch_from;
}

static inline void put32(uint8_t *at, uint32_t v)
{
    v = htonl(v);
    memcpy(at, &v, 4);
}

static inline void note_map(unsigned port, unsigned lease)
{
    router.last_port = port;
    router.last_lease = lease;
    router.maps++;
    if (router.held == 0) {
        router.held = 1;
    }
    router.most_held = router.held > router.most_held ? router.held : router.most_held;
}

/* ---- PCP ---- */

/* Answers to MAP that are held back. */
static struct later *held_back;

static inline void hold_back(int fd, const uint8_t right[60], const struct sockaddr_storage *to,
                             socklen_t to_n)
{
    struct later *l = calloc(1, sizeof *l);
    *l = (struct later){.next = held_back, .fd = fd, .n = 60, .to = *to, .to_n = to_n};
    memcpy(l->bytes, right, 60);
    held_back = l;
}

static inline void let_out(void)
{
    while (held_back != NULL) {
        struct later *l = held_back;
        held_back = l->next;
        sendto(l->fd, l->bytes, l->n, 0, (struct sockaddr *)&l->to, l->to_n);
        free(l);
    }
}

static inline void send_wrong(int fd, const uint8_t right[60], const struct sockaddr_storage *to,
                              socklen_t to_n)
{
    for (unsigned bit = 1; bit <= router.pcp_wrong; bit <<= 1) {
        uint8_t out[60];
        size_t n = sizeof out;
        if ((router.pcp_wrong & bit) == 0) {
            continue;
        }
        memcpy(out, right, sizeof out);
        out[42] = 0; /* had it been taken for right, the mapping would be at port 1 */
        out[43] = 1;
        if (bit == WRONG_OPCODE) {
            out[1] = 0x80 | 2;
        } else if (bit == WRONG_NONCE) {
            out[24] ^= 1;
        } else if (bit == WRONG_PORT) {
            out[41] ^= 1;
        } else if (bit == WRONG_PROTOCOL) {
            out[36] = 17;
        } else if (bit == TRUNCATED) {
            n = 44;
        } else if (bit == NO_ANSWER_BIT) {
            out[1] = 1;
        } else if (bit == UNEVEN) {
            n = 59;
        } else {
            memset(out, 0xA5, sizeof out);
        }
        answer(fd, out, n, to, to_n);
    }
}

static inline void on_pcp(int fd, const uint8_t *in, size_t n, const struct sockaddr_storage *from,
                          socklen_t from_n)
{
    uint8_t out[60] = {2, (uint8_t)(0x80 | in[1])};
    if (router.forgets_version_2) {
        const uint8_t natpmp[8] = {0, (uint8_t)(0x80 | in[1]), 0, 1};
        answer(fd, natpmp, sizeof natpmp, from, from_n);
        return;
    }
    put32(out + 8, router_epoch());
    if (in[1] == 0 && n == 24) {
        router.announces++;
        out[3] = router.no_announce ? 4 : 0;
        answer(fd, out, 24, from, from_n);
        return;
    }
    if (in[1] != 1 || n != 60) {
        return;
    }
    unsigned lease = ntohl(*(const uint32_t *)(const void *)(in + 4));
    unsigned port = (unsigned)in[42] << 8 | in[43];
    out[3] = (uint8_t)router.pcp_result;
    memcpy(out + 24, in + 24, 36);
    if (lease == 0) {
        if (memcmp(in + 24, router.nonce, 12) == 0) {
            router.pcp_unmaps++;
            router.held = 0;
        }
    } else if (router.pcp_result == 0) {
        memcpy(router.nonce, in + 24, 12);
        port = router.grants_port == 0 ? port : router.grants_port;
        router.pcp_maps++;
        note_map(port, lease);
        out[42] = (uint8_t)(port >> 8);
        out[43] = (uint8_t)port;
        if (from->ss_family == AF_INET6) {
            memcpy(out + 44, "\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5", 16);
        } else {
            memcpy(out + 44, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
            put32(out + 56, router.ip);
        }
    }
    memcpy(out + 4, in + 4, 4);
    if (router.maps_late && lease != 0) {
        hold_back(fd, out, from, from_n);
        return;
    }
    let_out();
    send_wrong(fd, out, from, from_n);
    if (!router.pcp_never_right) {
        answer(fd, out, sizeof out, from, from_n);
    }
}

/* ---- NAT-PMP ---- */

/* The same again from the same, sent while this thread had no processor: a question repeated is one question. */
static inline void pass_over_repeats(int fd, const uint8_t *in, ssize_t n,
                                     const struct sockaddr_storage *from, socklen_t from_n)
{
    uint8_t next[1200];
    struct sockaddr_storage ss = {0};
    socklen_t ss_n = sizeof ss;
    while (recvfrom(fd, next, sizeof next, MSG_DONTWAIT | MSG_PEEK, (struct sockaddr *)&ss,
                    &ss_n) == n &&
           ss_n == from_n && memcmp(&ss, from, from_n) == 0 && memcmp(next, in, (size_t)n) == 0) {
        (void)recv(fd, next, sizeof next, MSG_DONTWAIT);
        ss_n = sizeof ss;
    }
}

static inline void on_datagram(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    uint8_t in[1200], out[16] = {0};
    struct sockaddr_storage from;
    socklen_t from_n = sizeof from;
    ssize_t n = recvfrom(fd, in, sizeof in, 0, (struct sockaddr *)&from, &from_n);
    if (n < 2 || router.silent) {
        return;
    }
    pass_over_repeats(fd, in, n, &from, from_n);
    if (in[0] == 2) {
        on_pcp(fd, in, (size_t)n, &from, from_n);
        return;
    }
    out[1] = (uint8_t)(in[1] + 128);
    out[3] = router.refuses && in[1] != 0 ? 2 : 0;
    put32(out + 4, router_epoch());
    size_t out_n = 16;
    if (in[1] == 0) {
        put32(out + 8, router.ip);
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
        answer(fd, out, out_n, &from, from_n);
    }
}

/* ---- UPnP ---- */

static inline void on_search(evutil_socket_t fd, short what, void *arg)
{
    char in[1024], out[512];
    struct sockaddr_storage from;
    socklen_t from_n = sizeof from;
    (void)what;
    (void)arg;
    ssize_t n = recvfrom(fd, in, sizeof in - 1, 0, (struct sockaddr *)&from, &from_n);
    if (n <= 0 || router.silent) {
        return;
    }
    in[n] = '\0';
    if (strncmp(in, "M-SEARCH * HTTP/1.1\r\n", 21) != 0 ||
        strstr(in, "MAN: \"ssdp:discover\"") == NULL) {
        return;
    }
    if (router.ssdp_lies) { /* what announces another host, or nothing that could be fetched */
        static const char *const lies[] = {"http://127.0.0.2:1/", "http://127.0.0.11/",
                                           "ftp://127.0.0.1/", ""};
        for (size_t i = 0; i < 4; i++) {
            int m = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nLOCATION: %s\r\n\r\n", lies[i]);
            answer(fd, out, (size_t)m, &from, from_n);
        }
        answer(fd, "HTTP/1.1 200 OK\r\n", 17, &from, from_n);
    }
    int m = snprintf(out, sizeof out,
                     "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLocation: %s\r\n\r\n", router.url);
    answer(fd, out, (size_t)m, &from, from_n);
}

static inline void on_description(struct evhttp_request *req, void *arg)
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
        "<controlURL>%s</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></service>"
        "%s%s</serviceList></device></deviceList></device></deviceList></device></root>",
        router.version, router.second_works ? "/dead" : "/ctl",
        router.second_works
            ? "<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType>"
              "<controlURL>/ctl</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></"
              "service>"
            : "",
        router.version == 2 && !router.pinholes_off
            ? "<service><serviceType>urn:schemas-upnp-org:service:WANIPv6FirewallControl:1</"
              "serviceType>"
              "<controlURL>/6fc</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></"
              "service>"
            : "");
    reply(req, 200, b);
}

static inline unsigned number_in(const char *body, const char *tag)
{
    const char *at = strstr(body, tag);
    return at == NULL ? 0 : (unsigned)strtoul(at + strlen(tag), NULL, 10);
}

/* What is asked for by `name` was done, with `inside` as the answer, or failed. */
static inline void soap_reply(struct evhttp_request *req, struct evbuffer *b, const char *name,
                              unsigned error, const char *inside)
{
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
    reply(req, error != 0 ? 500 : 200, b);
}

static inline void on_control(struct evhttp_request *req, void *arg)
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
    soap_reply(req, b, name, error, inside);
}

/* WANIPv6FirewallControl; a pinhole's ID is its number. */
static inline void on_firewall(struct evhttp_request *req, void *arg)
{
    (void)arg;
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *b = evbuffer_new();
    evbuffer_add(in, "", 1);
    const char *body = (const char *)evbuffer_pullup(in, -1);
    const char *name = strstr(body, "AddPinhole")      ? "AddPinhole"
                       : strstr(body, "UpdatePinhole") ? "UpdatePinhole"
                       : strstr(body, "DeletePinhole") ? "DeletePinhole"
                                                       : "GetFirewallStatus";
    char inside[128] = "";
    unsigned error = 0;
    if (strcmp(name, "AddPinhole") == 0 && number_in(body, "<Protocol>") != 6) {
        error = 705;
    } else if (strcmp(name, "AddPinhole") == 0 && router.refuses) {
        error = 701;
    } else if (strcmp(name, "AddPinhole") == 0) {
        router.pinholes++;
        router.last_port = number_in(body, "<InternalPort>");
        router.last_lease = number_in(body, "<LeaseTime>");
        snprintf(inside, sizeof inside, "<UniqueID>%u</UniqueID>", (unsigned)router.pinholes);
    } else if (strcmp(name, "UpdatePinhole") == 0) {
        router.pinhole_updates++;
        error = router.refuses ? 704 : 0;
    } else if (strcmp(name, "DeletePinhole") == 0) {
        router.pinhole_deletes++;
        router.last_port = number_in(body, "<UniqueID>");
    } else {
        snprintf(inside, sizeof inside,
                 "<FirewallEnabled>1</FirewallEnabled><InboundPinholeAllowed>%d</"
                 "InboundPinholeAllowed>",
                 !router.pinholes_not_allowed);
    }
    soap_reply(req, b, name, error, inside);
}

static inline void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    event_base_loopbreak(router.base);
}

static inline void *router_main(void *arg)
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
    unsigned renewals, remakes, pinhole_results;
    char upnp_reason[BK_PORTMAP_REASON_BYTES], natpmp_reason[BK_PORTMAP_REASON_BYTES],
        pcp_reason[BK_PORTMAP_REASON_BYTES];
    bool free_inside;
    struct event *ev_udp, *ev_udp6, *ev_ssdp, *ev_stop;
} w;

/* A UDP socket of the router's; where it is bound comes back in `a`. */
static inline int open_udp(struct sockaddr_storage *a, socklen_t n)
{
    int fd = socket(a->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)a, n), 0);
    getsockname(fd, (struct sockaddr *)a, &n);
    return fd;
}

static inline struct event *serve_udp(int fd, event_callback_fn on)
{
    struct event *event = event_new(router.base, fd, EV_READ | EV_PERSIST, on, NULL);
    event_add(event, NULL);
    return event;
}

static inline void open_others(void)
{
    struct sockaddr_storage ss = {.ss_family = AF_INET6};
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&ss;
    v6->sin6_addr.s6_addr[15] = 1;
    router.udp6 = open_udp(&ss, sizeof *v6);
    router.gateway6.ip[15] = 1;
    router.gateway6.port = ntohs(v6->sin6_port);
    w.ev_udp6 = serve_udp(router.udp6, on_datagram);
    memset(&ss, 0, sizeof ss);
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&ss;
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    router.ssdp_fd = open_udp(&ss, sizeof *v4);
    router.ssdp = bk_addr_v4(127, 0, 0, 1, ntohs(v4->sin_port));
    w.ev_ssdp = serve_udp(router.ssdp_fd, on_search);
}

static inline int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&router, 0, sizeof router);
    router.ip = 0x0411A802; /* 4.17.168.2 */
    router.version = 1;
    router.epoch_from = (unsigned)seconds() - 1000;
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
    evhttp_set_cb(router.http, "/6fc", on_firewall, NULL);
    open_others();
    assert_int_equal(pthread_create(&router.thread, NULL, router_main, NULL), 0);
    w.base = event_base_new();
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    bk_portmap_free(w.map);
    uint64_t one = 1;
    assert_int_equal(write(router.stop_fd, &one, sizeof one), sizeof one);
    pthread_join(router.thread, NULL);
    event_free(w.ev_udp);
    event_free(w.ev_udp6);
    event_free(w.ev_ssdp);
    event_free(w.ev_stop);
    evhttp_free(router.http);
    event_base_free(router.base);
    close(router.udp);
    close(router.udp6);
    close(router.ssdp_fd);
    close(router.stop_fd);
    event_base_free(w.base);
    return 0;
}

static inline void on_result(void *ctx, const struct bk_portmap_result *result)
{
    assert_ptr_equal(ctx, &w);
    w.pinhole_results += result->pinhole;
    w.remakes += result->remade;
    w.renewals += result->renewed;
    w.calls += !result->renewed; /* these come all the time */
    w.result = *result;
    strncpy(w.upnp_reason, result->reasons[BK_PORTMAP_UPNP], sizeof w.upnp_reason - 1);
    strncpy(w.natpmp_reason, result->reasons[BK_PORTMAP_NATPMP], sizeof w.natpmp_reason - 1);
    strncpy(w.pcp_reason, result->reasons[BK_PORTMAP_PCP], sizeof w.pcp_reason - 1);
    if (w.free_inside) {
        bk_portmap_free(w.map);
        w.map = NULL;
    }
}

static inline struct bk_portmap_options options_for(unsigned protocols, uint32_t lease_s)
{
    return (struct bk_portmap_options){
        .local_port = 5000,
        .no_pcp = (protocols & PCP) == 0,
        .no_upnp = (protocols & UPNP) == 0,
        .no_natpmp = (protocols & NATPMP) == 0,
        .igd_url = router.url,
        .ssdp = router.ssdp,
        .natpmp_gateway = router.gateway,
        .pcp_gateway6 = router.gateway6,
        .lease_s = lease_s,
    };
}

static inline void start_with(const struct bk_portmap_options *options)
{
    unsigned calls = w.calls;
    assert_int_equal(bk_portmap_new(w.base, options, on_result, &w, &w.map), BK_OK);
    assert_int_equal(w.calls, calls);
}

static inline void start(unsigned protocols, uint32_t lease_s)
{
    const struct bk_portmap_options options = options_for(protocols, lease_s);
    start_with(&options);
}

/* Runs the loop until so many are there. */
static inline void await_count(const unsigned *counter, unsigned value)
{
    const struct timeval step = {0, 20000};
    double until = seconds() + 20;
    while (*counter < value) {
        assert_true(seconds() < until);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
    }
}

/* Results other than renewals. */
static inline void await_calls(unsigned calls)
{
    await_count(&w.calls, calls);
}

static inline void assert_external(uint16_t port)
{
    struct bk_addr a = bk_addr_v4(4, 17, 168, 2, port);
    assert_true(w.result.mapped);
    assert_true(bk_addr_equal(&a, &w.result.external));
}

static inline void free_map(void)
{
    bk_portmap_free(w.map);
    w.map = NULL;
}

#endif
