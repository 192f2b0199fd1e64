/* Keys, files and certificates: what is issued can be read, and what is not ours is refused. */
#include "net/pki.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/x509v3.h>

#include "net/file.h"
#include "seal/identity.h"

enum {
    DAY_S = 86400,
};

static struct bk_slice der_of(X509 *cert, uint8_t buf[BK_X509_DER_MAX_BYTES])
{
    size_t n = 0;
    assert_int_equal(bk_x509_to_der(cert, buf, BK_X509_DER_MAX_BYTES, &n), BK_OK);
    return bk_slice(buf, n);
}

static void test_pin_equals_seal(void **state)
{
    (void)state;
    struct holder h = holder_call();
    uint8_t pin[BK_PIN_BYTES], spki_hash[32], *spki = NULL;
    bk_pin_of_key(h.raw, pin);
    assert_memory_equal(pin, h.pin, sizeof pin);
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(h.cert), &spki);
    assert_true(n > 0);
    assert_int_equal(EVP_Digest(spki, (size_t)n, spki_hash, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(pin, spki_hash, sizeof pin);
    OPENSSL_free(spki);
    holder_free(&h);
}

static void test_seed_round_trip(void **state)
{
    (void)state;
    struct holder h = holder_call();
    uint8_t seed[32], raw[32];
    EVP_PKEY *again = NULL, *public_only = NULL;
    assert_int_equal(bk_x509_key_seed(h.key, seed), BK_OK);
    assert_int_equal(bk_x509_key_from_seed(seed, &again), BK_OK);
    assert_int_equal(bk_x509_key_raw(again, raw), BK_OK);
    assert_memory_equal(raw, h.raw, 32);
    public_only = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, 32);
    assert_int_equal(bk_x509_key_seed(public_only, seed), BK_E_MALFORMED);
    EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    assert_int_equal(bk_x509_key_raw(other, raw), BK_E_MALFORMED);
    EVP_PKEY_free(other);
    EVP_PKEY_free(public_only);
    EVP_PKEY_free(again);
    holder_free(&h);
}

