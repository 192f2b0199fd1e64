/* Callers' signatures: good for one device and one text, by one key; and the key's text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include <sodium.h>

#include "seal/caller_key.h"

static const uint8_t seed[BK_SIGN_SEED_BYTES] = {4, 17};
static const uint8_t pin[BK_PIN_BYTES] = {21, 33};
static const char box[] = "what stands in the box before the signature";
static uint8_t key[BK_KEY_BYTES];
static uint8_t signature[BK_CALLER_SIGNATURE_BYTES];

static struct bk_slice box_text(void)
{
    return bk_slice(box, sizeof box - 1);
}

static int setup(void **state)
{
    (void)state;
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    bk_caller_key_of(seed, key);
    bk_caller_sign(seed, pin, box_text(), signature);
    return 0;
}

/* RFC 8032, 7.1, TEST 1: the seed's public key. */
static void the_key_is_that_of_the_rfc(void **state)
{
    (void)state;
    static const char seed_hex[] =
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    static const char key_hex[] =
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    uint8_t in[BK_SIGN_SEED_BYTES];
    uint8_t want[BK_KEY_BYTES];
    uint8_t got[BK_KEY_BYTES];
    assert_int_equal(sodium_hex2bin(in, sizeof in, seed_hex, 64, NULL, NULL, NULL), 0);
    assert_int_equal(sodium_hex2bin(want, sizeof want, key_hex, 64, NULL, NULL, NULL), 0);
    bk_caller_key_of(in, got);
    assert_memory_equal(got, want, sizeof got);
}

static void round_trips_of_every_length(void **state)
{
    (void)state;
    static const uint8_t text[BK_CALLER_TEXT_MAX_BYTES + 1] = {1};
    for (size_t n = 0; n <= BK_CALLER_TEXT_MAX_BYTES; n += n < 4 ? 1 : 170) {
        uint8_t sig[BK_CALLER_SIGNATURE_BYTES];
        bk_caller_sign(seed, pin, bk_slice(text, n), sig);
        assert_int_equal(bk_caller_check(key, pin, bk_slice(text, n), sig), BK_OK);
        assert_int_equal(bk_caller_check(key, pin, bk_slice(text, n + 1), sig), BK_E_AUTH);
    }
    uint8_t sig[BK_CALLER_SIGNATURE_BYTES];
    bk_caller_sign(seed, pin, bk_slice(text, BK_CALLER_TEXT_MAX_BYTES), sig);
    assert_int_equal(bk_caller_check(key, pin, bk_slice(text, BK_CALLER_TEXT_MAX_BYTES), sig),
                     BK_OK);
    assert_int_equal(bk_caller_check(key, pin, bk_slice(text, sizeof text), sig), BK_E_AUTH);
    /* Nor is what is too long taken for nothing at all. */
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    assert_int_equal(crypto_sign_seed_keypair(public_key, secret, seed), 0);
    assert_int_equal(crypto_sign_detached(sig, NULL, NULL, 0, secret), 0);
    assert_int_equal(bk_caller_check(key, pin, bk_slice(text, sizeof text), sig), BK_E_AUTH);
}

/* What is signed, spelled out: the context with its terminator, the pin, the text. */
static void the_layout(void **state)
{
    (void)state;
    uint8_t message[26 + 32 + sizeof box - 1] = "beckon caller signature 1";
    memcpy(message + 26, pin, 32);
    memcpy(message + 26 + 32, box, sizeof box - 1);
    assert_int_equal(crypto_sign_verify_detached(signature, message, sizeof message, key), 0);
    /* Without the context it is no caller's signature. */
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t bare[BK_CALLER_SIGNATURE_BYTES];
    assert_int_equal(crypto_sign_seed_keypair(public_key, secret, seed), 0);
    assert_int_equal(crypto_sign_detached(bare, NULL, message + 26, sizeof message - 26, secret),
                     0);
    assert_int_equal(bk_caller_check(key, pin, box_text(), bare), BK_E_AUTH);
}

