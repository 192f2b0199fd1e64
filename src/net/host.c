/* What the host knows of itself, asked afresh each time: getifaddrs, /proc/net, a connected UDP socket. */
#include "net/host.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/sockaddr.h"

enum {
    LINE_MAX_BYTES = 512,
    WORDS_MAX = 12,
    V4_BITS_BEFORE = 96, /* of an IPv4 prefix in the mapped form */
    FLAG_UP = 1,         /* RTF_UP and RTF_GATEWAY of <linux/route.h> */
    FLAG_GATEWAY = 2,
    ANY_PORT = 9, /* discard: nothing is sent */
};

/* ---- Addresses ---- */

static uint8_t bits_of(const struct sockaddr *mask, int family)
{
    uint8_t bytes[16] = {0}, bits = 0;
    size_t n = family == AF_INET ? 4 : 16;
    if (mask == NULL) {
        return family == AF_INET ? 32 : 128;
    }
    if (family == AF_INET) {
        memcpy(bytes, &((const struct sockaddr_in *)(const void *)mask)->sin_addr, n);
    } else {
        memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr, n);
    }
    while (bits < n * 8 && (bytes[bits / 8] & (0x80 >> bits % 8)) != 0) {
        bits++;
    }
    return bits;
}

/* The network's own address: everything behind the prefix is zero. */
static struct bk_prefix prefix_of(const struct bk_addr *a, uint8_t bits)
{
    struct bk_prefix p = {.bits = bits};
    memcpy(p.ip, a->ip, sizeof p.ip);
    for (unsigned i = bits; i < 128; i++) {
        p.ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    }
    return p;
}

enum bk_err bk_host_addresses(struct bk_host_addr *out, size_t cap, size_t *n)
{
    struct ifaddrs *all = NULL;
    *n = 0;
    if (getifaddrs(&all) != 0) {
        return BK_E_IO;
    }
    for (const struct ifaddrs *i = all; i != NULL && *n < cap; i = i->ifa_next) {
        struct bk_addr a;
        if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0 ||
            (i->ifa_flags & IFF_LOOPBACK) != 0 || bk_sockaddr_read(i->ifa_addr, &a) != BK_OK) {
            continue;
        }
        a.port = 0;
        int family = i->ifa_addr->sa_family;
        uint8_t bits = bits_of(i->ifa_netmask, family);
        if (family == AF_INET) {
            bits = (uint8_t)(bits + V4_BITS_BEFORE);
        }
        out[(*n)++] = (struct bk_host_addr){.addr = a, .prefix = prefix_of(&a, bits)};
    }
    freeifaddrs(all);
    return BK_OK;
}

/* ---- Gateways ---- */

static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t n = 0;
    while (n < WORDS_MAX) {
        line += strspn(line, " \t\n");
        if (*line == '\0') {
            break;
        }
        words[n++] = line;
        line += strcspn(line, " \t\n");
        if (*line != '\0') {
            *line++ = '\0';
        }
    }
    return n;
}

static bool add_gateway(const struct bk_addr *a, struct bk_addr *out, size_t cap, size_t *n)
{
    for (size_t i = 0; i < *n; i++) {
        if (bk_addr_equal(&out[i], a)) {
            return true;
        }
    }
    if (*n == cap) {
        return false;
    }
    out[(*n)++] = *a;
    return true;
}

/* "Iface Destination Gateway Flags RefCnt Use Metric Mask ...": addresses are hexadecimal numbers in the
 * host's byte order. */
