/* Registration where UDP is blocked, and with several servers. */
#include "core/agent/registration_bench.h"

static const struct bk_addr *second_server(void)
{
    static struct bk_addr addr;
    addr = bk_addr_v4(130, 74, 24, 6, 1200);
    return &addr;
}

static void tell(struct bench *b, enum bk_registration_event_type type)
{
    struct bk_registration_event event = {.type = type};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

static void resolve(struct bench *b, uint8_t index)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESOLVED,
                                          .index = index,
                                          .addr = index == 0 ? fake_server() : *second_server()};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

static void through(struct bench *b, struct bk_slice bytes)
{
    struct bk_registration_event event = {
        .type = BK_REGISTRATION_DATAGRAM, .bytes = bytes, .tunnel = true};
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

static struct bk_slice success(struct bench *b, const uint8_t *txid)
{
    return answer(b, txid, 0, NULL, fake_mapped(), 1700000000);
}

static void step(struct bench *b)
{
    uint64_t wait = bk_time_left(b->now.mono, bk_registration_deadline(&b->r));
    assert_true(wait != BK_TIME_NEVER);
    fake_pass(&b->now, wait);
    bk_registration_timer(&b->r, &b->now, &b->out);
}

/* To the next action of that kind; how long it took. */
static uint64_t until(struct bench *b, enum bk_registration_action_type type)
{
    bk_time began = b->now.mono;
    for (int i = 0; i < 100000; i++) {
        step(b);
        if (find(b, type) != NULL) {
            return b->now.mono - began;
        }
    }
    fail();
    return 0;
}

static struct bk_register sent_through(const struct bench *b)
{
    struct bk_register got = {0};
    struct bk_stun m;
    const struct bk_registration_action *a = NULL;
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REGISTRATION_SEND && b->out.actions[i].tunnel) {
            assert_null(a);
            a = &b->out.actions[i];
        }
    }
    assert_non_null(a);
    if (a != NULL) {
        assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
        assert_int_equal(bk_register_read(&m, &got), BK_OK);
    }
    return got;
}

static void start(struct bench *b, uint64_t seed, uint8_t n_servers)
{
    begin(b, seed);
    b->r.config.n_servers = n_servers;
    input(b, BK_REGISTRATION_START);
    input(b, BK_REGISTRATION_RESOLVED);
}

/* UDP is blocked from the start; the registration stands by the tunnel. */
static void by_tunnel(struct bench *b, uint64_t seed, uint8_t n_servers)
{
    start(b, seed, n_servers);
    until(b, BK_REGISTRATION_TUNNEL_OPEN);
    tell(b, BK_REGISTRATION_TUNNEL_UP);
    through(b, success(b, b->r.tunnel.txid));
    assert_non_null(find(b, BK_REGISTRATION_REGISTERED));
}

static void without_answers_by_udp_a_tunnel_is_made(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 1, 1);
    uint64_t took = until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    assert_true(took >= 6 * BK_SECOND && took <= 10 * BK_SECOND);
    assert_int_equal(must_find(&b, BK_REGISTRATION_TUNNEL_OPEN)->index, 0);
    assert_non_null(find(&b, BK_REGISTRATION_SEND)); /* UDP goes on */
    tell(&b, BK_REGISTRATION_TUNNEL_UP);
    struct bk_register got = sent_through(&b);
    assert_int_equal(got.interval_s, 90);
    assert_false(got.quiet);
    through(&b, success(&b, b.r.tunnel.txid));
    const struct bk_registration_action *a = find(&b, BK_REGISTRATION_REGISTERED);
    assert_true(a != NULL && a->tunnel && a->index == 0);
    assert_int_equal(b.r.state, BK_REGISTRATION_UP);
}

static void an_answer_by_udp_comes_before_the_tunnels(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 2, 1);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    succeed(&b, b.r.udp.txid);
    assert_non_null(find(&b, BK_REGISTRATION_TUNNEL_CLOSE));
    assert_false(must_find(&b, BK_REGISTRATION_REGISTERED)->tunnel);
    tell(&b, BK_REGISTRATION_TUNNEL_UP); /* what was under way */
    assert_int_equal(b.out.n, 0);
    tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
    assert_int_equal(b.out.n, 0);
    through(&b, notify(&b, 1, &b.r.tag));
    assert_int_equal(b.out.n, 0);
}

