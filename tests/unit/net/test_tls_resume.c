/* Resumption: who may, who may not, and that nothing a full handshake checks is left out. */
#include "net/tls_fixture.h"

struct notebook {
    uint8_t bytes[BK_TLS_SESSION_MAX_BYTES];
    size_t n;
    unsigned kept, dropped;
};

struct run {
    struct fixture *f;
    struct bk_tls_tickets *tickets;
    struct notebook notebook;
};

static void keep(void *ctx, struct bk_slice session)
{
    struct notebook *n = ctx;
    assert_true(session.n > 0 && session.n <= sizeof n->bytes);
    memcpy(n->bytes, session.p, session.n);
    n->n = session.n;
    n->kept++;
}

static void dropped(void *ctx)
{
    ((struct notebook *)ctx)->dropped++;
}

static struct bk_tls *ticket_server(const struct pki *p, const struct holder *h,
                                    struct bk_tls_tickets *tickets, const char *const *names,
                                    size_t n, const char *expired)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_server config = {.cert = h->cert,
                                   .key = h->key,
                                   .ca = p->ca,
                                   .alpns = names,
                                   .n_alpns = n,
                                   .alpn_expired = expired,
                                   .tickets = tickets};
    assert_int_equal(bk_tls_new_server(&config, &tls), BK_OK);
    return tls;
}

static void serve(struct run *r, const char *const *names, size_t n)
{
    bk_tls_free(r->f->tls_server);
    r->f->tls_server = ticket_server(&r->f->pki, &r->f->server, r->tickets, names, n, NULL);
}

static struct run *run_of(void **state)
{
    static struct run r;
    memset(&r, 0, sizeof r);
    r.f = *state;
    assert_int_equal(bk_tls_tickets_new(0, &r.tickets), BK_OK);
    serve(&r, alpns, 2);
    return &r;
}

/* One connection that keeps what it gets, and offers `session` (NULL: none) as it stood before. */
static struct outcome *connect_at(struct run *r, const struct notebook *session, uint64_t unix_s)
{
    struct bk_tls *tls = NULL;
    struct bk_tls_keeper keeper = {.ctx = &r->notebook, .keep = keep, .drop = dropped};
    struct notebook offered = {0};
    if (session != NULL) {
        offered = *session;
    }
    assert_int_equal(bk_tls_new_client(&r->f->client, &tls), BK_OK);
    bk_tls_set_keeper(tls, &keeper);
    bk_tls_set_time(tls, unix_s);
    if (session != NULL) {
        assert_int_equal(bk_tls_offer_session(tls, bk_slice(offered.bytes, offered.n)), BK_OK);
    }
    unsigned before = r->notebook.dropped;
    struct outcome *o = shake(tls, r->f->tls_server);
    assert_int_equal(r->notebook.dropped, before);
    bk_tls_free(tls);
    assert_int_equal(r->notebook.dropped, before + 1);
    return o;
}

static struct outcome *again(struct run *r)
{
    return connect_at(r, &r->notebook, 0);
}

static void first(struct run *r)
{
    unsigned before = r->notebook.kept;
    struct outcome *o = connect_at(r, NULL, 0);
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_false(o->client_sees.resumed);
    assert_false(o->server_sees.resumed);
    assert_int_equal(r->notebook.kept, before + 1);
}

static void done(struct run *r)
{
    bk_tls_tickets_free(r->tickets);
}

static void assert_full(const struct outcome *o)
{
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_false(o->client_sees.resumed);
    assert_false(o->server_sees.resumed);
    assert_true(o->client_sees.certified && o->server_sees.certified);
}

static void assert_resumed(const struct outcome *o)
{
    assert_int_equal(o->client, BK_TLS_OK);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_true(o->client_sees.resumed);
    assert_true(o->server_sees.resumed);
}

/* ---- How it goes ---- */

