/* Values and checks that messages share. */
#include "support.h"

static void names(void **state)
{
    (void)state;
    const char *good[] = {"a",
                          "kiosk-7",
                          "k",
                          "7up",
                          "a.b_c-d",
                          "2133a",
                          "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"};
    const char *bad[] = {
        "",      "2133",     "0",
        "Kiosk", "-a",       ".a",
        "_a",    "a b",      "a/b",
        "a:b",   "\xC3\xA4", "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(bk_name_valid(text(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(bk_name_valid(text(bad[i])));
    }
    assert_false(bk_name_valid(bk_slice("a\0b", 3)));
}

static void integers_of_exact_size(void **state)
{
    (void)state;
    const uint8_t bytes[14] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    for (size_t n = 0; n < sizeof bytes; n++) {
        uint16_t v16;
        uint64_t v64;
        struct bk_tag tag;
        struct bk_slice value = bk_slice(bytes, n);
        assert_int_equal(bk_attr_read_u16(value, &v16), n == 2 ? BK_OK : BK_E_MALFORMED);
        assert_int_equal(bk_attr_read_u64(value, &v64), n == 8 ? BK_OK : BK_E_MALFORMED);
        assert_int_equal(bk_attr_read_tag(value, &tag), n == 12 ? BK_OK : BK_E_MALFORMED);
        if (n == 12) {
            assert_true(tag.random == UINT64_C(0x0102030405060708));
            assert_true(tag.counter == 0x090A0B0C);
        }
    }
}

static void equipment_ids(void **state)
{
    (void)state;
    const uint8_t zero[8] = {0};
    const uint8_t top[8] = {0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const uint8_t beyond[8] = {0x80};
    uint64_t id;
    assert_int_equal(bk_attr_read_equipment_id(BK_SLICE_OF(zero), &id), BK_E_MALFORMED);
    assert_int_equal(bk_attr_read_equipment_id(BK_SLICE_OF(top), &id), BK_OK);
    assert_true(id == BK_EQUIPMENT_ID_MAX);
    assert_int_equal(bk_attr_read_equipment_id(BK_SLICE_OF(beyond), &id), BK_E_MALFORMED);
}

static void plain_answers(void **state)
{
    (void)state;
    uint8_t buf[64];
    struct bk_slice out;
    struct bk_stun m;
    uint16_t code;
    assert_int_equal(bk_success_write(buf, sizeof buf, BK_METHOD_CONNECT, txid, &out), BK_OK);
    assert_int_equal(out.n, BK_STUN_HEADER_BYTES);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(m.cls, BK_STUN_SUCCESS);
    assert_int_equal(m.method, BK_METHOD_CONNECT);
    assert_int_equal(bk_error_read(&m, &code), BK_E_MALFORMED);
    const uint16_t codes[] = {
        BK_CODE_BAD_REQUEST, BK_CODE_NOT_FOUND, BK_CODE_OFFLINE, BK_CODE_OVERLOADED, 300, 699};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(bk_error_write(buf, sizeof buf, BK_METHOD_LOOKUP, txid, codes[i],
                                        i % 2 == 0 ? "because" : NULL, &out),
                         BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(m.cls, BK_STUN_ERROR);
        assert_int_equal(bk_error_read(&m, &code), BK_OK);
        assert_int_equal(code, codes[i]);
    }
}

static void a_datagram_needs_both_and_in_that_form(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    for (int with = 0; with < 16; with++) {
        uint8_t buf[128];
        struct bk_slice out;
        struct bk_stun m;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);
        if ((with & 1) != 0) {
            bk_stun_put_sha256(&s, &mac, (with & 4) != 0 ? text("other") : test_key(),
                               (with & 8) != 0 ? 32 : 16);
        }
        if ((with & 2) != 0) {
            bk_stun_put_fingerprint(&s);
        }
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        enum bk_err expected = (with & 3) != 3    ? BK_E_MALFORMED
                               : (with & 12) != 0 ? BK_E_AUTH
                                                  : BK_OK;
        assert_int_equal(bk_datagram_check(&m, &mac, test_key()), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(integers_of_exact_size),
        cmocka_unit_test(equipment_ids),
        cmocka_unit_test(plain_answers),
        cmocka_unit_test(a_datagram_needs_both_and_in_that_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
