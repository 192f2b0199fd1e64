/* REGISTER at fixed places: never another answer than the general reader and writer give. */
#include "support.h"

#include "wire/register_quick.h"

enum { SAMPLES = 6 };

static struct bk_slice write_sample(int i, uint8_t buf[256])
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_register in = {.quiet = i % 3 == 2,
                             .equipment_id = i < 3 ? 2133 : BK_EQUIPMENT_ID_MAX,
                             .generation = i < 3 ? 7 : UINT32_MAX,
                             .epoch = i < 3 ? 3 : UINT16_MAX,
                             .interval_s = i < 3 ? 25 : BK_REGISTER_INTERVAL_MAX_S,
                             .tag = {UINT64_C(0x1122334455667788) + (uint64_t)i, 9},
                             .nonce = i % 3 == 1 ? text("abcdefghijklmnopqrst") : BK_SLICE_EMPTY};
    struct bk_slice out;
    assert_int_equal(bk_register_write(buf, 256, txid, &in, &mac, test_key(), &out), BK_OK);
    return out;
}

static bool same(const struct bk_register *a, const struct bk_register *b)
{
    return a->quiet == b->quiet && a->equipment_id == b->equipment_id &&
           a->generation == b->generation && a->epoch == b->epoch &&
           a->interval_s == b->interval_s && a->tag.random == b->tag.random &&
           a->tag.counter == b->tag.counter && bk_slice_equal(a->nonce, b->nonce);
}

static struct bk_mac_key ready_key(const struct bk_mac_ops *mac)
{
    struct bk_mac_key key;
    bk_mac_prepare(mac, test_key().p, &key);
    return key;
}

/* Whatever it takes the general one takes, and understands alike; fingerprint and integrity too. */
static bool agrees(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_mac_key key = ready_key(&mac);
    struct bk_register quick, general;
    struct bk_stun m;
    if (!bk_register_quick_read(bytes, &quick)) {
        return false;
    }
    assert_int_equal(bk_stun_read(bytes, &m), BK_OK);
    assert_int_equal(bk_register_read(&m, &general), BK_OK);
    assert_true(same(&quick, &general));
    assert_int_equal(bk_register_quick_fingerprint(bytes), bk_stun_check_fingerprint(&m) == BK_OK);
    assert_int_equal(bk_register_quick_integrity(bytes, &mac, &key),
                     bk_stun_check_sha256(&m, &mac, test_key(), BK_STUN_SHORT_MAC_BYTES) == BK_OK);
    assert_true(bk_register_quick_device(bytes) == quick.equipment_id);
    return true;
}

static void what_devices_write_is_read(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_mac_key key = ready_key(&mac);
    for (int i = 0; i < SAMPLES; i++) {
        uint8_t buf[256];
        struct bk_slice out = write_sample(i, buf);
        assert_true(agrees(out));
        assert_true(bk_register_quick_fingerprint(out));
        assert_true(bk_register_quick_integrity(out, &mac, &key));
    }
}

static void every_changed_byte_is_judged_alike(void **state)
{
    (void)state;
    size_t taken = 0, left = 0;
    for (int i = 0; i < SAMPLES; i++) {
        uint8_t buf[256];
        struct bk_slice out = write_sample(i, buf);
        for (size_t at = 0; at < out.n; at++) {
            for (unsigned by = 1; by < 256; by++) {
                buf[at] ^= (uint8_t)by;
                /* On the heap, so that a read beyond its end is seen. */
                uint8_t *copy = malloc(out.n);
                assert_non_null(copy);
                memcpy(copy, out.p, out.n);
                bool took = agrees(bk_slice(copy, out.n));
                taken += took;
                left += !took;
                free(copy);
                buf[at] ^= (uint8_t)by;
            }
        }
    }
    assert_true(taken > 1000 && left > 1000); /* values, and the frame around them */
}

