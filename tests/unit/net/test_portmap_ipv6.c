/* Pinholes for IPv6, finding a gateway by SSDP, and the survey, against a router of the test's own. */
#include "net/portmap_router.h"

/* PCP is asked from the address itself, so that it has to be one of this host's. */
static const struct bk_addr own = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 0};
static const struct bk_addr global = {{0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}, 99};

static void begin(unsigned protocols, const struct bk_addr *pinholes, size_t n, bool mapping,
                  uint32_t lease_s)
{
    struct bk_portmap_options options = options_for(protocols, lease_s);
    options.pinholes = pinholes;
    options.n_pinholes = n;
    options.no_mapping = !mapping;
    start_with(&options);
}

static void pcp_opens_and_closes(void **state)
{
    (void)state;
    begin(PCP, &own, 1, false, 0);
    await_calls(1);
    assert_true(w.result.mapped && w.result.pinhole && w.result.settled);
    assert_string_equal(w.result.protocol, "PCP");
    assert_true(bk_addr_same_ip(&w.result.local, &own));
    assert_int_equal(w.result.local.port, 5000);
    assert_int_equal(w.result.external.ip[0], 0x2a);
    assert_int_equal(w.result.external.port, 5000);
    free_map();
    assert_int_equal(router.pcp_unmaps, 1);
    assert_int_equal(router.held, 0);
}

static void igd2_opens_and_closes(void **state)
{
    (void)state;
    router.version = 2;
    begin(UPNP, &global, 1, false, 0);
    await_calls(1);
    assert_true(w.result.mapped && w.result.pinhole);
    assert_string_equal(w.result.protocol, "UPnP-IGD");
    assert_true(bk_addr_same_ip(&w.result.external, &global));
    assert_int_equal(w.result.external.port, 5000);
    assert_int_equal(router.last_port, 5000);
    assert_int_equal(router.last_lease, BK_PORTMAP_LEASE_S);
    free_map();
    assert_int_equal(router.pinhole_deletes, 1);
    assert_int_equal(router.last_port, 1); /* the one that was given */
}

static void each_address_and_the_mapping_have_a_result(void **state)
{
    (void)state;
    const struct bk_addr both[] = {global, own};
    router.version = 2;
    begin(NATPMP | UPNP, both, 2, true, 0);
    await_calls(3);
    assert_int_equal(w.pinhole_results, 2);
    assert_true(w.result.settled);
    assert_int_equal(router.pinholes, 2);
    assert_int_equal(router.maps, 1);
    free_map();
    assert_int_equal(router.pinhole_deletes, 2);
    assert_int_equal(router.unmaps, 1);
}

static void without_them_the_reasons_are_told(void **state)
{
    (void)state;
    begin(UPNP, &global, 1, false, 0); /* version 1 */
    await_calls(1);
    assert_true(!w.result.mapped && w.result.pinhole && w.result.settled);
    assert_string_equal(w.upnp_reason, "the router offers no openings for IPv6");
    assert_string_equal(w.pcp_reason, "");
    free_map();
    w.calls = 0;
    router.version = 2;
    router.pinholes_not_allowed = true;
    begin(UPNP, &global, 1, false, 0);
    await_calls(1);
    assert_string_equal(w.upnp_reason, "the router does not allow openings for IPv6");
    free_map();
    w.calls = 0;
    router.pinholes_not_allowed = false;
    router.refuses = true;
    begin(UPNP, &global, 1, false, 0);
    await_calls(1);
    assert_non_null(strstr(w.upnp_reason, "701"));
    assert_int_equal(router.pinholes, 0);
}

static void pinholes_are_renewed_and_remade(void **state)
{
    (void)state;
    router.version = 2;
    begin(UPNP, &global, 1, false, 1);
    await_count(&w.renewals, 2);
    assert_true(router.pinhole_updates >= 2);
    assert_int_equal(router.pinholes, 1);
    bk_portmap_doubt(w.map, &w.result.external);
    await_count(&w.remakes, 1);
    assert_true(w.result.mapped);
    assert_int_equal(router.pinholes, 2);
    assert_int_equal(router.pinhole_deletes, 1);
    free_map();
    assert_int_equal(router.pinhole_deletes, 2);
}

static void an_address_of_nobody_here_gets_none_by_pcp(void **state)
{
    (void)state;
    begin(PCP, &global, 1, false, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.pcp_reason, "no request could be sent to the router");
}

/* ---- SSDP ---- */

static void a_gateway_is_found(void **state)
{
    (void)state;
    struct bk_portmap_options options = options_for(UPNP, 0);
    options.igd_url = NULL;
    router.ssdp_lies = true;
    double began = seconds();
    start_with(&options);
    await_calls(1);
    assert_external(5000);
    assert_true(seconds() - began < 2); /* a quick one is not waited for */
}

