/* Any bytes as authorized_users. No line of it lets anybody in but a whole one with that very key, a name that is one
 * word of the audit, and an access that there is; every complaint is one plain line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "lib/authorized.h"

static char dir[] = "/tmp/beckon-fuzz-XXXXXX";
static char path[64];
static int file = -1;
static const struct bk_agent_config config = {.n_accesses = 2,
                                              .accesses = {{.name = "owner"}, {.name = "lodger"}}};

static void clean(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

/* The name leads to a file in memory. */
static void make_folder(void)
{
    char target[64];
    require(mkdtemp(dir) != NULL && atexit(clean) == 0);
    require(snprintf(path, sizeof path, "%s/authorized_users", dir) < 64);
    file = memfd_create("fuzz", MFD_CLOEXEC);
    require(file >= 0 && fchmod(file, 0600) == 0);
    require(snprintf(target, sizeof target, "/proc/self/fd/%d", file) < 64);
    require(symlink(target, path) == 0);
}

static void put(const uint8_t *data, size_t size)
{
    size_t done = 0;
    require(ftruncate(file, 0) == 0);
    while (done < size) {
        ssize_t n = pwrite(file, data + done, size - done, (off_t)done);
        require(n > 0);
        done += (size_t)n;
    }
}

static void on_line(void *ctx, int level, const char *line)
{
    unsigned *lines = ctx;
    ++*lines;
    require(level == 0 && line[0] != '\0');
    for (const char *c = line; *c != '\0'; c++) {
        require((unsigned char)*c >= ' ' && *c != 0x7F);
    }
}

static void is_whole(const struct bk_authorized *got)
{
    require(bk_name_valid(bk_slice_text(got->access)));
    require(got->name[0] != '\0' && strlen(got->name) < BK_AUTHORIZED_NAME_BYTES);
    for (const char *c = got->name; *c != '\0'; c++) {
        require(*c > ' ' && *c < 0x7F && *c != '/' && *c != ':' && *c != '=');
    }
}

static void look_for(const uint8_t *key)
{
    struct bk_authorized got;
    unsigned lines = 0;
    enum bk_err err = bk_authorized_find(dir, &config, key, on_line, &lines, &got);
    require(err == BK_OK || err == BK_E_NOTFOUND);
    require(lines <= 8);
    if (err == BK_OK) {
        require(memcmp(got.key, key, sizeof got.key) == 0);
        require(bk_access_find(&config, bk_slice_text(got.access)) != NULL);
        is_whole(&got);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bk_authorized got;
    const uint8_t none[BK_KEY_BYTES] = {0};
    const uint8_t *end = memchr(data, '\n', size);
    if (file < 0) {
        make_folder();
    }
    put(data, size);
    look_for(none);
    if (bk_authorized_line(bk_slice(data, end == NULL ? size : (size_t)(end - data)), &got) ==
        BK_OK) {
        is_whole(&got);
        look_for(got.key); /* its first line, perhaps of an access that there is not */
    }
    return 0;
}
