/* Writing STUN: exact bytes, sticky errors, limits. */
#include "support.h"

static void exact_bytes(void **state)
{
    (void)state;
    const uint8_t expected[] = {0x33, 0x10, 0x00, 0x28, 0x21, 0x12, 0xA4, 0x42, 0xA1, 0xA2, 0xA3,
                                0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, /* header */
                                0x40, 0x20, 0x00, 0x03, 's',  's',  'h',  0x00,       /* padded */
                                0x40, 0x25, 0x00, 0x02, 0x12, 0x34, 0x00, 0x00,       /* u16 */
                                0x40, 0x0C, 0x00, 0x08, 1,    2,    3,    4,    5,    6,    7,
                                8,    0x00, 0x09, 0x00, 0x08, 0x00, 0x00, 0x04, 0x50, 'f',  'u',
                                'l',  'l'};
    uint8_t buf[128];
    struct bk_slice out;
    memset(buf, 0xEE, sizeof buf);
    struct bk_stun_writer s = bk_stun_begin(buf, sizeof buf, 0xC80, BK_STUN_ERROR, txid);
    bk_stun_put(&s, BK_ATTR_SERVICE, text("ssh"));
    bk_stun_put_u16(&s, BK_ATTR_STATUS, 0x1234);
    bk_stun_put_u64(&s, BK_ATTR_TIME, UINT64_C(0x0102030405060708));
    bk_stun_put_error(&s, 480, text("full"));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(out.n, sizeof expected);
    assert_memory_equal(out.p, expected, sizeof expected);
}

static enum bk_err write_all(uint8_t *buf, size_t cap, struct bk_slice *out)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_addr a = bk_addr_v4(1, 2, 3, 4, 5);
    struct bk_stun_writer s = bk_stun_begin(buf, cap, 0x0C1, BK_STUN_REQUEST, txid);
    bk_stun_put_xor_address(&s, BK_ATTR_OBSERVED_ADDRESS, &a);
    bk_stun_put_error(&s, 400, text("x"));
    bk_stun_put_sha256(&s, &mac, test_key(), 32);
    bk_stun_put_fingerprint(&s);
    return bk_stun_end(&s, out);
}

static void short_buffers(void **state)
{
    (void)state;
    uint8_t whole_buf[256];
    struct bk_slice whole;
    assert_int_equal(write_all(whole_buf, sizeof whole_buf, &whole), BK_OK);
    REFUSES_SHORT_BUFFERS(whole, write_all(buf, cap, &ignored));
}

static void lengths_beyond_the_field(void **state)
{
    (void)state;
    enum { HUGE_BYTES = 70000 };
    uint8_t *buf = malloc(2 * HUGE_BYTES);
    uint8_t *value = calloc(1, HUGE_BYTES);
    struct bk_slice out;
    assert_non_null(buf);
    assert_non_null(value);
    struct bk_stun_writer s = bk_stun_begin(buf, 2 * HUGE_BYTES, 1, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_BOX, bk_slice(value, UINT16_MAX + 1));
    assert_int_equal(bk_stun_end(&s, &out), BK_E_NOSPACE);
    s = bk_stun_begin(buf, 2 * HUGE_BYTES, 1, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_BOX, bk_slice(value, 40000));
    bk_stun_put(&s, BK_ATTR_BOX, bk_slice(value, 40000));
    assert_int_equal(bk_stun_end(&s, &out), BK_E_NOSPACE);
    s = bk_stun_begin(buf, 2 * HUGE_BYTES, 1, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_BOX, bk_slice(value, UINT16_MAX - 7));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    struct bk_stun m;
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    free(buf);
    free(value);
}

static void long_reasons_are_cut(void **state)
{
    (void)state;
    char reason[301];
    memset(reason, 'r', 300);
    reason[300] = '\0';
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_stun m;
    struct bk_slice value;
    uint16_t code;
    assert_int_equal(bk_error_write(buf, sizeof buf, 1, txid, 400, reason, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_true(bk_stun_find(&m, BK_ATTR_ERROR_CODE, &value));
    assert_int_equal(value.n, 4 + BK_REASON_MAX_BYTES);
    assert_int_equal(bk_error_read(&m, &code), BK_OK);
    assert_int_equal(code, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_bytes),
        cmocka_unit_test(short_buffers),
        cmocka_unit_test(lengths_beyond_the_field),
        cmocka_unit_test(long_reasons_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
