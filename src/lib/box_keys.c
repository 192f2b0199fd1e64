/* DIR/box.key. Invariant: at every moment the file under that name is whole, and holds the current pair. */
#include "lib/box_keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/reader.h"
#include "base/writer.h"
#include "core/agent/renewal.h"
#include "lib/fail.h"
#include "lib/files.h"

static const char file_box[] = "box.key";

enum {
    VERSION = 2,
    PAIR_BYTES = 2 * BK_KEY_BYTES,
    READ_AGAIN = 2,
    HAS_NEXT = 1,
    HAS_PREVIOUS = 2,
    BOX_FILE_BYTES = 1 + 1 + 3 * PAIR_BYTES + 8,
};

static void read_pair(struct bk_reader *r, struct bk_box_pair *out)
{
    bk_read_copy(r, out->public_key, sizeof out->public_key);
    bk_read_copy(r, out->secret_key, sizeof out->secret_key);
}

static void write_pair(struct bk_writer *w, const struct bk_box_pair *in)
{
    bk_write_bytes(w, BK_SLICE_OF(in->public_key));
    bk_write_bytes(w, BK_SLICE_OF(in->secret_key));
}

static bool is_key(const struct bk_box_pair *pair)
{
    static const struct bk_box_pair none;

    return memcmp(pair, &none, sizeof none) != 0;
}

/* version · flags · current · next · previous · u64 replaced; a pair that is not there is zeroes. A file of one bare
 * pair is what agents wrote before keys were renewed. */
static enum bk_err decode(struct bk_slice bytes, struct bk_box_keys *out)
{
    struct bk_reader r = bk_reader(bytes);
    uint8_t version, flags;

    *out = (struct bk_box_keys){0};
    if (bytes.n == PAIR_BYTES) {
        read_pair(&r, &out->current);
        return is_key(&out->current) ? bk_reader_end(&r) : BK_E_MALFORMED;
    }
    version = bk_read_u8(&r);
    flags = bk_read_u8(&r);
    if (version != VERSION || (flags & ~(HAS_NEXT | HAS_PREVIOUS)) != 0) {
        return BK_E_MALFORMED;
    }
    out->has_next = (flags & HAS_NEXT) != 0;
    out->has_previous = (flags & HAS_PREVIOUS) != 0;
    read_pair(&r, &out->current);
    read_pair(&r, &out->next);
    read_pair(&r, &out->previous);
    out->replaced_s = bk_read_u64(&r);
    return bk_reader_end(&r);
}

static enum bk_err read_once(const char *state_dir, struct bk_box_keys *out)
{
    uint8_t bytes[BOX_FILE_BYTES];
    size_t n;
    enum bk_err err = bk_file_read(state_dir, file_box, bytes, sizeof bytes, &n);

    if (err == BK_OK) {
        err = decode(bk_slice(bytes, n), out);
    }
    bk_wipe(bytes, sizeof bytes);
    return err;
}

enum beckon_status bk_box_keys_read(const char *state_dir, struct bk_box_keys *out,
                                    struct beckon_error *error)
{
    enum bk_err err = read_once(state_dir, out);

    for (unsigned i = 0; err == BK_E_MALFORMED && i < READ_AGAIN; i++) {
        err = read_once(state_dir, out); /* it was replaced, and overwritten, while we read */
    }
    if (err == BK_OK) {
        return BECKON_OK;
    }
    bk_wipe(out, sizeof *out);
    if (err == BK_E_NOTFOUND || err == BK_E_NOSPACE || err == BK_E_MALFORMED ||
        err == BK_E_TRUNCATED) {
        return bk_fail(error, err == BK_E_NOTFOUND ? BECKON_NOT_JOINED : BECKON_BAD_CONFIG,
                       "%s/%s is %s; calls fail until \"beckon-agent run\" has made another",
                       state_dir, file_box, err == BK_E_NOTFOUND ? "not there" : "damaged");
    }
    return bk_fail(error, BECKON_FAILED, "%s/%s cannot be read; check its owner and mode",
                   state_dir, file_box);
}

