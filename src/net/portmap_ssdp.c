/* Looks for Internet gateways by SSDP (UPnP Device Architecture 1.1, 1.3): a few questions to the multicast group, and
 * where each that answers keeps its description. Tells each one as it comes, so that a quick router is found at once
 * and a slow one is waited for. A description is fetched from whom announced it, and nobody else.
 *
 * For pinholes the gateway is looked for over IPv6: it opens them only for the address that it is asked from. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/host.h"
#include "net/portmap_internal.h"
#include "net/sockaddr.h"

enum {
    GROUP_PORT = 1900,
    ROUNDS = 3,
    ROUND_MS = 400, /* between the first two; then twice that */
    STEP_MS = 50,
    ANSWER_MAX_BYTES = 2048,
    URL_MAX_BYTES = 256,
    SEEN_MAX = 8,
};

struct portmap_ssdp {
    struct portmap_job *job;
    int fd, family;
    struct bk_addr group;
    unsigned interface; /* of an IPv6 group */
    unsigned rounds;
    bk_time next_round;
    size_t n_seen;
    char seen[SEEN_MAX][URL_MAX_BYTES];
};

/* Whom to ask, and whether there is a way to them. */
static bool reach(struct portmap_ssdp *s)
{
    static const struct bk_addr link_group = {{0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12},
                                              GROUP_PORT};
    struct bk_addr other;
    bool v6 = bk_portmap_protocols[s->job->index]->group == PORTMAP_PINHOLES;
    if (s->job->ssdp.port != 0) {
        s->group = s->job->ssdp;
    } else {
        s->group = v6 ? link_group : bk_addr_v4(239, 255, 255, 250, GROUP_PORT);
    }
    s->family = bk_sockaddr_family(&s->group);
    if (s->job->ssdp.port == 0 && v6) {
        return bk_host_gateway6(&other, &s->interface);
    }
    return bk_host_source_toward(&s->group, &other) == BK_OK;
}

struct portmap_ssdp *bk_portmap_ssdp_new(struct portmap_job *job)
{
    struct portmap_ssdp *s = calloc(1, sizeof *s);
    if (s == NULL) {
        bk_portmap_say(job, "no memory");
        return NULL;
    }
    s->job = job;
    s->fd = -1;
    if (reach(s)) {
        s->fd = socket(s->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (s->fd < 0) {
        bk_portmap_say(job, "no network to look for a router in");
        bk_portmap_ssdp_free(s);
        return NULL;
    }
    return s;
}

void bk_portmap_ssdp_free(struct portmap_ssdp *s)
{
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s);
}

/* A router of version 2 answers to both. */
static void ask(struct portmap_ssdp *s)
{
    static const char *const types[] = {"device:InternetGatewayDevice:1",
                                        "device:InternetGatewayDevice:2",
                                        "service:WANIPConnection:1"};
    struct sockaddr_storage to;
    socklen_t to_n = 0;
    if (bk_sockaddr_write(&s->group, s->family, &to, &to_n) != BK_OK) {
        return;
    }
    if (s->family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&to)->sin6_scope_id = s->interface;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char text[256];
        int n = snprintf(text, sizeof text,
                         "M-SEARCH * HTTP/1.1\r\nHOST: %s:1900\r\n"
                         "ST: urn:schemas-upnp-org:%s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\r\n",
                         s->family == AF_INET ? "239.255.255.250" : "[FF02::C]", types[i]);
        (void)sendto(s->fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to, to_n);
    }
}

/* "http://HOST[:PORT]/..." with an IPv4 address: who answered. With an IPv6 address: he answers from his link-local one,
 * so that it has to be of the network of one of ours. */
static bool is_at(const struct portmap_ssdp *s, const char *url, const struct bk_addr *from)
{
    static const char scheme[] = "http://";
    struct bk_addr host;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    url += sizeof scheme - 1;
    size_t n = strcspn(url, "/");
    if (url[n] != '/' || bk_addr_parse(bk_slice(url, n), 80, &host) != BK_OK) {
        return false;
    }
    if (bk_addr_is_v4(&host)) {
        return bk_addr_same_ip(&host, from);
    }
    for (size_t i = 0; i < s->job->n_items; i++) {
        if (bk_bits_equal(host.ip, s->job->items[i].local.ip, 64)) {
            return true;
        }
    }
    return false;
}

/* The value of the LOCATION header; `text` is the whole answer, terminated. */
static bool find_location(const char *text, char *url, size_t cap)
{
    static const char name[] = "location:";
    if (strncmp(text, "HTTP/1.", 7) != 0) {
        return false;
    }
    for (const char *line = strstr(text, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, sizeof name - 1) != 0) {
            continue;
        }
        const char *value = line + sizeof name - 1;
        value += strspn(value, " \t");
        size_t n = strcspn(value, " \t\r\n");
        if (n == 0 || n >= cap) {
            return false;
        }
        memcpy(url, value, n);
        url[n] = '\0';
        return true;
    }
    return false;
}

static bool is_new(struct portmap_ssdp *s, const char *url)
{
    for (size_t i = 0; i < s->n_seen; i++) {
        if (strcmp(s->seen[i], url) == 0) {
            return false;
        }
    }
    if (s->n_seen == SEEN_MAX) {
        return false;
    }
    (void)snprintf(s->seen[s->n_seen++], URL_MAX_BYTES, "%s", url);
    return true;
}

/* One datagram: true if it brought a new URL. False with *more: there may be others. */
static bool receive(struct portmap_ssdp *s, char *url, size_t cap, bool *more)
{
    char in[ANSWER_MAX_BYTES];
    struct sockaddr_storage ss;
    socklen_t ss_n = sizeof ss;
    struct bk_addr from;
    ssize_t n = recvfrom(s->fd, in, sizeof in - 1, MSG_DONTWAIT, (struct sockaddr *)&ss, &ss_n);
    *more = n >= 0 || errno == EINTR;
    if (n < 0 || bk_sockaddr_read((struct sockaddr *)&ss, &from) != BK_OK) {
        return false;
    }
    in[n] = '\0';
    return find_location(in, url, cap < URL_MAX_BYTES ? cap : URL_MAX_BYTES) &&
           is_at(s, url, &from) && is_new(s, url);
}

bool bk_portmap_ssdp_next(struct portmap_ssdp *s, bk_time until, char *url, size_t cap)
{
    for (;;) {
        bool more = true;
        while (more) {
            if (receive(s, url, cap, &more)) {
                return true;
            }
        }
        bk_time now = bk_clock_mono();
        if (now >= until || bk_portmap_stopping(s->job)) {
            return false;
        }
        if (s->rounds < ROUNDS && now >= s->next_round) {
            ask(s);
            s->next_round = bk_time_add(now, ((uint64_t)ROUND_MS << s->rounds) * BK_MS);
            s->rounds++;
        }
        struct pollfd in = {.fd = s->fd, .events = POLLIN};
        (void)poll(&in, 1, STEP_MS);
    }
}
