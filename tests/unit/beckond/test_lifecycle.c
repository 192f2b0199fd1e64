/* Lifecycles: RENEW, certificates that are signed elsewhere, and the commands that sign and change epochs. */
#include "beckond/setup.h"

#include <sys/stat.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/renew.h"
#include "bin/beckond/requests.h"
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

static void new_box_key(struct party *p, EVP_PKEY *key, uint8_t fill)
{
    struct bk_box_key box = {.made_s = now_s, .until_s = now_s + HOUR};
    uint8_t seed[BK_X509_KEY_BYTES];

    assert_int_equal(bk_x509_key_seed(key, seed), BK_OK);
    memset(box.key, fill, sizeof box.key);
    bk_box_key_sign(&box, seed, p->box_key);
}

static void make_party(struct party *p, enum bk_role role)
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

static int run(const struct bk_command *command, const char *const *args)
{
    char *argv[10];
    int argc = 0, status;

    for (; args[argc] != NULL; argc++) {
        argv[argc] = strdup(args[argc]);
        assert_non_null(argv[argc]);
    }
    char *copies[10];
    memcpy(copies, argv, sizeof argv);
    status = (int)command->run(argc, argv);
    (void)fflush(stdout);
    for (int i = 0; i < argc; i++) {
        free(copies[i]);
    }
    return status;
}

#define RUN(command, ...) run(command, (const char *const[]){__VA_ARGS__, NULL})

static int make_at(void **state, bool external)
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

static int make(void **state)
{
    return make_at(state, false);
}

static int make_external(void **state)
{
    return make_at(state, true);
}

static void empty(const char *dir)
{
    struct place p;
    void *inside = malloc(sizeof p);

    assert_non_null(inside);
    (void)snprintf(p.dir, sizeof p.dir, "%s", dir);
    memcpy(inside, &p, sizeof p);
    (void)place_remove(&inside);
}

static int drop(void **state)
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

/* ---- shorthand ---- */

static void invite(struct fixture *f, const char *secret, enum bk_role role)
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

static uint16_t enrol_at(struct fixture *f, const char *secret, const struct party *p,
                         uint64_t at_s)
{
    bk_enrol_decide(
        f->s, &f->authority, at_s, bk_slice_text(secret), bk_slice(p->request, p->request_n),
        p->who.role == BK_ROLE_DEVICE ? BK_SLICE_OF(p->box_key) : BK_SLICE_EMPTY, &f->d);
    return f->d.code;
}

static uint16_t enrol(struct fixture *f, const char *secret, const struct party *p)
{
    return enrol_at(f, secret, p, now_s);
}

static uint16_t renew_at(struct fixture *f, const struct party *p, bool request, bool box,
                         uint64_t at_s)
{
    bk_renew_decide(f->s, &f->authority, at_s, &p->who,
                    request ? bk_slice(p->request, p->request_n) : BK_SLICE_EMPTY,
                    box ? BK_SLICE_OF(p->box_key) : BK_SLICE_EMPTY, &f->r);
    return f->r.code;
}

static uint16_t renew(struct fixture *f, const struct party *p, bool request, bool box)
{
    return renew_at(f, p, request, box, now_s);
}