static void test_second_connection_is_resumed(void **state)
{
    struct run *r = run_of(state);
    first(r);
    for (unsigned i = 0; i < 4; i++) { /* each with the ticket of the one before */
        struct outcome *o = again(r);
        assert_resumed(o);
        assert_int_equal(r->notebook.kept, 2 + i); /* one ticket each */
        assert_string_equal(o->server_sees.uri, "beckon:device:2133");
        assert_memory_equal(o->server_sees.key, r->f->device.raw, BK_X509_KEY_BYTES);
        assert_memory_equal(o->server_sees.pin, r->f->device.pin, BK_X509_PIN_BYTES);
        assert_string_equal(o->server_sees.alpn, "beckon-agent/1");
        assert_string_equal(o->client_sees.uri, "beckon:server");
        assert_memory_equal(o->client_sees.pin, r->f->server.pin, BK_X509_PIN_BYTES);
        assert_string_equal(o->cipher, "TLSv1.3/TLS_AES_128_GCM_SHA256");
        assert_true(o->server_sees.not_after_s > unix_now());
    }
    done(r);
}

static void test_one_session_several_times(void **state)
{
    struct run *r = run_of(state);
    first(r);
    struct notebook n = r->notebook;
    assert_resumed(connect_at(r, &n, 0));
    assert_resumed(connect_at(r, &n, 0));
    done(r);
}

static void test_no_tickets_without_keys(void **state)
{
    struct run *r = run_of(state);
    first(r);
    bk_tls_free(r->f->tls_server);
    r->f->tls_server = server_of(&r->f->pki, &r->f->server);
    unsigned kept = r->notebook.kept;
    assert_full(again(r));
    assert_int_equal(r->notebook.kept, kept);
    done(r);
}

static void test_nobody_without_certificate_gets_one(void **state)
{
    struct run *r = run_of(state);
    r->f->client.cert = NULL;
    struct outcome *o = connect_at(r, NULL, 0);
    assert_int_equal(o->server, BK_TLS_OK);
    assert_int_equal(r->notebook.kept, 0);
    done(r);
}

static void test_none_where_expired_ones_pass(void **state)
{
    static const char *const names[] = {"beckon-agent/1", "beckon-renew/1"};
    struct run *r = run_of(state);
    bk_tls_free(r->f->tls_server);
    r->f->tls_server =
        ticket_server(&r->f->pki, &r->f->server, r->tickets, names, 2, "beckon-renew/1");
    r->f->client.alpn = "beckon-renew/1";
    assert_full(connect_at(r, NULL, 0));
    assert_int_equal(r->notebook.kept, 0);
    r->f->client.alpn = "beckon-agent/1";
    first(r);
    /* The certificate expires: the ticket does not carry it into the one protocol where that is forgiven ... */
    struct notebook n = r->notebook;
    assert_resumed(connect_at(r, &n, 0));
    bk_tls_set_time(r->f->tls_server, unix_now() + 2ULL * DAY_S);
    struct outcome *o = connect_at(r, &n, 0);
    assert_int_equal(o->server, BK_TLS_EXPIRED);
    done(r);
}

/* ---- Judged again ---- */

static void test_expired_meanwhile(void **state)
{
    struct run *r = run_of(state);
    replace_device(r->f, &r->f->pki, "beckon:device:2133", -100, DAY_S / 2);
    first(r);
    struct notebook n = r->notebook;
    assert_resumed(connect_at(r, &n, 0));
    bk_tls_set_time(r->f->tls_server, unix_now() + 3ULL * DAY_S / 4);
    struct outcome *o = connect_at(r, &n, 0);
    assert_int_equal(o->server, BK_TLS_EXPIRED); /* as by a full handshake */
    assert_false(o->server_sees.certified);
    done(r);
}

static void test_server_expired_meanwhile(void **state)
{
    struct run *r = run_of(state);
    first(r);
    struct notebook n = r->notebook;
    assert_resumed(connect_at(r, &n, 0));
    struct outcome *o = connect_at(r, &n, unix_now() + 2ULL * DAY_S);
    assert_int_equal(o->client, BK_TLS_EXPIRED);
    done(r);
}

