/* The ENROL exchange against a server that answers as told: whatever comes behind the answer does not count. */
#include "lib/one_server.h"

#include <stdio.h>

#include "lib/enrolment.h"
#include "seal/seal.h"
#include "wire/alpn.h"
#include "wire/enrol.h"

enum mode {
    ANSWER,              /* and stay */
    ANSWER_TWICE,        /* in one go, and close */
    ANSWER_OTHER_KEY,    /* a certificate for a key that nobody asked for */
    ANSWER_OTHER_DEVICE, /* certificate and equipment ID differ */
    ANSWER_USER,         /* as to a user */
    ANSWER_OTHER_USER,   /* certificate and name differ */
    REFUSE_UNKNOWN,
    REFUSE_USED,
    REFUSE_PENDING, /* for now */
    REFUSE_OVERLOADED,
    SAY_NOTHING, /* and close */
};

static struct one_server s;
static enum mode how;

static EVP_PKEY *device_key;
static struct bk_enrolment enrolment;

static struct bk_slice answer_of(const struct bk_stun *m, const struct bk_enrol *ask, uint8_t *buf,
                                 size_t cap)
{
    static uint8_t der[BK_X509_DER_MAX_BYTES], ca_der[BK_X509_DER_MAX_BYTES];
    bool user = how == ANSWER_USER || how == ANSWER_OTHER_USER;
    struct bk_x509_order order = {.uri = user ? "beckon:user:alice" : "beckon:device:2133",
                                  .for_client = true,
                                  .not_before_s = unix_now() - 60,
                                  .not_after_s = unix_now() + 3600};
    uint8_t key[BK_KEY_BYTES] = {1, 2, 3};
    struct bk_enrol_answer answer = {.equipment_id = how == ANSWER_OTHER_DEVICE ? 2134 : 2133,
                                     .generation = 4,
                                     .epoch = 5,
                                     .registration_key = BK_SLICE_OF(key),
                                     .ports = {1200, 1201, 443}};
    struct bk_slice out = BK_SLICE_EMPTY;
    size_t n, ca_n;
    X509 *cert;

    if (user) {
        answer =
            (struct bk_enrol_answer){.user = bk_slice_text(how == ANSWER_USER ? "alice" : "bob")};
    }
    if (how == ANSWER_OTHER_KEY) {
        struct holder other = holder_new(&s.pki, order.uri, false, -60, 3600);

        cert = other.cert;
        EVP_PKEY_free(other.key);
    } else {
        assert_int_equal(bk_x509_issue(s.pki.ca, s.pki.ca_key, ask->csr, &order, &cert), BK_OK);
    }
    assert_int_equal(bk_x509_to_der(cert, der, sizeof der, &n), BK_OK);
    assert_int_equal(bk_x509_to_der(s.pki.ca, ca_der, sizeof ca_der, &ca_n), BK_OK);
    X509_free(cert);
    answer.certificate = bk_slice(der, n);
    answer.ca_certificate = bk_slice(ca_der, ca_n);
    assert_int_equal(bk_enrol_answer_write(buf, cap, m->txid, &answer, &out), BK_OK);
    return out;
}

static void on_message(struct bk_conn *conn, const struct bk_stun *m)
{
    static uint8_t buf[8192], twice[16384];
    struct bk_enrol ask;
    struct bk_slice out = BK_SLICE_EMPTY;
    static const uint16_t codes[] = {BK_CODE_FORBIDDEN, BK_CODE_TOKEN_USED, BK_CODE_PENDING,
                                     BK_CODE_OVERLOADED};
    bool refused = how >= REFUSE_UNKNOWN && how <= REFUSE_OVERLOADED;

    assert_int_equal(bk_enrol_read(m, &ask), BK_OK);
    assert_true(bk_slice_equal(ask.token, BK_SLICE_OF(enrolment.token.secret)));
    if (refused) {
        assert_int_equal(bk_error_write(buf, sizeof buf, BK_METHOD_ENROL, m->txid,
                                        codes[how - REFUSE_UNKNOWN], "no", &out),
                         BK_OK);
    } else if (how != SAY_NOTHING) {
        out = answer_of(m, &ask, buf, sizeof buf);
    }
    if (out.n > 0 && how == ANSWER_TWICE) {
        memcpy(twice, out.p, out.n);
        memcpy(twice + out.n, out.p, out.n);
        out = bk_slice(twice, 2 * out.n);
    }
    if (out.n > 0) {
        assert_int_equal(bk_conn_send(conn, out), BK_OK);
    }
    if (how == SAY_NOTHING || how == ANSWER_TWICE || refused) {
        bk_conn_close(conn);
    }
}