static void read_v4(struct bk_addr *out, size_t cap, size_t *n)
{
    char line[LINE_MAX_BYTES], *w[WORDS_MAX];
    FILE *f = fopen("/proc/net/route", "re");
    if (f == NULL) {
        return;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (split(line, w) < 8 || strcmp(w[1], "00000000") != 0 || strcmp(w[7], "00000000") != 0) {
            continue;
        }
        unsigned long flags = strtoul(w[3], NULL, 16);
        if ((flags & FLAG_UP) == 0 || (flags & FLAG_GATEWAY) == 0) {
            continue;
        }
        uint32_t ip = (uint32_t)strtoul(w[2], NULL, 16);
        uint8_t b[4];
        memcpy(b, &ip, sizeof b);
        struct bk_addr a = bk_addr_v4(b[0], b[1], b[2], b[3], 0);
        if (!add_gateway(&a, out, cap, n)) {
            break;
        }
    }
    (void)fclose(f);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

static bool read_hex_ip(const char *text, uint8_t ip[16])
{
    if (strlen(text) != 32) {
        return false;
    }
    for (size_t i = 0; i < 16; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ip[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* "destination plen source plen next-hop metric refcnt use flags iface": true for a default route by a next hop. */
static bool default_v6(char *line, char *words[WORDS_MAX], struct bk_addr *hop)
{
    static const uint8_t none[16] = {0};
    uint8_t to[16];
    memset(hop, 0, sizeof *hop);
    return split(line, words) >= 10 && strcmp(words[1], "00") == 0 && read_hex_ip(words[0], to) &&
           memcmp(to, none, sizeof none) == 0 && read_hex_ip(words[4], hop->ip) &&
           memcmp(hop->ip, none, sizeof none) != 0;
}

static void read_v6(struct bk_addr *out, size_t cap, size_t *n)
{
    char line[LINE_MAX_BYTES], *w[WORDS_MAX];
    FILE *f = fopen("/proc/net/ipv6_route", "re");
    if (f == NULL) {
        return;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        struct bk_addr a;
        if (default_v6(line, w, &a) && !add_gateway(&a, out, cap, n)) {
            break;
        }
    }
    (void)fclose(f);
}

/* "address index plen scope flags name"; asks no socket, unlike if_nametoindex. 0: unknown. */
static unsigned interface_index(const char *name)
{
    char line[LINE_MAX_BYTES], *w[WORDS_MAX];
    unsigned index = 0;
    FILE *f = fopen("/proc/net/if_inet6", "re");
    if (f == NULL) {
        return 0;
    }
    while (index == 0 && fgets(line, sizeof line, f) != NULL) {
        if (split(line, w) >= 6 && strcmp(w[5], name) == 0) {
            index = (unsigned)strtoul(w[1], NULL, 16);
        }
    }
    (void)fclose(f);
    return index;
}

bool bk_host_gateway6(struct bk_addr *out, unsigned *interface)
{
    char line[LINE_MAX_BYTES], *w[WORDS_MAX];
    bool found = false;
    FILE *f = fopen("/proc/net/ipv6_route", "re");
    if (f == NULL) {
        return false;
    }
    while (!found && fgets(line, sizeof line, f) != NULL) {
        found = default_v6(line, w, out);
        *interface = found ? interface_index(w[9]) : 0;
    }
    (void)fclose(f);
    return found;
}

size_t bk_host_gateways(struct bk_addr *out, size_t cap)
{
    size_t n = 0;
    read_v4(out, cap, &n);
    read_v6(out, cap, &n);
    return n;
}

/* ---- Source ---- */

enum bk_err bk_host_source_toward(const struct bk_addr *target, struct bk_addr *source)
{
    struct sockaddr_storage ss;
    struct bk_addr to = *target;
    socklen_t len = 0;
    int family = bk_sockaddr_family(target);
    memset(source, 0, sizeof *source);
    if (to.port == 0) {
        to.port = ANY_PORT;
    }
    enum bk_err err = bk_sockaddr_write(&to, family, &ss, &len);
    if (err != BK_OK) {
        return err;
    }
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return BK_E_NOTFOUND;
    }
    if (connect(fd, (struct sockaddr *)&ss, len) == 0) {
        *source = bk_sockaddr_local(fd);
        source->port = 0;
    } else {
        err = BK_E_NOTFOUND;
    }
    close(fd);
    return err;
}

/* fe80::/10 and ::1: from these nothing comes back from beyond the link. */
static bool stays_here(const struct bk_addr *a)
{
    static const uint8_t loopback[16] = {[15] = 1};
    return (a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80) ||
           memcmp(a->ip, loopback, sizeof loopback) == 0;
}

bool bk_host_has_route(const struct bk_addr *target)
{
    struct bk_addr source;
    return bk_host_source_toward(target, &source) == BK_OK &&
           (!stays_here(&source) || stays_here(target));
}

size_t bk_host_keep_routed(struct bk_addr *addrs, size_t n,
                           bool (*has_route)(const struct bk_addr *target))
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (has_route(&addrs[i])) {
            addrs[kept++] = addrs[i];
        }
    }
    return kept > 0 ? kept : n;
}