static bool lies_there(const struct fixture *f, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/requests/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

static void put_file(const struct fixture *f, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/requests/%s", f->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void put_pem(const struct fixture *f, const char *file, const char *label,
                    struct bk_slice der)
{
    int folder;

    assert_int_equal(bk_requests_open(f->dir, &folder), BK_OK);
    assert_int_equal(bk_requests_save(folder, file, label, der), BK_OK);
    assert_int_equal(close(folder), 0);
}

static void put_answer(const struct fixture *f, struct bk_slice der)
{
    put_pem(f, "device-2133.crt", BK_REQUESTS_PEM_CERTIFICATE, der);
}

static struct bk_x509_facts facts_of(const struct fixture *f, const uint8_t *der, size_t n,
                                     uint64_t at_s)
{
    struct bk_x509_facts facts;

    assert_int_equal(bk_x509_read(bk_slice(der, n), f->authority.ca, at_s, &facts), BK_OK);
    return facts;
}

/* ---- RENEW ---- */

static void test_renew_device(void **state)
{
    struct fixture *f = *state;
    static struct party p;
    static struct bk_store_device device;
    struct bk_x509_facts facts;

    make_party(&p, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &p), 0);
    invite(f, "two", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "two", &p), 0);
    assert_int_equal(f->d.generation, 2);
    memset(p.box_key, 0, sizeof p.box_key);
    assert_int_equal(renew(f, &p, false, true), BK_CODE_BAD_REQUEST); /* unsigned box key */
    EVP_PKEY *other = NULL;
    assert_int_equal(bk_x509_key_make(&other), BK_OK);
    new_box_key(&p, other, 7);
    EVP_PKEY_free(other);
    assert_int_equal(renew(f, &p, false, true), BK_CODE_BAD_REQUEST); /* signed by another */

    /* A certificate alone, in its last hour and after: the box key stays. */
    assert_int_equal(renew_at(f, &p, true, false, now_s + UINT64_C(400) * DAY), 0);
    assert_false(f->r.box_key);
    assert_false(f->r.pending);
    assert_int_equal(f->r.generation, 2);
    facts = facts_of(f, f->r.certificate, f->r.certificate_bytes, now_s + UINT64_C(401) * DAY);
    assert_string_equal(facts.uri, "beckon:device:2133");
    assert_memory_equal(facts.key, p.raw, sizeof p.raw);
    assert_int_equal(bk_store_device(f->s, 2133, &device), BK_OK);
    assert_int_equal(device.generation, 2);
    assert_int_equal(device.box_key_bytes, BK_BOX_KEY_BYTES);
    assert_int_equal(device.certificate_bytes, f->r.certificate_bytes);
    assert_memory_equal(device.certificate, f->r.certificate, f->r.certificate_bytes);

    /* Nothing at all: the answer is what makes a registration key. */
    assert_int_equal(renew(f, &p, false, false), 0);
    assert_int_equal(f->r.certificate_bytes, 0);
    assert_int_equal(f->r.generation, 2);
}

static void test_renew_box_key(void **state)
{
    struct fixture *f = *state;
    static struct party p;
    static struct bk_store_device before, after;
    EVP_PKEY *key = NULL;

    make_party(&p, BK_ROLE_DEVICE);
    assert_int_equal(bk_x509_key_make(&key), BK_OK);
    assert_int_equal(bk_x509_key_raw(key, p.raw), BK_OK);
    memcpy(p.who.key, p.raw, sizeof p.raw);
    assert_int_equal(bk_x509_request_make(key, p.request, sizeof p.request, &p.request_n), BK_OK);
    new_box_key(&p, key, 1);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &p), 0);
    assert_int_equal(bk_store_device(f->s, 2133, &before), BK_OK);
    new_box_key(&p, key, 2);
    EVP_PKEY_free(key);
    assert_int_equal(renew(f, &p, false, true), 0);
    assert_true(f->r.box_key);
    assert_int_equal(bk_store_device(f->s, 2133, &after), BK_OK);
    assert_memory_equal(after.box_key, p.box_key, sizeof p.box_key);
    assert_memory_not_equal(after.box_key, before.box_key, sizeof p.box_key);
    assert_int_equal(after.certificate_bytes, before.certificate_bytes);
    assert_memory_equal(after.certificate, before.certificate, before.certificate_bytes);
}

static void test_renew_user(void **state)
{
    struct fixture *f = *state;
    static struct party p;

    make_party(&p, BK_ROLE_USER);
    invite(f, "one", BK_ROLE_USER);
    assert_int_equal(enrol(f, "one", &p), 0);
    assert_int_equal(renew(f, &p, true, true), BK_CODE_BAD_REQUEST); /* users have no box */
    assert_int_equal(renew(f, &p, true, false), 0);
    assert_int_equal(f->r.generation, 0);
    assert_string_equal(facts_of(f, f->r.certificate, f->r.certificate_bytes, now_s).uri,
                        "beckon:user:alice");
}

