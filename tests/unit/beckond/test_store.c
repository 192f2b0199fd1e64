/* The store: tokens work once, generations rise, grants and revocations hold. */
#include "beckond/setup.h"

#include <sys/stat.h>

#include "bin/beckond/store.h"

enum {
    NOW = 1700000000,
    DAY = 24 * 3600,
};

struct fixture {
    struct place *place;
    struct bk_store *s;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[BK_STORE_WHY_BYTES];
    void *place = NULL;

    if (f == NULL || place_make(&place) != 0) {
        return -1;
    }
    f->place = place;
    *state = f;
    return bk_store_create(f->place->path, why) == BK_OK &&
                   bk_store_open(f->place->path, &f->s, why) == BK_OK
               ? 0
               : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;
    void *place = f->place;

    bk_store_close(f->s);
    free(f);
    return place_remove(&place);
}

/* ---- shorthand: keys and token hashes are 32 times one byte ---- */

static void bytes32(uint8_t fill, uint8_t out[32])
{
    memset(out, fill, 32);
}

static struct bk_slice text(const char *t)
{
    return bk_slice_text(t);
}

static enum bk_err invite_device(struct fixture *f, uint8_t token, uint64_t id, const char *name)
{
    struct bk_store_token t = {.role = BK_ROLE_DEVICE, .equipment_id = id, .expires_s = NOW + DAY};
    uint8_t hash[32];

    bytes32(token, hash);
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    return bk_store_token_add(f->s, hash, &t, NOW);
}

static enum bk_err invite_user(struct fixture *f, uint8_t token, const char *name)
{
    struct bk_store_token t = {.role = BK_ROLE_USER, .expires_s = NOW + DAY};
    uint8_t hash[32];

    bytes32(token, hash);
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    return bk_store_token_add(f->s, hash, &t, NOW);
}

/* Enrols with a certificate that names the key. */
static enum bk_err enrol_at(struct fixture *f, uint8_t token, uint8_t key, uint64_t now,
                            struct bk_store_enrolment *e)
{
    uint8_t hash[32], k[32], box[BK_BOX_KEY_BYTES];
    char cert[8];
    enum bk_err err;

    bytes32(token, hash);
    bytes32(key, k);
    memset(box, key, sizeof box);
    (void)snprintf(cert, sizeof cert, "cert%02x", key);
    err = bk_store_enrol_begin(f->s, hash, k, now, e);
    if (err != BK_OK) {
        return err;
    }
    return bk_store_enrol_finish(
        f->s, e, e->again ? BK_SLICE_EMPTY : text(cert),
        e->token.role == BK_ROLE_DEVICE ? BK_SLICE_OF(box) : BK_SLICE_EMPTY, now);
}

static enum bk_err enrol(struct fixture *f, uint8_t token, uint8_t key)
{
    struct bk_store_enrolment e;

    return enrol_at(f, token, key, NOW, &e);
}

static enum bk_err admit(struct fixture *f, enum bk_role role, uint64_t id, const char *name,
                         uint8_t key)
{
    struct bk_identity who = {.role = role, .equipment_id = id};

    (void)snprintf(who.name, sizeof who.name, "%s", name);
    bytes32(key, who.key);
    return bk_store_admit(f->s, &who);
}

static enum bk_err find(struct fixture *f, const char *user, uint64_t id, const char *name)
{
    struct bk_store_device d;

    return bk_store_find(f->s, text(user), id, text(name), &d);
}

/* Device 2133 "lab" with key 0x11, user alice with key 0xaa; no grant. */
static void people(struct fixture *f)
{
    assert_int_equal(invite_device(f, 1, 2133, "lab"), BK_OK);
    assert_int_equal(enrol(f, 1, 0x11), BK_OK);
    assert_int_equal(invite_user(f, 2, "alice"), BK_OK);
    assert_int_equal(enrol(f, 2, 0xaa), BK_OK);
}

/* ---- the file ---- */

