/* Pins and names of devices (see client_state.h): trust at first contact, or a pin taken from a beckon://
 * URI. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/number.h"
#include "lib/client_state.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "seal/seal.h"

static const char file_known[] = "known_devices";

/* Takes the next line off `text`. */
static bool next_line(struct bk_slice *text, struct bk_slice *line)
{
    const uint8_t *end;

    if (text->n == 0) {
        return false;
    }
    end = memchr(text->p, '\n', text->n);
    line->p = text->p;
    line->n = end == NULL ? text->n : (size_t)(end - text->p);
    text->p += end == NULL ? text->n : line->n + 1;
    text->n -= end == NULL ? text->n : line->n + 1;
    return true;
}

/* Takes the word before the only space of a line off its front. */
static bool split(struct bk_slice line, struct bk_slice *first, struct bk_slice *second)
{
    const uint8_t *space = memchr(line.p, ' ', line.n);

    if (space == NULL) {
        return false;
    }
    first->p = line.p;
    first->n = (size_t)(space - line.p);
    second->p = space + 1;
    second->n = line.n - first->n - 1;
    return true;
}

/* What is looked for, and what was found. */
struct search {
    uint64_t equipment_id; /* of a pin, or 0 */
    struct bk_slice name;  /* of a device, or empty */
    bool found;
    uint8_t pin[BK_PIN_BYTES];
    uint64_t named_id;
};

/* "2133 FINGERPRINT" or "lamp 2133"; of several that fit the first counts. */
static bool take_line(struct bk_slice line, struct search *s)
{
    struct bk_slice first, second;
    uint8_t pin[BK_PIN_BYTES];
    uint64_t id;

    if (!split(line, &first, &second)) {
        return false;
    }
    if (bk_name_valid(first)) {
        if (bk_equipment_id_parse(second, &id) != BK_OK) {
            return false;
        }
        if (!s->found && bk_slice_equal(first, s->name)) {
            s->named_id = id;
            s->found = true;
        }
        return true;
    }
    if (bk_equipment_id_parse(first, &id) != BK_OK || bk_pin_parse(second, pin) != BK_OK) {
        return false;
    }
    if (!s->found && id == s->equipment_id) {
        memcpy(s->pin, pin, BK_PIN_BYTES);
        s->found = true;
    }
    return true;
}

static enum beckon_status search(const char *dir, struct bk_slice text, struct search *s,
                                 struct beckon_error *error)
{
    struct bk_slice line;

    s->found = false;
    for (unsigned number = 1; next_line(&text, &line); number++) {
        if (line.n == 0 || line.p[0] == '#') {
            continue;
        }
        if (!take_line(line, s)) {
            return bk_fail(
                error, BECKON_BAD_CONFIG,
                "%s/%s:%u: not \"ID FINGERPRINT\" or \"NAME ID\"; correct or remove that line", dir,
                file_known, number);
        }
    }
    return BECKON_OK;
}

/* The whole file in fresh memory of BK_FILE_MAX_BYTES, the caller's to free; empty if there is none. */
static enum beckon_status load(const char *dir, uint8_t **buf, size_t *n,
                               struct beckon_error *error)
{
    enum bk_err err;

    *n = 0;
    *buf = malloc(BK_FILE_MAX_BYTES);
    if (*buf == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    err = bk_file_read(dir, file_known, *buf, BK_FILE_MAX_BYTES, n);
    if (err == BK_OK || err == BK_E_NOTFOUND) {
        return BECKON_OK;
    }
    free(*buf);
    *buf = NULL;
    (void)bk_fail(error, BECKON_BAD_CONFIG,
                  err == BK_E_NOSPACE ? "%s/%s is larger than 64 KiB; remove devices from it"
                                      : "%s/%s cannot be read; check its owner and mode",
                  dir, file_known);
    return BECKON_BAD_CONFIG;
}

/* `search` in the file as it stands. */
static enum beckon_status search_file(const char *dir, struct search *s, struct beckon_error *error)
{
    uint8_t *buf;
    size_t n;
    enum beckon_status status = load(dir, &buf, &n, error);

    if (status == BECKON_OK) {
        status = search(dir, bk_slice(buf, n), s, error);
    }
    free(buf);
    return status;
}

enum beckon_status bk_known_find(const char *dir, uint64_t equipment_id, bool *found,
                                 uint8_t pin[BK_PIN_BYTES], struct beckon_error *error)
{
    struct search s = {.equipment_id = equipment_id};
    enum beckon_status status = search_file(dir, &s, error);

    *found = status == BECKON_OK && s.found;
    memcpy(pin, s.pin, BK_PIN_BYTES);
    return status;
}

enum beckon_status bk_known_name(const char *dir, const char *name, uint64_t *equipment_id,
                                 struct beckon_error *error)
{
    struct search s = {.name = bk_slice_text(name)};
    enum beckon_status status = search_file(dir, &s, error);