static void no_gateway_is_told(void **state)
{
    (void)state;
    struct bk_portmap_options options = options_for(UPNP, 0);
    options.igd_url = NULL;
    router.silent = true;
    start_with(&options);
    await_calls(1);
    assert_string_equal(w.upnp_reason, "no router answered");
}

static void the_second_connection_of_a_gateway_is_tried(void **state)
{
    (void)state;
    router.second_works = true;
    start(UPNP, 0);
    await_calls(1);
    assert_external(5000);
}

/* ---- The survey ---- */

static struct {
    unsigned calls;
    struct bk_portmap_survey *survey;
    struct bk_portmap_answer a[BK_PORTMAP_PROTOCOLS];
    char reason[BK_PORTMAP_PROTOCOLS][BK_PORTMAP_REASON_BYTES];
    bool free_inside;
} s;

static void on_survey(void *ctx, const struct bk_portmap_answer answers[BK_PORTMAP_PROTOCOLS])
{
    assert_ptr_equal(ctx, &s);
    s.calls++;
    memcpy(s.a, answers, sizeof s.a);
    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        snprintf(s.reason[i], sizeof s.reason[i], "%s", answers[i].reason);
        assert_string_equal(answers[i].protocol, bk_portmap_name((enum bk_portmap_protocol)i));
    }
    if (s.free_inside) {
        bk_portmap_survey_free(s.survey);
        s.survey = NULL;
    }
}

static void survey(unsigned protocols)
{
    const struct bk_portmap_options options = options_for(protocols, 0);
    memset(&s, 0, sizeof s);
    assert_int_equal(bk_portmap_survey_new(w.base, &options, on_survey, &s, &s.survey), BK_OK);
    await_count(&s.calls, 1);
    bk_portmap_survey_free(s.survey);
}

static void the_survey_tells_all_and_leaves_nothing(void **state)
{
    (void)state;
    const struct bk_addr outer = bk_addr_v4(100, 64, 1, 2, 0);
    router.ip = 0x64400102;
    router.version = 2;
    survey(PCP | NATPMP | UPNP);
    assert_true(s.a[BK_PORTMAP_PCP].there && s.a[BK_PORTMAP_PCP].pinholes);
    assert_false(s.a[BK_PORTMAP_PCP].has_address);
    assert_string_equal(s.a[BK_PORTMAP_PCP].version, "2");
    for (size_t i = BK_PORTMAP_NATPMP; i <= BK_PORTMAP_UPNP; i++) {
        assert_true(s.a[i].there && s.a[i].has_address);
        assert_true(bk_addr_equal(&s.a[i].outer, &outer));
        assert_string_equal(s.reason[i], "router has no public address");
    }
    assert_true(s.a[BK_PORTMAP_UPNP].pinholes && !s.a[BK_PORTMAP_NATPMP].pinholes);
    assert_string_equal(s.a[BK_PORTMAP_UPNP].version, "IGD 2");
    assert_int_equal(router.maps + router.pinholes, 0);
}

static void the_survey_says_who_is_not_there(void **state)
{
    (void)state;
    router.silent = true;
    survey(PCP | UPNP);
    assert_true(s.a[BK_PORTMAP_UPNP].there);
    assert_string_equal(s.a[BK_PORTMAP_UPNP].version, "IGD 1");
    assert_string_equal(s.reason[BK_PORTMAP_UPNP], "");
    assert_true(s.a[BK_PORTMAP_PCP].asked && !s.a[BK_PORTMAP_PCP].there);
    assert_string_equal(s.reason[BK_PORTMAP_PCP], "no answer from the router");
    assert_false(s.a[BK_PORTMAP_NATPMP].asked);
    survey(0);
    assert_false(s.a[BK_PORTMAP_PCP].asked);
}

static void the_survey_may_be_freed_early_and_within(void **state)
{
    (void)state;
    const struct bk_portmap_options options = options_for(PCP | NATPMP | UPNP, 0);
    memset(&s, 0, sizeof s);
    s.free_inside = true;
    assert_int_equal(bk_portmap_survey_new(w.base, &options, on_survey, &s, &s.survey), BK_OK);
    await_count(&s.calls, 1);
    assert_null(s.survey);
    assert_int_equal(bk_portmap_survey_new(w.base, &options, on_survey, &s, &s.survey), BK_OK);
    bk_portmap_survey_free(s.survey);
    assert_int_equal(s.calls, 1);
}

int main(void)
{
    (void)own_network_enter();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(pcp_opens_and_closes),
        T(igd2_opens_and_closes),
        T(each_address_and_the_mapping_have_a_result),
        T(without_them_the_reasons_are_told),
        T(pinholes_are_renewed_and_remade),
        T(an_address_of_nobody_here_gets_none_by_pcp),
        T(a_gateway_is_found),
        T(no_gateway_is_told),
        T(the_second_connection_of_a_gateway_is_tried),
        T(the_survey_tells_all_and_leaves_nothing),
        T(the_survey_says_who_is_not_there),
        T(the_survey_may_be_freed_early_and_within),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
