/* Port mapping by PCP against a router of the test's own, and how the three protocols stand in for each other. */
#include "net/portmap_router.h"

static void maps_and_takes_back(void **state)
{
    (void)state;
    start(PCP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "PCP");
    assert_true(w.result.settled && !w.result.pinhole && !w.result.renewed && !w.result.remade);
    assert_int_equal(w.result.lease_s, BK_PORTMAP_LEASE_S);
    assert_int_equal(router.announces, 1);
    free_map();
    assert_int_equal(router.held, 0);
    assert_int_equal(router.pcp_unmaps, 1);
}

static void another_port_may_be_granted(void **state)
{
    (void)state;
    router.grants_port = 6111;
    start(PCP, 0);
    await_calls(1);
    assert_external(6111);
}

static void what_is_no_answer_is_passed_over(void **state)
{
    (void)state;
    router.pcp_wrong = ALL_WRONG;
    start(PCP, 0);
    await_calls(1);
    assert_external(5000);
    free_map();
    assert_int_equal(router.held, 0);
}

static void wrong_answers_alone_are_silence(void **state)
{
    (void)state;
    router.pcp_wrong = ALL_WRONG;
    router.pcp_never_right = true;
    start(PCP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.pcp_reason, "no answer from the router");
}

static void each_refusal_says_why(void **state)
{
    (void)state;
    char before[BK_PORTMAP_REASON_BYTES] = "";
    for (unsigned result = 1; result <= 14; result++) {
        router.pcp_result = result;
        w.calls = 0;
        start(PCP, 0);
        await_calls(1);
        assert_false(w.result.mapped);
        assert_true(strlen(w.pcp_reason) > 10);
        assert_string_not_equal(w.pcp_reason, before);
        snprintf(before, sizeof before, "%s", w.pcp_reason);
        free_map();
    }
    assert_int_equal(router.pcp_unmaps, 0); /* nothing was granted: nothing to take back */
}

static void a_private_outer_address_is_no_success(void **state)
{
    (void)state;
    router.ip = 0x64400102;
    start(PCP, 0);
    await_calls(1);
    assert_false(w.result.mapped);
    assert_string_equal(w.pcp_reason, "router has no public address");
    free_map();
    assert_int_equal(router.held, 0);
}

static void a_router_of_natpmp_is_asked_by_that(void **state)
{
    (void)state;
    router.forgets_version_2 = true;
    start(PCP | NATPMP, 0);
    await_calls(1);
    assert_external(5000);
    assert_string_equal(w.result.protocol, "NAT-PMP");
    free_map();
    w.calls = 0;
    start(PCP, 0);
    await_calls(1);
    assert_string_equal(w.pcp_reason, "the router speaks NAT-PMP only");
}

static void announce_need_not_be_known(void **state)
{
    (void)state;
    router.no_announce = true;
    start(PCP, 0);
    await_calls(1);
    assert_external(5000);
}

static void preferred_where_all_answer(void **state)
{
    (void)state;
    start(PCP | NATPMP | UPNP, 0);
    await_calls(1);
    assert_string_equal(w.result.protocol, "PCP");
    assert_int_equal(router.maps, 1);
    free_map();
    assert_int_equal(router.maps, 1);
    assert_int_equal(router.unmaps + router.pcp_unmaps, 1);
}

static void the_next_takes_over_after_a_refusal(void **state)
{
    (void)state;
    router.pcp_result = 2;
    start(PCP | NATPMP | UPNP, 0);
    await_calls(1);
    assert_string_equal(w.result.protocol, "NAT-PMP");
    router.refuses = true;
    w.calls = 0;
    free_map();
    start(PCP | NATPMP | UPNP, 0);
    await_calls(1);
    char text[BK_PORTMAP_REASONS_BYTES];
    struct bk_portmap_result result = {.reasons = {w.pcp_reason, w.natpmp_reason, w.upnp_reason}};
    bk_portmap_reasons(&result, text, sizeof text);
    assert_string_equal(text,
                        "PCP: the router does not allow mappings; NAT-PMP: the router does not "
                        "allow mappings; UPnP-IGD: the router refused: "
                        "Action not authorized (606)");
    bk_portmap_reasons(&result, text, 8); /* cut, and terminated */
    assert_string_equal(text, "PCP: th");
}

