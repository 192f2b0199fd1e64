/* Port mapping by PCP (RFC 6887): MAP for TCP, over IPv4 for mappings and over IPv6 for pinholes. One question at a
 * time, on a connected socket, repeated as section 8.1.1 says; answers that do not belong to it are passed over.
 * A router that knows NAT-PMP only is left to that protocol, which looks for it at the same time. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/reader.h"
#include "base/writer.h"
#include "net/host.h"
#include "net/portmap_internal.h"
#include "net/sockaddr.h"

enum {
    VERSION = 2,
    OP_ANNOUNCE = 0,
    OP_MAP = 1,
    ANSWER_BIT = 0x80,
    HEADER_BYTES = 24,
    MAP_BYTES = 36,
    PACKET_MAX_BYTES = 1100,
    PROTOCOL_TCP = 6,
    FIRST_REPEAT_MS = 3000, /* IRT; each further one doubled, all of them within 10 % */
    FIND_MS = 4000,
    MAP_MS = 4500,
    UNMAP_MS = 2500,
    UNMAP_REPEAT_MS = 1000, /* we are leaving: no time for 3 s */
    STEP_MS = 50,
    LEASE_MAX_S = 24 * 3600,
};

enum result {
    SUCCESS = 0,
    UNSUPP_VERSION = 1,
    UNSUPP_OPCODE = 4,
    SILENCE = 256, /* ours, and the following */
    NOBODY_THERE,
    ONLY_NATPMP,
    NOT_SENT,
    NO_LEASE,
};

static const char *words(unsigned result)
{
    static const char *const told[] = {
        "", /* RFC 6887, 7.4 */
        "the router speaks another version",
        "the router does not allow mappings",
        "the router does not understand the request",
        "the router makes no mappings by PCP",
        "the router does not know an option",
        "the router does not understand an option",
        "the router has no network outside",
        "the router has no mapping to give",
        "the router does not map TCP",
        "the router gives this host no more mappings",
        "the router cannot give this outer port",
        "another address translation stands before the router",
        "too many peers for the router",
    };
    switch (result) {
    case SILENCE:
        return "no answer from the router";
    case NOBODY_THERE:
        return "the router does not speak it";
    case ONLY_NATPMP:
        return "the router speaks NAT-PMP only";
    case NOT_SENT:
        return "no request could be sent to the router";
    case NO_LEASE:
        return "the router gave a mapping of no duration";
    default:
        return result < sizeof told / sizeof told[0] ? told[result]
                                                     : "the router refused, and not as PCP says";
    }
}

struct answer {
    uint32_t lease_s;
    uint16_t external_port;
    struct bk_addr external; /* port 0 */
};

/* ---- Packets ---- */

static struct bk_slice make_announce(const struct portmap_job *job, uint8_t *buf, size_t cap)
{
    struct bk_writer w = bk_writer(buf, cap);
    bk_write_u8(&w, VERSION);
    bk_write_u8(&w, OP_ANNOUNCE);
    bk_write_u16(&w, 0);
    bk_write_u32(&w, 0);
    bk_write_bytes(&w, BK_SLICE_OF(job->client.ip));
    return bk_writer_bytes(&w);
}

static struct bk_slice make_map(const struct portmap_job *job, const struct portmap_item *item,
                                uint32_t lease_s, uint8_t *buf, size_t cap)
{
    struct bk_addr wish = bk_addr_v4(0, 0, 0, 0, 0);
    struct bk_writer w = bk_writer(buf, cap);
    if (!bk_addr_is_v4(&job->client)) {
        memset(&wish, 0, sizeof wish);
    }
    if (item->held &&
        item->external.port !=
            0) { /* a renewal names what was granted; so a router that forgot gives the same again */
        wish = item->external;
    }
    bk_write_u8(&w, VERSION);
    bk_write_u8(&w, OP_MAP);
    bk_write_u16(&w, 0);
    bk_write_u32(&w, lease_s);
    bk_write_bytes(&w, BK_SLICE_OF(job->client.ip));
    bk_write_bytes(&w, BK_SLICE_OF(item->nonce));
    bk_write_u8(&w, PROTOCOL_TCP);
    bk_write_zeros(&w, 3);
    bk_write_u16(&w, item->local.port);
    bk_write_u16(&w, item->external_port);
    bk_write_bytes(&w, BK_SLICE_OF(wish.ip));
    return bk_writer_bytes(&w);
}

/* True: it answers the question (`item` NULL: ANNOUNCE); `result` and, after success, `out` tell how. `ending`: what was
 * asked is to take a mapping back; that one was made is a late answer then, to what was asked before. */
