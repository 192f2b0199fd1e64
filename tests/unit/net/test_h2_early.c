/* Sessions that begin with the handshake: SETTINGS and CONNECT in our own flight, before the peer has proven itself, and on
 * the same session afterwards. TLS is real; its early flight is carried by hand. */
#include "net/h2_pair.h"

static struct bk_h2_stream *first;

static void answer(struct bk_h2_stream *s, const char *authority)
{
    (void)authority;
    first = s;
}

/* Both ends of TCP and the requester's session, which has opened ssh:1 without local ends. */
static void begin(int fd[2], SSL *ssl[2], struct bk_h2_stream **s)
{
    struct bk_h2_config config = side_config(&w.c, false);

    first = NULL;
    w.serve = answer;
    tcp_pair(fd);
    ssl[0] = SSL_new(w.ctx_c);
    ssl[1] = SSL_new(w.ctx_s);
    SSL_set_fd(ssl[0], fd[0]);
    SSL_set_fd(ssl[1], fd[1]);
    SSL_set_connect_state(ssl[0]);
    SSL_set_accept_state(ssl[1]);
    assert_int_equal(bk_h2_new_early(w.base, &config, &w.c.h), BK_OK);
    assert_int_equal(bk_h2_open_unjoined(w.c.h, "ssh:1", &w, s), BK_OK);
    assert_true(bk_h2_is_open(w.c.h));
    assert_int_equal(bk_h2_streams(w.c.h), 1);
}

/* The server's flight, with `early` behind its Finished; then the client has all of the handshake. */
static void shake_early(SSL *ssl[2], struct bk_slice early)
{
    uint8_t none[1];
    size_t n = 0, written = 0;

    assert_int_equal(SSL_do_handshake(ssl[0]), -1);
    assert_int_equal(SSL_read_early_data(ssl[1], none, sizeof none, &n),
                     SSL_READ_EARLY_DATA_FINISH);
    assert_int_equal(n, 0);
    assert_int_equal(SSL_write_early_data(ssl[1], early.p, early.n, &written), 1);
    assert_int_equal(written, early.n);
    assert_int_equal(SSL_do_handshake(ssl[0]), 1);
}

static void serve_by(SSL *ssl)
{
    struct bk_h2_config config = side_config(&w.s, true);

    assert_int_equal(bk_h2_new(w.base, ssl, &config, &w.s.h), BK_OK);
}

static void finish_handshake(SSL *ssl)
{
    assert_int_equal(SSL_do_handshake(ssl), 1);
}

/* The device has the request, has answered it and sent what its service says, all before the requester has finished. */
static void test_request_with_the_handshake(void **state)
{
    struct bk_h2_stream *s;
    struct end *device, *local;
    struct bk_slice early;
    int fd[2], ends[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    early = bk_h2_early(w.c.h);
    assert_true(early.n > 24 && early.n < 300);
    assert_memory_equal(early.p, "PRI * HTTP/2.0", 14);
    assert_ptr_equal(bk_h2_early(w.c.h).p, early.p); /* made once */
    assert_int_equal(bk_h2_early(w.c.h).n, early.n);
    shake_early(ssl, early);
    serve_by(ssl[0]);
    RUN_UNTIL(w.s.requests == 1);
    assert_int_equal(w.s.started, 1);
    assert_string_equal(w.s.authority, "ssh:1");
    device = accept_end(first);
    device->to_send = 50000;
    device->shut_when_sent = true;
    end_fill(device);
    RUN_UNTIL(device->shut);
    assert_int_equal(w.c.started + w.c.answers, 0);

    finish_handshake(ssl[1]);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], true), BK_OK);
    assert_int_equal(w.c.started + w.c.answers, 0); /* no callback from inside */
    RUN_UNTIL(w.c.answers == 1 && bk_h2_queued_bytes(w.c.h) == 50000);
    assert_int_equal(w.c.last_status, 200);
    assert_ptr_equal(w.c.stream, s);
    assert_ptr_equal(bk_h2_stream_owner(s), &w);
    tcp_pair(ends);
    assert_int_equal(bk_h2_join(s, ends[0], ends[0]), BK_OK);
    local = end_new(ends[1]);
    local->to_send = 300000;
    local->shut_when_sent = true;
    end_fill(local);
    RUN_UNTIL(w.c.finished == 1 && w.s.finished == 1 && local->eof && device->eof);
    assert_int_equal(w.c.clean + w.s.clean, 2);
    assert_same_hash(device, local);
    assert_same_hash(local, device);
    assert_int_equal(w.c.last.received_bytes, 50000);
    end_free(local);
    end_free(device);
}

/* TLS could not send them: they go by the session, and so does what was opened later. */
static void test_not_sent_early(void **state)
{
    struct bk_h2_stream *s, *later;
    int fd[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    (void)bk_h2_early(w.c.h);
    for (bool a = false, b = false; !a || !b;) {
        a = a || SSL_do_handshake(ssl[0]) == 1;
        b = b || SSL_do_handshake(ssl[1]) == 1;
    }
    serve_by(ssl[0]);
    assert_int_equal(bk_h2_open_unjoined(w.c.h, "web:1", NULL, &later), BK_OK);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], false), BK_OK);
    RUN_UNTIL(w.s.requests == 2);
    assert_string_equal(w.s.authority, "web:1");
    bk_h2_refuse(first, 404);
    RUN_UNTIL(w.c.finished == 1);
    assert_int_equal(w.c.last.status, 404);
}

