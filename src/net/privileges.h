/* Giving up root for good, before anybody is served. */
#ifndef BK_NET_PRIVILEGES_H
#define BK_NET_PRIVILEGES_H

#include <stddef.h>

#include "base/err.h"

enum {
    BK_PRIVILEGES_WHY_BYTES = 200,
};

/* Started by root: becomes `user`, with that user's groups and no others, and sees to it that there is no way
 * back. Started by `user`: fine. `user` NULL or empty: this process keeps the user it has. In every case it and
 * all that it starts gain no privilege by exec (no_new_privs) from now on.
 *
 * To be called by one thread, after what needs root (ports below 1024, files of root's) is open. BK_E_NOTFOUND: there
 * is no such user; BK_E_STATE: we are another user, and not root; BK_E_IO: the system refused. Then `why` is one
 * line that says what to do, and the program must not go on. */
BK_NODISCARD enum bk_err bk_privileges_drop(const char *user, char *why, size_t why_bytes);

#endif
