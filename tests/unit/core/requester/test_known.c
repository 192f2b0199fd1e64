/* Calling by what is known of the device from an earlier call: when it is relied on without a question to the server, what is
 * asked all the same, and what is kept for the next time. */
#include "core/requester/known_bench.h"

static struct bk_addr elsewhere(void)
{
    return bk_addr_v4(4, 17, 168, 3, 5000);
}

static struct bk_addr host_v6(void)
{
    struct bk_addr a;
    assert_int_equal(bk_addr_parse(bk_slice_text("[2a0c:5c81:1:1::11]:5000"), 0, &a), BK_OK);
    return a;
}

static void a_known_device_is_called_at_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    assert_false(asks(b, BK_METHOD_LOOKUP));
    assert_false(asks(b, BK_METHOD_INFO));
    assert_true(phase(b, BK_PHASE_SERVER) && phase(b, BK_PHASE_FOUND));
    assert_true(b->request.has_signature);
    assert_false(b->request.has_tag);
    assert_int_equal(b->request.n_candidates, 1);
    assert_int_equal(b->request.candidates[0].kind, BK_CANDIDATE_MAPPED);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    assert_null(find(b, BK_REQUESTER_REMEMBER));
}

static void nobody_is_asked_for_a_password_before_the_server_is_there(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known(b);
    start(b);
    candidates(b, 1);
    assert_int_equal(b->out.n, 0);
    server_opens(b);
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED}); /* it got tired */
    assert_null(find(b, BK_REQUESTER_FAILED));
    password(b);
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    server_opens(b);
    take_request(b);
}

static void assert_asks_server(struct bench *b)
{
    start(b);
    candidates(b, 1);
    server_opens(b);
    assert_true(asks(b, BK_METHOD_LOOKUP));
    assert_true(asks(b, BK_METHOD_INFO));
    assert_false(asks(b, BK_METHOD_CONNECT));
    assert_null(find(b, BK_REQUESTER_FAILED));
}

static void what_is_known_is_verified(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int wrong = 0; wrong < 12; wrong++) {
        struct bk_requester_known *known = &b->config.known;
        begin_known_with_key(b);
        switch (wrong) {
        case 0:
            b->config.have_pin = false;
            break;
        case 1:
            b->config.pin[3] ^= 1;
            break;
        case 2:
            known->box_key[40] ^= 1;
            break;
        case 3:
            b->certificate = BK_E_AUTH;
            break;
        case 4:
            b->device.equipment_id = DEVICE + 1;
            break;
        case 5:
            b->device.role = BK_ROLE_USER;
            break;
        case 6:
            b->config.equipment_id = 0;
            memcpy(b->config.device_name, "lamp", 5);
            break;
        case 7:
            known->certificate_n = 0;
            break;
        case 8: /* time passes for the rest */
            b->now.unix_s = b->box_until_s;
            break;
        case 9:
            b->now.unix_s = b->box_made_s + BK_REQUESTER_KNOWN_S;
            break;
        case 10:
            b->now.unix_s = 0;
            break;
        default:
            known->came_to = elsewhere();
        }
        assert_asks_server(b);
    }
}

static void a_private_address_says_nothing_of_the_place(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known_with_key(b);
    b->config.known.came_to = bk_addr_v4(192, 168, 1, 5, 0);
    start(b);
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, bk_addr_v4(192, 168, 1, 5, 5000));
    candidates(b, 1);
    server_opens(b);
    assert_true(asks(b, BK_METHOD_LOOKUP));
}

static void a_round_asks_where_the_device_is(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = {.observed = elsewhere(),
                           .n_relays = 1,
                           .relays = {{.port = 3478}},
                           .username = bk_slice_text("u"),
                           .password = bk_slice_text("p")};
    for (int known_to_server = 0; known_to_server < 2; known_to_server++) {
        reach_called(b);
        deliver(b);
        result(b, BK_CALL_ACCEPTED, 0);
        session(b, 41);
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
        assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
        server_opens(b);
        take_questions(b);
        if (known_to_server == 0) {
            answer_error(b, BK_METHOD_LOOKUP, BK_CODE_NOT_FOUND);
        } else {
            answer_lookup(b);
        }
        assert_int_equal(b->out.n, 0);
        answer_info(b, &info);
        assert_int_equal(find(b, BK_REQUESTER_GATHER_RELAY) != NULL, known_to_server);
        assert_null(find(b, BK_REQUESTER_FAILED));
    }
}

