/* The tunnel's process against a server of the test's own: up, messages both ways, and every way down. */
#include "lib/one_server.h"

#include <stdio.h>
#include <sys/socket.h>

#include "beckon/beckon.h"
#include "lib/place.h"
#include "lib/tunnel_channel.h"
#include "net/own_network.h"
#include "wire/alpn.h"
#include "wire/notify.h"
#include "wire/stun.h"

static struct one_server s;
static struct holder own;
static struct place *place;

/* Sends everything back, and hangs up on an indication. */
static void on_message(struct bk_conn *conn, const struct bk_stun *m)
{
    if (m->cls == BK_STUN_INDICATION) {
        bk_conn_close(conn);
    } else {
        assert_int_equal(bk_conn_send(conn, m->raw), BK_OK);
    }
}

static void write_pem(const char *name, X509 *cert, EVP_PKEY *key)
{
    char path[160];
    FILE *f;

    place_path(place, name, path);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(cert != NULL ? PEM_write_X509(f, cert)
                                  : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL),
                     1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void configure(uint16_t port)
{
    char text[160];

    (void)snprintf(text, sizeof text,
                   "[agent]\nid = 2133\nserver = 192.0.2.1, 127.0.0.1\nserver_agent_port = %u\n",
                   (unsigned)port);
    place_write_text(place, "agent.conf", text);
}

/* A process of its own, as it is used; returns our end of its channel. */
static int start(pid_t *pid)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    *pid = fork();
    assert_true(*pid >= 0);
    if (*pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit((int)beckon_agent_tunnel(ends[1], place->dir, NULL, NULL, NULL));
    }
    close(ends[1]);
    return ends[0];
}

static void say(int fd, enum bk_tunnel_type type, uint8_t index, struct bk_slice bytes)
{
    struct bk_tunnel_message m = {.type = type, .index = index, .bytes = bytes};

    assert_int_equal(bk_tunnel_send(fd, &m), BK_OK);
}

static struct bk_tunnel_message hear(int fd, enum bk_tunnel_type type)
{
    struct bk_tunnel_message m;

    assert_int_equal(bk_tunnel_receive(fd, &m), BK_OK);
    assert_int_equal(m.type, type);
    m.bytes.p = NULL; /* it points into what is gone */
    return m;
}

static int ended(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static struct bk_slice message(uint8_t buf[64], enum bk_stun_class cls)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_stun_writer w = bk_stun_begin(buf, 64, BK_METHOD_REGISTER, cls, txid);
    struct bk_slice out;

    assert_int_equal(bk_stun_end(&w, &out), BK_OK);
    return out;
}

static void test_both_ways(void **state)
{
    uint8_t buf[64];
    struct bk_slice request = message(buf, BK_STUN_REQUEST);
    pid_t pid;
    int fd = start(&pid);

    (void)state;
    say(fd, BK_TUNNEL_HELLO, 1, BK_SLICE_EMPTY);
    assert_int_equal(hear(fd, BK_TUNNEL_UP).port, s.port);
    for (int i = 0; i < 3; i++) {
        struct bk_tunnel_message back;

        say(fd, BK_TUNNEL_MESSAGE, 0, request);
        assert_int_equal(bk_tunnel_receive(fd, &back), BK_OK);
        assert_int_equal(back.type, BK_TUNNEL_MESSAGE);
        assert_true(bk_slice_equal(back.bytes, request));
    }
    close(fd); /* our end is its end */
    assert_int_equal(ended(pid), BECKON_OK);
}

static void test_server_hangs_up(void **state)
{
    uint8_t buf[64];
    pid_t pid;
    int fd = start(&pid);

    (void)state;
    say(fd, BK_TUNNEL_HELLO, 1, BK_SLICE_EMPTY);
    (void)hear(fd, BK_TUNNEL_UP);
    say(fd, BK_TUNNEL_MESSAGE, 0, message(buf, BK_STUN_INDICATION));
    assert_true(hear(fd, BK_TUNNEL_DOWN).bytes.n > 0);
    assert_int_equal(ended(pid), BECKON_OK);
    close(fd);
}

static void test_no_server(void **state)
{
    pid_t pid;
    int fd;

    (void)state;
    configure(1); /* nobody there, nor at 443 */
    fd = start(&pid);
    say(fd, BK_TUNNEL_HELLO, 1, BK_SLICE_EMPTY);
    assert_true(hear(fd, BK_TUNNEL_DOWN).bytes.n > 0);
    assert_int_equal(ended(pid), BECKON_SERVER_DOWN);
    close(fd);
    configure(s.port);
}

static void test_no_such_server(void **state)
{
    pid_t pid;
    int fd = start(&pid);

    (void)state;
    say(fd, BK_TUNNEL_HELLO, 2, BK_SLICE_EMPTY);
    assert_true(hear(fd, BK_TUNNEL_DOWN).bytes.n > 0);
    assert_int_equal(ended(pid), BECKON_SERVER_DOWN);
    close(fd);
}

/* Nothing is sent before there is a way, and nothing else than messages on it. */
static void test_out_of_turn(void **state)
{
    static const enum bk_tunnel_type types[] = {BK_TUNNEL_MESSAGE, BK_TUNNEL_UP, BK_TUNNEL_DOWN};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pid_t pid;
        int fd = start(&pid);

        say(fd, types[i], 0, BK_SLICE_EMPTY);
        assert_int_equal(ended(pid), BECKON_SERVER_DOWN);
        close(fd);
    }
}

static int group(void **state)
{
    static void *made;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    if (place_make(&made) != 0) {
        return -1;
    }
    place = made;
    s.pki = pki_new();
    s.own = holder_new(&s.pki, "beckon:server", true, -60, 3600);
    s.alpn = BK_ALPN_REGISTER;
    s.message = on_message;
    own = holder_new(&s.pki, "beckon:device:2133", false, -60, 3600);
    write_pem("device.crt", own.cert, NULL);
    write_pem("device.key", NULL, own.key);
    write_pem("ca.crt", s.pki.ca, NULL);
    one_server_start(&s);
    configure(s.port);
    return 0;
}

static int group_end(void **state)
{
    void *made = place;

    (void)state;
    one_server_stop(&s);
    holder_free(&own);
    holder_free(&s.own);
    pki_free(&s.pki);
    return place_remove(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),   cmocka_unit_test(test_server_hangs_up),
        cmocka_unit_test(test_no_server),   cmocka_unit_test(test_no_such_server),
        cmocka_unit_test(test_out_of_turn),
    };

    (void)own_network_enter();
    return cmocka_run_group_tests(tests, group, group_end);
}
