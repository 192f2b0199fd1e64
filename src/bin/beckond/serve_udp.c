/* The server's UDP sockets: the workers' on the first port, and on the second, if there is one, one for each address
 * that it listens on. The core numbers addresses by `local` and says by which port; which socket and address that is, is
 * known here. */
#include "bin/beckond/serve_private.h"

static bool is_wildcard(const struct bk_addr *a)
{
    return bk_addr_scope(a) == BK_SCOPE_UNSPECIFIED;
}

static bool is_alike(const struct bk_addr *a, const struct bk_addr *b)
{
    return bk_addr_is_v4(a) == bk_addr_is_v4(b) && bk_addr_scope(a) == bk_addr_scope(b);
}

/* The next address like that one, to answer from in its place; itself if there is none. */
static size_t other_socket(const struct bk_serve *s, size_t socket)
{
    size_t n = s->config.n_listen;

    for (size_t i = 1; !is_wildcard(&s->config.listen[socket]) && i < n; i++) {
        size_t other = (socket + i) % n;
        if (is_alike(&s->config.listen[other], &s->config.listen[socket])) {
            return other;
        }
    }
    return socket;
}

uint8_t bk_serve_changes(const struct bk_serve *s)
{
    uint8_t changes = s->config.second_udp_port != 0 ? BK_CHANGE_PORT : 0;

    for (size_t i = 0; changes != 0 && i < s->config.n_listen; i++) {
        changes |= other_socket(s, i) != i ? BK_CHANGE_IP : 0;
    }
    return changes;
}

/* ---- what is told of them ---- */

/* Of an address behind a NAT those outside hear nothing: they could not use it. */
static bool is_hidden(const struct bk_addr *local, const struct bk_addr *remote)
{
    enum bk_addr_scope scope = bk_addr_scope(local);

    return bk_addr_scope(remote) == BK_SCOPE_GLOBAL &&
           (scope == BK_SCOPE_PRIVATE || scope == BK_SCOPE_LINK_LOCAL ||
            scope == BK_SCOPE_LOOPBACK);
}

/* The socket that hears what is sent to that address; n_listen: none. */
static size_t socket_of(const struct bk_serve *s, const struct bk_addr *local)
{
    size_t found = s->config.n_listen;

    for (size_t i = 0; i < s->config.n_listen; i++) {
        const struct bk_addr *a = &s->config.listen[i];
        if (bk_addr_same_ip(a, local)) {
            return i;
        }
        if (is_wildcard(a) && (!bk_addr_is_v4(a) || bk_addr_is_v4(local))) {
            found = i;
        }
    }
    return found;
}

static struct bk_addr at(struct bk_addr a, uint16_t port)
{
    a.port = port;
    return a;
}

size_t bk_serve_bindings(const struct bk_serve *s, const struct bk_addr *local,
                         const struct bk_addr *remote, struct bk_addr out[BK_INFO_BINDINGS_MAX])
{
    size_t socket = socket_of(s, local);
    size_t other;

    if (!s->config.answer_binding || socket == s->config.n_listen || is_hidden(local, remote)) {
        return 0;
    }
    out[0] = at(*local, s->config.udp_port);
    if (s->config.second_udp_port == 0) {
        return 1;
    }
    out[1] = at(*local, s->config.second_udp_port);
    other = other_socket(s, socket);
    if (other == socket || is_hidden(&s->config.listen[other], remote)) {
        return 2;
    }
    out[2] = at(s->config.listen[other], s->config.udp_port);
    out[3] = at(s->config.listen[other], s->config.second_udp_port);
    return 4;
}

/* ---- datagrams ---- */

/* To the second port; what comes to the first is for the workers. */
static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    const struct bk_serve_local *local = ctx;
    struct bk_serve *s = local->serve;
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};
    unsigned way = bk_udp_way(s->second_udp[local->socket]);

    event.datagram.local = (uint8_t)(local->socket * BK_UDP_WAYS + way);
    event.datagram.second = true;
    event.datagram.from = *from;
    event.datagram.bytes = bytes;
    bk_serve_feed(s, &event);
}

/* From the socket and address that the peer's datagrams come to (its NAT knows no other), unless it asked for others. */
static void depart(const struct bk_serve *s, const struct bk_serve_departure *d,
                   bool (*by_second)(struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                                     struct bk_slice bytes))
{
    size_t socket = d->local / BK_UDP_WAYS;
    unsigned way = d->local % BK_UDP_WAYS;

    if (socket >= s->config.n_listen) {
        return;
    }
    if ((d->change & BK_CHANGE_IP) != 0) {
        size_t other = other_socket(s, socket);
        if (other == socket) {
            return;
        }
        socket = other;
        way = 0;
    }
    if (!d->second) {
        bk_serve_workers_send(s->workers, socket, d->shard, way, &d->to, d->bytes);
    } else if (s->second_udp[socket] != NULL) {
        (void)by_second(s->second_udp[socket], way, &d->to, d->bytes);
    }
}

static bool at_once(struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                    struct bk_slice bytes)
{
    return bk_udp_send_at_once(udp, way, to, bytes);
}

void bk_serve_depart(const struct bk_serve *s, const struct bk_serve_departure *d)
{
    depart(s, d, at_once);
}

/* On the main thread, where answers to a batch of the second port may leave together. */
void bk_serve_send_datagram(struct bk_serve *s, const struct bk_server_action *action)
{
    const struct bk_serve_departure d = {.shard = action->datagram.shard,
                                         .local = action->datagram.local,
                                         .second = action->datagram.second,
                                         .change = action->datagram.change,
                                         .to = action->datagram.to,
                                         .bytes = action->datagram.bytes};

    depart(s, &d, bk_udp_send_by);
}

/* ---- opening and closing ---- */

static enum beckon_status open_second(struct bk_serve *s)
{
    for (size_t i = 0; i < s->config.n_listen; i++) {
        struct bk_addr addr = at(s->config.listen[i], s->config.second_udp_port);
        struct bk_udp_callbacks on = {.ctx = &s->locals[i], .received = on_datagram};
        enum bk_err err;
        s->locals[i] = (struct bk_serve_local){.serve = s, .socket = (uint8_t)i};
        err = bk_udp_new(s->base, &addr, false, false, &on, &s->second_udp[i]);
        if (err != BK_OK) {
            return bk_serve_cannot_bind(&addr, "UDP", err);
        }
        bk_udp_share_ways(s->second_udp[i], bk_serve_workers_ways(s->workers, i));
    }
    return BECKON_OK;
}

enum beckon_status bk_serve_open_udp(struct bk_serve *s)
{
    enum beckon_status status = bk_serve_workers_open(s);

    if (status == BECKON_OK && s->config.second_udp_port != 0) {
        status = open_second(s);
    }
    return status;
}

void bk_serve_close_udp(struct bk_serve *s)
{
    bk_serve_workers_stop(s->workers);
    for (size_t i = 0; i < BK_CONFIG_LISTEN_MAX; i++) {
        bk_udp_free(s->second_udp[i]);
        s->second_udp[i] = NULL;
    }
    bk_serve_workers_free(s->workers);
    s->workers = NULL;
}