/* Another key's request, a successor under the same ID, a revocation. */
static void test_renew_refused(void **state)
{
    struct fixture *f = *state;
    static struct party a, b, mixed;

    make_party(&a, BK_ROLE_DEVICE);
    make_party(&b, BK_ROLE_DEVICE);
    assert_int_equal(renew(f, &a, true, true), BK_CODE_FORBIDDEN); /* not enrolled at all */
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &a), 0);
    mixed = a;
    memcpy(mixed.request, b.request, sizeof b.request);
    mixed.request_n = b.request_n;
    assert_int_equal(renew(f, &mixed, true, false), BK_CODE_BAD_REQUEST);
    mixed.request_n = 10;
    assert_int_equal(renew(f, &mixed, true, false), BK_CODE_BAD_REQUEST);
    assert_int_equal(renew(f, &b, true, true), BK_CODE_FORBIDDEN);
    invite(f, "two", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "two", &b), 0);
    assert_int_equal(renew(f, &a, true, true), BK_CODE_FORBIDDEN); /* replaced */
    assert_int_equal(f->r.certificate_bytes, 0);
    assert_int_equal(renew(f, &b, true, true), 0);
    assert_int_equal(bk_store_revoke_device(f->s, 2133), BK_OK);
    assert_int_equal(renew(f, &b, true, true), BK_CODE_FORBIDDEN);
    /* Also where that happens between the decision and the writing. */
    static struct bk_store_device device;
    assert_int_equal(bk_store_renew(f->s, &b.who, bk_slice("new", 3), BK_SLICE_EMPTY),
                     BK_E_EXPIRED);
    assert_int_equal(bk_store_renew(f->s, &a.who, bk_slice("new", 3), BK_SLICE_EMPTY), BK_E_AUTH);
    assert_int_equal(bk_store_device(f->s, 2133, &device), BK_OK);
    assert_int_not_equal(device.certificate_bytes, 3);
}

/* ---- certificates that are signed elsewhere ---- */

static void sign(const struct fixture *f, int status)
{
    assert_int_equal(RUN(&bk_cmd_sign, "sign", "--state", f->dir, "--ca", f->ca_dir), status);
}

