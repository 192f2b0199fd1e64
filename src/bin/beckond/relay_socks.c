/* The relay's connections. Of a client's nothing is read beyond the message that it sends: what follows a ConnectionBind is
 * the peer's. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/beckond/relay_private.h"
#include "net/conn_private.h"

enum {
    MESSAGES_PER_TURN = 16,
    HEADER_BYTES = BK_STUN_HEADER_BYTES,
};

/* How much belongs to the message that has begun; 0: it is none, or too long. */
static size_t wanted(const struct relay_sock *s)
{
    size_t n = 0;

    if (s->have < HEADER_BYTES) {
        return HEADER_BYTES;
    }
    return bk_stun_frame(bk_slice(s->message, s->have), &n) == BK_OK &&
                   n <= BK_RELAY_MESSAGE_MAX_BYTES
               ? n
               : 0;
}

static void gone(struct relay_sock *s)
{
    struct bk_relay *r = s->relay;
    struct bk_relay_event event = {.type = BK_RELAY_CLOSED};

    event.closed.conn = s->number;
    relay_sock_close(s, false);
    relay_feed(r, &event);
}

static void whole_message(struct relay_sock *s)
{
    struct bk_relay_event event = {.type = BK_RELAY_MESSAGE};

    event.message.conn = s->number;
    event.message.bytes = bk_slice(s->message, s->have);
    s->have = 0;
    relay_feed(s->relay, &event);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct relay_sock *s = ctx;
    struct bk_relay *r = s->relay;
    uint64_t number = s->number;
    int messages = 0;

    (void)what;
    /* A message may end the connection, or make it half of a pair. */
    while (messages < MESSAGES_PER_TURN && relay_sock_find(r, number) == s) {
        size_t want = wanted(s);
        ssize_t n;
        if (want == s->have && want > 0) {
            whole_message(s);
            messages++;
            continue;
        }
        n = want == 0 ? 0 : recv(fd, s->message + s->have, want - s->have, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            gone(s);
            return;
        }
        s->have += (size_t)n;
    }
}

struct relay_sock *relay_sock_new(struct bk_relay *r, int fd, bool client)
{
    struct relay_sock *s = calloc(1, sizeof *s);
    uint8_t *message = client ? malloc(BK_RELAY_MESSAGE_MAX_BYTES) : NULL;

    if (s == NULL || (client && message == NULL) ||
        bk_map_put(&r->socks, r->next_number + 1, (uint64_t)(uintptr_t)s) != BK_OK) {
        free(s);
        free(message);
        return NULL;
    }
    s->relay = r;
    s->number = ++r->next_number;
    s->fd = fd;
    s->client = client;
    s->message = message;
    r->n_socks++;
    event_assign(&s->readable, r->base, fd, EV_READ | EV_PERSIST, on_readable, s);
    if (client) {
        bk_conn_set_no_delay(fd);
        bk_conn_set_tcp_keepalive(fd, BK_RELAY_DEAD_MS);
        (void)event_add(&s->readable, NULL);
    }
    return s;
}

struct relay_sock *relay_sock_find(const struct bk_relay *r, uint64_t number)
{
    return (struct relay_sock *)(uintptr_t)bk_map_get(&r->socks, number);
}

/* Little is ever under way to a client: one whose connection takes no more of it does not read, and is cut. */
void relay_sock_send(struct relay_sock *s, struct bk_slice bytes)
{
    ssize_t n = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 || (size_t)n < bytes.n) {
        (void)shutdown(s->fd, SHUT_RDWR); /* reading then tells its end, from the loop */
    }
}

int relay_sock_take(struct relay_sock *s)
{
    int fd = s->fd;

    (void)event_del(&s->readable);
    (void)bk_map_remove(&s->relay->socks, s->number);
    s->relay->n_socks--;
    free(s->message);
    free(s);
    return fd;
}

void relay_reset(int fd)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

void relay_sock_close(struct relay_sock *s, bool reset)
{
    int fd = relay_sock_take(s);

    if (reset) {
        relay_reset(fd);
    } else {
        close(fd);
    }
}
