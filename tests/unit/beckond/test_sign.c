/* beckond sign against a server that changes DIR/requests under it, and what becomes of requests at a revocation. */
#include "beckond/commands.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "bin/beckond/authority.h"
#include "bin/beckond/enrol.h"
#include "bin/beckond/requests.h"
#include "bin/beckond/state.h"
#include "net/clock.h"
#include "seal/seal.h"

struct fixture {
    struct place *place;
    char dir[128], ca_dir[128], requests[160];
};

/* A request, and the word that names it. */
struct asked {
    struct bk_identity holder;
    uint8_t der[512];
    size_t n;
    char word[BK_REQUESTS_NAME_BYTES + BK_PIN_TEXT_BYTES];
};

#define SIGN(f, ...)                                                                               \
    RUN(&bk_cmd_sign, "sign", "--state", (f)->dir, "--ca", (f)->ca_dir, __VA_ARGS__)

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    void *place = NULL;

    if (f == NULL || place_make(&place) != 0 || bk_seal_init() != BK_OK) {
        return -1;
    }
    f->place = place;
    *state = f;
    (void)snprintf(f->dir, sizeof f->dir, "%s/state", f->place->dir);
    (void)snprintf(f->ca_dir, sizeof f->ca_dir, "%s/ca", f->place->dir);
    (void)snprintf(f->requests, sizeof f->requests, "%s/requests", f->dir);
    return RUN(&bk_cmd_init, "init", "--state", f->dir, "--host", "h.example", "--external-ca",
               f->ca_dir);
}

static int drop(void **state)
{
    struct fixture *f = *state;
    void *place = f->place;

    empty(f->requests);
    empty(f->dir);
    empty(f->ca_dir);
    free(f);
    return place_remove(&place);
}

static void put_as(const struct fixture *f, const char *file, const struct asked *a)
{
    int folder;

    assert_int_equal(bk_requests_open(f->dir, &folder), BK_OK);
    assert_int_equal(
        bk_requests_save(folder, file, BK_REQUESTS_PEM_REQUEST, bk_slice(a->der, a->n)), BK_OK);
    assert_int_equal(close(folder), 0);
}

static void ask(const struct fixture *f, const char *name, struct asked *a)
{
    EVP_PKEY *key = NULL;
    uint8_t pin[BK_PIN_BYTES];
    char text[BK_PIN_TEXT_BYTES], file[BK_REQUESTS_FILE_BYTES];

    assert_int_equal(bk_requests_holder(bk_slice_text(name), &a->holder), BK_OK);
    assert_int_equal(bk_x509_key_make(&key), BK_OK);
    assert_int_equal(bk_x509_key_raw(key, a->holder.key), BK_OK);
    assert_int_equal(bk_x509_request_make(key, a->der, sizeof a->der, &a->n), BK_OK);
    EVP_PKEY_free(key);
    bk_pin_of_key(a->holder.key, pin);
    bk_pin_format(pin, text);
    (void)snprintf(a->word, sizeof a->word, "%s=%s", name, text);
    bk_requests_file(name, ".req", file);
    put_as(f, file, a);
}

static bool lies_there(const struct fixture *f, const char *file)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/%s", f->requests, file);
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static void only_what_is_named_is_signed(void **state)
{
    struct fixture *f = *state;
    static struct asked device, alice, bob;

    ask(f, "device-2133", &device);
    ask(f, "user-alice", &alice);
    ask(f, "user-bob", &bob);
    assert_int_equal(SIGN(f, device.word, bob.word), 0);
    assert_true(lies_there(f, "device-2133.crt"));
    assert_false(lies_there(f, "user-alice.crt"));
    assert_true(lies_there(f, "user-bob.crt"));
    assert_int_equal(SIGN(f, device.word), 0); /* once more does no harm */
    assert_int_equal(SIGN(f, alice.word), 0);
    assert_true(lies_there(f, "user-alice.crt"));
}

/* Between the look and the signature the server puts another key there, or somebody who never asked. */
static void a_request_that_was_swapped_is_refused(void **state)
{
    struct fixture *f = *state;
    static struct asked seen, swapped, alice;

    ask(f, "device-2133", &seen);
    ask(f, "user-alice", &alice);
    ask(f, "device-2133", &swapped);
    assert_int_equal(SIGN(f, seen.word, alice.word), BECKON_FAILED);
    assert_false(lies_there(f, "device-2133.crt"));
    assert_true(lies_there(f, "user-alice.crt")); /* what was as seen is signed */
    assert_int_equal(SIGN(f, swapped.word), 0);
    assert_true(lies_there(f, "device-2133.crt"));
    /* Nor does it help that the other one has been signed. */
    assert_int_equal(SIGN(f, seen.word), BECKON_FAILED);
    char word[sizeof alice.word];
    (void)snprintf(word, sizeof word, "user-carol=%s", strchr(alice.word, '=') + 1);
    assert_int_equal(SIGN(f, word), BECKON_FAILED); /* no such request */
    assert_false(lies_there(f, "user-carol.crt"));
}

