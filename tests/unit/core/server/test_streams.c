/* Streams: who may say what, LOOKUP, ENROL, limits and endings. */
#include "core/server/fixture.h"

static struct bk_slice lookup_write(uint64_t id, const char *name, uint8_t *buf, size_t cap)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x10};
    struct bk_lookup in = {.equipment_id = id, .name = bk_slice_text(name)};
    struct bk_slice b;
    assert_int_equal(bk_lookup_write(buf, cap, txid, &in, &b), BK_OK);
    return b;
}

static void lookup(struct lab *l, uint64_t stream, uint64_t id, const char *name)
{
    uint8_t buf[256];
    lab_message(l, stream, lookup_write(id, name, buf, sizeof(buf)));
}

static void enrol(struct lab *l, uint64_t stream)
{
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0x20};
    struct bk_enrol in = {
        .token = bk_slice_text("0123456789abcdef"),
        .csr = bk_slice_text("csr"),
        .box_key = bk_slice_text("box key"),
    };
    struct bk_slice b;
    assert_int_equal(bk_enrol_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(l, stream, b);
}

static void enrolled(struct lab *l, uint64_t query, uint16_t code, uint64_t id, uint32_t generation,
                     const char *user)
{
    struct bk_server_event e = {.type = BK_SERVER_ENROLLED};
    e.enrolled.query = query;
    e.enrolled.code = code;
    e.enrolled.equipment_id = id;
    e.enrolled.generation = generation;
    e.enrolled.user = bk_slice_text(user);
    e.enrolled.certificate = bk_slice_text("certificate");
    e.enrolled.ca_certificate = bk_slice_text("ca");
    lab_input(l, &e);
}

static void lookup_tells_certificate_and_where_the_device_is(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 0, "garage");
    const struct bk_server_action *f = lab_must(l, BK_SERVER_FIND_DEVICE, 0);
    assert_true(bk_slice_equal(f->find.user, bk_slice_text("alice")));
    assert_true(bk_slice_equal(f->find.name, bk_slice_text("garage")));
    assert_int_equal(f->find.equipment_id, 0);
    lab_found(l, f->find.query, 0, 2133);
    struct bk_stun m;
    struct bk_lookup_answer a;
    assert_true(lab_said(l, 1, &m));
    assert_int_equal(m.txid[0], 0x10);
    assert_int_equal(bk_lookup_answer_read(&m, &a), BK_OK);
    assert_int_equal(a.equipment_id, 2133);
    assert_true(bk_slice_equal(a.certificate, bk_slice_text("certificate")));
    assert_true(bk_slice_equal(a.box_key, bk_slice_text("box key")));
    assert_true(a.registered);
    assert_true(bk_addr_equal(&a.observed, &d.addr));
    assert_true(a.tag.random == d.tag.random);
    assert_int_equal(a.tag.counter, d.tag.counter);

    lab_pass(l, (BK_SERVER_EXPIRY_S + 1) * 1000);
    lookup(l, 1, 2133, NULL);
    lab_found(l, lab_query(l), 0, 2133);
    assert_true(lab_said(l, 1, &m));
    assert_int_equal(bk_lookup_answer_read(&m, &a), BK_OK);
    assert_false(a.registered);
    lab_free(l);
}