static bool fits(struct portmap_job *job, const struct portmap_item *item, bool ending,
                 struct bk_slice packet, unsigned *result, struct answer *out)
{
    struct bk_reader r = bk_reader(packet);
    uint8_t version = bk_read_u8(&r), op = bk_read_u8(&r);
    uint8_t nonce[PORTMAP_NONCE_BYTES];
    if (version == 0 && packet.n >= 4 && (op & ANSWER_BIT) != 0) {
        *result = ONLY_NATPMP;
        return true;
    }
    (void)bk_read_u8(&r);
    *result = bk_read_u8(&r);
    out->lease_s = bk_read_u32(&r);
    uint32_t epoch = bk_read_u32(&r);
    (void)bk_read_bytes(&r, 12);
    if (r.err != BK_OK || packet.n % 4 != 0 || packet.n > PACKET_MAX_BYTES ||
        op != (ANSWER_BIT | (item == NULL ? OP_ANNOUNCE : OP_MAP))) {
        return false;
    }
    if (version != VERSION) {
        *result = *result == SUCCESS ? UNSUPP_VERSION : *result;
        return *result == UNSUPP_VERSION; /* the only word a router of another version may say */
    }
    if (item != NULL) {
        bk_read_copy(&r, nonce, sizeof nonce);
        uint8_t protocol = bk_read_u8(&r);
        (void)bk_read_bytes(&r, 3);
        uint16_t port = bk_read_u16(&r);
        out->external_port = bk_read_u16(&r);
        bk_read_copy(&r, out->external.ip, sizeof out->external.ip);
        out->external.port = 0;
        if (r.err != BK_OK || memcmp(nonce, item->nonce, sizeof nonce) != 0 ||
            protocol != PROTOCOL_TCP || port != item->local.port ||
            (ending && *result == SUCCESS && out->lease_s != 0)) {
            return false;
        }
    }
    if (*result == SUCCESS) {
        bk_portmap_take_epoch(job, epoch);
    }
    return true;
}

/* ---- Asking ---- */

static uint64_t jittered(uint64_t ms)
{
    uint8_t r = 0;
    bk_portmap_random(&r, 1);
    return (ms * 9 / 10 + ms * r / (UINT64_C(5) * 256)) * BK_MS;
}

/* Takes what has come; true if it answers. */
static bool receive(struct portmap_job *job, const struct portmap_item *item, bool ending,
                    unsigned *result, struct answer *out)
{
    uint8_t in[PACKET_MAX_BYTES + 1];
    for (;;) {
        ssize_t n = recv(job->fd, in, sizeof in, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            *result = NOBODY_THERE;
            return errno == ECONNREFUSED;
        }
        if (fits(job, item, ending, bk_slice(in, (size_t)n), result, out)) {
            return true;
        }
    }
}

/* The result of a question: the router's, or one of ours. */
static unsigned ask(struct portmap_job *job, const struct portmap_item *item,
                    struct bk_slice question, uint64_t wait_ms, uint64_t repeat_ms, bool ending,
                    struct answer *out)
{
    bk_time now = bk_clock_mono(), until = bk_time_add(now, wait_ms * BK_MS), next = now;
    unsigned result = SILENCE;
    while (now < until && (ending || !bk_portmap_stopping(job))) {
        if (now >= next) {
            if (send(job->fd, question.p, question.n, MSG_NOSIGNAL) < 0) {
                return errno == ECONNREFUSED ? NOBODY_THERE : NOT_SENT;
            }
            next = bk_time_add(now, jittered(repeat_ms));
            repeat_ms *= 2;
        }
        struct pollfd in = {.fd = job->fd, .events = POLLIN};
        if (poll(&in, 1, STEP_MS) > 0 && receive(job, item, ending, &result, out)) {
            return result;
        }
        now = bk_clock_mono();
    }
    return SILENCE;
}

/* ---- As a protocol ---- */

static void close_socket(struct portmap_job *job)
{
    if (job->fd >= 0) {
        close(job->fd);
        job->fd = -1;
    }
}

/* A socket to the router, from `from` (NULL: any): its own address is what the router has to see as the client's. */
static bool open_to(struct portmap_job *job, const struct bk_addr *router,
                    const struct bk_addr *from)
{
    struct sockaddr_storage to, own;
    socklen_t to_n = 0, own_n = 0;
    int family = bk_sockaddr_family(router);
    close_socket(job);
    job->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = job->fd >= 0 && bk_sockaddr_write(router, family, &to, &to_n) == BK_OK;
    if (ok && from != NULL) {
        ok = bk_sockaddr_write(from, family, &own, &own_n) == BK_OK &&
             bind(job->fd, (struct sockaddr *)&own, own_n) == 0;
    }
    if (ok && family == AF_INET6 && bk_addr_scope(router) == BK_SCOPE_LINK_LOCAL) {
        ((struct sockaddr_in6 *)(void *)&to)->sin6_scope_id = job->interface;
    }
    if (!ok || connect(job->fd, (struct sockaddr *)&to, to_n) != 0) {
        bk_portmap_say(job, words(NOT_SENT));
        return false;
    }
    job->client = bk_sockaddr_local(job->fd);
    return true;
}

