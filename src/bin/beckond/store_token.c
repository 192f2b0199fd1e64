/* Join tokens and enrolments. A token's secret is never stored, only its hash; a token belongs to the
 * first key that enrols with it. */
#include <assert.h>
#include <string.h>

#include "bin/beckond/store_sql.h"

static struct bk_slice hash_slice(const uint8_t hash[BK_STORE_HASH_BYTES])
{
    return bk_slice(hash, BK_STORE_HASH_BYTES);
}

/* Makes sure that the holder has a row, and gives a device its name. */
static enum bk_err invite(struct bk_store *s, const struct bk_store_token *token)
{
    bool device = token->role == BK_ROLE_DEVICE;
    sqlite3_stmt *statement = bk_sql_get(s, device ? BK_SQL_INVITE_DEVICE : BK_SQL_INVITE_USER);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    if (device) {
        bk_sql_bind_int(statement, 1, token->equipment_id);
    } else {
        bk_sql_bind_text(statement, 1, bk_slice_text(token->name));
    }
    err = bk_sql_run(s, statement);
    if (err != BK_OK || !device || token->name[0] == '\0') {
        return err;
    }
    statement = bk_sql_get(s, BK_SQL_NAME_DEVICE);
    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_int(statement, 1, token->equipment_id);
    bk_sql_bind_text(statement, 2, bk_slice_text(token->name));
    return bk_sql_run(s, statement);
}

static enum bk_err add(struct bk_store *s, const uint8_t hash[BK_STORE_HASH_BYTES],
                       const struct bk_store_token *token, uint64_t now_s)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_TOKEN_SWEEP);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_int(statement, 1, now_s);
    err = bk_sql_run(s, statement);
    if (err == BK_OK) {
        err = invite(s, token);
    }
    if (err != BK_OK) {
        return err;
    }
    statement = bk_sql_get(s, BK_SQL_TOKEN_ADD);
    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_blob(statement, 1, hash_slice(hash));
    bk_sql_bind_int(statement, 2, (uint64_t)token->role);
    if (token->role == BK_ROLE_DEVICE) {
        bk_sql_bind_int(statement, 3, token->equipment_id);
    } else {
        bk_sql_bind_text(statement, 4, bk_slice_text(token->name));
    }
    bk_sql_bind_int(statement, 5, token->expires_s);
    return bk_sql_run(s, statement);
}

enum bk_err bk_store_token_add(struct bk_store *s, const uint8_t hash[BK_STORE_HASH_BYTES],
                               const struct bk_store_token *token, uint64_t now_s)
{
    enum bk_err err;

    assert(token->role == BK_ROLE_DEVICE || token->role == BK_ROLE_USER);
    err = bk_sql_begin(s);
    if (err != BK_OK) {
        return err;
    }
    return bk_sql_end(s, add(s, hash, token, now_s));
}

/* Whose a token is: nobody's yet; of a key that waits for its certificate; of one that has joined. */
enum hold {
    FREE,
    CLAIMED,
    USED,
};

/* The token's row; `by` is the key that holds it, unless it is free. */
static enum bk_err look(struct bk_store *s, const uint8_t hash[BK_STORE_HASH_BYTES], uint64_t now_s,
                        struct bk_store_token *out, enum hold *hold, uint8_t by[BK_KEY_BYTES])
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_TOKEN);
    enum bk_err err;

    memset(out, 0, sizeof *out);
    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_blob(statement, 1, hash_slice(hash));
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        out->role = bk_sql_int(statement, 0) == BK_ROLE_DEVICE ? BK_ROLE_DEVICE : BK_ROLE_USER;
        out->equipment_id = bk_sql_int(statement, 1);
        if (!bk_slice_to_text(bk_sql_bytes(statement, 2), out->name, sizeof out->name)) {
            out->name[0] = '\0';
        }
        out->expires_s = bk_sql_int(statement, 3);
        *hold = bk_sql_bytes(statement, 4).n == BK_KEY_BYTES   ? USED
                : bk_sql_bytes(statement, 5).n == BK_KEY_BYTES ? CLAIMED
                                                               : FREE;
        bk_sql_copy_exact(statement, *hold == CLAIMED ? 5 : 4, by, BK_KEY_BYTES);
        if (out->expires_s <= now_s) {
            err = BK_E_EXPIRED;
        }
    }
    bk_sql_done(statement);
    return err;
}