static void another_network_is_another_place(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int open = 0; open < 2; open++) {
        begin_known(b);
        start(b);
        candidates(b, 1);
        if (open != 0) {
            server_opens(b);
            assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        }
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
        if (open == 0) {
            server_opens(b);
        }
        assert_true(asks(b, BK_METHOD_LOOKUP));
        assert_false(asks(b, BK_METHOD_CONNECT));
    }
}

static void what_the_server_tells_is_to_be_remembered(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    const struct bk_requester_known *known = must_find(b, BK_REQUESTER_REMEMBER)->known;
    assert_int_equal(known->certificate_n, 3);
    assert_memory_equal(known->certificate, "DER", 3);
    assert_memory_equal(known->box_key, b->signed_key, sizeof b->signed_key);
    /* but not what is wrong */
    begin(b);
    b->signed_key[40] ^= 1;
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_null(find(b, BK_REQUESTER_REMEMBER));
}

/* Asked, and told of a relay: where nothing translates our address its own is not waited for at first. */
static void a_public_host_does_not_wait_for_a_relay(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = {.observed = own_address(0),
                           .n_relays = 1,
                           .relays = {{.port = 3478}},
                           .username = bk_slice_text("u"),
                           .password = bk_slice_text("p")};
    for (int translated = 0; translated < 2; translated++) {
        begin(b);
        b->config.have_key = true;
        b->keeps_info = true;
        start(b);
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, own_address(0));
        gathered(b, BK_SOURCE_HOST);
        open_server(b);
        answer_lookup(b);
        info.observed = translated != 0 ? elsewhere() : own_address(0);
        answer_info(b, &info);
        if (translated != 0) {
            assert_non_null(find(b, BK_REQUESTER_GATHER_RELAY));
            assert_false(asks(b, BK_METHOD_CONNECT));
            continue;
        }
        assert_null(find(b, BK_REQUESTER_GATHER_RELAY));
        take_any_request(b);
        deliver(b);
        result(b, BK_CALL_ACCEPTED, 0);
        tick(b); /* nobody has come */
        take_questions(b);
        answer_lookup(b);
        assert_non_null(find(b, BK_REQUESTER_GATHER_RELAY)); /* by what INFO told before */
        answer_info(b, &info);
        assert_false(asks(b, BK_METHOD_CONNECT));
        candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, bk_addr_v4(130, 74, 23, 6, 40000));
        gathered(b, BK_SOURCE_RELAY);
        take_any_request(b);
        assert_int_equal(b->request.candidates[b->request.n_candidates - 1].kind,
                         BK_CANDIDATE_RELAYED);
    }
}

/* The device would knock at a closed firewall: so long as a mapping is waited for, no longer. */
static void a_firewall_before_ipv6_has_a_moment_to_be_opened(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int opened = 0; opened < 2; opened++) {
        begin_known_with_key(b);
        b->config.known.came_to = host_v6();
        start(b);
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, host_v6());
        gathered(b, BK_SOURCE_HOST);
        server_opens(b);
        assert_false(asks(b, BK_METHOD_CONNECT) || asks(b, BK_METHOD_LOOKUP));
        if (opened != 0) {
            gathered(b, BK_SOURCE_MAPPING);
        } else {
            assert_true(bk_requester_deadline(b->r) - b->now.mono <=
                        BK_REQUESTER_MAPPING_MS * BK_MS);
            tick(b);
        }
        take_any_request(b);
        assert_false(asks(b, BK_METHOD_LOOKUP));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_device_is_called_at_once),
        cmocka_unit_test(nobody_is_asked_for_a_password_before_the_server_is_there),
        cmocka_unit_test(what_is_known_is_verified),
        cmocka_unit_test(a_private_address_says_nothing_of_the_place),
        cmocka_unit_test(a_round_asks_where_the_device_is),
        cmocka_unit_test(another_network_is_another_place),
        cmocka_unit_test(what_the_server_tells_is_to_be_remembered),
        cmocka_unit_test(a_public_host_does_not_wait_for_a_relay),
        cmocka_unit_test(a_firewall_before_ipv6_has_a_moment_to_be_opened),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bk_requester_free(bench.r);
    return failed;
}