/* A session that is good for one name does not do for another, nor does another URI or CA. */
/* However often it is resumed: after a day the key must be proven once more. */
static void test_proof_wears_out(void **state)
{
    struct run *r = run_of(state);
    uint64_t began = unix_now();
    replace_device(r->f, &r->f->pki, "beckon:device:2133", -7200, 3 * DAY_S);
    first(r);
    for (unsigned hour = 3; hour < 24; hour += 3) { /* each with the ticket of the one before */
        bk_tls_set_time(r->f->tls_server, began + hour * 3600);
        assert_resumed(again(r));
    }
    bk_tls_set_time(r->f->tls_server, began + BK_TLS_PROOF_LIFE_S - 10);
    assert_resumed(again(r));
    bk_tls_set_time(r->f->tls_server, began + BK_TLS_PROOF_LIFE_S + 10);
    assert_full(again(r));
    assert_resumed(again(r)); /* proven now */
    bk_tls_set_time(r->f->tls_server,
                    began - 3600); /* a clock that was set back is not trusted either */
    assert_full(again(r));
    done(r);
}

static void test_client_asks_for_another(void **state)
{
    struct run *r = run_of(state);
    struct pki other = pki_new();
    first(r);
    struct notebook n = r->notebook;
    r->f->client.host = "example.net";
    assert_int_equal(connect_at(r, &n, 0)->client, BK_TLS_WRONG_NAME);
    r->f->client.host = "127.0.0.1"; /* also in the certificate */
    assert_resumed(connect_at(r, &n, 0));
    r->f->client.host = "localhost";
    r->f->client.peer_uri = "beckon:other";
    assert_int_equal(connect_at(r, &n, 0)->client, BK_TLS_WRONG_NAME);
    r->f->client.peer_uri = "beckon:server";
    r->f->client.ca = other.ca;
    assert_int_equal(connect_at(r, &n, 0)->client, BK_TLS_NOT_OUR_CA);
    pki_free(&other);
    done(r);
}

/* ---- Tickets of another time, authority, server, port ---- */

static void test_keys_turn(void **state)
{
    struct run *r = run_of(state);
    first(r);
    struct notebook n = r->notebook;
    bk_tls_tickets_turn(r->tickets);
    assert_resumed(connect_at(r, &n, 0)); /* the key before */
    bk_tls_tickets_turn(r->tickets);
    assert_full(connect_at(r, &n, 0));
    assert_resumed(again(r)); /* that one gave a new ticket */
    done(r);
}

static void test_server_started_anew(void **state)
{
    struct run *r = run_of(state);
    first(r);
    bk_tls_tickets_free(r->tickets);
    assert_int_equal(bk_tls_tickets_new(0, &r->tickets), BK_OK);
    serve(r, alpns, 2);
    assert_full(again(r));
    assert_resumed(again(r));
    done(r);
}

static void test_reloaded_with_the_same(void **state)
{
    struct run *r = run_of(state);
    first(r);
    serve(r, alpns, 2);
    assert_resumed(again(r));
    done(r);
}

static void test_authority_or_certificate_replaced(void **state)
{
    struct run *r = run_of(state);
    struct pki other = pki_new();
    first(r);
    struct notebook n = r->notebook;
    /* The same authority, another certificate of the server: everything fits, but it is another context. */
    struct holder renewed = holder_new(&r->f->pki, "beckon:server", true, -10, DAY_S);
    bk_tls_free(r->f->tls_server);
    r->f->tls_server = ticket_server(&r->f->pki, &renewed, r->tickets, alpns, 2, NULL);
    assert_full(connect_at(r, &n, 0));
    /* Another authority for clients: the certificate of old does not get in by its ticket. */
    bk_tls_free(r->f->tls_server);
    r->f->tls_server = ticket_server(&other, &r->f->server, r->tickets, alpns, 2, NULL);
    struct outcome *o = connect_at(r, &n, 0);
    assert_int_equal(o->server, BK_TLS_NOT_OUR_CA);
    assert_false(o->server_sees.certified);
    holder_free(&renewed);
    pki_free(&other);
    done(r);
}