static void through_the_tunnel_it_registers_at_long_intervals(void **state)
{
    (void)state;
    static struct bench b;
    by_tunnel(&b, 3, 1);
    for (int i = 0; i < 20; i++) {
        bk_time began = b.now.mono;
        do { /* trials of UDP between */
            step(&b);
        } while (!b.r.tunnel.waiting);
        assert_true(b.now.mono - began >= 60 * BK_SECOND);
        assert_true(b.now.mono - began <= 90 * BK_SECOND);
        (void)sent_through(&b);
        through(&b, success(&b, b.r.tunnel.txid));
        assert_int_equal(b.out.n, 0);
    }
}

static void a_call_through_the_tunnel_is_answered_through_it(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    by_tunnel(&b, 4, 1);
    for (int copy = 0; copy < 2; copy++) {
        through(&b, notify(&b, 9, &b.r.tag));
        const struct bk_registration_action *a = must_find(&b, BK_REGISTRATION_SEND);
        assert_true(a->tunnel);
        assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
        struct bk_notify_answer said;
        assert_int_equal(bk_notify_answer_read(&m, &b.mac, b.key, &said), BK_OK);
        assert_false(said.taken);
        assert_int_equal(count(&b, BK_REGISTRATION_CALL), copy == 0 ? 1 : 0);
    }
    assert_int_equal(bk_registration_deadline(&b.r) > b.now.mono, 1);
}

static void a_challenge_through_the_tunnel_is_answered_through_it(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 5, 1);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    tell(&b, BK_REGISTRATION_TUNNEL_UP);
    through(&b, answer(&b, b.r.tunnel.txid, BK_CODE_STALE_NONCE, "abcdefghijklmnopqrst",
                       fake_mapped(), 0));
    assert_int_equal(sent_through(&b).nonce.n, BK_NONCE_BYTES);
    receive(&b, success(&b, b.r.tunnel.txid)); /* by the other way: none of its own */
    assert_int_equal(b.out.n, 0);
    through(&b, success(&b, b.r.tunnel.txid));
    assert_non_null(find(&b, BK_REGISTRATION_REGISTERED));
}

static void udp_is_tried_now_and_then_and_returned_to(void **state)
{
    (void)state;
    static const uint64_t pauses_s[] = {30, 60, 120, 300, 600, 600};
    static struct bench b;
    by_tunnel(&b, 6, 1);
    for (size_t i = 0; i < sizeof pauses_s / sizeof pauses_s[0]; i++) {
        bk_time began = b.now.mono;
        size_t datagrams = 0;
        while (b.r.trials == i) {
            step(&b);
            for (size_t k = 0; k < b.out.n; k++) {
                datagrams +=
                    b.out.actions[k].type == BK_REGISTRATION_SEND && !b.out.actions[k].tunnel;
            }
            if (b.r.tunnel.waiting) {
                through(&b, success(&b, b.r.tunnel.txid));
            }
            assert_null(find(&b, BK_REGISTRATION_LOST));
        }
        uint64_t took = b.now.mono - began;
        assert_true(took >= pauses_s[i] * BK_SECOND * 4 / 5 &&
                    took <= (pauses_s[i] + 5) * BK_SECOND);
        assert_int_equal(datagrams, 3);
    }
    while (!b.r.udp.waiting) {
        step(&b);
        if (b.r.tunnel.waiting) {
            through(&b, success(&b, b.r.tunnel.txid));
        }
    }
    challenge(&b, b.r.udp.txid); /* the row is the tunnel's: it asks for proof */
    succeed(&b, b.r.udp.txid);
    assert_non_null(find(&b, BK_REGISTRATION_TUNNEL_CLOSE));
    assert_false(must_find(&b, BK_REGISTRATION_REGISTERED)->tunnel);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) <= 25 * BK_SECOND);
    assert_int_equal(b.r.tunnel_state, BK_TUNNEL_NONE);
}

static void a_trial_that_got_half_way_is_undone(void **state)
{
    (void)state;
    static struct bench b;
    by_tunnel(&b, 7, 1);
    while (!b.r.udp.waiting) {
        step(&b);
    }
    challenge(&b, b.r.udp.txid); /* and then nothing more */
    bk_time began = b.now.mono;
    while (!b.r.tunnel.waiting) {
        step(&b);
    }
    assert_true(b.now.mono - began <= 5 * BK_SECOND);
    (void)sent_through(&b);
}

