/* Small files, whole or not at all. A crash at any moment leaves the old file, the new one, or at worst a
 * stray temporary beside them; never a half-written one under the real name. */
#include "net/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_MAX_BYTES = 1024,
};

static enum bk_err write_all(int fd, struct bk_slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return BK_E_IO;
        }
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return fsync(fd) == 0 ? BK_OK : BK_E_IO;
}

/* Where a file is to lie: a path, or a name in a folder that is open (`at`, else AT_FDCWD). */
static int open_folder(int at, const char *path)
{
    char folder[PATH_MAX_BYTES];
    const char *slash = strrchr(path, '/');
    if (at != AT_FDCWD || slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    return openat(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The folder must be synced too, or the new name may be lost with the power. */
static void sync_folder(int at, const char *path)
{
    int fd = open_folder(at, path);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

/* What root puts into somebody's folder is for that one to read: a daemon under its own user, say. */
static enum bk_err give_to_owner(int fd, int at, const char *path)
{
    if (geteuid() != 0) {
        return BK_OK;
    }
    struct stat st;
    int folder = open_folder(at, path);
    bool known = folder >= 0 && fstat(folder, &st) == 0;
    if (folder >= 0) {
        close(folder);
    }
    if (!known) {
        return BK_E_IO;
    }
    return st.st_uid == 0 || fchown(fd, st.st_uid, st.st_gid) == 0 ? BK_OK : BK_E_IO;
}

static enum bk_err put_in_place(int at, const char *temporary, const char *path, bool overwrite)
{
    if (overwrite) {
        return renameat(at, temporary, at, path) == 0 ? BK_OK : BK_E_IO;
    }
    /* link() refuses an existing name without a race. */
    if (linkat(at, temporary, at, path, 0) != 0) {
        return errno == EEXIST ? BK_E_EXISTS : BK_E_IO;
    }
    return unlinkat(at, temporary, 0) == 0 ? BK_OK : BK_E_IO;
}

static enum bk_err save(int at, const char *path, struct bk_slice bytes, unsigned mode,
                        bool overwrite)
{
    char temporary[PATH_MAX_BYTES];
    uint32_t salt = 0;
    if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt) {
        return BK_E_IO;
    }
    int n = snprintf(temporary, sizeof temporary, "%s.%08x.tmp", path, (unsigned)salt);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return BK_E_IO;
    }
    int fd = openat(at, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return BK_E_IO;
    }
    enum bk_err err = write_all(fd, bytes);
    if (err == BK_OK) {
        err = give_to_owner(fd, at, path);
    }
    /* After writing, so that the umask does not decide. */
    if (err == BK_OK && fchmod(fd, (mode_t)mode) != 0) {
        err = BK_E_IO;
    }
    int saved = errno;
    if (close(fd) != 0 && err == BK_OK) {
        saved = errno;
        err = BK_E_IO;
    }
    if (err == BK_OK) {
        err = put_in_place(at, temporary, path, overwrite);
        saved = errno;
    }
    if (err != BK_OK) {
        (void)unlinkat(at, temporary, 0);
    } else {
        sync_folder(at, path);
    }
    errno = saved;
    return err;
}

enum bk_err bk_file_save(const char *path, struct bk_slice bytes, unsigned mode, bool overwrite)
{
    return save(AT_FDCWD, path, bytes, mode, overwrite);
}

enum bk_err bk_file_save_at(int folder, const char *name, struct bk_slice bytes, unsigned mode)
{
    return save(folder, name, bytes, mode, true);
}

static enum bk_err load(int at, const char *path, int flags, uint8_t *buf, size_t cap, size_t *n)
{
    *n = 0;
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);
    if (fd < 0) {
        return errno == ENOENT ? BK_E_NOTFOUND : BK_E_IO;
    }
    struct stat st;
    enum bk_err err = BK_OK;
    if (fstat(fd, &st) != 0) {
        err = BK_E_IO;
    } else if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        err = BK_E_IO;
    }
    while (err == BK_OK) {
        uint8_t beyond;
        bool full = *n == cap;
        ssize_t got = full ? read(fd, &beyond, 1) : read(fd, buf + *n, cap - *n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0) {
            break;
        }
        if (got < 0) {
            err = BK_E_IO;
        } else if (full) {
            err = BK_E_NOSPACE;
        } else {
            *n += (size_t)got;
        }
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return err;
}

enum bk_err bk_file_load(const char *path, uint8_t *buf, size_t cap, size_t *n)
{
    return load(AT_FDCWD, path, 0, buf, cap, n);
}

enum bk_err bk_file_load_at(int folder, const char *name, uint8_t *buf, size_t cap, size_t *n)
{
    return load(folder, name, O_NOFOLLOW, buf, cap, n);
}
