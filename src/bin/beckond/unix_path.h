/* The address of the admin socket, however long the state directory's name is: a socket address holds
 * 107 bytes only, so that a longer path is taken by way of /proc/self/fd and the open directory. */
#ifndef BK_BECKOND_UNIX_PATH_H
#define BK_BECKOND_UNIX_PATH_H

#include <sys/un.h>

#include "base/err.h"

/* `dir_fd` is the open state directory and stays open while the address is used. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_unix_path(const char *dir, int dir_fd, struct sockaddr_un *out);

#endif
