/* MD5 and HMAC-SHA-1 against published vectors, and TURN's long-term key as RFC 5769, 2.4 has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "net/turn_ops.h"
#include "wire/turn.h"

static void from_hex(const char *hex, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned v = 0;
        for (size_t j = 0; j < 2; j++) {
            char c = hex[2 * i + j];
            v = v << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        out[i] = (uint8_t)v;
    }
}

/* RFC 1321, A.5; the input in two parts. */
static void test_md5(void **state)
{
    struct bk_turn_ops ops = bk_turn_openssl();
    struct bk_slice parts[] = {bk_slice_text("message "), bk_slice_text("digest")};
    uint8_t got[16], expected[16];

    (void)state;
    ops.md5(ops.ctx, parts, 2, got);
    from_hex("f96b697d7cb7938d525a2f31aaf161d0", expected, sizeof expected);
    assert_memory_equal(got, expected, sizeof got);
    ops.md5(ops.ctx, parts, 0, got);
    from_hex("d41d8cd98f00b204e9800998ecf8427e", expected, sizeof expected);
    assert_memory_equal(got, expected, sizeof got);
}

/* RFC 2202: cases 2, and 6 (a key longer than a block). */
static void test_hmac_sha1(void **state)
{
    struct bk_turn_ops ops = bk_turn_openssl();
    struct bk_slice parts[] = {bk_slice_text("what do ya want "), bk_slice_text("for nothing?")};
    struct bk_slice long_part =
        bk_slice_text("Test Using Larger Than Block-Size Key - Hash Key First");
    uint8_t key[80], got[20], expected[20];

    (void)state;
    ops.hmac_sha1(ops.ctx, bk_slice_text("Jefe"), parts, 2, got);
    from_hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", expected, sizeof expected);
    assert_memory_equal(got, expected, sizeof got);
    memset(key, 0xaa, sizeof key);
    ops.hmac_sha1(ops.ctx, BK_SLICE_OF(key), &long_part, 1, got);
    from_hex("aa4ae5e15272d00e95705637ce8a3b55ed402112", expected, sizeof expected);
    assert_memory_equal(got, expected, sizeof got);
}

/* RFC 5769, 2.4: username and password after SASLprep. */
static void test_long_term(void **state)
{
    static const char username[] =
        "\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9";
    struct bk_turn_ops ops = bk_turn_openssl();
    struct bk_stun m;
    struct bk_slice value;
    uint8_t bytes[256], key[BK_TURN_KEY_BYTES];
    size_t n = 0;
    FILE *f = fopen(VECTORS_DIR "/rfc5769-2.4-long-term.hex", "re");
    char line[512];

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        const char *p = line;
        line[strcspn(line, "#\n")] = '\0';
        while (p += strspn(p, " \t"), *p != '\0') {
            assert_true(n < sizeof bytes);
            from_hex(p, &bytes[n++], 1);
            p += 2;
        }
    }
    (void)fclose(f);
    assert_int_equal(bk_stun_read(bk_slice(bytes, n), &m), BK_OK);
    assert_true(bk_stun_find(&m, BK_ATTR_USERNAME, &value));
    assert_true(bk_slice_equal(value, bk_slice_text(username)));
    bk_turn_key(&ops, value, bk_slice_text("example.org"), bk_slice_text("TheMatrIX"), key);
    assert_int_equal(bk_turn_check(&m, &ops, key), BK_OK);
    key[0] ^= 1;
    assert_int_equal(bk_turn_check(&m, &ops, key), BK_E_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md5),
        cmocka_unit_test(test_hmac_sha1),
        cmocka_unit_test(test_long_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
