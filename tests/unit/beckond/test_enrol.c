/* ENROL as a whole: authority, store and the checks between them. */
#include "beckond/setup.h"

#include <sys/stat.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/state.h"
#include "seal/seal.h"
#include "seal/subject.h"

enum {
    NOW = 1700000000,
    HOUR = 3600,
};

struct fixture {
    struct place *place;
    struct bk_store *s;
    struct bk_authority authority;
    struct bk_enrol_decision d; /* the last one */
};

static int make(void **state)
{
    static const char *const hosts[] = {"rendezvous.example.com", "130.74.23.6"};
    struct fixture *f = calloc(1, sizeof *f);
    char why[BK_STORE_WHY_BYTES];
    const char *which;
    void *place = NULL;

    if (f == NULL || place_make(&place) != 0) {
        return -1;
    }
    f->place = place;
    *state = f;
    return bk_seal_init() == BK_OK &&
                   bk_authority_make_ca(f->place->dir, "Test CA", NOW) == BK_OK &&
                   bk_authority_make_server(f->place->dir, f->place->dir, hosts, 2, NOW) == BK_OK &&
                   bk_authority_load(f->place->dir, NOW, &f->authority, &which) == BK_OK &&
                   bk_store_create(f->place->path, why) == BK_OK &&
                   bk_store_open(f->place->path, &f->s, why) == BK_OK
               ? 0
               : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;
    void *place = f->place;

    bk_store_close(f->s);
    bk_authority_fini(&f->authority);
    free(f);
    return place_remove(&place);
}

/* Somebody who wants to join. */
struct applicant {
    uint8_t raw[BK_X509_KEY_BYTES];
    uint8_t request[512];
    size_t request_n;
    uint8_t box_key[BK_BOX_KEY_BYTES];
};

static void apply(struct applicant *a)
{
    struct bk_box_key box = {.made_s = NOW, .until_s = NOW + HOUR};
    uint8_t seed[BK_X509_KEY_BYTES];
    EVP_PKEY *key = NULL;

    assert_int_equal(bk_x509_key_make(&key), BK_OK);
    assert_int_equal(bk_x509_key_raw(key, a->raw), BK_OK);
    assert_int_equal(bk_x509_key_seed(key, seed), BK_OK);
    assert_int_equal(bk_x509_request_make(key, a->request, sizeof a->request, &a->request_n),
                     BK_OK);
    memset(box.key, 9, sizeof box.key);
    bk_box_key_sign(&box, seed, a->box_key);
    EVP_PKEY_free(key);
}

static void invite(struct fixture *f, const char *secret, enum bk_role role)
{
    struct bk_store_token t = {.role = role, .expires_s = NOW + HOUR};
    uint8_t hash[BK_STORE_HASH_BYTES];

    if (role == BK_ROLE_DEVICE) {
        t.equipment_id = 2133;
    } else {
        (void)snprintf(t.name, sizeof t.name, "alice");
    }
    bk_enrol_hash(bk_slice_text(secret), hash);
    assert_int_equal(bk_store_token_add(f->s, hash, &t, NOW), BK_OK);
}

/* The code; the whole decision stays in the fixture. */
static uint16_t decide(struct fixture *f, const char *secret, const struct applicant *a,
                       bool with_box)
{
    bk_enrol_decide(f->s, &f->authority, NOW, bk_slice_text(secret),
                    bk_slice(a->request, a->request_n),
                    with_box ? BK_SLICE_OF(a->box_key) : BK_SLICE_EMPTY, &f->d);
    return f->d.code;
}