/* Never asked for: everything is said after the handshake. */
static void test_early_never_made(void **state)
{
    struct bk_h2_stream *s;
    int fd[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    for (bool a = false, b = false; !a || !b;) {
        a = a || SSL_do_handshake(ssl[0]) == 1;
        b = b || SSL_do_handshake(ssl[1]) == 1;
    }
    serve_by(ssl[0]);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], false), BK_OK);
    RUN_UNTIL(w.s.requests == 1 && w.c.started == 1);
}

/* More than fits: what is over waits, whole frames go early, and nothing is said twice. */
static void test_many_early(void **state)
{
    struct bk_h2_stream *s;
    struct bk_slice early;
    char name[BK_H2_AUTHORITY_MAX_BYTES];
    int fd[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    for (unsigned i = 1; i < 90; i++) {
        (void)snprintf(name, sizeof name, "a-service-with-a-long-name-number-%u-of-very-many:1", i);
        assert_int_equal(bk_h2_open_unjoined(w.c.h, name, NULL, &s), BK_OK);
    }
    early = bk_h2_early(w.c.h);
    assert_true(early.n > BK_H2_EARLY_BYTES / 2 && early.n <= BK_H2_EARLY_BYTES);
    shake_early(ssl, early);
    serve_by(ssl[0]);
    RUN_UNTIL(w.s.requests > 30);
    assert_true(w.s.requests < 90);
    finish_handshake(ssl[1]);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], true), BK_OK);
    RUN_UNTIL(w.s.requests == 90);
}

/* The peer is not who it should be, or another connection was up first: local ends were never given away. */
static void test_comes_to_nothing(void **state)
{
    struct bk_h2_stream *s;
    int fd[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    assert_true(bk_h2_early(w.c.h).n > 0);
    assert_int_equal(bk_h2_ping(w.c.h), BK_E_STATE);
    bk_h2_free(w.c.h);
    w.c.h = NULL;
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    assert_int_equal(w.c.finished + w.c.started + w.c.ended, 0);
    for (size_t i = 0; i < 2; i++) {
        SSL_free(ssl[i]);
        close(fd[i]);
    }
}

/* An SSL without a socket: refused, and the session is still there to be freed. */
static void test_attach_fails(void **state)
{
    struct bk_h2_stream *s;
    int fd[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    assert_int_equal(bk_h2_attach(w.c.h, SSL_new(w.ctx_s), false), BK_E_IO);
    for (size_t i = 0; i < 2; i++) {
        SSL_free(ssl[i]);
        close(fd[i]);
    }
}

/* Local ends come once, and not to a stream that is over. */
static void test_join_once(void **state)
{
    struct bk_h2_stream *s;
    int fd[2], ends[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    shake_early(ssl, bk_h2_early(w.c.h));
    finish_handshake(ssl[1]);
    serve_by(ssl[0]);
    tcp_pair(ends);
    assert_int_equal(bk_h2_join(s, ends[0], ends[0]), BK_OK); /* before it is attached is fine */
    assert_int_equal(bk_h2_join(s, dup(ends[1]), dup(ends[1])), BK_E_STATE);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], true), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    bk_h2_abort(first);
    RUN_UNTIL(w.c.finished == 1);
    assert_int_equal(w.c.last.how, BK_H2_RESET);
    close(ends[1]);
    assert_int_equal(bk_h2_open_unjoined(w.c.h, "ssh:1", NULL, &s), BK_OK);
    RUN_UNTIL(w.s.requests == 2);
    bk_h2_abort(s);
    tcp_pair(ends);
    assert_int_equal(bk_h2_join(s, ends[0], ends[0]), BK_E_STATE);
    assert_int_equal(recv(ends[1], &ends[0], 1, 0), 0); /* it was closed */
    close(ends[1]);
    RUN_UNTIL(w.c.finished == 2);
}

/* A stream that nobody joins holds its window's worth, and its peer waits. */
static void test_unjoined_holds_its_window(void **state)
{
    struct bk_h2_stream *s;
    struct end *device;
    int fd[2], ends[2];
    SSL *ssl[2];

    (void)state;
    begin(fd, ssl, &s);
    shake_early(ssl, bk_h2_early(w.c.h));
    finish_handshake(ssl[1]);
    serve_by(ssl[0]);
    assert_int_equal(bk_h2_attach(w.c.h, ssl[1], true), BK_OK);
    RUN_UNTIL(w.s.requests == 1);
    device = accept_end(first);
    device->to_send = 4 * BK_H2_WINDOW_FIRST_BYTES;
    device->shut_when_sent = true;
    end_fill(device);
    RUN_UNTIL(bk_h2_queued_bytes(w.c.h) == BK_H2_WINDOW_FIRST_BYTES);
    assert_int_equal(bk_h2_ping(w.c.h), BK_OK);
    RUN_UNTIL(w.c.pongs == 1);
    assert_int_equal(bk_h2_queued_bytes(w.c.h), BK_H2_WINDOW_FIRST_BYTES);
    tcp_pair(ends);
    assert_int_equal(bk_h2_join(s, ends[0], ends[0]), BK_OK);
    struct end *local = end_new(ends[1]);
    RUN_UNTIL(local->eof);
    assert_same_hash(device, local);
    end_free(local);
    end_free(device);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup_tls, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_request_with_the_handshake),
        IN_WORLD(test_not_sent_early),
        IN_WORLD(test_early_never_made),
        IN_WORLD(test_many_early),
        IN_WORLD(test_comes_to_nothing),
        IN_WORLD(test_attach_fails),
        IN_WORLD(test_join_once),
        IN_WORLD(test_unjoined_holds_its_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
