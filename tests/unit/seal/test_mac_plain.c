/* The idle agent's own HMAC-SHA-256: RFC 4231's vectors, and the same as libsodium's for every length around blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "seal/mac_plain.h"
#include "seal/seal.h"

enum {
    KEY_MAX_BYTES = 140, /* beyond two blocks */
    TEXT_MAX_BYTES = 260,
};

static void hmac(struct bk_slice key, struct bk_slice text, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    struct bk_mac_ops mac = bk_mac_plain();

    mac.hmac_sha256(mac.ctx, key, &text, 1, out);
}

static void test_vectors(void **state)
{
    static const uint8_t sum1[32] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53,
                                     0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
                                     0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7,
                                     0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
    static const uint8_t sum2[32] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
                                     0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
                                     0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83,
                                     0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const uint8_t sum6[32] = {0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f,
                                     0x0d, 0x8a, 0x26, 0xaa, 0xcb, 0xf5, 0xb7, 0x7f,
                                     0x8e, 0x0b, 0xc6, 0x21, 0x37, 0x28, 0xc5, 0x14,
                                     0x05, 0x46, 0x04, 0x0f, 0x0e, 0xe3, 0x7f, 0x54};
    uint8_t key[131], out[BK_HMAC_SHA256_BYTES];

    (void)state;
    memset(key, 0x0b, 20);
    hmac(bk_slice(key, 20), bk_slice_text("Hi There"), out);
    assert_memory_equal(out, sum1, sizeof out);
    hmac(bk_slice_text("Jefe"), bk_slice_text("what do ya want for nothing?"), out);
    assert_memory_equal(out, sum2, sizeof out);
    memset(key, 0xaa, sizeof key);
    hmac(BK_SLICE_OF(key), bk_slice_text("Test Using Larger Than Block-Size Key - Hash Key First"),
         out);
    assert_memory_equal(out, sum6, sizeof out);
}

static void compare(struct bk_slice key, const struct bk_slice *parts, size_t n)
{
    struct bk_mac_ops ours = bk_mac_plain(), theirs = bk_mac_sodium();
    uint8_t a[BK_HMAC_SHA256_BYTES], b[BK_HMAC_SHA256_BYTES];

    ours.hmac_sha256(ours.ctx, key, parts, n, a);
    theirs.hmac_sha256(theirs.ctx, key, parts, n, b);
    assert_memory_equal(a, b, sizeof a);
}

static void test_as_libsodium(void **state)
{
    uint8_t key[KEY_MAX_BYTES], text[TEXT_MAX_BYTES];
    struct bk_random rng = bk_random_system();

    (void)state;
    rng.fill(rng.ctx, key, sizeof key);
    rng.fill(rng.ctx, text, sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct bk_slice whole = bk_slice(text, n);

        compare(bk_slice(key, BK_KEY_BYTES), &whole, 1);
        for (size_t cut = 0; cut <= n; cut += 13) {
            struct bk_slice parts[] = {bk_slice(text, cut), BK_SLICE_EMPTY,
                                       bk_slice(text + cut, n - cut)};

            compare(bk_slice(key, BK_KEY_BYTES), parts, 3);
        }
    }
    for (size_t n = 0; n <= sizeof key; n++) {
        struct bk_slice short_text = bk_slice(text, 40);

        compare(bk_slice(key, n), &short_text, 1);
    }
    compare(bk_slice(key, BK_KEY_BYTES), NULL, 0);
}

static void test_a_long_text(void **state)
{
    static uint8_t text[(1 << 20) + 7];
    uint8_t key[BK_KEY_BYTES] = {7};
    struct bk_slice whole = BK_SLICE_OF(text);

    (void)state;
    memset(text, 0x5A, sizeof text);
    compare(BK_SLICE_OF(key), &whole, 1);
}

static int begin(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_as_libsodium),
        cmocka_unit_test(test_a_long_text),
    };

    return cmocka_run_group_tests_name("mac_plain", tests, begin, NULL);
}
