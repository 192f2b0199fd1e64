/* Our own candidates and the device's: which are waited for, which are told, which are gone to; several servers. */
#include "core/failing.h"
#include "core/requester/bench.h"

static struct bk_addr ip(uint8_t last)
{
    return bk_addr_v4(4, 17, 168, last, 5000);
}

static struct bk_info some_info(void)
{
    struct bk_info info = {.observed = ip(77), .n_relays = 1, .lifetime_s = 600};
    info.relays[0].port = 3478;
    info.relays[0].host = bk_slice_text("relay.example");
    info.username = bk_slice_text("1700000600:alice");
    info.password = bk_slice_text("c2VjcmV0");
    return info;
}

static size_t told(const struct bench *b, enum bk_candidate_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < b->request.n_candidates; i++) {
        n += b->request.candidates[i].kind == kind;
    }
    return n;
}

/* LOOKUP is answered and the password given: only candidates are missing. INFO is the test's. */
static void reach_gathering(struct bench *b)
{
    b->keeps_info = true;
    start(b);
    open_server(b);
    answer_lookup(b);
    password(b);
    assert_int_equal(b->out.n, 0);
}

static void all_kinds_go_along(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    begin(b);
    reach_gathering(b);
    answer_info(b, &info);
    const struct bk_requester_action *a = must_find(b, BK_REQUESTER_GATHER_RELAY);
    assert_int_equal(a->info->n_relays, 1);
    assert_true(bk_slice_equal(a->info->relays[0].host, info.relays[0].host));
    assert_true(bk_slice_equal(a->info->username, info.username));
    assert_true(bk_slice_equal(a->info->password, info.password));
    struct bk_addr device = fake_mapped();
    assert_true(bk_addr_equal(&a->addr, &device));
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(1));
    gathered(b, BK_SOURCE_HOST);
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, ip(2));
    gathered(b, BK_SOURCE_MAPPING);
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, ip(3));
    assert_int_equal(b->out.n, 0);
    gathered(b, BK_SOURCE_RELAY);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 4);
    for (unsigned i = 0; i < 4; i++) { /* the best first */
        assert_int_equal(b->request.candidates[i].kind, BK_CANDIDATE_HOST + i);
    }
    assert_int_equal(b->request.server_ms, 30);
    assert_true(bk_addr_equal(&b->request.candidates[2].addr, &info.observed));
}

static void info_may_come_first(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    begin(b);
    b->keeps_info = true;
    start(b);
    open_server(b);
    answer_info(b, &info);
    assert_int_equal(b->out.n, 0); /* whom to permit is not known yet */
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_GATHER_RELAY));
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));

    begin(b); /* a device that is nowhere: no relay for it */
    b->keeps_info = true;
    b->found.registered = false;
    start(b);
    open_server(b);
    answer_info(b, &info);
    answer_lookup(b);
    assert_null(find(b, BK_REQUESTER_GATHER_RELAY));
    password(b);
    candidates(b, 0);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 1);
    assert_int_equal(told(b, BK_CANDIDATE_REFLEXIVE), 1);
}

static void each_kind_has_room_and_none_stands_twice(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    begin(b);
    reach_gathering(b);
    answer_info(b, &info);
    for (uint8_t i = 0; i < 40; i++) { /* more than are kept */
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(i % 20));
    }
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, ip(3)); /* is a host's: no better */
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, ip(100));
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_REFLEXIVE, ip(103)); /* only the server says so */
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, ip(101));
    gathered(b, BK_SOURCE_MAPPING);
    gathered(b, BK_SOURCE_RELAY);
    gathered(b, BK_SOURCE_HOST);
    take_request(b);
    assert_int_equal(b->request.n_candidates, BK_CANDIDATES_MAX);
    assert_int_equal(told(b, BK_CANDIDATE_HOST), 5);
    assert_int_equal(told(b, BK_CANDIDATE_MAPPED), 1);
    assert_int_equal(told(b, BK_CANDIDATE_REFLEXIVE), 1);
    assert_int_equal(told(b, BK_CANDIDATE_RELAYED), 1);
    for (size_t i = 0; i < BK_CANDIDATES_MAX; i++) {
        for (size_t k = i + 1; k < BK_CANDIDATES_MAX; k++) {
            assert_false(
                bk_addr_equal(&b->request.candidates[i].addr, &b->request.candidates[k].addr));
        }
    }
}

