/* Boxes, MAC and hash: vectors, round trips, and every byte that must count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "seal/seal.h"

static void assert_hex(const uint8_t *got, size_t n, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    assert_int_equal(strlen(hex), 2 * n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(digits[got[i] >> 4], hex[2 * i]);
        assert_int_equal(digits[got[i] & 15], hex[2 * i + 1]);
    }
}

static void hmac_vectors(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t out[32];
    /* RFC 4231, test case 2, in one part and in three. */
    const char *expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    struct bk_slice whole = bk_slice_text("what do ya want for nothing?");
    mac.hmac_sha256(mac.ctx, bk_slice_text("Jefe"), &whole, 1, out);
    assert_hex(out, 32, expected);
    struct bk_slice parts[] = {bk_slice_text("what do ya "), BK_SLICE_EMPTY,
                               bk_slice_text("want for nothing?")};
    mac.hmac_sha256(mac.ctx, bk_slice_text("Jefe"), parts, 3, out);
    assert_hex(out, 32, expected);
    mac.hmac_sha256(mac.ctx, BK_SLICE_EMPTY, NULL, 0, out);
    assert_hex(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    uint8_t long_key[131]; /* test case 6 */
    memset(long_key, 0xAA, sizeof long_key);
    whole = bk_slice_text("Test Using Larger Than Block-Size Key - Hash Key First");
    mac.hmac_sha256(mac.ctx, BK_SLICE_OF(long_key), &whole, 1, out);
    assert_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_null(mac.hmac_sha1);
}

