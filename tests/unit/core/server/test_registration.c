/* REGISTER: what changes a row, what only earns a nonce, and what is not answered at all. */
#include "core/server/fixture.h"

static void a_new_device_is_registered_only_after_it_returned_the_nonce(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(device_send(l, &d, nonce, NULL), 0);
    assert_int_equal(bk_server_rows(l->server), 1);
    assert_true(device_is_at(l, &d, d.addr));
    lab_free(l);
}

enum {
    KEEPALIVE_MAX = 256,
};

/* Returns the keepalive, which has been sent and lies in `buf`. */
static struct bk_slice register_and_keep_alive(struct lab *l, struct device *d,
                                               uint8_t buf[KEEPALIVE_MAX])
{
    device_register(l, d);
    d->tag.counter++;
    struct bk_slice b = device_write(l, d, NULL, buf, KEEPALIVE_MAX);
    lab_datagram(l, d->local, d->addr, b);
    return b;
}

static void the_answer_tells_address_and_time(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[KEEPALIVE_MAX];
    struct bk_slice b = register_and_keep_alive(l, &d, buf);
    struct bk_register_answer a;
    assert_int_equal(device_answer(l, &d, b.n, &a), 0);
    assert_true(bk_addr_equal(&a.mapped, &d.addr));
    assert_int_equal(a.unix_s, l->now.unix_s);
    lab_free(l);
}

static void a_keepalive_that_fits_is_applied_at_once(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    for (int i = 0; i < 20; i++) { /* 500 s, far past the expiry of an unrefreshed row */
        lab_pass(l, 25000);
        assert_int_equal(device_send(l, &d, NULL, NULL), 0);
        lab_timer(l);
    }
    struct bk_server_row row;
    assert_true(bk_server_find(l->server, 2133, &row));
    assert_int_equal(row.last_seen, l->now.mono);
    lab_free(l);
}

static void a_replay_changes_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[KEEPALIVE_MAX];
    struct bk_slice b = register_and_keep_alive(l, &d, buf);
    lab_pass(l, 50000);
    lab_datagram(l, d.local, d.addr, b); /* same bytes, same place: an attacker keeps it alive */
    struct bk_register_answer a;
    assert_int_equal(device_answer(l, &d, b.n, &a), BK_CODE_STALE_NONCE);
    lab_pass(l, 41000);
    lab_timer(l);
    struct bk_server_row row;
    assert_false(bk_server_find(l->server, 2133, &row));
    lab_free(l);
}

static void a_moved_device_gets_a_nonce_first(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct bk_addr old = d.addr;
    struct bk_addr moved[] = {bk_addr_v4(202, 204, 16, 13, 3401),
                              bk_addr_v4(202, 204, 16, 14, 3400),
                              bk_addr_v4(202, 204, 16, 15, 3400)};
    for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
        char nonce[BK_NONCE_BYTES + 1];
        d.addr = moved[i];
        assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
        assert_true(device_is_at(l, &d, old));
        assert_int_equal(device_send(l, &d, nonce, NULL), 0);
        assert_true(device_is_at(l, &d, moved[i]));
        assert_int_equal(bk_server_rows(l->server), 1);
        old = moved[i];
    }
    lab_free(l);
}

static void another_socket_of_the_server_is_a_move_too(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    d.local = 3;
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_STALE_NONCE);
    device_register(l, &d);
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    lab_free(l);
}

static void an_agent_that_lost_its_state_is_not_locked_out(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.tag.counter = 500;
    device_register(l, &d);
    d.tag = (struct bk_tag){.random = 99, .counter = 0};
    device_register(l, &d); /* asserts: nonce, then success */
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    lab_free(l);
}

static void a_late_message_of_the_same_run_moves_nothing_even_with_a_nonce(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.tag.counter = 10;
    device_register(l, &d);
    struct bk_addr here = d.addr;
    struct device late = d;
    late.addr.port = 9;
    late.tag.counter = 5;
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &late, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &late, nonce, NULL), BK_CODE_STALE_NONCE);
    assert_true(device_is_at(l, &d, here));
    lab_free(l);
}