static void test_file(void **state)
{
    struct fixture *f = *state;
    char why[BK_STORE_WHY_BYTES];
    struct bk_store *other = NULL;
    struct stat st;
    FILE *file;
    char path[128];

    assert_int_equal(stat(f->place->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(bk_store_create(f->place->path, why), BK_E_EXISTS);
    assert_int_equal(bk_store_check(f->s), BK_OK);
    (void)snprintf(path, sizeof path, "%s/none", f->place->dir);
    assert_int_equal(bk_store_open(path, &other, why), BK_E_NOTFOUND);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++) {
        assert_true(fputs("this is no database ", file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(bk_store_open(path, &other, why), BK_E_MALFORMED);
    assert_true(why[0] != '\0');
    assert_null(other);
}

/* ---- tokens ---- */

static void test_token_once(void **state)
{
    struct fixture *f = *state;
    struct bk_store_enrolment e;

    assert_int_equal(invite_device(f, 1, 2133, ""), BK_OK);
    assert_int_equal(enrol_at(f, 1, 0x11, NOW, &e), BK_OK);
    assert_false(e.again);
    assert_int_equal(e.generation, 1);
    assert_int_equal(e.token.equipment_id, 2133);
    /* Another key: no. The same key: the same answer, however often. */
    assert_int_equal(enrol(f, 1, 0x22), BK_E_EXISTS);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(enrol_at(f, 1, 0x11, NOW + i, &e), BK_OK);
        assert_true(e.again);
        assert_int_equal(e.generation, 1);
        assert_int_equal(e.certificate_bytes, 6);
        assert_memory_equal(e.certificate, "cert11", 6);
    }
    assert_int_equal(enrol(f, 9, 0x11), BK_E_NOTFOUND);
}

static void test_token_expires(void **state)
{
    struct fixture *f = *state;
    struct bk_store_enrolment e;
    struct bk_store_token t;
    uint8_t hash[32];

    assert_int_equal(invite_user(f, 1, "alice"), BK_OK);
    bytes32(1, hash);
    assert_int_equal(bk_store_token_look(f->s, hash, NOW + DAY - 1, &t), BK_OK);
    assert_int_equal(t.role, BK_ROLE_USER);
    assert_string_equal(t.name, "alice");
    assert_int_equal(bk_store_token_look(f->s, hash, NOW + DAY, &t), BK_E_EXPIRED);
    assert_int_equal(enrol_at(f, 1, 0x11, NOW + DAY, &e), BK_E_EXPIRED);
    assert_int_equal(enrol_at(f, 1, 0x11, NOW + DAY - 1, &e), BK_OK);
    /* The repetition ends with the token too. */
    assert_int_equal(enrol_at(f, 1, 0x11, NOW + DAY, &e), BK_E_EXPIRED);
}

static void test_expired_tokens_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct bk_store_token t = {.role = BK_ROLE_USER, .name = "bob", .expires_s = NOW + 2 * DAY};
    uint8_t hash[32];

    assert_int_equal(invite_user(f, 1, "alice"), BK_OK);
    bytes32(2, hash);
    assert_int_equal(bk_store_token_add(f->s, hash, &t, NOW + DAY), BK_OK);
    bytes32(1, hash);
    assert_int_equal(bk_store_token_look(f->s, hash, NOW, &t), BK_E_NOTFOUND);
}

static void test_abort_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct bk_store_enrolment e;
    uint8_t hash[32], key[32];

    assert_int_equal(invite_device(f, 1, 2133, ""), BK_OK);
    bytes32(1, hash);
    bytes32(0x11, key);
    assert_int_equal(bk_store_enrol_begin(f->s, hash, key, NOW, &e), BK_OK);
    bk_store_enrol_abort(f->s);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x11), BK_E_NOTFOUND);
    assert_int_equal(enrol(f, 1, 0x22), BK_OK); /* the token is still unused */
}

static void test_names_are_unique(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;

    assert_int_equal(invite_device(f, 1, 1, "lab"), BK_OK);
    assert_int_equal(invite_device(f, 2, 2, "lab"), BK_E_EXISTS);
    /* Nothing of the failed one is left, and the name may be given to its own device again. */
    assert_int_equal(bk_store_resolve(f->s, text("2"), &id), BK_E_NOTFOUND);
    assert_int_equal(invite_device(f, 3, 1, "lab"), BK_OK);
    assert_int_equal(invite_device(f, 4, 1, ""), BK_OK);
    assert_int_equal(bk_store_resolve(f->s, text("lab"), &id), BK_OK);
    assert_int_equal(id, 1);
    assert_int_equal(bk_store_resolve(f->s, text("1"), &id), BK_OK);
    assert_int_equal(bk_store_resolve(f->s, text("bal"), &id), BK_E_NOTFOUND);
}

/* ---- generations ---- */

struct exceptions {
    size_t n;
    uint64_t id[8];
    uint32_t lowest[8];
    bool revoked[8];
};

static void note(void *ctx, uint64_t id, uint32_t lowest, bool revoked)
{
    struct exceptions *x = ctx;

    assert_true(x->n < 8);
    x->id[x->n] = id;
    x->lowest[x->n] = lowest;
    x->revoked[x->n++] = revoked;
}

