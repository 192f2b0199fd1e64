/* The one text of each holder of a certificate, and everything that is nearly one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "seal/subject.h"

static void each_holder_has_one_text_and_it_reads_back(void **state)
{
    (void)state;
    static const struct {
        struct bk_identity id;
        const char *text;
    } rows[] = {
        {{.role = BK_ROLE_SERVER}, "beckon:server"},
        {{.role = BK_ROLE_DEVICE, .equipment_id = 2133}, "beckon:device:2133"},
        {{.role = BK_ROLE_DEVICE, .equipment_id = INT64_MAX}, "beckon:device:9223372036854775807"},
        {{.role = BK_ROLE_USER, .name = "alice"}, "beckon:user:alice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[BK_SUBJECT_TEXT_BYTES];
        struct bk_identity got;
        memset(&got, 0x55, sizeof got);
        bk_subject_write(&rows[i].id, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(bk_subject_read(bk_slice_text(text), &got), BK_OK);
        assert_int_equal(got.role, rows[i].id.role);
        assert_true(got.equipment_id == rows[i].id.equipment_id);
        assert_string_equal(got.name, rows[i].id.name);
        assert_int_equal(got.key[0], 0x55); /* the key is somebody else's to fill in */
    }
}

static void a_name_as_long_as_there_may_be_fits(void **state)
{
    (void)state;
    struct bk_identity id = {.role = BK_ROLE_USER};
    struct bk_identity got;
    char text[BK_SUBJECT_TEXT_BYTES];
    memset(id.name, 'a', sizeof id.name - 1);
    bk_subject_write(&id, text);
    assert_int_equal(strlen(text), strlen("beckon:user:") + sizeof id.name - 1);
    assert_int_equal(bk_subject_read(bk_slice_text(text), &got), BK_OK);
    assert_string_equal(got.name, id.name);
    text[strlen(text) + 1] = '\0';
    text[strlen(text)] = 'a';
    assert_int_equal(bk_subject_read(bk_slice_text(text), &got), BK_E_MALFORMED);
}

static void who_has_no_role_has_no_text(void **state)
{
    (void)state;
    struct bk_identity id = {.role = BK_ROLE_NONE, .equipment_id = 7, .name = "alice"};
    char text[BK_SUBJECT_TEXT_BYTES];
    bk_subject_write(&id, text);
    assert_string_equal(text, "");
}

static void what_is_nearly_a_text_names_nobody(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "beckon:",
        "beckon:serve",
        "beckon:server:",
        "beckon:server2",
        "Beckon:server",
        "beckon:device",
        "beckon:device:",
        "beckon:device:0",
        "beckon:device:02133",
        "beckon:device:2133 ",
        "beckon:device:-1",
        "beckon:device:9223372036854775808",
        "beckon:user",
        "beckon:user:",
        "beckon:admin:alice",
        "x-beckon:user:alice",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bk_identity got = {.role = BK_ROLE_USER, .equipment_id = 7, .name = "alice"};
        assert_int_equal(bk_subject_read(bk_slice_text(bad[i]), &got), BK_E_MALFORMED);
        assert_int_equal(got.role, BK_ROLE_NONE);
        assert_true(got.equipment_id == 0);
        assert_string_equal(got.name, "");
    }
    /* A NUL ends a name for some readers and not for others. */
    struct bk_identity got;
    assert_int_equal(bk_subject_read(bk_slice("beckon:user:al\0ice", 18), &got), BK_E_MALFORMED);
    assert_int_equal(bk_subject_read(bk_slice("beckon:server\0", 14), &got), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_holder_has_one_text_and_it_reads_back),
        cmocka_unit_test(a_name_as_long_as_there_may_be_fits),
        cmocka_unit_test(who_has_no_role_has_no_text),
        cmocka_unit_test(what_is_nearly_a_text_names_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