enum bk_err bk_store_token_look(struct bk_store *s, const uint8_t hash[BK_STORE_HASH_BYTES],
                                uint64_t now_s, struct bk_store_token *out)
{
    uint8_t by[BK_KEY_BYTES];
    enum hold hold;

    return look(s, hash, now_s, out, &hold, by);
}

/* The holder as it stands: its generation, and its certificate if `key` is the current one. */
static enum bk_err holder(struct bk_store *s, struct bk_store_enrolment *e, bool *current)
{
    struct bk_store_device device;
    struct bk_store_user user;
    enum bk_err err;

    *current = false;
    if (e->token.role == BK_ROLE_DEVICE) {
        err = bk_store_device(s, e->token.equipment_id, &device);
        if (err != BK_OK) {
            return err;
        }
        e->generation = device.generation;
        *current = device.generation > 0 && !device.revoked &&
                   bk_equal_const_time(device.key, e->key, BK_KEY_BYTES);
        e->certificate_bytes = device.certificate_bytes;
        memcpy(e->certificate, device.certificate, device.certificate_bytes);
        return BK_OK;
    }
    err = bk_store_user(s, bk_slice_text(e->token.name), &user);
    if (err != BK_OK) {
        return err;
    }
    *current =
        user.enrolled && !user.revoked && bk_equal_const_time(user.key, e->key, BK_KEY_BYTES);
    e->certificate_bytes = user.certificate_bytes;
    memcpy(e->certificate, user.certificate, user.certificate_bytes);
    return BK_OK;
}

static enum bk_err begin(struct bk_store *s, uint64_t now_s, struct bk_store_enrolment *e)
{
    uint8_t by[BK_KEY_BYTES];
    enum hold hold;
    bool current;
    enum bk_err err = look(s, e->hash, now_s, &e->token, &hold, by);

    if (err != BK_OK) {
        return err;
    }
    if (hold != FREE && !bk_equal_const_time(by, e->key, BK_KEY_BYTES)) {
        return BK_E_EXISTS;
    }
    err = holder(s, e, &current);
    if (err != BK_OK) {
        return err;
    }
    if (hold == USED) {
        /* The answer may have got lost. One that has been replaced since is not given again. */
        e->again = true;
        return current ? BK_OK : BK_E_EXPIRED;
    }
    e->again = false;
    if (e->token.role == BK_ROLE_DEVICE) {
        if (e->generation == UINT32_MAX) {
            return BK_E_EXPIRED;
        }
        e->generation++;
    }
    return BK_OK;
}

enum bk_err bk_store_enrol_begin(struct bk_store *s, const uint8_t hash[BK_STORE_HASH_BYTES],
                                 const uint8_t key[BK_KEY_BYTES], uint64_t now_s,
                                 struct bk_store_enrolment *out)
{
    enum bk_err err;

    memset(out, 0, sizeof *out);
    memcpy(out->hash, hash, BK_STORE_HASH_BYTES);
    memcpy(out->key, key, BK_KEY_BYTES);
    err = bk_sql_begin(s);
    if (err != BK_OK) {
        return err;
    }
    err = begin(s, now_s, out);
    return err == BK_OK ? BK_OK : bk_sql_end(s, err);
}

/* A repetition may come with a new box key (the first answer was lost with all state but the key). */
static enum bk_err store_box_key(struct bk_store *s, const struct bk_store_enrolment *e,
                                 struct bk_slice box_key)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_BOX_KEY);

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_int(statement, 1, e->token.equipment_id);
    bk_sql_bind_blob(statement, 2, box_key);
    return bk_sql_run(s, statement);
}

