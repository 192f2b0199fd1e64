/* Reading STUN: the header, the attribute chain, where the walk ends, framing on streams. */
#include "support.h"

static enum bk_err read_any(struct bk_slice bytes)
{
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    if (err != BK_OK) {
        return err;
    }
    size_t offset = 0;
    struct bk_stun_attr attr;
    volatile uint8_t sum = 0; /* so that every byte is touched */
    while (bk_stun_next(&m, &offset, &attr)) {
        for (size_t i = 0; i < attr.value.n; i++) {
            sum = (uint8_t)(sum + attr.value.p[i]);
        }
    }
    return BK_OK;
}

static struct bk_slice sample(uint8_t *buf, size_t cap)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_DEVICE_NAME, text("kiosk"));
    bk_stun_put(&s, BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 5);
    bk_stun_put_fingerprint(&s);
    struct bk_slice out;
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    return out;
}

static void header(void **state)
{
    (void)state;
    for (unsigned cls = 0; cls < 4; cls++) {
        for (uint16_t method = 0; method <= 0x0FFF; method++) {
            uint8_t buf[BK_STUN_HEADER_BYTES];
            struct bk_slice out;
            struct bk_stun m;
            struct bk_stun_writer s =
                bk_stun_begin(buf, sizeof buf, method, (enum bk_stun_class)cls, txid);
            assert_int_equal(bk_stun_end(&s, &out), BK_OK);
            assert_int_equal(buf[0] & 0xC0, 0);
            assert_int_equal(bk_stun_read(out, &m), BK_OK);
            assert_int_equal(m.method, method);
            assert_int_equal(m.cls, cls);
            assert_memory_equal(m.txid, txid, sizeof txid);
        }
    }
}

static void lengths(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice m = sample(buf, sizeof buf);
    refuses_other_lengths(read_any, m);
    for (size_t n = 0; n < m.n; n++) {
        assert_int_equal(read_copy(read_any, bk_slice(m.p, n)), BK_E_TRUNCATED);
    }
    for (unsigned length = 0; length <= UINT16_MAX; length++) { /* any other length field */
        buf[2] = (uint8_t)(length >> 8);
        buf[3] = (uint8_t)length;
        bool right = length == m.n - BK_STUN_HEADER_BYTES;
        struct bk_stun read;
        assert_int_equal(bk_stun_read(m, &read) == BK_OK, right);
    }
}

