/* The socket address of the admin socket. Opens nothing. */
#include "bin/beckond/unix_path.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "bin/beckond/state.h"

enum bk_err bk_unix_path(const char *dir, int dir_fd, struct sockaddr_un *out)
{
    int n;

    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    n = snprintf(out->sun_path, sizeof out->sun_path, "%s/%s", dir, BK_STATE_SOCKET);
    if (n >= 0 && (size_t)n < sizeof out->sun_path) {
        return BK_OK;
    }
    n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", dir_fd,
                 BK_STATE_SOCKET);
    return n >= 0 && (size_t)n < sizeof out->sun_path ? BK_OK : BK_E_NOSPACE;
}
