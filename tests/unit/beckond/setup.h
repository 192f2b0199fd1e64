/* cmocka and what it wants before it, and a directory of a test's own. */
#ifndef BK_TESTS_BECKOND_SETUP_H
#define BK_TESTS_BECKOND_SETUP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    char dir[64];
    char path[128]; /* a file in it */
};

static inline int place_make(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    if (p == NULL) {
        return -1;
    }
    *state = p;
    (void)snprintf(p->dir, sizeof p->dir, "/tmp/beckond-test-XXXXXX");
    if (mkdtemp(p->dir) == NULL) {
        return -1;
    }
    (void)snprintf(p->path, sizeof p->path, "%s/file", p->dir);
    return 0;
}

static inline int place_remove(void **state)
{
    struct place *p = *state;
    DIR *d = opendir(p->dir);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    (void)rmdir(p->dir);
    free(p);
    return 0;
}

#endif
