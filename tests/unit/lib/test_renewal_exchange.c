/* The RENEW exchange against a server that answers as told. */
#include "lib/one_server.h"

#include <stdio.h>

#include "lib/renewal_exchange.h"
#include "seal/seal.h"
#include "wire/alpn.h"
#include "wire/renew.h"

enum mode {
    ANSWER,
    ANSWER_NO_CERTIFICATE,
    ANSWER_OTHER_KEY,
    ANSWER_OTHER_DEVICE,
    ANSWER_OTHER_ROLE,
    ANSWER_AS_TO_USER, /* nothing to register with */
    ANSWER_UNASKED,    /* a certificate that nobody asked for */
    REFUSE_REVOKED,
    REFUSE_BUSY,
    REFUSE_BAD,
    SAY_NOTHING,
};

static struct one_server s;
static enum mode mode;
static uint64_t told_s;
static struct holder own;
static struct bk_credentials credentials;
static const uint8_t box_key[BK_BOX_KEY_BYTES] = {1, 2, 3};
static const uint8_t registration_key[BK_KEY_BYTES] = {4, 5, 6};

static X509 *certificate_for(struct bk_slice csr)
{
    struct bk_x509_order order = {
        .uri = mode == ANSWER_OTHER_DEVICE ? "beckon:device:2134"
               : mode == ANSWER_OTHER_ROLE ? "beckon:user:d2133"
                                           : "beckon:device:2133",
        .for_client = true,
        .not_before_s = unix_now() - 60,
        .not_after_s = unix_now() + 7200,
    };
    X509 *cert;

    if (mode == ANSWER_OTHER_KEY || mode == ANSWER_UNASKED) {
        struct holder other = holder_order(&s.pki, &order);

        EVP_PKEY_free(other.key);
        return other.cert;
    }
    assert_int_equal(bk_x509_issue(s.pki.ca, s.pki.ca_key, csr, &order, &cert), BK_OK);
    return cert;
}

static void on_message(struct bk_conn *conn, const struct bk_stun *m)
{
    static uint8_t buf[8192], der[BK_X509_DER_MAX_BYTES];
    struct bk_renew ask;
    struct bk_renew_answer answer = {.device = mode != ANSWER_AS_TO_USER,
                                     .generation = 7,
                                     .epoch = 3,
                                     .registration_key = BK_SLICE_OF(registration_key),
                                     .ports = {1200, 1201, 1300}};
    static const uint16_t codes[] = {BK_CODE_FORBIDDEN, BK_CODE_OVERLOADED, BK_CODE_BAD_REQUEST};
    struct bk_slice out = BK_SLICE_EMPTY;

    assert_int_equal(bk_renew_read(m, &ask), BK_OK);
    if (mode == SAY_NOTHING) {
        bk_conn_close(conn);
        return;
    }
    if (mode >= REFUSE_REVOKED) {
        assert_int_equal(bk_error_write(buf, sizeof buf, BK_METHOD_RENEW, m->txid,
                                        codes[mode - REFUSE_REVOKED], "no", &out),
                         BK_OK);
    } else {
        assert_true(bk_slice_equal(ask.box_key, BK_SLICE_OF(box_key)));
        if (mode != ANSWER_NO_CERTIFICATE && (ask.csr.n > 0 || mode == ANSWER_UNASKED)) {
            X509 *cert = certificate_for(ask.csr);
            size_t n;

            assert_int_equal(bk_x509_to_der(cert, der, sizeof der, &n), BK_OK);
            X509_free(cert);
            answer.certificate = bk_slice(der, n);
        }
        assert_int_equal(bk_renew_answer_write(buf, sizeof buf, m->txid, &answer, &out), BK_OK);
    }
    assert_int_equal(bk_conn_send(conn, out), BK_OK);
}

static enum beckon_status renew(enum mode how, bool certificate, struct bk_renewed *out,
                                struct beckon_error *error)
{
    struct bk_renewal_order order = {.host = "127.0.0.1",
                                     .own = &credentials,
                                     .certificate = certificate,
                                     .box_key = BK_SLICE_OF(box_key),
                                     .unix_s = told_s,
                                     .stop_fd = -1};
    enum beckon_status status;

    mode = how;
    s.port = 0;
    one_server_start(&s);
    order.port = s.port;
    status = bk_renewal_exchange(&order, out, error);
    one_server_stop(&s);
    return status;
}