/* The relayed address, and the server's port 443 for a device that only gets out by that. */
static void two_relayed_ones_have_room(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    struct bk_candidate https = {BK_CANDIDATE_RELAYED, ip(101)};
    https.addr.port = 443;
    begin(b);
    reach_gathering(b);
    answer_info(b, &info);
    for (uint8_t i = 0; i < 10; i++) {
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(i));
    }
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, ip(100));
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, ip(101));
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, https.addr);
    gathered(b, BK_SOURCE_HOST);
    gathered(b, BK_SOURCE_MAPPING);
    gathered(b, BK_SOURCE_RELAY);
    take_request(b);
    assert_int_equal(b->request.n_candidates, BK_CANDIDATES_MAX);
    assert_int_equal(told(b, BK_CANDIDATE_HOST), 4);
    assert_int_equal(told(b, BK_CANDIDATE_MAPPED), 1);
    assert_int_equal(told(b, BK_CANDIDATE_REFLEXIVE), 1);
    assert_int_equal(told(b, BK_CANDIDATE_RELAYED), 2);
    assert_int_equal(b->request.candidates[BK_CANDIDATES_MAX - 1].addr.port, 443);
}

static void no_source_is_waited_for_without_end(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    /* 0: the relay, 1: INFO itself, 2: a mapping beside a host, 3: a mapping alone, 4: hosts */
    static const uint32_t waits_ms[] = {BK_REQUESTER_RELAY_MS, BK_REQUESTER_RELAY_MS,
                                        BK_REQUESTER_MAPPING_MS, BK_REQUESTER_MAPPING_ALONE_MS,
                                        BK_REQUESTER_MAPPING_ALONE_MS};
    for (int slow = 0; slow < 5; slow++) {
        begin(b);
        b->config.no_reflexive = true;
        reach_gathering(b);
        bk_time began = b->now.mono;
        info.n_relays = slow == 0 ? 1 : 0;
        if (slow != 1) {
            answer_info(b, &info);
        }
        if (slow != 3) { /* private: a mapping is of use beside it */
            candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, bk_addr_v4(192, 168, 1, 11, 5000));
        }
        if (slow != 4) {
            gathered(b, BK_SOURCE_HOST);
        }
        if (slow == 0 || slow == 1 || slow == 4) {
            gathered(b, BK_SOURCE_MAPPING);
        }
        assert_int_equal(bk_requester_deadline(b->r), began + waits_ms[slow] * BK_MS);
        tick(b);
        if (slow == 3) {
            assert_failed(b, BK_FAIL_NO_CANDIDATE);
        } else {
            take_request(b);
            assert_int_equal(b->request.n_candidates, 1);
        }
    }
}

/* While somebody types his password everything goes on, and is over by then. */
static void a_person_who_types_stops_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    begin(b);
    b->keeps_info = true;
    start(b);
    open_server(b);
    answer_lookup(b);
    answer_info(b, &info);
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(1));
    gathered(b, BK_SOURCE_HOST);
    while (bk_requester_deadline(b->r) != BK_TIME_NEVER) {
        tick(b);
        assert_int_equal(b->out.n, 0);
    }
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, ip(3)); /* late, but before the password */
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, ip(2));
    password(b);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 4);
}

static void what_comes_after_217_is_in_the_next(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(9));
    assert_int_equal(b->out.n, 0);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 2);
}