static void not_stun(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice m = sample(buf, sizeof buf);
    struct {
        size_t at;
        uint8_t flip;
    } rows[] = {{0, 0x80}, {0, 0x40}, {4, 1}, {5, 1}, {6, 1}, {7, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf[rows[i].at] ^= rows[i].flip;
        assert_int_equal(read_any(m), BK_E_MALFORMED);
        buf[rows[i].at] ^= rows[i].flip;
    }
    assert_int_equal(read_any(m), BK_OK);
}

/* One attribute with this length field and so many bytes behind it. */
static enum bk_err read_attr(uint16_t type, uint16_t claimed, size_t there)
{
    uint8_t buf[64];
    struct bk_slice out;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_write_u16(&s.w, type);
    bk_write_u16(&s.w, claimed);
    for (size_t i = 0; i < there; i++) {
        bk_write_u8(&s.w, 0x5A); /* padding may be anything */
    }
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    return read_copy(read_any, out);
}

static void attribute_lengths_and_padding(void **state)
{
    (void)state;
    for (uint16_t claimed = 0; claimed <= 8; claimed++) {
        for (size_t there = 0; there <= 8; there += 4) {
            bool fits = (claimed + 3U) / 4 * 4 == there;
            /* What is left over would have to be an attribute: 5A5A long. */
            assert_int_equal(read_attr(BK_ATTR_SERVICE, claimed, there) == BK_OK, fits);
        }
    }
    assert_int_equal(read_attr(BK_ATTR_SERVICE, UINT16_MAX, 8), BK_E_MALFORMED);
    assert_int_equal(read_attr(BK_ATTR_SERVICE, 5, 7), BK_E_MALFORMED); /* padding cut */
    assert_int_equal(read_attr(BK_ATTR_FINGERPRINT, 4, 4), BK_OK);
    assert_int_equal(read_attr(BK_ATTR_FINGERPRINT, 3, 4), BK_E_MALFORMED);
    assert_int_equal(read_attr(BK_ATTR_FINGERPRINT, 8, 8), BK_E_MALFORMED);
}

static void nothing_follows_fingerprint(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_stun_put_fingerprint(&s);
    bk_stun_put(&s, BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_any(out), BK_E_MALFORMED);
}

static void the_walk_ends_before_integrity(void **state)
{
    (void)state;
    const uint16_t ends[] = {BK_ATTR_MESSAGE_INTEGRITY, BK_ATTR_MESSAGE_INTEGRITY_SHA256};
    for (size_t i = 0; i < 2; i++) {
        uint8_t buf[256];
        struct bk_slice out;
        struct bk_stun m;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
        bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
        bk_stun_put(&s, ends[i], text("any value"));
        bk_stun_put(&s, BK_ATTR_DEVICE_NAME, text("smuggled"));
        bk_stun_put(&s, 0x7FFF, BK_SLICE_EMPTY);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        struct bk_stun_attr attr;
        size_t offset = 0;
        assert_true(bk_stun_next(&m, &offset, &attr));
        assert_int_equal(attr.type, BK_ATTR_TIME);
        assert_false(bk_stun_next(&m, &offset, &attr));
        assert_false(bk_stun_next(&m, &offset, &attr));
        struct bk_slice value;
        assert_false(bk_stun_find(&m, BK_ATTR_DEVICE_NAME, &value));
        const uint16_t known[] = {BK_ATTR_TIME};
        assert_true(bk_stun_understood(&m, known, 1));
    }
}

static void finding_and_understanding(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_slice value;
    struct bk_stun m;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_SERVICE, text("first"));
    bk_stun_put(&s, BK_ATTR_SERVICE, text("second"));
    bk_stun_put(&s, BK_ATTR_SOFTWARE, text("optional"));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_true(bk_stun_find(&m, BK_ATTR_SERVICE, &value));
    assert_true(bk_slice_equal(value, text("first")));
    assert_false(bk_stun_find(&m, BK_ATTR_TIME, &value));
    assert_int_equal(value.n, 0);
    const uint16_t known[] = {BK_ATTR_TIME, BK_ATTR_SERVICE};
    assert_true(bk_stun_understood(&m, known, 2));
    assert_false(bk_stun_understood(&m, known, 1));
    assert_false(bk_stun_understood(&m, NULL, 0));
}

static void error_codes(void **state)
{
    (void)state;
    struct {
        uint8_t value[6];
        size_t n;
        enum bk_err err;
        uint16_t code;
    } rows[] = {
        {{0, 0, 4, 38}, 4, BK_OK, 438},         {{0, 0, 4, 99, 'n', 'o'}, 6, BK_OK, 499},
        {{0xFF, 0xFF, 0xFB, 0}, 4, BK_OK, 300}, /* reserved bits are ignored */
        {{0, 0, 6, 99}, 4, BK_OK, 699},         {{0, 0, 2, 0}, 4, BK_E_MALFORMED, 0},
        {{0, 0, 7, 0}, 4, BK_E_MALFORMED, 0},   {{0, 0, 4, 100}, 4, BK_E_MALFORMED, 0},
        {{0, 0, 4}, 3, BK_E_MALFORMED, 0},      {{0}, 0, BK_E_MALFORMED, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint16_t code;
        struct bk_slice reason;
        assert_int_equal(bk_stun_error_code(bk_slice(rows[i].value, rows[i].n), &code, &reason),
                         rows[i].err);
        assert_int_equal(code, rows[i].code);
        assert_int_equal(reason.n, rows[i].err == BK_OK ? rows[i].n - 4 : 0);
    }
}

static void addresses(void **state)
{
    (void)state;
    const char *texts[] = {"130.74.23.6:1200", "0.0.0.0:0",          "255.255.255.255:65535",
                           "[::]:0",           "[2001:db8::1]:8466", "[ffff::ffff]:1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint8_t buf[64];
        struct bk_addr in;
        struct bk_addr back;
        struct bk_slice out;
        struct bk_slice value;
        struct bk_stun m;
        assert_int_equal(bk_addr_parse(text(texts[i]), 0, &in), BK_OK);
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_SUCCESS, txid);
        bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, &in);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_true(bk_stun_find(&m, BK_ATTR_XOR_MAPPED_ADDRESS, &value));
        assert_int_equal(bk_stun_xor_address(&m, value, &back), BK_OK);
        assert_true(bk_addr_equal(&in, &back));
        for (size_t n = 0; n < value.n; n++) {
            assert_int_equal(bk_stun_xor_address(&m, bk_slice(value.p, n), &back), BK_E_MALFORMED);
        }
        buf[BK_STUN_HEADER_BYTES + 5] ^= 3; /* the other family does not fit the length */
        assert_int_equal(bk_stun_xor_address(&m, value, &back), BK_E_MALFORMED);
        buf[BK_STUN_HEADER_BYTES + 5] = 3;
        assert_int_equal(bk_stun_xor_address(&m, value, &back), BK_E_MALFORMED);
    }
}