static void test_device(void **state)
{
    struct fixture *f = *state;
    static struct applicant a, b;
    static uint8_t first[BK_STORE_CERTIFICATE_MAX_BYTES];
    const struct bk_enrol_decision *d = &f->d;
    struct bk_x509_facts facts;
    struct bk_identity who = {.role = BK_ROLE_NONE};

    apply(&a);
    apply(&b);
    invite(f, "secret", BK_ROLE_DEVICE);
    assert_int_equal(decide(f, "secret", &a, true), 0);
    assert_false(d->again);
    memcpy(first, d->certificate, d->certificate_bytes);
    assert_int_equal(d->role, BK_ROLE_DEVICE);
    assert_int_equal(d->equipment_id, 2133);
    assert_int_equal(d->generation, 1);
    assert_int_equal(bk_x509_read(bk_slice(d->certificate, d->certificate_bytes), f->authority.ca,
                                  NOW + 1, &facts),
                     BK_OK);
    assert_string_equal(facts.uri, "beckon:device:2133");
    assert_memory_equal(facts.key, a.raw, sizeof a.raw);
    assert_int_equal(facts.not_after_s, NOW + BK_AUTHORITY_LIFE_S);
    assert_int_equal(bk_subject_read(bk_slice_text(facts.uri), &who), BK_OK);
    memcpy(who.key, facts.key, sizeof who.key);
    assert_int_equal(bk_store_admit(f->s, &who), BK_OK);
    assert_int_equal(decide(f, "secret", &a, true), 0);
    assert_true(d->again);
    assert_int_equal(d->generation, 1);
    assert_memory_equal(d->certificate, first, d->certificate_bytes);
    assert_int_equal(decide(f, "secret", &b, true), BK_CODE_TOKEN_USED);
}

static void test_user(void **state)
{
    struct fixture *f = *state;
    const struct bk_enrol_decision *d = &f->d;
    static struct applicant a;

    apply(&a);
    invite(f, "secret", BK_ROLE_USER);
    assert_int_equal(decide(f, "secret", &a, true), BK_CODE_BAD_REQUEST); /* users have no box */
    assert_int_equal(decide(f, "secret", &a, false), 0);
    assert_int_equal(d->equipment_id, 0);
    assert_int_equal(d->generation, 0);
    assert_string_equal(d->user, "alice");
}

/* A refused attempt costs nothing: the token stays good. */
static void test_refused(void **state)
{
    struct fixture *f = *state;
    static struct applicant a, b, mixed, broken;

    apply(&a);
    apply(&b);
    mixed = broken = a;
    invite(f, "secret", BK_ROLE_DEVICE);
    assert_int_equal(decide(f, "Secret", &a, true), BK_CODE_FORBIDDEN);
    assert_int_equal(decide(f, "", &a, true), BK_CODE_FORBIDDEN);
    assert_int_equal(decide(f, "secret", &a, false), BK_CODE_BAD_REQUEST);
    memcpy(mixed.box_key, b.box_key, sizeof b.box_key); /* signed by another key */
    assert_int_equal(decide(f, "secret", &mixed, true), BK_CODE_BAD_REQUEST);
    broken.request[broken.request_n - 1] ^= 1; /* no proof of possession */
    assert_int_equal(decide(f, "secret", &broken, true), BK_CODE_BAD_REQUEST);
    broken.request_n = 10;
    assert_int_equal(decide(f, "secret", &broken, true), BK_CODE_BAD_REQUEST);
    assert_int_equal(decide(f, "secret", &b, true), 0);
}

/* What the store gets of a token: SHA-256 of the word, and nothing to join with. */
static void test_hash(void **state)
{
    static const uint8_t right[BK_STORE_HASH_BYTES] = {
        0x2b, 0xb8, 0x0d, 0x53, 0x7b, 0x1d, 0xa3, 0xe3, 0x8b, 0xd3, 0x03,
        0x61, 0xaa, 0x85, 0x56, 0x86, 0xbd, 0xe0, 0xea, 0xcd, 0x71, 0x62,
        0xfe, 0xf6, 0xa2, 0x5f, 0xe9, 0x7b, 0xf5, 0x27, 0xa2, 0x5b};
    uint8_t hash[BK_STORE_HASH_BYTES];

    (void)state;
    bk_enrol_hash(bk_slice_text("secret"), hash);
    assert_memory_equal(hash, right, sizeof right);
}

