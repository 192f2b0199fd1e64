/* The client's part of RFC 6062, one request after the other. Whatever goes wrong ends the program. */
#include "streams/turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sockaddr.h"
#include "net/turn_ops.h"
#include "streams/ends.h"
#include "wire/turn.h"

enum {
    MESSAGE_BYTES = 4096,
    LIFETIME_S = 600,
};

static struct bk_turn_ops ops;
static struct bk_turn_login login;
static uint8_t key[BK_TURN_KEY_BYTES];
static char realm[BK_TURN_TEXT_MAX_BYTES], nonce[BK_TURN_TEXT_MAX_BYTES];

static void read_all(int fd, uint8_t *to, size_t n)
{
    if (n > 0 && recv(fd, to, n, MSG_WAITALL) != (ssize_t)n) {
        die("the relay's answer");
    }
}

/* One message, and nothing of what follows it. */
static struct bk_stun read_message(int fd, uint8_t buf[MESSAGE_BYTES])
{
    struct bk_stun m;
    size_t n = 0;
    read_all(fd, buf, BK_STUN_HEADER_BYTES);
    if (bk_stun_frame(bk_slice(buf, BK_STUN_HEADER_BYTES), &n) != BK_OK || n > MESSAGE_BYTES) {
        die("no STUN message");
    }
    read_all(fd, buf + BK_STUN_HEADER_BYTES, n - BK_STUN_HEADER_BYTES);
    if (bk_stun_read(bk_slice(buf, n), &m) != BK_OK) {
        die("no STUN message");
    }
    return m;
}

static uint16_t ask(int fd, const struct bk_turn_request *request, struct bk_turn_answer *answer)
{
    static uint8_t out[MESSAGE_BYTES], in[MESSAGE_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice bytes;
    if (getrandom(txid, sizeof txid, 0) != (ssize_t)sizeof txid ||
        bk_turn_request_write(out, sizeof out, txid, request, &login, &ops, &bytes) != BK_OK ||
        send(fd, bytes.p, bytes.n, MSG_NOSIGNAL) != (ssize_t)bytes.n) {
        die("a request to the relay");
    }
    struct bk_stun m = read_message(fd, in);
    if (bk_turn_answer_read(&m, &ops, login.key, answer) != BK_OK) {
        die("an answer of the relay");
    }
    return answer->code;
}

static void must(uint16_t code, const char *what)
{
    if (code != 0) {
        (void)fprintf(stderr, "%s: the relay answers %u\n", what, code);
        exit(1);
    }
}

static int connect_to(const struct bk_addr *to, int n)
{
    struct sockaddr_storage ss;
    socklen_t len;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_buffers(fd, n);
    if (bk_sockaddr_write(to, AF_INET, &ss, &len) != BK_OK ||
        connect(fd, (struct sockaddr *)&ss, len) != 0) {
        die("connecting");
    }
    return fd;
}

static void log_in(const struct bk_turn_answer *answer, const char *username, const char *password)
{
    if (!bk_slice_to_text(answer->realm, realm, sizeof realm) ||
        !bk_slice_to_text(answer->nonce, nonce, sizeof nonce)) {
        die("realm and nonce");
    }
    login = (struct bk_turn_login){.username = bk_slice_text(username),
                                   .realm = bk_slice_text(realm),
                                   .nonce = bk_slice_text(nonce),
                                   .key = key};
    bk_turn_key(&ops, login.username, login.realm, bk_slice_text(password), key);
}

static uint32_t await_attempt(int control)
{
    static uint8_t in[MESSAGE_BYTES];
    struct bk_stun m = read_message(control, in);
    struct bk_turn_attempt attempt;
    if (bk_turn_attempt_read(&m, &attempt) != BK_OK) {
        die("ConnectionAttempt");
    }
    return attempt.connection_id;
}

void connect_by_relay(char **relay, const char *own, int n, int *clients, int *peers)
{
    struct bk_turn_request request = {.method = BK_METHOD_ALLOCATE,
                                      .transport = BK_TURN_TRANSPORT_TCP,
                                      .has_lifetime = true,
                                      .lifetime_s = LIFETIME_S};
    struct bk_turn_answer answer;
    struct bk_addr server, relayed;
    ops = bk_turn_openssl();
    if (bk_addr_parse(bk_slice_text(relay[0]), (uint16_t)strtoul(relay[1], NULL, 10), &server) !=
        BK_OK) {
        die("the relay's address");
    }
    int control = connect_to(&server, n);
    if (ask(control, &request, &answer) != BK_CODE_UNAUTHENTICATED) {
        die("the relay asks for no password");
    }
    log_in(&answer, relay[2], relay[3]);
    must(ask(control, &request, &answer), "Allocate");
    relayed = answer.relayed;
    request = (struct bk_turn_request){.method = BK_METHOD_CREATE_PERMISSION, .n_peers = 1};
    if (bk_addr_parse(bk_slice_text(own), 1, &request.peers[0]) != BK_OK) {
        die("our address");
    }
    must(ask(control, &request, &answer), "CreatePermission");
    for (int i = 0; i < n; i++) {
        peers[i] = connect_to(&relayed, n);
        request = (struct bk_turn_request){.method = BK_METHOD_CONNECTION_BIND,
                                           .connection_id = await_attempt(control)};
        clients[i] = connect_to(&server, n);
        must(ask(clients[i], &request, &answer), "ConnectionBind");
        check_way(clients[i], peers[i]);
    }
}