static void tunnels_that_fail_are_tried_ever_less_often(void **state)
{
    (void)state;
    static const uint64_t pauses_s[] = {30, 60, 120, 240, 480, 600, 600};
    static struct bench b;
    start(&b, 8, 1);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    for (size_t i = 0; i < sizeof pauses_s / sizeof pauses_s[0]; i++) {
        tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
        assert_int_equal(b.out.n, 0);
        uint64_t took = until(&b, BK_REGISTRATION_TUNNEL_OPEN); /* found at the next try of UDP */
        assert_true(took >= pauses_s[i] * BK_SECOND * 4 / 5);
        assert_true(took <= (pauses_s[i] + 25) * BK_SECOND);
    }
    tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
    tell(&b, BK_REGISTRATION_NETWORK_CHANGED); /* another network: as at the start */
    assert_true(until(&b, BK_REGISTRATION_TUNNEL_OPEN) <= 10 * BK_SECOND);
}

static void a_silent_shell_is_not_waited_for(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 9, 1);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    assert_true(until(&b, BK_REGISTRATION_TUNNEL_CLOSE) <= 30 * BK_SECOND);
    assert_true(until(&b, BK_REGISTRATION_TUNNEL_OPEN) <= 60 * BK_SECOND);
    tell(&b, BK_REGISTRATION_TUNNEL_UP); /* but nobody answers through it */
    bk_time began = b.now.mono;
    while (find(&b, BK_REGISTRATION_TUNNEL_CLOSE) == NULL) {
        step(&b);
    }
    assert_true(b.now.mono - began == 10 * BK_SECOND);
}

static void a_tunnel_that_breaks_is_made_again_soon(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        static struct bench b;
        struct bk_stun m;
        by_tunnel(&b, seed, 1);
        tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
        sent(&b, &m); /* by UDP, at once */
        assert_true(until(&b, BK_REGISTRATION_TUNNEL_OPEN) <= 10 * BK_SECOND);
        tell(&b, BK_REGISTRATION_TUNNEL_UP);
        through(&b, success(&b, b.r.tunnel.txid));
        assert_int_equal(b.r.state, BK_REGISTRATION_UP);
    }
}

static void a_changed_network_is_tried_by_both_ways(void **state)
{
    (void)state;
    static struct bench b;
    by_tunnel(&b, 10, 1);
    tell(&b, BK_REGISTRATION_NETWORK_CHANGED);
    assert_int_equal(count(&b, BK_REGISTRATION_SEND), 2);
    (void)sent_through(&b);
    bk_time began = b.now.mono;
    while (find(&b, BK_REGISTRATION_TUNNEL_CLOSE) == NULL) { /* it is dead */
        step(&b);
    }
    assert_true(b.now.mono - began <= 10 * BK_SECOND);
}

static void a_renewed_key_goes_through_the_tunnel_at_once(void **state)
{
    (void)state;
    static struct bench b;
    static const uint8_t key[BK_KEY_BYTES] = {1, 2, 3};
    by_tunnel(&b, 11, 1);
    bk_registration_rekey(&b.r, &b.now, 8, 4, key);
    step(&b);
    assert_int_equal(sent_through(&b).epoch, 4);
}

/* ---- several servers ---- */

static void to_second(struct bench *b, uint64_t seed)
{
    start(b, seed, 2);
    until(b, BK_REGISTRATION_TUNNEL_OPEN);
    tell(b, BK_REGISTRATION_TUNNEL_DOWN);
    assert_int_equal(must_find(b, BK_REGISTRATION_RESOLVE)->index, 1);
    resolve(b, 1);
    assert_true(bk_addr_equal(&must_find(b, BK_REGISTRATION_SEND)->addr, second_server()));
    receive_from(b, success(b, b->r.udp.txid), *second_server());
    const struct bk_registration_action *a = find(b, BK_REGISTRATION_REGISTERED);
    assert_true(a != NULL && a->index == 1 && !a->tunnel);
}

static void the_second_server_is_taken_when_the_first_answers_by_neither_way(void **state)
{
    (void)state;
    static struct bench b;
    to_second(&b, 1);
    receive(&b, notify(&b, 1, &b.r.tag)); /* from the first: no server of ours now */
    assert_int_equal(b.out.n, 0);
    receive_from(&b, notify(&b, 1, &b.r.tag), *second_server());
    const struct bk_registration_action *call = find(&b, BK_REGISTRATION_CALL);
    assert_true(call != NULL && call->index == 1);
    assert_true(bk_addr_equal(&call->addr, second_server()));
}

