/* Port mapping against a router of the test's own, NAT-PMP and UPnP-IGD, on loopback. Discovery by multicast is left to
 * the end-to-end laboratory. */
#include "net/portmap_router.h"

/* ---- Tests ---- */

static void natpmp_maps_and_takes_back(void **state)
{
    (void)state;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "NAT-PMP");
    assert_int_equal(w.result.lease_s, BK_PORTMAP_LEASE_S);
    assert_int_equal(router.held, 1);
    free_map();
    assert_int_equal(router.held, 0);
    assert_int_equal(router.unmaps, 1);
}

static void natpmp_answers_that_come_late_are_not_taken_for_others(void **state)
{
    (void)state;
    router.twice = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(5000);
    free_map();
    assert_int_equal(router.held, 0);
}

static void natpmp_may_grant_another_port(void **state)
{
    (void)state;
    router.grants_port = 6111;
    start(NATPMP, 0);
    await_calls(1);
    assert_external(6111);
}

static void natpmp_refusal_says_why(void **state)
{
    (void)state;
    router.refuses = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "the router does not allow mappings");
    assert_string_equal(w.upnp_reason, "");
}

static void a_private_outer_address_is_no_success(void **state)
{
    (void)state;
    router.ip = 0x64400102; /* 100.64.1.2: a carrier's */
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "router has no public address");
    assert_string_equal(w.upnp_reason, "router has no public address");
    free_map();
    assert_int_equal(router.maps, 0);
}

static void a_silent_router_is_given_up_in_time(void **state)
{
    (void)state;
    router.silent = true;
    double began = seconds();
    start(NATPMP, 0);
    await_calls(1);
    assert_true(seconds() - began < BK_PORTMAP_WAIT_MS / 1000.0 + LATE_S);
    assert_false(w.result.mapped);
    assert_true(w.natpmp_reason[0] != '\0');
}

static void nobody_there_is_known_at_once(void **state)
{
    (void)state;
    router.gateway.ip[13]++; /* where no router of a test is */
    start(NATPMP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.natpmp_reason, "the router does not speak it");
}

static void igd1_maps_and_takes_back(void **state)
{
    (void)state;
    start(UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "UPnP-IGD");
    assert_int_equal(router.last_lease, BK_PORTMAP_LEASE_S);
    free_map();
    assert_int_equal(router.held, 0);
    assert_int_equal(router.last_port, 5000);
}

static void igd1_conflict_takes_another_port(void **state)
{
    (void)state;
    router.conflicts = 2;
    start(UPNP, 0);
    await_calls(1);
    assert_true(w.result.mapped);
    assert_int_not_equal(w.result.external.port, 5000);
    assert_int_equal(w.result.external.port, router.last_port);
    uint16_t port = w.result.external.port;
    free_map();
    assert_int_equal(router.last_port, port);
    assert_int_equal(router.unmaps, 1);
}

static void igd2_any_port(void **state)
{
    (void)state;
    router.version = 2;
    router.grants_port = 7222;
    start(UPNP, 0);
    await_calls(1);
    assert_external(7222);
    free_map();
    assert_int_equal(router.last_port, 7222);
}

static void igd_that_knows_no_leases(void **state)
{
    (void)state;
    router.permanent_only = true;
    start(UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_int_equal(w.result.lease_s, 0);
    free_map();
    assert_int_equal(router.held, 0);
}

static void igd_refusal_says_why(void **state)
{
    (void)state;
    router.refuses = true;
    start(UPNP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_non_null(strstr(w.upnp_reason, "606"));
}

/* Both could; one mapping is asked for, and it stands until the end. */
static void both_protocols_make_one_mapping(void **state)
{
    (void)state;
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_external(5000);
    assert_int_equal(router.maps, 1);
    assert_int_equal(router.unmaps, 0);
    free_map();
    assert_int_equal(router.maps, 1);
    assert_int_equal(router.unmaps, 1);
}

static void the_second_takes_over_when_the_first_fails(void **state)
{
    (void)state;
    router.silent = true; /* NAT-PMP */
    start(NATPMP | UPNP, 0);
    await_calls(1);
    assert_string_equal(w.result.protocol, "UPnP-IGD");
}

static void a_lease_is_renewed_and_changes_are_told(void **state)
{
    (void)state;
    for (unsigned protocol = NATPMP; protocol <= UPNP; protocol++) {
        unsigned calls = w.calls, maps = router.maps;
        router.ip = 0x0411A802;
        start(protocol, 1);
        await_calls(calls + 1);
        double until = seconds() + 10;
        while (router.maps < maps + 3) {
            assert_true(seconds() < until);
            usleep(10000);
        }
        await_count(&w.renewals, 1);
        assert_int_equal(w.calls, calls + 1); /* nothing has changed */
        assert_true(w.result.mapped && !w.result.remade && !w.result.pinhole);
        router.ip = 0x0411A803;
        await_calls(calls + 2);
        assert_true(w.result.mapped);
        assert_int_equal(w.result.external.ip[15], 3);
        router.refuses = true;
        await_calls(calls + 3);
        assert_false(w.result.mapped);
        router.refuses = false;
        free_map();
        w.calls = w.renewals = 0;
    }
}

static void nothing_asked_is_answered_too(void **state)
{
    (void)state;
    start(0, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.upnp_reason, "");
    assert_string_equal(w.natpmp_reason, "");
}

static void free_at_once_and_from_inside(void **state)
{
    (void)state;
    double began = seconds();
    start(NATPMP | UPNP, 0);
    free_map();
    assert_true(seconds() - began < BK_PORTMAP_FREE_MS / 1000.0 + LATE_S);
    assert_int_equal(w.calls, 0);
    assert_int_equal(router.held, 0);
    w.free_inside = true;
    start(NATPMP, 0);
    await_calls(1);
    assert_null(w.map);
    assert_int_equal(router.held, 0);
}

static void a_search_is_not_waited_for(void **state)
{
    (void)state;
    router.silent = true;
    double began = seconds();
    start(NATPMP, 0);
    free_map();
    assert_true(seconds() - began < 3); /* it goes on for 4 */
}

int main(void)
{
    (void)own_network_enter();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(natpmp_maps_and_takes_back),
        T(natpmp_answers_that_come_late_are_not_taken_for_others),
        T(natpmp_may_grant_another_port),
        T(natpmp_refusal_says_why),
        T(a_private_outer_address_is_no_success),
        T(a_silent_router_is_given_up_in_time),
        T(nobody_there_is_known_at_once),
        T(igd1_maps_and_takes_back),
        T(igd1_conflict_takes_another_port),
        T(igd2_any_port),
        T(igd_that_knows_no_leases),
        T(igd_refusal_says_why),
        T(both_protocols_make_one_mapping),
        T(the_second_takes_over_when_the_first_fails),
        T(a_lease_is_renewed_and_changes_are_told),
        T(nothing_asked_is_answered_too),
        T(free_at_once_and_from_inside),
        T(a_search_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