static enum beckon_status enrol(enum mode mode, struct bk_enrolled *out, struct beckon_error *error)
{
    enum beckon_status status;

    how = mode;
    s.port = 0; /* any */
    one_server_start(&s);
    enrolment.token.port = s.port;
    status = bk_enrol_run(&enrolment, out, error);
    one_server_stop(&s);
    return status;
}

static void test_accepted(void **state)
{
    static const enum mode modes[] = {ANSWER, ANSWER_TWICE};
    const uint8_t key[BK_KEY_BYTES] = {1, 2, 3};
    struct bk_enrolled got;
    struct beckon_error error;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(enrol(modes[i], &got, &error), BECKON_OK);
        assert_int_equal(got.equipment_id, 2133);
        assert_int_equal(got.generation, 4);
        assert_int_equal(got.epoch, 5);
        assert_memory_equal(got.registration_key, key, sizeof key);
        assert_int_equal(got.ports.agent, 443);
        assert_int_equal(X509_cmp(got.ca, s.pki.ca), 0);
        bk_enrolled_fini(&got);
    }
}

static void test_refused(void **state)
{
    static const struct {
        enum mode mode;
        enum beckon_status status;
        const char *what;
    } cases[] = {
        {REFUSE_UNKNOWN, BECKON_BAD_TOKEN, "does not know this token"},
        {REFUSE_USED, BECKON_USED_TOKEN, "used already"},
        {REFUSE_PENDING, BECKON_PENDING, "yet to sign"},
        {REFUSE_OVERLOADED, BECKON_BUSY, "too much to do"},
        {SAY_NOTHING, BECKON_SERVER_DOWN, "server 127.0.0.1 port "},
        {ANSWER_OTHER_KEY, BECKON_FAILED, "does not fit our request"},
        {ANSWER_OTHER_DEVICE, BECKON_FAILED, "does not fit our request"},
    };
    struct bk_enrolled got;
    struct beckon_error error;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(enrol(cases[i].mode, &got, &error), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_non_null(strstr(error.text, cases[i].what));
        assert_null(got.cert);
        assert_null(got.ca);
    }
}

/* What was asked for as a device is taken as a device only, and a user's as that user's. */
static void test_user(void **state)
{
    static const struct {
        bool device;
        enum mode mode;
    } wrong[] = {{false, ANSWER_OTHER_USER}, {false, ANSWER}, {true, ANSWER_USER}};
    struct bk_enrolled got;
    struct beckon_error error;

    (void)state;
    enrolment.device = false;
    assert_int_equal(enrol(ANSWER_USER, &got, &error), BECKON_OK);
    assert_string_equal(got.user, "alice");
    assert_int_equal(got.equipment_id, 0);
    bk_enrolled_fini(&got);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        enrolment.device = wrong[i].device;
        assert_int_equal(enrol(wrong[i].mode, &got, &error), BECKON_FAILED);
        assert_non_null(strstr(error.text, "does not fit our request"));
        assert_null(got.cert);
        assert_null(got.ca);
    }
    enrolment.device = true;
}

/* A server with another CA than the token pins, and none at all. */
static void test_wrong_server(void **state)
{
    struct bk_enrolled got;
    struct beckon_error error;

    (void)state;
    enrolment.token.ca_pin[0] ^= 1;
    assert_int_equal(enrol(ANSWER, &got, &error), BECKON_SERVER_DOWN);
    assert_non_null(strstr(error.text, "; check"));
    enrolment.token.ca_pin[0] ^= 1;
    assert_int_equal(bk_enrol_run(&enrolment, &got, &error), BECKON_SERVER_DOWN); /* it is gone */
    assert_non_null(strstr(error.text, "; check"));
}

static int group(void **state)
{
    uint8_t raw[BK_X509_KEY_BYTES];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (bk_seal_init() != BK_OK) {
        return -1;
    }
    s.alpn = BK_ALPN_JOIN;
    s.strangers = true;
    s.message = on_message;
    s.pki = pki_new();
    s.own = holder_new(&s.pki, "beckon:server", true, -60, 3600);
    assert_int_equal(bk_x509_key_make(&device_key), BK_OK);
    enrolment = (struct bk_enrolment){
        .key = device_key,
        .device = true,
        .token = {.role = BK_ROLE_DEVICE, .secret = {9, 8, 7}, .host = "127.0.0.1"}};
    assert_int_equal(bk_x509_raw_key(s.pki.ca, raw), BK_OK);
    bk_x509_pin(raw, enrolment.token.ca_pin);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    EVP_PKEY_free(device_key);
    holder_free(&s.own);
    pki_free(&s.pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_wrong_server),
    };

    return cmocka_run_group_tests(tests, group, group_end);
}
