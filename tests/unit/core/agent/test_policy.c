#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/agent/policy.h"

static struct bk_addr addr(const char *text)
{
    struct bk_addr a;
    assert_int_equal(bk_addr_parse(bk_slice_text(text), 0, &a), BK_OK);
    return a;
}

static struct bk_policy device(void)
{
    struct bk_policy p = {.n_own_nets = 2, .n_own = 5, .n_server_ports = 3};
    assert_int_equal(bk_prefix_parse(bk_slice_text("192.168.1.0/24"), &p.own_nets[0]), BK_OK);
    assert_int_equal(bk_prefix_parse(bk_slice_text("fd00:1::/64"), &p.own_nets[1]), BK_OK);
    p.own[0] = addr("192.168.1.3:0");
    p.own[1] = addr("192.168.1.1:0");   /* gateway inside */
    p.own[2] = addr("202.204.16.13:0"); /* and outside */
    p.own[3] = addr("[fd00:1::3]:0");
    p.own[4] = addr("[2a02:1::3]:0");
    p.servers[p.n_servers++] = addr("130.74.23.6:0");
    p.servers[p.n_servers++] = addr("[2a02:9::6]:0"); /* of the same name */
    p.servers[2] = addr("4.17.168.2:0");              /* beyond the list */
    p.server_ports[0] = 1200;
    p.server_ports[1] = 1201;
    p.server_ports[2] = 443;
    return p;
}

