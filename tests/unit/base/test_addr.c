/* Addresses as text, prefixes, and what rate limits count by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/addr.h"

static enum bk_err parse(const char *text, uint16_t default_port, struct bk_addr *out)
{
    return bk_addr_parse(bk_slice_text(text), default_port, out);
}

static void text_round_trips(void **state)
{
    (void)state;
    const char *same[] = {"0.0.0.0:0",       "255.255.255.255:65535",
                          "4.17.168.2:5000", "[::]:0",
                          "[::1]:22",        "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                          "[fe80::1]:1",     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct bk_addr a;
        char text[BK_ADDR_TEXT_BYTES];
        assert_int_equal(parse(same[i], 0, &a), BK_OK);
        bk_addr_format(&a, text);
        assert_string_equal(text, same[i]);
    }
}

static void other_spellings(void **state)
{
    (void)state;
    struct bk_addr a;
    char text[BK_ADDR_TEXT_BYTES];
    struct {
        const char *in;
        uint16_t port;
        const char *out;
    } rows[] = {
        {":5000", 0, "0.0.0.0:5000"},
        {":5000", 9, "0.0.0.0:5000"},
        {"1.2.3.4", 9, "1.2.3.4:9"},
        {"1.2.3.4:5", 9, "1.2.3.4:5"},
        {"::1", 9, "[::1]:9"},
        {"[::1]", 9, "[::1]:9"},
        {"[::ffff:1.2.3.4]:5", 0, "1.2.3.4:5"},
        {"2001:DB8::5:80", 9, "[2001:db8::5:80]:9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i].in, rows[i].port, &a), BK_OK);
        bk_addr_format(&a, text);
        assert_string_equal(text, rows[i].out);
    }
    bk_addr_format_ip(&a, text);
    assert_string_equal(text, "2001:db8::5:80");
}

static void refused_texts(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         ":",
                         "1.2.3.4:",
                         "1.2.3:5",
                         "1.2.3.4:x",
                         "1.2.3.4:-1",
                         "1.2.3.4:65536",
                         "1.2.3.4:080",
                         "01.2.3.4:5",
                         "1.2.3.256:5",
                         "1.2.3.4 :5",
                         " 1.2.3.4:5",
                         "[1.2.3.4]:5",
                         "[::1:5",
                         "::1]:5",
                         "[::1]5",
                         "[::1]:",
                         "[]:5",
                         "[fe80::1%lo]:5",
                         "[::1]:5:6",
                         "localhost:5",
                         "0x7f.1:5",
                         "127.1:5",
                         "2130706433:5",
                         "[:::1]:5",
                         "[",
                         "]",
                         "[::1]x:5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bk_addr a;
        assert_int_equal(parse(bad[i], 0, &a), BK_E_MALFORMED);
        if (bad[i][0] == '\0' || bad[i][0] == '[') {
            assert_int_equal(parse(bad[i], 7, &a), BK_E_MALFORMED);
        }
    }
    struct bk_addr a;
    assert_int_equal(parse("1.2.3.4", 0, &a), BK_E_MALFORMED);
    assert_int_equal(parse("::1", 0, &a), BK_E_MALFORMED);
    assert_int_equal(bk_addr_parse(bk_slice("1.2.3.4\0:5", 10), 0, &a), BK_E_MALFORMED);
}

static void comparison(void **state)
{
    (void)state;
    struct bk_addr a = bk_addr_v4(1, 2, 3, 4, 5);
    struct bk_addr b = bk_addr_v4(1, 2, 3, 4, 6);
    struct bk_addr c = bk_addr_v4(1, 2, 3, 5, 5);
    assert_true(bk_addr_is_v4(&a));
    assert_true(bk_addr_equal(&a, &a));
    assert_false(bk_addr_equal(&a, &b));
    assert_true(bk_addr_same_ip(&a, &b));
    assert_false(bk_addr_same_ip(&a, &c));
    struct bk_addr v6;
    assert_int_equal(parse("[::fffe:1.2.3.4]:5", 0, &v6), BK_OK);
    assert_false(bk_addr_is_v4(&v6));
    assert_false(bk_addr_equal(&a, &v6));
}

static void prefixes(void **state)
{
    (void)state;
    struct {
        const char *prefix;
        const char *addr;
        bool inside;
    } rows[] = {
        {"192.168.1.0/24", "192.168.1.255:1", true},
        {"192.168.1.0/24", "192.168.2.0:1", false},
        {"10.0.0.0/8", "10.255.0.1:1", true},
        {"172.16.0.0/12", "172.31.9.9:1", true},
        {"172.16.0.0/12", "172.32.0.0:1", false},
        {"0.0.0.0/0", "9.9.9.9:1", true},
        {"0.0.0.0/0", "[2001:db8::1]:1", false},
        {"1.2.3.4/32", "1.2.3.4:1", true},
        {"1.2.3.4/32", "1.2.3.5:1", false},
        {"fe80::/10", "[febf::1]:1", true},
        {"fe80::/10", "[fec0::1]:1", false},
        {"::/0", "[ff02::1]:1", true},
        {"::1/128", "[::1]:1", true},
        {"::1/128", "[::2]:1", false},
        {"1.2.3.4/31", "1.2.3.5:1", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1:1", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_prefix p;
        struct bk_addr a;
        assert_int_equal(bk_prefix_parse(bk_slice_text(rows[i].prefix), &p), BK_OK);
        assert_int_equal(parse(rows[i].addr, 0, &a), BK_OK);
        assert_int_equal(bk_prefix_contains(&p, &a), rows[i].inside);
    }
    struct bk_prefix p;
    assert_int_equal(bk_prefix_parse(bk_slice_text("1.2.3.4/33"), &p), BK_E_RANGE);
    assert_int_equal(bk_prefix_parse(bk_slice_text("::/129"), &p), BK_E_RANGE);
    const char *bad[] = {"", "/", "1.2.3.4", "1.2.3.4/", "1.2.3.4/x", "/8", "1.2.3/8", "::/08"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_prefix_parse(bk_slice_text(bad[i]), &p), BK_E_MALFORMED);
    }
}

static uint64_t rate_key(const char *text)
{
    struct bk_addr a;
    assert_int_equal(parse(text, 0, &a), BK_OK);
    return bk_addr_rate_key(&a);
}

static void rate_keys(void **state)
{
    (void)state;
    assert_true(rate_key("1.2.3.4:5") == rate_key("1.2.3.4:6"));
    assert_true(rate_key("1.2.3.4:5") != rate_key("1.2.3.5:5"));
    assert_true(rate_key("[2001:db8::1]:5") == rate_key("[2001:db8::ffff:1]:5"));
    assert_true(rate_key("[2001:db8:0:1::1]:5") != rate_key("[2001:db8::1]:5"));
    assert_true(rate_key("0.0.0.0:5") != rate_key("[::]:5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_round_trips), cmocka_unit_test(other_spellings),
        cmocka_unit_test(refused_texts),    cmocka_unit_test(comparison),
        cmocka_unit_test(prefixes),         cmocka_unit_test(rate_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