static void lookup_hears_not_found_and_revoked(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL);
    lab_found(l, lab_query(l), BK_CODE_NOT_FOUND, 0);
    assert_int_equal(lab_code(l, 1), BK_CODE_NOT_FOUND);
    lookup(l, 1, 2133, NULL);
    lab_found(l, lab_query(l), 0, 2134); /* not what was asked for */
    assert_int_equal(lab_code(l, 1), BK_CODE_NOT_FOUND);
    lookup(l, 1, 2133, NULL);
    uint64_t query = lab_query(l);
    lab_exception(l, 2133, 0, true);
    lab_found(l, query, 0, 2133);
    assert_int_equal(lab_code(l, 1), BK_CODE_REVOKED);
    lab_found(l, query, 0, 2133); /* answered once; a number is not used again */
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void answers_for_a_stream_that_is_gone_are_dropped(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL);
    uint64_t query = lab_query(l);
    lab_closed(l, 1);
    lab_open(l, 2, BK_ROLE_USER, 0, "bob"); /* in the same place of the table */
    lab_found(l, query, 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void at_most_sixteen_questions_are_open_on_a_stream(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    uint64_t query = 0;
    for (int i = 0; i < 16; i++) {
        lookup(l, 1, 2133, NULL);
        query = lab_query(l);
    }
    lookup(l, 1, 2133, NULL);
    assert_int_equal(lab_code(l, 1), BK_CODE_OVERLOADED);
    assert_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    lab_found(l, query, 0, 2133);
    lookup(l, 1, 2133, NULL);
    assert_non_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    lab_free(l);
}

static void a_device_that_joins_gets_its_key_of_the_current_epoch(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    enrol(l, 1);
    const struct bk_server_action *e = lab_must(l, BK_SERVER_ENROL, 0);
    assert_true(bk_slice_equal(e->enrol.token, bk_slice_text("0123456789abcdef")));
    assert_true(bk_slice_equal(e->enrol.csr, bk_slice_text("csr")));
    assert_true(bk_slice_equal(e->enrol.box_key, bk_slice_text("box key")));
    enrolled(l, e->enrol.query, 0, 2133, 1, NULL);
    struct bk_stun m;
    struct bk_enrol_answer a;
    assert_true(lab_said(l, 1, &m));
    assert_int_equal(m.txid[0], 0x20);
    assert_int_equal(bk_enrol_answer_read(&m, &a), BK_OK);
    struct device d = device_new(l, 2133);
    assert_int_equal(a.equipment_id, 2133);
    assert_int_equal(a.epoch, EPOCH);
    assert_true(bk_slice_equal(a.registration_key, BK_SLICE_OF(d.key)));
    assert_true(a.ports.udp == 1200 && a.ports.request == 1201 && a.ports.agent == 1300);
    device_register(l, &d);
    lab_free(l);
}

static void a_user_that_joins_gets_no_key(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    enrol(l, 1);
    enrolled(l, lab_must(l, BK_SERVER_ENROL, 0)->enrol.query, 0, 0, 0, "alice");
    struct bk_stun m;
    struct bk_enrol_answer a;
    assert_true(lab_said(l, 1, &m));
    assert_int_equal(bk_enrol_answer_read(&m, &a), BK_OK);
    assert_true(bk_slice_equal(a.user, bk_slice_text("alice")));
    assert_int_equal(a.registration_key.n, 0);
    lab_free(l);
}

static void a_refused_enrolment_says_why(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    enrol(l, 1);
    enrolled(l, lab_must(l, BK_SERVER_ENROL, 0)->enrol.query, BK_CODE_TOKEN_USED, 0, 0, NULL);
    assert_int_equal(lab_code(l, 1), BK_CODE_TOKEN_USED);
    lab_free(l);
}

static void enrolling_again_ends_the_older_generation_at_once(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device stolen = device_new(l, 2133);
    device_register(l, &stolen);
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    enrol(l, 1);
    uint64_t query = lab_must(l, BK_SERVER_ENROL, 0)->enrol.query;
    lab_closed(l, 1); /* even if its asker did not wait */
    enrolled(l, query, 0, 2133, 2, NULL);
    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(device_send(l, &stolen, NULL, NULL), BK_CODE_FORBIDDEN);
    struct device successor = device_new(l, 2133);
    device_rekey(l, &successor, EPOCH, 2);
    device_register(l, &successor);
    lab_free(l);
}

static void an_enrolment_lifts_no_revocation_by_itself(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    enrol(l, 1);
    uint64_t query = lab_must(l, BK_SERVER_ENROL, 0)->enrol.query;
    lab_exception(l, 2133, 1, true); /* while the store was at work */
    enrolled(l, query, 0, 2133, 2, NULL);
    device_rekey(l, &d, EPOCH, 2);
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_FORBIDDEN);
    lab_exception(l, 2133, 2, false); /* only the store's word does */
    device_register(l, &d);
    lab_free(l);
}

