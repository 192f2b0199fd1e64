/* The hostile server: beckond itself, store, CA and cores as they are, with somebody in the middle of it. Whatever comes in
 * on a connection or as a datagram is told to him and reaches the core only as he says; whatever the core sends,
 * and each connection that it closes, is told to him and leaves only as he says. He has the server's state directory,
 * the CA's key among it. Who he is and what he does is in tests/e2e/lab/hostile_server.py.
 *
 *   hostile-server SOCKET run --state DIR        SOCKET: his, a Unix stream socket that listens
 *
 * It tells him, one JSON object a line:
 *   {"what":"opened","stream":N,"role":"user","name":"alice","device":0,"purpose":"plain","from":"A:P"}
 *   {"what":"message","stream":N,"bytes":HEX}                      what came
 *   {"what":"datagram","local":L,"peer":"A:P","bytes":HEX}
 *   {"what":"send","stream":N,"bytes":HEX}                         what the core would send
 *   {"what":"send-datagram","local":L,"peer":"A:P","bytes":HEX}
 *   {"what":"close","stream":N}                                    what the core would close
 *   {"what":"closed","stream":N}
 *
 * He says, one a line: "message N HEX", "closed N", "datagram L A:P HEX" to the core; "send N HEX", "close N",
 * "send-datagram L A:P HEX" to the world. The linker puts what is called __wrap_NAME here in the place of NAME, and NAME itself
 * is __real_NAME (--wrap).
 *
 * A tool of the tests, never a product. It ends when he hangs up. Invariant: nothing passes him unseen, and nothing but the
 * opening of connections without his doing. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/serve_private.h"
#include "bin/common/descriptors.h"
#include "seal/seal.h"
#include "wire/stun.h"

enum {
    LINE_BYTES = 2 * BK_STUN_STREAM_MAX_BYTES + 256,
};

enum beckon_status __real_bk_serve_open_sockets(struct bk_serve *s);
enum beckon_status __wrap_bk_serve_open_sockets(struct bk_serve *s);
void __real_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
void __wrap_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
enum bk_err __real_bk_conn_send(struct bk_conn *conn, struct bk_slice frame);
enum bk_err __wrap_bk_conn_send(struct bk_conn *conn, struct bk_slice frame);
void __real_bk_conn_close(struct bk_conn *conn);
void __wrap_bk_conn_close(struct bk_conn *conn);
void __wrap_bk_serve_send_datagram(struct bk_serve *s, const struct bk_server_action *action);
enum bk_registrar_verdict __real_bk_registrar_datagram(struct bk_registrar *r,
                                                       const struct bk_now *now,
                                                       const struct bk_arrival *in,
                                                       struct bk_registrar_reply *out);
enum bk_registrar_verdict __wrap_bk_registrar_datagram(struct bk_registrar *r,
                                                       const struct bk_now *now,
                                                       const struct bk_arrival *in,
                                                       struct bk_registrar_reply *out);

static struct {
    const char *path;
    pthread_t main;
    int fd;
    struct event *readable;
    struct bk_serve *serve;
    char line[LINE_BYTES];
    size_t n; /* of a line that has begun */
} man;

