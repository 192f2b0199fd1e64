/* Every role of TLS against every kind of wrong peer: real handshakes over a socket pair. */
#include "net/tls_fixture.h"

static void test_both_sides_know_each_other(void **state)
{
    struct fixture *f = *state;
    struct outcome *o = try_client(f);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_true(o->client_sees.certified && o->server_sees.certified);
    assert_string_equal(o->client_sees.uri, "beckon:server");
    assert_string_equal(o->server_sees.uri, "beckon:device:2133");
    assert_memory_equal(o->server_sees.key, f->device.raw, 32);
    assert_memory_equal(o->server_sees.pin, f->device.pin, 32);
    assert_in_range(o->server_sees.not_after_s, unix_now() + DAY_S - 60, unix_now() + DAY_S);
    assert_string_equal(o->client_sees.alpn, "beckon-agent/1");
    assert_string_equal(o->server_sees.alpn, "beckon-agent/1");
    assert_string_equal(o->cipher, "TLSv1.3/TLS_AES_128_GCM_SHA256");
    assert_int_equal(o->tickets, 0);
    assert_null(o->joined_ca);
}

static void test_hosts(void **state)
{
    static const char *const good[] = {"127.0.0.1", "::1", "LOCALHOST"};
    static const char *const bad[] = {"127.0.0.2", "::2", "example.org", "localhost.example.org"};
    struct fixture *f = *state;
    for (size_t i = 0; i < 3; i++) {
        f->client.host = good[i];
        assert_int_equal(try_client(f)->client, BK_TLS_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        f->client.host = bad[i];
        assert_int_equal(try_client(f)->client, BK_TLS_WRONG_NAME);
    }
}

static void test_client_without_certificate(void **state)
{
    struct fixture *f = *state;
    f->client.cert = NULL;
    struct outcome *o = try_client(f);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_false(o->server_sees.certified);
    assert_string_equal(o->server_sees.uri, "");
}

static void test_server_of_another_ca(void **state)
{
    struct fixture *f = *state;
    struct pki other = pki_new();
    f->client.ca = other.ca;
    struct outcome *o = try_client(f);
    assert_int_equal(o->client, BK_TLS_NOT_OUR_CA);
    assert_int_equal(o->server, BK_TLS_REFUSED_BY_PEER);
    pki_free(&other);
}

static void test_device_of_another_ca(void **state)
{
    struct fixture *f = *state;
    struct pki other = pki_new();
    replace_device(f, &other, "beckon:device:2133", -10, DAY_S);
    struct outcome *o = try_client(f);
    assert_int_equal(o->server, BK_TLS_NOT_OUR_CA);
    assert_int_equal(o->client, BK_TLS_REFUSED_BY_PEER);
    pki_free(&other);
}

static void test_device_with_call_certificate(void **state)
{
    struct fixture *f = *state;
    holder_free(&f->device);
    f->device = holder_call();
    f->client.cert = f->device.cert;
    f->client.key = f->device.key;
    assert_int_equal(try_client(f)->server, BK_TLS_NOT_OUR_CA);
}

static void test_expired(void **state)
{
    struct fixture *f = *state;
    replace_device(f, &f->pki, "beckon:device:2133", -100, -50);
    struct outcome *o = try_client(f);
    assert_int_equal(o->server, BK_TLS_EXPIRED);
    assert_int_equal(o->client, BK_TLS_REFUSED_BY_PEER);
    replace_device(f, &f->pki, "beckon:device:2133", 50, 100);
    assert_int_equal(try_client(f)->server, BK_TLS_EXPIRED);
    replace_device(f, &f->pki, "beckon:device:2133", -100, 100);
    replace_server(f, "beckon:server", -100, -50);
    o = try_client(f);
    assert_int_equal(o->client, BK_TLS_EXPIRED);
    assert_int_equal(o->server, BK_TLS_REFUSED_BY_PEER);
}

static void test_given_time(void **state)
{
    struct fixture *f = *state;
    struct bk_tls *tls = NULL;
    replace_server(f, "beckon:server", -1000, -500);
    assert_int_equal(bk_tls_new_client(&f->client, &tls), BK_OK);
    bk_tls_set_time(tls, unix_now() - 700);
    assert_int_equal(shake(tls, f->tls_server)->client, BK_TLS_OK);
    bk_tls_set_time(tls, 0);
    assert_int_equal(shake(tls, f->tls_server)->client, BK_TLS_EXPIRED);
    bk_tls_free(tls);
}

static void test_wrong_uri(void **state)
{
    struct fixture *f = *state;
    replace_server(f, "beckon:device:2133", -10, DAY_S);
    assert_int_equal(try_client(f)->client, BK_TLS_WRONG_NAME);
}

static void test_device_as_server(void **state)
{
    struct fixture *f = *state;
    struct bk_tls *tls = server_of(&f->pki, &f->device);
    struct bk_tls *client = NULL;
    assert_int_equal(bk_tls_new_client(&f->client, &client), BK_OK);
    assert_int_not_equal(shake(client, tls)->client, BK_TLS_OK);
    bk_tls_free(client);
    bk_tls_free(tls);
}

static void test_no_common_alpn(void **state)
{
    struct fixture *f = *state;
    f->client.alpn = "h2";
    struct outcome *o = try_client(f);
    assert_int_equal(o->client, BK_TLS_NO_ALPN);
    assert_int_equal(o->server, BK_TLS_NO_ALPN);
}

static enum bk_tls_failure server_against(struct bk_tls *server, int version, const char *raw)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, version);
    /* An old client that otherwise fits; a new one that names no protocol. */
    struct foreign f = foreign_new(ctx, server,
                                   version == TLS1_2_VERSION ? "\x0e"
                                                               "beckon-agent/1"
                                                             : NULL);
    if (raw != NULL) {
        assert_int_equal(write(f.c.fd, raw, strlen(raw)), strlen(raw));
    }
    for (int i = 0; i < TURNS; i++) {
        if (raw == NULL) {
            step(&f.c);
        }
        step(&f.s);
    }
    foreign_free(&f);
    SSL_CTX_free(ctx);
    assert_true(f.s.failure == BK_TLS_OK || !f.s.done);
    return f.s.failure;
}

