/* Calls made and answered by one process against a real beckond: the requester's connection, and the device's socket
 * and connection, as the programs make them, less everything that does not touch the server (boxes are random bytes,
 * nobody dials). What the server spends on them is read from outside.
 *
 *   calls USER_DIR DEVICES FIRST N SERVER UDP REQUESTS AGENTS FORM TLS COUNT RATE
 *
 * N devices are called in turns, from number FIRST on: DEVICES with its number behind it is the state directory of one. (The
 * server takes twenty RESULTs a second from one device, and a hundred at once.)
 * FORM: first (the device comes for its request by TLS and answers there) or fast (request and RESULT by datagram; the
 * server must be so configured). TLS: full or resumed (both sides, after one full handshake each). LOOKUP is not part of
 * a call: callers keep what it says. RATE: calls a second at most, 0: as fast as they go, one after the other.
 *
 * Prints one line: calls, seconds, median and 95th percentile of a call in microseconds (from the requester's SYN to
 * RESULT in its hands), how many handshakes were resumed, how many connections the device made. Any surprise ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/number.h"
#include "base/reader.h"
#include "lib/agent_state.h"
#include "lib/certs.h"
#include "net/clock.h"
#include "net/sockaddr.h"
#include "net/tls.h"
#include "seal/seal.h"
#include "wire/alpn.h"
#include "wire/connect.h"
#include "wire/notify.h"
#include "wire/register.h"
#include "wire/result.h"

enum {
    BOX_BYTES = 560,    /* a request with a service, a password and four candidates */
    RESULT_BYTES = 220, /* an ACCEPTED with as many */
    WAIT_S = 5,
    KEEPALIVE_MS = 10000,
    CALLS_MAX = 1000000,
    DEVICES_MAX = 1000,
};

/* One side's TLS: who it is, and the session that its last connection left. */
struct side {
    struct bk_credentials own;
    struct bk_tls *tls;
    struct sockaddr_storage to;
    socklen_t to_n;
    uint8_t session[BK_TLS_SESSION_MAX_BYTES];
    size_t session_n;
    uint64_t opened, resumed;
};

struct device {
    struct side side;
    struct bk_registration_secret secret;
    uint64_t equipment_id;
    struct bk_tag tag;
    int udp;
    bk_time registered;
};

struct bench {
    struct side user;
    struct device *devices;
    uint64_t n_devices;
    struct device *d; /* who is called */
    struct bk_mac_ops mac;
    struct bk_random rng;
    bool fast, resume;
    uint64_t count, rate, made;
    uint64_t *took_us;
};

struct link {
    SSL *ssl;
    int fd;
};