static void sha256_vectors(void **state)
{
    (void)state;
    uint8_t out[32];
    bk_sha256(NULL, 0, out);
    assert_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct bk_slice parts[] = {bk_slice_text("a"), BK_SLICE_EMPTY, bk_slice_text("bc")};
    bk_sha256(parts, 3, out);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void key_pairs(void **state)
{
    (void)state;
    struct bk_random rng = bk_random_system();
    struct bk_box_pair a;
    struct bk_box_pair b;
    bk_box_pair_make(&rng, &a);
    bk_box_pair_make(&rng, &b);
    assert_memory_not_equal(a.secret_key, b.secret_key, BK_KEY_BYTES);
    assert_memory_not_equal(a.public_key, b.public_key, BK_KEY_BYTES);
}

/* Alice's key of RFC 7748, section 6.1. */
static void fill_alice(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    static const uint8_t secret[32] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d,
                                       0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
                                       0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a,
                                       0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
    assert_int_equal(n, sizeof secret);
    memcpy(out, secret, n);
}

static void the_generator_given_is_used(void **state)
{
    (void)state;
    struct bk_random rng = {NULL, fill_alice};
    struct bk_box_pair pair;
    bk_box_pair_make(&rng, &pair);
    assert_hex(pair.public_key, 32,
               "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
}

static void requests(void **state)
{
    (void)state;
    struct bk_random rng = bk_random_system();
    struct bk_box_pair device;
    struct bk_box_pair other;
    struct bk_slice plain = bk_slice_text("call me back");
    struct bk_slice sealed;
    struct bk_slice again;
    struct bk_slice opened;
    uint8_t box[100];
    uint8_t box2[100];
    uint8_t out[100];
    bk_box_pair_make(&rng, &device);
    bk_box_pair_make(&rng, &other);
    assert_int_equal(bk_seal_request(device.public_key, plain, box, sizeof box, &sealed), BK_OK);
    assert_int_equal(sealed.n, plain.n + BK_SEAL_OVERHEAD_BYTES);
    assert_int_equal(bk_seal_request(device.public_key, plain, box2, sizeof box2, &again), BK_OK);
    assert_false(bk_slice_equal(sealed, again)); /* each box has its own key */
    assert_int_equal(bk_open_request(&device, sealed, out, sizeof out, &opened), BK_OK);
    assert_true(bk_slice_equal(opened, plain));
    assert_int_equal(bk_open_request(&other, sealed, out, sizeof out, &opened), BK_E_AUTH);
    assert_int_equal(opened.n, 0);
    for (size_t i = 0; i < sealed.n; i++) {
        assert_int_equal(bk_open_request(&device, bk_slice(box, i), out, sizeof out, &opened),
                         BK_E_AUTH);
        box[i] ^= 1;
        assert_int_equal(bk_open_request(&device, sealed, out, sizeof out, &opened), BK_E_AUTH);
        box[i] ^= 1;
    }
    assert_int_equal(bk_open_request(&device, sealed, out, plain.n, &opened), BK_OK);
    assert_int_equal(bk_open_request(&device, sealed, out, plain.n - 1, &opened), BK_E_NOSPACE);
    assert_int_equal(bk_seal_request(device.public_key, plain, box, sealed.n - 1, &again),
                     BK_E_NOSPACE);
    assert_int_equal(bk_seal_request(device.public_key, plain, box, 0, &again), BK_E_NOSPACE);
    const uint8_t no_key[BK_KEY_BYTES] = {0};
    assert_int_equal(bk_seal_request(no_key, plain, box, sizeof box, &again), BK_E_AUTH);
    assert_int_equal(again.n, 0);
}

static void results(void **state)
{
    (void)state;
    struct bk_random rng = bk_random_system();
    struct bk_box_pair device;
    struct bk_box_pair caller;
    struct bk_box_pair server;
    struct bk_slice plain = bk_slice_text("accepted");
    struct bk_slice sealed;
    struct bk_slice opened;
    uint8_t box[100];
    uint8_t out[100];
    bk_box_pair_make(&rng, &device);
    bk_box_pair_make(&rng, &caller);
    bk_box_pair_make(&rng, &server);
    assert_int_equal(
        bk_seal_result(device.secret_key, caller.public_key, &rng, plain, box, sizeof box, &sealed),
        BK_OK);
    assert_int_equal(sealed.n, plain.n + BK_REPLY_OVERHEAD_BYTES);
    assert_int_equal(
        bk_open_result(caller.secret_key, device.public_key, sealed, out, sizeof out, &opened),
        BK_OK);
    assert_true(bk_slice_equal(opened, plain));
    for (size_t i = 0; i < sealed.n; i++) {
        box[i] ^= 1;
        assert_int_equal(
            bk_open_result(caller.secret_key, device.public_key, sealed, out, sizeof out, &opened),
            BK_E_AUTH);
        box[i] ^= 1;
        assert_int_equal(bk_open_result(caller.secret_key, device.public_key, bk_slice(box, i), out,
                                        sizeof out, &opened),
                         BK_E_AUTH);
    }
    assert_int_equal(
        bk_open_result(caller.secret_key, device.public_key, sealed, out, plain.n - 1, &opened),
        BK_E_NOSPACE);
    assert_int_equal(
        bk_open_result(server.secret_key, device.public_key, sealed, out, sizeof out, &opened),
        BK_E_AUTH);
    /* The server cannot answer in the device's place. */
    assert_int_equal(
        bk_seal_result(server.secret_key, caller.public_key, &rng, plain, box, sizeof box, &sealed),
        BK_OK);
    assert_int_equal(
        bk_open_result(caller.secret_key, device.public_key, sealed, out, sizeof out, &opened),
        BK_E_AUTH);
    assert_int_equal(bk_seal_result(device.secret_key, caller.public_key, &rng, plain, box,
                                    plain.n + BK_REPLY_OVERHEAD_BYTES - 1, &sealed),
                     BK_E_NOSPACE);
}

static void wiping(void **state)
{
    (void)state;
    uint8_t secret[5] = {1, 2, 3, 4, 5};
    bk_wipe(secret, 4);
    assert_memory_equal(secret, "\0\0\0\0\5", 5);
}

static int setup(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK && bk_seal_init() == BK_OK ? 0 : -1;
}

/* A key of small order: what is sealed to it anyone could open. */
static void nothing_is_sealed_to_a_key_that_is_none(void **state)
{
    (void)state;
    static const uint8_t zero[BK_KEY_BYTES];
    struct bk_random rng = bk_random_system();
    struct bk_box_pair device;
    struct bk_slice sealed;
    uint8_t box[256];
    bk_box_pair_make(&rng, &device);
    assert_int_equal(bk_seal_result(device.secret_key, zero, &rng, bk_slice_text("verdict"), box,
                                    sizeof box, &sealed),
                     BK_E_AUTH);
    assert_int_equal(sealed.n, 0);
    assert_int_not_equal(bk_seal_request(zero, bk_slice_text("password"), box, sizeof box, &sealed),
                         BK_OK);
    assert_int_equal(sealed.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac_vectors), cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(key_pairs),    cmocka_unit_test(the_generator_given_is_used),
        cmocka_unit_test(requests),     cmocka_unit_test(results),
        cmocka_unit_test(wiping),       cmocka_unit_test(nothing_is_sealed_to_a_key_that_is_none),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