/* The server's word about our address. */
static void an_address_that_makes_no_sense_is_not_told(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct {
        struct bk_addr addr;
        bool no_reflexive, good;
    } rows[] = {
        {bk_addr_v4(127, 0, 0, 1, 5000), false, false},
        {bk_addr_v4(0, 0, 0, 0, 5000), false, false},
        {bk_addr_v4(224, 0, 0, 1, 5000), false, false},
        {bk_addr_v4(169, 254, 1, 1, 5000), false, false},
        {bk_addr_v4(4, 17, 168, 2, 0), false, false},
        {bk_addr_v4(4, 17, 168, 2, 5000), true, false},
        {bk_addr_v4(4, 17, 168, 2, 5000), false, true},
        {bk_addr_v4(10, 0, 0, 2, 5000), false, true},
        {bk_addr_v4(100, 64, 0, 2, 5000), false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_info info = {.observed = rows[i].addr};
        begin(b);
        b->config.no_reflexive = rows[i].no_reflexive;
        reach_gathering(b);
        answer_info(b, &info);
        candidates(b, 1);
        take_request(b);
        assert_int_equal(told(b, BK_CANDIDATE_REFLEXIVE), rows[i].good);
    }
}

/* A host address behind a firewall is met as well as dialled. */
static void the_same_address_may_be_a_host_and_observed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = {.observed = ip(1)};
    begin(b);
    reach_gathering(b);
    answer_info(b, &info);
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(1));
    gathered(b, BK_SOURCE_MAPPING);
    gathered(b, BK_SOURCE_HOST);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 2);
}

static void info_that_cannot_be_read_is_gone_without(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_slice bytes;
    for (int how = 0; how < 3; how++) {
        begin(b);
        reach_gathering(b);
        candidates(b, 1);
        assert_int_equal(b->out.n, 0);
        if (how == 0) {
            assert_int_equal(
                bk_success_write(b->buf, sizeof b->buf, BK_METHOD_INFO, b->info_txid, &bytes),
                BK_OK);
            message(b, bytes);
        } else if (how == 1) {
            answer_info(b, NULL);
        } else { /* a server that leaves when it is asked that: not once more */
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
            assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
        }
        take_request(b);
        assert_int_equal(b->request.n_candidates, 1);
    }
}

static void credentials_are_lent_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = some_info();
    begin(b);
    reach_gathering(b);
    answer_info(b, &info);
    answer_info(b, &info); /* said again */
    assert_int_equal(b->out.n, 0);
    gathered(b, BK_SOURCE_RELAY);
    candidates(b, 1);
    take_request(b);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    assert_null(find(b, BK_REQUESTER_GATHER_RELAY));
}

/* ---- the device's candidates ---- */

static void reach_asking(struct bench *b, bool relay, bool reflexive)
{
    struct bk_info info = some_info();
    begin(b);
    info.n_relays = relay;
    b->config.no_reflexive = !reflexive;
    reach_gathering(b);
    answer_info(b, &info);
    gathered(b, BK_SOURCE_RELAY);
    candidates(b, 1);
    take_request(b);
    deliver(b);
}

static struct bk_addr theirs(uint8_t last, uint16_t port)
{
    return bk_addr_v4(202, 204, 17, last, port);
}

static void the_devices_addresses_are_gone_to_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct bk_candidate list[] = {{BK_CANDIDATE_HOST, theirs(1, 2000)},
                                        {BK_CANDIDATE_MAPPED, theirs(1, 3000)},
                                        {BK_CANDIDATE_REFLEXIVE, theirs(2, 4000)},
                                        {BK_CANDIDATE_RELAYED, theirs(3, 5000)}};
    reach_asking(b, true, true);
    result_with(b, BK_CALL_ACCEPTED, 0, list, 3);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    assert_int_equal(count(b, BK_REQUESTER_DIAL), 2);
    assert_int_equal(count(b, BK_REQUESTER_PUNCH), 1);
    assert_int_equal(must_find(b, BK_REQUESTER_PUNCH)->tries, BK_REQUESTER_PUNCH_TRIES);
    assert_true(bk_addr_equal(&must_find(b, BK_REQUESTER_PUNCH)->candidate.addr, &list[2].addr));
    assert_int_equal(count(b, BK_REQUESTER_PERMIT), 2); /* IP addresses */
    result_with(b, BK_CALL_ACCEPTED, 0, list, 4); /* again: nothing new, and no relay of theirs */
    assert_int_equal(b->out.n, 0);

    reach_asking(b, false, false); /* with nothing of the kind ourselves */
    result_with(b, BK_CALL_ACCEPTED, 0, list, 4);
    assert_int_equal(count(b, BK_REQUESTER_DIAL), 2);
    assert_int_equal(count(b, BK_REQUESTER_PUNCH), 0);
    assert_int_equal(count(b, BK_REQUESTER_PERMIT), 0);
}

