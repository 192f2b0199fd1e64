/* From root to an ordinary user. Trusts no return value alone: what the process has become is asked of the kernel,
 * and the way back is tried. */
#include "net/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    PASSWD_BYTES = 2048, /* what one entry of the user database may take */
};

struct account {
    uid_t uid;
    gid_t gid;
};

static enum bk_err find(const char *user, struct account *out, char *why, size_t why_bytes)
{
    char text[PASSWD_BYTES];
    struct passwd entry, *found = NULL;
    int err = getpwnam_r(user, &entry, text, sizeof text, &found);

    if (found != NULL) {
        *out = (struct account){.uid = found->pw_uid, .gid = found->pw_gid};
        return BK_OK;
    }
    /* Some databases tell by an error what others tell by an empty answer: getpwnam(3). */
    if (err == 0 || err == ENOENT || err == ESRCH) {
        (void)snprintf(why, why_bytes,
                       "there is no user \"%.64s\" on this machine; create one (adduser --system "
                       "%.64s) or change \"user\"",
                       user, user);
        return BK_E_NOTFOUND;
    }
    errno = err;
    (void)snprintf(why, why_bytes, "user \"%.64s\" cannot be looked up: %s", user, strerror(err));
    return BK_E_IO;
}

static bool is(const struct account *to)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;

    return getresuid(&r, &e, &s) == 0 && r == to->uid && e == to->uid && s == to->uid &&
           getresgid(&rg, &eg, &sg) == 0 && rg == to->gid && eg == to->gid && sg == to->gid;
}

/* Being root again must fail in every way there is. */
static bool no_way_back(void)
{
    return setuid(0) != 0 && seteuid(0) != 0 && setresuid(0, 0, 0) != 0 &&
           setresuid((uid_t)-1, 0, (uid_t)-1) != 0 && setgroups(0, NULL) != 0;
}

static enum bk_err become(const char *user, const struct account *to, char *why, size_t why_bytes)
{
    /* Groups first: they can no longer be changed once root is gone. */
    if (initgroups(user, to->gid) != 0 || setresgid(to->gid, to->gid, to->gid) != 0 ||
        setresuid(to->uid, to->uid, to->uid) != 0) {
        (void)snprintf(why, why_bytes, "cannot become user \"%.64s\": %s", user, strerror(errno));
        return BK_E_IO;
    }
    if (!is(to) || (to->uid != 0 && !no_way_back())) {
        (void)snprintf(why, why_bytes,
                       "became user \"%.64s\", but could be root again; not going on", user);
        return BK_E_IO;
    }
    return BK_OK;
}

enum bk_err bk_privileges_drop(const char *user, char *why, size_t why_bytes)
{
    struct account to;
    enum bk_err err = BK_OK;

    if (user != NULL && user[0] != '\0') {
        err = find(user, &to, why, why_bytes);
        if (err == BK_OK && geteuid() == 0) {
            err = become(user, &to, why, why_bytes);
        } else if (err == BK_OK && geteuid() != to.uid) {
            (void)snprintf(why, why_bytes,
                           "only root can become user \"%.64s\"; start as root or as that user, or "
                           "take \"user\" out",
                           user);
            err = BK_E_STATE;
        }
    }
    if (err == BK_OK && prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0) {
        (void)snprintf(why, why_bytes, "no_new_privs cannot be set: %s", strerror(errno));
        err = BK_E_IO;
    }
    return err;
}
