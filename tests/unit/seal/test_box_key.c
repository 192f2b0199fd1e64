/* Signed box keys: only the certificate's key makes one, and every byte counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include <sodium.h>

#include "seal/box_key.h"

static uint8_t seed[BK_SIGN_SEED_BYTES] = {1, 2, 3};
static uint8_t signer[BK_KEY_BYTES];

static int setup(void **state)
{
    (void)state;
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    return crypto_sign_seed_keypair(signer, secret, seed);
}

static void round_trip(void **state)
{
    (void)state;
    struct bk_box_key in = {{9, 8, 7}, 1700000000, 1700604800};
    struct bk_box_key back;
    uint8_t bytes[BK_BOX_KEY_BYTES];
    bk_box_key_sign(&in, seed, bytes);
    assert_int_equal(bk_box_key_check(BK_SLICE_OF(bytes), signer, &back), BK_OK);
    assert_memory_equal(back.key, in.key, sizeof in.key);
    assert_true(back.made_s == in.made_s && back.until_s == in.until_s);
    assert_int_equal(bytes[0], 1);
    /* What is signed, spelled out: the context with its terminator, then the fields. */
    uint8_t message[18 + 49] = "beckon box key v1";
    memcpy(message + 18, bytes, 49);
    assert_int_equal(crypto_sign_verify_detached(bytes + 49, message, sizeof message, signer), 0);
}

static void any_change_is_refused(void **state)
{
    (void)state;
    struct bk_box_key in = {{9, 8, 7}, 1, 2};
    struct bk_box_key back;
    uint8_t bytes[BK_BOX_KEY_BYTES + 1] = {0};
    bk_box_key_sign(&in, seed, bytes);
    for (size_t bit = 0; bit < 8 * BK_BOX_KEY_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(bk_box_key_check(bk_slice(bytes, BK_BOX_KEY_BYTES), signer, &back),
                         bit < 8 ? BK_E_MALFORMED : BK_E_AUTH);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_int_equal(bk_box_key_check(bk_slice(bytes, n), signer, &back),
                         n == BK_BOX_KEY_BYTES ? BK_OK : BK_E_MALFORMED);
    }
}

static void another_signer_is_refused(void **state)
{
    (void)state;
    struct bk_box_key in = {{9}, 1, 2};
    struct bk_box_key back;
    uint8_t bytes[BK_BOX_KEY_BYTES];
    const uint8_t other_seed[BK_SIGN_SEED_BYTES] = {4};
    bk_box_key_sign(&in, other_seed, bytes);
    assert_int_equal(bk_box_key_check(BK_SLICE_OF(bytes), signer, &back), BK_E_AUTH);
    assert_int_equal(back.key[0], 0); /* nothing of it gets out */
}

/* A signature over the fields without the context is no signature of a box key. */
static void the_context_counts(void **state)
{
    (void)state;
    struct bk_box_key in = {{9}, 1, 2};
    struct bk_box_key back;
    uint8_t bytes[BK_BOX_KEY_BYTES];
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    bk_box_key_sign(&in, seed, bytes);
    assert_int_equal(crypto_sign_seed_keypair(public_key, secret, seed), 0);
    assert_int_equal(crypto_sign_detached(bytes + 49, NULL, bytes, 49, secret), 0);
    assert_int_equal(bk_box_key_check(BK_SLICE_OF(bytes), signer, &back), BK_E_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(any_change_is_refused),
        cmocka_unit_test(another_signer_is_refused),
        cmocka_unit_test(the_context_counts),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
