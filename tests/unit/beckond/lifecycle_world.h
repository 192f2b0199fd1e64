/* A server's state, with its CA's key in it or elsewhere, and who enrols and renews there. */
#ifndef BK_TESTS_BECKOND_LIFECYCLE_WORLD_H
#define BK_TESTS_BECKOND_LIFECYCLE_WORLD_H

#include "beckond/commands.h"

#include "bin/beckond/authority.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/renew.h"
#include "bin/beckond/state.h"
#include "net/clock.h"
#include "seal/seal.h"

enum {
    HOUR = 3600,
    DAY = 24 * HOUR,
};

/* The commands go by the system's clock, and so do these tests. */
static uint64_t now_s;

struct fixture {
    struct place *place;
    char dir[128], ca_dir[128];
    struct bk_store *s;
    struct bk_authority authority;
    struct bk_enrol_decision d; /* the last one */
    struct bk_renew_decision r;
};

/* Somebody with a key. */
struct party {
    uint8_t raw[BK_X509_KEY_BYTES];
    uint8_t request[512];
    size_t request_n;
    uint8_t box_key[BK_BOX_KEY_BYTES];
    struct bk_identity who;
};

static inline void new_box_key(struct party *p, EVP_PKEY *key, uint8_t fill)
{
    struct bk_box_key box = {.made_s = now_s, .until_s = now_s + HOUR};
    uint8_t seed[BK_X509_KEY_BYTES];

    assert_int_equal(bk_x509_key_seed(key, seed), BK_OK);
    memset(box.key, fill, sizeof box.key);
    bk_box_key_sign(&box, seed, p->box_key);
}

static inline void make_party(struct party *p, enum bk_role role)
{
    EVP_PKEY *key = NULL;

    memset(p, 0, sizeof *p);
    assert_int_equal(bk_x509_key_make(&key), BK_OK);
    assert_int_equal(bk_x509_key_raw(key, p->raw), BK_OK);
    assert_int_equal(bk_x509_request_make(key, p->request, sizeof p->request, &p->request_n),
                     BK_OK);
    new_box_key(p, key, 9);
    EVP_PKEY_free(key);
    p->who.role = role;
    p->who.equipment_id = role == BK_ROLE_DEVICE ? 2133 : 0;
    if (role == BK_ROLE_USER) {
        (void)snprintf(p->who.name, sizeof p->who.name, "alice");
    }
    memcpy(p->who.key, p->raw, sizeof p->raw);
}

static inline int make_at(void **state, bool external)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[BK_STORE_WHY_BYTES], path[BK_STATE_PATH_BYTES];
    const char *which;
    void *place = NULL;

    if (f == NULL || place_make(&place) != 0 || bk_seal_init() != BK_OK) {
        return -1;
    }
    now_s = bk_clock_unix_s();
    f->place = place;
    *state = f;
    (void)snprintf(f->dir, sizeof f->dir, "%s/state", f->place->dir);
    (void)snprintf(f->ca_dir, sizeof f->ca_dir, "%s/ca", f->place->dir);
    if ((external ? RUN(&bk_cmd_init, "init", "--state", f->dir, "--host", "h.example",
                        "--external-ca", f->ca_dir)
                  : RUN(&bk_cmd_init, "init", "--state", f->dir, "--host", "h.example")) != 0) {
        return -1;
    }
    return bk_state_path(f->dir, BK_STATE_STORE, path) == BK_OK &&
                   bk_store_open(path, &f->s, why) == BK_OK &&
                   bk_authority_load(f->dir, now_s, &f->authority, &which) == BK_OK
               ? 0
               : -1;
}

static inline int make(void **state)
{
    return make_at(state, false);
}

static inline int make_external(void **state)
{
    return make_at(state, true);
}

static inline int drop(void **state)
{
    struct fixture *f = *state;
    void *place = f->place;
    char requests[160];

    bk_store_close(f->s);
    bk_authority_fini(&f->authority);
    (void)snprintf(requests, sizeof requests, "%s/requests", f->dir);
    if (access(requests, F_OK) == 0) {
        empty(requests);
    }
    empty(f->dir);
    if (access(f->ca_dir, F_OK) == 0) {
        empty(f->ca_dir);
    }
    free(f);
    return place_remove(&place);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, make, drop)
#define EXTERNAL(test) cmocka_unit_test_setup_teardown(test, make_external, drop)

/* ---- shorthand ---- */

static inline void invite(struct fixture *f, const char *secret, enum bk_role role)
{
    struct bk_store_token t = {.role = role, .expires_s = now_s + HOUR};
    uint8_t hash[BK_STORE_HASH_BYTES];

    if (role == BK_ROLE_DEVICE) {
        t.equipment_id = 2133;
    } else {
        (void)snprintf(t.name, sizeof t.name, "alice");
    }
    bk_enrol_hash(bk_slice_text(secret), hash);
    assert_int_equal(bk_store_token_add(f->s, hash, &t, now_s), BK_OK);
}

static inline uint16_t enrol_at(struct fixture *f, const char *secret, const struct party *p,
                                uint64_t at_s)
{
    bk_enrol_decide(
        f->s, &f->authority, at_s, bk_slice_text(secret), bk_slice(p->request, p->request_n),
        p->who.role == BK_ROLE_DEVICE ? BK_SLICE_OF(p->box_key) : BK_SLICE_EMPTY, &f->d);
    return f->d.code;
}

static inline uint16_t enrol(struct fixture *f, const char *secret, const struct party *p)
{
    return enrol_at(f, secret, p, now_s);
}

static inline uint16_t renew_at(struct fixture *f, const struct party *p, bool request, bool box,
                                uint64_t at_s)
{
    bk_renew_decide(f->s, &f->authority, at_s, &p->who,
                    request ? bk_slice(p->request, p->request_n) : BK_SLICE_EMPTY,
                    box ? BK_SLICE_OF(p->box_key) : BK_SLICE_EMPTY, &f->r);
    return f->r.code;
}

static inline uint16_t renew(struct fixture *f, const struct party *p, bool request, bool box)
{
    return renew_at(f, p, request, box, now_s);
}

static inline struct bk_x509_facts facts_of(const struct fixture *f, const uint8_t *der, size_t n,
                                            uint64_t at_s)
{
    struct bk_x509_facts facts;

    assert_int_equal(bk_x509_read(bk_slice(der, n), f->authority.ca, at_s, &facts), BK_OK);
    return facts;
}

#endif
