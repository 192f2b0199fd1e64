/* RENEW where the server holds the CA's key: what is given anew, to whom, and what stays. */
#include "beckond/lifecycle_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_renew_device),
        WITH(test_renew_box_key),
        WITH(test_renew_user),
        WITH(test_renew_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