static void test_foreign_clients(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(server_against(f->tls_server, TLS1_3_VERSION, NULL), BK_TLS_NO_ALPN);
    assert_int_equal(server_against(f->tls_server, TLS1_2_VERSION, NULL), BK_TLS_NOT_TLS);
    assert_int_equal(server_against(f->tls_server, TLS1_3_VERSION, "GET / HTTP/1.1\r\n\r\n"),
                     BK_TLS_NOT_TLS);
    assert_int_equal(server_against(f->tls_server, TLS1_3_VERSION, "SSH-2.0-OpenSSH_9.2\r\n"),
                     BK_TLS_NOT_TLS);
}

/* ---- Joining ---- */

static void test_join_by_pin(void **state)
{
    struct fixture *f = *state;
    uint8_t raw[32], pin[32];
    assert_int_equal(bk_x509_raw_key(f->pki.ca, raw), BK_OK);
    bk_x509_pin(raw, pin);
    f->client.cert = NULL;
    f->client.ca = NULL;
    f->client.ca_pin = pin;
    struct outcome *o = try_client(f);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_non_null(o->joined_ca);
    assert_int_equal(X509_cmp(o->joined_ca, f->pki.ca), 0);
    X509_free(o->joined_ca);
    /* Names and life are checked here too. */
    f->client.host = "example.org";
    assert_int_equal(try_client(f)->client, BK_TLS_WRONG_NAME);
    f->client.host = "localhost";
    pin[31] ^= 1;
    o = try_client(f);
    assert_int_equal(o->client, BK_TLS_WRONG_KEY);
    assert_null(o->joined_ca);
    /* The pin of the server's own key is no CA's. */
    f->client.ca_pin = f->server.pin;
    assert_int_equal(try_client(f)->client, BK_TLS_WRONG_KEY);
}