static void a_nonce_works_once(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &d, nonce, NULL), 0);
    /* The same run at the same place would be a plain keepalive: only another run can try it. */
    d.tag.random++;
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_nonce_that_changes_nothing_works_once_too(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    char nonce[BK_NONCE_BYTES + 1];
    d.tag.counter--; /* the sender raises it: the same counter again */
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    d.tag.counter--;
    assert_int_equal(device_send(l, &d, nonce, NULL), 0);
    d.tag.counter--;
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_nonce_dies_with_any_change_of_the_row(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct device restarted = d;
    restarted.tag = (struct bk_tag){.random = 1};
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &restarted, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &d, NULL, NULL), 0); /* one plain keepalive between */
    assert_int_equal(device_send(l, &restarted, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_nonce_is_good_for_its_own_sender_only(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);

    struct device elsewhere = d;
    elsewhere.addr.port++;
    assert_int_equal(device_send(l, &elsewhere, nonce, NULL), BK_CODE_STALE_NONCE);
    elsewhere = d;
    elsewhere.addr.ip[15]++;
    assert_int_equal(device_send(l, &elsewhere, nonce, NULL), BK_CODE_STALE_NONCE);
    elsewhere = d;
    elsewhere.local++;
    assert_int_equal(device_send(l, &elsewhere, nonce, NULL), BK_CODE_STALE_NONCE);
    struct device other = device_new(l, 2134);
    assert_int_equal(device_send(l, &other, nonce, NULL), BK_CODE_STALE_NONCE);
    device_rekey(l, &other, EPOCH, 2);
    other = d;
    device_rekey(l, &other, EPOCH, 2);
    assert_int_equal(device_send(l, &other, nonce, NULL), BK_CODE_STALE_NONCE);

    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(device_send(l, &d, nonce, NULL), 0);
    lab_free(l);
}

static void a_nonce_lives_five_seconds_and_not_longer(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    lab_pass(l, NONCE_LIFE_S * 1000);
    assert_int_equal(device_send(l, &d, nonce, NULL), 0);
    d.tag.random++;
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    lab_pass(l, (NONCE_LIFE_S + 1) * 1000);
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_nonce_does_not_come_back_when_its_time_field_wraps(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    lab_pass(l, UINT64_C(0x1000000) * 1000);
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_nonce_of_an_earlier_start_is_worth_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d, NULL, nonce), BK_CODE_STALE_NONCE);
    bk_server_free(l->server);
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void a_wrong_mac_is_not_answered(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct bk_addr here = d.addr;
    struct device forger = d;
    forger.key[31] ^= 1;
    forger.addr.port = 1;
    assert_int_equal(device_send(l, &forger, NULL, NULL), SILENCE);
    forger.addr = here;
    forger.tag.counter = 1000;
    assert_int_equal(device_send(l, &forger, NULL, NULL), SILENCE);
    assert_int_equal(device_send(l, &d, NULL, NULL), 0); /* the counter was not taken */
    lab_free(l);
}

/* A FINGERPRINT is not covered by the MAC: who may change it has changed the datagram all the same. */
static void a_wrong_fingerprint_is_not_answered(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    uint8_t buf[256];
    struct bk_slice b = device_write(l, &d, NULL, buf, sizeof(buf));
    buf[b.n - 1] ^= 1;
    lab_datagram(l, d.local, d.addr, b);
    assert_int_equal(l->out.n, 0);
    buf[b.n - 1] ^= 1;
    lab_datagram(l, d.local, d.addr, b);
    assert_int_equal(l->out.n, 1);
    lab_free(l);
}

/* HMAC-SHA-256 of the label, 2133 as 64 bits and 3 as 32, under 32 bytes of 0xA7. */
static void the_registration_key_is_of_device_generation_and_epoch(void **state)
{
    (void)state;
    static const uint8_t right[BK_KEY_BYTES] = {0x88, 0x60, 0x5e, 0xd0, 0x8c, 0x05, 0xe6, 0x5f,
                                                0x91, 0x7f, 0x74, 0xe2, 0xd7, 0xcf, 0xd6, 0xbd,
                                                0xde, 0x60, 0xd8, 0x5e, 0x5d, 0x77, 0x4f, 0x0e,
                                                0x42, 0xfd, 0x6e, 0xc5, 0x22, 0x2f, 0x20, 0xa4};
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_rekey(l, &d, EPOCH, 3);
    assert_memory_equal(d.key, right, sizeof(right));
    device_rekey(l, &d, EPOCH, 2);
    d.generation = 3; /* the key of a predecessor */
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_free(l);
}

static void another_generation_is_no_plain_keepalive(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    device_rekey(l, &d, EPOCH, 2); /* same place, same run, next counter */
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_STALE_NONCE);
    lab_free(l);
}

