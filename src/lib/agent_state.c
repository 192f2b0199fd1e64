/* The agent's small state files. Buffers that held keys are wiped on every way out. */
#include "lib/agent_state.h"

#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/reader.h"
#include "base/writer.h"
#include "core/agent/registration.h"
#include "lib/fail.h"
#include "lib/files.h"

static const char file_registration[] = "registration.key";
static const char file_renewal[] = "renewal";
static const char file_clock[] = "clock";

enum {
    REGISTRATION_FILE_BYTES = 4 + 2 + BK_KEY_BYTES,
    RENEWAL_TEXT_BYTES = 3 * 21 + 1,
    PEM_BYTES = 2048, /* ours are a few hundred */
};

static enum beckon_status unreadable(const char *dir, const char *name, struct beckon_error *error)
{
    return bk_fail(error, BECKON_FAILED, "%s/%s cannot be read; check its owner and mode", dir,
                   name);
}

/* Reads a file that has exactly n bytes. */
static enum beckon_status read_exactly(const char *dir, const char *name, uint8_t *out, size_t n,
                                       struct beckon_error *error)
{
    size_t got;
    enum bk_err err = bk_file_read(dir, name, out, n, &got);

    if (err == BK_OK && got == n) {
        return BECKON_OK;
    }
    bk_wipe(out, n);
    if (err == BK_E_NOTFOUND || err == BK_OK || err == BK_E_NOSPACE) {
        return bk_fail(error, err == BK_E_NOTFOUND ? BECKON_NOT_JOINED : BECKON_BAD_CONFIG,
                       "%s/%s is %s; another is fetched from the server", dir, name,
                       err == BK_E_NOTFOUND ? "not there" : "damaged");
    }
    return unreadable(dir, name, error);
}

enum beckon_status bk_registration_secret_read(const char *state_dir,
                                               struct bk_registration_secret *out,
                                               struct beckon_error *error)
{
    uint8_t bytes[REGISTRATION_FILE_BYTES];
    enum beckon_status status =
        read_exactly(state_dir, file_registration, bytes, sizeof bytes, error);
    struct bk_reader r = bk_reader(BK_SLICE_OF(bytes));

    if (status != BECKON_OK) {
        return status;
    }
    out->generation = bk_read_u32(&r);
    out->epoch = bk_read_u16(&r);
    bk_read_copy(&r, out->key, sizeof out->key);
    bk_wipe(bytes, sizeof bytes);
    return BECKON_OK;
}

enum bk_err bk_registration_secret_write(const char *state_dir,
                                         const struct bk_registration_secret *in)
{
    uint8_t bytes[REGISTRATION_FILE_BYTES];
    struct bk_writer w = bk_writer(bytes, sizeof bytes);
    enum bk_err err;

    bk_write_u32(&w, in->generation);
    bk_write_u16(&w, in->epoch);
    bk_write_bytes(&w, BK_SLICE_OF(in->key));
    err = bk_file_write(state_dir, file_registration, bk_writer_bytes(&w));
    bk_wipe(bytes, sizeof bytes);
    return err;
}

/* The number before `end`, which is left out. */
static bool take_number(struct bk_slice *text, char end, uint64_t *out)
{
    const uint8_t *at = memchr(text->p, end, text->n);
    size_t n = at == NULL ? 0 : (size_t)(at - text->p);

    if (at == NULL || bk_number_parse(bk_slice(text->p, n), UINT64_MAX, out) != BK_OK) {
        return false;
    }
    text->p += n + 1;
    text->n -= n + 1;
    return true;
}

struct bk_renewal_facts bk_renewal_facts_read(const char *state_dir)
{
    struct bk_renewal_facts facts;
    uint8_t bytes[RENEWAL_TEXT_BYTES];
    struct bk_slice text = {.p = bytes};

    if (bk_file_read(state_dir, file_renewal, bytes, sizeof bytes, &text.n) == BK_OK &&
        take_number(&text, ' ', &facts.certificate_from_s) &&
        take_number(&text, ' ', &facts.certificate_until_s) &&
        take_number(&text, '\n', &facts.box_made_s) && text.n == 0) {
        return facts;
    }
    return (struct bk_renewal_facts){0};
}

enum bk_err bk_renewal_facts_write(const char *state_dir, const struct bk_renewal_facts *in)
{
    char text[RENEWAL_TEXT_BYTES];

    (void)snprintf(text, sizeof text, "%llu %llu %llu\n",
                   (unsigned long long)in->certificate_from_s,
                   (unsigned long long)in->certificate_until_s, (unsigned long long)in->box_made_s);
    return bk_file_write(state_dir, file_renewal, bk_slice_text(text));
}

uint64_t bk_stored_time_read(const char *state_dir)
{
    uint8_t text[20];
    uint64_t unix_s;
    size_t n;

    return bk_file_read(state_dir, file_clock, text, sizeof text, &n) == BK_OK &&
                   bk_number_parse(bk_slice(text, n), BK_TIME_BELIEVED_BELOW_S - 1, &unix_s) ==
                       BK_OK
               ? unix_s
               : 0;
}

enum bk_err bk_stored_time_write(const char *state_dir, uint64_t unix_s)
{
    char text[21];

    bk_number_format(unix_s, text);
    return bk_file_write(state_dir, file_clock, bk_slice_text(text));
}

static enum beckon_status check_pem(const char *dir, const char *name, struct beckon_error *error)
{
    char text[PEM_BYTES + 1];
    size_t n;
    enum bk_err err = bk_file_read(dir, name, (uint8_t *)text, PEM_BYTES, &n);
    bool whole;

    text[n] = '\0';
    whole = err == BK_E_NOSPACE || strstr(text, "-----END ") != NULL;
    bk_wipe(text, sizeof text);
    if (err == BK_E_IO) {
        return unreadable(dir, name, error);
    }
    return whole ? BECKON_OK
                 : bk_fail(error, BECKON_BAD_CONFIG, "%s/%s is missing or damaged; " BK_JOIN_ANEW,
                           dir, name);
}

enum beckon_status bk_identity_check(const char *state_dir, struct beckon_error *error)
{
    static const char *const names[] = {"device.key", "device.crt", "ca.crt"};
    enum beckon_status status = BECKON_OK;

    for (size_t i = 0; status == BECKON_OK && i < sizeof names / sizeof names[0]; i++) {
        status = check_pem(state_dir, names[i], error);
    }
    return status;
}
