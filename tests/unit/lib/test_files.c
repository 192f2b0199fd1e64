/* The files of a state directory. */
#include "lib/place.h"

#include <errno.h>

#include "lib/files.h"

static void test_path(void **state)
{
    char dir[BK_PATH_BYTES], out[BK_PATH_BYTES];

    (void)state;
    assert_int_equal(bk_file_path("/a", "b", out), BK_OK);
    assert_string_equal(out, "/a/b");
    memset(dir, 'd', sizeof dir);
    dir[BK_PATH_BYTES - 3] = '\0'; /* with "/x" and the terminator: just fits */
    assert_int_equal(bk_file_path(dir, "x", out), BK_OK);
    assert_int_equal(strlen(out), BK_PATH_BYTES - 1);
    assert_int_equal(bk_file_path(dir, "xy", out), BK_E_RANGE);
    assert_false(bk_file_exists(dir, "xy"));
    assert_int_equal(bk_file_write(dir, "xy", BK_SLICE_EMPTY), BK_E_IO);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void test_read_and_write(void **state)
{
    struct place *p = *state;
    uint8_t buf[8];
    size_t n;

    assert_int_equal(bk_file_read(p->dir, "f", buf, sizeof buf, &n), BK_E_NOTFOUND);
    assert_false(bk_file_exists(p->dir, "f"));
    assert_int_equal(bk_file_write(p->dir, "f", bk_slice_text("12345678")), BK_OK);
    assert_true(bk_file_exists(p->dir, "f"));
    assert_int_equal(bk_file_read(p->dir, "f", buf, sizeof buf, &n), BK_OK);
    assert_int_equal(n, 8);
    assert_memory_equal(buf, "12345678", 8);
    assert_int_equal(bk_file_read(p->dir, "f", buf, 7, &n), BK_E_NOSPACE);
    assert_int_equal(bk_file_write(p->dir, "f", bk_slice_text("1")), BK_OK); /* replaced */
    assert_int_equal(bk_file_read(p->dir, "f", buf, sizeof buf, &n), BK_OK);
    assert_int_equal(n, 1);
    bk_file_remove(p->dir, "f");
    bk_file_remove(p->dir, "f");
    assert_false(bk_file_exists(p->dir, "f"));
}

static void test_directories(void **state)
{
    struct place *p = *state;
    char path[160];
    struct stat st;

    place_path(p, "a/b/c", path);
    assert_int_equal(bk_dir_make(path), BK_OK);
    assert_int_equal(bk_dir_make(path), BK_OK); /* there already */
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    for (int i = 0; i < 2; i++) { /* leave it as place_remove wants it */
        assert_int_equal(rmdir(path), 0);
        *strrchr(path, '/') = '\0';
    }
    place_write_text(p, "file", "");
    place_path(p, "file/d", path);
    assert_int_equal(bk_dir_make(path), BK_E_IO);
    assert_int_equal(bk_dir_make(""), BK_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),
        WITH_PLACE(test_read_and_write),
        WITH_PLACE(test_directories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