static void test_generation_rises(void **state)
{
    struct fixture *f = *state;
    struct bk_store_enrolment e;
    struct exceptions x = {.n = 0};

    people(f);
    assert_int_equal(bk_store_exceptions(f->s, note, &x), BK_OK);
    assert_int_equal(x.n, 0);
    assert_int_equal(invite_device(f, 3, 2133, ""), BK_OK);
    assert_int_equal(enrol_at(f, 3, 0x33, NOW, &e), BK_OK);
    assert_int_equal(e.generation, 2);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x33), BK_OK);
    /* The old holder is nobody now; its token's repetition gives nothing. */
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x11), BK_E_AUTH);
    assert_int_equal(enrol(f, 1, 0x11), BK_E_EXPIRED);
    assert_int_equal(bk_store_exceptions(f->s, note, &x), BK_OK);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.id[0], 2133);
    assert_int_equal(x.lowest[0], 2);
    assert_false(x.revoked[0]);
}

static void test_revoked_and_back(void **state)
{
    struct fixture *f = *state;
    struct bk_store_enrolment e;
    struct exceptions x = {.n = 0};

    people(f);
    assert_int_equal(invite_device(f, 3, 2133, ""), BK_OK);
    assert_int_equal(bk_store_revoke_device(f->s, 2133), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x11), BK_E_EXPIRED);
    assert_int_equal(bk_store_exceptions(f->s, note, &x), BK_OK);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.lowest[0], 1);
    assert_true(x.revoked[0]);
    /* Neither the used token nor the unused one brings it back; a new one does. */
    assert_int_equal(enrol(f, 1, 0x11), BK_E_NOTFOUND);
    assert_int_equal(enrol(f, 3, 0x11), BK_E_NOTFOUND);
    assert_int_equal(invite_device(f, 4, 2133, ""), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x11), BK_E_EXPIRED);
    assert_int_equal(enrol_at(f, 4, 0x44, NOW, &e), BK_OK);
    assert_int_equal(e.generation, 2);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x44), BK_OK);
    assert_int_equal(bk_store_revoke_device(f->s, 99), BK_E_NOTFOUND);
}

static void test_user_revoked(void **state)
{
    struct fixture *f = *state;

    people(f);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_USER, 0, "alice", 0xaa), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_USER, 0, "alice", 0xab), BK_E_AUTH);
    assert_int_equal(admit(f, BK_ROLE_USER, 0, "bob", 0xaa), BK_E_NOTFOUND);
    assert_int_equal(admit(f, BK_ROLE_SERVER, 0, "", 0xaa), BK_E_NOTFOUND);
    assert_int_equal(bk_store_revoke_user(f->s, text("alice")), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_USER, 0, "alice", 0xaa), BK_E_EXPIRED);
    assert_int_equal(find(f, "alice", 2133, ""), BK_E_NOTFOUND); /* per request too */
    assert_int_equal(enrol(f, 2, 0xaa), BK_E_NOTFOUND);
    assert_int_equal(bk_store_revoke_user(f->s, text("bob")), BK_E_NOTFOUND);
    assert_int_equal(invite_user(f, 5, "alice"), BK_OK);
    assert_int_equal(enrol(f, 5, 0xbb), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_USER, 0, "alice", 0xbb), BK_OK);
}

/* ---- grants ---- */

static void test_grants(void **state)
{
    struct fixture *f = *state;

    people(f);
    assert_int_equal(invite_device(f, 3, 2134, "yard"), BK_OK);
    assert_int_equal(enrol(f, 3, 0x22), BK_OK);
    assert_int_equal(invite_user(f, 4, "carol"), BK_OK);
    assert_int_equal(enrol(f, 4, 0xcc), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_E_NOTFOUND); /* at first nothing */
    assert_int_equal(bk_store_grant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_OK);
    assert_int_equal(find(f, "alice", 0, "lab"), BK_OK);
    assert_int_equal(find(f, "alice", 0, "bal"), BK_E_NOTFOUND);
    assert_int_equal(find(f, "alice", 2134, ""), BK_E_NOTFOUND); /* is there, and not hers */
    assert_int_equal(find(f, "alice", 0, "yard"), BK_E_NOTFOUND);
    assert_int_equal(find(f, "carol", 2133, ""), BK_E_NOTFOUND);
    assert_int_equal(bk_store_grant(f->s, text("carol"), 2134), BK_OK);
    assert_int_equal(find(f, "carol", 2134, ""), BK_OK);
    assert_int_equal(find(f, "bob", 2133, ""), BK_E_NOTFOUND);
    assert_int_equal(bk_store_ungrant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_E_NOTFOUND);
    assert_int_equal(find(f, "carol", 2134, ""), BK_OK); /* hers stays */
    assert_int_equal(bk_store_grant(f->s, text("bob"), 2133), BK_E_NOTFOUND);
    assert_int_equal(bk_store_ungrant(f->s, text("bob"), 2133), BK_E_NOTFOUND);
}