static void die(const char *what)
{
    fprintf(stderr, "hostile-server: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- telling him ---- */

static void tell(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(man.fd, text, n);
        if (done < 0 && errno != EINTR) {
            die("he does not listen any more");
        }
        if (done > 0) {
            text += done;
            n -= (size_t)done;
        }
    }
}

/* `head` is an object without its end; `bytes` goes into it in hexadecimal. */
static void tell_bytes(const char *head, struct bk_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    static char line[LINE_BYTES];
    int n = snprintf(line, 200, "%s,\"bytes\":\"", head);
    size_t at = (size_t)n;

    if (n < 0 || n >= 200 || bytes.n > BK_STUN_STREAM_MAX_BYTES) {
        die("too long to be told");
    }
    for (size_t i = 0; i < bytes.n; i++) {
        line[at++] = digits[bytes.p[i] >> 4];
        line[at++] = digits[bytes.p[i] & 15];
    }
    memcpy(line + at, "\"}\n", 3);
    tell(line, at + 3);
}

static void tell_stream(const char *what, uint64_t stream)
{
    char line[100];
    int n = snprintf(line, sizeof line, "{\"what\":\"%s\",\"stream\":%llu}\n", what,
                     (unsigned long long)stream);

    tell(line, (size_t)n);
}

static void tell_message(const char *what, uint64_t stream, struct bk_slice bytes)
{
    char head[100];

    (void)snprintf(head, sizeof head, "{\"what\":\"%s\",\"stream\":%llu", what,
                   (unsigned long long)stream);
    tell_bytes(head, bytes);
}

static void tell_datagram(const char *what, unsigned local, const struct bk_addr *peer,
                          struct bk_slice bytes)
{
    char head[200], addr[BK_ADDR_TEXT_BYTES];

    bk_addr_format(peer, addr);
    (void)snprintf(head, sizeof head, "{\"what\":\"%s\",\"local\":%u,\"peer\":\"%s\"", what, local,
                   addr);
    tell_bytes(head, bytes);
}

static void tell_opened(const struct bk_server_event *event)
{
    static const char *const roles[] = {"none", "server", "device", "user"};
    static const char *const purposes[] = {"plain", "renew", "watch", "register"};
    char line[400], from[BK_ADDR_TEXT_BYTES];
    int n;

    bk_addr_format(&event->open.from, from);
    n = snprintf(line, sizeof line,
                 "{\"what\":\"opened\",\"stream\":%llu,\"role\":\"%s\",\"name\":\"%s\","
                 "\"device\":%llu,\"purpose\":\"%s\",\"from\":\"%s\"}\n",
                 (unsigned long long)event->open.stream, roles[event->open.peer.role],
                 event->open.peer.name, (unsigned long long)event->open.peer.equipment_id,
                 purposes[event->open.purpose], from);
    tell(line, (size_t)n);
}

/* ---- in the place of the server's own ---- */

void __wrap_bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event)
{
    if (event->type == BK_SERVER_DATAGRAM) {
        tell_datagram("datagram", event->datagram.local, &event->datagram.from,
                      event->datagram.bytes);
        return;
    }
    if (event->type == BK_SERVER_STREAM_MESSAGE) {
        tell_message("message", event->message.stream, event->message.bytes);
        return;
    }
    if (event->type ==
        BK_SERVER_STREAM_CLOSED) { /* the core hears of it after what was said before */
        tell_stream("closed", event->closed.stream);
        return;
    }
    if (event->type == BK_SERVER_STREAM_OPEN) { /* before what the core says to it */
        tell_opened(event);
    }
    __real_bk_serve_feed(s, event);
}

/* Only the core's own connections have a place; there are few of them here. */
static struct bk_serve_stream *stream_of(const struct bk_conn *conn)
{
    for (uint32_t i = 0; i < man.serve->max_streams; i++) {
        if (man.serve->streams[i].conn == conn) {
            return &man.serve->streams[i];
        }
    }
    return NULL;
}

enum bk_err __wrap_bk_conn_send(struct bk_conn *conn, struct bk_slice frame)
{
    const struct bk_serve_stream *stream = stream_of(conn);

    if (stream == NULL) {
        return __real_bk_conn_send(conn, frame);
    }
    tell_message("send", stream->number, frame);
    return BK_OK;
}

void __wrap_bk_conn_close(struct bk_conn *conn)
{
    struct bk_serve_stream *stream = stream_of(conn);

    if (stream == NULL || !stream->in_core) {
        __real_bk_conn_close(conn);
        return;
    }
    stream->closing = false; /* he may go on with it */
    tell_stream("close", stream->number);
}

void __wrap_bk_serve_send_datagram(struct bk_serve *s, const struct bk_server_action *action)
{
    (void)s;
    tell_datagram("send-datagram", action->datagram.local, &action->datagram.to,
                  action->datagram.bytes);
}

/* Workers decide nothing: all that comes is for the main thread, which tells him. */
enum bk_registrar_verdict __wrap_bk_registrar_datagram(struct bk_registrar *r,
                                                       const struct bk_now *now,
                                                       const struct bk_arrival *in,
                                                       struct bk_registrar_reply *out)
{
    if (pthread_equal(pthread_self(), man.main)) {
        return __real_bk_registrar_datagram(r, now, in, out);
    }
    memset(out, 0, sizeof *out);
    return BK_REGISTRAR_PASS;
}

/* ---- what he says ---- */

static struct bk_slice word(struct bk_slice *rest)
{
    const uint8_t *end = rest->n == 0 ? NULL : memchr(rest->p, ' ', rest->n);
    struct bk_slice first = end == NULL ? *rest : bk_slice(rest->p, (size_t)(end - rest->p));

    *rest = end == NULL ? BK_SLICE_EMPTY : bk_slice(end + 1, rest->n - first.n - 1);
    return first;
}

