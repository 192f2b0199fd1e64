/* Opening, making and checking the store, and finding devices by what people call them. */
#include "bin/beckond/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/store_sql.h"

enum {
    SCHEMA_VERSION = 2,
    BUSY_TIMEOUT_MS = 5000, /* another process holds the store for a few milliseconds only */
};

static void say_why(char why[BK_STORE_WHY_BYTES], const char *text)
{
    sqlite3_snprintf(BK_STORE_WHY_BYTES, why, "%s", text);
}

/* Opens the database and brings the connection into the state that all of ours are in. */
static enum bk_err connect_db(const char *path, struct bk_store **out, char why[BK_STORE_WHY_BYTES])
{
    struct bk_store *s = calloc(1, sizeof *s);

    if (s == NULL) {
        say_why(why, "out of memory");
        return BK_E_NOMEM;
    }
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) !=
        SQLITE_OK) {
        say_why(why, s->db == NULL ? "out of memory" : sqlite3_errmsg(s->db));
        bk_store_close(s);
        return BK_E_IO;
    }
    (void)sqlite3_extended_result_codes(s->db, 0);
    (void)sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    if (bk_sql_exec(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                       "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;") != BK_OK) {
        int code = sqlite3_errcode(s->db);
        bool damaged = code == SQLITE_NOTADB || code == SQLITE_CORRUPT;
        say_why(why, s->why);
        bk_store_close(s);
        return damaged ? BK_E_MALFORMED : BK_E_IO;
    }
    *out = s;
    return BK_OK;
}

static enum bk_err set_version(struct bk_store *s)
{
    char text[64];

    sqlite3_snprintf((int)sizeof text, text, "PRAGMA user_version = %d", SCHEMA_VERSION);
    return bk_sql_exec(s, text);
}

enum bk_err bk_store_create(const char *path, char why[BK_STORE_WHY_BYTES])
{
    struct bk_store *s = NULL;
    enum bk_err err;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        say_why(why, strerror(errno));
        return errno == EEXIST ? BK_E_EXISTS : BK_E_IO;
    }
    (void)close(fd);
    err = connect_db(path, &s, why);
    if (err != BK_OK) {
        return err;
    }
    err = bk_sql_begin(s);
    if (err == BK_OK) {
        err = bk_sql_exec(s, bk_sql_schema);
        if (err == BK_OK) {
            err = set_version(s);
        }
        err = bk_sql_end(s, err);
    }
    if (err != BK_OK) {
        say_why(why, s->why);
    }
    bk_store_close(s);
    return err;
}

/* The schema's version, or -1. */
static int schema_version(struct bk_store *s)
{
    sqlite3_stmt *statement = NULL;
    int version = -1;

    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        version = sqlite3_column_int(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    return version;
}

/* A store that an older beckond made becomes one of ours. Several processes may come to it at once: what
 * version it has counts within the transaction only. */
static enum bk_err bring_up_to_date(struct bk_store *s)
{
    int version = schema_version(s);
    enum bk_err err;

    if (version == SCHEMA_VERSION) {
        return BK_OK;
    }
    if (version != 1) {
        return BK_E_MALFORMED;
    }
    err = bk_sql_begin(s);
    if (err != BK_OK) {
        return err;
    }
    if (schema_version(s) == 1) {
        err = bk_sql_exec(s, bk_sql_from_1);
        if (err == BK_OK) {
            err = set_version(s);
        }
    }
    return bk_sql_end(s, err);
}

enum bk_err bk_store_open(const char *path, struct bk_store **out, char why[BK_STORE_WHY_BYTES])
{
    struct bk_store *s = NULL;
    enum bk_err err;

    if (access(path, F_OK) != 0) {
        err = errno == ENOENT ? BK_E_NOTFOUND : BK_E_IO;
        say_why(why, strerror(errno));
        return err;
    }
    err = connect_db(path, &s, why);
    if (err != BK_OK) {
        return err;
    }
    err = bring_up_to_date(s);
    if (err != BK_OK) {
        say_why(why, err == BK_E_MALFORMED ? "not a store of this version of beckond" : s->why);
        bk_store_close(s);
        return err;
    }
    *out = s;
    return BK_OK;
}

void bk_store_close(struct bk_store *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < BK_SQL_COUNT; i++) {
        (void)sqlite3_finalize(s->statements[i]);
    }
    (void)sqlite3_close(s->db);
    free(s);
}

const char *bk_store_why(const struct bk_store *s)
{
    return s->why;
}

enum bk_err bk_store_check(struct bk_store *s)
{
    sqlite3_stmt *statement = NULL;
    enum bk_err err = BK_E_MALFORMED;
    bool sound = false;

    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        sound = bk_slice_equal(bk_sql_bytes(statement, 0), bk_slice_text("ok"));
        say_why(s->why, sound ? "" : (const char *)sqlite3_column_text(statement, 0));
    } else {
        say_why(s->why, sqlite3_errmsg(s->db));
    }
    (void)sqlite3_finalize(statement);
    if (!sound) {
        return err;
    }
    statement = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA foreign_key_check", -1, &statement, NULL) != SQLITE_OK) {
        say_why(s->why, sqlite3_errmsg(s->db));
        return err;
    }
    if (sqlite3_step(statement) == SQLITE_DONE) {
        err = BK_OK;
    } else {
        say_why(s->why, "a row refers to one that is missing");
    }
    (void)sqlite3_finalize(statement);
    return err;
}

enum bk_err bk_store_resolve(struct bk_store *s, struct bk_slice device, uint64_t *equipment_id)
{
    sqlite3_stmt *statement;
    uint64_t id = 0;
    enum bk_err err;

    if (bk_equipment_id_parse(device, &id) == BK_OK) {
        statement = bk_sql_get(s, BK_SQL_DEVICE_BY_ID);
        if (statement != NULL) {
            bk_sql_bind_int(statement, 1, id);
        }
    } else {
        statement = bk_sql_get(s, BK_SQL_DEVICE_BY_NAME);
        if (statement != NULL) {
            bk_sql_bind_text(statement, 1, device);
        }
    }
    if (statement == NULL) {
        return BK_E_IO;
    }
    err = bk_sql_step(s, statement);
    if (err == BK_OK) {
        *equipment_id = bk_sql_int(statement, 0);
    }
    bk_sql_done(statement);
    return err;
}
