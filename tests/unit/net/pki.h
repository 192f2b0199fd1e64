/* A small certificate authority for tests of net: one CA, and certificates from it on demand. */
#ifndef BK_TEST_NET_PKI_H
#define BK_TEST_NET_PKI_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/clock.h"
#include "net/x509.h"

struct pki {
    EVP_PKEY *ca_key;
    X509 *ca;
};

struct holder {
    EVP_PKEY *key;
    X509 *cert;
    uint8_t raw[BK_X509_KEY_BYTES];
    uint8_t pin[BK_X509_PIN_BYTES];
};

static inline uint64_t unix_now(void)
{
    return bk_clock_unix_s();
}

static inline struct pki pki_new(void)
{
    struct pki p = {0};
    assert_int_equal(bk_x509_key_make(&p.ca_key), BK_OK);
    assert_int_equal(bk_x509_make_ca(p.ca_key, "Test CA", unix_now(), &p.ca), BK_OK);
    return p;
}

static inline void pki_free(struct pki *p)
{
    EVP_PKEY_free(p->ca_key);
    X509_free(p->ca);
}

static inline void holder_finish(struct holder *h)
{
    assert_int_equal(bk_x509_key_raw(h->key, h->raw), BK_OK);
    bk_x509_pin(h->raw, h->pin);
}

static inline struct holder holder_order(const struct pki *p, const struct bk_x509_order *order)
{
    struct holder h = {0};
    uint8_t request[512];
    size_t n = 0;
    assert_int_equal(bk_x509_key_make(&h.key), BK_OK);
    assert_int_equal(bk_x509_request_make(h.key, request, sizeof request, &n), BK_OK);
    assert_int_equal(bk_x509_issue(p->ca, p->ca_key, bk_slice(request, n), order, &h.cert), BK_OK);
    holder_finish(&h);
    return h;
}

/* A certificate for `uri` that is valid from `from_s` to `until_s` seconds after now. */
static inline struct holder holder_new(const struct pki *p, const char *uri, bool server,
                                       int64_t from_s, int64_t until_s)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "::1"};
    struct bk_x509_order order = {
        .uri = uri,
        .hosts = server ? hosts : NULL,
        .n_hosts = server ? 3 : 0,
        .for_server = server,
        .for_client = !server,
        .not_before_s = (uint64_t)((int64_t)unix_now() + from_s),
        .not_after_s = (uint64_t)((int64_t)unix_now() + until_s),
    };
    return holder_order(p, &order);
}

static inline struct holder holder_call(void)
{
    struct holder h = {0};
    assert_int_equal(bk_x509_key_make(&h.key), BK_OK);
    assert_int_equal(bk_x509_make_call(h.key, unix_now(), &h.cert), BK_OK);
    holder_finish(&h);
    return h;
}

static inline void holder_free(struct holder *h)
{
    EVP_PKEY_free(h->key);
    X509_free(h->cert);
}

#endif