/* A server that shows the pinned CA beside a certificate of another. */
static void test_join_with_borrowed_ca(void **state)
{
    struct fixture *f = *state;
    struct pki other = pki_new();
    struct holder impostor = holder_new(&other, "beckon:server", true, -10, DAY_S);
    struct bk_tls *tls = server_of(&f->pki, &impostor), *client = NULL;
    uint8_t raw[32], pin[32];
    assert_int_equal(bk_x509_raw_key(f->pki.ca, raw), BK_OK);
    bk_x509_pin(raw, pin);
    f->client.ca = NULL;
    f->client.ca_pin = pin;
    assert_int_equal(bk_tls_new_client(&f->client, &client), BK_OK);
    assert_int_equal(shake(client, tls)->client, BK_TLS_NOT_OUR_CA);
    bk_tls_free(client);
    bk_tls_free(tls);
    holder_free(&impostor);
    pki_free(&other);
}

/* The pin is of the CA's key: the rest of its certificate counts only with that key's signature. */
static void test_join_with_altered_ca(void **state)
{
    struct fixture *f = *state;
    struct pki altered = {.ca_key = f->pki.ca_key, .ca = X509_dup(f->pki.ca)};
    struct bk_tls *tls, *client = NULL;
    uint8_t raw[32], pin[32];
    assert_int_equal(bk_x509_raw_key(f->pki.ca, raw), BK_OK);
    bk_x509_pin(raw, pin);
    ASN1_TIME *later = X509_gmtime_adj(NULL, 100 * DAY_S);
    assert_int_equal(X509_set1_notAfter(altered.ca, later), 1);
    ASN1_TIME_free(later);
    assert_true(i2d_re_X509_tbs(altered.ca, NULL) > 0); /* else it would be sent as it was */
    tls = server_of(&altered, &f->server);
    f->client.cert = NULL;
    f->client.ca = NULL;
    f->client.ca_pin = pin;
    assert_int_equal(bk_tls_new_client(&f->client, &client), BK_OK);
    struct outcome *o = shake(client, tls);
    assert_int_equal(o->client, BK_TLS_NOT_OUR_CA);
    assert_null(o->joined_ca);
    bk_tls_free(client);
    bk_tls_free(tls);
    X509_free(altered.ca);
}

/* ---- End to end ---- */

struct call {
    const char *name;
    struct holder holder;
    uint8_t expects[32];
};

static bool choose(void *ctx, const char *name, struct bk_tls_call *out)
{
    struct call *calls = ctx;
    for (int i = 0; i < 2; i++) {
        if (strcmp(calls[i].name, name) == 0) {
            out->cert = calls[i].holder.cert;
            out->key = calls[i].holder.key;
            memcpy(out->peer_pin, calls[i].expects, 32);
            return true;
        }
    }
    return false;
}

static struct outcome *try_call(struct fixture *f, struct bk_tls *server, const char *name,
                                const uint8_t *pin)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_call_client config = {.cert = f->device.cert,
                                        .key = f->device.key,
                                        .peer_pin = pin,
                                        .server_name = name,
                                        .alpn = "beckon-call/1"};
    assert_int_equal(bk_tls_new_call_client(&config, &tls), BK_OK);
    struct outcome *o = shake(tls, server);
    bk_tls_free(tls);
    return o;
}

