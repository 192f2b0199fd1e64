/* The first bytes of connections: what a ClientHello says, what a listener's hooks get, and that nobody who says nothing,
 * or too little, costs more than his place. */
#include "net/listening.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "net/client_hello.h"
#include "net/listener.h"
#include "net/sockaddr.h"

enum {
    HANDSHAKES = 4,
    SHORT_MS = 300,
};

/* ---- The ClientHello alone ---- */

/* As OpenSSL writes it, for that name; NULL: without one. */
static size_t hello(const char *name, uint8_t *out, size_t cap)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *written = BIO_new(BIO_s_mem());
    int n;

    SSL_set_bio(ssl, in, written);
    if (name != NULL) {
        char copy[BK_CLIENT_HELLO_NAME_BYTES];
        (void)snprintf(copy, sizeof copy, "%s", name);
        assert_int_equal(
            SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, copy), 1);
    }
    assert_int_equal(SSL_connect(ssl), -1);
    n = BIO_read(written, out, (int)cap);
    assert_true(n > 50);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)n;
}

/* Of memory that ends where the bytes do. */
static enum bk_err name_of(const uint8_t *bytes, size_t n, char name[BK_CLIENT_HELLO_NAME_BYTES])
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    enum bk_err err = bk_client_hello_name(bk_slice(copy, n), name);
    free(copy);
    return err;
}

static void test_names(void **state)
{
    char longest[BK_CLIENT_HELLO_NAME_BYTES], name[BK_CLIENT_HELLO_NAME_BYTES];
    const char *names[] = {"a", "0123456789abcdef.call.beckon", NULL, longest};
    static uint8_t bytes[4096];

    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = hello(names[i], bytes, sizeof bytes);
        assert_int_equal(name_of(bytes, n, name), BK_OK);
        assert_string_equal(name, names[i] == NULL ? "" : names[i]);
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_equal(name_of(bytes, cut, name), BK_E_TRUNCATED);
            assert_string_equal(name, "");
        }
        memset(bytes + n, 0x17, 16); /* what follows is of no interest */
        assert_int_equal(name_of(bytes, n + 16, name), BK_OK);
    }
}

/* Every length that does not add up. Where the name's own bytes are turned it is another name. */
static void test_bent(void **state)
{
    char name[BK_CLIENT_HELLO_NAME_BYTES];
    static uint8_t bytes[4096], bent[4096];
    size_t n = hello("abc.call", bytes, sizeof bytes);

    (void)state;
    for (size_t at = 0; at < n; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(bent, bytes, n);
            bent[at] ^= (uint8_t)(1U << bit);
            enum bk_err err = name_of(bent, n, name);
            assert_true(err == BK_OK || err == BK_E_TRUNCATED || err == BK_E_MALFORMED);
            assert_true(err != BK_OK || strlen(name) <= 8);
        }
    }
    bent[0] = 0x17;
    assert_int_equal(name_of(bent, 1, name), BK_E_MALFORMED);
    memcpy(bent, bytes, n);
    bent[3] = 0x7F; /* a record of 32 KB is not waited for */
    assert_int_equal(name_of(bent, n, name), BK_E_MALFORMED);
    memcpy(bent, bytes, n);
    bent[5] = 2; /* a ServerHello */
    assert_int_equal(name_of(bent, n, name), BK_E_MALFORMED);
    memcpy(bent, bytes, n);
    bent[8]++; /* the handshake goes on in another record */
    assert_int_equal(name_of(bent, n, name), BK_E_MALFORMED);
}

/* ---- The listener ---- */

struct world {
    struct event_base *base;
    struct patience patience;
    struct tls_ends ends;
    struct bk_listener *listener;
    struct bk_listener_config config;
    struct bk_addr addr;
    struct bk_conn *server, *client;
    unsigned opened, refused, client_closed;
    int plain_fd, named_fd;
    char name[BK_CLIENT_HELLO_NAME_BYTES];
    bool take;
    unsigned asked;
};

static enum bk_err frame(struct bk_slice got, size_t *bytes)
{
    *bytes = 1;
    return got.n > 0 ? BK_OK : BK_E_TRUNCATED;
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct world *w = ctx;
    (void)peer;
    w->opened++;
    w->server = conn;
}

