/* The master keys change while the server runs: old registrations are accepted and told to renew, gone ones are
 * forgotten, and nothing is ever sent under a key that has gone. */
#include "core/server/call_lab.h"

static const struct bk_master_key current = {.epoch = EPOCH, .key = {1}};
static const struct bk_master_key next = {.epoch = EPOCH + 1, .key = {2}};
static const struct bk_master_key same_slot = {.epoch = EPOCH + 4, .key = {3}};

static void set(struct lab *l, const struct bk_master_key *a, const struct bk_master_key *b)
{
    struct bk_master_key m[2] = {*a};
    if (b) {
        m[1] = *b;
    }
    assert_int_equal(bk_server_set_masters(l->server, m, b ? 2 : 1), BK_OK);
    memcpy(l->config.master, m, sizeof(m));
    l->config.n_master = b ? 2 : 1;
}

static void key_under(struct lab *l, struct device *d, const struct bk_master_key *m)
{
    d->epoch = m->epoch;
    bk_registration_key(&l->config.mac, m->key, d->id, d->generation, d->key);
}

static struct lab *lab_of(const struct bk_master_key *m)
{
    struct lab *l = lab_new();
    set(l, m, NULL);
    lab_pass(l, 60000);
    return l;
}

static struct device device_of(struct lab *l, uint64_t id, const struct bk_master_key *m)
{
    struct device d = device_new(l, id);
    key_under(l, &d, m);
    return d;
}

/* The device's keepalive: its code, and whether it was told to renew. */
static int keepalive(struct lab *l, struct device *d, bool *renew)
{
    uint8_t buf[256];
    d->tag.counter++;
    struct bk_slice b = device_write(l, d, NULL, buf, sizeof(buf));
    lab_datagram(l, d->local, d->addr, b);
    struct bk_register_answer a = {0};
    int code = device_answer(l, d, b.n, &a);
    *renew = a.renew;
    return code;
}

static void an_old_epoch_is_accepted_and_told_to_renew(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    bool renew = true;
    device_register(l, &d);
    assert_int_equal(keepalive(l, &d, &renew), 0);
    assert_false(renew);
    set(l, &next, &current);
    assert_true(device_is_at(l, &d, d.addr)); /* its place in the list changed, the row lives on */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(keepalive(l, &d, &renew), 0);
        assert_true(renew);
    }
    /* Over IPv6 too the answer is no larger than the request. */
    struct device six = device_of(l, 2134, &current);
    assert_int_equal(bk_addr_parse(bk_slice_text("[2a00::7]:4242"), 0, &six.addr), BK_OK);
    device_register(l, &six);
    assert_int_equal(keepalive(l, &six, &renew), 0);
    assert_true(renew);
    /* With the new key it proves itself once more, and is not told again. */
    struct bk_server_row row;
    assert_true(bk_server_find(l->server, d.id, &row));
    assert_int_equal(row.epoch, EPOCH);
    key_under(l, &d, &next);
    device_register(l, &d);
    assert_true(bk_server_find(l->server, d.id, &row));
    assert_int_equal(row.epoch, EPOCH + 1);
    assert_int_equal(keepalive(l, &d, &renew), 0);
    assert_false(renew);
    lab_free(l);
}

static void an_epoch_that_has_gone_is_not_answered_and_its_rows_are_dropped(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device old = device_of(l, 2133, &current);
    struct device renewed = device_of(l, 2134, &current);
    device_register(l, &old);
    device_register(l, &renewed);
    set(l, &next, &current);
    key_under(l, &renewed, &next);
    device_register(l, &renewed);
    set(l, &next, NULL);
    struct bk_server_row row;
    assert_false(bk_server_find(l->server, old.id, &row));
    uint64_t cursor = 0;
    assert_true(bk_server_next(l->server, &cursor, &row));
    assert_int_equal(row.equipment_id, renewed.id);
    assert_false(bk_server_next(l->server, &cursor, &row));
    assert_int_equal(device_send(l, &old, NULL, NULL), SILENCE);
    bool renew = true;
    assert_int_equal(keepalive(l, &renewed, &renew), 0);
    assert_false(renew);
    lab_timer(l);
    assert_int_equal(bk_server_rows(l->server), 1);
    lab_free(l);
}

