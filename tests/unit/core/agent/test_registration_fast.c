/* The fast form of a call at the idle agent: a request that comes with NOTIFY is taken once and in one form, and what the
 * device makes of it goes back by UDP until the server has it. */
#include "core/agent/registration_bench.h"

#include "wire/result.h"

static void assert_taken(const struct bench *b, uint8_t txid_byte, uint8_t call)
{
    struct bk_notify_answer said = notify_answer(b, txid_byte);
    assert_true(said.taken);
    assert_int_equal(said.call_id[0], call);
    assert_int_equal(said.call_id[BK_CALL_ID_BYTES - 1], call);
}

static void a_request_is_taken_by_the_answer_and_once(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 1);
    for (int copy = 0; copy < 3; copy++) {
        struct bk_slice bytes = notify_fast(&b, 1, 7, 300);
        receive(&b, bytes);
        assert_taken(&b, 1, 7);
        assert_true(b.out.actions[0].bytes.n <= bytes.n);
        assert_int_equal(b.out.n, copy == 0 ? 2 : 1);
        const struct bk_registration_action *call = find(&b, BK_REGISTRATION_CALL);
        assert_true((call != NULL) == (copy == 0));
        if (call != NULL) {
            struct bk_addr server = fake_server();
            assert_true(call->fast);
            assert_int_equal(call->call_id[0], 7);
            assert_true(bk_addr_equal(&call->addr, &server));
            assert_int_equal(call->bytes.n, 300);
            assert_int_equal(call->bytes.p[299], 7);
            assert_true(bk_slice_equal(call->user, bk_slice_text("alice")));
        }
    }
    receive(&b, notify(&b, 1, &b.r.tag)); /* later repeats bring no box */
    assert_int_equal(b.out.n, 1);
    assert_taken(&b, 1, 7);
    receive(&b, notify_fast(&b, 2, 7, 300)); /* the same call under another transaction */
    assert_int_equal(b.out.n, 1);
    assert_taken(&b, 2, 7);
    receive(&b, notify(&b, 2, &b.r.tag));
    assert_int_equal(b.out.n, 1);
    assert_taken(&b, 2, 7);
    receive(&b, notify_fast(&b, 3, 8, BK_BOX_MAX_BYTES)); /* another call */
    assert_int_equal(b.out.n, 2);
    assert_taken(&b, 3, 8);
}

/* The datagrams with the box were lost: then it is got by TLS, and that is that. */
static void what_was_acted_on_in_the_first_form_stays_so(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 2);
    receive(&b, notify(&b, 1, &b.r.tag));
    assert_int_equal(b.out.n, 2);
    const struct bk_registration_action *call = find(&b, BK_REGISTRATION_CALL);
    assert_true(call != NULL && !call->fast);
    receive(&b, notify_fast(&b, 1, 7, 300));
    assert_int_equal(b.out.n, 1);
    assert_false(notify_answer(&b, 1).taken);
}

static void a_full_device_does_not_answer(void **state)
{
    (void)state;
    static struct bench b;
    come_up(&b, 3);
    struct bk_registration_event event = {.type = BK_REGISTRATION_DATAGRAM,
                                          .addr = fake_server(),
                                          .bytes = notify_fast(&b, 1, 7, 300),
                                          .full = true};
    bk_registration_input(&b.r, &b.now, &event, &b.out);
    assert_int_equal(b.out.n, 1);
    assert_int_equal(b.out.actions[0].type, BK_REGISTRATION_FULL);
    receive(&b, event.bytes); /* there is room again */
    assert_int_equal(b.out.n, 2);
    assert_taken(&b, 1, 7);
    bk_registration_input(&b.r, &b.now, &event,
                          &b.out); /* what was taken is answered in any case */
    assert_int_equal(b.out.n, 1);
    assert_taken(&b, 1, 7);
}