static void every_address_has_its_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum bk_policy_verdict verdict;
    } rows[] = {
        {"4.17.168.2:5000", BK_POLICY_ALLOWED},
        {"4.17.168.2:443", BK_POLICY_ALLOWED},
        {"4.17.168.2:1024", BK_POLICY_ALLOWED},
        {"4.17.168.2:65535", BK_POLICY_ALLOWED},
        {"[2a02:2::1]:5000", BK_POLICY_ALLOWED},
        {"192.168.1.11:5000", BK_POLICY_ALLOWED}, /* in its own network */
        {"[fd00:1::9]:5000", BK_POLICY_ALLOWED},
        {"130.74.23.6:5000", BK_POLICY_ALLOWED}, /* the server, not one of its services */

        {"4.17.168.2:0", BK_POLICY_PORT},
        {"4.17.168.2:22", BK_POLICY_PORT},
        {"4.17.168.2:80", BK_POLICY_PORT},
        {"4.17.168.2:442", BK_POLICY_PORT},
        {"4.17.168.2:444", BK_POLICY_PORT},
        {"4.17.168.2:1023", BK_POLICY_PORT},

        {"127.0.0.1:5000", BK_POLICY_SCOPE},
        {"127.255.0.9:5000", BK_POLICY_SCOPE},
        {"0.0.0.0:5000", BK_POLICY_SCOPE},
        {"0.1.2.3:5000", BK_POLICY_SCOPE},
        {"255.255.255.255:5000", BK_POLICY_SCOPE},
        {"224.0.0.1:5000", BK_POLICY_SCOPE},
        {"239.255.255.250:5000", BK_POLICY_SCOPE},
        {"169.254.1.1:5000", BK_POLICY_SCOPE},
        {"192.168.1.255:5000", BK_POLICY_SCOPE}, /* broadcast of its own network */
        {"192.168.1.0:5000", BK_POLICY_SCOPE},
        {"[::]:5000", BK_POLICY_SCOPE},
        {"[::1]:5000", BK_POLICY_SCOPE},
        {"[fe80::1]:5000", BK_POLICY_SCOPE},
        {"[ff02::1]:5000", BK_POLICY_SCOPE},
        {"[::ffff:127.0.0.1]:5000", BK_POLICY_SCOPE},
        {"[::127.0.0.1]:5000", BK_POLICY_SCOPE},
        {"[64:ff9b::7f00:1]:5000", BK_POLICY_SCOPE},
        {"[64:ff9b::a9fe:101]:5000", BK_POLICY_SCOPE},
        {"[2002:7f00:1::1]:5000", BK_POLICY_SCOPE},
        {"[64:ff9b::c0a8:1ff]:5000", BK_POLICY_SCOPE}, /* 192.168.1.255 */

        {"[2a02:9::6]:1200", BK_POLICY_SERVER},
        {"[2a02:9::6]:443", BK_POLICY_ALLOWED},
        {"[2a02:9::6]:5000", BK_POLICY_ALLOWED},
        {"4.17.168.2:1200", BK_POLICY_ALLOWED},

        {"192.168.1.3:5000", BK_POLICY_OWN},
        {"192.168.1.1:5000", BK_POLICY_OWN},
        {"202.204.16.13:5000", BK_POLICY_OWN},
        {"[fd00:1::3]:5000", BK_POLICY_OWN},
        {"[2a02:1::3]:5000", BK_POLICY_OWN},
        {"[::ffff:192.168.1.3]:5000", BK_POLICY_OWN},
        {"[64:ff9b::c0a8:103]:5000", BK_POLICY_OWN},
        {"[::192.168.1.3]:5000", BK_POLICY_OWN},
        {"[::202.204.16.13]:5000", BK_POLICY_OWN},
        {"[2002:c0a8:101::1]:5000", BK_POLICY_OWN},
        {"[64:ff9b::cacc:100d]:5000", BK_POLICY_OWN},

        {"130.74.23.6:1200", BK_POLICY_SERVER},
        {"130.74.23.6:1201", BK_POLICY_SERVER},
        {"130.74.23.6:443", BK_POLICY_ALLOWED},
        {"[64:ff9b::824a:1706]:1201", BK_POLICY_SERVER},
        {"[::130.74.23.6]:1201", BK_POLICY_SERVER},

        {"192.168.2.1:5000", BK_POLICY_PRIVATE},
        {"10.0.0.1:5000", BK_POLICY_PRIVATE},
        {"172.16.0.1:5000", BK_POLICY_PRIVATE},
        {"100.64.0.1:5000", BK_POLICY_PRIVATE},
        {"[fd00:2::9]:5000", BK_POLICY_PRIVATE},
        {"[64:ff9b::a00:1]:5000", BK_POLICY_PRIVATE},
        {"[2002:a00:1::1]:5000", BK_POLICY_PRIVATE},
        {"[64:ff9b::c0a8:109]:5000",
         BK_POLICY_PRIVATE}, /* by NAT64 even where it would be allowed */
    };
    struct bk_policy p = device();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_addr target = addr(rows[i].target);
        enum bk_policy_verdict verdict = bk_policy_check(&p, &target);
        if (verdict != rows[i].verdict) {
            fail_msg("%s: %d, not %d", rows[i].target, (int)verdict, (int)rows[i].verdict);
        }
    }
}

static void an_empty_policy_still_lets_nothing_private_through(void **state)
{
    (void)state;
    struct bk_policy p = {.n_own_nets = 0};
    struct bk_addr target = addr("192.168.1.11:5000");
    assert_int_equal(bk_policy_check(&p, &target), BK_POLICY_PRIVATE);
    target = addr("4.17.168.2:5000");
    assert_int_equal(bk_policy_check(&p, &target), BK_POLICY_ALLOWED);
}

struct row {
    const char *target;
    enum bk_policy_verdict verdict;
};

static void expect(const struct bk_policy *p, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct bk_addr target = addr(rows[i].target);
        enum bk_policy_verdict verdict = bk_policy_check(p, &target);
        if (verdict != rows[i].verdict) {
            fail_msg("%s: %d, not %d", rows[i].target, (int)verdict, (int)rows[i].verdict);
        }
    }
}

static void list(struct bk_prefix *into, size_t *n, const char *text)
{
    assert_true(*n < BK_POLICY_LIST_MAX);
    assert_int_equal(bk_prefix_parse(bk_slice_text(text), &into[(*n)++]), BK_OK);
}