static void test_external_enrolment(void **state)
{
    struct fixture *f = *state;
    static struct party a, b;
    char path[256];
    struct stat st;

    assert_null(f->authority.ca_key);
    (void)snprintf(path, sizeof path, "%s/ca.key", f->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    make_party(&a, BK_ROLE_DEVICE);
    make_party(&b, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    assert_true(f->d.note.asked);
    assert_true(lies_there(f, "device-2133.req"));
    (void)snprintf(path, sizeof path, "%s/requests/device-2133.req", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING); /* polled */
    assert_false(f->d.note.asked);
    assert_int_equal(enrol(f, "one", &b), BK_CODE_TOKEN_USED); /* the first key has the token */
    assert_int_equal(RUN(&bk_cmd_sign, "sign", "--state", f->dir, "--ca", f->ca_dir, "--list"), 0);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    sign(f, 0);
    assert_int_equal(enrol(f, "one", &a), 0);
    assert_int_equal(f->d.generation, 1);
    assert_memory_equal(facts_of(f, f->d.certificate, f->d.certificate_bytes, now_s).key, a.raw,
                        sizeof a.raw);
    assert_false(lies_there(f, "device-2133.req"));
    assert_false(lies_there(f, "device-2133.crt"));
    assert_int_equal(enrol(f, "one", &a), 0); /* the answer got lost */
    assert_true(f->d.again);
    assert_int_equal(enrol(f, "one", &b), BK_CODE_TOKEN_USED);
}

/* Two tokens for one place: the latest to come counts, the other is void. */
static void test_external_rivals(void **state)
{
    struct fixture *f = *state;
    static struct party a, b;

    make_party(&a, BK_ROLE_DEVICE);
    make_party(&b, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    invite(f, "two", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    sign(f, 0);
    assert_int_equal(enrol(f, "two", &b), BK_CODE_PENDING); /* not with a's certificate */
    assert_false(lies_there(f, "device-2133.crt"));
    assert_int_equal(enrol(f, "one", &a), BK_CODE_FORBIDDEN);
    sign(f, 0);
    assert_int_equal(enrol(f, "two", &b), 0);
    assert_memory_equal(facts_of(f, f->d.certificate, f->d.certificate_bytes, now_s).key, b.raw,
                        sizeof b.raw);
}

static void test_external_token_expires(void **state)
{
    struct fixture *f = *state;
    static struct party p;

    make_party(&p, BK_ROLE_USER);
    invite(f, "one", BK_ROLE_USER);
    assert_int_equal(enrol(f, "one", &p), BK_CODE_PENDING);
    sign(f, 0);
    assert_int_equal(enrol_at(f, "one", &p, now_s + HOUR), BK_CODE_FORBIDDEN);
    invite(f, "two", BK_ROLE_USER); /* the same key with a new token finds it signed */
    assert_int_equal(enrol(f, "two", &p), 0);
}

static void test_external_renewal(void **state)
{
    struct fixture *f = *state;
    static struct party p, successor;
    static uint8_t first[BK_STORE_CERTIFICATE_MAX_BYTES];
    size_t first_n;
    const uint64_t later = now_s + UINT64_C(200) * DAY;

    make_party(&p, BK_ROLE_DEVICE);
    make_party(&successor, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &p), BK_CODE_PENDING);
    sign(f, 0);
    assert_int_equal(enrol(f, "one", &p), 0);
    first_n = f->d.certificate_bytes;
    memcpy(first, f->d.certificate, first_n);
    /* Young: what there is is given again, and nobody has to sign. */
    assert_int_equal(renew(f, &p, true, true), 0);
    assert_int_equal(f->r.certificate_bytes, first_n);
    assert_memory_equal(f->r.certificate, first, first_n);
    assert_false(lies_there(f, "device-2133.req"));
    /* Past half of its life: the rest is done, the certificate waits. */
    assert_int_equal(renew_at(f, &p, true, true, later), 0);
    assert_true(f->r.pending && f->r.note.asked && f->r.box_key);
    assert_int_equal(f->r.certificate_bytes, 0);
    assert_int_equal(f->r.generation, 1);
    assert_true(lies_there(f, "device-2133.req"));
    sign(f, 0);
    assert_int_equal(renew_at(f, &p, true, false, later), 0);
    assert_false(f->r.pending);
    assert_memory_not_equal(f->r.certificate, first, first_n);
    assert_false(lies_there(f, "device-2133.crt"));
    /* A successor's waiting request is not pushed aside. */
    invite(f, "two", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "two", &successor), BK_CODE_PENDING);
    assert_int_equal(renew_at(f, &p, true, false, now_s + UINT64_C(380) * DAY), 0);
    assert_true(f->r.pending); /* its token has expired by then, the place is free */
    assert_true(f->r.note.asked);
    invite(f, "three", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "three", &successor), BK_CODE_PENDING);
    assert_true(f->d.note.asked);
    static struct bk_store_holder holder;
    assert_int_equal(bk_store_holder(f->s, &p.who, &holder), BK_OK);
    assert_int_equal(bk_store_renew(f->s, &p.who, bk_slice("old", 3), BK_SLICE_EMPTY), BK_OK);
    assert_int_equal(renew(f, &p, true, false), 0);
    assert_true(f->r.pending);
    assert_false(f->r.note.asked);
    sign(f, 0);
    assert_int_equal(enrol(f, "three", &successor), 0);
    assert_int_equal(f->d.generation, 2);
}

/* Nor is it taken away: not by the holder whose own certificate is given again. */
static void test_external_successor(void **state)
{
    struct fixture *f = *state;
    static struct party thief, successor;

    make_party(&thief, BK_ROLE_DEVICE);
    make_party(&successor, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &thief), BK_CODE_PENDING);
    sign(f, 0);
    assert_int_equal(enrol(f, "one", &thief), 0);
    invite(f, "two", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "two", &successor), BK_CODE_PENDING);
    assert_int_equal(renew(f, &thief, true, true), 0);
    assert_true(lies_there(f, "device-2133.req"));
    sign(f, 0);
    assert_int_equal(renew(f, &thief, true, true), 0);
    assert_true(lies_there(f, "device-2133.crt"));
    assert_int_equal(enrol(f, "two", &successor), 0);
    assert_int_equal(f->d.generation, 2);
}