static void an_address_of_another_server_is_not_taken_for_this_ones(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 2);
    b.r.config.n_servers = 2;
    input(&b, BK_REGISTRATION_START);
    resolve(&b, 1); /* not asked for */
    assert_int_equal(b.out.n, 0);
    struct bk_registration_event event = {.type = BK_REGISTRATION_UNRESOLVED, .index = 1};
    bk_registration_input(&b.r, &b.now, &event, &b.out);
    assert_int_equal(b.r.index, 0);
}

static void a_name_that_leads_nowhere_is_passed_over(void **state)
{
    (void)state;
    static struct bench b;
    begin(&b, 3);
    b.r.config.n_servers = 3;
    input(&b, BK_REGISTRATION_START);
    bk_time began = b.now.mono;
    uint32_t asked = 0;
    for (uint8_t index = 0; b.now.mono - began < 600 * BK_SECOND;
         index = (uint8_t)((index + 1) % 3)) {
        struct bk_registration_event event = {.type = BK_REGISTRATION_UNRESOLVED, .index = index};
        assert_int_equal(must_find(&b, BK_REGISTRATION_RESOLVE)->index, index);
        bk_registration_input(&b.r, &b.now, &event, &b.out);
        step(&b);
        asked++;
    }
    assert_in_range(asked, 20, 40);
}

static void when_all_are_gone_nobody_is_stormed(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 4, 2);
    bk_time began = b.now.mono;
    size_t sends = 0, tunnels = 0, turns = 0, lost = 0;
    while (b.now.mono - began < 3600 * BK_SECOND) {
        step(&b);
        for (int again = 0; again < 3; again++) {
            sends += count(&b, BK_REGISTRATION_SEND);
            lost += count(&b, BK_REGISTRATION_LOST);
            const struct bk_registration_action *a = find(&b, BK_REGISTRATION_RESOLVE);
            if (find(&b, BK_REGISTRATION_TUNNEL_OPEN) != NULL) {
                tunnels++;
                tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
            } else if (a != NULL) {
                turns++;
                resolve(&b, a->index);
            } else {
                break;
            }
        }
    }
    assert_int_equal(lost, 1);
    assert_in_range(sends, 100, 200); /* as many as one server would get */
    assert_in_range(turns, 100, 250);
    assert_in_range(tunnels, 10, 30);
    /* One that is back is found within an interval or two. */
    for (int i = 0; i < 4 && b.r.state != BK_REGISTRATION_UP; i++) {
        const struct bk_registration_action *a = find(&b, BK_REGISTRATION_RESOLVE);
        if (a != NULL) {
            resolve(&b, a->index);
        }
        if (b.r.index == 1 && b.r.udp.waiting) {
            receive_from(&b, success(&b, b.r.udp.txid), *second_server());
        } else {
            step(&b);
        }
    }
    assert_int_equal(b.r.state, BK_REGISTRATION_UP);
}

/* Answers keepalives until the first server's address is asked for. */
static uint64_t until_first_again(struct bench *b)
{
    bk_time began = b->now.mono;
    for (;;) {
        step(b);
        const struct bk_registration_action *a = find(b, BK_REGISTRATION_RESOLVE);
        if (a != NULL && a->index == 0) {
            return b->now.mono - began;
        }
        if (b->r.udp.waiting) {
            receive_from(b, success(b, b->r.udp.txid), *second_server());
        }
    }
}

static void the_first_server_is_returned_to(void **state)
{
    (void)state;
    static struct bench b;
    struct bk_stun m;
    to_second(&b, 5);
    uint64_t took = until_first_again(&b);
    assert_true(took >= 540 * BK_SECOND && took <= 600 * BK_SECOND);
    resolve(&b, 0);
    sent(&b, &m);                                                /* to the first */
    receive_from(&b, notify(&b, 7, &b.r.tag), *second_server()); /* which still has us */
    assert_int_equal(must_find(&b, BK_REGISTRATION_CALL)->index, 1);
    assert_true(bk_addr_equal(&must_find(&b, BK_REGISTRATION_SEND)->addr, second_server()));
    challenge(&b, b.r.udp.txid);
    succeed(&b, b.r.udp.txid);
    assert_int_equal(must_find(&b, BK_REGISTRATION_REGISTERED)->index, 0);
    assert_int_equal(b.r.first_at, BK_TIME_NEVER);
}