static void what_is_denied_is_denied_in_every_spelling(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"4.17.168.2:5000", BK_POLICY_LISTED},
        {"4.17.168.255:5000", BK_POLICY_LISTED},
        {"4.17.169.0:5000", BK_POLICY_ALLOWED},
        {"4.17.167.255:5000", BK_POLICY_ALLOWED},
        {"[::ffff:4.17.168.2]:5000", BK_POLICY_LISTED},
        {"[::4.17.168.2]:5000", BK_POLICY_LISTED},
        {"[64:ff9b::411:a802]:5000", BK_POLICY_LISTED},
        {"[2002:411:a802::1]:5000", BK_POLICY_LISTED},
        {"[64:ff9b::411:a902]:5000", BK_POLICY_ALLOWED},
        {"192.168.1.11:5000", BK_POLICY_LISTED}, /* its own network, but denied */
        {"192.168.1.12:5000", BK_POLICY_ALLOWED},
        {"[2a02:2::1]:5000", BK_POLICY_LISTED},
        {"[2a02:3::1]:5000", BK_POLICY_ALLOWED},
        {"9.1.2.3:5000", BK_POLICY_LISTED}, /* denied by the mapped spelling */
    };
    struct bk_policy p = device();
    list(p.deny, &p.n_deny, "4.17.168.0/24");
    list(p.deny, &p.n_deny, "192.168.1.11/32");
    list(p.deny, &p.n_deny, "2a02:2::/32");
    list(p.deny, &p.n_deny, "::ffff:9.0.0.0/104");
    expect(&p, rows, sizeof rows / sizeof rows[0]);
}

static void with_an_allow_list_nothing_else_is_dialled(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"4.17.168.2:5000", BK_POLICY_ALLOWED},
        {"[::ffff:4.17.168.2]:5000", BK_POLICY_ALLOWED},
        {"4.17.169.2:5000", BK_POLICY_LISTED},
        {"[2a02:2::1]:5000", BK_POLICY_ALLOWED},
        {"[2a02:3::1]:5000", BK_POLICY_LISTED},
        {"192.168.1.11:5000", BK_POLICY_LISTED}, /* its own network, not listed */
        {"10.1.0.1:5000", BK_POLICY_ALLOWED},    /* private and of others, but listed */
        {"10.2.0.1:5000", BK_POLICY_LISTED},
        {"[fd00:7::9]:5000", BK_POLICY_ALLOWED},
        {"[fd00:8::9]:5000", BK_POLICY_LISTED},
        {"4.17.168.7:5000", BK_POLICY_LISTED},          /* denied: that comes first */
        {"[64:ff9b::411:a802]:5000", BK_POLICY_LISTED}, /* the address inside alone is listed */
        {"[64:ff9b:0::a01:1]:5000", BK_POLICY_LISTED},
    };
    struct bk_policy p = device();
    list(p.allow, &p.n_allow, "4.17.168.0/24");
    list(p.allow, &p.n_allow, "2a02:2::/32");
    list(p.allow, &p.n_allow, "10.1.0.0/16");
    list(p.allow, &p.n_allow, "fd00:7::/32");
    list(p.deny, &p.n_deny, "4.17.168.7/32");
    expect(&p, rows, sizeof rows / sizeof rows[0]);
    list(p.allow, &p.n_allow, "64:ff9b::/96"); /* both spellings are, now */
    const struct row translated[] = {
        {"[64:ff9b::411:a802]:5000", BK_POLICY_ALLOWED},
        {"[64:ff9b::411:a902]:5000", BK_POLICY_LISTED},
        {"[64:ff9b::411:a807]:5000", BK_POLICY_LISTED},
        {"[64:ff9b::a01:1]:5000", BK_POLICY_ALLOWED},
        {"[64:ff9b::7f00:1]:5000", BK_POLICY_SCOPE},
    };
    expect(&p, translated, sizeof translated / sizeof translated[0]);
}