static void the_key_of_one_device_does_not_speak_for_another(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.id = 2134;
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_free(l);
}

static void an_older_epoch_is_accepted_and_an_unknown_one_is_not(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_rekey(l, &d, OLD_EPOCH, 1);
    device_register(l, &d);
    device_rekey(l, &d, EPOCH, 1);
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_STALE_NONCE); /* other epoch: no fit */
    device_register(l, &d);
    d.epoch = 5;
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_free(l);
}

static void a_revoked_device_hears_403_with_integrity_and_its_row_goes(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    lab_exception(l, 2133, 0, true);
    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(device_send(l, &d, NULL, NULL), BK_CODE_FORBIDDEN);
    struct device forger = d;
    forger.key[0] ^= 1;
    assert_int_equal(device_send(l, &forger, NULL, NULL), SILENCE);
    lab_exception(l, 2133, 0, false);
    device_register(l, &d);
    lab_free(l);
}

static void a_replaced_device_does_not_speak_for_its_successor(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device stolen = device_new(l, 2133);
    device_register(l, &stolen);
    lab_exception(l, 2133, 2, false);
    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(device_send(l, &stolen, NULL, NULL), BK_CODE_FORBIDDEN);
    struct device successor = device_new(l, 2133);
    device_rekey(l, &successor, EPOCH, 2);
    device_register(l, &successor);
    lab_exception(l, 2133, 2, false); /* a reload tells it again: nothing happens */
    assert_int_equal(bk_server_rows(l->server), 1);
    assert_int_equal(device_send(l, &successor, NULL, NULL), 0);
    lab_free(l);
}

static void a_row_not_refreshed_is_absent_at_once_and_swept_soon(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct bk_server_row row;
    lab_pass(l, BK_SERVER_EXPIRY_S * 1000);
    lab_timer(l);
    assert_true(bk_server_find(l->server, 2133, &row));
    lab_pass(l, 1000);
    uint8_t junk = 0;
    lab_datagram(l, 0, d.addr, bk_slice(&junk, 1));
    assert_false(bk_server_find(l->server, 2133, &row));
    uint64_t cursor = 0;
    assert_false(bk_server_next(l->server, &cursor, &row));
    assert_int_equal(bk_server_rows(l->server), 1);
    for (int i = 0; i < 40 && bk_server_rows(l->server) > 0; i++) {
        l->now.mono = bk_server_deadline(l->server) > l->now.mono ? bk_server_deadline(l->server)
                                                                  : l->now.mono;
        lab_timer(l);
    }
    assert_int_equal(bk_server_rows(l->server), 0);
    assert_int_equal(bk_server_deadline(l->server), BK_TIME_NEVER);
    lab_free(l);
}

static void an_expired_row_still_in_the_table_is_taken_over_by_nonce(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    lab_pass(l, (BK_SERVER_EXPIRY_S + 1) * 1000);
    device_register(l, &d); /* nonce, then success */
    assert_int_equal(bk_server_rows(l->server), 1);
    lab_free(l);
}

static void beyond_max_devices_nobody_new_is_registered(void **state)
{
    (void)state;
    struct lab *l = lab_new_with(2, 4, 4);
    struct device d[3] = {device_new(l, 1), device_new(l, 2), device_new(l, 3)};
    device_register(l, &d[0]);
    device_register(l, &d[1]);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &d[2], NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &d[2], nonce, NULL), SILENCE);
    assert_int_equal(bk_server_rows(l->server), 2);
    assert_int_equal(device_send(l, &d[0], NULL, NULL), 0);
    lab_free(l);
}

