/* The store's SQL. Statements are constant texts; values are bound, never pasted. */
#include "bin/beckond/store_sql.h"

#include <string.h>

/* The user_version in store.c changes with this. */
const char bk_sql_schema[] =
    "CREATE TABLE devices("
    " id INTEGER PRIMARY KEY CHECK (id > 0),"
    " name TEXT UNIQUE,"
    " generation INTEGER NOT NULL DEFAULT 0," /* 0: invited, not enrolled yet */
    " revoked INTEGER NOT NULL DEFAULT 0,"
    " key BLOB,"
    " certificate BLOB,"
    " box_key BLOB,"
    " enrolled_at INTEGER) STRICT;"
    "CREATE TABLE users("
    " name TEXT PRIMARY KEY,"
    " revoked INTEGER NOT NULL DEFAULT 0,"
    " key BLOB," /* NULL: invited, not enrolled yet */
    " certificate BLOB,"
    " enrolled_at INTEGER) STRICT;"
    "CREATE TABLE tokens("
    " hash BLOB PRIMARY KEY,"
    " role INTEGER NOT NULL,"
    " device INTEGER REFERENCES devices(id),"
    " user TEXT REFERENCES users(name),"
    " expires INTEGER NOT NULL,"
    " used_by BLOB,"            /* the key of who joined with it */
    " claimed_by BLOB) STRICT;" /* the key whose certificate has yet to be signed elsewhere */
    "CREATE TABLE grants("
    " user TEXT NOT NULL REFERENCES users(name),"
    " device INTEGER REFERENCES devices(id)) STRICT;" /* NULL: every device */
    "CREATE UNIQUE INDEX grants_once ON grants(user, ifnull(device, 0));"
    "CREATE INDEX tokens_by_device ON tokens(device);"
    "CREATE INDEX tokens_by_user ON tokens(user);"
    "CREATE INDEX devices_exceptional ON devices(id) WHERE revoked OR generation > 1;";

const char bk_sql_from_1[] = "ALTER TABLE tokens ADD COLUMN claimed_by BLOB;";

#define DEVICE_COLUMNS "id, name, generation, revoked, key, certificate, box_key"

static const char *const texts[BK_SQL_COUNT] = {
    [BK_SQL_DEVICE_BY_ID] = "SELECT " DEVICE_COLUMNS " FROM devices WHERE id = ?1",
    [BK_SQL_DEVICE_BY_NAME] = "SELECT " DEVICE_COLUMNS " FROM devices WHERE name = ?1",
    [BK_SQL_DEVICE_AFTER] = "SELECT " DEVICE_COLUMNS " FROM devices"
                            " WHERE id > ?1 AND generation > 0 ORDER BY id LIMIT 1",
    [BK_SQL_DEVICE_ENROLLED] = "SELECT " DEVICE_COLUMNS " FROM devices"
                               " WHERE id = ?1 AND generation > 0",
    [BK_SQL_ID_OF_NAME] = "SELECT id FROM devices WHERE name = ?1",
    [BK_SQL_USER] = "SELECT revoked, key, certificate FROM users WHERE name = ?1",
    [BK_SQL_GRANTED] = "SELECT 1 FROM grants JOIN users ON users.name = grants.user"
                       " WHERE users.revoked = 0 AND grants.user = ?1"
                       " AND ifnull(grants.device, 0) IN (0, ?2) LIMIT 1",
    [BK_SQL_EXCEPTIONS] = "SELECT id, generation, revoked FROM devices"
                          " WHERE revoked OR generation > 1",
    [BK_SQL_REVOKE_DEVICE] = "UPDATE devices SET revoked = 1 WHERE id = ?1",
    [BK_SQL_REVOKE_USER] = "UPDATE users SET revoked = 1 WHERE name = ?1",
    [BK_SQL_VOID_DEVICE_TOKENS] = "DELETE FROM tokens WHERE device = ?1",
    [BK_SQL_VOID_USER_TOKENS] = "DELETE FROM tokens WHERE user = ?1",
    [BK_SQL_GRANT] = "INSERT OR IGNORE INTO grants(user, device) VALUES (?1, nullif(?2, 0))",
    [BK_SQL_UNGRANT] = "DELETE FROM grants WHERE user = ?1 AND ifnull(device, 0) = ?2",
    [BK_SQL_UNGRANT_EVERY] = "DELETE FROM grants WHERE user = ?1",
    [BK_SQL_INVITE_DEVICE] = "INSERT OR IGNORE INTO devices(id) VALUES (?1)",
    [BK_SQL_NAME_DEVICE] = "UPDATE devices SET name = ?2 WHERE id = ?1",
    [BK_SQL_INVITE_USER] = "INSERT OR IGNORE INTO users(name) VALUES (?1)",
    [BK_SQL_TOKEN_ADD] = "INSERT INTO tokens(hash, role, device, user, expires)"
                         " VALUES (?1, ?2, ?3, ?4, ?5)",
    [BK_SQL_TOKEN_SWEEP] = "DELETE FROM tokens WHERE expires <= ?1",
    [BK_SQL_TOKEN] = "SELECT role, device, user, expires, used_by, claimed_by FROM tokens"
                     " WHERE hash = ?1",
    [BK_SQL_TOKEN_USE] = "UPDATE tokens SET used_by = ?2, claimed_by = NULL WHERE hash = ?1",
    [BK_SQL_TOKEN_CLAIM] = "UPDATE tokens SET claimed_by = ?2 WHERE hash = ?1",
    [BK_SQL_VOID_DEVICE_CLAIMS] = "DELETE FROM tokens WHERE device = ?1 AND hash <> ?2"
                                  " AND claimed_by IS NOT NULL",
    [BK_SQL_VOID_USER_CLAIMS] = "DELETE FROM tokens WHERE user = ?1 AND hash <> ?2"
                                " AND claimed_by IS NOT NULL",
    [BK_SQL_DEVICE_CLAIMANT] = "SELECT claimed_by FROM tokens WHERE device = ?1 AND expires > ?2"
                               " AND claimed_by IS NOT NULL LIMIT 1",
    [BK_SQL_USER_CLAIMANT] = "SELECT claimed_by FROM tokens WHERE user = ?1 AND expires > ?2"
                             " AND claimed_by IS NOT NULL LIMIT 1",
    [BK_SQL_ENROL_DEVICE] = "UPDATE devices SET generation = ?2, revoked = 0, key = ?3,"
                            " certificate = ?4, box_key = ?5, enrolled_at = ?6 WHERE id = ?1",
    [BK_SQL_ENROL_USER] = "UPDATE users SET revoked = 0, key = ?2, certificate = ?3,"
                          " enrolled_at = ?4 WHERE name = ?1",
    [BK_SQL_BOX_KEY] = "UPDATE devices SET box_key = ?2 WHERE id = ?1",
    [BK_SQL_RENEW_DEVICE] = "UPDATE devices SET certificate = ifnull(nullif(?2, x''), certificate),"
                            " box_key = ifnull(nullif(?3, x''), box_key) WHERE id = ?1",
    [BK_SQL_RENEW_USER] = "UPDATE users SET certificate = ifnull(nullif(?2, x''), certificate)"
                          " WHERE name = ?1",
};

