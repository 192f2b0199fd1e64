/* Calling by what is known of the device from an earlier call, without a question to the server; and the first bytes that
 * go with a handshake. */
#include "core/requester/bench.h"

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

/* What the last call would have kept: certificate and box key as LOOKUP tells them, at own_address. */
static void begin_known(struct bench *b)
{
    struct bk_requester_known *known = &b->config.known;
    begin(b);
    b->box_until_s = b->now.unix_s + BK_REQUESTER_KNOWN_S;
    sign_box_key(b);
    memcpy(known->certificate, "DER", 3);
    known->certificate_n = 3;
    memcpy(known->box_key, b->signed_key, sizeof known->box_key);
    known->came_to = own_address(7); /* another port: that of another call */
}

static void begin_known_with_key(struct bench *b)
{
    begin_known(b);
    b->config.have_key = true;
    memset(b->config.key_seed, 0x5E, sizeof b->config.key_seed);
}

static void server_opens(struct bench *b)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN, .ms = 30});
}

static bool asks(const struct bench *b, uint16_t method)
{
    struct bk_stun m;
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REQUESTER_SEND_SERVER &&
            bk_stun_read(b->out.actions[i].bytes, &m) == BK_OK && m.method == method) {
            return true;
        }
    }
    return false;
}

static void reach_called(struct bench *b)
{
    begin_known_with_key(b);
    start(b);
    candidates(b, 1);
    server_opens(b);
    take_any_request(b);
}

/* LOOKUP and INFO have just been asked after all; what they lead to. */
static void asked_anew(struct bench *b)
{
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    memcpy(b->txid, m.txid, sizeof b->txid);
    take_info(b);
    assert_null(find(b, BK_REQUESTER_FAILED));
    answer_info(b, NULL);
    answer_lookup(b);
    take_any_request(b); /* under another call ID: it looks */
    assert_true(b->request.has_tag);
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

static void an_unknown_device_is_asked_for_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_NOT_FOUND);
    asked_anew(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_NOT_FOUND);
    assert_failed(b, BK_FAIL_UNKNOWN_DEVICE);
}

/* The question after the key, in the middle of the call. */
static void asked_for_the_key(struct bench *b)
{
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    assert_false(asks(b, BK_METHOD_INFO));
    assert_false(asks(b, BK_METHOD_CONNECT));
    memcpy(b->txid, m.txid, sizeof b->txid);
}

static void an_accepted_call_that_nobody_comes_for_is_made_anew(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    fake_pass(&b->now, 1500 * BK_MS);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                     BK_REQUESTER_DOUBT_MS * BK_MS);
    tick(b);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
}

/* A device that checks a password slowly, or cannot open the request. */
static void silence_is_doubted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int other_key = 0; other_key < 2; other_key++) {
        reach_called(b);
        assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                         BK_REQUESTER_DELIVERY_MS * BK_MS);
        fake_pass(&b->now, 1500 * BK_MS);
        deliver(b);
        assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                         BK_REQUESTER_DOUBT_MS * BK_MS);
        tick(b);
        asked_for_the_key(b);
        if (other_key != 0) {
            bk_box_pair_make(&b->rng, &b->box);
            sign_box_key(b);
        }
        answer_lookup(b);
        if (other_key == 0) { /* it will say something yet */
            assert_int_equal(b->out.n, 0);
            assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                             (BK_REQUESTER_SESSION_MS - BK_REQUESTER_DOUBT_MS) * BK_MS);
            result(b, BK_CALL_ACCEPTED, 0);
        } else {
            asked_anew(b);
            deliver(b);
            result(b, BK_CALL_ACCEPTED, 0);
        }
        session(b, 41);
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    }
}

static void a_server_that_does_not_answer_that_is_asked_as_at_first(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    tick(b);
    asked_for_the_key(b);
    tick(b);
    asked_anew(b);
}