static void a_first_server_that_is_still_gone_costs_nothing(void **state)
{
    (void)state;
    static struct bench b;
    to_second(&b, 6);
    for (int round = 0; round < 3; round++) {
        until_first_again(&b);
        resolve(&b, 0);
        bk_time began = b.now.mono;
        size_t sends = 1;
        while (b.r.back.on) {
            step(&b);
            assert_null(find(&b, BK_REGISTRATION_LOST));
            assert_null(find(&b, BK_REGISTRATION_TUNNEL_OPEN));
            sends += b.r.back.on;
        }
        assert_int_equal(sends, 3);
        assert_true(b.now.mono - began <= 5 * BK_SECOND);
        assert_true(bk_addr_equal(&must_find(&b, BK_REGISTRATION_SEND)->addr, second_server()));
        receive_from(&b, success(&b, b.r.udp.txid), *second_server());
        assert_null(find(&b, BK_REGISTRATION_REGISTERED)); /* all is as it was */
        assert_int_equal(b.r.state, BK_REGISTRATION_UP);
    }
}

static void from_a_tunnel_the_first_server_is_returned_to_within_an_hour(void **state)
{
    (void)state;
    static struct bench b;
    start(&b, 7, 2);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    tell(&b, BK_REGISTRATION_TUNNEL_DOWN);
    resolve(&b, 1);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN);
    tell(&b, BK_REGISTRATION_TUNNEL_UP);
    through(&b, success(&b, b.r.tunnel.txid));
    bk_time began = b.now.mono;
    do {
        step(&b);
        if (b.r.tunnel.waiting) {
            through(&b, success(&b, b.r.tunnel.txid));
        }
    } while (find(&b, BK_REGISTRATION_TUNNEL_CLOSE) == NULL);
    assert_true(b.now.mono - began >= 3200 * BK_SECOND && b.now.mono - began <= 3600 * BK_SECOND);
    assert_int_equal(must_find(&b, BK_REGISTRATION_RESOLVE)->index, 0);
    resolve(&b, 0);
    until(&b, BK_REGISTRATION_TUNNEL_OPEN); /* UDP was blocked: no long waiting for it */
    assert_int_equal(must_find(&b, BK_REGISTRATION_TUNNEL_OPEN)->index, 0);
    tell(&b, BK_REGISTRATION_TUNNEL_DOWN); /* still gone: straight to the second */
    assert_int_equal(must_find(&b, BK_REGISTRATION_RESOLVE)->index, 1);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_answers_by_udp_a_tunnel_is_made),
        cmocka_unit_test(an_answer_by_udp_comes_before_the_tunnels),
        cmocka_unit_test(through_the_tunnel_it_registers_at_long_intervals),
        cmocka_unit_test(a_call_through_the_tunnel_is_answered_through_it),
        cmocka_unit_test(a_challenge_through_the_tunnel_is_answered_through_it),
        cmocka_unit_test(udp_is_tried_now_and_then_and_returned_to),
        cmocka_unit_test(a_trial_that_got_half_way_is_undone),
        cmocka_unit_test(tunnels_that_fail_are_tried_ever_less_often),
        cmocka_unit_test(a_silent_shell_is_not_waited_for),
        cmocka_unit_test(a_tunnel_that_breaks_is_made_again_soon),
        cmocka_unit_test(a_changed_network_is_tried_by_both_ways),
        cmocka_unit_test(a_renewed_key_goes_through_the_tunnel_at_once),
        cmocka_unit_test(the_second_server_is_taken_when_the_first_answers_by_neither_way),
        cmocka_unit_test(an_address_of_another_server_is_not_taken_for_this_ones),
        cmocka_unit_test(a_name_that_leads_nowhere_is_passed_over),
        cmocka_unit_test(when_all_are_gone_nobody_is_stormed),
        cmocka_unit_test(the_first_server_is_returned_to),
        cmocka_unit_test(a_first_server_that_is_still_gone_costs_nothing),
        cmocka_unit_test(from_a_tunnel_the_first_server_is_returned_to_within_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
