/* The other end of the admin socket: one request, and the answer's lines. */
#include "bin/beckond/admin_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/say.h"
#include "bin/beckond/unix_path.h"
#include "wire/attrs.h"

/* Calls on a socket with a time limit are broken off when their process is stopped and goes on (signal(7)), as by
 * ^Z and fg: these two take them up again. */
static int connect_on(int fd, const struct sockaddr_un *addr)
{
    int ret;

    do {
        ret = connect(fd, (const struct sockaddr *)addr, sizeof *addr);
    } while (ret != 0 && errno == EINTR);
    return ret;
}

static ssize_t read_on(void *cookie, char *buf, size_t cap)
{
    const int *fd = cookie;
    ssize_t n;

    do {
        n = read(*fd, buf, cap);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* A connected socket, or -1 and errno. */
static int connect_admin(const char *dir)
{
    const struct timeval timeout = {.tv_sec = BK_ADMIN_TIMEOUT_S};
    struct sockaddr_un addr;
    int fd = -1, error, dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0) {
        return -1;
    }
    if (bk_unix_path(dir, dir_fd, &addr) != BK_OK) {
        errno = ENAMETOOLONG;
    } else {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0 ||
                    connect_on(fd, &addr) != 0)) {
        error = errno;
        (void)close(fd);
        errno = error;
        fd = -1;
    }
    error = errno;
    (void)close(dir_fd);
    errno = error;
    return fd;
}

/* Nobody listens: no socket, or one that a killed server left. */
static bool not_running(int error)
{
    return error == ENOENT || error == ECONNREFUSED;
}

/* Reads lines until "end"; BK_E_CLOSED if it does not come. */
static enum bk_err read_lines(FILE *f, bool (*each)(void *ctx, struct bk_slice line), void *ctx)
{
    char line[BK_ADMIN_LINE_MAX_BYTES * 2];

    while (fgets(line, sizeof line, f) != NULL) {
        size_t n = strlen(line);
        if (n == 0 || line[n - 1] != '\n') {
            return BK_E_CLOSED;
        }
        if (bk_slice_equal(bk_slice(line, n - 1), bk_slice_text(BK_ADMIN_END))) {
            return BK_OK;
        }
        if (each == NULL || !each(ctx, bk_slice(line, n - 1))) {
            return BK_E_MALFORMED;
        }
    }
    return BK_E_CLOSED;
}

/* Sends the request over `fd`, which it takes, and reads the answer. */
static enum bk_err talk(int fd, const char *request, bool (*each)(void *ctx, struct bk_slice line),
                        void *ctx)
{
    char line[BK_ADMIN_LINE_MAX_BYTES];
    enum bk_err err = BK_E_CLOSED;
    int n = snprintf(line, sizeof line, "%s\n", request);
    FILE *f;

    if (n < 0 || (size_t)n >= sizeof line || send(fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
        (void)close(fd);
        return err;
    }
    f = fopencookie(&fd, "r", (cookie_io_functions_t){.read = read_on});
    if (f != NULL) {
        err = read_lines(f, each, ctx);
        (void)fclose(f);
    }
    (void)close(fd);
    return err;
}

/* The next word of a line, taken off its front. */
static struct bk_slice word_of(struct bk_slice *line)
{
    size_t n = 0;
    struct bk_slice w;

    while (n < line->n && line->p[n] != ' ') {
        n++;
    }
    w = bk_slice(line->p, n);
    *line = n < line->n ? bk_slice(line->p + n + 1, line->n - n - 1) : BK_SLICE_EMPTY;
    return w;
}

bool bk_admin_row_read(struct bk_slice line, struct bk_admin_row *out)
{
    uint64_t epoch;

    if (bk_equipment_id_parse(word_of(&line), &out->id) != BK_OK ||
        bk_addr_parse(word_of(&line), 0, &out->addr) != BK_OK ||
        bk_number_parse(word_of(&line), UINT64_MAX, &out->age_s) != BK_OK ||
        bk_number_parse(word_of(&line), UINT16_MAX, &epoch) != BK_OK || line.n != 0) {
        return false;
    }
    out->epoch = (uint16_t)epoch;
    return true;
}

static enum beckon_status no_answer(const char *dir)
{
    bk_say("the server of %s did not answer as it should; see its log", dir);
    return BECKON_FAILED;
}

bool bk_admin_running(const char *dir)
{
    int fd = connect_admin(dir);

    if (fd < 0) {
        return !not_running(errno);
    }
    (void)close(fd);
    return true;
}

enum beckon_status bk_admin_tell(const char *dir, const char *what, const char *word)
{
    char request[BK_ADMIN_LINE_MAX_BYTES];
    int fd = connect_admin(dir);

    if (fd < 0 && not_running(errno)) {
        return BECKON_OK;
    }
    if (fd < 0) {
        bk_say("the change is made, but the running server could not be told: %s; restart it",
               strerror(errno));
        return BECKON_FAILED;
    }
    (void)snprintf(request, sizeof request, "%s%s%s", what, word == NULL ? "" : " ",
                   word == NULL ? "" : word);
    if (talk(fd, request, NULL, NULL) != BK_OK) {
        bk_say("the change is made, but the running server did not confirm it; restart it");
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

enum beckon_status bk_admin_ask(const char *dir, const char *request,
                                bool (*each)(void *ctx, struct bk_slice line), void *ctx)
{
    int fd = connect_admin(dir);

    if (fd < 0 && not_running(errno)) {
        bk_say("no server is running on %s; start it with beckond run --state %s", dir, dir);
        return BECKON_FAILED;
    }
    if (fd < 0) {
        bk_say("the server of %s cannot be asked: %s; run this as its user", dir, strerror(errno));
        return BECKON_FAILED;
    }
    return talk(fd, request, each, ctx) == BK_OK ? BECKON_OK : no_answer(dir);
}