static bool announce(struct portmap_job *job)
{
    uint8_t buf[HEADER_BYTES];
    struct answer answer;
    unsigned result = ask(job, NULL, make_announce(job, buf, sizeof buf), FIND_MS, FIRST_REPEAT_MS,
                          false, &answer);
    if (result != SUCCESS && result != UNSUPP_OPCODE) {
        bk_portmap_say(job, words(result));
        return false;
    }
    job->there = true;
    job->found_at = bk_clock_mono();
    job->version = "2";
    return true;
}

static bool find(struct portmap_job *job)
{
    struct bk_addr router = job->gateway;
    static const uint8_t none[16] = {0};
    if (memcmp(router.ip, none, sizeof none) == 0 &&
        (bk_host_gateways(&router, 1) == 0 || !bk_addr_is_v4(&router))) {
        bk_portmap_say(job, "no default gateway");
        return false;
    }
    router.port = PORTMAP_PORT;
    return open_to(job, &router, NULL) && announce(job);
}

static bool map(struct portmap_job *job, struct portmap_item *item)
{
    uint8_t buf[HEADER_BYTES + MAP_BYTES];
    struct answer answer = {0};
    if (!item->has_nonce) {
        bk_portmap_random(item->nonce, sizeof item->nonce);
        item->has_nonce = true;
    }
    struct bk_slice question = make_map(job, item, job->lease_wish_s, buf, sizeof buf);
    bool held = item->held;
    item->held = true; /* even if the answer is lost */
    unsigned result = ask(job, item, question, MAP_MS, FIRST_REPEAT_MS, false, &answer);
    if (result == SUCCESS && (answer.lease_s == 0 || answer.external_port == 0)) {
        result = NO_LEASE;
    }
    if (result != SUCCESS) {
        item->held = held || result >= SILENCE;
        bk_portmap_say(job, words(result));
        return false;
    }
    if (!bk_portmap_take_address(job, &answer.external)) {
        return false;
    }
    item->external = answer.external;
    item->external.port = answer.external_port;
    item->external_port = answer.external_port;
    item->lease_s = answer.lease_s < LEASE_MAX_S ? answer.lease_s : LEASE_MAX_S;
    return true;
}

/* With the nonce that it was made with (RFC 6887, 15.1): nobody else's can be taken away. */
static void unmap(struct portmap_job *job, struct portmap_item *item)
{
    uint8_t buf[HEADER_BYTES + MAP_BYTES];
    struct answer answer;
    item->held = false; /* no wish for an address */
    (void)ask(job, item, make_map(job, item, 0, buf, sizeof buf), UNMAP_MS, UNMAP_REPEAT_MS, true,
              &answer);
}

/* ---- Pinholes: the same over IPv6, from each address itself ---- */

static bool find6(struct portmap_job *job)
{
    static const uint8_t none[16] = {0};
    struct bk_addr *router = &job->gateway6;
    if (memcmp(router->ip, none, sizeof none) == 0) {
        if (!bk_host_gateway6(router, &job->interface)) {
            bk_portmap_say(job, "no default gateway");
            return false;
        }
        router->port = 0;
    }
    router->port = router->port == 0 ? PORTMAP_PORT : router->port;
    job->lets_v6_in = open_to(job, router, NULL) && announce(job);
    return job->lets_v6_in;
}

/* The router takes the sender for the one to let in. */
static bool leave_from(struct portmap_job *job, const struct portmap_item *item)
{
    struct bk_addr from = item->local;
    from.port = 0;
    return open_to(job, &job->gateway6, &from);
}

static bool map6(struct portmap_job *job, struct portmap_item *item)
{
    return leave_from(job, item) && map(job, item);
}

static void unmap6(struct portmap_job *job, struct portmap_item *item)
{
    if (leave_from(job, item)) {
        unmap(job, item);
    }
}

const struct portmap_protocol bk_portmap_pcp = {BK_PORTMAP_PCP, PORTMAP_MAPPING, find, map,
                                                unmap,          close_socket};
const struct portmap_protocol bk_portmap_pcp6 = {BK_PORTMAP_PCP, PORTMAP_PINHOLES, find6,
                                                 map6,           unmap6,           close_socket};
