/* Giving up root, each time in a child. Some of it can be seen by root alone; others see the refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/privileges.h"

#define NOBODY "nobody"

enum {
    NOBODY_UID = 65534,
};

static char why[BK_PRIVILEGES_WHY_BYTES];

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: not so (%s)\n", __LINE__, why);                              \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void in_child(void (*what)(void))
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        what();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int no_new_privs(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

static void without_a_name(void)
{
    uid_t before = geteuid();

    MUST(no_new_privs() == 0);
    MUST(bk_privileges_drop(NULL, why, sizeof why) == BK_OK);
    MUST(no_new_privs() == 1);
    MUST(bk_privileges_drop("", why, sizeof why) == BK_OK);
    MUST(geteuid() == before);
}

static void test_without_a_name(void **state)
{
    (void)state;
    in_child(without_a_name);
}

static void of_an_unknown_user(void)
{
    uid_t before = geteuid();

    MUST(bk_privileges_drop("no-such-user-here", why, sizeof why) == BK_E_NOTFOUND);
    MUST(strstr(why, "no-such-user-here") != NULL && strchr(why, '\n') == NULL);
    MUST(geteuid() == before);
}

static void of_a_long_name(void)
{
    char name[1000];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    MUST(bk_privileges_drop(name, why, sizeof why) != BK_OK);
    MUST(strlen(why) < sizeof why);
}

static void test_unknown_user(void **state)
{
    (void)state;
    in_child(of_an_unknown_user);
    in_child(of_a_long_name);
}

static void from_root(void)
{
    gid_t groups[64];
    uid_t r, e, s;

    /* A group of root's that the user does not have must not stay. */
    MUST(setgroups(2, (const gid_t[]){0, 12345}) == 0);
    MUST(bk_privileges_drop(NOBODY, why, sizeof why) == BK_OK);
    MUST(getresuid(&r, &e, &s) == 0 && r == NOBODY_UID && e == NOBODY_UID && s == NOBODY_UID);
    MUST(getresgid(&r, &e, &s) == 0 && r != 0 && e != 0 && s != 0);
    int n = getgroups(64, groups);

    MUST(n >= 0);
    for (int i = 0; i < n; i++) {
        MUST(groups[i] != 0 && groups[i] != 12345);
    }
    MUST(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0);
    MUST(no_new_privs() == 1);
    MUST(bk_privileges_drop(NOBODY, why, sizeof why) == BK_OK); /* that is who we are */
}

static void from_another(void)
{
    MUST(bk_privileges_drop("root", why, sizeof why) == BK_E_STATE);
    MUST(strstr(why, "root") != NULL);
}

static void from_nobody(void)
{
    MUST(setgid(NOBODY_UID) == 0 && setuid(NOBODY_UID) == 0);
    MUST(bk_privileges_drop(NOBODY, why, sizeof why) == BK_OK);
    from_another();
}

static void stays_root(void)
{
    MUST(bk_privileges_drop("root", why, sizeof why) == BK_OK);
    MUST(geteuid() == 0 && no_new_privs() == 1);
}

static void as_oneself(void)
{
    const struct passwd *self = getpwuid(geteuid());

    MUST(self != NULL && bk_privileges_drop(self->pw_name, why, sizeof why) == BK_OK);
    MUST(no_new_privs() == 1);
}

static void test_users(void **state)
{
    (void)state;
    in_child(as_oneself);
    if (geteuid() == 0) {
        in_child(from_root);
        in_child(from_nobody);
        in_child(stays_root);
    } else {
        in_child(from_another);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_name),
        cmocka_unit_test(test_unknown_user),
        cmocka_unit_test(test_users),
    };

    return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