static void twice_takes_no_longer_than_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    uint64_t accepted = b->now.mono;
    tick(b);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_requester_deadline(b->r), accepted + BK_REQUESTER_ANEW_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_password_serves_twice(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known(b);
    start(b);
    candidates(b, 1);
    server_opens(b);
    password(b);
    take_request(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    tick(b);
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    memcpy(b->txid, m.txid, sizeof b->txid);
    take_info(b);
    answer_info(b, NULL);
    answer_lookup(b);
    assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    take_request(b);
}

static void who_comes_while_the_server_is_asked_is_taken(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    tick(b);
    assert_true(asks(b, BK_METHOD_LOOKUP));
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
    assert_true(phase(b, BK_PHASE_UP));
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
        struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
        memcpy(b->txid, m.txid, sizeof b->txid);
        take_info(b);
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

/* Nobody else was told to come, who could. */
static void one_that_is_lost_is_not_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session(b, 41);
    session_ends(b, 41, true);
    assert_true(must_find(b, BK_REQUESTER_ENDED)->lost);
}

static void a_device_without_a_way_to_us_is_told_of_more(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    result(b, BK_CALL_NO_ANSWER, 0);
    asked_anew(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    result(b, BK_CALL_NO_ANSWER, 0);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_stale_request_is_made_again_without_the_server(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    assert_false(asks(b, BK_METHOD_LOOKUP));
    take_any_request(b);
    assert_true(b->request.has_tag);
}

static void a_server_that_left_is_asked_on_another_connection(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_called(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    tick(b);
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    assert_null(find(b, BK_REQUESTER_FAILED));
    server_opens(b);
    asked_anew(b);
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

static void the_next_server_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin_known_with_key(b);
    b->config.n_servers = 2;
    start(b);
    candidates(b, 1);
    server_opens(b);
    take_any_request(b);
    answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
    assert_int_equal(must_find(b, BK_REQUESTER_CONNECT_SERVER)->server, 1);
    server_opens(b);
    asked_anew(b);
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
        struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
        memcpy(b->txid, m.txid, sizeof b->txid);
        take_info(b);
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

/* ---- first bytes with the handshake ---- */

static void reach_afresh(struct bench *b)
{
    begin(b);
    reach_requested(b);
}

static void early(struct bench *b)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY});
    assert_int_equal(b->out.n, 0);
}

static void early_session(struct bench *b, uint64_t number)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SESSION_UP,
                                         .session = number,
                                         .kind = BK_CANDIDATE_HOST,
                                         .early = true});
}

static void only_what_would_be_picked_is_told_early(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    request(b);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_MAPPED)); /* a HOST may come */
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_RELAYED));
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_MAPPED));
    early(b);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    early_session(b, 41);
    assert_false(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
}

static void others_wait_for_the_one_that_was_told(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_afresh(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    early(b);
    session_by(b, 41, BK_CANDIDATE_HOST);
    assert_null(find(b, BK_REQUESTER_USE_SESSION));
    early_session(b, 42);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 42);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 41);
}

static void if_it_is_lost_another_is_used(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int waits = 0; waits < 2; waits++) {
        reach_afresh(b);
        deliver(b);
        early(b);
        result(b, BK_CALL_ACCEPTED, 0);
        session_by(b, 41, BK_CANDIDATE_HOST);
        assert_null(find(b, BK_REQUESTER_USE_SESSION));
        if (waits != 0) { /* it says nothing any more */
            assert_int_equal(bk_time_left(b->now.mono, bk_requester_deadline(b->r)),
                             BK_REQUESTER_EARLY_MS * BK_MS);
            tick(b);
        } else {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
        }
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    }
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_EARLY_LOST});
    assert_int_equal(b->out.n, 0);
}

static void each_call_id_has_one(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_afresh(b);
    deliver(b);
    early(b);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    assert_true(bk_requester_may_be_early(b->r, BK_CANDIDATE_HOST));
    session_by(b, 41, BK_CANDIDATE_HOST); /* nothing is waited for */
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_device_is_called_at_once),
        cmocka_unit_test(nobody_is_asked_for_a_password_before_the_server_is_there),
        cmocka_unit_test(what_is_known_is_verified),
        cmocka_unit_test(a_private_address_says_nothing_of_the_place),
        cmocka_unit_test(an_unknown_device_is_asked_for_once),
        cmocka_unit_test(an_accepted_call_that_nobody_comes_for_is_made_anew),
        cmocka_unit_test(silence_is_doubted),
        cmocka_unit_test(a_server_that_does_not_answer_that_is_asked_as_at_first),
        cmocka_unit_test(twice_takes_no_longer_than_once),
        cmocka_unit_test(a_password_serves_twice),
        cmocka_unit_test(who_comes_while_the_server_is_asked_is_taken),
        cmocka_unit_test(a_round_asks_where_the_device_is),
        cmocka_unit_test(one_that_is_lost_is_not_waited_for),
        cmocka_unit_test(a_device_without_a_way_to_us_is_told_of_more),
        cmocka_unit_test(a_stale_request_is_made_again_without_the_server),
        cmocka_unit_test(a_server_that_left_is_asked_on_another_connection),
        cmocka_unit_test(another_network_is_another_place),
        cmocka_unit_test(the_next_server_is_asked),
        cmocka_unit_test(what_the_server_tells_is_to_be_remembered),
        cmocka_unit_test(a_public_host_does_not_wait_for_a_relay),
        cmocka_unit_test(a_firewall_before_ipv6_has_a_moment_to_be_opened),
        cmocka_unit_test(only_what_would_be_picked_is_told_early),
        cmocka_unit_test(others_wait_for_the_one_that_was_told),
        cmocka_unit_test(if_it_is_lost_another_is_used),
        cmocka_unit_test(each_call_id_has_one),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bk_requester_free(bench.r);
    return failed;
}
