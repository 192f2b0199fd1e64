/* Saying that we serve, once. */
#include "bin/common/ready.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A path, or an abstract name written with '@' for its first byte. */
static enum bk_err notify(const char *name)
{
    static const char message[] = "READY=1";
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    socklen_t len;
    ssize_t sent;
    int fd;

    if ((name[0] != '/' && name[0] != '@') || n >= sizeof addr.sun_path) {
        return BK_E_IO;
    }
    memcpy(addr.sun_path, name, n);
    if (name[0] == '@') {
        addr.sun_path[0] = '\0';
    }
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return BK_E_IO;
    }
    sent =
        sendto(fd, message, sizeof message - 1, MSG_NOSIGNAL, (const struct sockaddr *)&addr, len);
    (void)close(fd);
    return sent == (ssize_t)(sizeof message - 1) ? BK_OK : BK_E_IO;
}

enum bk_err bk_ready_tell(void)
{
    const char *name = getenv("NOTIFY_SOCKET");

    if (puts("ready") < 0 || fflush(stdout) != 0) {
        return BK_E_IO;
    }
    return name == NULL || name[0] == '\0' ? BK_OK : notify(name);
}