static uint8_t digit(uint8_t c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct bk_slice bytes_of(struct bk_slice hex)
{
    static uint8_t bytes[BK_STUN_STREAM_MAX_BYTES];

    if (hex.n / 2 > sizeof bytes) {
        errno = EMSGSIZE;
        die("what he says");
    }
    for (size_t i = 0; i < hex.n / 2; i++) {
        bytes[i] = (uint8_t)(digit(hex.p[2 * i]) << 4 | digit(hex.p[2 * i + 1]));
    }
    return bk_slice(bytes, hex.n / 2);
}

static uint64_t number(struct bk_slice text)
{
    uint64_t n = 0;

    if (bk_number_parse(text, UINT64_MAX, &n) != BK_OK) {
        errno = EINVAL;
        die("what he says");
    }
    return n;
}

static void obey_stream(struct bk_slice verb, uint64_t n, struct bk_slice bytes)
{
    struct bk_serve_stream *stream = bk_serve_stream_find(man.serve, n);

    if (bk_slice_equal(verb, bk_slice_text("message"))) {
        struct bk_server_event event = {.type = BK_SERVER_STREAM_MESSAGE};
        event.message.stream = n;
        event.message.bytes = bytes;
        __real_bk_serve_feed(man.serve, &event);
    } else if (bk_slice_equal(verb, bk_slice_text("closed"))) {
        struct bk_server_event event = {.type = BK_SERVER_STREAM_CLOSED};
        event.closed.stream = n;
        __real_bk_serve_feed(man.serve, &event);
    } else if (stream == NULL) {
        return; /* gone in the meantime */
    } else if (bk_slice_equal(verb, bk_slice_text("send"))) {
        enum bk_err ignored = __real_bk_conn_send(stream->conn, bytes);
        (void)ignored;
    } else {
        stream->closing = true;
        __real_bk_conn_close(stream->conn);
    }
}

static void obey_datagram(struct bk_slice verb, uint64_t local, const struct bk_addr *peer,
                          struct bk_slice bytes)
{
    if (bk_slice_equal(verb, bk_slice_text("datagram"))) {
        struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};
        event.datagram.local = (uint8_t)local;
        event.datagram.from = *peer;
        event.datagram.bytes = bytes;
        __real_bk_serve_feed(man.serve, &event);
    } else {
        const struct bk_serve_departure d = {.local = (uint8_t)local, .to = *peer, .bytes = bytes};
        bk_serve_depart(man.serve, &d);
    }
}

static void obey(struct bk_slice line)
{
    struct bk_slice verb = word(&line);
    uint64_t n = number(word(&line));
    bool datagram = bk_slice_equal(verb, bk_slice_text("datagram")) ||
                    bk_slice_equal(verb, bk_slice_text("send-datagram"));
    struct bk_addr peer;

    if (!datagram) {
        obey_stream(verb, n, bytes_of(line));
    } else if (bk_addr_parse(word(&line), 0, &peer) == BK_OK) {
        obey_datagram(verb, n, &peer, bytes_of(line));
    } else {
        errno = EINVAL;
        die("what he says");
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    char *end;
    ssize_t got = read((int)fd, man.line + man.n, sizeof man.line - man.n);

    (void)what;
    (void)ctx;
    if (got <= 0) {
        (void)event_del(man.readable);
        (void)event_base_loopbreak(man.serve->base);
        return;
    }
    man.n += (size_t)got;
    while ((end = memchr(man.line, '\n', man.n)) != NULL) {
        size_t n = (size_t)(end - man.line);
        obey(bk_slice(man.line, n));
        man.n -= n + 1;
        memmove(man.line, end + 1, man.n);
    }
}

enum beckon_status __wrap_bk_serve_open_sockets(struct bk_serve *s)
{
    man.serve = s;
    man.readable = event_new(s->base, man.fd, EV_READ | EV_PERSIST, on_readable, NULL);
    if (man.readable == NULL || event_add(man.readable, NULL) != 0) {
        die("event");
    }
    return __real_bk_serve_open_sockets(s);
}

/* ---- the program ---- */

static void find_him(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    memcpy(to.sun_path, path, strlen(path) + 1);
    man.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (man.fd < 0 || connect(man.fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        die(path);
    }
}

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 3 || strcmp(argv[2], "run") != 0) {
        fprintf(stderr, "usage: hostile-server SOCKET run --state DIR\n");
        return BECKON_USAGE;
    }
    if (bk_seal_init() != BK_OK) {
        die("libsodium");
    }
    man.main = pthread_self();
    find_him(argv[1]);
    return (int)bk_cmd_run.run(argc - 2, argv + 2);
}