/* A stolen device must not have its callers knock where it likes. */
static void callers_are_not_made_to_scan(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct bk_addr bad[] = {
        bk_addr_v4(127, 0, 0, 1, 5000),
        bk_addr_v4(169, 254, 169, 254, 8080),
        bk_addr_v4(224, 0, 0, 251, 5353),
        bk_addr_v4(0, 0, 0, 0, 5000),
        bk_addr_v4(255, 255, 255, 255, 5000),
        bk_addr_v4(192, 168, 1, 1, 8443),
        bk_addr_v4(10, 0, 0, 1, 443),
        theirs(1, 22),
        theirs(1, 80),
        theirs(1, 0),
        theirs(1, 1023),
        own_address(0),
    };
    reach_asking(b, false, true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bk_candidate c = {BK_CANDIDATE_HOST, bad[i]};
        result_with(b, BK_CALL_ACCEPTED, 0, &c, 1);
        assert_int_equal(count(b, BK_REQUESTER_DIAL), 0);
        c.kind = BK_CANDIDATE_REFLEXIVE;
        result_with(b, BK_CALL_ACCEPTED, 0, &c, 1);
        assert_int_equal(b->out.n, 0);
    }
    struct bk_candidate good = {BK_CANDIDATE_HOST, theirs(1, 443)};
    result_with(b, BK_CALL_ACCEPTED, 0, &good, 1);
    assert_int_equal(count(b, BK_REQUESTER_DIAL), 1);
    size_t n = 1;
    for (uint8_t i = 0; i < 30; i++) {
        good.addr = theirs(i, 3000);
        result_with(b, BK_CALL_ACCEPTED, 0, &good, 1);
        n += count(b, BK_REQUESTER_DIAL);
    }
    assert_int_equal(n, BK_REQUESTER_DIALS_MAX);
}

static void a_private_installation_is_reached_privately(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int private = 0; private < 2; private ++) {
        struct bk_info info = {.observed = private ? bk_addr_v4(10, 1, 0, 2, 5000) : ip(77)};
        struct bk_candidate c = {BK_CANDIDATE_MAPPED, bk_addr_v4(10, 2, 0, 2, 5000)};
        begin(b);
        reach_gathering(b);
        answer_info(b, &info);
        candidates(b, 1);
        take_request(b);
        result_with(b, BK_CALL_ACCEPTED, 0, &c, 1);
        assert_int_equal(count(b, BK_REQUESTER_DIAL), private);
    }
}

/* ---- several servers ---- */

static void start_two(struct bench *b)
{
    begin(b);
    b->config.n_servers = 2;
    start(b);
    assert_int_equal(must_find(b, BK_REQUESTER_CONNECT_SERVER)->server, 0);
}

static void assert_second(const struct bench *b)
{
    assert_int_equal(must_find(b, BK_REQUESTER_CONNECT_SERVER)->server, 1);
    assert_null(find(b, BK_REQUESTER_FAILED));
}

