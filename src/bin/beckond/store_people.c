/* Devices, users and grants: reading, revoking, granting. May not enrol: that is store_token.c. */
#include <string.h>

#include "bin/beckond/store_sql.h"

/* Takes the current row of a DEVICE_COLUMNS query. */
static void take_device(sqlite3_stmt *row, struct bk_store_device *out)
{
    memset(out, 0, sizeof *out);
    out->equipment_id = bk_sql_int(row, 0);
    if (!bk_slice_to_text(bk_sql_bytes(row, 1), out->name, sizeof out->name)) {
        out->name[0] = '\0';
    }
    out->generation = (uint32_t)bk_sql_int(row, 2);
    out->revoked = bk_sql_int(row, 3) != 0;
    bk_sql_copy_exact(row, 4, out->key, sizeof out->key);
    out->certificate_bytes = bk_sql_copy(row, 5, out->certificate, sizeof out->certificate);
    out->box_key_bytes = bk_sql_copy(row, 6, out->box_key, sizeof out->box_key);
}

/* One device by a query whose only parameter is an ID. */
static enum bk_err device_by(struct bk_store *s, enum bk_sql which, uint64_t id,
                             struct bk_store_device *out)
{
    sqlite3_stmt *statement = bk_sql_get(s, which);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_int(statement, 1, id);
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        take_device(statement, out);
    }
    bk_sql_done(statement);
    return err;
}

enum bk_err bk_store_device(struct bk_store *s, uint64_t equipment_id, struct bk_store_device *out)
{
    return device_by(s, BK_SQL_DEVICE_BY_ID, equipment_id, out);
}

enum bk_err bk_store_next_device(struct bk_store *s, uint64_t after, struct bk_store_device *out)
{
    return device_by(s, BK_SQL_DEVICE_AFTER, after, out);
}

/* BK_OK if a grant covers the device (0: only a grant for all does), else BK_E_NOTFOUND. */
static enum bk_err granted(struct bk_store *s, struct bk_slice user, uint64_t equipment_id)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_GRANTED);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_text(statement, 1, user);
    bk_sql_bind_int(statement, 2, equipment_id);
    err = bk_sql_step(s, statement);
    bk_sql_done(statement);
    return err;
}

/* The ID behind a device's name, or 0. */
static enum bk_err id_of_name(struct bk_store *s, struct bk_slice name, uint64_t *equipment_id)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_ID_OF_NAME);
    enum bk_err err;

    *equipment_id = 0;
    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_text(statement, 1, name);
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        *equipment_id = bk_sql_int(statement, 0);
    }
    bk_sql_done(statement);
    return err == BK_E_NOTFOUND ? BK_OK : err;
}

/* Whether there is such a device is asked only on behalf of those who may know: everybody else has the row
 * of no device looked up, whichever he asked for. So the same statements do the same work for a device that
 * is missing, not granted or not enrolled. */
enum bk_err bk_store_find(struct bk_store *s, struct bk_slice user, uint64_t equipment_id,
                          struct bk_slice name, struct bk_store_device *out)
{
    enum bk_err found, allowed, err = BK_OK;

    memset(out, 0, sizeof *out);
    if (equipment_id == 0) {
        err = id_of_name(s, name, &equipment_id);
    }
    allowed = granted(s, user, equipment_id);
    found = device_by(s, BK_SQL_DEVICE_ENROLLED, allowed == BK_OK ? equipment_id : 0, out);
    if (err != BK_OK || allowed == BK_E_IO || found == BK_E_IO) {
        memset(out, 0, sizeof *out);
        return BK_E_IO;
    }
    return found;
}

enum bk_err bk_store_user(struct bk_store *s, struct bk_slice name, struct bk_store_user *out)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_USER);
    enum bk_err err;

    memset(out, 0, sizeof *out);
    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_text(statement, 1, name);
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        out->revoked = bk_sql_int(statement, 0) != 0;
        out->enrolled = bk_sql_bytes(statement, 1).n == BK_KEY_BYTES;
        bk_sql_copy_exact(statement, 1, out->key, sizeof out->key);
        out->certificate_bytes =
            bk_sql_copy(statement, 2, out->certificate, sizeof out->certificate);
    }
    bk_sql_done(statement);
    return err;
}

enum bk_err bk_store_admit(struct bk_store *s, const struct bk_identity *peer)
{
    struct bk_store_device device;
    struct bk_store_user user;
    const uint8_t *key;
    bool enrolled, revoked;
    enum bk_err err;

