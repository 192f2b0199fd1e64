/* Paths in the state directory, and the master keys in it. Buffers that held keys are wiped. */
#include "bin/beckond/state.h"

#include <assert.h>
#include <stdio.h>

#include "base/reader.h"
#include "base/writer.h"
#include "net/file.h"
#include "seal/seal.h"

enum bk_err bk_state_path(const char *dir, const char *name, char out[BK_STATE_PATH_BYTES])
{
    int n = snprintf(out, BK_STATE_PATH_BYTES, "%s/%s", dir, name);

    return n < 0 || n >= BK_STATE_PATH_BYTES ? BK_E_NOSPACE : BK_OK;
}

static enum bk_err write_keys(const char *dir, const struct bk_master_key *keys, size_t n,
                              bool overwrite)
{
    uint8_t bytes[BK_SERVER_EPOCHS_MAX * BK_STATE_MASTER_RECORD_BYTES];
    char path[BK_STATE_PATH_BYTES];
    struct bk_writer w = bk_writer(bytes, sizeof bytes);
    enum bk_err err = bk_state_path(dir, BK_STATE_MASTER_KEYS, path);

    assert(n >= 1 && n <= BK_SERVER_EPOCHS_MAX);
    if (err != BK_OK) {
        return err;
    }
    for (size_t i = 0; i < n; i++) {
        bk_write_u16(&w, keys[i].epoch);
        bk_write_bytes(&w, BK_SLICE_OF(keys[i].key));
    }
    err = bk_file_save(path, bk_writer_bytes(&w), 0600, overwrite);
    bk_wipe(bytes, sizeof bytes);
    return err;
}

enum bk_err bk_state_master_make(const char *dir, const struct bk_random *rng)
{
    struct bk_master_key first = {.epoch = 1};
    enum bk_err err;

    rng->fill(rng->ctx, first.key, sizeof first.key);
    err = write_keys(dir, &first, 1, false);
    bk_wipe(&first, sizeof first);
    return err;
}

enum bk_err bk_state_master_save(const char *dir, const struct bk_master_key *keys, size_t n)
{
    return write_keys(dir, keys, n, true);
}

enum bk_err bk_state_master_load(const char *dir, struct bk_master_key out[BK_SERVER_EPOCHS_MAX],
                                 size_t *n)
{
    uint8_t bytes[BK_SERVER_EPOCHS_MAX * BK_STATE_MASTER_RECORD_BYTES];
    char path[BK_STATE_PATH_BYTES];
    struct bk_reader r;
    size_t got = 0;
    enum bk_err err = bk_state_path(dir, BK_STATE_MASTER_KEYS, path);

    if (err == BK_OK) {
        err = bk_file_load(path, bytes, sizeof bytes, &got);
    }
    if (err == BK_E_NOSPACE ||
        (err == BK_OK && (got == 0 || got % BK_STATE_MASTER_RECORD_BYTES != 0))) {
        err = BK_E_MALFORMED;
    }
    if (err != BK_OK) {
        bk_wipe(bytes, sizeof bytes);
        return err;
    }
    *n = got / BK_STATE_MASTER_RECORD_BYTES;
    r = bk_reader(bk_slice(bytes, got));
    for (size_t i = 0; i < *n; i++) {
        out[i].epoch = bk_read_u16(&r);
        bk_read_copy(&r, out[i].key, sizeof out[i].key);
        for (size_t j = 0; j < i; j++) {
            if (out[j].epoch % BK_SERVER_EPOCHS_MAX == out[i].epoch % BK_SERVER_EPOCHS_MAX) {
                err = BK_E_MALFORMED;
            }
        }
    }
    bk_wipe(bytes, sizeof bytes);
    return err;
}
