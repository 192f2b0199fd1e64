/* Passwords at rest: Argon2id, salted, and nothing but the password opens them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "seal/password.h"
#include "seal/seal.h"

/* 16 and 32 zero bytes. */
#define SALT_AND_SUM "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

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

/* Written before, with other parameters: they are in the string. */
static void parameters_are_those_of_the_hash(void **state)
{
    (void)state;
    char hash[crypto_pwhash_STRBYTES];
    assert_int_equal(
        crypto_pwhash_str_alg(hash, "abc", 3, 5, 64 * 1024, crypto_pwhash_ALG_ARGON2ID13), 0);
    assert_int_equal(bk_password_check(bk_slice_text("abc"), hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice_text("abd"), hash), BK_E_AUTH);
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
    const char *bad[] = {"",
                         "$argon2id$",
                         "1234",
                         "$argon2id$v=19$m=8192,t=2,p=1$AAAA$AAAA",
                         "$argon2id$v=19$m=8192,t=2,p=1$",
                         "$argon2id$v=19$m=8192,t=2",
                         "$argon2id$v=19$m=,t=,p=1$$",
                         "$argon2id$v=19$m=7,t=2,p=1$" SALT_AND_SUM,
                         "$argon2id$v=19$m=99999999999,t=2,p=1$" SALT_AND_SUM,
                         "$argon2id$v=19$m=8,t=0,p=1$" SALT_AND_SUM,
                         "$argon2id$v=19$m=8,t=1,p=2$" SALT_AND_SUM,
                         "$argon2id$v=19$m=8,x=1,p=1$" SALT_AND_SUM,
                         "$argon2id$v=19$m=8,t=1,p=1$" SALT_AND_SUM "A",
                         "$argon2id$v=19$m=8,t=1,p=1$" SALT_AND_SUM,
                         "$argon2id$v=16$m=8,t=1,p=1$" SALT_AND_SUM,
                         "$argon2i$v=19$m=8192,t=3,p=1$" SALT_AND_SUM};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_password_check(bk_slice_text("1234"), bad[i]), BK_E_AUTH);
    }
}

/* Bytes of address space. */
static rlim_t in_use(void)
{
    char text[128];
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    assert_int_equal(fclose(f), 0);
    return (rlim_t)strtoull(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* A right password, and no memory to see it: that is no guess. */
static void without_memory_nothing_is_told(void **state)
{
    (void)state;
    char hash[BK_PASSWORD_HASH_BYTES];
    struct rlimit before, none;
    enum bk_err right, wrong;
    assert_int_equal(bk_password_hash(bk_slice_text("1234"), hash), BK_OK);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = in_use() + 4 * 1024 * 1024; /* half of what is needed */
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    right = bk_password_check(bk_slice_text("1234"), hash);
    wrong = bk_password_check(bk_slice_text("1235"), hash);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(right, BK_E_NOMEM);
    assert_int_equal(wrong, BK_E_NOMEM);
    assert_int_equal(bk_password_check(bk_slice_text("1234"), hash), BK_OK);
    assert_int_equal(bk_password_check(bk_slice_text("1235"), hash), BK_E_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_password_fits),
        cmocka_unit_test(parameters_are_those_of_the_hash),
        cmocka_unit_test(odd_passwords),
        cmocka_unit_test(broken_hashes_fit_nothing),
        cmocka_unit_test(without_memory_nothing_is_told),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
