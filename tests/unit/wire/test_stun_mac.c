/* Integrity and fingerprint: the published vectors, and every way to get them wrong. */
#include "support.h"

#include <stdio.h>

#include "sha1.h"

static size_t load_vector(const char *name, uint8_t *out, size_t cap)
{
    char path[512];
    char line[256];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s.hex", VECTORS_DIR, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "#\n")] = '\0';
        for (const char *p = line; *p != '\0';) {
            char *end;
            unsigned long v = strtoul(p, &end, 16);
            if (end == p) {
                break; /* trailing spaces */
            }
            assert_true(v <= 0xFF && n < cap);
            out[n++] = (uint8_t)v;
            p = end;
        }
    }
    fclose(f);
    return n;
}

static const struct bk_mac_ops sha1_ops = {.hmac_sha1 = test_hmac_sha1};

static enum bk_err read_only(struct bk_slice bytes)
{
    struct bk_stun m;
    return bk_stun_read(bytes, &m);
}

static struct bk_stun read_vector(const char *name, uint8_t *buf, size_t cap)
{
    struct bk_stun m;
    size_t n = load_vector(name, buf, cap);
    assert_int_equal(bk_stun_read(bk_slice(buf, n), &m), BK_OK);
    refuses_other_lengths(read_only, bk_slice(buf, n));
    assert_int_equal(m.method, BK_METHOD_BINDING);
    return m;
}

static void expect_attr(const struct bk_stun *m, uint16_t type, const char *value)
{
    struct bk_slice got;
    assert_true(bk_stun_find(m, type, &got));
    assert_true(bk_slice_equal(got, text(value)));
}

static const char matrix[] =
    "\xE3\x83\x9E\xE3\x83\x88\xE3\x83\xAA\xE3\x83\x83\xE3\x82\xAF\xE3\x82\xB9";

static void rfc5769_request(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct bk_stun m = read_vector("rfc5769-2.1-request", buf, sizeof buf);
    assert_int_equal(m.cls, BK_STUN_REQUEST);
    expect_attr(&m, BK_ATTR_SOFTWARE, "STUN test client");
    expect_attr(&m, BK_ATTR_USERNAME, "evtj:h6vY");
    assert_int_equal(bk_stun_check_fingerprint(&m), BK_OK);
    assert_int_equal(bk_stun_check_sha1(&m, &sha1_ops, text("VOkJxbRl1RmTxUk/WvJxBt")), BK_OK);
    assert_int_equal(bk_stun_check_sha1(&m, &sha1_ops, text("VOkJxbRl1RmTxUk/WvJxBT")), BK_E_AUTH);
    struct bk_mac_ops sodium = bk_mac_sodium();
    assert_int_equal(bk_stun_check_sha256(&m, &sodium, test_key(), 32), BK_E_NOTFOUND);
    assert_int_equal(bk_stun_check_sha1(&m, &sodium, test_key()), BK_E_AUTH); /* no SHA-1 there */
}

static void rfc5769_responses(void **state)
{
    (void)state;
    const char *names[] = {"rfc5769-2.2-response-ipv4", "rfc5769-2.3-response-ipv6"};
    const char *mapped[] = {"192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"};
    for (size_t i = 0; i < 2; i++) {
        uint8_t buf[256];
        struct bk_slice value;
        struct bk_addr expected;
        struct bk_addr a;
        struct bk_stun m = read_vector(names[i], buf, sizeof buf);
        assert_int_equal(m.cls, BK_STUN_SUCCESS);
        expect_attr(&m, BK_ATTR_SOFTWARE, "test vector");
        assert_true(bk_stun_find(&m, BK_ATTR_XOR_MAPPED_ADDRESS, &value));
        assert_int_equal(bk_stun_xor_address(&m, value, &a), BK_OK);
        assert_int_equal(bk_addr_parse(text(mapped[i]), 0, &expected), BK_OK);
        assert_true(bk_addr_equal(&a, &expected));
        assert_int_equal(bk_stun_check_fingerprint(&m), BK_OK);
        assert_int_equal(bk_stun_check_sha1(&m, &sha1_ops, text("VOkJxbRl1RmTxUk/WvJxBt")), BK_OK);
    }
}

static void rfc5769_long_term(void **state)
{
    (void)state;
    /* MD5 of user:realm:password, as the vector's file says. */
    const uint8_t key[16] = {0xe8, 0xca, 0x7a, 0xd5, 0x9d, 0x5e, 0xb0, 0x51,
                             0x8e, 0x31, 0x29, 0x11, 0xd2, 0xda, 0xb2, 0xa9};
    uint8_t buf[256];
    struct bk_stun m = read_vector("rfc5769-2.4-long-term", buf, sizeof buf);
    expect_attr(&m, BK_ATTR_USERNAME, matrix);
    expect_attr(&m, BK_ATTR_NONCE, "f//499k954d6OL34oL9FSTvy64sA");
    expect_attr(&m, BK_ATTR_REALM, "example.org");
    assert_int_equal(bk_stun_check_fingerprint(&m), BK_E_NOTFOUND);
    assert_int_equal(bk_stun_check_sha1(&m, &sha1_ops, BK_SLICE_OF(key)), BK_OK);
}