static void a_request_that_was_tampered_with_is_not_taken(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t copy[1400];
    come_up(&b, 4);
    struct bk_slice good = notify_fast(&b, 1, 7, 300);
    memcpy(copy, good.p, good.n);
    for (size_t i = 0; i < good.n; i++) {
        copy[i] ^= 1;
        receive(&b, bk_slice(copy, good.n));
        assert_int_equal(b.out.n, 0);
        copy[i] ^= 1;
    }
    receive_from(&b, good, bk_addr_v4(8, 8, 8, 8, 1200)); /* nor from elsewhere */
    assert_int_equal(b.out.n, 0);
}

/* ---- RESULT ---- */

static void say(struct bench *b, uint8_t call, uint8_t number, size_t n)
{
    static uint8_t box[BK_AGENT_RESULT_BYTES + 1];
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESULT,
                                          .addr = fake_server(),
                                          .bytes = bk_slice(box, n),
                                          .number = number};
    memset(event.call_id, call, sizeof event.call_id);
    memset(box, number, sizeof box);
    bk_registration_input(&b->r, &b->now, &event, &b->out);
}

/* The datagram, checked as a server does; its transaction ID. */
static void assert_said(struct bench *b, uint8_t call, uint8_t number,
                        uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_result_datagram said;
    struct bk_stun m;
    struct bk_addr server = fake_server();
    const struct bk_registration_action *a = must_find(b, BK_REGISTRATION_SEND);
    assert_false(a->tunnel);
    assert_true(bk_addr_equal(&a->addr, &server));
    assert_int_equal(bk_stun_read(a->bytes, &m), BK_OK);
    assert_int_equal(bk_stun_check_fingerprint(&m), BK_OK);
    assert_int_equal(bk_stun_check_sha256(&m, &b->mac, b->key, BK_STUN_SHORT_MAC_BYTES), BK_OK);
    assert_int_equal(bk_result_datagram_read(&m, &said), BK_OK);
    assert_int_equal(said.equipment_id, 2133);
    assert_int_equal(said.generation, 7);
    assert_int_equal(said.epoch, 3);
    assert_int_equal(said.result.call_id[5], call);
    assert_int_equal(said.result.box.p[0], number);
    memcpy(txid, m.txid, BK_STUN_TXID_BYTES);
}

static struct bk_slice got_it(struct bench *b, const uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_slice bytes;
    assert_int_equal(bk_result_answer_write(b->buf, sizeof b->buf, txid, &b->mac, b->key, &bytes),
                     BK_OK);
    return bytes;
}

static void assert_told(const struct bench *b, uint8_t call, uint8_t number, bool good)
{
    const struct bk_registration_action *a = must_find(b, BK_REGISTRATION_RESULT_TOLD);
    assert_int_equal(count(b, BK_REGISTRATION_RESULT_TOLD), 1);
    assert_int_equal(a->call_id[0], call);
    assert_int_equal(a->number, number);
    assert_int_equal(a->good, good);
}

static void a_result_is_sent_until_the_server_has_it(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t txid[BK_STUN_TXID_BYTES], again[BK_STUN_TXID_BYTES];
    come_up(&b, 5);
    say(&b, 7, 4, 120);
    assert_int_equal(b.out.n, 1);
    assert_said(&b, 7, 4, txid);
    tick(&b);
    assert_said(&b, 7, 4, again);
    assert_memory_equal(txid, again, sizeof txid);
    receive(&b, got_it(&b, txid));
    assert_int_equal(b.out.n, 1);
    assert_told(&b, 7, 4, true);
    receive(&b, got_it(&b, txid)); /* of the other copy */
    assert_int_equal(b.out.n, 0);
    assert_true(bk_time_left(b.now.mono, bk_registration_deadline(&b.r)) > 5 * BK_SECOND);
}

static void an_unanswered_result_is_given_up_after_three_seconds(void **state)
{
    (void)state;
    static const uint32_t at_ms[] = {250, 500, 1000, 2000};
    static struct bench b;
    uint8_t txid[BK_STUN_TXID_BYTES];
    come_up(&b, 6);
    say(&b, 7, 4, BK_AGENT_RESULT_BYTES);
    bk_time began = b.now.mono;
    for (size_t i = 0; i < sizeof at_ms / sizeof at_ms[0]; i++) {
        tick(&b);
        assert_true(b.now.mono - began == at_ms[i] * BK_MS);
        assert_said(&b, 7, 4, txid);
    }
    tick(&b);
    assert_true(b.now.mono - began == BK_AGENT_RESULT_MS * BK_MS);
    assert_int_equal(count(&b, BK_REGISTRATION_SEND), 0);
    assert_told(&b, 7, 4, false);
    receive(&b, got_it(&b, txid)); /* late */
    assert_int_equal(b.out.n, 0);
}

