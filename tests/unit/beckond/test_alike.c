/* A device that a user may not call, one that is not enrolled and one that does not exist: the store does the
 * same for all three, statement by statement and nearly step by step, so that nobody can time them apart. Time
 * itself is measured in tests/e2e/test_lifecycles.py. */
#include "beckond/setup.h"

#include "bin/beckond/store_sql.h"

enum {
    NOW = 1700000000,
    STATEMENTS_MAX = 8,
    STEPS_APART = 12, /* of SQLite's machine, each some ten nanoseconds */
};

struct trace {
    size_t n;
    char text[STATEMENTS_MAX][512];
    int steps;
};

struct fixture {
    struct place *place;
    struct bk_store *s;
};

static int on_trace(unsigned what, void *ctx, void *statement, void *text)
{
    struct trace *t = ctx;

    if (what == SQLITE_TRACE_STMT) {
        assert_true(t->n < STATEMENTS_MAX);
        (void)snprintf(t->text[t->n++], sizeof t->text[0], "%s", (const char *)text);
    } else {
        t->steps += sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    }
    return 0;
}

static void hash_for(uint64_t id, uint8_t hash[BK_STORE_HASH_BYTES])
{
    memset(hash, 0, BK_STORE_HASH_BYTES);
    memcpy(hash, &id, sizeof id);
}

static void bring_in(struct fixture *f, uint64_t id, const char *name, bool enrols)
{
    struct bk_store_token t = {.role = BK_ROLE_DEVICE, .equipment_id = id, .expires_s = NOW + 60};
    struct bk_store_enrolment e;
    uint8_t hash[BK_STORE_HASH_BYTES], key[BK_KEY_BYTES], box[BK_BOX_KEY_BYTES] = {0};
    uint8_t certificate[400] = {0}; /* as long as they are */

    hash_for(id, hash);
    memset(key, (int)id & 0xFF, sizeof key);
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    assert_int_equal(bk_store_token_add(f->s, hash, &t, NOW), BK_OK);
    if (enrols) {
        assert_int_equal(bk_store_enrol_begin(f->s, hash, key, NOW, &e), BK_OK);
        assert_int_equal(
            bk_store_enrol_finish(f->s, &e, BK_SLICE_OF(certificate), BK_SLICE_OF(box), NOW),
            BK_OK);
    }
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct bk_store_token user = {.role = BK_ROLE_USER, .expires_s = NOW + 60, .name = "alice"};
    uint8_t hash[BK_STORE_HASH_BYTES];
    char why[BK_STORE_WHY_BYTES];
    void *place = NULL;

    memset(hash, 0xFF, sizeof hash);
    if (f == NULL || place_make(&place) != 0) {
        return -1;
    }
    f->place = place;
    *state = f;
    if (bk_store_create(f->place->path, why) != BK_OK ||
        bk_store_open(f->place->path, &f->s, why) != BK_OK) {
        return -1;
    }
    assert_int_equal(bk_store_token_add(f->s, hash, &user, NOW), BK_OK);
    for (uint64_t id = 1; id < 200; id++) {
        char name[16];
        (void)snprintf(name, sizeof name, "lamp-%u", (unsigned)id);
        bring_in(f, id, name, true);
    }
    bring_in(f, 300, "granted", true);
    bring_in(f, 301, "ungranted", true);
    bring_in(f, 302, "invited", false);
    bring_in(f, 303, "invited-granted", false);
    assert_int_equal(bk_store_grant(f->s, bk_slice_text("alice"), 300), BK_OK);
    assert_int_equal(bk_store_grant(f->s, bk_slice_text("alice"), 303), BK_OK);
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;
    void *place = f->place;

    bk_store_close(f->s);
    free(f);
    return place_remove(&place);
}

/* What a query makes the store do. */
static enum bk_err watch(struct fixture *f, uint64_t id, const char *name, struct trace *t)
{
    static struct bk_store_device d;
    enum bk_err err = BK_OK;

    for (int i = 0; i < 2; i++) { /* the first time statements are prepared */
        memset(t, 0, sizeof *t);
        assert_int_equal(
            sqlite3_trace_v2(f->s->db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, on_trace, t),
            SQLITE_OK);
        err = bk_store_find(f->s, bk_slice_text("alice"), id, bk_slice_text(name), &d);
        assert_int_equal(sqlite3_trace_v2(f->s->db, 0, NULL, NULL), SQLITE_OK);
    }
    return err;
}

static void same(const struct trace *a, const struct trace *b)
{
    assert_true(a->n > 0 && a->steps > 0);
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->text[i], b->text[i]);
    }
    assert_true(abs(a->steps - b->steps) <= STEPS_APART);
}

static void test_by_id(void **state)
{
    static const uint64_t others[] = {301, 302, 303, 250, 1, 199, INT64_MAX};
    struct fixture *f = *state;
    static struct trace missing, other;

    assert_int_equal(watch(f, 300, "", &other), BK_OK);
    assert_int_equal(watch(f, 999, "", &missing), BK_E_NOTFOUND);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(watch(f, others[i], "", &other), BK_E_NOTFOUND);
        same(&missing, &other);
    }
    /* The row of an ungranted device is not even read. */
    assert_int_equal(watch(f, 301, "", &other), BK_E_NOTFOUND);
    assert_int_equal(missing.steps, other.steps);
}

static void test_by_name(void **state)
{
    static const char *const others[] = {"ungranted", "invited", "invited-granted", "lamp-7",
                                         "lamp-1000"};
    struct fixture *f = *state;
    static struct trace missing, other;

    assert_int_equal(watch(f, 0, "granted", &other), BK_OK);
    assert_int_equal(watch(f, 0, "nowhere", &missing), BK_E_NOTFOUND);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(watch(f, 0, others[i], &other), BK_E_NOTFOUND);
        same(&missing, &other);
    }
}

/* A store made by the version before can be opened, and a token in it still works. */
static void test_older_store(void **state)
{
    struct fixture *f = *state;
    char why[BK_STORE_WHY_BYTES];
    uint8_t hash[BK_STORE_HASH_BYTES], key[BK_KEY_BYTES] = {1};
    struct bk_store_enrolment e;
    struct bk_identity who = {.role = BK_ROLE_DEVICE, .equipment_id = 302};

    assert_int_equal(sqlite3_exec(f->s->db,
                                  "ALTER TABLE tokens DROP COLUMN claimed_by;"
                                  "PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    bk_store_close(f->s);
    assert_int_equal(bk_store_open(f->place->path, &f->s, why), BK_OK);
    assert_int_equal(bk_store_check(f->s), BK_OK);
    hash_for(302, hash);
    assert_int_equal(bk_store_enrol_begin(f->s, hash, key, NOW, &e), BK_OK);
    assert_int_equal(bk_store_enrol_claim(f->s, &e), BK_OK);
    assert_int_equal(bk_store_claimant(f->s, &who, NOW, key), BK_OK);
    assert_int_equal(bk_store_claimant(f->s, &who, NOW + 60, key), BK_E_NOTFOUND);
    assert_int_equal(sqlite3_exec(f->s->db, "PRAGMA user_version = 3", NULL, NULL, NULL),
                     SQLITE_OK);
    bk_store_close(f->s);
    f->s = NULL;
    assert_int_equal(bk_store_open(f->place->path, &f->s, why), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_id, make, drop),
        cmocka_unit_test_setup_teardown(test_by_name, make, drop),
        cmocka_unit_test_setup_teardown(test_older_store, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