    *equipment_id = status == BECKON_OK && s.found ? s.named_id : 0;
    return status;
}

enum beckon_status bk_key_changed(const char *dir, uint64_t equipment_id,
                                  struct beckon_error *error)
{
    return bk_fail(
        error, BECKON_KEY_CHANGED,
        "device %llu shows another key than the pinned one: it was replaced, or somebody "
        "poses as it; if you know why, \"beckon pin --replace URI\" with what \"beckon-agent uri\" "
        "prints there, or remove its line from %s/%s",
        (unsigned long long)equipment_id, dir, file_known);
}

static enum beckon_status write_file(const char *dir, const struct bk_writer *w,
                                     struct beckon_error *error)
{
    if (w->err != BK_OK) {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s/%s is full (64 KiB); remove devices from it",
                       dir, file_known);
    }
    if (bk_file_write(dir, file_known, bk_writer_bytes(w)) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s/%s cannot be written; check owner and space", dir,
                       file_known);
    }
    return BECKON_OK;
}

static void put_line(struct bk_writer *w, const char *first, const char *second)
{
    bk_write_bytes(w, bk_slice_text(first));
    bk_write_u8(w, ' ');
    bk_write_bytes(w, bk_slice_text(second));
    bk_write_u8(w, '\n');
}

/* The file with one more line. */
static enum beckon_status append(const char *dir, uint8_t *buf, size_t n, const char *first,
                                 const char *second, struct beckon_error *error)
{
    struct bk_writer w = bk_writer(buf, BK_FILE_MAX_BYTES);

    w.len = n;
    if (n > 0 && buf[n - 1] != '\n') {
        bk_write_u8(&w, '\n');
    }
    put_line(&w, first, second);
    return write_file(dir, &w, error);
}

/* Is this the line of that device's pin? */
static bool pins(struct bk_slice line, uint64_t equipment_id)
{
    struct search s = {.equipment_id = equipment_id};

    return line.n > 0 && line.p[0] != '#' && take_line(line, &s) && s.found;
}

/* The file with the pin of one device in place of all that it had. `buf` was searched: its lines are good. */
static enum beckon_status rewrite(const char *dir, const uint8_t *buf, size_t n,
                                  uint64_t equipment_id, const char *pin,
                                  struct beckon_error *error)
{
    struct bk_slice text = bk_slice(buf, n), line;
    uint8_t *out = malloc(BK_FILE_MAX_BYTES);
    struct bk_writer w = bk_writer(out, BK_FILE_MAX_BYTES);
    enum beckon_status status;
    char id[21];
    bool put = false;

    if (out == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    bk_number_format(equipment_id, id);
    while (next_line(&text, &line)) {
        if (!pins(line, equipment_id)) {
            bk_write_bytes(&w, line);
            bk_write_u8(&w, '\n');
        } else if (!put) {
            put_line(&w, id, pin);
            put = true;
        }
    }
    status = write_file(dir, &w, error);
    free(out);
    return status;
}

/* Holds the directory against other programs that add a line at the same moment: the file is read, then
 * written whole. The lock ends with the descriptor; without one we go on, as one program alone. */
static int lock(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)flock(fd, LOCK_EX);
    }
    return fd;
}

static void unlock(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static enum beckon_status keep_pin(const char *dir, uint64_t equipment_id,
                                   const uint8_t pin[BK_PIN_BYTES], bool replace,
                                   struct beckon_error *error)
{
    struct search s = {.equipment_id = equipment_id};
    char id[21], text[BK_PIN_TEXT_BYTES];
    uint8_t *buf;
    size_t n;
    int held = lock(dir);
    enum beckon_status status = load(dir, &buf, &n, error);

    bk_number_format(equipment_id, id);
    bk_pin_format(pin, text);
    if (status == BECKON_OK) {
        status = search(dir, bk_slice(buf, n), &s, error);
    }
    if (status == BECKON_OK && !s.found) {
        status = append(dir, buf, n, id, text, error);
    } else if (status == BECKON_OK && memcmp(s.pin, pin, BK_PIN_BYTES) != 0) {
        status = replace ? rewrite(dir, buf, n, equipment_id, text, error)
                         : bk_key_changed(dir, equipment_id, error);
    }
    unlock(held);
    free(buf);
    return status;
}

enum beckon_status bk_known_add(const char *dir, uint64_t equipment_id,
                                const uint8_t pin[BK_PIN_BYTES], struct beckon_error *error)
{
    return keep_pin(dir, equipment_id, pin, false, error);
}

enum beckon_status bk_known_add_name(const char *dir, const char *name, uint64_t equipment_id,
                                     struct beckon_error *error)
{
    char id[21];
    uint8_t *buf;
    size_t n;
    int held = lock(dir);
    enum beckon_status status = load(dir, &buf, &n, error);

    bk_number_format(equipment_id, id);
    if (status == BECKON_OK) {
        status = append(dir, buf, n, name, id, error);
    }
    unlock(held);
    free(buf);
    return status;
}

enum beckon_status beckon_client_pin(const char *state_dir, const char *text, int replace,
                                     struct beckon_error *error)
{
    struct bk_uri uri;

    if (bk_seal_init() != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "libsodium cannot be used on this machine");
    }
    if (bk_uri_read(bk_slice_text(text), &uri) != BK_OK) {
        return bk_fail(
            error, BECKON_USAGE,
            "\"%.80s\" is no beckon:// URI; take the line that \"beckon-agent uri\" printed", text);
    }
    if (bk_dir_make(state_dir) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "%s cannot be made", state_dir);
    }
    return keep_pin(state_dir, uri.equipment_id, uri.pin, replace != 0, error);
}
