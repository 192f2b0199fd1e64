/* What netcheck says of what it found: each finding has its line, and none promises what there is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/netcheck_text.h"

static struct beckon_netcheck r;

/* A caller behind an ordinary router, a server with a relay. */
static void usual(void)
{
    memset(&r, 0, sizeof r);
    r.server = r.udp = 1;
    strcpy(r.mapping, bk_behaviour_text(BK_BEHAVIOUR_ENDPOINT_INDEPENDENT));
    strcpy(r.filtering, bk_behaviour_text(BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT));
    strcpy(r.hairpin, "yes");
    strcpy(r.relay, "server.example.com:1201");
    strcpy(r.relayed, "130.74.23.6:50000");
    for (size_t i = 0; i < BECKON_NETCHECK_MAPPINGS; i++) {
        strcpy(r.mappings[i].protocol, i == 0 ? "PCP" : i == 1 ? "NAT-PMP" : "UPnP-IGD");
        strcpy(r.mappings[i].reason, "no answer from the router");
    }
}

static bool says(const char *beginning)
{
    for (size_t i = 0; i < r.n_advice; i++) {
        if (strncmp(r.advice[i], beginning, strlen(beginning)) == 0) {
            return true;
        }
    }
    return false;
}

static void there(size_t i, const char *reason)
{
    r.mappings[i].there = 1;
    (void)snprintf(r.mappings[i].reason, sizeof r.mappings[i].reason, "%s", reason);
}

static void an_ordinary_router(void **state)
{
    (void)state;
    usual();
    bk_netcheck_advise(&r);
    assert_int_equal(r.n_advice, 2);
    assert_true(says("punched: likely"));
    assert_true(says("relayed: by server.example.com:1201"));
    bk_netcheck_advise(&r); /* again: not twice as long */
    assert_int_equal(r.n_advice, 2);
}

static void public_addresses(void **state)
{
    (void)state;
    usual();
    r.public_v4 = r.public_v6 = 1;
    strcpy(r.mapping, bk_behaviour_text(BK_BEHAVIOUR_NO_NAT));
    there(2, "");
    bk_netcheck_advise(&r);
    assert_true(says("host: a public IPv4 address"));
    assert_true(says("host: a public IPv6 address, for devices that have IPv6"));
    assert_false(says("mapped")); /* not needed */
    assert_true(says("punched: no NAT on the way"));
    r.mappings[2].pinholes = 1;
    bk_netcheck_advise(&r);
    assert_true(says("host: a public IPv6 address, for devices that have IPv6; the router lets"));
}

static void mappings(void **state)
{
    (void)state;
    usual();
    there(1, "");
    bk_netcheck_advise(&r);
    assert_true(says("mapped: the router opens a port by NAT-PMP"));
    there(0, "");
    bk_netcheck_advise(&r);
    assert_true(says("mapped: the router opens a port by PCP"));
    /* PCP does not know its outer address; the other does: another NAT lies behind it. */
    there(1, "router has no public address");
    bk_netcheck_advise(&r);
    assert_false(says("mapped"));
}

static void ports_that_cannot_be_foretold(void **state)
{
    (void)state;
    usual();
    strcpy(r.mapping, bk_behaviour_text(BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT));
    bk_netcheck_advise(&r);
    assert_true(says("punched: only with devices whose NAT lets in"));
    r.port_preserved = 1;
    bk_netcheck_advise(&r);
    assert_true(says("punched: likely to work with most devices (the NAT keeps the port)"));
}

static void no_server_no_udp_no_relay_no_hairpin(void **state)
{
    (void)state;
    usual();
    r.udp = 0;
    r.relayed[0] = '\0';
    strcpy(r.relay_reason, "no answer in time");
    strcpy(r.mapping, bk_behaviour_text(BK_BEHAVIOUR_UNKNOWN));
    strcpy(r.hairpin, "no");
    bk_netcheck_advise(&r);
    assert_true(says("relayed: not by server.example.com:1201: no answer in time"));
    assert_true(says("UDP gets no answer"));
    assert_true(says("no hairpin"));
    assert_false(says("punched"));
    r.relay[0] = '\0';
    bk_netcheck_advise(&r);
    assert_true(says("relayed: the server offers no relay"));
    r.server = 0;
    bk_netcheck_advise(&r);
    assert_true(says("no calls: the server cannot be reached"));
    assert_false(says("relayed"));
    assert_false(says("UDP"));
}

static void every_kind_has_its_words(void **state)
{
    (void)state;
    for (int a = BK_BEHAVIOUR_UNKNOWN; a <= BK_BEHAVIOUR_NOT_ENDPOINT_INDEPENDENT; a++) {
        const char *text = bk_behaviour_text((enum bk_behaviour_kind)a);

        assert_in_range(strlen(text), 4, sizeof((struct beckon_netcheck *)NULL)->mapping - 1);
        for (int b = BK_BEHAVIOUR_UNKNOWN; b < a; b++) {
            assert_string_not_equal(text, bk_behaviour_text((enum bk_behaviour_kind)b));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_router),
        cmocka_unit_test(public_addresses),
        cmocka_unit_test(mappings),
        cmocka_unit_test(ports_that_cannot_be_foretold),
        cmocka_unit_test(no_server_no_udp_no_relay_no_hairpin),
        cmocka_unit_test(every_kind_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
