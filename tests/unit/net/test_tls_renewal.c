/* Clients whose certificate has expired, and what a peer says within TLS when the handshake is over. */
#include "net/tls_fixture.h"

/* ---- Expired, and come to renew ---- */

static const char *const renewing[] = {"beckon-agent/1", "beckon-renew/1", "beckon-join/1"};

static struct bk_tls *renewing_server(const struct pki *p, const struct holder *h)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_server config = {.cert = h->cert,
                                   .key = h->key,
                                   .ca = p->ca,
                                   .alpns = renewing,
                                   .n_alpns = 3,
                                   .alpn_expired = "beckon-renew/1"};
    assert_int_equal(bk_tls_new_server(&config, &tls), BK_OK);
    return tls;
}

static enum bk_tls_failure renew_as(struct fixture *f, const char *alpn)
{
    f->client.alpn = alpn;
    struct outcome *o = try_client(f);
    if (o->server == BK_TLS_OK) {
        assert_int_equal(o->client, BK_TLS_OK);
        assert_string_equal(o->server_sees.alpn, alpn);
    } else {
        assert_int_equal(o->client, BK_TLS_REFUSED_BY_PEER);
        assert_false(o->server_sees.certified);
    }
    return o->server;
}

/* By one name an expired certificate passes and is told of; by the others of the same listener it does not. */
static void test_expired_passes_for_renewal_alone(void **state)
{
    struct fixture *f = *state;
    bk_tls_free(f->tls_server);
    f->tls_server = renewing_server(&f->pki, &f->server);
    struct outcome *o;
    assert_int_equal(renew_as(f, "beckon-renew/1"), BK_TLS_OK); /* nothing is expired yet */
    replace_device(f, &f->pki, "beckon:device:2133", -200, -100);
    assert_int_equal(renew_as(f, "beckon-agent/1"), BK_TLS_EXPIRED);
    assert_int_equal(renew_as(f, "beckon-join/1"), BK_TLS_EXPIRED);
    f->client.alpn = "beckon-renew/1";
    o = try_client(f);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_true(o->server_sees.certified && o->server_sees.expired);
    assert_string_equal(o->server_sees.uri, "beckon:device:2133");
    assert_memory_equal(o->server_sees.key, f->device.raw, 32);
    assert_in_range(o->server_sees.not_after_s, unix_now() - 160, unix_now() - 100);
    assert_false(o->client_sees.expired);
    /* A valid one is not told as expired, and the clock that is given counts. */
    replace_device(f, &f->pki, "beckon:device:2133", -100, 100);
    o = try_client(f);
    assert_true(o->server_sees.certified && !o->server_sees.expired);
    bk_tls_set_time(f->tls_server, unix_now() + 200);
    o = try_client(f);
    assert_true(o->server_sees.certified && o->server_sees.expired);
}

/* So does one that begins ahead: our clock was wrong when we made it. For nobody else would it be of use. */
static void test_ahead_passes_for_renewal_alone(void **state)
{
    struct fixture *f = *state;
    struct outcome *o;
    bk_tls_free(f->tls_server);
    f->tls_server = renewing_server(&f->pki, &f->server);
    replace_device(f, &f->pki, "beckon:device:2133", 9000000, 9000100);
    assert_int_equal(renew_as(f, "beckon-agent/1"), BK_TLS_EXPIRED);
    assert_int_equal(renew_as(f, "beckon-join/1"), BK_TLS_EXPIRED);
    f->client.alpn = "beckon-renew/1";
    o = try_client(f);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_true(o->server_sees.certified && !o->server_sees.expired);
    assert_string_equal(o->server_sees.uri, "beckon:device:2133");
}

/* Everything else is refused as ever, by that name too. */
static void test_renewal_forgives_times_alone(void **state)
{
    struct fixture *f = *state;
    struct pki other = pki_new(), old = {0};
    bk_tls_free(f->tls_server);
    f->tls_server = renewing_server(&f->pki, &f->server);
    replace_device(f, &other, "beckon:device:2133", -200, -100);
    assert_int_equal(renew_as(f, "beckon-renew/1"), BK_TLS_NOT_OUR_CA);
    holder_free(&f->device);
    f->device = holder_new(&f->pki, "beckon:server", true, -200, -100); /* of a server's kind */
    f->client.cert = f->device.cert;
    f->client.key = f->device.key;
    assert_int_equal(renew_as(f, "beckon-renew/1"), BK_TLS_NOT_OUR_CA);
    /* An expired CA vouches for nobody. */
    enum { YEAR_S = 366 * DAY_S };
    assert_int_equal(bk_x509_key_make(&old.ca_key), BK_OK);
    assert_int_equal(bk_x509_make_ca(old.ca_key, "Old", unix_now() - 11ULL * YEAR_S, &old.ca),
                     BK_OK);
    bk_tls_free(f->tls_server);
    f->tls_server = renewing_server(&old, &f->server);
    replace_device(f, &old, "beckon:device:2133", -10LL * YEAR_S, -9LL * YEAR_S);
    struct bk_tls *client = NULL;
    f->client.alpn = "beckon-renew/1";
    f->client.ca = f->pki.ca; /* that signed the server */
    assert_int_equal(bk_tls_new_client(&f->client, &client), BK_OK);
    struct outcome *o = shake(client, f->tls_server);
    assert_int_equal(o->server, BK_TLS_EXPIRED);
    assert_false(o->server_sees.certified);
    /* With the clock set back to when it was valid, it is the client alone that has expired. */
    bk_tls_set_time(f->tls_server, unix_now() - 8ULL * YEAR_S);
    assert_int_equal(shake(client, f->tls_server)->server, BK_TLS_OK);
    bk_tls_free(client);
    pki_free(&other);
    pki_free(&old);
}