/* What does not answer the request is not taken, whatever its name. */
static void test_external_foreign_answers(void **state)
{
    struct fixture *f = *state;
    static struct party a, b;
    static struct bk_authority other;
    const char *which;
    uint8_t der[BK_X509_DER_MAX_BYTES];
    size_t n = 0;
    char elsewhere[160];
    struct bk_identity wrong;

    make_party(&a, BK_ROLE_DEVICE);
    make_party(&b, BK_ROLE_DEVICE);
    invite(f, "one", BK_ROLE_DEVICE);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    put_file(f, "device-2133.crt", "what is this\n");
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    assert_true(f->d.note.unusable);
    assert_int_equal(bk_authority_load_ca(f->ca_dir, now_s, &other, &which), BK_OK);
    /* Another key, another holder, expired. */
    assert_int_equal(bk_authority_issue(&other, bk_slice(b.request, b.request_n), &a.who, now_s,
                                        der, sizeof der, &n),
                     BK_OK);
    put_answer(f, bk_slice(der, n));
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    assert_true(f->d.note.unusable);
    wrong = a.who;
    wrong.equipment_id = 2134;
    assert_int_equal(bk_authority_issue(&other, bk_slice(a.request, a.request_n), &wrong, now_s,
                                        der, sizeof der, &n),
                     BK_OK);
    put_answer(f, bk_slice(der, n));
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    assert_int_equal(bk_authority_issue(&other, bk_slice(a.request, a.request_n), &a.who,
                                        now_s - UINT64_C(500) * DAY, der, sizeof der, &n),
                     BK_OK);
    put_answer(f, bk_slice(der, n));
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    bk_authority_fini(&other);
    /* Another CA. */
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/other", f->place->dir);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(bk_authority_make_ca(elsewhere, "Other", now_s), BK_OK);
    assert_int_equal(bk_authority_load_ca(elsewhere, now_s, &other, &which), BK_OK);
    assert_int_equal(bk_authority_issue(&other, bk_slice(a.request, a.request_n), &a.who, now_s,
                                        der, sizeof der, &n),
                     BK_OK);
    bk_authority_fini(&other);
    put_answer(f, bk_slice(der, n));
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    assert_int_equal(RUN(&bk_cmd_sign, "sign", "--state", f->dir, "--ca", elsewhere), 1);
    empty(elsewhere);
    /* Signing once more puts it right. */
    sign(f, 0);
    assert_int_equal(enrol(f, "one", &a), 0);
}

/* Carried to another machine: DIR/requests is all that is needed; what is no request of ours is passed over. */
static void test_sign_alone(void **state)
{
    struct fixture *f = *state;
    static struct party a;
    char carried[160], from[200], to[200];

    make_party(&a, BK_ROLE_USER);
    invite(f, "one", BK_ROLE_USER);
    assert_int_equal(enrol(f, "one", &a), BK_CODE_PENDING);
    (void)snprintf(carried, sizeof carried, "%s/carried", f->place->dir);
    (void)snprintf(from, sizeof from, "%s/requests", f->dir);
    (void)snprintf(to, sizeof to, "%s/requests", carried);
    assert_int_equal(mkdir(carried, 0700), 0);
    assert_int_equal(RUN(&bk_cmd_sign, "sign", "--state", carried, "--ca", f->ca_dir), 1);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(RUN(&bk_cmd_sign, "sign", "--state", carried, "--ca", f->ca_dir), 0);
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(rmdir(carried), 0);
    static const char *const names[] = {"server", "device-02133"};
    for (size_t i = 0; i < 2; i++) { /* requests as good as any, but for whom? */
        char file[BK_REQUESTS_FILE_BYTES];
        bk_requests_file(names[i], ".req", file);
        put_pem(f, file, BK_REQUESTS_PEM_REQUEST, bk_slice(a.request, a.request_n));
    }
    put_file(f, "device-7.req",
             "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"
             "-----END CERTIFICATE REQUEST-----\n");
    sign(f, 1);
    assert_false(lies_there(f, "server.crt"));
    assert_false(lies_there(f, "device-02133.crt"));
    assert_false(lies_there(f, "device-2133.crt"));
    assert_false(lies_there(f, "device-7.crt"));
    assert_int_equal(enrol(f, "one", &a), 0);
}

static void test_request_names(void **state)
{
    static const char *const bad[] = {"",         "device-",      "device-0",   "device-01",
                                      "device-a", "user-",        "user-Alice", "user-../x",
                                      "user-12",  "server",       "beckon",     "device-1 ",
                                      "user-a/b", "user-.hidden", "Device-1",   "devices-1"};
    struct bk_identity who;
    char name[BK_REQUESTS_NAME_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_requests_holder(bk_slice_text(bad[i]), &who), BK_E_MALFORMED);
    }
    assert_int_equal(bk_requests_holder(bk_slice_text("device-9223372036854775807"), &who), BK_OK);
    assert_int_equal(who.role, BK_ROLE_DEVICE);
    bk_requests_name(&who, name);
    assert_string_equal(name, "device-9223372036854775807");
    assert_int_equal(bk_requests_holder(bk_slice_text("user-a.req"), &who), BK_OK);
    assert_string_equal(who.name, "a.req");
}

/* ---- init ---- */

