/* Scopes of addresses in every spelling, at the edges of every range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/addr.h"

static void expect_v6(const char *text, enum bk_addr_scope scope)
{
    struct bk_addr a;
    if (bk_addr_parse(bk_slice_text(text), 1, &a) != BK_OK || bk_addr_scope(&a) != scope) {
        fail_msg("%s: scope %d, expected %d", text, (int)bk_addr_scope(&a), (int)scope);
    }
}

/* One IPv4 address in all its spellings. */
static void expect_v4(const char *text, enum bk_addr_scope scope)
{
    struct bk_addr plain;
    assert_int_equal(bk_addr_parse(bk_slice_text(text), 1, &plain), BK_OK);
    struct {
        uint8_t head[12];
        size_t at;
    } spellings[] = {
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 12}, /* mapped */
        {{0}, 12},                                        /* compatible */
        {{0x00, 0x64, 0xFF, 0x9B}, 12},                   /* NAT64 */
        {{0x20, 0x02}, 2},                                /* 6to4 */
    };
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        struct bk_addr a = {{0}, 1};
        memcpy(a.ip, spellings[i].head, 12);
        memcpy(a.ip + spellings[i].at, plain.ip + 12, 4);
        enum bk_addr_scope expected = scope;
        /* ::1 is IPv6's own loopback, whatever 0.0.0.1 is. */
        if (i == 1 && memcmp(plain.ip + 12, "\0\0\0\1", 4) == 0) {
            expected = BK_SCOPE_LOOPBACK;
        }
        if (bk_addr_scope(&a) != expected) {
            fail_msg("%s, spelling %zu: scope %d, expected %d", text, i, (int)bk_addr_scope(&a),
                     (int)expected);
        }
    }
    /* Any interface under the same 6to4 prefix. */
    struct bk_addr a = {{0x20, 0x02}, 1};
    memcpy(a.ip + 2, plain.ip + 12, 4);
    memset(a.ip + 6, 0xFF, 10);
    assert_int_equal(bk_addr_scope(&a), scope);
}

static void the_ipv4_address_inside(void **state)
{
    static const struct {
        const char *spelling, *inside; /* NULL: none */
    } rows[] = {
        {"64:ff9b::192.168.1.5", "192.168.1.5"},
        {"2002:c0a8:105::77", "192.168.1.5"},
        {"::192.168.1.5", "192.168.1.5"},
        {"192.168.1.5", NULL}, /* IPv4 itself */
        {"::ffff:192.168.1.5", NULL},
        {"2001:4860::1", NULL},
        {"::", NULL},
        {"::1", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_addr a, inside, want;
        assert_int_equal(bk_addr_parse(bk_slice_text(rows[i].spelling), 443, &a), BK_OK);
        assert_int_equal(bk_addr_inner_v4(&a, &inside), rows[i].inside != NULL);
        if (rows[i].inside != NULL) {
            assert_int_equal(bk_addr_parse(bk_slice_text(rows[i].inside), 443, &want), BK_OK);
            assert_true(bk_addr_equal(&inside, &want));
        }
    }
}

static void ipv4_ranges(void **state)
{
    (void)state;
    struct {
        const char *before; /* the last address below the range, global, or NULL */
        const char *first;
        const char *last;
        const char *after;
        enum bk_addr_scope scope;
    } rows[] = {
        {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0", BK_SCOPE_UNSPECIFIED},
        {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", BK_SCOPE_PRIVATE},
        {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", BK_SCOPE_PRIVATE},
        {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", BK_SCOPE_LOOPBACK},
        {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", BK_SCOPE_LINK_LOCAL},
        {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", BK_SCOPE_PRIVATE},
        {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", BK_SCOPE_RESERVED},
        {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", BK_SCOPE_RESERVED},
        {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", BK_SCOPE_RESERVED},
        {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", BK_SCOPE_PRIVATE},
        {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", BK_SCOPE_RESERVED},
        {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", BK_SCOPE_RESERVED},
        {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", BK_SCOPE_RESERVED},
        {"223.255.255.255", "224.0.0.0", "239.255.255.255", NULL, BK_SCOPE_MULTICAST},
        {NULL, "240.0.0.0", "255.255.255.255", NULL, BK_SCOPE_RESERVED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_v4(rows[i].first, rows[i].scope);
        expect_v4(rows[i].last, rows[i].scope);
        if (rows[i].before != NULL) {
            expect_v4(rows[i].before, BK_SCOPE_GLOBAL);
        }
        if (rows[i].after != NULL) {
            expect_v4(rows[i].after, BK_SCOPE_GLOBAL);
        }
    }
    expect_v4("0.0.0.1", BK_SCOPE_UNSPECIFIED);
    expect_v4("127.0.0.1", BK_SCOPE_LOOPBACK);
    expect_v4("4.17.168.2", BK_SCOPE_GLOBAL);
}

static void ipv6_ranges(void **state)
{
    (void)state;
    expect_v6("::", BK_SCOPE_UNSPECIFIED);
    expect_v6("::1", BK_SCOPE_LOOPBACK);
    expect_v6("fe80::", BK_SCOPE_LINK_LOCAL);
    expect_v6("febf:ffff::1", BK_SCOPE_LINK_LOCAL);
    expect_v6("fec0::1", BK_SCOPE_RESERVED);
    expect_v6("fc00::1", BK_SCOPE_PRIVATE);
    expect_v6("fdff:ffff::1", BK_SCOPE_PRIVATE);
    expect_v6("fe00::1", BK_SCOPE_RESERVED);
    expect_v6("ff00::", BK_SCOPE_MULTICAST);
    expect_v6("ff02::1", BK_SCOPE_MULTICAST);
    expect_v6("2001:db8::1", BK_SCOPE_RESERVED);
    expect_v6("2001::1", BK_SCOPE_RESERVED);     /* Teredo */
    expect_v6("2001:1ff::1", BK_SCOPE_RESERVED); /* end of 2001::/23 */
    expect_v6("2001:200::1", BK_SCOPE_GLOBAL);
    expect_v6("2001:db7::1", BK_SCOPE_GLOBAL);
    expect_v6("2001:db9::1", BK_SCOPE_GLOBAL);
    expect_v6("3fff:fff::1", BK_SCOPE_RESERVED);
    expect_v6("3fff:1000::1", BK_SCOPE_GLOBAL);
    expect_v6("2000::", BK_SCOPE_GLOBAL);
    expect_v6("3ffe:ffff::1", BK_SCOPE_GLOBAL);
    expect_v6("1fff::1", BK_SCOPE_RESERVED);
    expect_v6("4000::1", BK_SCOPE_RESERVED);
    expect_v6("100::1", BK_SCOPE_RESERVED);
    expect_v6("5f00::1", BK_SCOPE_RESERVED);
    expect_v6("64:ff9b:1::8.8.8.8", BK_SCOPE_RESERVED); /* local NAT64 */
    expect_v6("64:ff9b::1:8.8.8.8", BK_SCOPE_RESERVED); /* outside the /96 */
    expect_v6("::ffff:0:8.8.8.8", BK_SCOPE_RESERVED);   /* IPv4-translated */
    expect_v6("64:ff9b::127.0.0.1", BK_SCOPE_LOOPBACK);
    expect_v6("2002:7f00:1::1", BK_SCOPE_LOOPBACK);
    expect_v6("2002:808:808::1", BK_SCOPE_GLOBAL);
    expect_v6("::127.0.0.1", BK_SCOPE_LOOPBACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ipv4_address_inside),
        cmocka_unit_test(ipv4_ranges),
        cmocka_unit_test(ipv6_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