static void rfc8489_sha256(void **state)
{
    (void)state;
    uint8_t buf[256];
    uint8_t key[32];
    uint8_t hash[32];
    struct bk_slice value;
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m = read_vector("rfc8489-b.1-sha256", buf, sizeof buf);
    struct bk_slice name[] = {text(matrix), text(":example.org")};
    struct bk_slice secret[] = {text(matrix), text(":example.org:TheMatrIX")};
    bk_sha256(name, 2, hash);
    bk_sha256(secret, 2, key);
    assert_true(bk_stun_find(&m, BK_ATTR_USERHASH, &value));
    assert_true(bk_slice_equal(value, BK_SLICE_OF(hash)));
    expect_attr(&m, BK_ATTR_NONCE, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    assert_true(bk_stun_find(&m, BK_ATTR_PASSWORD_ALGORITHM, &value));
    assert_int_equal(bk_stun_check_sha256(&m, &mac, BK_SLICE_OF(key), 32), BK_OK);
    assert_int_equal(bk_stun_check_sha256(&m, &mac, BK_SLICE_OF(key), 16), BK_E_AUTH);
    key[0] ^= 1;
    assert_int_equal(bk_stun_check_sha256(&m, &mac, BK_SLICE_OF(key), 32), BK_E_AUTH);
}

static void sha1_round_trip(void **state)
{
    (void)state;
    uint8_t buf[128];
    struct bk_slice out;
    struct bk_stun m;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_REALM, text("example.org"));
    bk_stun_put_sha1(&s, &sha1_ops, test_key());
    bk_stun_put_fingerprint(&s);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_stun_check_sha1(&m, &sha1_ops, test_key()), BK_OK);
    assert_int_equal(bk_stun_check_fingerprint(&m), BK_OK);
}

/* A message whose MAC attribute has n bytes, the MAC being made as if it had `claimed`. */
static struct bk_stun cut_mac(uint8_t *buf, size_t cap, size_t n, size_t claimed)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_slice out;
    struct bk_stun m;
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
    size_t at = s.w.len;
    bk_write_u16_at(&s.w, 2, (uint16_t)(at - BK_STUN_HEADER_BYTES + 4 + claimed));
    struct bk_slice covered = bk_writer_bytes(&s.w);
    uint8_t full[BK_HMAC_SHA256_BYTES + 8] = {0};
    mac.hmac_sha256(NULL, test_key(), &covered, 1, full);
    bk_stun_put(&s, BK_ATTR_MESSAGE_INTEGRITY_SHA256, bk_slice(full, n));
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    return m;
}

static void other_mac_lengths_are_refused(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    for (size_t n = 0; n <= BK_HMAC_SHA256_BYTES + 8; n += 1) {
        uint8_t buf[128];
        struct bk_stun m = cut_mac(buf, sizeof buf, n, n);
        assert_int_equal(bk_stun_check_sha256(&m, &mac, test_key(), 16),
                         n == 16 ? BK_OK : BK_E_AUTH);
        assert_int_equal(bk_stun_check_sha256(&m, &mac, test_key(), 32),
                         n == 32 ? BK_OK : BK_E_AUTH);
        /* Nor is a longer attribute that begins with the right bytes. */
        m = cut_mac(buf, sizeof buf, n, 16);
        assert_int_equal(bk_stun_check_sha256(&m, &mac, test_key(), 16),
                         n == 16 ? BK_OK : BK_E_AUTH);
    }
}

static void what_follows_integrity_changes_nothing(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[256];
    struct bk_slice out;
    struct bk_stun m;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
    bk_stun_put_sha256(&s, &mac, test_key(), 32);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 2);
    bk_stun_put_sha256(&s, &mac, text("another key"), 32);
    bk_stun_put_fingerprint(&s);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_stun_check_sha256(&m, &mac, test_key(), 32), BK_OK);
    assert_int_equal(bk_stun_check_sha256(&m, &mac, text("another key"), 32), BK_E_AUTH);
    size_t offset = 0;
    struct bk_stun_attr attr;
    uint64_t v;
    assert_true(bk_stun_next(&m, &offset, &attr));
    assert_int_equal(bk_attr_read_u64(attr.value, &v), BK_OK);
    assert_true(v == 1);
    assert_false(bk_stun_next(&m, &offset, &attr));
}

static enum bk_err read_checked(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_stun_check_sha256(&m, &mac, test_key(), 32) : err;
}

static void any_changed_bit_is_seen(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t buf[128];
    struct bk_slice out;
    struct bk_stun m;
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
    bk_stun_put_sha256(&s, &mac, test_key(), 32);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    refuses_any_changed_bit(read_checked, out);

    s = bk_stun_begin(buf, sizeof buf, BK_METHOD_REGISTER, BK_STUN_REQUEST, txid);
    bk_stun_put_u64(&s, BK_ATTR_TIME, 1);
    bk_stun_put_fingerprint(&s);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    for (size_t bit = 0; bit < 8 * out.n; bit++) {
        buf[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (bk_stun_read(out, &m) == BK_OK) {
            assert_int_not_equal(bk_stun_check_fingerprint(&m), BK_OK);
        }
        buf[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc5769_request),
        cmocka_unit_test(rfc5769_responses),
        cmocka_unit_test(rfc5769_long_term),
        cmocka_unit_test(rfc8489_sha256),
        cmocka_unit_test(sha1_round_trip),
        cmocka_unit_test(other_mac_lengths_are_refused),
        cmocka_unit_test(what_follows_integrity_changes_nothing),
        cmocka_unit_test(any_changed_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