    if (peer->role == BK_ROLE_DEVICE) {
        err = bk_store_device(s, peer->equipment_id, &device);
        key = device.key;
        enrolled = err == BK_OK && device.generation > 0;
        revoked = err == BK_OK && device.revoked;
    } else if (peer->role == BK_ROLE_USER) {
        err = bk_store_user(s, bk_slice_text(peer->name), &user);
        key = user.key;
        enrolled = err == BK_OK && user.enrolled;
        revoked = err == BK_OK && user.revoked;
    } else {
        return BK_E_NOTFOUND;
    }
    if (err != BK_OK) {
        return err;
    }
    if (!enrolled) {
        return BK_E_NOTFOUND;
    }
    if (!bk_equal_const_time(key, peer->key, BK_KEY_BYTES)) {
        return BK_E_AUTH;
    }
    return revoked ? BK_E_EXPIRED : BK_OK;
}

enum bk_err bk_store_enrolled(struct bk_store *s, struct bk_slice user)
{
    struct bk_store_user found;
    enum bk_err err = bk_store_user(s, user, &found);

    return err == BK_OK && (!found.enrolled || found.revoked) ? BK_E_NOTFOUND : err;
}

enum bk_err bk_store_exceptions(struct bk_store *s, bk_store_exception each, void *ctx)
{
    sqlite3_stmt *statement = bk_sql_get(s, BK_SQL_EXCEPTIONS);
    enum bk_err err;

    if (statement == NULL) {
        return BK_E_IO;
    }
    while ((err = bk_sql_step(s, statement)) == BK_OK) {
        uint32_t generation = (uint32_t)bk_sql_int(statement, 1);
        each(ctx, bk_sql_int(statement, 0), generation == 0 ? 1 : generation,
             bk_sql_int(statement, 2) != 0);
    }
    bk_sql_done(statement);
    return err == BK_E_NOTFOUND ? BK_OK : err;
}

/* ---- changes ---- */

/* Runs one of the statements that name a user (?1) and perhaps a device (?2). */
static enum bk_err run_user(struct bk_store *s, enum bk_sql which, struct bk_slice user,
                            uint64_t equipment_id)
{
    sqlite3_stmt *statement = bk_sql_get(s, which);

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_text(statement, 1, user);
    if (sqlite3_bind_parameter_count(statement) > 1) {
        bk_sql_bind_int(statement, 2, equipment_id);
    }
    return bk_sql_run(s, statement);
}

static enum bk_err run_device(struct bk_store *s, enum bk_sql which, uint64_t equipment_id)
{
    sqlite3_stmt *statement = bk_sql_get(s, which);

    if (statement == NULL) {
        return BK_E_IO;
    }
    bk_sql_bind_int(statement, 1, equipment_id);
    return bk_sql_run(s, statement);
}

enum bk_err bk_store_revoke_device(struct bk_store *s, uint64_t equipment_id)
{
    enum bk_err err = bk_sql_begin(s);

    if (err != BK_OK) {
        return err;
    }
    err = run_device(s, BK_SQL_REVOKE_DEVICE, equipment_id);
    if (err == BK_OK && sqlite3_changes(s->db) == 0) {
        err = BK_E_NOTFOUND;
    }
    if (err == BK_OK) {
        err = run_device(s, BK_SQL_VOID_DEVICE_TOKENS, equipment_id);
    }
    return bk_sql_end(s, err);
}

enum bk_err bk_store_revoke_user(struct bk_store *s, struct bk_slice user)
{
    enum bk_err err = bk_sql_begin(s);

    if (err != BK_OK) {
        return err;
    }
    err = run_user(s, BK_SQL_REVOKE_USER, user, 0);
    if (err == BK_OK && sqlite3_changes(s->db) == 0) {
        err = BK_E_NOTFOUND;
    }
    if (err == BK_OK) {
        err = run_user(s, BK_SQL_VOID_USER_TOKENS, user, 0);
    }
    return bk_sql_end(s, err);
}

enum bk_err bk_store_grant(struct bk_store *s, struct bk_slice user, uint64_t equipment_id)
{
    struct bk_store_user row;
    enum bk_err err = bk_sql_begin(s);

    if (err != BK_OK) {
        return err;
    }
    err = bk_store_user(s, user, &row);
    if (err == BK_OK) {
        err = run_user(s, BK_SQL_GRANT, user, equipment_id);
    }
    return bk_sql_end(s, err);
}

enum bk_err bk_store_ungrant(struct bk_store *s, struct bk_slice user, uint64_t equipment_id)
{
    struct bk_store_user row;
    enum bk_err err = bk_sql_begin(s), still;

    if (err != BK_OK) {
        return err;
    }
    err = bk_store_user(s, user, &row);
    if (err == BK_OK) {
        err = run_user(s, equipment_id == 0 ? BK_SQL_UNGRANT_EVERY : BK_SQL_UNGRANT, user,
                       equipment_id);
    }
    err = bk_sql_end(s, err);
    if (err != BK_OK) {
        return err;
    }
    still = granted(s, user, equipment_id);
    return still == BK_OK ? BK_E_STATE : still == BK_E_NOTFOUND ? BK_OK : still;
}