static enum bk_err store_holder(struct bk_store *s, const struct bk_store_enrolment *e,
                                struct bk_slice certificate, struct bk_slice box_key,
                                uint64_t now_s)
{
    bool device = e->token.role == BK_ROLE_DEVICE;
    sqlite3_stmt *statement = bk_sql_get(s, device ? BK_SQL_ENROL_DEVICE : BK_SQL_ENROL_USER);

    if (statement == NULL) {
        return BK_E_IO;
    }
    if (device) {
        bk_sql_bind_int(statement, 1, e->token.equipment_id);
        bk_sql_bind_int(statement, 2, e->generation);
        bk_sql_bind_blob(statement, 3, bk_slice(e->key, BK_KEY_BYTES));
        bk_sql_bind_blob(statement, 4, certificate);
        bk_sql_bind_blob(statement, 5, box_key);
        bk_sql_bind_int(statement, 6, now_s);
    } else {
        bk_sql_bind_text(statement, 1, bk_slice_text(e->token.name));
        bk_sql_bind_blob(statement, 2, bk_slice(e->key, BK_KEY_BYTES));
        bk_sql_bind_blob(statement, 3, certificate);
        bk_sql_bind_int(statement, 4, now_s);
    }
    return bk_sql_run(s, statement);
}

static enum bk_err use_token(struct bk_store *s, const struct bk_store_enrolment *e)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_TOKEN_USE);

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_blob(statement, 1, hash_slice(e->hash));
    bk_sql_bind_blob(statement, 2, bk_slice(e->key, BK_KEY_BYTES));
    return bk_sql_run(s, statement);
}

enum bk_err bk_store_enrol_finish(struct bk_store *s, const struct bk_store_enrolment *e,
                                  struct bk_slice certificate, struct bk_slice box_key,
                                  uint64_t now_s)
{
    enum bk_err err = BK_OK;

    assert(e->again || (certificate.n > 0 && certificate.n <= BK_STORE_CERTIFICATE_MAX_BYTES));
    if (!e->again) {
        err = store_holder(s, e, certificate, box_key, now_s);
        if (err == BK_OK) {
            err = use_token(s, e);
        }
    } else if (e->token.role == BK_ROLE_DEVICE) {
        err = store_box_key(s, e, box_key);
    }
    return bk_sql_end(s, err);
}

/* ---- tokens whose certificate has yet to be signed ---- */

static enum bk_err claim(struct bk_store *s, const struct bk_store_enrolment *e)
{
    bool device = e->token.role == BK_ROLE_DEVICE;
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_TOKEN_CLAIM);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_blob(statement, 1, hash_slice(e->hash));
    bk_sql_bind_blob(statement, 2, bk_slice(e->key, BK_KEY_BYTES));
    err = bk_sql_run(s, statement);
    if (err != BK_OK) {
        return err;
    }
    statement = bk_sql_get(s, device ? BK_SQL_VOID_DEVICE_CLAIMS : BK_SQL_VOID_USER_CLAIMS);
    if (statement == NULL) {
        return BK_E_IO;
    }
    if (device) {
        bk_sql_bind_int(statement, 1, e->token.equipment_id);
    } else {
        bk_sql_bind_text(statement, 1, bk_slice_text(e->token.name));
    }
    bk_sql_bind_blob(statement, 2, hash_slice(e->hash));
    return bk_sql_run(s, statement);
}

enum bk_err bk_store_enrol_claim(struct bk_store *s, const struct bk_store_enrolment *e)
{
    assert(!e->again);
    return bk_sql_end(s, claim(s, e));
}

enum bk_err bk_store_claimant(struct bk_store *s, const struct bk_identity *holder, uint64_t now_s,
                              uint8_t key[BK_KEY_BYTES])
{
    bool device = holder->role == BK_ROLE_DEVICE;
    sqlite3_stmt *statement = bk_sql_get(s, device ? BK_SQL_DEVICE_CLAIMANT : BK_SQL_USER_CLAIMANT);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    if (device) {
        bk_sql_bind_int(statement, 1, holder->equipment_id);
    } else {
        bk_sql_bind_text(statement, 1, bk_slice_text(holder->name));
    }
    bk_sql_bind_int(statement, 2, now_s);
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        bk_sql_copy_exact(statement, 0, key, BK_KEY_BYTES);
    }
    bk_sql_done(statement);
    return err;
}

void bk_store_enrol_abort(struct bk_store *s)
{
    enum bk_err ignored = bk_sql_end(s, BK_E_STATE);

    (void)ignored;
}