static void a_list_that_allows_all_lifts_no_other_rule(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"4.17.168.2:5000", BK_POLICY_ALLOWED},
        {"10.0.0.1:5000", BK_POLICY_ALLOWED},
        {"[fd00:2::9]:5000", BK_POLICY_ALLOWED},
        {"4.17.168.2:22", BK_POLICY_PORT},
        {"10.0.0.1:80", BK_POLICY_PORT},
        {"127.0.0.1:5000", BK_POLICY_SCOPE},
        {"[::1]:5000", BK_POLICY_SCOPE},
        {"[fe80::1]:5000", BK_POLICY_SCOPE},
        {"169.254.1.1:5000", BK_POLICY_SCOPE},
        {"224.0.0.1:5000", BK_POLICY_SCOPE},
        {"192.168.1.255:5000", BK_POLICY_SCOPE},
        {"192.168.1.3:5000", BK_POLICY_OWN},
        {"192.168.1.1:5000", BK_POLICY_OWN},
        {"[fd00:1::3]:5000", BK_POLICY_OWN},
        {"[64:ff9b::c0a8:103]:5000", BK_POLICY_OWN},
        {"130.74.23.6:1200", BK_POLICY_SERVER},
        {"130.74.23.6:5000", BK_POLICY_ALLOWED},
    };
    struct bk_policy p = device();
    list(p.allow, &p.n_allow, "0.0.0.0/0");
    list(p.allow, &p.n_allow, "::/0");
    expect(&p, rows, sizeof rows / sizeof rows[0]);
}

/* All IPv4 addresses are written inside ::/0, and nobody means them by it. */
static void prefixes_of_ipv6_mean_no_ipv4(void **state)
{
    (void)state;
    static struct bk_policy p; /* too large for a stack frame that makes several */
    p = device();
    list(p.allow, &p.n_allow, "::/0");
    const struct row allow[] = {
        {"4.17.168.2:5000", BK_POLICY_LISTED},
        {"10.0.0.1:5000", BK_POLICY_LISTED},
        {"[::ffff:10.0.0.1]:5000", BK_POLICY_LISTED},
        {"[2a02:3::1]:5000", BK_POLICY_ALLOWED},
    };
    expect(&p, allow, sizeof allow / sizeof allow[0]);
    p = device();
    list(p.deny, &p.n_deny, "::/0");
    const struct row deny[] = {
        {"4.17.168.2:5000", BK_POLICY_ALLOWED},
        {"[2a02:3::1]:5000", BK_POLICY_LISTED},
        {"[64:ff9b::411:a802]:5000", BK_POLICY_LISTED},
    };
    expect(&p, deny, sizeof deny / sizeof deny[0]);
    p = device();
    list(p.deny, &p.n_deny, "::ffff:0:0/96"); /* all of IPv4, in so many words */
    const struct row v4[] = {
        {"4.17.168.2:5000", BK_POLICY_LISTED},
        {"[2a02:3::1]:5000", BK_POLICY_ALLOWED},
    };
    expect(&p, v4, sizeof v4 / sizeof v4[0]);
}

/* A host that cannot tell what it is, or is too much, must not be made to dial itself. */
static void where_own_addresses_are_not_known_nothing_is_dialled(void **state)
{
    (void)state;
    struct bk_policy p = device();
    p.own_unknown = true;
    const struct row rows[] = {
        {"4.17.168.2:5000", BK_POLICY_OWN},
        {"192.168.1.11:5000", BK_POLICY_OWN},
        {"[2a02:2::1]:5000", BK_POLICY_OWN},
    };
    expect(&p, rows, sizeof rows / sizeof rows[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_has_its_verdict),
        cmocka_unit_test(an_empty_policy_still_lets_nothing_private_through),
        cmocka_unit_test(what_is_denied_is_denied_in_every_spelling),
        cmocka_unit_test(with_an_allow_list_nothing_else_is_dialled),
        cmocka_unit_test(a_list_that_allows_all_lifts_no_other_rule),
        cmocka_unit_test(prefixes_of_ipv6_mean_no_ipv4),
        cmocka_unit_test(where_own_addresses_are_not_known_nothing_is_dialled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