/* A user's ticket, from the port for requests, used on the one for agents: it is another context, and what counts is the
 * certificate that is shown there. */
static void test_ticket_of_another_port(void **state)
{
    static const char *const request[] = {"beckon-request/1"};
    static const char *const agent[] = {"beckon-agent/1", "beckon-request/1"};
    struct run *r = run_of(state);
    r->f->client.alpn = "beckon-request/1";
    replace_device(r->f, &r->f->pki, "beckon:user:anna", -10, DAY_S);
    serve(r, request, 1);
    first(r);
    struct notebook n = r->notebook;
    serve(r, agent, 2);
    assert_full(connect_at(r, &n, 0)); /* the same name even */
    serve(r, request, 1);
    assert_resumed(connect_at(r, &n, 0));
    done(r);
}

/* Our own clients do not offer a session under another name; somebody else's does, on a port that speaks both. */
static void test_ticket_of_another_protocol(void **state)
{
    static const char agent[] = "\x0e"
                                "beckon-agent/1";
    struct run *r = run_of(state);
    struct bk_tls *tls = NULL;
    r->f->client.alpn = "beckon-request/1";
    first(r);
    r->f->client.alpn = "beckon-agent/1";
    assert_int_equal(bk_tls_new_client(&r->f->client, &tls), BK_OK);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(r->notebook.bytes, r->notebook.n)),
                     BK_E_MALFORMED);
    bk_tls_free(tls);

    const unsigned char *p = r->notebook.bytes;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)r->notebook.n);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(session);
    struct foreign x = foreign_new(ctx, r->f->tls_server, agent);
    assert_int_equal(SSL_set_session(x.c.ssl, session), 1);
    foreign_shake(&x);
    assert_int_equal(x.s.failure, BK_TLS_NO_ALPN);
    assert_false(x.s.done);
    SSL_SESSION_free(session);
    foreign_free(&x);
    SSL_CTX_free(ctx);
    done(r);
}

/* ---- Forged ---- */

/* Each bit of the ticket and of the rest in turn (in steps): never worse than a full handshake, never a resumption under
 * another identity. */
static void test_damaged_sessions(void **state)
{
    enum { STEP = 13 };
    struct run *r = run_of(state);
    unsigned refused = 0, full = 0, resumed = 0;
    first(r);
    static struct notebook good, bad;
    good = r->notebook;
    for (size_t i = 0; i < good.n; i += STEP) {
        struct bk_tls *tls = NULL;
        bad = good;
        bad.bytes[i] ^= 0x10;
        assert_int_equal(bk_tls_new_client(&r->f->client, &tls), BK_OK);
        if (bk_tls_offer_session(tls, bk_slice(bad.bytes, bad.n)) != BK_OK) {
            refused++;
            bk_tls_free(tls);
            continue;
        }
        struct outcome *o = shake(tls, r->f->tls_server);
        if (o->server == BK_TLS_OK) {
            assert_string_equal(o->server_sees.uri, "beckon:device:2133");
            assert_memory_equal(o->server_sees.key, r->f->device.raw, BK_X509_KEY_BYTES);
            assert_memory_equal(o->client_sees.key, r->f->server.raw, BK_X509_KEY_BYTES);
            *(o->server_sees.resumed ? &resumed : &full) += 1;
        }
        bk_tls_free(tls);
    }
    assert_true(refused > 0 && full > 0); /* the seal of a ticket covers most of the session */
    assert_true(full > resumed);
    for (size_t n = 0; n < good.n; n += STEP) {
        struct bk_tls *tls = NULL;
        assert_int_equal(bk_tls_new_client(&r->f->client, &tls), BK_OK);
        assert_int_equal(bk_tls_offer_session(tls, bk_slice(good.bytes, n)), BK_E_MALFORMED);
        bk_tls_free(tls);
    }
    done(r);
}