/* The new epoch has the same two bits as the one that went. */
static void rows_are_not_inherited_by_an_epoch_in_the_same_place(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    device_register(l, &d);
    set(l, &same_slot, NULL);
    assert_false(device_is_at(l, &d, d.addr));
    lab_open(l, 1, BK_ROLE_USER, 0, "alice");
    lab_connect(l, 1, 2133, 1);
    lab_found(l, lab_query(l), 0, 2133);
    assert_int_equal(lab_count(l, BK_SERVER_SEND_DATAGRAM), 0);
    /* A registration in the very second of the change counts. */
    key_under(l, &d, &same_slot);
    device_register(l, &d);
    assert_true(device_is_at(l, &d, d.addr));
    bool renew = true;
    assert_int_equal(keepalive(l, &d, &renew), 0);
    lab_pass(l, BK_SERVER_EXPIRY_S * 1000);
    lab_input(l, &(struct bk_server_event){.type = BK_SERVER_STREAM_CLOSED});
    assert_true(device_is_at(l, &d, d.addr));
    lab_pass(l, 2000);
    lab_input(l, &(struct bk_server_event){.type = BK_SERVER_STREAM_CLOSED});
    assert_false(device_is_at(l, &d, d.addr));
    lab_free(l);
}

/* The same epoch number under another key, as after a state directory was lost. */
static void another_key_of_the_same_number_is_another_epoch(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct bk_master_key other = {.epoch = EPOCH, .key = {9}};
    struct device d = device_of(l, 2133, &current);
    device_register(l, &d);
    set(l, &other, NULL);
    assert_false(device_is_at(l, &d, d.addr));
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_free(l);
}

static void setting_the_same_again_changes_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    device_register(l, &d);
    for (int i = 0; i < 10; i++) {
        set(l, &current, NULL);
        set(l, &current, &next);
        assert_true(device_is_at(l, &d, d.addr));
        bool renew = true;
        assert_int_equal(keepalive(l, &d, &renew), 0);
        assert_false(renew);
    }
    lab_free(l);
}