/* Nobody else reads what the server's trust hangs on, whatever the umask. */
static void test_modes(void **state)
{
    static const char *const names[] = {BK_STATE_CA_KEY, BK_STATE_SERVER_KEY, BK_STATE_MASTER_KEYS};
    struct fixture *f = *state;
    struct bk_random rng = bk_random_system();
    char path[BK_STATE_PATH_BYTES];
    struct stat st;

    assert_int_equal(bk_state_master_make(f->place->dir, &rng), BK_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(bk_state_path(f->place->dir, names[i], path), BK_OK);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

static void test_authority_files(void **state)
{
    struct fixture *f = *state;
    static struct bk_authority other;
    const char *which = "";
    uint8_t pin[BK_PIN_BYTES];
    char path[BK_STATE_PATH_BYTES], aside[BK_STATE_PATH_BYTES];

    assert_int_equal(bk_authority_make_ca(f->place->dir, "Again", NOW), BK_E_EXISTS);
    assert_int_equal(bk_authority_make_server(f->place->dir, f->place->dir, NULL, 0, NOW),
                     BK_E_EXISTS);
    assert_int_equal(bk_authority_pin(f->place->dir, pin), BK_OK);
    assert_memory_equal(pin, f->authority.ca_pin, sizeof pin);
    assert_int_equal(
        bk_authority_load(f->place->dir, NOW + UINT64_C(11) * 366 * 86400, &other, &which),
        BK_E_EXPIRED);
    /* The CA's key in place of the server's. */
    assert_int_equal(bk_state_path(f->place->dir, BK_STATE_SERVER_KEY, path), BK_OK);
    assert_int_equal(bk_state_path(f->place->dir, BK_STATE_CA_KEY, aside), BK_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bk_authority_load(f->place->dir, NOW, &other, &which), BK_E_NOTFOUND);
    assert_string_equal(which, "server.key");
    assert_int_equal(link(aside, path), 0);
    assert_int_equal(bk_authority_load(f->place->dir, NOW, &other, &which), BK_E_AUTH);
    assert_string_equal(which, "server.key");
    /* A certificate from the right CA, but a device's. */
    static struct applicant a;
    X509 *cert = NULL;
    apply(&a);
    invite(f, "word", BK_ROLE_DEVICE);
    assert_int_equal(decide(f, "word", &a, true), 0);
    assert_int_equal(bk_x509_from_der(bk_slice(f->d.certificate, f->d.certificate_bytes), &cert),
                     BK_OK);
    assert_int_equal(bk_state_path(f->place->dir, BK_STATE_SERVER_CERTIFICATE, path), BK_OK);
    assert_int_equal(bk_x509_save(path, cert, true), BK_OK);
    X509_free(cert);
    assert_int_equal(bk_authority_load(f->place->dir, NOW, &other, &which), BK_E_MALFORMED);
    assert_string_equal(which, "server.crt");
}

static void test_master_keys(void **state)
{
    struct fixture *f = *state;
    struct bk_random rng = bk_random_system();
    struct bk_master_key keys[BK_SERVER_EPOCHS_MAX];
    char path[BK_STATE_PATH_BYTES];
    size_t n = 0;
    FILE *file;

    assert_int_equal(bk_state_master_load(f->place->dir, keys, &n), BK_E_NOTFOUND);
    assert_int_equal(bk_state_master_make(f->place->dir, &rng), BK_OK);
    assert_int_equal(bk_state_master_make(f->place->dir, &rng), BK_E_EXISTS);
    assert_int_equal(bk_state_master_load(f->place->dir, keys, &n), BK_OK);
    assert_int_equal(n, 1);
    assert_int_equal(keys[0].epoch, 1);
    assert_int_equal(bk_state_path(f->place->dir, BK_STATE_MASTER_KEYS, path), BK_OK);
    for (size_t bytes = 0; bytes <= 5 * BK_STATE_MASTER_RECORD_BYTES; bytes++) {
        bool whole = bytes > 0 && bytes % BK_STATE_MASTER_RECORD_BYTES == 0 &&
                     bytes <= BK_SERVER_EPOCHS_MAX * BK_STATE_MASTER_RECORD_BYTES;
        file = fopen(path, "w");
        assert_non_null(file);
        for (size_t i = 0; i < bytes; i++) { /* epochs 0x0000, 0x0101, ... */
            assert_true(fputc((int)(i / BK_STATE_MASTER_RECORD_BYTES), file) >= 0);
        }
        assert_int_equal(fclose(file), 0);
        assert_int_equal(bk_state_master_load(f->place->dir, keys, &n),
                         whole ? BK_OK : BK_E_MALFORMED);
    }
    file = fopen(path, "w"); /* one epoch twice */
    assert_non_null(file);
    for (size_t i = 0; i < 2 * BK_STATE_MASTER_RECORD_BYTES; i++) {
        assert_true(fputc(7, file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(bk_state_master_load(f->place->dir, keys, &n), BK_E_MALFORMED);
}

#define WITH_ALL(test) cmocka_unit_test_setup_teardown(test, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ALL(test_device),      WITH_ALL(test_user),
        WITH_ALL(test_refused),     WITH_ALL(test_authority_files),
        WITH_ALL(test_master_keys), WITH_ALL(test_modes),
        WITH_ALL(test_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