struct order {
    SSL *ssl;
    unsigned certificates, named_before;
};

/* The server's side of a handshake: has the protocol been chosen when the client's certificate comes? */
static void on_message(int sent, int version, int type, const void *bytes, size_t n, SSL *ssl,
                       void *arg)
{
    (void)version;
    struct order *order = arg;
    if (sent == 0 && type == SSL3_RT_HANDSHAKE && n > 0 &&
        ((const uint8_t *)bytes)[0] == SSL3_MT_CERTIFICATE) {
        const unsigned char *alpn = NULL;
        unsigned alpn_n = 0;
        SSL_get0_alpn_selected(ssl, &alpn, &alpn_n);
        order->certificates++;
        order->named_before +=
            alpn_n == strlen("beckon-renew/1") && memcmp(alpn, "beckon-renew/1", alpn_n) == 0;
    }
}

/* Names both ways: a client that offers the name among others is judged by the one that is chosen. */
static bool offer(struct fixture *f, const char *names, struct order *order)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, f->device.cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, f->device.key), 1);
    struct foreign x = foreign_new(ctx, f->tls_server, names);
    *order = (struct order){.ssl = x.s.ssl};
    SSL_set_msg_callback(x.s.ssl, on_message);
    SSL_set_msg_callback_arg(x.s.ssl, order);
    foreign_shake(&x);
    bool ok = x.s.done && x.s.failure == BK_TLS_OK;
    assert_true(ok || x.s.failure == BK_TLS_EXPIRED);
    foreign_free(&x);
    SSL_CTX_free(ctx);
    return ok;
}

static void test_protocol_is_chosen_before_the_certificate(void **state)
{
    static const char renew[] = "\x0e"
                                "beckon-renew/1",
                      both[] = "\x0e"
                               "beckon-renew/1"
                               "\x0e"
                               "beckon-agent/1";
    struct fixture *f = *state;
    struct order order;
    bk_tls_free(f->tls_server);
    f->tls_server = renewing_server(&f->pki, &f->server);
    replace_device(f, &f->pki, "beckon:device:2133", -200, -100);
    assert_true(offer(f, renew, &order));
    assert_int_equal(order.certificates, 1);
    assert_int_equal(order.named_before, 1);
    assert_false(offer(f, both, &order)); /* the server prefers "beckon-agent/1" */
    assert_int_equal(order.certificates, 1);
    assert_int_equal(order.named_before, 0);
}

/* ---- After the handshake ---- */

/* However many messages of TLS itself wait, one SSL_read takes few, and says how many. */
static void test_chatter_is_counted_and_stops(void **state)
{
    enum { MANY = 150 };
    struct fixture *f = *state;
    struct bk_tls *client = NULL;
    struct end c = {0}, s = {0};
    unsigned messages = 0;
    uint8_t byte;
    int fds[2];
    assert_int_equal(bk_tls_new_client(&f->client, &client), BK_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(bk_tls_start(client, fds[0], &c.ssl), BK_OK);
    assert_int_equal(bk_tls_start(f->tls_server, fds[1], &s.ssl), BK_OK);
    for (int i = 0; i < TURNS; i++) {
        step(&c);
        step(&s);
    }
    assert_true(c.done && s.done);
    bk_tls_count_chatter(s.ssl, &messages);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(c.ssl), 1);
    }
    assert_int_equal(SSL_write(c.ssl, "x", 1), 1);
    assert_int_equal(SSL_read(s.ssl, &byte, 1), -1);
    assert_int_equal(messages, BK_TLS_CHATTER_MAX + 1);
    assert_int_equal(SSL_read(s.ssl, &byte, 1), -1);
    assert_int_equal(messages, BK_TLS_CHATTER_MAX + 2);
    bk_tls_count_chatter(s.ssl, NULL);
    for (unsigned i = 0; i < MANY && SSL_read(s.ssl, &byte, 1) != 1; i++) {
    }
    assert_int_equal(byte, 'x'); /* nothing was lost, had one wanted to go on */
    assert_int_equal(messages, BK_TLS_CHATTER_MAX + 2);
    bk_tls_free(client);
    SSL_free(c.ssl);
    SSL_free(s.ssl);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_expired_passes_for_renewal_alone),
        CASE(test_ahead_passes_for_renewal_alone),
        CASE(test_renewal_forgives_times_alone),
        CASE(test_protocol_is_chosen_before_the_certificate),
        CASE(test_chatter_is_counted_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
