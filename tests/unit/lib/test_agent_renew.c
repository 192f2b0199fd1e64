/* Renewing a device: whatever moment it is cut off at, the state directory holds the box key that the server hands on,
 * and the next renewal finishes the work. */
#include "lib/place.h"

#include <errno.h>

#include "lib/agent_renew.h"
#include "lib/agent_state.h"
#include "net/pki.h"

static struct pki pki;
static struct holder own, renewed_own;
static const uint8_t registration_key[BK_KEY_BYTES] = {4, 5, 6};

static X509 *certificate(int64_t from_s, uint64_t until_s)
{
    struct bk_x509_order order = {.uri = "beckon:device:2133",
                                  .for_client = true,
                                  .not_before_s = unix_now() + (uint64_t)from_s,
                                  .not_after_s = unix_now() + until_s};
    uint8_t request[512];
    X509 *cert;
    size_t n;

    assert_int_equal(bk_x509_request_make(own.key, request, sizeof request, &n), BK_OK);
    assert_int_equal(bk_x509_issue(pki.ca, pki.ca_key, bk_slice(request, n), &order, &cert), BK_OK);
    return cert;
}

/* A joined device with one box key. */
static int setup(void **state)
{
    struct bk_box_keys keys = {0};
    struct bk_registration_secret secret = {.generation = 1, .epoch = 1};
    struct bk_random rng = bk_random_system();
    char path[160];

    if (place_make(state) != 0) {
        return -1;
    }
    place_path(*state, "device.key", path);
    assert_int_equal(bk_x509_key_save(path, own.key, false), BK_OK);
    place_path(*state, "device.crt", path);
    assert_int_equal(bk_x509_save(path, own.cert, false), BK_OK);
    place_path(*state, "ca.crt", path);
    assert_int_equal(bk_x509_save(path, pki.ca, false), BK_OK);
    bk_box_pair_make(&rng, &keys.current);
    assert_int_equal(bk_box_keys_write(((struct place *)*state)->dir, &keys), BK_OK);
    return bk_registration_secret_write(((struct place *)*state)->dir, &secret) == BK_OK ? 0 : -1;
}

static struct bk_box_keys keys_of(const struct place *p)
{
    struct bk_box_keys keys;
    struct beckon_error error;

    assert_int_equal(bk_box_keys_read(p->dir, &keys, &error), BECKON_OK);
    return keys;
}

/* Would a call sealed to the key that the server has be opened? */
static bool holds(const struct place *p, const uint8_t public_key[BK_KEY_BYTES])
{
    struct bk_box_keys keys = keys_of(p);

    return memcmp(keys.current.public_key, public_key, BK_KEY_BYTES) == 0 ||
           (keys.has_next && memcmp(keys.next.public_key, public_key, BK_KEY_BYTES) == 0) ||
           (keys.has_previous && memcmp(keys.previous.public_key, public_key, BK_KEY_BYTES) == 0);
}

/* What the server takes from a renewal. */
static void server_learns(const struct bk_agent_renewing *r, uint8_t public_key[BK_KEY_BYTES])
{
    struct bk_box_key box;

    assert_int_equal(bk_box_key_check(BK_SLICE_OF(r->box_key), own.raw, &box), BK_OK);
    assert_true(box.made_s <= unix_now() && box.made_s + 10 > unix_now());
    assert_true(box.until_s == box.made_s + BK_RENEWAL_BOX_LIFE_S);
    memcpy(public_key, box.key, BK_KEY_BYTES);
}

static void begin(const struct place *p, struct bk_agent_renewing *r)
{
    struct beckon_error error;

    assert_int_equal(bk_agent_renewing_begin(p->dir, 0, r, &error), BECKON_OK);
}

static struct bk_renewed answer_with(X509 *cert)
{
    struct bk_renewed answer = {.cert = cert, .generation = 1, .epoch = 2};

    memcpy(answer.registration_key, registration_key, sizeof registration_key);
    return answer;
}