/* Each role sends what belongs to another: an error to requests, then the end. */
static void whoever_says_what_is_not_his_is_sent_away(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    uint8_t a[256];
    struct bk_slice ask = lookup_write(2133, NULL, a, sizeof(a));

    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    lab_message(l, 1, ask);
    assert_int_equal(lab_code(l, 1), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 1));
    lab_message(l, 1, ask);
    assert_int_equal(l->out.n, 0); /* nothing more is heard on it */

    lab_open(l, 2, BK_ROLE_NONE, 0, "");
    lab_connect(l, 2, 2133, 1);
    assert_int_equal(lab_code(l, 2), BK_CODE_BAD_REQUEST);
    assert_null(lab_action(l, BK_SERVER_FIND_DEVICE));

    lab_open(l, 3, BK_ROLE_USER, 0, "alice");
    enrol(l, 3);
    assert_int_equal(lab_code(l, 3), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 3));
    assert_null(lab_action(l, BK_SERVER_ENROL));

    lab_open(l, 4, BK_ROLE_USER, 0, "alice");
    lab_message(l, 4, bk_slice_text("GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(lab_code(l, 4), SILENCE);
    assert_true(lab_closes(l, 4));

    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_slice b;
    lab_open(l, 5, BK_ROLE_USER, 0, "alice");
    assert_int_equal(bk_success_write(a, sizeof(a), BK_METHOD_CONNECT, txid, &b), BK_OK);
    lab_message(l, 5, b);
    assert_int_equal(lab_code(l, 5), SILENCE); /* no answer to an answer */
    assert_true(lab_closes(l, 5));

    lab_open(l, 6, BK_ROLE_USER, 0, "alice");
    struct bk_stun_writer w = bk_stun_begin(a, sizeof(a), BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    lab_message(l, 6, b); /* a LOOKUP of nothing */
    assert_int_equal(lab_code(l, 6), BK_CODE_BAD_REQUEST);
    assert_true(lab_closes(l, 6));

    lab_open(l, 7, BK_ROLE_SERVER, 0, "");
    assert_true(lab_closes(l, 7));
    lab_open(l, 8, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_closes(l, 8)); /* nobody calls */
    lab_message(l, 99, ask);
    assert_int_equal(l->out.n, 0); /* no such stream */
    lab_free(l);
}

static void a_revoked_user_loses_his_streams_and_nobody_else_does(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    for (uint64_t i = 1; i <= 40; i++) {
        lab_open(l, i, BK_ROLE_USER, 0, "alice");
    }
    lab_open(l, 41, BK_ROLE_USER, 0, "alic");
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text("alice");
    lab_input(l, &e);
    size_t closed = lab_count(l, BK_SERVER_CLOSE_STREAM);
    assert_int_equal(closed, BK_SERVER_OUT_ACTIONS);
    assert_true(bk_server_deadline(l->server) <=
                l->now.mono); /* more than fits: the rest at once */
    lab_closed(l, 40);        /* gone before it was asked for */
    closed += lab_count(l, BK_SERVER_CLOSE_STREAM);
    lab_timer(l);
    closed += lab_count(l, BK_SERVER_CLOSE_STREAM);
    assert_int_equal(closed, 39);
    assert_false(lab_closes(l, 41));
    assert_int_equal(bk_server_deadline(l->server), BK_TIME_NEVER);
    lookup(l, 41, 2133, NULL);
    assert_non_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    lab_open(l, 50, BK_ROLE_USER, 0, "alice"); /* whether he may come back is the shell's to say */
    assert_false(lab_closes(l, 50));
    lab_free(l);
}

static void streams_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    struct lab *l = lab_new_with(10, 2, 2);
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lab_open(l, 2, BK_ROLE_USER, 0, "alice");
    lab_open(l, 3, BK_ROLE_USER, 0, "alice");
    assert_true(lab_closes(l, 3));
    lab_closed(l, 3);
    lab_closed(l, 1);
    lab_open(l, 4, BK_ROLE_USER, 0, "alice");
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void revoke_user(struct lab *l, const char *name)
{
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text(name);
    lab_input(l, &e);
}

/* Counts the CLOSE_STREAM of each stream in `out`. */
static void note_closes(const struct lab *l, unsigned *closes, uint64_t streams)
{
    for (uint64_t i = 1; i <= streams; i++) {
        closes[i] += lab_closes(l, i);
    }
}

/* More streams are to be closed than two `out` hold. One of those that wait for it goes by itself, and
 * another joins them. */
static void a_stream_that_goes_by_itself_is_not_closed_as_well(void **state)
{
    (void)state;
    enum { BOB = 2 * BK_SERVER_OUT_ACTIONS + 8, ALICES = BOB - 1 };
    for (uint64_t gone = BK_SERVER_OUT_ACTIONS + 1; gone <= ALICES; gone++) {
        struct lab *l = lab_new_with(10, BOB, 2);
        unsigned closes[BOB + 1] = {0};
        for (uint64_t i = 1; i <= BOB; i++) {
            lab_open(l, i, BK_ROLE_USER, 0, i == BOB ? "bob" : "alice");
        }
        revoke_user(l, "alice");
        note_closes(l, closes, BOB);
        lab_closed(l, gone);
        note_closes(l, closes, BOB);
        revoke_user(l, "bob");
        note_closes(l, closes, BOB);
        while (bk_server_deadline(l->server) <= l->now.mono) {
            lab_timer(l);
            note_closes(l, closes, BOB);
        }
        for (uint64_t i = 1; i <= BOB; i++) {
            assert_int_equal(closes[i], i != gone);
        }
        lab_free(l);
    }
}

static void on_a_stream_that_is_closing_nothing_more_is_said(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL);
    uint64_t found = lab_query(l);
    lookup(l, 1, 2134, NULL);
    uint64_t not_found = lab_query(l);
    revoke_user(l, "alice");
    assert_true(lab_closes(l, 1));
    lab_found(l, found, 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_found(l, not_found, BK_CODE_NOT_FOUND, 0);
    assert_int_equal(l->out.n, 0);

    lab_open(l, 2, BK_ROLE_NONE, 0, "");
    enrol(l, 2);
    uint64_t query = lab_must(l, BK_SERVER_ENROL, 0)->enrol.query;
    lab_message(l, 2, bk_slice_text("not a message"));
    assert_true(lab_closes(l, 2));
    enrolled(l, query, 0, 2133, 1, NULL);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void a_stream_number_in_use_is_not_opened_again(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL); /* it is still nobody's */
    assert_int_equal(lab_code(l, 1), BK_CODE_BAD_REQUEST);
    assert_null(lab_action(l, BK_SERVER_FIND_DEVICE));
    lab_free(l);
}

static void at_most_sixteen_enrolments_are_open_on_a_stream(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    for (int i = 0; i < 16; i++) {
        enrol(l, 1);
        (void)lab_must(l, BK_SERVER_ENROL, 0);
    }
    enrol(l, 1);
    assert_null(lab_action(l, BK_SERVER_ENROL));
    assert_int_equal(lab_code(l, 1), BK_CODE_OVERLOADED);
    lab_free(l);
}

/* What the store holds, and no message can. */
static void an_answer_too_large_to_send_is_an_error(void **state)
{
    (void)state;
    static const uint8_t large[BK_STUN_STREAM_MAX_BYTES + 1];
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL);
    struct bk_server_event e = {.type = BK_SERVER_DEVICE};
    e.device.query = lab_query(l);
    e.device.equipment_id = 2133;
    e.device.certificate = BK_SLICE_OF(large);
    e.device.box_key = bk_slice_text("box key");
    lab_input(l, &e);
    assert_int_equal(lab_code(l, 1), BK_CODE_OVERLOADED);

    lab_open(l, 2, BK_ROLE_NONE, 0, "");
    enrol(l, 2);
    uint64_t query = lab_must(l, BK_SERVER_ENROL, 0)->enrol.query;
    e = (struct bk_server_event){.type = BK_SERVER_ENROLLED};
    e.enrolled.query = query;
    e.enrolled.equipment_id = 2133;
    e.enrolled.generation = 1;
    e.enrolled.certificate = BK_SLICE_OF(large);
    e.enrolled.ca_certificate = bk_slice_text("ca");
    lab_input(l, &e);
    assert_int_equal(lab_code(l, 2), BK_CODE_OVERLOADED);
    lab_free(l);
}

static void an_answer_to_another_kind_of_question_is_dropped(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lookup(l, 1, 2133, NULL);
    enrolled(l, lab_query(l), 0, 2133, 2, NULL);
    assert_int_equal(l->out.n, 0);
    enrolled(l, 12345, 0, 2133, 2, NULL); /* never asked */
    assert_int_equal(l->out.n, 0);
    struct device d = device_new(l, 2133);
    device_register(l, &d); /* no generation was raised by it */

    lab_open(l, 2, BK_ROLE_NONE, 0, "");
    enrol(l, 2);
    lab_found(l, lab_must(l, BK_SERVER_ENROL, 0)->enrol.query, 0, 2133);
    assert_int_equal(l->out.n, 0);
    lab_free(l);
}

static void each_refusal_keeps_its_code(void **state)
{
    (void)state;
    static const uint16_t codes[] = {BK_CODE_FORBIDDEN, BK_CODE_NOT_FOUND, BK_CODE_TOKEN_USED,
                                     BK_CODE_REVOKED, BK_CODE_OVERLOADED};
    struct lab *l = lab_new();
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        enrol(l, 1);
        enrolled(l, lab_must(l, BK_SERVER_ENROL, 0)->enrol.query, codes[i], 0, 0, NULL);
        assert_int_equal(lab_code(l, 1), codes[i]);
        assert_false(lab_closes(l, 1)); /* another token may do */
    }
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_tells_certificate_and_where_the_device_is),
        cmocka_unit_test(lookup_hears_not_found_and_revoked),
        cmocka_unit_test(answers_for_a_stream_that_is_gone_are_dropped),
        cmocka_unit_test(at_most_sixteen_questions_are_open_on_a_stream),
        cmocka_unit_test(a_device_that_joins_gets_its_key_of_the_current_epoch),
        cmocka_unit_test(a_user_that_joins_gets_no_key),
        cmocka_unit_test(a_refused_enrolment_says_why),
        cmocka_unit_test(enrolling_again_ends_the_older_generation_at_once),
        cmocka_unit_test(an_enrolment_lifts_no_revocation_by_itself),
        cmocka_unit_test(whoever_says_what_is_not_his_is_sent_away),
        cmocka_unit_test(a_revoked_user_loses_his_streams_and_nobody_else_does),
        cmocka_unit_test(streams_beyond_the_limit_are_closed),
        cmocka_unit_test(a_stream_that_goes_by_itself_is_not_closed_as_well),
        cmocka_unit_test(on_a_stream_that_is_closing_nothing_more_is_said),
        cmocka_unit_test(a_stream_number_in_use_is_not_opened_again),
        cmocka_unit_test(at_most_sixteen_enrolments_are_open_on_a_stream),
        cmocka_unit_test(an_answer_too_large_to_send_is_an_error),
        cmocka_unit_test(an_answer_to_another_kind_of_question_is_dropped),
        cmocka_unit_test(each_refusal_keeps_its_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
