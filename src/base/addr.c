/* Transport addresses as text and as bytes. Resolves no names. Whether an address may be used is
 * judged in addr_scope.c. */
#define _POSIX_C_SOURCE 200809L
#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/number.h"
#include "base/reader.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

struct bk_addr bk_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    return (struct bk_addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d}, port};
}

bool bk_addr_is_v4(const struct bk_addr *a)
{
    return memcmp(a->ip, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool bk_addr_same_ip(const struct bk_addr *a, const struct bk_addr *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool bk_addr_equal(const struct bk_addr *a, const struct bk_addr *b)
{
    return a->port == b->port && bk_addr_same_ip(a, b);
}

/* The address of `family` that is all of `text`. */
static bool parse_ip(struct bk_slice text, int family, uint8_t ip[16])
{
    char buf[INET6_ADDRSTRLEN];
    if (!bk_slice_to_text(text, buf, sizeof buf)) {
        return false;
    }
    if (family == AF_INET6) {
        return inet_pton(AF_INET6, buf, ip) == 1;
    }
    memcpy(ip, mapped_prefix, sizeof mapped_prefix);
    return inet_pton(AF_INET, buf, ip + 12) == 1;
}

static size_t count_byte(struct bk_slice text, uint8_t byte)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        n += text.p[i] == byte;
    }
    return n;
}

/* The position of the last `byte`, or text.n. */
static size_t find_last(struct bk_slice text, uint8_t byte)
{
    for (size_t i = text.n; i > 0; i--) {
        if (text.p[i - 1] == byte) {
            return i - 1;
        }
    }
    return text.n;
}

/* What stands for the IP address and what for the port; `port` keeps n == 0 where there is none. */
static bool split(struct bk_slice text, struct bk_slice *host, int *family, struct bk_slice *port)
{
    *port = BK_SLICE_EMPTY;
    struct bk_slice rest = BK_SLICE_EMPTY; /* from the colon on */
    if (text.n > 0 && text.p[0] == '[') {
        size_t close = find_last(text, ']');
        if (close == text.n) {
            return false;
        }
        *family = AF_INET6;
        *host = bk_slice(text.p + 1, close - 1);
        rest = bk_slice(text.p + close + 1, text.n - close - 1);
    } else if (count_byte(text, ':') >= 2) {
        *family = AF_INET6;
        *host = text;
    } else {
        size_t colon = find_last(text, ':');
        *family = AF_INET;
        *host = bk_slice(text.p, colon);
        rest = bk_slice(text.p + colon, text.n - colon);
    }
    if (rest.n == 0) {
        return true;
    }
    *port = bk_slice(rest.p + 1, rest.n - 1);
    return rest.p[0] == ':' && port->n > 0;
}

enum bk_err bk_addr_parse(struct bk_slice text, uint16_t default_port, struct bk_addr *out)
{
    *out = bk_addr_v4(0, 0, 0, 0, 0);
    struct bk_slice host;
    struct bk_slice port;
    int family;
    if (text.n == 0 || !split(text, &host, &family, &port)) {
        return BK_E_MALFORMED;
    }
    uint64_t number = default_port;
    if (port.n > 0 ? bk_number_parse(port, UINT16_MAX, &number) != BK_OK : default_port == 0) {
        return BK_E_MALFORMED;
    }
    struct bk_addr addr = *out;
    bool port_alone = host.n == 0 && family == AF_INET && port.n > 0;
    if (!port_alone && !parse_ip(host, family, addr.ip)) {
        return BK_E_MALFORMED;
    }
    addr.port = (uint16_t)number;
    *out = addr;
    return BK_OK;
}

void bk_addr_format_ip(const struct bk_addr *a, char out[BK_ADDR_TEXT_BYTES])
{
    bool v4 = bk_addr_is_v4(a);
    const char *done =
        inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->ip + 12 : a->ip, out, BK_ADDR_TEXT_BYTES);
    assert(done != NULL);
    (void)done;
}

void bk_addr_format(const struct bk_addr *a, char out[BK_ADDR_TEXT_BYTES])
{
    char ip[BK_ADDR_TEXT_BYTES];
    char port[21];
    bk_addr_format_ip(a, ip);
    bk_number_format(a->port, port);
    size_t n_ip = strlen(ip);
    size_t n_port = strlen(port);
    size_t at = 0;
    bool v4 = bk_addr_is_v4(a);
    assert(n_ip < INET6_ADDRSTRLEN && n_port <= 5);
    if (!v4) {
        out[at++] = '[';
    }
    memcpy(out + at, ip, n_ip);
    at += n_ip;
    if (!v4) {
        out[at++] = ']';
    }
    out[at++] = ':';
    memcpy(out + at, port, n_port + 1);
}

enum bk_err bk_prefix_parse(struct bk_slice text, struct bk_prefix *out)
{
    memset(out, 0, sizeof *out);
    size_t slash = find_last(text, '/');
    if (slash == text.n) {
        return BK_E_MALFORMED;
    }
    struct bk_slice host = bk_slice(text.p, slash);
    struct bk_slice length = bk_slice(text.p + slash + 1, text.n - slash - 1);
    bool v6 = count_byte(host, ':') > 0;
    struct bk_prefix prefix = {{0}, 0};
    if (!parse_ip(host, v6 ? AF_INET6 : AF_INET, prefix.ip)) {
        return BK_E_MALFORMED;
    }
    uint64_t bits;
    enum bk_err err = bk_number_parse(length, v6 ? 128 : 32, &bits);
    if (err != BK_OK) {
        return err;
    }
    prefix.bits = (uint8_t)(v6 ? bits : 96 + bits);
    *out = prefix;
    return BK_OK;
}

bool bk_bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    size_t whole = bits / 8;
    unsigned rest = bits % 8;
    if (memcmp(a, b, whole) != 0) {
        return false;
    }
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0; /* no byte behind the last */
}

bool bk_prefix_contains(const struct bk_prefix *prefix, const struct bk_addr *a)
{
    return prefix->bits <= 128 && bk_bits_equal(prefix->ip, a->ip, prefix->bits);
}

uint64_t bk_addr_rate_key(const struct bk_addr *a)
{
    /* The first or the last eight bytes. An IPv4 address keeps its ffff in front, which no IPv6
     * network in use begins with (0:ffff::/32 is not global unicast). */
    struct bk_reader r = bk_reader(bk_slice(bk_addr_is_v4(a) ? a->ip + 8 : a->ip, 8));
    return bk_read_u64(&r);
}
