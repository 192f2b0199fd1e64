/* The store's SQL: the schema, every statement by name, and the few steps that all of them share.
 * For store*.c only. */
#ifndef BK_BECKOND_STORE_SQL_H
#define BK_BECKOND_STORE_SQL_H

#include <sqlite3.h>

#include "bin/beckond/store.h"

enum bk_sql {
    BK_SQL_DEVICE_BY_ID,
    BK_SQL_DEVICE_BY_NAME,
    BK_SQL_DEVICE_AFTER,
    BK_SQL_DEVICE_ENROLLED,
    BK_SQL_ID_OF_NAME,
    BK_SQL_USER,
    BK_SQL_GRANTED,
    BK_SQL_EXCEPTIONS,
    BK_SQL_REVOKE_DEVICE,
    BK_SQL_REVOKE_USER,
    BK_SQL_VOID_DEVICE_TOKENS,
    BK_SQL_VOID_USER_TOKENS,
    BK_SQL_GRANT,
    BK_SQL_UNGRANT,
    BK_SQL_UNGRANT_EVERY,
    BK_SQL_INVITE_DEVICE,
    BK_SQL_NAME_DEVICE,
    BK_SQL_INVITE_USER,
    BK_SQL_TOKEN_ADD,
    BK_SQL_TOKEN_SWEEP,
    BK_SQL_TOKEN,
    BK_SQL_TOKEN_USE,
    BK_SQL_TOKEN_CLAIM,
    BK_SQL_VOID_DEVICE_CLAIMS,
    BK_SQL_VOID_USER_CLAIMS,
    BK_SQL_DEVICE_CLAIMANT,
    BK_SQL_USER_CLAIMANT,
    BK_SQL_ENROL_DEVICE,
    BK_SQL_ENROL_USER,
    BK_SQL_BOX_KEY,
    BK_SQL_RENEW_DEVICE,
    BK_SQL_RENEW_USER,
    BK_SQL_COUNT,
};

struct bk_store {
    sqlite3 *db;
    sqlite3_stmt *statements[BK_SQL_COUNT];
    char why[BK_STORE_WHY_BYTES];
};

extern const char bk_sql_schema[];
/* From the schema of version 1 to the present one. */
extern const char bk_sql_from_1[];

/* The statement, prepared at first use, its bindings cleared; NULL on failure. A statement is used by
 * one function at a time and given back with bk_sql_done. */
sqlite3_stmt *bk_sql_get(struct bk_store *s, enum bk_sql which);
void bk_sql_done(sqlite3_stmt *statement);

/* Runs a statement that yields no rows, and gives it back. */
BK_NODISCARD enum bk_err bk_sql_run(struct bk_store *s, sqlite3_stmt *statement);
/* One step of a query: BK_OK a row, BK_E_NOTFOUND none. */
BK_NODISCARD enum bk_err bk_sql_step(struct bk_store *s, sqlite3_stmt *statement);

/* Text without a statement of its own: BEGIN, COMMIT, pragmas. */
BK_NODISCARD enum bk_err bk_sql_exec(struct bk_store *s, const char *text);
BK_NODISCARD enum bk_err bk_sql_begin(struct bk_store *s);
/* Commits if `err` is BK_OK, else rolls back; returns `err`, or what the commit met. */
BK_NODISCARD enum bk_err bk_sql_end(struct bk_store *s, enum bk_err err);

void bk_sql_bind_int(sqlite3_stmt *statement, int at, uint64_t v);
/* The bytes must outlive the statement's use. */
void bk_sql_bind_text(sqlite3_stmt *statement, int at, struct bk_slice text);
void bk_sql_bind_blob(sqlite3_stmt *statement, int at, struct bk_slice bytes);

uint64_t bk_sql_int(sqlite3_stmt *statement, int column);
/* Borrowed until the next step. */
struct bk_slice bk_sql_bytes(sqlite3_stmt *statement, int column);
/* Copies a blob of exactly `n` bytes, or clears `out`. */
void bk_sql_copy_exact(sqlite3_stmt *statement, int column, uint8_t *out, size_t n);
/* Copies a blob of at most `cap` bytes and returns its length; 0 if it is longer. */
size_t bk_sql_copy(sqlite3_stmt *statement, int column, uint8_t *out, size_t cap);

/* A user's row as far as decisions need it. BK_E_NOTFOUND. */
struct bk_store_user {
    bool enrolled;
    bool revoked;
    uint8_t key[BK_KEY_BYTES];
    size_t certificate_bytes;
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
};
BK_NODISCARD enum bk_err bk_store_user(struct bk_store *s, struct bk_slice name,
                                       struct bk_store_user *out);

#endif