static void on_client_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    (void)ctx, (void)conn, (void)peer;
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice bytes)
{
    (void)ctx, (void)conn, (void)bytes;
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct world *w = ctx;
    (void)why;
    w->server = w->server == conn ? NULL : w->server;
    w->client = w->client == conn ? NULL : w->client;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    (void)from, (void)why;
    ((struct world *)ctx)->refused++;
}

static bool on_plain(void *ctx, int fd, const struct bk_addr *from)
{
    struct world *w = ctx;
    struct bk_addr remote = bk_sockaddr_remote(fd);
    assert_true(bk_addr_equal(from, &remote));
    w->asked++;
    w->plain_fd = w->take ? fd : -1;
    return w->take;
}

static bool on_named(void *ctx, int fd, const struct bk_addr *from, const char *name)
{
    struct world *w = ctx;
    (void)from;
    w->asked++;
    (void)snprintf(w->name, sizeof w->name, "%s", name);
    w->named_fd = w->take ? fd : -1;
    return w->take;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);

    assert_non_null(w);
    w->base = loop_new(&w->patience);
    w->take = true;
    w->plain_fd = w->named_fd = -1;
    tls_ends_init(&w->ends);
    w->config = (struct bk_listener_config){
        .conn = {.tls = w->ends.server_tls,
                 .frame = frame,
                 .on = {.ctx = w, .open = on_open, .message = on_message, .closed = on_closed},
                 .limits = {.open_ms = 2 * PATIENCE_S * 1000}},
        .refused = on_refused,
        .first = {.ctx = w, .plain = on_plain, .named = on_named},
        .max_handshakes = HANDSHAKES,
    };
    assert_int_equal(bk_listener_new(w->base, &w->config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
    *state = w;
    return 0;
}

/* Who is not done by then has to go. */
static void limit_time(struct world *w, uint32_t open_ms)
{
    struct bk_addr any = bk_addr_v4(127, 0, 0, 1, 0);

    bk_listener_free(w->listener);
    w->config.conn.limits.open_ms = open_ms;
    assert_int_equal(bk_listener_new(w->base, &w->config, &w->listener), BK_OK);
    assert_int_equal(bk_listener_add(w->listener, &any, &w->addr), BK_OK);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    bk_conn_free(w->client);
    bk_conn_free(w->server);
    bk_listener_free(w->listener);
    tls_ends_fini(&w->ends);
    loop_free(w->base, &w->patience);
    free(w);
    return 0;
}

static void test_plain_is_taken(void **state)
{
    static const uint8_t request[20] = {0, 3, 0, 0, 0x21, 0x12, 0xA4, 0x42};
    struct world *w = *state;
    uint8_t got[64];
    int fd = raw_connect(&w->addr);

    assert_int_equal(send(fd, request, 1, 0), 1);
    WAIT_FOR(w, w->plain_fd >= 0);
    assert_int_equal(bk_listener_count(w->listener), 0);
    assert_int_equal(recv(w->plain_fd, got, sizeof got, 0), 1); /* unread until now */
    assert_int_equal(send(w->plain_fd, "x", 1, 0), 1);
    assert_int_equal(recv(fd, got, 1, 0), 1);
    close(w->plain_fd);
    close(fd);
}

static void test_plain_is_not_taken(void **state)
{
    struct world *w = *state;
    int fd = raw_connect(&w->addr);

    w->take = false;
    assert_int_equal(send(fd, "\1\1", 2, 0), 2);
    WAIT_FOR(w, hung_up(fd));
    assert_int_equal(w->asked, 1);
    assert_int_equal(bk_listener_count(w->listener), 0);
    close(fd);
}

static void test_named_is_taken(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[4096], got[4096];
    size_t n = hello("abc.call", bytes, sizeof bytes);
    int fd = raw_connect(&w->addr);

    assert_int_equal(send(fd, bytes, n / 2, 0), n / 2);
    for (int i = 0; i < 3; i++) {
        (void)event_base_loop(w->base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(w->asked, 0);
    assert_int_equal(send(fd, bytes + n / 2, n - n / 2, 0), n - n / 2);
    WAIT_FOR(w, w->named_fd >= 0);
    assert_string_equal(w->name, "abc.call");
    assert_int_equal(recv(w->named_fd, got, sizeof got, 0), n);
    assert_memory_equal(got, bytes, n);
    close(w->named_fd);
    close(fd);
}

/* A name that nobody takes: TLS answers, with what it has to say. */
static void test_named_is_not_taken(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[4096];
    uint8_t got = 0;
    size_t n = hello("abc.call", bytes, sizeof bytes);
    int fd = raw_connect(&w->addr);

    w->take = false;
    assert_int_equal(send(fd, bytes, n, 0), n);
    WAIT_FOR(w, recv(fd, &got, 1, MSG_DONTWAIT) == 1);
    assert_true(got == 0x15 || got == 0x16);
    assert_int_equal(w->asked, 1);
    close(fd);
    WAIT_FOR(w, bk_listener_count(w->listener) == 0);
}

static void test_tls_goes_on(void **state)
{
    struct world *w = *state;
    const struct bk_conn_config config = {
        .tls = w->ends.client_tls,
        .frame = frame,
        .on = {.ctx = w, .open = on_client_open, .message = on_message, .closed = on_closed},
    };

    assert_int_equal(bk_conn_connect(w->base, &config, &w->addr, 1, NULL, &w->client), BK_OK);
    WAIT_FOR(w, w->opened == 1);
    assert_int_equal(w->asked, 0); /* an address is no server name */
    assert_int_equal(bk_listener_count(w->listener), 1);
}

/* Neither STUN nor TLS: TLS refuses it, and tells. */
static void test_garbage(void **state)
{
    struct world *w = *state;
    int fd = raw_connect(&w->addr);

    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    WAIT_FOR(w, w->refused == 1);
    close(fd);
}

/* Who ends his side within a hello has no time for the rest: he leaves his place at once, whether the end comes with
 * the bytes or after them. */
static void test_half_and_the_end(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[4096];
    size_t n = hello("abc.call", bytes, sizeof bytes);

    for (int together = 0; together < 2; together++) {
        int fd = raw_connect(&w->addr);
        if (together == 0) {
            WAIT_FOR(w, bk_listener_count(w->listener) == 1);
        }
        assert_int_equal(send(fd, bytes, n - 1, 0), n - 1);
        if (together == 0) {
            assert_int_equal(event_base_loop(w->base, EVLOOP_ONCE), 0); /* it is looked at */
        }
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        WAIT_FOR(w, hung_up(fd));
        assert_int_equal(bk_listener_count(w->listener), 0);
        close(fd);
    }
    assert_int_equal(w->asked, 0);
}

static void test_silence(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[4096];
    size_t n = hello("abc.call", bytes, sizeof bytes);
    int fds[HANDSHAKES + 2];

    limit_time(w, SHORT_MS);
    for (size_t i = 0; i < HANDSHAKES + 2; i++) { /* the oldest make room */
        fds[i] = raw_connect(&w->addr);
        if (i % 2 == 0) {
            assert_int_equal(send(fds[i], bytes, n - 1, 0), n - 1);
        }
    }
    WAIT_FOR(w, hung_up(fds[0]) && hung_up(fds[1]));
    for (size_t i = 2; i < HANDSHAKES + 2; i++) { /* and all go in time */
        WAIT_FOR(w, hung_up(fds[i]));
    }
    assert_int_equal(bk_listener_count(w->listener), 0);
    assert_int_equal(w->asked, 0);
    for (size_t i = 0; i < HANDSHAKES + 2; i++) {
        close(fds[i]);
    }
    int last = raw_connect(&w->addr); /* waits when the listener goes */
    WAIT_FOR(w, bk_listener_count(w->listener) == 1);
    bk_listener_free(w->listener);
    w->listener = NULL;
    close(last);
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_bent),
        WORLD_TEST(test_plain_is_taken), WORLD_TEST(test_plain_is_not_taken),
        WORLD_TEST(test_named_is_taken), WORLD_TEST(test_named_is_not_taken),
        WORLD_TEST(test_tls_goes_on),    WORLD_TEST(test_garbage),
        WORLD_TEST(test_silence),        WORLD_TEST(test_half_and_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