static void note_why(struct bk_store *s)
{
    sqlite3_snprintf((int)sizeof s->why, s->why, "%s", sqlite3_errmsg(s->db));
}

sqlite3_stmt *bk_sql_get(struct bk_store *s, enum bk_sql which)
{
    sqlite3_stmt **slot = &s->statements[which];

    if (*slot == NULL && sqlite3_prepare_v3(s->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                                            slot, NULL) != SQLITE_OK) {
        note_why(s);
        return NULL;
    }
    return *slot;
}

void bk_sql_done(sqlite3_stmt *statement)
{
    /* Both repeat an error that the step has told already. */
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
}

enum bk_err bk_sql_step(struct bk_store *s, sqlite3_stmt *statement)
{
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        return BK_OK;
    case SQLITE_DONE:
        return BK_E_NOTFOUND;
    case SQLITE_CONSTRAINT:
        note_why(s);
        return BK_E_EXISTS;
    default:
        note_why(s);
        return BK_E_IO;
    }
}

enum bk_err bk_sql_run(struct bk_store *s, sqlite3_stmt *statement)
{
    enum bk_err err = bk_sql_step(s, statement);

    bk_sql_done(statement);
    return err == BK_E_NOTFOUND ? BK_OK : err;
}

enum bk_err bk_sql_exec(struct bk_store *s, const char *text)
{
    if (sqlite3_exec(s->db, text, NULL, NULL, NULL) != SQLITE_OK) {
        note_why(s);
        return BK_E_IO;
    }
    return BK_OK;
}

enum bk_err bk_sql_begin(struct bk_store *s)
{
    return bk_sql_exec(s, "BEGIN IMMEDIATE");
}

enum bk_err bk_sql_end(struct bk_store *s, enum bk_err err)
{
    if (err == BK_OK) {
        err = bk_sql_exec(s, "COMMIT");
    }
    /* SQLite may have rolled back by itself already. */
    if (err != BK_OK && sqlite3_get_autocommit(s->db) == 0) {
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return err;
}

/* A failed binding leaves NULL in place, which no statement of ours matches or stores unseen. */
void bk_sql_bind_int(sqlite3_stmt *statement, int at, uint64_t v)
{
    (void)sqlite3_bind_int64(statement, at, (sqlite3_int64)v);
}

void bk_sql_bind_text(sqlite3_stmt *statement, int at, struct bk_slice text)
{
    (void)sqlite3_bind_text64(statement, at, text.n == 0 ? "" : (const char *)text.p, text.n,
                              SQLITE_STATIC, SQLITE_UTF8);
}

void bk_sql_bind_blob(sqlite3_stmt *statement, int at, struct bk_slice bytes)
{
    (void)sqlite3_bind_blob64(statement, at, bytes.n == 0 ? "" : (const void *)bytes.p, bytes.n,
                              SQLITE_STATIC);
}

uint64_t bk_sql_int(sqlite3_stmt *statement, int column)
{
    sqlite3_int64 v = sqlite3_column_int64(statement, column);

    return v < 0 ? 0 : (uint64_t)v;
}

struct bk_slice bk_sql_bytes(sqlite3_stmt *statement, int column)
{
    const void *p = sqlite3_column_blob(statement, column);
    int n = sqlite3_column_bytes(statement, column);

    return p == NULL ? BK_SLICE_EMPTY : bk_slice(p, (size_t)n);
}

void bk_sql_copy_exact(sqlite3_stmt *statement, int column, uint8_t *out, size_t n)
{
    struct bk_slice bytes = bk_sql_bytes(statement, column);

    if (bytes.p != NULL && bytes.n == n) {
        memcpy(out, bytes.p, n);
    } else {
        memset(out, 0, n);
    }
}

size_t bk_sql_copy(sqlite3_stmt *statement, int column, uint8_t *out, size_t cap)
{
    struct bk_slice bytes = bk_sql_bytes(statement, column);

    if (bytes.n == 0 || bytes.n > cap) {
        return 0;
    }
    memcpy(out, bytes.p, bytes.n);
    return bytes.n;
}