/* A thief of the ticket without its secret: it is in clear in every ClientHello. */
static void test_ticket_without_its_secret(void **state)
{
    static const char agent[] = "\x0e"
                                "beckon-agent/1";
    struct run *r = run_of(state);
    first(r);
    const unsigned char *p = r->notebook.bytes;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)r->notebook.n);
    static const uint8_t guess[32] = {1};
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_SESSION_set1_master_key(session, guess, sizeof guess), 1);
    struct foreign x = foreign_new(ctx, r->f->tls_server, agent);
    assert_int_equal(SSL_set_session(x.c.ssl, session), 1);
    foreign_shake(&x);
    assert_false(x.s.done);
    assert_int_not_equal(x.s.failure, BK_TLS_OK);
    SSL_SESSION_free(session);
    foreign_free(&x);
    SSL_CTX_free(ctx);
    done(r);
}

static void test_sessions_of_others(void **state)
{
    static const uint8_t nonsense[] = "not a session";
    struct run *r = run_of(state);
    struct bk_tls *tls = NULL;
    static uint8_t large[BK_TLS_SESSION_MAX_BYTES + 1];
    first(r);
    assert_int_equal(bk_tls_new_client(&r->f->client, &tls), BK_OK);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(nonsense, sizeof nonsense)),
                     BK_E_MALFORMED);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(NULL, 0)), BK_E_MALFORMED);
    memcpy(large, r->notebook.bytes, r->notebook.n);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(large, sizeof large)), BK_E_MALFORMED);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(large, r->notebook.n + 1)), BK_E_MALFORMED);
    /* Past its life. */
    const unsigned char *p = r->notebook.bytes;
    unsigned char *q = large;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)r->notebook.n);
    SSL_SESSION_set_time(session, (long)unix_now() - BK_TLS_TICKET_LIFE_S - 1);
    int n = i2d_SSL_SESSION(session, &q);
    assert_int_equal(bk_tls_offer_session(tls, bk_slice(large, (size_t)n)), BK_E_EXPIRED);
    SSL_SESSION_free(session);
    /* After all that: as if nothing had been offered. */
    assert_full(shake(tls, r->f->tls_server));
    bk_tls_free(tls);
    done(r);
}

/* Key exchange is made anew: a client that would do without gets none of it. */
static void test_no_resumption_without_key_exchange(void **state)
{
    static const char agent[] = "\x0e"
                                "beckon-agent/1";
    struct run *r = run_of(state);
    first(r);
    const unsigned char *p = r->notebook.bytes;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)r->notebook.n);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX);
    struct foreign x = foreign_new(ctx, r->f->tls_server, agent);
    assert_int_equal(SSL_set_session(x.c.ssl, session), 1);
    foreign_shake(&x);
    EVP_PKEY *exchanged = NULL;
    assert_true(x.s.done);
    assert_int_equal(SSL_session_reused(x.s.ssl), 1);
    assert_int_equal(SSL_get_peer_tmp_key(x.s.ssl, &exchanged), 1);
    assert_non_null(exchanged);
    EVP_PKEY_free(exchanged);
    SSL_SESSION_free(session);
    foreign_free(&x);
    SSL_CTX_free(ctx);
    done(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(test_second_connection_is_resumed),
        CASE(test_one_session_several_times),
        CASE(test_no_tickets_without_keys),
        CASE(test_nobody_without_certificate_gets_one),
        CASE(test_none_where_expired_ones_pass),
        CASE(test_expired_meanwhile),
        CASE(test_server_expired_meanwhile),
        CASE(test_proof_wears_out),
        CASE(test_client_asks_for_another),
        CASE(test_keys_turn),
        CASE(test_server_started_anew),
        CASE(test_reloaded_with_the_same),
        CASE(test_authority_or_certificate_replaced),
        CASE(test_ticket_of_another_port),
        CASE(test_ticket_of_another_protocol),
        CASE(test_damaged_sessions),
        CASE(test_ticket_without_its_secret),
        CASE(test_sessions_of_others),
        CASE(test_no_resumption_without_key_exchange),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