struct slow {
    struct bk_portmap *map;
    unsigned calls;
    bool mapped;
    const char *protocol;
    double at;
};

static void on_slow(void *ctx, const struct bk_portmap_result *result)
{
    struct slow *slow = ctx;
    slow->calls++;
    slow->mapped = result->mapped;
    slow->protocol = result->protocol;
    slow->at = seconds();
}

/* Two seconds for each answer, and each protocol alone. */
static void slow_routers_succeed(void **state)
{
    (void)state;
    static const unsigned protocols[] = {PCP, NATPMP, UPNP};
    struct slow slow[BK_PORTMAP_PROTOCOLS] = {0};
    double began = seconds();
    router.delay_ms = 2000;
    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        struct bk_portmap_options options = options_for(protocols[i], 0);
        options.igd_url = NULL; /* discovery is slow too */
        assert_int_equal(bk_portmap_new(w.base, &options, on_slow, &slow[i], &slow[i].map), BK_OK);
    }
    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        await_count(&slow[i].calls, 1);
        assert_true(slow[i].mapped);
        assert_string_equal(slow[i].protocol, bk_portmap_name((enum bk_portmap_protocol)i));
        assert_true(slow[i].at - began < BK_PORTMAP_WAIT_MS / 1000.0 + LATE_S);
    }
    router.delay_ms = 0;
    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        bk_portmap_free(slow[i].map);
    }
}

/* Freed while the router takes its time over the mapping: that it was made is no answer to that it shall go. What has
 * the mapping taken back waits until the router has done so. */
static void the_late_answer_to_a_mapping_is_not_taken_for_its_end(void **state)
{
    (void)state;
    const struct timeval step = {0, 10000};
    router.maps_late = true;
    router.delay_ms = 200;
    start(PCP, 0);
    for (double until = seconds() + 10; router.pcp_maps == 0;) {
        assert_true(seconds() < until);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
    }
    assert_int_equal(w.calls, 0);
    double began = seconds();
    free_map();
    assert_true(seconds() - began >= 0.15); /* the loop's clock is coarse */
    assert_int_equal(router.pcp_unmaps, 1);
    assert_int_equal(router.held, 0);
    router.delay_ms = 0;
}

static void a_mapping_that_forwards_nothing_is_made_anew(void **state)
{
    (void)state;
    static const unsigned protocols[] = {PCP, NATPMP, UPNP};
    for (size_t i = 0; i < 3; i++) {
        unsigned maps = router.maps, unmaps = router.unmaps + router.pcp_unmaps;
        w.calls = w.remakes = 0;
        start(protocols[i], 0);
        await_calls(1);
        struct bk_addr nobody = bk_addr_v4(4, 4, 4, 4, 4);
        bk_portmap_doubt(w.map, &nobody); /* not ours */
        bk_portmap_doubt(w.map, &w.result.external);
        await_calls(2);
        assert_true(w.result.mapped && w.result.remade && !w.result.renewed);
        assert_int_equal(w.result.external.port, 5000);
        assert_int_equal(router.maps, maps + 2);
        assert_int_equal(router.unmaps + router.pcp_unmaps, unmaps + 1);
        bk_portmap_doubt(w.map, &w.result.external);
        await_calls(3);
        assert_true(w.result.mapped && w.result.remade);
        assert_int_not_equal(w.result.external.port, 5000);
        assert_int_equal(w.remakes, 2);
        router.refuses = true;
        router.pcp_result = 8;
        bk_portmap_doubt(w.map, &w.result.external);
        await_calls(4);
        assert_true(!w.result.mapped && w.result.remade);
        router.refuses = false;
        router.pcp_result = 0;
        free_map();
    }
}

