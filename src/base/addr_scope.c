/* What an address is for. Judges by the address alone; whether it may be dialled is the agent's
 * policy. Whatever no table names as global is reserved: a new special purpose is refused, not let
 * through. */
#include <stddef.h>

#include "base/addr.h"

struct row4 {
    uint8_t ip[4];
    uint8_t bits;
    enum bk_addr_scope scope;
};

/* IANA IPv4 special-purpose registry, multicast and class E; all else is global. */
static const struct row4 rows4[] = {
    {{0, 0, 0, 0}, 8, BK_SCOPE_UNSPECIFIED},     {{10, 0, 0, 0}, 8, BK_SCOPE_PRIVATE},
    {{100, 64, 0, 0}, 10, BK_SCOPE_PRIVATE},     {{127, 0, 0, 0}, 8, BK_SCOPE_LOOPBACK},
    {{169, 254, 0, 0}, 16, BK_SCOPE_LINK_LOCAL}, {{172, 16, 0, 0}, 12, BK_SCOPE_PRIVATE},
    {{192, 0, 0, 0}, 24, BK_SCOPE_RESERVED},     {{192, 0, 2, 0}, 24, BK_SCOPE_RESERVED},
    {{192, 88, 99, 0}, 24, BK_SCOPE_RESERVED},   {{192, 168, 0, 0}, 16, BK_SCOPE_PRIVATE},
    {{198, 18, 0, 0}, 15, BK_SCOPE_RESERVED},    {{198, 51, 100, 0}, 24, BK_SCOPE_RESERVED},
    {{203, 0, 113, 0}, 24, BK_SCOPE_RESERVED},   {{224, 0, 0, 0}, 4, BK_SCOPE_MULTICAST},
    {{240, 0, 0, 0}, 4, BK_SCOPE_RESERVED},
};

struct row6 {
    uint8_t ip[16];
    uint8_t bits;
    enum bk_addr_scope scope;
    int inner; /* where an IPv4 address lies that decides instead, or -1 */
};

/* In order: the first row that fits decides. 64:ff9b:1::/48 (RFC 8215) is left to the last row: where
 * the IPv4 address lies in it is each network's own choice. */
static const struct row6 rows6[] = {
    {{0}, 128, BK_SCOPE_UNSPECIFIED, -1},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, BK_SCOPE_LOOPBACK, -1},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 96, BK_SCOPE_RESERVED, 12}, /* IPv4-mapped */
    {{0}, 96, BK_SCOPE_RESERVED, 12},                                        /* IPv4-compatible */
    {{0x00, 0x64, 0xFF, 0x9B}, 96, BK_SCOPE_RESERVED, 12},                   /* NAT64 */
    {{0x20, 0x02}, 16, BK_SCOPE_RESERVED, 2},                                /* 6to4 */
    {{0x20, 0x01, 0x0D, 0xB8}, 32, BK_SCOPE_RESERVED, -1},                   /* documentation */
    {{0x20, 0x01, 0x00, 0x00}, 23, BK_SCOPE_RESERVED, -1}, /* IETF protocols, Teredo, ORCHID */
    {{0x3F, 0xFF, 0x00, 0x00}, 20, BK_SCOPE_RESERVED, -1}, /* documentation, RFC 9637 */
    {{0x20}, 3, BK_SCOPE_GLOBAL, -1},
    {{0xFC}, 7, BK_SCOPE_PRIVATE, -1},
    {{0xFE, 0x80}, 10, BK_SCOPE_LINK_LOCAL, -1},
    {{0xFF}, 8, BK_SCOPE_MULTICAST, -1},
    {{0}, 0, BK_SCOPE_RESERVED, -1},
};

static enum bk_addr_scope scope4(const uint8_t *ip)
{
    for (size_t i = 0; i < sizeof rows4 / sizeof rows4[0]; i++) {
        if (bk_bits_equal(ip, rows4[i].ip, rows4[i].bits)) {
            return rows4[i].scope;
        }
    }
    return BK_SCOPE_GLOBAL;
}

/* The last row fits everything. */
static const struct row6 *row_of(const struct bk_addr *a)
{
    const struct row6 *row = rows6;
    while (!bk_bits_equal(a->ip, row->ip, row->bits)) {
        row++;
    }
    return row;
}

enum bk_addr_scope bk_addr_scope(const struct bk_addr *a)
{
    const struct row6 *row = row_of(a);
    return row->inner < 0 ? row->scope : scope4(a->ip + row->inner);
}

bool bk_addr_inner_v4(const struct bk_addr *a, struct bk_addr *out)
{
    const struct row6 *row = row_of(a);
    if (row->inner < 0 || bk_addr_is_v4(a)) {
        return false;
    }
    const uint8_t *v4 = a->ip + row->inner;
    *out = bk_addr_v4(v4[0], v4[1], v4[2], v4[3], a->port);
    return true;
}
