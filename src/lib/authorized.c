/* DIR/authorized_users, read anew for every call, line by line: a wrong line costs that line and nothing else. */
#include "lib/authorized.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fail.h"
#include "lib/files.h"

static const char file_authorized[] = "authorized_users";

enum {
    LINE_BYTES = 512,
    LINES_MAX = 4096, /* what lies beyond is not read */
    WRONG_LINES_TOLD = 8,
};

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word; empty at the end. */
static struct bk_slice word(struct bk_slice *line)
{
    struct bk_slice out;

    while (line->n > 0 && blank(line->p[0])) {
        line->p++;
        line->n--;
    }
    out = bk_slice(line->p, 0);
    while (line->n > 0 && !blank(line->p[0])) {
        line->p++;
        line->n--;
        out.n++;
    }
    return out;
}

/* Fit for one word of the audit line. */
static bool name_fits(struct bk_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '.' && c != '_' && c != '-' && c != '@') {
            return false;
        }
    }
    return name.n > 0;
}

enum bk_err bk_authorized_line(struct bk_slice line, struct bk_authorized *out)
{
    struct bk_slice key = word(&line), name = word(&line), access = word(&line);

    if (key.n == 0 || key.p[0] == '#') {
        return BK_E_NOTFOUND;
    }
    if (access.n == 0) {
        access = bk_slice_text(BK_ACCESS_OWNER);
    }
    if (word(&line).n > 0 || bk_caller_key_parse(key, out->key) != BK_OK || !name_fits(name) ||
        !bk_slice_to_text(name, out->name, sizeof out->name) || !bk_name_valid(access) ||
        !bk_slice_to_text(access, out->access, sizeof out->access)) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

struct reading {
    FILE *file;
    char path[BK_PATH_BYTES];
    unsigned number; /* of the line just read */
    unsigned wrong;
    beckon_log log;
    void *ctx;
};

static void tell_wrong(struct reading *r, const char *what)
{
    r->wrong++;
    if (r->wrong <= WRONG_LINES_TOLD) {
        bk_log(r->log, r->ctx, 0, "%s:%u: %s; the line does not count", r->path, r->number, what);
    }
}

/* The next line that is not too long, without its end; false at the end of the file. */
static bool next_line(struct reading *r, char text[LINE_BYTES], struct bk_slice *line)
{
    while (r->number < LINES_MAX) {
        size_t n = 0;
        bool cut = false;
        int c = getc(r->file);

        if (c == EOF) {
            return false;
        }
        r->number++;
        for (; c != EOF && c != '\n'; c = getc(r->file)) {
            cut = cut || n == LINE_BYTES;
            if (!cut) {
                text[n++] = (char)c;
            }
        }
        if (!cut) {
            *line = bk_slice(text, n);
            return true;
        }
        tell_wrong(r, "longer than 512 bytes");
    }
    if (getc(r->file) != EOF) {
        bk_log(r->log, r->ctx, 0, "%s: lines beyond %d are not read; remove some", r->path,
               LINES_MAX);
    }
    return false;
}

static enum bk_err open_file(struct reading *r, const char *state_dir)
{
    struct stat st;
    int fd;

    if (bk_file_path(state_dir, file_authorized, r->path) != BK_OK) {
        return BK_E_NOTFOUND;
    }
    fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return BK_E_NOTFOUND;
    }
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        bk_log(r->log, r->ctx, 0, "%s: %s", r->path, fd < 0 ? strerror(errno) : "not a file");
        if (fd >= 0) {
            close(fd);
        }
        return BK_E_IO;
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        bk_log(r->log, r->ctx, 0,
               "%s may be written by others than its owner, so nothing in it counts; run "
               "\"chmod go-w\" on it",
               r->path);
        close(fd);
        return BK_E_AUTH;
    }
    r->file = fdopen(fd, "r");
    if (r->file == NULL) {
        close(fd);
        return BK_E_IO;
    }
    return BK_OK;
}

enum bk_err bk_authorized_find(const char *state_dir, const struct bk_agent_config *config,
                               const uint8_t key[BK_KEY_BYTES], beckon_log log, void *ctx,
                               struct bk_authorized *out)
{
    struct reading r = {.log = log, .ctx = ctx};
    char text[LINE_BYTES];
    struct bk_slice line;
    enum bk_err err = open_file(&r, state_dir);

    if (err != BK_OK) {
        return err;
    }
    err = BK_E_NOTFOUND;
    while (err == BK_E_NOTFOUND && next_line(&r, text, &line)) {
        enum bk_err read = bk_authorized_line(line, out);

        if (read == BK_E_MALFORMED) {
            tell_wrong(&r, "not \"KEY NAME [ACCESS]\"");
        } else if (read == BK_OK && bk_access_find(config, bk_slice_text(out->access)) == NULL) {
            tell_wrong(&r, "no such [access] in agent.conf");
        } else if (read == BK_OK && memcmp(out->key, key, sizeof out->key) == 0) {
            err = BK_OK;
        }
    }
    (void)fclose(r.file);
    return err;
}