static void the_next_server_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int why = 0; why < 7; why++) {
        start_two(b);
        candidates(b, 1);
        if (why == 0) {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
        } else if (why == 1) {
            tick(b);
            assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
        } else if (why == 2) {
            b->found.registered = false;
            open_server(b);
            answer_lookup(b);
            assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
            b->found.registered = true;
        } else if (why == 3) {
            open_server(b);
            answer_error(b, BK_METHOD_LOOKUP, BK_CODE_OVERLOADED);
        } else {
            open_server(b);
            answer_lookup(b);
            password(b);
            take_request(b);
            if (why == 4) {
                answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
            } else if (why == 5) {
                input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
            } else {
                answer_error(b, BK_METHOD_CONNECT, BK_CODE_OVERLOADED);
            }
        }
        assert_second(b);
        open_server(b);
        answer_lookup(b);
        if (why < 4) {
            password(b);
        } /* else it is known already */
        take_request(b);
        answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
        assert_failed(b, BK_FAIL_OFFLINE);
    }
}

static void what_another_server_cannot_mend_is_told_at_once(void **state)
{
    (void)state;
    static const uint16_t codes[] = {BK_CODE_NOT_FOUND, BK_CODE_REVOKED, BK_CODE_FORBIDDEN};
    struct bench *b = &bench;
    for (size_t i = 0; i < 3; i++) {
        start_two(b);
        open_server(b);
        answer_error(b, BK_METHOD_LOOKUP, codes[i]);
        assert_non_null(find(b, BK_REQUESTER_FAILED));
    }
    start_two(b); /* it has accepted: nothing can be sealed any more */
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    password(b);
    take_request(b);
    result(b, BK_CALL_ACCEPTED, 0);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
    assert_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    assert_failed(b, BK_FAIL_OFFLINE);
}

/* The key that a person accepted is the pin; another server cannot put its own in its place. */
static void a_second_server_cannot_change_the_key(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int answered = 0; answered < 2; answered++) {
        begin(b);
        b->config.n_servers = 2;
        b->config.have_pin = false;
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_non_null(find(b, BK_REQUESTER_CONFIRM_PIN));
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
        if (answered) {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_ACCEPTED});
            password(b);
            assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
            assert_second(b);
            b->device.key[0] ^= 1;
            open_server(b);
            answer_lookup(b);
            assert_failed(b, BK_FAIL_PIN_CHANGED);
        } else {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
            assert_failed(b, BK_FAIL_PIN_REFUSED);
        }
    }
}

static void a_changed_network_is_gathered_anew(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 2);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
    assert_non_null(find(b, BK_REQUESTER_GATHER));
    open_server(b);
    answer_lookup(b);
    password(b);
    assert_int_equal(b->out.n, 0);
    gathered(b, BK_SOURCE_MAPPING);
    candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, ip(50));
    gathered(b, BK_SOURCE_HOST);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 1);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_kinds_go_along, tear_down),
        cmocka_unit_test_teardown(info_may_come_first, tear_down),
        cmocka_unit_test_teardown(each_kind_has_room_and_none_stands_twice, tear_down),
        cmocka_unit_test_teardown(two_relayed_ones_have_room, tear_down),
        cmocka_unit_test_teardown(no_source_is_waited_for_without_end, tear_down),
        cmocka_unit_test_teardown(a_person_who_types_stops_nothing, tear_down),
        cmocka_unit_test_teardown(what_comes_after_217_is_in_the_next, tear_down),
        cmocka_unit_test_teardown(an_address_that_makes_no_sense_is_not_told, tear_down),
        cmocka_unit_test_teardown(the_same_address_may_be_a_host_and_observed, tear_down),
        cmocka_unit_test_teardown(info_that_cannot_be_read_is_gone_without, tear_down),
        cmocka_unit_test_teardown(credentials_are_lent_once, tear_down),
        cmocka_unit_test_teardown(the_devices_addresses_are_gone_to_once, tear_down),
        cmocka_unit_test_teardown(callers_are_not_made_to_scan, tear_down),
        cmocka_unit_test_teardown(a_private_installation_is_reached_privately, tear_down),
        cmocka_unit_test_teardown(the_next_server_is_asked, tear_down),
        cmocka_unit_test_teardown(what_another_server_cannot_mend_is_told_at_once, tear_down),
        cmocka_unit_test_teardown(a_second_server_cannot_change_the_key, tear_down),
        cmocka_unit_test_teardown(a_changed_network_is_gathered_anew, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
