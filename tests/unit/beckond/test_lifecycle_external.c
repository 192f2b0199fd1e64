/* Certificates that are signed elsewhere: requests that wait in DIR/requests, and answers that are found there. */
#include "beckond/lifecycle_world.h"

#include <sys/stat.h>

#include "bin/beckond/requests.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXTERNAL(test_external_enrolment),
        EXTERNAL(test_external_rivals),
        EXTERNAL(test_external_token_expires),
        EXTERNAL(test_external_renewal),
        EXTERNAL(test_external_successor),
        EXTERNAL(test_external_foreign_answers),
        EXTERNAL(test_sign_alone),
        cmocka_unit_test(test_request_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