static void framing(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_slice m = sample(buf, sizeof buf);
    size_t n;
    for (size_t got = 0; got <= m.n; got++) {
        enum bk_err expected = got < 4 ? BK_E_TRUNCATED : BK_OK;
        assert_int_equal(bk_stun_frame(bk_slice(m.p, got), &n), expected);
        assert_int_equal(n, expected == BK_OK ? m.n : 0);
    }
    /* Length edges: the largest message and the first beyond. */
    set_length(buf, BK_STUN_STREAM_MAX_BYTES);
    assert_int_equal(bk_stun_frame(bk_slice(buf, 4), &n), BK_OK);
    assert_int_equal(n, BK_STUN_STREAM_MAX_BYTES);
    set_length(buf, BK_STUN_STREAM_MAX_BYTES + 4);
    assert_int_equal(bk_stun_frame(bk_slice(buf, 4), &n), BK_E_RANGE);
    set_length(buf, BK_STUN_HEADER_BYTES);
    assert_int_equal(bk_stun_frame(bk_slice(buf, 4), &n), BK_OK);
    assert_int_equal(n, BK_STUN_HEADER_BYTES);
    set_length(buf, BK_STUN_HEADER_BYTES + 2);
    assert_int_equal(bk_stun_frame(bk_slice(buf, 4), &n), BK_E_MALFORMED);
    /* Other protocols are told apart as early as can be. */
    assert_int_equal(bk_stun_frame(text("GET / HTTP/1.1\r\n"), &n), BK_E_MALFORMED);
    const uint8_t nearly[] = {0, 1, 0, 0, 0x21, 0x12, 0xA5};
    assert_int_equal(bk_stun_frame(bk_slice(nearly, 6), &n), BK_OK);
    assert_int_equal(bk_stun_frame(bk_slice(nearly, 7), &n), BK_E_MALFORMED);
}

static void two_messages_on_a_stream(void **state)
{
    (void)state;
    uint8_t buf[256];
    size_t first = sample(buf, 128).n;
    size_t second = sample(buf + first, 128).n;
    size_t n;
    assert_int_equal(bk_stun_frame(bk_slice(buf, first + second), &n), BK_OK);
    assert_int_equal(n, first);
    assert_int_equal(bk_stun_frame(bk_slice(buf + n, second), &n), BK_OK);
    assert_int_equal(n, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header),
        cmocka_unit_test(lengths),
        cmocka_unit_test(not_stun),
        cmocka_unit_test(attribute_lengths_and_padding),
        cmocka_unit_test(nothing_follows_fingerprint),
        cmocka_unit_test(the_walk_ends_before_integrity),
        cmocka_unit_test(finding_and_understanding),
        cmocka_unit_test(error_codes),
        cmocka_unit_test(addresses),
        cmocka_unit_test(framing),
        cmocka_unit_test(two_messages_on_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