static void test_whole(void **state)
{
    struct place *p = *state;
    struct bk_box_keys before = keys_of(p), after;
    struct bk_agent_renewing r;
    struct bk_renewed answer = answer_with(renewed_own.cert);
    struct bk_registration_secret secret;
    struct bk_renewal_facts facts;
    struct beckon_error error;
    uint8_t at_server[BK_KEY_BYTES];

    begin(p, &r);
    server_learns(&r, at_server);
    assert_true(holds(p, at_server)); /* before a byte is sent */
    assert_true(holds(p, before.current.public_key));
    assert_int_equal(bk_agent_renewing_take(p->dir, &r, &answer, &error), BECKON_OK);
    bk_agent_renewing_fini(&r);
    after = keys_of(p);
    assert_memory_equal(after.current.public_key, at_server, sizeof at_server);
    assert_memory_equal(&after.previous, &before.current, sizeof after.previous);
    assert_true(after.has_previous && !after.has_next);
    assert_true(after.replaced_s <= unix_now() && after.replaced_s + 10 > unix_now());
    assert_int_equal(bk_registration_secret_read(p->dir, &secret, &error), BECKON_OK);
    assert_int_equal(secret.epoch, 2);
    assert_memory_equal(secret.key, registration_key, sizeof registration_key);
    facts = bk_renewal_facts_read(p->dir);
    assert_true(facts.box_made_s <= after.replaced_s && facts.box_made_s + 10 > after.replaced_s);
    assert_true(facts.certificate_until_s > unix_now() + 50000);

    /* Again, within the ten minutes: all three stand beside each other for a while. */
    begin(p, &r);
    server_learns(&r, at_server);
    assert_true(holds(p, at_server));
    assert_true(holds(p, after.current.public_key));
    assert_true(holds(p, before.current.public_key));
    answer.cert = NULL;
    assert_int_equal(bk_agent_renewing_take(p->dir, &r, &answer, &error), BECKON_OK);
    bk_agent_renewing_fini(&r);
    assert_true(holds(p, at_server));
    assert_true(holds(p, after.current.public_key));
    assert_false(holds(p, before.current.public_key));
    facts = bk_renewal_facts_read(p->dir);
    assert_true(facts.certificate_until_s > unix_now() + 50000); /* that of before */
}

/* The host's clock stands years back, or ahead: what is signed is good by everybody else's. */
static void test_goes_by_the_time_it_is_given(void **state)
{
    static const int64_t offs[] = {-2 * 365 * 86400, 2 * 365 * 86400};
    struct place *p = *state;

    for (size_t i = 0; i < COUNT(offs); i++) {
        uint64_t right_s = unix_now() + (uint64_t)offs[i];
        struct bk_agent_renewing r;
        struct bk_renewed answer = answer_with(NULL);
        struct beckon_error error;
        struct bk_box_key box;

        assert_int_equal(bk_agent_renewing_begin(p->dir, right_s, &r, &error), BECKON_OK);
        assert_int_equal(bk_box_key_check(BK_SLICE_OF(r.box_key), own.raw, &box), BK_OK);
        assert_true(box.made_s == right_s && box.until_s == right_s + BK_RENEWAL_BOX_LIFE_S);
        assert_int_equal(bk_agent_renewing_take(p->dir, &r, &answer, &error), BECKON_OK);
        assert_true(bk_renewal_facts_read(p->dir).box_made_s == right_s);
        assert_true(keys_of(p).has_previous);
        bk_agent_renewing_fini(&r);
    }
}

/* Told none, it takes no clock that stands before our own certificate begins, and none before what a server said. */
static void test_goes_by_the_best_that_is_known(void **state)
{
    enum { AHEAD_S = 10 * 86400 };
    struct place *p = *state;
    X509 *cert = certificate(AHEAD_S, 2 * AHEAD_S);
    struct bk_x509_facts facts;
    char path[160];

    assert_int_equal(bk_x509_facts(cert, &facts), BK_OK);
    place_path(p, "device.crt", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bk_x509_save(path, cert, false), BK_OK);
    X509_free(cert);
    for (uint64_t later_s = 0; later_s <= 1000; later_s += 1000) {
        struct bk_agent_renewing r;
        struct bk_box_key box;

        if (later_s != 0) {
            assert_int_equal(bk_stored_time_write(p->dir, facts.not_before_s + later_s), BK_OK);
        }
        begin(p, &r);
        assert_int_equal(bk_box_key_check(BK_SLICE_OF(r.box_key), own.raw, &box), BK_OK);
        assert_true(box.made_s == facts.not_before_s + later_s);
        bk_agent_renewing_fini(&r);
    }
}

