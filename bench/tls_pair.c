/* The bound for a forwarder over TLS: nothing but OpenSSL, TLS 1.3 with AES-128-GCM, no framing, large reads and writes, as
 * few system calls as there can be. One connection at a time, both ways.
 *
 *   tls_pair client LISTEN CONNECT            plain in, TLS out
 *   tls_pair server LISTEN CONNECT CERT KEY   TLS in, plain out
 *
 * [ADDRESS:]PORT, of 127.0.0.1 where none is named. Says "ready", and runs until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 128 * 1024,
    BUFFER_BYTES = 192 * 1024, /* what is read, and records around it */
};

/* Bytes on their way to a socket. */
struct out {
    size_t from, n;
    unsigned char bytes[BUFFER_BYTES];
};

static struct pair {
    SSL *ssl;
    int plain, tls;
    bool plain_ended, tls_ended;
    size_t in_from, in_n; /* read from the TLS socket, for OpenSSL */
    unsigned char in[READ_BYTES];
    struct out to_tls, to_plain;
} pair;

static unsigned char clear[READ_BYTES];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int on_write(BIO *bio, const char *bytes, int n)
{
    struct out *o = &pair.to_tls;
    BIO_clear_retry_flags(bio);
    if ((size_t)n > sizeof o->bytes - o->from - o->n) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(o->bytes + o->from + o->n, bytes, (size_t)n);
    o->n += (size_t)n;
    return n;
}

static int on_read(BIO *bio, char *to, int n)
{
    size_t take = pair.in_n < (size_t)n ? pair.in_n : (size_t)n;
    BIO_clear_retry_flags(bio);
    if (take == 0) {
        if (pair.tls_ended) {
            return 0;
        }
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, pair.in + pair.in_from, take);
    pair.in_from += take;
    pair.in_n -= take;
    return (int)take;
}

static long on_control(BIO *bio, int what, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return what == BIO_CTRL_FLUSH;
}

static BIO *make_bio(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
        BIO_meth_set_write(method, on_write);
        BIO_meth_set_read(method, on_read);
        BIO_meth_set_ctrl(method, on_control);
    }
    BIO *bio = BIO_new(method);
    BIO_set_init(bio, 1);
    return bio;
}

/* False: it is broken. */
static bool flush(int fd, struct out *o)
{
    while (o->n > 0) {
        ssize_t n = send(fd, o->bytes + o->from, o->n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        o->from += (size_t)n;
        o->n -= (size_t)n;
    }
    o->from = 0;
    return true;
}

static bool plain_to_tls(void)
{
    ssize_t n = recv(pair.plain, clear, sizeof clear, MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN;
    }
    if (n == 0) {
        pair.plain_ended = true;
        (void)SSL_shutdown(pair.ssl);
    } else if (SSL_write(pair.ssl, clear, (int)n) != n) {
        return false;
    }
    return flush(pair.tls, &pair.to_tls);
}

static bool tls_to_plain(void)
{
    struct out *o = &pair.to_plain;
    if (pair.in_n == 0) {
        ssize_t n = recv(pair.tls, pair.in, sizeof pair.in, MSG_DONTWAIT);
        if (n < 0) {
            return errno == EAGAIN;
        }
        pair.in_from = 0;
        pair.in_n = (size_t)n;
        pair.tls_ended = n == 0;
    }
    while (o->from + o->n < sizeof o->bytes) {
        int n =
            SSL_read(pair.ssl, o->bytes + o->from + o->n, (int)(sizeof o->bytes - o->from - o->n));
        if (n <= 0) {
            pair.tls_ended = pair.tls_ended || SSL_get_error(pair.ssl, n) != SSL_ERROR_WANT_READ;
            break;
        }
        o->n += (size_t)n;
    }
    if (!flush(pair.plain, o) || !flush(pair.tls, &pair.to_tls)) {
        return false;
    }
    if (pair.tls_ended && o->n == 0) {
        (void)shutdown(pair.plain, SHUT_WR);
    }
    return true;
}

static void forward(void)
{
    bool lives = true;
    while (lives && !(pair.plain_ended && pair.tls_ended)) {
        struct pollfd fds[2] = {{.fd = pair.plain}, {.fd = pair.tls}};
        bool open = SSL_is_init_finished(pair.ssl);
        bool may_read_plain = open && pair.to_tls.n == 0 && !pair.plain_ended;
        bool may_read_tls = pair.to_plain.n == 0 && !pair.tls_ended;
        fds[0].events =
            (short)((may_read_plain ? POLLIN : 0) | (pair.to_plain.n > 0 ? POLLOUT : 0));
        fds[1].events = (short)((may_read_tls ? POLLIN : 0) | (pair.to_tls.n > 0 ? POLLOUT : 0));
        if (poll(fds, 2, pair.in_n > 0 && may_read_tls ? 0 : -1) < 0) {
            die("poll");
        }
        if ((fds[0].revents & POLLOUT) != 0) {
            lives = flush(pair.plain, &pair.to_plain);
        }
        if (lives && (fds[1].revents & POLLOUT) != 0) {
            lives = flush(pair.tls, &pair.to_tls);
        }
        if (lives && may_read_tls && (fds[1].revents != 0 || pair.in_n > 0)) {
            lives = tls_to_plain();
        }
        if (lives && may_read_plain && fds[0].revents != 0) {
            lives = plain_to_tls();
        }
        lives = lives && (fds[0].revents & (POLLERR | POLLNVAL)) == 0;
    }
}

static int endpoint(const char *where, bool listens)
{
    char host[INET_ADDRSTRLEN] = "127.0.0.1";
    const char *colon = strchr(where, ':'), *port = colon == NULL ? where : colon + 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((unsigned short)strtoul(port, NULL, 10))};
    if (colon != NULL) {
        (void)snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    }
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1) {
        die(where);
    }
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listens ? bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 8) != 0
                : connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        die(where);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static SSL_CTX *make_context(int argc, char **argv)
{
    SSL_CTX *ctx = SSL_CTX_new(argc == 6 ? TLS_server_method() : TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
        (argc == 6 && (SSL_CTX_use_certificate_chain_file(ctx, argv[4]) != 1 ||
                       SSL_CTX_use_PrivateKey_file(ctx, argv[5], SSL_FILETYPE_PEM) != 1))) {
        (void)fprintf(stderr, "TLS cannot be set up\n");
        exit(1);
    }
    return ctx;
}

int main(int argc, char **argv)
{
    bool server = argc == 6 && strcmp(argv[1], "server") == 0;
    if (!server && (argc != 4 || strcmp(argv[1], "client") != 0)) {
        (void)fprintf(stderr, "tls_pair client LISTEN CONNECT | server LISTEN CONNECT CERT KEY\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    SSL_CTX *ctx = make_context(argc, argv);
    int listener = endpoint(argv[2], true);
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        int got = accept(listener, NULL, NULL), on = 1;
        if (got < 0) {
            continue;
        }
        (void)setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        memset(&pair, 0, sizeof pair);
        int onward = endpoint(argv[3], false);
        pair.plain = server ? onward : got;
        pair.tls = server ? got : onward;
        pair.ssl = SSL_new(ctx);
        BIO *bio = make_bio();
        SSL_set_bio(pair.ssl, bio, bio);
        if (server) {
            SSL_set_accept_state(pair.ssl);
        } else {
            SSL_set_connect_state(pair.ssl);
            (void)SSL_do_handshake(pair.ssl);
        }
        forward();
        SSL_free(pair.ssl);
        close(got);
        close(onward);
    }
}