static void words_are_names_and_fingerprints(void **state)
{
    struct fixture *f = *state;
    static struct asked alice;
    static const char *const bad[] = {
        "user-alice",
        "user-alice=",
        "=OZF6Zmca2WzGuQSvNmvTNEy98UqZs3bgrWDixH800Oc",
        "alice=OZF6Zmca2WzGuQSvNmvTNEy98UqZs3bgrWDixH800Oc",
        "user-alice.req=OZF6Zmca2WzGuQSvNmvTNEy98UqZs3bgrWDixH800O",
        "user-../alice=OZF6Zmca2WzGuQSvNmvTNEy98UqZs3bgrWDixH800Oc",
        "user-alice=OZF6Zmca2WzGuQSvNmvTNEy98UqZs3bgrWDixH800Oc=",
    };

    ask(f, "user-alice", &alice);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(SIGN(f, alice.word, bad[i]), BECKON_USAGE);
    }
    assert_int_equal(SIGN(f, "--list", alice.word), BECKON_USAGE);
    assert_false(lies_there(f, "user-alice.crt")); /* nothing, if not all is understood */
}

/* Root signs; whoever runs the server owns the directory. */
static void symbolic_links_lead_nowhere(void **state)
{
    struct fixture *f = *state;
    static struct asked alice, bob;
    char target[160], path[256], real[160];
    struct stat st;
    int fd;

    ask(f, "user-alice", &alice);
    ask(f, "user-bob", &bob);
    (void)snprintf(target, sizeof target, "%s/target", f->place->dir);
    fd = open(target, O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    (void)snprintf(path, sizeof path, "%s/user-alice.crt", f->requests);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(SIGN(f, alice.word), 0);
    assert_true(lies_there(f, "user-alice.crt")); /* in place of the link */
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    /* A request that lies elsewhere is none. */
    (void)snprintf(real, sizeof real, "%s/real", f->place->dir);
    (void)snprintf(path, sizeof path, "%s/user-bob.req", f->requests);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    assert_int_equal(SIGN(f, bob.word), BECKON_FAILED);
    assert_int_equal(SIGN(f, "--list"), BECKON_FAILED);
    assert_false(lies_there(f, "user-bob.crt"));
    /* Nor is a directory. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(real, path), 0);
    assert_int_equal(rename(f->requests, real), 0);
    assert_int_equal(symlink(real, f->requests), 0);
    assert_int_equal(SIGN(f, bob.word), BECKON_FAILED);
    assert_int_equal(SIGN(f, "--list"), BECKON_FAILED);
    assert_int_equal(unlink(f->requests), 0);
    assert_int_equal(rename(real, f->requests), 0);
    assert_false(lies_there(f, "user-bob.crt"));
    assert_int_equal(SIGN(f, bob.word), 0);
}

static void invite(struct bk_store *s, const char *secret, enum bk_role role, const char *name)
{
    uint64_t now_s = bk_clock_unix_s();
    struct bk_store_token t = {.role = role, .expires_s = now_s + 3600};
    uint8_t hash[BK_STORE_HASH_BYTES];

    t.equipment_id = role == BK_ROLE_DEVICE ? 2133 : 0;
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    bk_enrol_hash(bk_slice_text(secret), hash);
    assert_int_equal(bk_store_token_add(s, hash, &t, now_s), BK_OK);
}

static void revoke_takes_away_what_waits(void **state)
{
    struct fixture *f = *state;
    static struct asked device, alice, bob;
    char path[BK_STATE_PATH_BYTES], why[BK_STORE_WHY_BYTES];
    struct bk_store *s;

    assert_int_equal(bk_state_path(f->dir, BK_STATE_STORE, path), BK_OK);
    assert_int_equal(bk_store_open(path, &s, why), BK_OK);
    invite(s, "one", BK_ROLE_DEVICE, "gate");
    invite(s, "two", BK_ROLE_USER, "alice");
    bk_store_close(s);
    ask(f, "device-2133", &device);
    ask(f, "user-alice", &alice);
    ask(f, "user-bob", &bob);
    assert_int_equal(SIGN(f, device.word), 0);
    assert_int_equal(RUN(&bk_cmd_revoke, "revoke", "--state", f->dir, "--device", "gate"), 0);
    assert_false(lies_there(f, "device-2133.req"));
    assert_false(lies_there(f, "device-2133.crt"));
    assert_true(lies_there(f, "user-alice.req"));
    assert_int_equal(RUN(&bk_cmd_revoke, "revoke", "--state", f->dir, "--user", "alice"), 0);
    assert_false(lies_there(f, "user-alice.req"));
    assert_true(lies_there(f, "user-bob.req"));
    assert_int_equal(RUN(&bk_cmd_revoke, "revoke", "--state", f->dir, "--user", "bob"),
                     BECKON_FAILED);
    assert_true(lies_there(f, "user-bob.req")); /* nobody of that name has been shut out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_is_named_is_signed, make, drop),
        cmocka_unit_test_setup_teardown(a_request_that_was_swapped_is_refused, make, drop),
        cmocka_unit_test_setup_teardown(words_are_names_and_fingerprints, make, drop),
        cmocka_unit_test_setup_teardown(symbolic_links_lead_nowhere, make, drop),
        cmocka_unit_test_setup_teardown(revoke_takes_away_what_waits, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