static void any_changed_bit_is_refused(void **state)
{
    (void)state;
    uint8_t copies[32 + 32 + sizeof box - 1 + 64];
    uint8_t *parts[4] = {copies, copies + 32, copies + 64, copies + 64 + sizeof box - 1};
    memcpy(parts[0], key, 32);
    memcpy(parts[1], pin, 32);
    memcpy(parts[2], box, sizeof box - 1);
    memcpy(parts[3], signature, 64);
    struct bk_slice text = bk_slice(parts[2], sizeof box - 1);
    assert_int_equal(bk_caller_check(parts[0], parts[1], text, parts[3]), BK_OK);
    for (size_t bit = 0; bit < 8 * sizeof copies; bit++) {
        copies[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(bk_caller_check(parts[0], parts[1], text, parts[3]), BK_E_AUTH);
        copies[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t n = 0; n < text.n; n++) {
        assert_int_equal(bk_caller_check(key, pin, bk_slice(text.p, n), signature), BK_E_AUTH);
    }
}

/* Bytes from where the signature's text begins may not slide from the pin into the box or back. */
static void another_device_or_key_is_refused(void **state)
{
    (void)state;
    uint8_t other[32];
    uint8_t other_seed[BK_SIGN_SEED_BYTES] = {9};
    bk_caller_key_of(other_seed, other);
    assert_int_equal(bk_caller_check(other, pin, box_text(), signature), BK_E_AUTH);
    bk_pin_of_key(key, other);
    assert_int_equal(bk_caller_check(key, other, box_text(), signature), BK_E_AUTH);
    memcpy(other, pin + 1, 31);
    other[31] = (uint8_t)box[0];
    struct bk_slice rest = bk_slice(box + 1, sizeof box - 2);
    assert_int_equal(bk_caller_check(key, other, rest, signature), BK_E_AUTH);
}

/* Keys under which anybody makes signatures, and numbers that are written in another way. */
static void weak_keys_and_second_spellings_are_refused(void **state)
{
    (void)state;
    static const uint8_t weak[][32] = {
        {0}, /* order 4 */
        {1}, /* the neutral element: with R the same and S zero it signs everything */
        {0xEC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
         0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
         0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, /* order 2 */
        {0xEE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
         0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
         0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, /* 1, not canonical */
    };
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++) {
        uint8_t forged[BK_CALLER_SIGNATURE_BYTES] = {0};
        for (size_t k = 0; k < sizeof weak / sizeof weak[0]; k++) {
            memcpy(forged, weak[k], 32);
            assert_int_equal(bk_caller_check(weak[i], pin, box_text(), forged), BK_E_AUTH);
        }
    }
    /* S and S + L say the same; only the first may be written (RFC 8032, 5.1.7). */
    static const uint8_t order[32] = {0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58,
                                      0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    uint8_t second[BK_CALLER_SIGNATURE_BYTES];
    memcpy(second, signature, sizeof second);
    sodium_add(second + 32, order, 32);
    assert_int_equal(bk_caller_check(key, pin, box_text(), second), BK_E_AUTH);
}

static void texts(void **state)
{
    (void)state;
    char out[BK_CALLER_KEY_TEXT_BYTES];
    uint8_t back[BK_KEY_BYTES];
    bk_caller_key_format(key, out);
    assert_int_equal(strlen(out), BK_CALLER_KEY_TEXT_BYTES - 1);
    assert_int_equal(bk_caller_key_parse(bk_slice_text(out), back), BK_OK);
    assert_memory_equal(back, key, sizeof back);
    for (size_t n = 0; n < strlen(out); n++) {
        assert_int_equal(bk_caller_key_parse(bk_slice(out, n), back), BK_E_MALFORMED);
    }
    char longer[BK_CALLER_KEY_TEXT_BYTES + 4];
    memcpy(longer, out, sizeof out);
    memcpy(longer + sizeof out - 1, "AAAA", 5);
    assert_int_equal(bk_caller_key_parse(bk_slice_text(longer), back), BK_E_MALFORMED);
    out[7] = '+'; /* base64, but not this one */
    assert_int_equal(bk_caller_key_parse(bk_slice_text(out), back), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_that_of_the_rfc),
        cmocka_unit_test(round_trips_of_every_length),
        cmocka_unit_test(the_layout),
        cmocka_unit_test(any_changed_bit_is_refused),
        cmocka_unit_test(another_device_or_key_is_refused),
        cmocka_unit_test(weak_keys_and_second_spellings_are_refused),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