static void a_call_that_waits_is_not_notified_under_a_key_that_has_gone(void **state)
{
    (void)state;
    struct call_lab c = call_lab_new();
    struct lab *l = c.l;
    ring(&c, 1);
    set(l, &next, NULL);
    for (int i = 0; i < 20; i++) {
        lab_pass(l, 250);
        lab_timer(l);
        assert_int_equal(lab_count(l, BK_SERVER_SEND_DATAGRAM), 0);
    }
    /* Its answer to the one before counts no more, and hurts nobody. */
    answer_notify(&c, c.d.addr, c.d.local);
    /* The renewed device is notified at once, under its new key. */
    key_under(l, &c.d, &next);
    char nonce[BK_NONCE_BYTES + 1];
    assert_int_equal(device_send(l, &c.d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(l, &c.d, nonce, NULL), 0);
    const struct bk_server_action *a = lab_must(l, BK_SERVER_SEND_DATAGRAM, 1);
    struct bk_stun m;
    struct bk_notify in;
    assert_int_equal(bk_stun_read(a->datagram.bytes, &m), BK_OK);
    assert_int_equal(bk_notify_read(&m, &l->config.mac, BK_SLICE_OF(c.d.key), &in), BK_OK);
    lab_free(l);
}

static void enrolments_and_rotations_use_the_current_epoch(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    set(l, &next, &current);
    lab_open(l, 1, BK_ROLE_NONE, 0, "");
    uint8_t buf[256];
    uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_enrol in = {.token = bk_slice("0123456789abcdef", BK_TOKEN_SECRET_BYTES),
                          .csr = bk_slice_text("request"),
                          .box_key = bk_slice_text("box")};
    struct bk_slice b;
    assert_int_equal(bk_enrol_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(l, 1, b);
    struct bk_server_event e = {.type = BK_SERVER_ENROLLED};
    e.enrolled.query = lab_must(l, BK_SERVER_ENROL, 0)->enrol.query;
    e.enrolled.equipment_id = 2133;
    e.enrolled.generation = 1;
    e.enrolled.certificate = bk_slice_text("certificate");
    e.enrolled.ca_certificate = bk_slice_text("authority");
    lab_input(l, &e);
    struct bk_stun m;
    struct bk_enrol_answer a;
    struct device d = device_of(l, 2133, &next);
    assert_true(lab_said(l, 1, &m));
    assert_int_equal(bk_enrol_answer_read(&m, &a), BK_OK);
    assert_int_equal(a.epoch, next.epoch);
    assert_true(bk_slice_equal(a.registration_key, BK_SLICE_OF(d.key)));
    lab_free(l);
}

static void epochs_that_cannot_be_told_apart_are_refused(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    device_register(l, &d);
    struct bk_master_key m[5] = {current, same_slot, next};
    assert_int_equal(bk_server_set_masters(l->server, m, 2), BK_E_RANGE);
    assert_int_equal(bk_server_set_masters(l->server, m, 0), BK_E_RANGE);
    assert_int_equal(bk_server_set_masters(l->server, m, 5), BK_E_RANGE);
    assert_true(device_is_at(l, &d, d.addr)); /* nothing has changed */
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    struct bk_server *s = NULL;
    struct bk_server_config config = l->config;
    config.n_master = 2;
    config.master[1] = same_slot;
    assert_int_equal(bk_server_new(&config, &l->now, &s), BK_E_RANGE);
    for (uint16_t i = 0; i < 4; i++) {
        m[i].epoch = (uint16_t)(0xFFFE + i); /* numbers wrap */
    }
    assert_int_equal(bk_server_set_masters(l->server, m, 4), BK_OK);
    lab_free(l);
}

/* Rotations in one second come back to the place of the first: its rows are no more. */
static void many_changes_at_one_moment_do_not_bring_a_row_back(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    for (uint16_t i = 1; i <= 20; i++) {
        struct bk_master_key m = {.epoch = (uint16_t)(EPOCH + 4 * i), .key = {(uint8_t)(9 + i)}};
        set(l, &m, NULL);
        assert_false(device_is_at(l, &d, d.addr));
        key_under(l, &d, &m);
        device_register(l, &d);
        assert_true(device_is_at(l, &d, d.addr));
    }
    lab_free(l);
}

/* 64 rotations, one a minute, with a device that always follows in time. */
static void a_device_that_follows_is_never_lost(void **state)
{
    (void)state;
    struct lab *l = lab_of(&current);
    struct device d = device_of(l, 2133, &current);
    struct bk_master_key before = current;
    device_register(l, &d);
    for (uint16_t i = 1; i <= 64; i++) {
        struct bk_master_key m = {.epoch = (uint16_t)(EPOCH + i), .key = {(uint8_t)(7 + i)}};
        bool renew = false;
        set(l, &m, &before);
        assert_int_equal(keepalive(l, &d, &renew), 0);
        assert_true(renew);
        assert_true(device_is_at(l, &d, d.addr));
        key_under(l, &d, &m);
        device_register(l, &d);
        set(l, &m, NULL);
        assert_true(device_is_at(l, &d, d.addr));
        before = m;
        lab_pass(l, i % 2 == 0 ? 60000 : 0);
    }
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_epoch_is_accepted_and_told_to_renew),
        cmocka_unit_test(an_epoch_that_has_gone_is_not_answered_and_its_rows_are_dropped),
        cmocka_unit_test(rows_are_not_inherited_by_an_epoch_in_the_same_place),
        cmocka_unit_test(another_key_of_the_same_number_is_another_epoch),
        cmocka_unit_test(setting_the_same_again_changes_nothing),
        cmocka_unit_test(a_call_that_waits_is_not_notified_under_a_key_that_has_gone),
        cmocka_unit_test(enrolments_and_rotations_use_the_current_epoch),
        cmocka_unit_test(epochs_that_cannot_be_told_apart_are_refused),
        cmocka_unit_test(many_changes_at_one_moment_do_not_bring_a_row_back),
        cmocka_unit_test(a_device_that_follows_is_never_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
