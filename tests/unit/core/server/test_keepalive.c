/* Quiet keepalives, and how long a row lives by the interval that its device announced. */
#include "core/server/fixture.h"

static bool is_live(struct lab *l, const struct device *d)
{
    struct bk_server_row row;
    lab_timer(l);
    return bk_server_find(l->server, d->id, &row);
}

static void a_quiet_keepalive_that_fits_refreshes_and_is_not_answered(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    d.quiet = true;
    for (int i = 0; i < 20; i++) {
        lab_pass(l, 25000);
        assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
        assert_int_equal(l->out.n, 0);
        assert_true(is_live(l, &d));
    }
    struct bk_server_row row;
    assert_true(bk_server_find(l->server, 2133, &row));
    assert_int_equal(row.last_seen, l->now.mono);
    d.quiet = false;
    assert_int_equal(device_send(l, &d, NULL, NULL), 0); /* the counter went along */
    lab_free(l);
}

/* The challenge, then the request with its nonce. */
static void comes_back(struct lab *l, struct device *d)
{
    char nonce[BK_NONCE_BYTES + 1];
    d->quiet = true;
    assert_int_equal(device_send(l, d, NULL, nonce), CHALLENGED);
    d->quiet = false;
    assert_int_equal(device_send(l, d, nonce, NULL), 0);
    d->quiet = true;
    assert_int_equal(device_send(l, d, NULL, NULL), SILENCE);
}

static void one_that_does_not_fit_is_challenged_and_changes_nothing(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.quiet = true;
    assert_int_equal(device_send(l, &d, NULL, NULL), CHALLENGED); /* no row */
    assert_int_equal(bk_server_rows(l->server), 0);
    comes_back(l, &d);

    struct bk_addr old = d.addr;
    d.addr.port++;
    assert_int_equal(device_send(l, &d, NULL, NULL), CHALLENGED); /* moved */
    assert_true(device_is_at(l, &d, old));
    comes_back(l, &d);
    assert_true(device_is_at(l, &d, d.addr));

    d.tag = (struct bk_tag){.random = 77};
    comes_back(l, &d); /* another run of the agent */
    d.local++;
    comes_back(l, &d);
    device_rekey(l, &d, EPOCH, 2);
    comes_back(l, &d);
    lab_free(l);
}

static void a_replayed_one_does_not_keep_a_row_alive(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    d.quiet = true;
    d.tag.counter++;
    uint8_t buf[256];
    struct bk_slice b = device_write(l, &d, NULL, buf, sizeof(buf));
    lab_datagram(l, d.local, d.addr, b);
    assert_int_equal(l->out.n, 0);
    lab_pass(l, 50000);
    lab_datagram(l, d.local, d.addr, b);
    struct bk_register_answer a;
    assert_int_equal(device_answer(l, &d, b.n, &a), CHALLENGED);
    lab_pass(l, 41000);
    assert_false(is_live(l, &d));
    lab_free(l);
}

static void a_forged_one_is_not_answered(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    struct device forger = d;
    forger.quiet = true;
    forger.key[3] ^= 1;
    assert_int_equal(device_send(l, &forger, NULL, NULL), SILENCE);
    forger.addr.port++; /* silence, not "it fits": elsewhere it would be challenged */
    assert_int_equal(device_send(l, &forger, NULL, NULL), SILENCE);
    lab_pass(l, (BK_SERVER_EXPIRY_S + 1) * 1000);
    assert_false(is_live(l, &d));
    lab_free(l);
}

/* Its device must hear RENEW, which only an answer can say; but it is not lost where the challenge is. */
static void under_an_old_epoch_it_counts_and_is_challenged(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_rekey(l, &d, OLD_EPOCH, 1);
    device_register(l, &d);
    lab_pass(l, 80000);
    d.quiet = true;
    assert_int_equal(device_send(l, &d, NULL, NULL), CHALLENGED);
    lab_pass(l, 80000);
    assert_true(is_live(l, &d));
    d.quiet = false;
    d.tag.counter++;
    uint8_t buf[256];
    struct bk_slice b = device_write(l, &d, NULL, buf, sizeof(buf));
    lab_datagram(l, d.local, d.addr, b);
    struct bk_register_answer a;
    assert_int_equal(device_answer(l, &d, b.n, &a), 0);
    assert_true(a.renew);
    lab_free(l);
}