/* Zeroes over what a replaced file held. A disk may keep a copy all the same: flash wears evenly, journals log. */
static void overwrite(int fd)
{
    static const uint8_t zeroes[BOX_FILE_BYTES];
    struct stat st;

    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        size_t n = (size_t)st.st_size < sizeof zeroes ? (size_t)st.st_size : sizeof zeroes;

        if (pwrite(fd, zeroes, n, 0) == (ssize_t)n) {
            (void)fsync(fd);
        }
    }
}

/* box.key.XXXXXXXX.tmp, as net/file.c names what it has yet to put in place. */
static bool is_stray(const char *name)
{
    static const char ending[] = ".tmp";
    size_t begin = sizeof file_box - 1, n = strlen(name);

    return n > begin + sizeof ending && strncmp(name, file_box, begin) == 0 && name[begin] == '.' &&
           strcmp(name + n - (sizeof ending - 1), ending) == 0;
}

/* Writers hold the lock: what lies there now is nobody's. */
static void remove_strays(const char *state_dir)
{
    DIR *dir = opendir(state_dir);
    struct dirent *entry;

    /* cppcheck-suppress readdirCalled; the stream is ours alone, and readdir_r is deprecated */
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (is_stray(entry->d_name)) {
            int fd =
                openat(dirfd(dir), entry->d_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

            if (fd >= 0) {
                overwrite(fd);
                close(fd);
            }
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

enum bk_err bk_box_keys_write(const char *state_dir, const struct bk_box_keys *in)
{
    static const struct bk_box_pair none;
    uint8_t bytes[BOX_FILE_BYTES];
    struct bk_writer w = bk_writer(bytes, sizeof bytes);
    char path[BK_PATH_BYTES];
    enum bk_err err;
    int before;

    bk_write_u8(&w, VERSION);
    bk_write_u8(&w,
                (uint8_t)((in->has_next ? HAS_NEXT : 0) | (in->has_previous ? HAS_PREVIOUS : 0)));
    write_pair(&w, &in->current);
    write_pair(&w, in->has_next ? &in->next : &none);
    write_pair(&w, in->has_previous ? &in->previous : &none);
    bk_write_u64(&w, in->has_previous ? in->replaced_s : 0);
    if (bk_file_path(state_dir, file_box, path) != BK_OK) {
        errno = ENAMETOOLONG;
        return BK_E_IO;
    }
    before = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    err = bk_file_write(state_dir, file_box, bk_writer_bytes(&w));
    bk_wipe(bytes, sizeof bytes);
    if (before >= 0) {
        if (err == BK_OK) {
            overwrite(before);
        }
        close(before);
    }
    if (err == BK_OK) {
        remove_strays(state_dir);
    }
    return err;
}

bool bk_box_keys_outdated(const struct bk_box_keys *keys, uint64_t unix_s)
{
    uint64_t at = keys->replaced_s;

    if (!keys->has_previous || at == 0 || unix_s == 0) {
        return false;
    }
    /* Or the clock was set back since: then nobody knows how long ago that was. */
    return unix_s >= at ? unix_s - at >= BK_RENEWAL_BOX_KEPT_S
                        : at - unix_s > BK_RENEWAL_BOX_KEPT_S;
}

enum bk_err bk_box_keys_prune(const char *state_dir, uint64_t unix_s, bool waited, bool *left)
{
    struct bk_box_keys keys;
    struct beckon_error error;
    enum bk_err err = BK_OK;
    int lock = bk_box_keys_lock(state_dir);

    *left = true;
    if (lock < 0 || bk_box_keys_read(state_dir, &keys, &error) != BECKON_OK) {
        err = BK_E_IO;
    } else {
        bool untold = unix_s == 0 || keys.replaced_s == 0;

        if (keys.has_previous && ((waited && untold) || bk_box_keys_outdated(&keys, unix_s))) {
            keys.has_previous = false;
            err = bk_box_keys_write(state_dir, &keys);
        }
        *left = err != BK_OK || keys.has_previous;
        bk_wipe(&keys, sizeof keys);
    }
    bk_box_keys_unlock(lock);
    return err;
}

int bk_box_keys_lock(const char *state_dir)
{
    int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int kept = errno;

        close(fd);
        errno = kept;
        fd = -1;
    }
    return fd;
}

void bk_box_keys_unlock(int lock)
{
    if (lock >= 0) {
        close(lock);
    }
}