static void test_calls(void **state)
{
    struct fixture *f = *state;
    struct call calls[2] = {{.name = "one.call", .holder = holder_call()},
                            {.name = "two.call", .holder = holder_call()}};
    struct bk_tls *server = NULL;
    memcpy(calls[0].expects, f->device.pin, 32);
    memcpy(calls[1].expects, f->server.pin, 32); /* another device */
    assert_int_equal(bk_tls_new_call_server("beckon-call/1", choose, calls, &server), BK_OK);
    struct outcome *o = try_call(f, server, "one.call", calls[0].holder.pin);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_memory_equal(o->client_sees.pin, calls[0].holder.pin, 32);
    assert_memory_equal(o->server_sees.pin, f->device.pin, 32);
    assert_string_equal(o->client_sees.uri, "");
    assert_string_equal(o->server_sees.uri, "beckon:device:2133");
    /* The right call's name with the other call's key, and the reverse */
    o = try_call(f, server, "one.call", calls[1].holder.pin);
    assert_int_equal(o->client, BK_TLS_WRONG_KEY);
    assert_int_equal(o->server, BK_TLS_REFUSED_BY_PEER);
    o = try_call(f, server, "two.call", calls[1].holder.pin);
    assert_int_equal(o->server, BK_TLS_WRONG_KEY);
    assert_int_equal(o->client, BK_TLS_REFUSED_BY_PEER);
    o = try_call(f, server, "three.call", calls[0].holder.pin);
    assert_int_equal(o->client, BK_TLS_WRONG_NAME);
    assert_int_equal(o->server, BK_TLS_WRONG_NAME);
    bk_tls_free(server);
    holder_free(&calls[0].holder);
    holder_free(&calls[1].holder);
}

/* A caller may hold no certificate of the device's: then it is not the device. */
static void test_call_without_certificate(void **state)
{
    (void)state;
    struct call calls[2] = {{.name = "", .holder = holder_call()}, {.name = "x"}};
    struct bk_tls *server = NULL;
    assert_int_equal(bk_tls_new_call_server("beckon-call/1", choose, calls, &server), BK_OK);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    static const char call[] = "\x0d"
                               "beckon-call/1";
    struct foreign f = foreign_new(ctx, server, call);
    bk_tls_free(server); /* its connections live on, but nobody is expected any more */
    foreign_shake(&f);
    assert_int_equal(f.s.failure, BK_TLS_WRONG_NAME);
    foreign_free(&f);
    assert_int_equal(bk_tls_new_call_server("beckon-call/1", choose, calls, &server), BK_OK);
    f = foreign_new(ctx, server, call);
    foreign_shake(&f);
    assert_int_equal(f.s.failure, BK_TLS_NO_CERTIFICATE);
    assert_int_equal(f.c.failure, BK_TLS_REFUSED_BY_PEER);
    foreign_free(&f);
    SSL_CTX_free(ctx);
    bk_tls_free(server);
    holder_free(&calls[0].holder);
}

static void test_bad_configs(void **state)
{
    struct fixture *f = *state;
    struct bk_tls *tls = NULL;
    f->client.alpn = "a-protocol-name-that-is-longer-than-ours-may-be";
    assert_int_equal(bk_tls_new_client(&f->client, &tls), BK_E_MALFORMED);
    f->client.alpn = "beckon-agent/1";
    f->client.key = f->server.key; /* not the certificate's */
    assert_int_equal(bk_tls_new_client(&f->client, &tls), BK_E_MALFORMED);
    f->client.key = f->device.key;
    f->client.host = "";
    assert_int_equal(bk_tls_new_client(&f->client, &tls), BK_E_MALFORMED);
    struct bk_tls_server server = {.cert = f->server.cert,
                                   .key = f->server.key,
                                   .ca = f->pki.ca,
                                   .alpns = alpns,
                                   .n_alpns = 2,
                                   .alpn_expired = "beckon-renew/1"}; /* not one of them */
    assert_int_equal(bk_tls_new_server(&server, &tls), BK_E_MALFORMED);
    assert_null(tls);
    for (int i = 0; i <= BK_TLS_OTHER; i++) {
        assert_true(strlen(bk_tls_failure_text((enum bk_tls_failure)i)) > 5);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(test_both_sides_know_each_other),
        CASE(test_hosts),
        CASE(test_client_without_certificate),
        CASE(test_server_of_another_ca),
        CASE(test_device_of_another_ca),
        CASE(test_device_with_call_certificate),
        CASE(test_expired),
        CASE(test_given_time),
        CASE(test_wrong_uri),
        CASE(test_device_as_server),
        CASE(test_no_common_alpn),
        CASE(test_foreign_clients),
        CASE(test_join_by_pin),
        CASE(test_join_with_borrowed_ca),
        CASE(test_join_with_altered_ca),
        CASE(test_calls),
        CASE(test_call_without_certificate),
        CASE(test_bad_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