static void test_external_init(void **state)
{
    struct fixture *f = *state;
    char again[160], bad[160], path[200];
    uint8_t pin[BK_PIN_BYTES];

    (void)snprintf(again, sizeof again, "%s/again", f->place->dir);
    assert_int_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", f->ca_dir),
        0); /* the CA that is there is used */
    assert_int_equal(bk_authority_pin(again, pin), BK_OK);
    assert_memory_equal(pin, f->authority.ca_pin, sizeof pin);
    (void)snprintf(path, sizeof path, "%s/requests", again);
    empty(path);
    empty(again);
    /* Half a CA is none, and nothing is left behind. */
    (void)snprintf(path, sizeof path, "%s/ca.crt", f->ca_dir);
    assert_int_equal(unlink(path), 0);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", f->ca_dir), 0);
    assert_int_not_equal(access(again, F_OK), 0);
    (void)snprintf(path, sizeof path, "%s/ca.key", f->ca_dir);
    assert_int_equal(access(path, F_OK), 0); /* what was there stays */
    (void)snprintf(bad, sizeof bad, "%s/no/such", f->place->dir);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", bad), 0);
    assert_int_not_equal(access(again, F_OK), 0);
    assert_int_not_equal(
        RUN(&bk_cmd_init, "init", "--state", again, "--host", "h", "--external-ca", again), 0);
    assert_int_not_equal(access(again, F_OK), 0);
}

/* A lost ca.key is an error where nobody said that it is kept elsewhere. */
static void test_lost_ca_key(void **state)
{
    struct fixture *f = *state;
    static struct bk_authority a;
    const char *which = "";
    char path[200];

    (void)snprintf(path, sizeof path, "%s/ca.key", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bk_authority_load(f->dir, now_s, &a, &which), BK_E_NOTFOUND);
    assert_string_equal(which, "ca.key");
}

/* ---- epochs ---- */

static size_t epochs(const struct fixture *f, uint16_t out[BK_SERVER_EPOCHS_MAX])
{
    struct bk_master_key keys[BK_SERVER_EPOCHS_MAX];
    size_t n = 0;

    assert_int_equal(bk_state_master_load(f->dir, keys, &n), BK_OK);
    for (size_t i = 0; i < n; i++) {
        out[i] = keys[i].epoch;
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(keys[i].key, keys[j].key, sizeof keys[i].key);
        }
    }
    return n;
}

static void test_epochs(void **state)
{
    struct fixture *f = *state;
    uint16_t e[BK_SERVER_EPOCHS_MAX];
    char path[200];
    struct stat st;

    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "1", "--state", f->dir), 1);
    for (unsigned i = 2; i <= 4; i++) {
        assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 0);
        assert_int_equal(epochs(f, e), i);
        assert_int_equal(e[0], i);
        assert_int_equal(e[i - 1], 1);
    }
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 1); /* four at most */
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "4", "--state", f->dir), 1);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "5", "--state", f->dir), 1);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "x", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "list", "1", "--state", f->dir), 2);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "--state", f->dir), 2);
    assert_int_equal(epochs(f, e), 4);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "retire", "2", "--state", f->dir), 0);
    assert_int_equal(epochs(f, e), 3);
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "list", "--state", f->dir), 0);
    /* 5 would stand in the place of 1, which is still accepted; so 6, in the place of 2. */
    assert_int_equal(RUN(&bk_cmd_epoch, "epoch", "new", "--state", f->dir), 0);
    assert_int_equal(epochs(f, e), 4);
    assert_int_equal(e[0], 6);
    assert_int_equal(e[1], 4);
    (void)snprintf(path, sizeof path, "%s/master.keys", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, make, drop)
#define EXTERNAL(test) cmocka_unit_test_setup_teardown(test, make_external, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_renew_device),
        WITH(test_renew_box_key),
        WITH(test_renew_user),
        WITH(test_renew_refused),
        EXTERNAL(test_external_enrolment),
        EXTERNAL(test_external_rivals),
        EXTERNAL(test_external_token_expires),
        EXTERNAL(test_external_renewal),
        EXTERNAL(test_external_successor),
        EXTERNAL(test_external_foreign_answers),
        EXTERNAL(test_sign_alone),
        cmocka_unit_test(test_request_names),
        EXTERNAL(test_external_init),
        WITH(test_lost_ca_key),
        WITH(test_epochs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
