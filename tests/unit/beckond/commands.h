/* Commands of beckond, run as a shell would, and directories that they leave. */
#ifndef BK_TESTS_BECKOND_COMMANDS_H
#define BK_TESTS_BECKOND_COMMANDS_H

#include "beckond/setup.h"

#include "bin/beckond/cmd.h"

static inline int run(const struct bk_command *command, const char *const *args)
{
    char *argv[12], *copies[12];
    int argc = 0, status;

    for (; args[argc] != NULL; argc++) {
        argv[argc] = strdup(args[argc]);
        assert_non_null(argv[argc]);
    }
    memcpy(copies, argv, sizeof copies);
    status = (int)command->run(argc, argv);
    (void)fflush(stdout);
    for (int i = 0; i < argc; i++) {
        free(copies[i]);
    }
    return status;
}

#define RUN(command, ...) run(command, (const char *const[]){__VA_ARGS__, NULL})

static inline void empty(const char *dir)
{
    struct place *p = calloc(1, sizeof *p);
    void *inside = p;

    assert_non_null(p);
    assert_in_range(snprintf(p->dir, sizeof p->dir, "%s", dir), 1, sizeof p->dir - 1);
    (void)place_remove(&inside);
}

#endif