static void a_revoked_device_is_challenged_so_that_it_asks_and_hears_403(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    device_register(l, &d);
    lab_exception(l, 2133, 0, true);
    char nonce[BK_NONCE_BYTES + 1];
    d.quiet = true;
    assert_int_equal(device_send(l, &d, NULL, nonce), CHALLENGED);
    d.quiet = false;
    assert_int_equal(device_send(l, &d, nonce, NULL), BK_CODE_FORBIDDEN);
    assert_int_equal(bk_server_rows(l->server), 0);
    lab_free(l);
}

static void a_row_lives_as_its_interval_says(void **state)
{
    (void)state;
    static const struct {
        uint16_t interval_s;
        uint32_t lives_s;
    } rows[] = {{0, 90},   {1, 90},    {25, 90},    {26, 225},  {60, 225},
                {61, 450}, {120, 450}, {121, 1080}, {300, 1080}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lab *l = lab_new();
        struct device d = device_new(l, 2133);
        d.interval_s = rows[i].interval_s;
        device_register(l, &d);
        lab_pass(l, rows[i].lives_s * UINT64_C(1000));
        assert_true(is_live(l, &d));
        lab_pass(l, 1000);
        assert_false(is_live(l, &d));
        lab_pass(l, 40000);
        for (int n = 0; n < 3; n++) {
            lab_timer(l);
            lab_pass(l, 1000);
        }
        assert_int_equal(bk_server_rows(l->server), 0); /* swept, too */
        lab_free(l);
    }
}

static void the_newest_interval_counts(void **state)
{
    (void)state;
    struct lab *l = lab_new();
    struct device d = device_new(l, 2133);
    d.interval_s = 300;
    device_register(l, &d);
    d.interval_s = 25;
    d.quiet = true;
    assert_int_equal(device_send(l, &d, NULL, NULL), SILENCE);
    lab_pass(l, 91000);
    assert_false(is_live(l, &d));
    d.quiet = false;
    device_register(l, &d);
    d.interval_s = 120;
    assert_int_equal(device_send(l, &d, NULL, NULL), 0);
    lab_pass(l, 450000);
    assert_true(is_live(l, &d));
    lab_free(l);
}

/* The interval shares its byte with epoch and serial: neither leaks into the other. */
static void a_change_of_the_interval_spends_a_nonce_and_epochs_stay_what_they_are(void **state)
{
    (void)state;
    static const uint16_t intervals[] = {25, 60, 120, 300};
    for (size_t i = 0; i < 4; i++) {
        struct lab *l = lab_new();
        struct device d = device_new(l, 2133);
        struct bk_server_row row;
        d.interval_s = intervals[i];
        for (int n = 0; n < 40; n++) { /* round the serial more than once */
            d.tag.random++;
            device_register(l, &d);
        }
        assert_true(bk_server_find(l->server, 2133, &row));
        assert_int_equal(row.epoch, EPOCH);
        assert_false(row.by_stream);

        struct device other = d;
        char nonce[BK_NONCE_BYTES + 1];
        other.tag.random++;
        assert_int_equal(device_send(l, &other, NULL, nonce), BK_CODE_STALE_NONCE);
        d.interval_s = intervals[(i + 1) % 4];
        d.tag.counter++;
        assert_int_equal(device_send(l, &d, NULL, NULL), 0);
        assert_int_equal(device_send(l, &other, nonce, NULL), BK_CODE_STALE_NONCE);
        lab_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_keepalive_that_fits_refreshes_and_is_not_answered),
        cmocka_unit_test(one_that_does_not_fit_is_challenged_and_changes_nothing),
        cmocka_unit_test(a_replayed_one_does_not_keep_a_row_alive),
        cmocka_unit_test(a_forged_one_is_not_answered),
        cmocka_unit_test(under_an_old_epoch_it_counts_and_is_challenged),
        cmocka_unit_test(a_revoked_device_is_challenged_so_that_it_asks_and_hears_403),
        cmocka_unit_test(a_row_lives_as_its_interval_says),
        cmocka_unit_test(the_newest_interval_counts),
        cmocka_unit_test(a_change_of_the_interval_spends_a_nonce_and_epochs_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