static void test_renewed(void **state)
{
    struct bk_renewed got;
    struct beckon_error error;
    uint8_t raw[BK_X509_KEY_BYTES];

    (void)state;
    assert_int_equal(renew(ANSWER, true, &got, &error), BECKON_OK);
    assert_non_null(got.cert);
    assert_int_equal(bk_x509_raw_key(got.cert, raw), BK_OK);
    assert_memory_equal(raw, own.raw, sizeof raw);
    assert_false(got.pending);
    assert_int_equal(got.generation, 7);
    assert_int_equal(got.epoch, 3);
    assert_memory_equal(got.registration_key, registration_key, sizeof registration_key);
    bk_renewed_fini(&got);

    assert_int_equal(renew(ANSWER, false, &got, &error), BECKON_OK);
    assert_null(got.cert);
    assert_false(got.pending);
    bk_renewed_fini(&got);

    assert_int_equal(renew(ANSWER_NO_CERTIFICATE, true, &got, &error), BECKON_OK);
    assert_null(got.cert);
    assert_true(got.pending); /* the rest counts all the same */
    assert_int_equal(got.epoch, 3);
    bk_renewed_fini(&got);
}

static void test_refused(void **state)
{
    static const struct {
        enum mode mode;
        bool certificate;
        enum beckon_status status;
        const char *what;
    } cases[] = {
        {ANSWER_OTHER_KEY, true, BECKON_FAILED, "does not fit our request"},
        {ANSWER_OTHER_DEVICE, true, BECKON_FAILED, "does not fit our request"},
        {ANSWER_OTHER_ROLE, true, BECKON_FAILED, "does not fit our request"},
        {ANSWER_AS_TO_USER, false, BECKON_FAILED, "does not fit our request"},
        {ANSWER_UNASKED, false, BECKON_FAILED, "does not fit our request"},
        {REFUSE_REVOKED, true, BECKON_REVOKED, "has revoked this device"},
        {REFUSE_BUSY, true, BECKON_BUSY, "too much to do"},
        {REFUSE_BAD, true, BECKON_FAILED, "error 400"},
        {SAY_NOTHING, true, BECKON_SERVER_DOWN, "server 127.0.0.1 port "},
    };
    struct bk_renewed got;
    struct beckon_error error;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(renew(cases[i].mode, cases[i].certificate, &got, &error), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_non_null(strstr(error.text, cases[i].what));
        assert_null(got.cert);
    }
}

/* A server of another CA hears nothing; one that never answers can be given up. */
static void test_given_up(void **state)
{
    struct bk_renewal_order order = {
        .host = "127.0.0.1", .own = &credentials, .box_key = BK_SLICE_OF(box_key), .stop_fd = -1};
    struct bk_renewed got;
    struct beckon_error error;
    struct pki other = pki_new();
    int fds[2];

    (void)state;
    mode = ANSWER;
    s.port = 0;
    one_server_start(&s);
    order.port = s.port;
    credentials.ca = other.ca;
    assert_int_equal(bk_renewal_exchange(&order, &got, &error), BECKON_SERVER_DOWN);
    credentials.ca = s.pki.ca;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    order.stop_fd = fds[0];
    kill(s.pid, SIGSTOP);
    assert_int_equal(bk_renewal_exchange(&order, &got, &error), BECKON_INTERRUPTED);
    one_server_stop(&s);
    close(fds[0]);
    close(fds[1]);
    pki_free(&other);
}

/* By the host's clock, unless the time that it is told is far from that: then by the latter. */
static void test_whose_time_counts(void **state)
{
    static const struct {
        uint64_t ahead_s;
        bool good;
    } cases[] = {{3600, true},
                 {86400ULL * 365 * 30, false}}; /* our server's certificate ends before */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bk_renewed got;
        struct beckon_error error;

        told_s = unix_now() + cases[i].ahead_s;
        assert_int_equal(renew(ANSWER, false, &got, &error) == BECKON_OK, cases[i].good);
        if (cases[i].good) {
            bk_renewed_fini(&got);
        }
    }
    told_s = 0;
}

static void test_old(void **state)
{
    static const struct {
        int64_t from_s, until_s;
        bool old;
    } cases[] = {{-100, 200, false},
                 {-200, 100, true},
                 {-300, -100, true},
                 {-60, 3600, false},
                 {3600, 86400 * 365, false},           /* a clock that differs a little */
                 {86400 * 30, 86400 * 365 * 2, true}}; /* made by a wrong clock */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct holder h =
            holder_new(&s.pki, "beckon:device:1", false, cases[i].from_s, cases[i].until_s);

        assert_int_equal(bk_certificate_is_old(h.cert, unix_now()), cases[i].old);
        assert_false(bk_certificate_is_old(h.cert, 0));
        holder_free(&h);
    }
}

static int group(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    s.pki = pki_new();
    s.own = holder_new(&s.pki, "beckon:server", true, -60, 3600);
    s.alpn = BK_ALPN_RENEW;
    s.message = on_message;
    own = holder_new(&s.pki, "beckon:device:2133", false, -60, 3600);
    credentials = (struct bk_credentials){.key = own.key, .cert = own.cert, .ca = s.pki.ca};
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    holder_free(&own);
    holder_free(&s.own);
    pki_free(&s.pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewed),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_given_up), cmocka_unit_test(test_whose_time_counts),
        cmocka_unit_test(test_old),
    };

    return cmocka_run_group_tests(tests, group, group_end);
}