/* Cut off between the request and its answer, once and again: the server may have the next key or not. */
static void test_no_answer(void **state)
{
    struct place *p = *state;
    uint8_t old[BK_KEY_BYTES], first[BK_KEY_BYTES], second[BK_KEY_BYTES];
    struct bk_box_keys keys = keys_of(p);
    struct bk_agent_renewing r;

    memcpy(old, keys.current.public_key, sizeof old);
    begin(p, &r);
    server_learns(&r, first);
    bk_agent_renewing_fini(&r);
    assert_true(holds(p, old) && holds(p, first));
    begin(p, &r);
    server_learns(&r, second);
    bk_agent_renewing_fini(&r);
    assert_memory_equal(first, second, sizeof first); /* no third one */
    assert_true(holds(p, old) && holds(p, first));
}

/* Cut off after each of the writes that follow the answer: in the way of the next one stands a folder. */
static void test_cut_off_while_writing(void **state)
{
    static const char *const files[] = {"device.crt", "registration.key", "renewal"};
    struct place *p = *state;
    struct bk_registration_secret secret;
    struct bk_renewed answer = answer_with(renewed_own.cert);
    struct beckon_error error;
    uint8_t at_server[BK_KEY_BYTES], again[BK_KEY_BYTES];
    char path[160], kept[160];

    for (size_t i = 0; i < COUNT(files); i++) {
        struct bk_agent_renewing r;
        bool was_there;

        place_path(p, files[i], path);
        place_path(p, "kept", kept);
        begin(p, &r);
        server_learns(&r, at_server);
        was_there = rename(path, kept) == 0;
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(bk_agent_renewing_take(p->dir, &r, &answer, &error), BECKON_FAILED);
        assert_error(&error, BECKON_FAILED, "is asked for again later");
        bk_agent_renewing_fini(&r);
        assert_int_equal(rmdir(path), 0);
        if (was_there) {
            assert_int_equal(rename(kept, path), 0);
        }
        assert_true(holds(p, at_server));
        assert_true(bk_renewal_facts_read(p->dir).box_made_s == 0); /* so it is due again */
        assert_int_equal(bk_registration_secret_read(p->dir, &secret, &error), BECKON_OK);
        assert_int_equal(secret.epoch, i < 2 ? 1 : 2); /* the old one, or the new one, whole */

        begin(p, &r); /* the next time all goes well */
        server_learns(&r, again);
        assert_true(holds(p, at_server) && holds(p, again));
        bk_agent_renewing_fini(&r);
    }
}

/* The box key cannot be written: then nothing is sent at all. And after the answer: it is kept as the next one. */
static void test_no_box(void **state)
{
    struct place *p = *state;
    struct bk_renewed answer = answer_with(NULL);
    struct bk_agent_renewing r, other;
    struct beckon_error error;
    char path[160];

    begin(p, &r);
    assert_int_equal(bk_agent_renewing_begin(p->dir, 0, &other, &error), BECKON_BUSY);
    bk_agent_renewing_fini(&other);
    place_path(p, "box.key", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(bk_agent_renewing_take(p->dir, &r, &answer, &error), BECKON_FAILED);
    bk_agent_renewing_fini(&r);
    assert_int_equal(bk_agent_renewing_begin(p->dir, 0, &r, &error), BECKON_FAILED);
    bk_agent_renewing_fini(&r);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(bk_agent_renewing_begin("/nowhere", 0, &r, &error), BECKON_NOT_JOINED);
    bk_agent_renewing_fini(&r);
}

/* After a power cut: a box key is made again, for callers to get from the server; nothing else could. */
static void test_damaged_box(void **state)
{
    struct place *p = *state;
    char path[160];
    uint8_t at_server[BK_KEY_BYTES];
    struct bk_agent_renewing r;

    place_path(p, "box.key", path);
    for (int gone = 0; gone < 2; gone++) {
        if (gone == 0) {
            place_write(p, "box.key", "", 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        begin(p, &r);
        server_learns(&r, at_server);
        assert_true(holds(p, at_server));
        bk_agent_renewing_fini(&r);
    }
}

static int group(void **state)
{
    (void)state;
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    pki = pki_new();
    own = holder_new(&pki, "beckon:device:2133", false, -60, 3600);
    renewed_own.cert = certificate(-60, 86400);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    X509_free(renewed_own.cert);
    holder_free(&own);
    pki_free(&pki);
    return 0;
}

#define JOINED(test) cmocka_unit_test_setup_teardown(test, setup, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOINED(test_whole),
        JOINED(test_goes_by_the_time_it_is_given),
        JOINED(test_goes_by_the_best_that_is_known),
        JOINED(test_no_answer),
        JOINED(test_cut_off_while_writing),
        JOINED(test_no_box),
        JOINED(test_damaged_box),
    };

    return cmocka_run_group_tests(tests, group, group_end);
}