static void renewals_are_told(void **state)
{
    (void)state;
    start(PCP, 1);
    await_calls(1);
    await_count(&w.renewals, 3);
    assert_true(w.result.mapped && w.result.renewed);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.remakes, 0);
    router.ip = 0x0411A803;
    await_calls(2);
    assert_true(w.result.mapped && !w.result.renewed);
    assert_int_equal(w.result.external.ip[15], 3);
}

/* A router that started anew says so by its clock. */
static void a_lost_table_is_noticed(void **state)
{
    (void)state;
    static const unsigned protocols[] = {PCP, NATPMP};
    for (size_t i = 0; i < 2; i++) {
        w.calls = w.remakes = w.renewals = 0;
        router.epoch_from = (unsigned)seconds() - 1000;
        start(protocols[i], 1);
        await_calls(1);
        await_count(&w.renewals, 2);
        assert_int_equal(w.remakes, 0);
        router.epoch_from = (unsigned)seconds();
        await_count(&w.remakes, 1);
        free_map();
    }
}

/* From the router or another address of the loopback; what is not an announcement in bytes besides. */
static void announce(bool by_router, bool natpmp)
{
    const uint8_t bytes[24] = {natpmp ? 0 : 2, 0x80};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5350)}, from = to;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_port = 0;
    memcpy(&from.sin_addr, router.gateway.ip + 12, 4);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (by_router) {
        assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    }
    assert_int_equal(sendto(fd, bytes, natpmp ? 12 : 24, 0, (struct sockaddr *)&to, sizeof to),
                     natpmp ? 12 : 24);
    close(fd);
}

/* One that has started anew and says so is asked at once, not at the next renewal (in 60 s here). */
static void announcements_are_heard(void **state)
{
    (void)state;
    const struct timeval step = {0, 100000};
    for (unsigned i = 0; i < 2; i++) {
        w.calls = w.remakes = w.renewals = 0;
        router.epoch_from = (unsigned)seconds() - 1000;
        start(i == 0 ? PCP : NATPMP, 0);
        await_calls(1);
        announce(false, i == 1);
        event_base_loopexit(w.base, &step);
        event_base_dispatch(w.base);
        assert_int_equal(w.calls + w.renewals, 1);
        router.epoch_from = (unsigned)seconds();
        for (double until = seconds() + 10; w.remakes == 0;) { /* others may hear it in our place */
            assert_true(seconds() < until);
            announce(true, i == 1);
            event_base_loopexit(w.base, &step);
            event_base_dispatch(w.base);
        }
        assert_true(w.result.mapped);
        free_map();
    }
}

static void lost_answers_are_asked_for_again(void **state)
{
    (void)state;
    router.silent = true;
    start(PCP, 0);
    const struct timeval step = {1, 0};
    event_base_loopexit(w.base, &step);
    event_base_dispatch(w.base);
    router.silent = false;
    await_calls(1);
    assert_external(5000);
}

static void silence_is_given_up_in_time(void **state)
{
    (void)state;
    router.silent = true;
    double began = seconds();
    start(PCP | NATPMP, 0);
    await_calls(1);
    assert_true(seconds() - began <
                7); /* they look at the same time: one after the other takes 8 */
    assert_string_equal(w.pcp_reason, "no answer from the router");
}

int main(void)
{
    (void)own_network_enter();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(maps_and_takes_back),
        T(another_port_may_be_granted),
        T(what_is_no_answer_is_passed_over),
        T(wrong_answers_alone_are_silence),
        T(each_refusal_says_why),
        T(a_private_outer_address_is_no_success),
        T(a_router_of_natpmp_is_asked_by_that),
        T(announce_need_not_be_known),
        T(preferred_where_all_answer),
        T(the_next_takes_over_after_a_refusal),
        T(slow_routers_succeed),
        T(the_late_answer_to_a_mapping_is_not_taken_for_its_end),
        T(a_mapping_that_forwards_nothing_is_made_anew),
        T(renewals_are_told),
        T(a_lost_table_is_noticed),
        T(announcements_are_heard),
        T(lost_answers_are_asked_for_again),
        T(silence_is_given_up_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
