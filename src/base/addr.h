/* Transport addresses: IPv4 (held as IPv4-mapped IPv6) and IPv6, with a port. */
#ifndef BK_BASE_ADDR_H
#define BK_BASE_ADDR_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_ADDR_TEXT_BYTES = 56, /* "[" IPv6 "]:65535" and a terminator */
};

struct bk_addr {
    uint8_t ip[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
    uint16_t port;  /* host order */
};

struct bk_addr bk_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port);
bool bk_addr_is_v4(const struct bk_addr *a);
bool bk_addr_equal(const struct bk_addr *a, const struct bk_addr *b);
bool bk_addr_same_ip(const struct bk_addr *a, const struct bk_addr *b);

/* "a.b.c.d:port" or "[v6]:port"; `parse` also takes ":port" (unspecified IPv4) and, when
 * `default_port` is not 0, an address without a port (v6 then without brackets too).
 * No names. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_addr_parse(struct bk_slice text, uint16_t default_port,
                                       struct bk_addr *out);
void bk_addr_format(const struct bk_addr *a, char out[BK_ADDR_TEXT_BYTES]);
void bk_addr_format_ip(const struct bk_addr *a, char out[BK_ADDR_TEXT_BYTES]);

/* A prefix; IPv4 prefixes are counted in the mapped form (a /24 is 96+24). */
struct bk_prefix {
    uint8_t ip[16];
    uint8_t bits; /* 0..128 */
};

/* "192.168.1.0/24", "fe80::/10". BK_E_MALFORMED, BK_E_RANGE. */
BK_NODISCARD enum bk_err bk_prefix_parse(struct bk_slice text, struct bk_prefix *out);
bool bk_prefix_contains(const struct bk_prefix *prefix, const struct bk_addr *a);

/* True if the first `bits` bits of both are the same. */
bool bk_bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits);

/* What an address is for, seen through its spellings: IPv4-mapped, NAT64 (64:ff9b::/96), 6to4
 * (2002::/16) and IPv4-compatible forms are judged by the IPv4 address inside (IANA special-purpose
 * registries, RFC 6890). */
enum bk_addr_scope {
    BK_SCOPE_GLOBAL,
    BK_SCOPE_PRIVATE, /* RFC 1918, RFC 6598 (carrier NAT), RFC 4193 (ULA) */
    BK_SCOPE_LINK_LOCAL,
    BK_SCOPE_LOOPBACK,
    BK_SCOPE_UNSPECIFIED, /* 0.0.0.0/8 and :: */
    BK_SCOPE_MULTICAST,
    BK_SCOPE_RESERVED, /* broadcast, 240/4, documentation, benchmarking, discard, and what is left */
};
enum bk_addr_scope bk_addr_scope(const struct bk_addr *a);

/* The IPv4 address inside another spelling of it, with the port; false for one that holds none, and
 * for IPv4 itself. */
bool bk_addr_inner_v4(const struct bk_addr *a, struct bk_addr *out);

/* The unspecific part of an address that rate limits count by: /32 of IPv4, /64 of IPv6. */
uint64_t bk_addr_rate_key(const struct bk_addr *a);

#endif
