/* Devices that wait for a call as MQTT has it: a TLS connection each to a broker, a subscription, and a PINGREQ every
 * interval. What the broker spends on them is read from outside.
 *
 *   mqtt PORT CA_FILE CLIENTS INTERVAL_S
 *
 * Connects all of them, eight at a time, says "connected SECONDS", then pings each in its turn, says "interval SECONDS"
 * after each interval. If the broker goes, everyone comes back as soon as it can, and it says "reconnected SECONDS" (from
 * the broker's end on). Runs until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 100000,
    THREADS = 8,
    PATIENCE_S = 200,
    SPARE_DESCRIPTORS = 64,
    RETRY_NS = 50000000,
    TIMEOUT_S = 10,
};

static SSL_CTX *tls;
static SSL **clients;
static struct pollfd *polls;
static unsigned n_clients;
static struct sockaddr_in to;

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "mqtt: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool say(SSL *ssl, const unsigned char *bytes, size_t n)
{
    return SSL_write(ssl, bytes, (int)n) == (int)n;
}

/* A packet of that kind, of less than 128 bytes. */
static bool hear(SSL *ssl, unsigned kind)
{
    unsigned char bytes[130];
    int n = SSL_read(ssl, bytes, sizeof bytes);

    return n >= 2 && (unsigned)bytes[0] >> 4 == kind;
}

/* Who it is, and that it wants to hear of calls. */
static bool introduce(SSL *ssl, unsigned number)
{
    unsigned char connect[] = {0x10, 22, 0,   4,   'M', 'Q', 'T', 'T', 4,   2,   0,   120,
                               0,    10, '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'};
    unsigned char subscribe[] = {0x82, 17,  0,   1,   0,   12,  'c', '/', '0', '0',
                                 '0',  '0', '0', '0', '0', '0', '0', '0', 1};

    for (int i = 0; i < 10; i++, number /= 10) {
        connect[sizeof connect - 1 - (size_t)i] = (unsigned char)('0' + number % 10);
        subscribe[sizeof subscribe - 2 - (size_t)i] = (unsigned char)('0' + number % 10);
    }
    return say(ssl, connect, sizeof connect) && hear(ssl, 2) &&
           say(ssl, subscribe, sizeof subscribe) && hear(ssl, 9);
}

static bool open_one(unsigned i)
{
    const struct timeval wait = {.tv_sec = TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL *ssl;

    if (fd < 0) {
        die("socket");
    }
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return false;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ssl = SSL_new(tls);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        die("TLS");
    }
    if (SSL_connect(ssl) != 1 || !introduce(ssl, i)) {
        SSL_free(ssl);
        (void)close(fd);
        return false;
    }
    clients[i] = ssl;
    polls[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    return true;
}

static void close_one(unsigned i)
{
    if (clients[i] != NULL) {
        SSL_free(clients[i]);
        (void)close(polls[i].fd);
        clients[i] = NULL;
    }
}

/* Every eighth, trying until it goes. */
static void *open_some(void *arg)
{
    const struct timespec moment = {.tv_nsec = RETRY_NS};
    const unsigned *first = arg;
    double since = now_s();

    for (unsigned i = *first; i < n_clients; i += THREADS) {
        while (!open_one(i)) {
            if (now_s() - since > PATIENCE_S) {
                die("nobody lets us in");
            }
            (void)nanosleep(&moment, NULL);
        }
    }
    return NULL;
}

static void open_all(const char *word, double since)
{
    pthread_t threads[THREADS];
    unsigned first[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        first[i] = i;
        if (pthread_create(&threads[i], NULL, open_some, &first[i]) != 0) {
            die("thread");
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    printf("%s %.3f\n", word, now_s() - since);
    (void)fflush(stdout);
}

static bool ping(unsigned i)
{
    static const unsigned char ask[] = {0xC0, 0};

    return say(clients[i], ask, sizeof ask) && hear(clients[i], 13);
}

static void come_back(void)
{
    double since = now_s();

    for (unsigned i = 0; i < n_clients; i++) {
        close_one(i);
    }
    open_all("reconnected", since);
}

/* Whether somebody has heard of the broker's end. */
static bool is_lost(int wait_ms)
{
    int n = poll(polls, n_clients, wait_ms);

    for (unsigned i = 0; n > 0 && i < n_clients; i++) {
        if ((polls[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            return true; /* nobody publishes anything */
        }
    }
    return false;
}

/* False: the broker has gone. */
static bool interval(double seconds)
{
    double began = now_s();

    for (unsigned i = 0; i < n_clients; i++) {
        double due = began + seconds * i / n_clients - now_s();
        if (i % 64 == 0 && is_lost(due > 0 ? (int)(due * 1000) : 0)) {
            return false;
        }
        if (!ping(i)) {
            return false;
        }
    }
    for (double left; (left = began + seconds - now_s()) > 0;) {
        if (is_lost((int)(left * 1000) + 1)) {
            return false;
        }
    }
    printf("interval %.3f\n", now_s() - began);
    (void)fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    double seconds;

    if (argc != 5) {
        fprintf(stderr, "usage: mqtt PORT CA_FILE CLIENTS INTERVAL_S\n");
        return 2;
    }
    n_clients = (unsigned)strtoul(argv[3], NULL, 10);
    seconds = strtod(argv[4], NULL);
    to = (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                              .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || n_clients == 0 || n_clients > CLIENTS_MAX ||
        seconds <= 0 || files.rlim_cur < n_clients + SPARE_DESCRIPTORS) {
        die("numbers");
    }
    (void)signal(SIGPIPE, SIG_IGN);
    clients = calloc(n_clients, sizeof *clients);
    polls = calloc(n_clients, sizeof *polls);
    tls = SSL_CTX_new(TLS_client_method());
    if (clients == NULL || polls == NULL || tls == NULL ||
        SSL_CTX_load_verify_locations(tls, argv[2], NULL) != 1) {
        die("start");
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    open_all("connected", now_s());
    for (;;) {
        if (!interval(seconds)) {
            come_back();
        }
    }
}
