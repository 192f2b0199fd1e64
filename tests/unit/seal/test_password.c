/* Passwords at rest: Argon2id, salted, and nothing but the password opens them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "seal/password.h"
#include "seal/seal.h"

static int setup(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK ? 0 : -1;
}

static void only_the_password_fits(void **state)
{
    (void)state;
    char hash[BK_PASSWORD_HASH_BYTES];
    char again[BK_PASSWORD_HASH_BYTES];
    assert_int_equal(bk_password_hash(bk_slice_text("1234"), hash), BK_OK);
    assert_memory_equal(hash, "$argon2id$v=19$m=8192,t=2,p=1$", 30);
    assert_int_equal(bk_password_check(bk_slice_text("1234"), hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice_text("1235"), hash), BK_E_AUTH);
    assert_int_equal(bk_password_check(bk_slice_text("123"), hash), BK_E_AUTH);
    assert_int_equal(bk_password_check(bk_slice("1234\0", 5), hash), BK_E_AUTH);
    assert_int_equal(bk_password_check(BK_SLICE_EMPTY, hash), BK_E_AUTH);
    assert_int_equal(bk_password_hash(bk_slice_text("1234"), again), BK_OK);
    assert_string_not_equal(hash, again);
}

static void odd_passwords(void **state)
{
    (void)state;
    char hash[BK_PASSWORD_HASH_BYTES];
    assert_int_equal(bk_password_hash(bk_slice("a\0b", 3), hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice("a\0b", 3), hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice("a\0c", 3), hash), BK_E_AUTH);
    assert_int_equal(bk_password_hash(BK_SLICE_EMPTY, hash), BK_OK);
    assert_int_equal(bk_password_check(BK_SLICE_EMPTY, hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice_text("x"), hash), BK_E_AUTH);
}

static void broken_hashes_fit_nothing(void **state)
{
    (void)state;
    const char *bad[] = {"", "$argon2id$", "1234", "$argon2id$v=19$m=8192,t=2,p=1$AAAA$AAAA"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_password_check(bk_slice_text("1234"), bad[i]), BK_E_AUTH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_password_fits),
        cmocka_unit_test(odd_passwords),
        cmocka_unit_test(broken_hashes_fit_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