static unsigned entries(const char *folder)
{
    char command[128], line[16] = "";
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    pclose(f);
    return (unsigned)strtoul(line, NULL, 10);
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/beckon-x509-XXXXXX", key_path[64], cert_path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(key_path, sizeof key_path, "%s/a.key", folder);
    snprintf(cert_path, sizeof cert_path, "%s/a.crt", folder);
    struct holder a = holder_call(), b = holder_call();
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    struct stat st;
    assert_int_equal(bk_x509_key_load(key_path, &key), BK_E_NOTFOUND);
    assert_int_equal(bk_x509_key_save(key_path, a.key, false), BK_OK);
    assert_int_equal(stat(key_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(bk_x509_key_save(key_path, b.key, false), BK_E_EXISTS);
    assert_int_equal(bk_x509_key_load(key_path, &key), BK_OK);
    assert_int_equal(EVP_PKEY_eq(key, a.key), 1);
    EVP_PKEY_free(key);
    assert_int_equal(bk_x509_key_save(key_path, b.key, true), BK_OK);
    assert_int_equal(bk_x509_key_load(key_path, &key), BK_OK);
    assert_int_equal(EVP_PKEY_eq(key, b.key), 1);
    EVP_PKEY_free(key);
    assert_int_equal(bk_x509_save(cert_path, a.cert, false), BK_OK);
    assert_int_equal(bk_x509_load(cert_path, &cert), BK_OK);
    assert_int_equal(X509_cmp(cert, a.cert), 0);
    X509_free(cert);
    assert_int_equal(bk_x509_load(key_path, &cert), BK_E_MALFORMED);
    assert_int_equal(bk_x509_key_load(cert_path, &key), BK_E_MALFORMED);
    assert_int_equal(bk_x509_key_load(folder, &key), BK_E_IO);
    assert_int_equal(entries(folder), 2); /* no temporary stays behind */
    unlink(key_path);
    unlink(cert_path);
    assert_int_equal(bk_x509_key_save("/nonexistent/a.key", a.key, false), BK_E_IO);
    rmdir(folder);
    holder_free(&a);
    holder_free(&b);
}

static void test_file_bounds(void **state)
{
    (void)state;
    char path[] = "/tmp/beckon-file-XXXXXX";
    uint8_t buf[8];
    size_t n = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(bk_file_save(path, bk_slice("12345678", 8), 0600, true), BK_OK);
    assert_int_equal(bk_file_load(path, buf, 8, &n), BK_OK);
    assert_int_equal(n, 8);
    assert_int_equal(bk_file_load(path, buf, 7, &n), BK_E_NOSPACE);
    unlink(path);
}

static void test_issue_and_read(void **state)
{
    (void)state;
    struct pki p = pki_new();
    struct holder h = holder_new(&p, "beckon:device:2133", false, -10, DAY_S);
    uint8_t buf[BK_X509_DER_MAX_BYTES];
    struct bk_slice der = der_of(h.cert, buf);
    struct bk_x509_facts facts;
    assert_int_equal(bk_x509_read(der, p.ca, unix_now(), &facts), BK_OK);
    assert_string_equal(facts.uri, "beckon:device:2133");
    assert_memory_equal(facts.key, h.raw, 32);
    assert_in_range(facts.not_after_s, unix_now() + DAY_S - 5, unix_now() + DAY_S);
    assert_in_range(facts.not_before_s, unix_now() - 15, unix_now() - 10);
    /* EKU and serial */
    assert_true((X509_get_extended_key_usage(h.cert) & XKU_SSL_CLIENT) != 0);
    assert_true((X509_get_extended_key_usage(h.cert) & XKU_SSL_SERVER) == 0);
    /* Its holder signs handshakes and nothing else: each of the two would do, both are there */
    assert_int_equal(X509_get_extension_flags(h.cert) & EXFLAG_CA, 0);
    assert_int_equal(X509_get_key_usage(h.cert), KU_DIGITAL_SIGNATURE);
    struct holder other = holder_new(&p, "beckon:device:2133", false, -10, DAY_S);
    assert_int_not_equal(
        ASN1_INTEGER_cmp(X509_get_serialNumber(h.cert), X509_get_serialNumber(other.cert)), 0);
    /* The edges of its life */
    assert_int_equal(bk_x509_read(der, p.ca, facts.not_after_s + 1, &facts), BK_E_EXPIRED);
    assert_int_equal(bk_x509_read(der, p.ca, unix_now() - 60, &facts), BK_E_EXPIRED);
    holder_free(&other);
    holder_free(&h);
    pki_free(&p);
}

static void test_read_refuses(void **state)
{
    (void)state;
    struct pki p = pki_new(), q = pki_new();
    struct holder h = holder_new(&p, "beckon:user:alice", false, -10, DAY_S);
    struct holder call = holder_call();
    static uint8_t buf[BK_X509_DER_MAX_BYTES], ca_buf[BK_X509_DER_MAX_BYTES];
    static uint8_t call_buf[BK_X509_DER_MAX_BYTES];
    struct bk_slice der = der_of(h.cert, buf);
    struct bk_x509_facts facts;
    /* Another CA of the same name; a self-signed one; the CA itself */
    assert_int_equal(bk_x509_read(der, q.ca, unix_now(), &facts), BK_E_AUTH);
    assert_int_equal(bk_x509_read(der_of(call.cert, call_buf), p.ca, unix_now(), &facts),
                     BK_E_AUTH);
    assert_int_equal(bk_x509_read(der_of(p.ca, ca_buf), p.ca, unix_now(), &facts), BK_E_AUTH);
    /* Every truncation, a trailing byte, and every flipped byte */
    for (size_t n = 0; n < der.n; n++) {
        assert_int_equal(bk_x509_read(bk_slice(buf, n), p.ca, unix_now(), &facts), BK_E_MALFORMED);
    }
    buf[der.n] = 0;
    assert_int_equal(bk_x509_read(bk_slice(buf, der.n + 1), p.ca, unix_now(), &facts),
                     BK_E_MALFORMED);
    for (size_t i = 0; i < der.n; i++) {
        buf[i] ^= 0x01;
        assert_int_not_equal(bk_x509_read(der, p.ca, unix_now(), &facts), BK_OK);
        buf[i] ^= 0x01;
    }
    assert_int_equal(bk_x509_read(der, p.ca, unix_now(), &facts), BK_OK);
    holder_free(&h);
    holder_free(&call);
    pki_free(&p);
    pki_free(&q);
}

static void test_requests(void **state)
{
    (void)state;
    struct pki p = pki_new();
    struct holder h = holder_call();
    uint8_t der[512], raw[32];
    size_t n = 0;
    X509 *cert = NULL;
    struct bk_x509_order order = {.uri = "beckon:user:bob",
                                  .for_client = true,
                                  .not_before_s = unix_now(),
                                  .not_after_s = unix_now() + DAY_S};
    assert_int_equal(bk_x509_request_make(h.key, der, 16, &n), BK_E_NOSPACE);
    assert_int_equal(bk_x509_request_make(h.key, der, sizeof der, &n), BK_OK);
    assert_int_equal(bk_x509_request_key(bk_slice(der, n), raw), BK_OK);
    assert_memory_equal(raw, h.raw, 32);
    /* Its last byte belongs to the signature: possession is no longer proven. */
    der[n - 1] ^= 1;
    assert_int_equal(bk_x509_request_key(bk_slice(der, n), raw), BK_E_AUTH);
    assert_int_equal(bk_x509_issue(p.ca, p.ca_key, bk_slice(der, n), &order, &cert), BK_E_AUTH);
    der[n - 1] ^= 1;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(bk_x509_request_key(bk_slice(der, i), raw), BK_E_MALFORMED);
    }
    /* Another kind of key */
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    X509_REQ_set_pubkey(request, ec);
    assert_true(X509_REQ_sign(request, ec, EVP_sha256()) > 0);
    uint8_t *p_der = NULL;
    int n_der = i2d_X509_REQ(request, &p_der);
    assert_int_equal(bk_x509_request_key(bk_slice(p_der, (size_t)n_der), raw), BK_E_MALFORMED);
    OPENSSL_free(p_der);
    X509_REQ_free(request);
    EVP_PKEY_free(ec);
    holder_free(&h);
    pki_free(&p);
}

static void test_orders(void **state)
{
    (void)state;
    struct pki p = pki_new();
    struct holder h = holder_call();
    uint8_t der[512];
    size_t n = 0;
    X509 *cert = NULL;
    static const char *const bad_hosts[] = {"a b", "", "x,URI:beckon:server", ".x",
                                            "*.example.org"};
    const char *host = NULL;
    assert_int_equal(bk_x509_request_make(h.key, der, sizeof der, &n), BK_OK);
    struct bk_slice request = bk_slice(der, n);
    struct bk_x509_order order = {.uri = "beckon:server",
                                  .for_server = true,
                                  .hosts = &host,
                                  .n_hosts = 1,
                                  .not_before_s = 100,
                                  .not_after_s = 200};
    for (size_t i = 0; i < sizeof bad_hosts / sizeof *bad_hosts; i++) {
        host = bad_hosts[i];
        assert_int_equal(bk_x509_issue(p.ca, p.ca_key, request, &order, &cert), BK_E_RANGE);
    }
    host = "rendezvous.example.com";
    order.not_after_s = 100;
    assert_int_equal(bk_x509_issue(p.ca, p.ca_key, request, &order, &cert), BK_E_RANGE);
    order.not_after_s = UINT64_MAX;
    assert_int_equal(bk_x509_issue(p.ca, p.ca_key, request, &order, &cert), BK_E_RANGE);
    order.not_after_s = UINT64_C(253402300799);
    order.uri = "beckon:\n";
    assert_int_equal(bk_x509_issue(p.ca, p.ca_key, request, &order, &cert), BK_E_RANGE);
    order.uri =
        "beckon:user:a-name-as-long-as-any-can-be-and-then-some-more-than-a-common-name-holds";
    assert_int_equal(bk_x509_issue(p.ca, p.ca_key, request, &order, &cert), BK_OK);
    struct bk_x509_facts facts;
    assert_int_equal(bk_x509_facts(cert, &facts), BK_OK);
    assert_string_equal(facts.uri, order.uri);
    assert_int_equal(facts.not_before_s, 100);
    assert_int_equal(facts.not_after_s, UINT64_C(253402300799));
    assert_int_equal(X509_check_host(cert, host, 0, 0, NULL), 1);
    X509_free(cert);
    holder_free(&h);
    pki_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin_equals_seal), cmocka_unit_test(test_seed_round_trip),
        cmocka_unit_test(test_files),           cmocka_unit_test(test_file_bounds),
        cmocka_unit_test(test_issue_and_read),  cmocka_unit_test(test_read_refuses),
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