static void test_grant_for_all(void **state)
{
    struct fixture *f = *state;

    people(f);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 0), BK_OK);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_OK);
    assert_int_equal(find(f, "alice", 2134, ""), BK_E_NOTFOUND); /* granted, but there is none */
    assert_int_equal(bk_store_ungrant(f->s, text("alice"), 2133), BK_E_STATE);
    assert_int_equal(find(f, "alice", 2133, ""), BK_OK);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 2133), BK_OK);
    assert_int_equal(bk_store_ungrant(f->s, text("alice"), 0), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_E_NOTFOUND);
}

static void test_invited_only_is_not_found(void **state)
{
    struct fixture *f = *state;

    people(f);
    assert_int_equal(invite_device(f, 7, 7, "seven"), BK_OK);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 7), BK_OK);
    assert_int_equal(find(f, "alice", 7, ""), BK_E_NOTFOUND);
    assert_int_equal(enrol(f, 7, 0x77), BK_OK);
    assert_int_equal(find(f, "alice", 7, ""), BK_OK);
}

static void test_found_device(void **state)
{
    struct fixture *f = *state;
    struct bk_store_device d;

    people(f);
    assert_int_equal(bk_store_grant(f->s, text("alice"), 0), BK_OK);
    assert_int_equal(bk_store_find(f->s, text("alice"), 0, text("lab"), &d), BK_OK);
    assert_int_equal(d.equipment_id, 2133);
    assert_string_equal(d.name, "lab");
    assert_int_equal(d.certificate_bytes, 6);
    assert_memory_equal(d.certificate, "cert11", 6);
    assert_int_equal(d.box_key_bytes, BK_BOX_KEY_BYTES);
    assert_int_equal(d.box_key[0], 0x11);
    assert_false(d.revoked);
    assert_int_equal(bk_store_revoke_device(f->s, 2133), BK_OK);
    assert_int_equal(bk_store_find(f->s, text("alice"), 2133, BK_SLICE_EMPTY, &d), BK_OK);
    assert_true(d.revoked);
}

static void test_walk(void **state)
{
    static const uint64_t ids[] = {5, INT64_MAX, 1, 2133};
    struct fixture *f = *state;
    struct bk_store_device d = {.equipment_id = 0};

    for (uint8_t i = 0; i < 4; i++) {
        assert_int_equal(invite_device(f, i, ids[i], ""), BK_OK);
        assert_int_equal(enrol(f, i, i), BK_OK);
    }
    assert_int_equal(invite_device(f, 9, 3, ""), BK_OK); /* invited only: not listed */
    assert_int_equal(bk_store_next_device(f->s, 0, &d), BK_OK);
    assert_int_equal(d.equipment_id, 1);
    assert_int_equal(bk_store_next_device(f->s, 1, &d), BK_OK);
    assert_int_equal(d.equipment_id, 5);
    assert_int_equal(bk_store_next_device(f->s, 5, &d), BK_OK);
    assert_int_equal(d.equipment_id, 2133);
    assert_int_equal(bk_store_next_device(f->s, 2133, &d), BK_OK);
    assert_true(d.equipment_id == INT64_MAX);
    assert_int_equal(bk_store_next_device(f->s, INT64_MAX, &d), BK_E_NOTFOUND);
}

/* The running server and a command have the store open at once. */
static void test_two_processes(void **state)
{
    struct fixture *f = *state;
    struct fixture second = {.place = f->place};
    char why[BK_STORE_WHY_BYTES];

    people(f);
    assert_int_equal(find(f, "alice", 2133, ""), BK_E_NOTFOUND);
    assert_int_equal(bk_store_open(f->place->path, &second.s, why), BK_OK);
    assert_int_equal(bk_store_grant(second.s, text("alice"), 2133), BK_OK);
    assert_int_equal(find(f, "alice", 2133, ""), BK_OK);
    assert_int_equal(bk_store_revoke_device(second.s, 2133), BK_OK);
    assert_int_equal(admit(f, BK_ROLE_DEVICE, 2133, "", 0x11), BK_E_EXPIRED);
    bk_store_close(second.s);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_file),
        WITH_STORE(test_token_once),
        WITH_STORE(test_token_expires),
        WITH_STORE(test_expired_tokens_are_forgotten),
        WITH_STORE(test_abort_leaves_nothing),
        WITH_STORE(test_names_are_unique),
        WITH_STORE(test_generation_rises),
        WITH_STORE(test_revoked_and_back),
        WITH_STORE(test_user_revoked),
        WITH_STORE(test_grants),
        WITH_STORE(test_grant_for_all),
        WITH_STORE(test_invited_only_is_not_found),
        WITH_STORE(test_found_device),
        WITH_STORE(test_walk),
        WITH_STORE(test_two_processes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