static void other_lengths_are_left_to_the_general_reader(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLES; i++) {
        uint8_t buf[256] = {0};
        struct bk_slice out = write_sample(i, buf);
        for (size_t n = 0; n <= sizeof buf; n++) {
            uint8_t *copy = malloc(n + 1);
            assert_non_null(copy);
            memcpy(copy, buf, n);
            assert_int_equal(agrees(bk_slice(copy, n)), n == out.n);
            uint64_t device = bk_register_quick_device(bk_slice(copy, n));
            assert_true(n < 32 ? device == 0 : device != 0);
            free(copy);
        }
    }
}

/* Required or not: what such a message means is the general reader's to say. */
static void a_further_attribute_is_left_to_the_general_reader(void **state)
{
    (void)state;
    enum { BEHIND_TAG = 60, ATTR_BYTES = 8 };
    for (int i = 0; i < SAMPLES; i++) {
        for (int required = 0; required < 2; required++) {
            uint8_t buf[256 + ATTR_BYTES] = {0};
            struct bk_slice out = write_sample(i, buf);
            memmove(buf + BEHIND_TAG + ATTR_BYTES, buf + BEHIND_TAG, out.n - BEHIND_TAG);
            const uint8_t attr[ATTR_BYTES] = {required ? 0x3F : 0xBF, 0xFF, 0, 4};
            memcpy(buf + BEHIND_TAG, attr, sizeof attr);
            buf[3] = (uint8_t)(buf[3] + ATTR_BYTES);
            struct bk_stun m;
            struct bk_register r;
            struct bk_slice longer = bk_slice(buf, out.n + ATTR_BYTES);
            assert_int_equal(bk_stun_read(longer, &m), BK_OK);
            assert_int_equal(bk_register_read(&m, &r), required ? BK_E_UNKNOWN_ATTR : BK_OK);
            assert_false(agrees(longer));
        }
    }
}

static void answers_are_the_same_bytes(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_mac_key key = ready_key(&mac);
    struct bk_addr v6 = {.ip = {0x20, 1, 0x0d, 0xb8, [15] = 9}, .port = 65535};
    const struct bk_register_answer answers[] = {
        {.mapped = bk_addr_v4(202, 204, 16, 13, 3400), .unix_s = 1700000000},
        {.mapped = bk_addr_v4(0, 1, 2, 3, 1), .unix_s = UINT64_MAX, .renew = true},
        {.mapped = v6, .unix_s = 1},
        {.mapped = v6, .unix_s = 1, .renew = true},
        {.code = BK_CODE_STALE_NONCE, .nonce = text("abcdefghijklmnopqrst")},
        {.code = BK_CODE_FORBIDDEN},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        uint8_t general[256], quick[BK_REGISTER_QUICK_MAX_BYTES];
        struct bk_slice out;
        assert_int_equal(bk_register_answer_write(general, sizeof general, txid, &answers[i], &mac,
                                                  test_key(), &out),
                         BK_OK);
        size_t n = bk_register_quick_answer(quick, txid, &answers[i], &mac, &key);
        assert_int_equal(n, out.n);
        assert_memory_equal(quick, general, n);
    }
    uint8_t general[256], quick[BK_REGISTER_QUICK_MAX_BYTES];
    struct bk_slice out;
    assert_int_equal(bk_register_challenge_write(general, sizeof general, txid,
                                                 text("abcdefghijklmnopqrst"), &mac, test_key(),
                                                 &out),
                     BK_OK);
    size_t n = bk_register_quick_challenge(quick, txid, text("abcdefghijklmnopqrst").p, &mac, &key);
    assert_int_equal(n, out.n);
    assert_memory_equal(quick, general, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_devices_write_is_read),
        cmocka_unit_test(every_changed_byte_is_judged_alike),
        cmocka_unit_test(other_lengths_are_left_to_the_general_reader),
        cmocka_unit_test(a_further_attribute_is_left_to_the_general_reader),
        cmocka_unit_test(answers_are_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
