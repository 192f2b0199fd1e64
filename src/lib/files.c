/* Paths and files of a state directory. Decides nothing about what is in them. */
#include "lib/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/file.h"

enum bk_err bk_file_path(const char *dir, const char *name, char out[BK_PATH_BYTES])
{
    int n = snprintf(out, BK_PATH_BYTES, "%s/%s", dir, name);

    return n < 0 || n >= BK_PATH_BYTES ? BK_E_RANGE : BK_OK;
}

bool bk_file_exists(const char *dir, const char *name)
{
    char path[BK_PATH_BYTES];

    return bk_file_path(dir, name, path) == BK_OK && access(path, F_OK) == 0;
}

enum bk_err bk_file_read(const char *dir, const char *name, uint8_t *out, size_t cap, size_t *n)
{
    char path[BK_PATH_BYTES];

    return bk_file_path(dir, name, path) == BK_OK ? bk_file_load(path, out, cap, n) : BK_E_NOTFOUND;
}

enum bk_err bk_file_write(const char *dir, const char *name, struct bk_slice bytes)
{
    char path[BK_PATH_BYTES];

    if (bk_file_path(dir, name, path) != BK_OK) {
        errno = ENAMETOOLONG;
        return BK_E_IO;
    }
    return bk_file_save(path, bytes, 0600, true);
}

void bk_file_remove(const char *dir, const char *name)
{
    char path[BK_PATH_BYTES];

    if (bk_file_path(dir, name, path) == BK_OK) {
        unlink(path);
    }
}

enum bk_err bk_dir_make(const char *dir)
{
    char path[BK_PATH_BYTES];
    size_t n = strlen(dir);

    if (n == 0 || n >= sizeof path) {
        errno = ENAMETOOLONG;
        return BK_E_IO;
    }
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        char kept = path[i];

        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return BK_E_IO;
        }
        path[i] = kept;
    }
    return BK_OK;
}