static void die(const char *what)
{
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void need(bool good, const char *what)
{
    if (!good) {
        die(what);
    }
}

/* ---- TLS, blocking ---- */

static void keep(void *ctx, struct bk_slice session)
{
    struct side *s = ctx;
    if (session.n <= sizeof s->session) {
        memcpy(s->session, session.p, session.n);
        s->session_n = session.n;
    }
}

static void set_timeout(int fd)
{
    const struct timeval wait = {.tv_sec = WAIT_S};
    need(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0, "timeout");
}

static struct link open_link(struct bench *b, struct side *s)
{
    struct link l = {NULL, socket(s->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int one = 1;
    struct bk_tls_peer peer;
    need(l.fd >= 0 && connect(l.fd, (struct sockaddr *)&s->to, s->to_n) == 0, "connecting");
    need(setsockopt(l.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
    set_timeout(l.fd);
    if (b->resume && s->session_n > 0) {
        need(bk_tls_offer_session(s->tls, bk_slice(s->session, s->session_n)) == BK_OK, "session");
    }
    need(bk_tls_start(s->tls, l.fd, &l.ssl) == BK_OK, "TLS");
    need(SSL_do_handshake(l.ssl) == 1 && bk_tls_peer_of(l.ssl, &peer) == BK_OK, "handshake");
    s->opened++;
    s->resumed += SSL_session_reused(l.ssl) != 0;
    return l;
}

static void close_link(struct link *l)
{
    (void)SSL_shutdown(l->ssl);
    SSL_free(l->ssl);
    (void)close(l->fd);
}

static void say(const struct link *l, struct bk_slice bytes)
{
    need(SSL_write(l->ssl, bytes.p, (int)bytes.n) == (int)bytes.n, "sending");
}

static void read_all(const struct link *l, uint8_t *at, size_t n)
{
    for (size_t got = 0; got < n;) {
        int k = SSL_read(l->ssl, at + got, (int)(n - got));
        need(k > 0, "reading");
        got += (size_t)k;
    }
}

/* One message into `buf`. */
static void hear(const struct link *l, uint8_t *buf, size_t cap, struct bk_stun *m)
{
    size_t n = 0;
    read_all(l, buf, BK_STUN_HEADER_BYTES);
    need(bk_stun_frame(bk_slice(buf, BK_STUN_HEADER_BYTES), &n) == BK_OK && n <= cap, "a frame");
    read_all(l, buf + BK_STUN_HEADER_BYTES, n - BK_STUN_HEADER_BYTES);
    need(bk_stun_read(bk_slice(buf, n), m) == BK_OK, "a message");
}

/* ---- The device's socket ---- */

static struct bk_slice key_of(const struct bench *b)
{
    return bk_slice(b->d->secret.key, sizeof b->d->secret.key);
}

static void draw(const struct bench *b, uint8_t *out, size_t n)
{
    b->rng.fill(b->rng.ctx, out, n);
}

static void send_datagram(const struct bench *b, struct bk_slice bytes)
{
    need(send(b->d->udp, bytes.p, bytes.n, 0) == (ssize_t)bytes.n, "a datagram");
}

/* The next datagram of that method and class; others (answers that came twice) are passed over. */
static void next_datagram(const struct bench *b, uint8_t *buf, size_t cap, uint16_t method,
                          bool answer, struct bk_stun *m)
{
    for (;;) {
        ssize_t n = recv(b->d->udp, buf, cap, 0);
        need(n > 0, method == BK_METHOD_NOTIFY ? "no NOTIFY came" : "no answer came to a datagram");
        if (bk_stun_read(bk_slice(buf, (size_t)n), m) == BK_OK && m->method == method &&
            (m->cls == BK_STUN_REQUEST) != answer) {
            return;
        }
    }
}

/* With the nonce that is asked for, where one is. */
static void register_device(struct bench *b)
{
    char nonce[BK_NONCE_BYTES];
    struct bk_register r = {.equipment_id = b->d->equipment_id,
                            .generation = b->d->secret.generation,
                            .epoch = b->d->secret.epoch};
    struct bk_register_answer a = {.code = BK_CODE_STALE_NONCE};
    for (int i = 0; i < 3 && a.code == BK_CODE_STALE_NONCE; i++) {
        uint8_t txid[BK_STUN_TXID_BYTES];
        uint8_t buf[256];
        struct bk_slice bytes;
        struct bk_stun m;
        b->d->tag.counter++;
        r.tag = b->d->tag;
        draw(b, txid, sizeof txid);
        need(bk_register_write(buf, sizeof buf, txid, &r, &b->mac, key_of(b), &bytes) == BK_OK,
             "REGISTER");
        send_datagram(b, bytes);
        next_datagram(b, buf, sizeof buf, BK_METHOD_REGISTER, true, &m);
        need(bk_register_answer_read(&m, &b->mac, key_of(b), &a) == BK_OK, "answer to REGISTER");
        if (a.code == BK_CODE_STALE_NONCE) {
            memcpy(nonce, a.nonce.p, sizeof nonce);
            r.nonce = bk_slice(nonce, sizeof nonce);
        }
    }
    need(a.code == 0, "registration");
    b->d->registered = bk_clock_mono();
}

/* ---- One call ---- */

static void ask(struct bench *b, const struct link *l, struct bk_connect *request)
{
    static uint8_t box[BOX_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t buf[BK_STUN_DATAGRAM_MAX_BYTES];
    struct bk_slice bytes;
    draw(b, box, sizeof box);
    draw(b, txid, sizeof txid);
    *request = (struct bk_connect){.equipment_id = b->d->equipment_id, .box = BK_SLICE_OF(box)};
    draw(b, request->call_id, sizeof request->call_id);
    need(bk_connect_write(buf, sizeof buf, txid, request, &bytes) == BK_OK, "217");
    say(l, bytes);
}

/* The device hears of it, answers, and says whether it has the request already. */
static bool notified(const struct bench *b, const struct bk_connect *request)
{
    uint8_t buf[BK_STUN_DATAGRAM_MAX_BYTES];
    struct bk_stun m;
    struct bk_notify in;
    struct bk_slice bytes;
    next_datagram(b, buf, sizeof buf, BK_METHOD_NOTIFY, false, &m);
    need(bk_notify_read(&m, &b->mac, key_of(b), &in) == BK_OK, "NOTIFY");
    need(in.fast == b->fast,
         b->fast ? "the server uses the first form" : "the server uses the fast form");
    struct bk_notify_answer answer = {.taken = in.fast};
    memcpy(answer.call_id, in.call_id, sizeof answer.call_id);
    need(!in.fast || memcmp(in.call_id, request->call_id, sizeof in.call_id) == 0, "call ID");
    uint8_t out[128];
    need(bk_notify_answer_write(out, sizeof out, m.txid, &answer, &b->mac, key_of(b), &bytes) ==
             BK_OK,
         "answer to NOTIFY");
    send_datagram(b, bytes);
    return in.fast;
}

static struct bk_result result_of(const struct bench *b, const struct bk_connect *request)
{
    static uint8_t box[RESULT_BYTES];
    struct bk_result r = {.box = BK_SLICE_OF(box)};
    draw(b, box, sizeof box);
    memcpy(r.call_id, request->call_id, sizeof r.call_id);
    return r;
}

static void answer_by_datagram(const struct bench *b, const struct bk_connect *request)
{
    struct bk_result_datagram in = {.equipment_id = b->d->equipment_id,
                                    .generation = b->d->secret.generation,
                                    .epoch = b->d->secret.epoch,
                                    .result = result_of(b, request)};
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t buf[BK_STUN_DATAGRAM_MAX_BYTES];
    struct bk_slice bytes;
    struct bk_stun m;
    draw(b, txid, sizeof txid);
    need(bk_result_datagram_write(buf, sizeof buf, txid, &in, &b->mac, key_of(b), &bytes) == BK_OK,
         "RESULT");
    send_datagram(b, bytes);
    next_datagram(b, buf, sizeof buf, BK_METHOD_RESULT, true, &m);
    need(bk_result_answer_read(&m, &b->mac, key_of(b)) == BK_OK, "answer to RESULT");
}

/* Comes for the request by TLS, and answers there. The connection stays until the caller has left. */
static struct link come_for_it(struct bench *b, const struct bk_connect *request)
{
    struct link l = open_link(b, &b->d->side);
    uint8_t buf[2048];
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_stun m;
    struct bk_connect got;
    struct bk_slice bytes;
    hear(&l, buf, sizeof buf, &m);
    need(bk_connect_read(&m, &got) == BK_OK &&
             memcmp(got.call_id, request->call_id, sizeof got.call_id) == 0,
         "226");
    need(bk_success_write(buf, sizeof buf, BK_METHOD_CONNECT, m.txid, &bytes) == BK_OK,
         "226's answer");
    say(&l, bytes);
    struct bk_result r = result_of(b, request);
    draw(b, txid, sizeof txid);
    need(bk_result_write(buf, sizeof buf, txid, &r, &bytes) == BK_OK, "RESULT");
    say(&l, bytes);
    return l;
}

static void hear_result(const struct link *l, const struct bk_connect *request)
{
    uint8_t buf[2048];
    struct bk_stun m;
    struct bk_result r;
    hear(l, buf, sizeof buf, &m);
    need(m.method == BK_METHOD_CONNECT && m.cls == BK_STUN_SUCCESS, "217's answer");
    hear(l, buf, sizeof buf, &m);
    need(bk_result_read(&m, &r) == BK_OK && r.box.n == RESULT_BYTES &&
             memcmp(r.call_id, request->call_id, sizeof r.call_id) == 0,
         "RESULT");
}

static uint64_t one_call(struct bench *b)
{
    struct bk_connect request;
    struct link device = {NULL, -1};
    b->d = &b->devices[b->made++ % b->n_devices];
    if (bk_clock_mono() - b->d->registered > KEEPALIVE_MS * BK_MS) {
        register_device(b);
    }
    bk_time began = bk_clock_mono();
    struct link caller = open_link(b, &b->user);
    ask(b, &caller, &request);
    if (notified(b, &request)) {
        answer_by_datagram(b, &request);
    } else {
        device = come_for_it(b, &request);
    }
    hear_result(&caller, &request);
    uint64_t took_us = (bk_clock_mono() - began) / 1000;
    close_link(&caller);
    if (device.ssl != NULL) {
        close_link(&device);
    }
    return took_us;
}

/* ---- The whole ---- */

static uint64_t number(const char *text, uint64_t max)
{
    uint64_t n = 0;
    errno = EINVAL;
    need(bk_number_parse(bk_slice_text(text), max, &n) == BK_OK, text);
    return n;
}

static void side_init(struct side *s, const char *dir, const char *name, const char *host,
                      const char *alpn, uint64_t port)
{
    char path[BK_PATH_BYTES];
    struct bk_addr to;
    errno = 0;
    need(bk_credentials_load(dir, name, &s->own, path) == BK_OK, "certificate");
    const struct bk_tls_client config = {.cert = s->own.cert,
                                         .key = s->own.key,
                                         .ca = s->own.ca,
                                         .host = host,
                                         .peer_uri = "beckon:server",
                                         .alpn = alpn};
    need(bk_tls_new_client(&config, &s->tls) == BK_OK, "TLS");
    const struct bk_tls_keeper keeper = {.ctx = s, .keep = keep};
    bk_tls_set_keeper(s->tls, &keeper);
    need(bk_addr_parse(bk_slice_text(host), (uint16_t)port, &to) == BK_OK, "address");
    need(bk_sockaddr_write(&to, bk_sockaddr_family(&to), &s->to, &s->to_n) == BK_OK, "address");
}

static void open_udp(struct bench *b, const char *host, uint64_t port)
{
    struct bk_addr to;
    struct sockaddr_storage addr;
    socklen_t n = 0;
    need(bk_addr_parse(bk_slice_text(host), (uint16_t)port, &to) == BK_OK, "address");
    b->d->udp = socket(bk_sockaddr_family(&to), SOCK_DGRAM | SOCK_CLOEXEC, 0);
    need(b->d->udp >= 0 && bk_sockaddr_write(&to, bk_sockaddr_family(&to), &addr, &n) == BK_OK &&
             connect(b->d->udp, (struct sockaddr *)&addr, n) == 0,
         "the device's socket");
    set_timeout(b->d->udp);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void pace(const struct bench *b, bk_time began, uint64_t done)
{
    if (b->rate == 0) {
        return;
    }
    bk_time next = began + done * BK_SECOND / b->rate;
    bk_time now = bk_clock_mono();
    if (next > now) {
        const struct timespec wait = {.tv_sec = (time_t)((next - now) / BK_SECOND),
                                      .tv_nsec = (long)((next - now) % BK_SECOND)};
        (void)nanosleep(&wait, NULL);
    }
}

static void forget_counts(struct bench *b)
{
    b->user.opened = b->user.resumed = 0;
    for (uint64_t i = 0; i < b->n_devices; i++) {
        b->devices[i].side.opened = b->devices[i].side.resumed = 0;
    }
}

static void run(struct bench *b)
{
    uint64_t opened = 0, resumed = 0;
    for (uint64_t i = 0; i < b->n_devices; i++) {
        (void)one_call(b); /* the first ones fill caches, and bring tickets */
    }
    forget_counts(b);
    printf("ready\n"); /* whoever reads the server's clock does so now, and says so by a line */
    (void)fflush(stdout);
    need(getchar() != EOF, "standard input");
    bk_time began = bk_clock_mono();
    for (uint64_t i = 0; i < b->count; i++) {
        pace(b, began, i);
        b->took_us[i] = one_call(b);
    }
    double seconds = (double)(bk_clock_mono() - began) / 1e9;
    for (uint64_t i = 0; i < b->n_devices; i++) {
        opened += b->devices[i].side.opened;
        resumed += b->devices[i].side.resumed;
    }
    qsort(b->took_us, b->count, sizeof *b->took_us, by_size);
    printf("calls %llu seconds %.3f median_us %llu p95_us %llu user_resumed %llu "
           "device_connections %llu "
           "device_resumed %llu\n",
           (unsigned long long)b->count, seconds, (unsigned long long)b->took_us[b->count / 2],
           (unsigned long long)b->took_us[b->count * 95 / 100], (unsigned long long)b->user.resumed,
           (unsigned long long)opened, (unsigned long long)resumed);
    (void)fflush(stdout);
}

static bool one_of(const char *word, const char *yes, const char *no)
{
    bool is = strcmp(word, yes) == 0;
    errno = EINVAL;
    need(is || strcmp(word, no) == 0, word);
    return is;
}

static void device_init(struct bench *b, struct device *d, char **argv, uint64_t id)
{
    char dir[BK_PATH_BYTES];
    struct beckon_error error;
    need(snprintf(dir, sizeof dir, "%s%llu", argv[2], (unsigned long long)id) < (int)sizeof dir,
         argv[2]);
    b->d = d;
    d->equipment_id = id;
    side_init(&d->side, dir, "device", argv[5], BK_ALPN_AGENT, number(argv[8], UINT16_MAX));
    need(bk_registration_secret_read(dir, &d->secret, &error) == BECKON_OK, "registration.key");
    d->tag.random = bk_random_u64(&b->rng);
    open_udp(b, argv[5], number(argv[6], UINT16_MAX));
    register_device(b);
}

int main(int argc, char **argv)
{
    static struct bench b;
    if (argc != 13) {
        fprintf(stderr,
                "usage: calls USER_DIR DEVICES FIRST N SERVER UDP REQUESTS AGENTS first|fast "
                "full|resumed COUNT RATE\n");
        return 2;
    }
    need(bk_seal_init() == BK_OK && signal(SIGPIPE, SIG_IGN) != SIG_ERR, "libsodium");
    b.mac = bk_mac_sodium();
    b.rng = bk_random_system();
    b.n_devices = number(argv[4], DEVICES_MAX);
    b.fast = one_of(argv[9], "fast", "first");
    b.resume = one_of(argv[10], "resumed", "full");
    b.count = number(argv[11], CALLS_MAX);
    b.rate = number(argv[12], UINT32_MAX);
    b.took_us = calloc(b.count + 1, sizeof *b.took_us);
    b.devices = calloc(b.n_devices + 1, sizeof *b.devices);
    need(b.took_us != NULL && b.devices != NULL && b.count > 0 && b.n_devices > 0, "memory");
    side_init(&b.user, argv[1], "user", argv[5], BK_ALPN_REQUEST, number(argv[7], UINT16_MAX));
    for (uint64_t i = 0; i < b.n_devices; i++) {
        device_init(&b, &b.devices[i], argv, number(argv[3], BK_EQUIPMENT_ID_MAX) + i);
    }
    run(&b);
    return 0;
}
