/* cmocka and what it wants before it, and a directory of a test's own. */
#ifndef BK_TEST_LIB_PLACE_H
#define BK_TEST_LIB_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beckon/beckon.h"

struct place {
    char dir[64];
};

static inline int place_make(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    if (p == NULL) {
        return -1;
    }
    *state = p;
    (void)snprintf(p->dir, sizeof p->dir, "/tmp/beckon-test-XXXXXX");
    return mkdtemp(p->dir) == NULL ? -1 : 0;
}

static inline int place_remove(void **state)
{
    struct place *p = *state;
    DIR *d = opendir(p->dir);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            unlinkat(dirfd(d), e->d_name, 0) != 0) {
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(d);
    (void)rmdir(p->dir);
    free(p);
    return 0;
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static inline void place_path(const struct place *p, const char *name, char out[160])
{
    assert_true(snprintf(out, 160, "%s/%s", p->dir, name) < 160);
}

static inline void place_write(const struct place *p, const char *name, const char *bytes, size_t n)
{
    char path[160];
    FILE *f;

    place_path(p, name, path);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void place_write_text(const struct place *p, const char *name, const char *text)
{
    place_write(p, name, text, strlen(text));
}

/* The status, and one plain line that contains `what`. */
static inline void assert_error(const struct beckon_error *error, enum beckon_status status,
                                const char *what)
{
    assert_int_equal(error->status, status);
    assert_true(error->text[0] != '\0');
    for (const char *c = error->text; *c != '\0'; c++) {
        assert_true((unsigned char)*c >= ' ');
    }
    if (strstr(error->text, what) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", error->text, what);
    }
}

#endif