static void ipv6_devices_get_answers_that_fit_too(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    assert_int_equal(bk_addr_parse(bk_slice_text("[2a00::1]:2000"), 0, &d.addr), BK_OK);
    device_register(l, &d);
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    lab_free(l);
}

static void the_table_can_be_walked(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d[4];
    struct bk_server_row row;
    for (size_t i = 0; i < 4; i++) {
        d[i] = device_new(l, 11 + i);
        d[i].addr.port = (uint16_t)(3400 + i);
        device_register(l, &d[i]);
        lab_pass(l, 1000);
    }
    lab_exception(l, 12, 0, true); /* leaves a hole */
    lab_pass(l, (BK_SERVER_EXPIRY_S - 3) * 1000);
    lab_timer(l); /* the first has expired, the last two have not */
    bool seen[4] = {false};
    for (uint64_t cursor = 0; bk_server_next(l->server, &cursor, &row);) {
        assert_in_range(row.equipment_id, 11, 14);
        size_t i = (size_t)(row.equipment_id - 11);
        assert_false(seen[i]);
        seen[i] = true;
        assert_true(bk_addr_equal(&row.addr, &d[i].addr));
        assert_int_equal(row.last_seen, (1000 + i) * BK_SECOND);
    }
    assert_true(!seen[0] && !seen[1] && seen[2] && seen[3]);
    lab_free(l);
}

static void what_is_no_nonce_at_all_gets_a_new_one(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    assert_int_equal(device_send(l, &d, "!!!!!!!!!!!!!!!!!!!!", NULL), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &d, "AAAAAAAAAAAAAAAAAAAA", NULL), BK_CODE_STALE_NONCE);
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_device_is_registered_only_after_it_returned_the_nonce),
        cmocka_unit_test(the_answer_tells_address_and_time),
        cmocka_unit_test(a_keepalive_that_fits_is_applied_at_once),
        cmocka_unit_test(a_replay_changes_nothing),
        cmocka_unit_test(a_moved_device_gets_a_nonce_first),
        cmocka_unit_test(another_socket_of_the_server_is_a_move_too),
        cmocka_unit_test(an_agent_that_lost_its_state_is_not_locked_out),
        cmocka_unit_test(a_late_message_of_the_same_run_moves_nothing_even_with_a_nonce),
        cmocka_unit_test(a_nonce_works_once),
        cmocka_unit_test(a_nonce_that_changes_nothing_works_once_too),
        cmocka_unit_test(a_nonce_dies_with_any_change_of_the_row),
        cmocka_unit_test(a_nonce_is_good_for_its_own_sender_only),
        cmocka_unit_test(a_nonce_lives_five_seconds_and_not_longer),
        cmocka_unit_test(a_nonce_does_not_come_back_when_its_time_field_wraps),
        cmocka_unit_test(a_nonce_of_an_earlier_start_is_worth_nothing),
        cmocka_unit_test(a_wrong_mac_is_not_answered),
        cmocka_unit_test(a_wrong_fingerprint_is_not_answered),
        cmocka_unit_test(the_registration_key_is_of_device_generation_and_epoch),
        cmocka_unit_test(another_generation_is_no_plain_keepalive),
        cmocka_unit_test(the_key_of_one_device_does_not_speak_for_another),
        cmocka_unit_test(an_older_epoch_is_accepted_and_an_unknown_one_is_not),
        cmocka_unit_test(a_revoked_device_hears_403_with_integrity_and_its_row_goes),
        cmocka_unit_test(a_replaced_device_does_not_speak_for_its_successor),
        cmocka_unit_test(a_row_not_refreshed_is_absent_at_once_and_swept_soon),
        cmocka_unit_test(an_expired_row_still_in_the_table_is_taken_over_by_nonce),
        cmocka_unit_test(beyond_max_devices_nobody_new_is_registered),
        cmocka_unit_test(ipv6_devices_get_answers_that_fit_too),
        cmocka_unit_test(the_table_can_be_walked),
        cmocka_unit_test(what_is_no_nonce_at_all_gets_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
