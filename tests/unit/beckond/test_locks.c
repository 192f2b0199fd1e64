/* A file system without locks (some that are mounted from elsewhere): commands that need one say so, and end. */
#include "beckond/commands.h"

#include <errno.h>
#include <sys/file.h>

#include "bin/beckond/state.h"

enum {
    LIMIT_S = 20, /* a command that tries for ever is ended by SIGALRM, and the test with it */
};

/* The linker puts it in the place of the system's (CMakeLists.txt). */
int __wrap_flock(int fd, int operation);

static unsigned asked;

int __wrap_flock(int fd, int operation)
{
    (void)fd;
    (void)operation;
    asked++;
    errno = ENOLCK;
    return -1;
}

static void test_epoch(void **state)
{
    const struct place *p = *state;
    struct bk_master_key keys[BK_SERVER_EPOCHS_MAX];
    char dir[160];
    size_t n = 0;

    (void)snprintf(dir, sizeof dir, "%s/state", p->dir);
    assert_int_equal(RUN(&bk_cmd_init, "init", "--state", dir, "--host", "h"), 0);
    (void)alarm(LIMIT_S);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", dir), BECKON_FAILED);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "list", "--state", dir), BECKON_FAILED);
    (void)alarm(0);
    assert_int_equal(asked, 2);
    assert_int_equal(bk_state_master_load(dir, keys, &n), BK_OK);
    assert_int_equal(n, 1);
    empty(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_epoch, place_make, place_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