/* The host slept: what is overdue by hours leaves once, and not as often as it would have. */
static void a_long_pause_brings_no_burst(void **state)
{
    (void)state;
    static struct bench b;
    size_t sent = 0;
    come_up(&b, 9);
    say(&b, 7, 4, 120);
    fake_pass(&b.now, 3600 * BK_SECOND);
    bk_registration_timer(&b.r, &b.now, &b.out);
    for (size_t i = 0; i < b.out.n; i++) {
        struct bk_stun m;
        sent += b.out.actions[i].type == BK_REGISTRATION_SEND &&
                bk_stun_read(b.out.actions[i].bytes, &m) == BK_OK && m.method == BK_METHOD_RESULT;
    }
    assert_int_equal(sent, 1);
    assert_true(bk_registration_deadline(&b.r) > b.now.mono);
}

static void only_the_servers_own_word_counts(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t txid[BK_STUN_TXID_BYTES];
    come_up(&b, 7);
    say(&b, 7, 4, 120);
    assert_said(&b, 7, 4, txid);
    receive_from(&b, got_it(&b, txid), bk_addr_v4(8, 8, 8, 8, 1200));
    assert_int_equal(b.out.n, 0);
    struct bk_slice bytes = got_it(&b, txid);
    b.buf[bytes.n - 10] ^= 1;
    receive(&b, bytes);
    assert_int_equal(b.out.n, 0);
    txid[3] ^= 1;
    receive(&b, got_it(&b, txid));
    assert_int_equal(b.out.n, 0);
    txid[3] ^= 1;
    receive(&b, got_it(&b, txid));
    assert_told(&b, 7, 4, true);
}

static void of_more_than_fit_the_call_hears_at_once(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t txid[BK_STUN_TXID_BYTES];
    come_up(&b, 8);
    for (uint8_t i = 0; i < BK_AGENT_RESULTS_MAX; i++) {
        say(&b, i, i, BK_AGENT_RESULT_BYTES);
        assert_int_equal(b.out.n, 1);
        assert_said(&b, i, i, txid);
    }
    say(&b, 99, 1, 120);
    assert_int_equal(b.out.n, 1);
    assert_told(&b, 99, 1, false);
    say(&b, 99, 2, BK_AGENT_RESULT_BYTES + 1);
    assert_told(&b, 99, 2, false);
    /* All of them get their turns, as many in one as it has room for. */
    size_t sent = 0;
    bk_time until = b.now.mono + 250 * BK_MS;
    while (bk_registration_deadline(&b.r) <= until) {
        tick(&b);
        assert_true(b.out.n > 0);
        sent += count(&b, BK_REGISTRATION_SEND);
    }
    assert_int_equal(sent, BK_AGENT_RESULTS_MAX);
    receive(&b, got_it(&b, txid)); /* the last one's: room for another */
    assert_told(&b, BK_AGENT_RESULTS_MAX - 1, BK_AGENT_RESULTS_MAX - 1, true);
    say(&b, 99, 3, 120);
    assert_said(&b, 99, 3, txid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_by_the_answer_and_once),
        cmocka_unit_test(what_was_acted_on_in_the_first_form_stays_so),
        cmocka_unit_test(a_full_device_does_not_answer),
        cmocka_unit_test(a_request_that_was_tampered_with_is_not_taken),
        cmocka_unit_test(a_result_is_sent_until_the_server_has_it),
        cmocka_unit_test(an_unanswered_result_is_given_up_after_three_seconds),
        cmocka_unit_test(a_long_pause_brings_no_burst),
        cmocka_unit_test(only_the_servers_own_word_counts),
        cmocka_unit_test(of_more_than_fit_the_call_hears_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
