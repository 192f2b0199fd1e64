/* The server's UDP sockets: one for each address that it listens on, and as many again on the second port, if there is
 * one. The core numbers addresses by `local` and says by which port; which socket and address that is, is known here. */
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

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    const struct bk_serve_local *local = ctx;
    struct bk_serve *s = local->serve;
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};
    const struct bk_udp *udp = s->udp[local->second][local->socket];
    unsigned way = bk_udp_way(udp);

    if (local->second) {
        way = bk_udp_same_way(s->udp[0][local->socket], udp, way);
    }
    event.datagram.local = (uint8_t)(local->socket * BK_UDP_WAYS + way);
    event.datagram.second = local->second;
    event.datagram.from = *from;
    event.datagram.bytes = bytes;
    bk_serve_feed(s, &event);
}

/* From the socket and address that the peer's datagrams come to (its NAT knows no other), unless it asked for others. */
void bk_serve_send_datagram(struct bk_serve *s, const struct bk_server_action *action)
{
    size_t socket = action->datagram.local / BK_UDP_WAYS;
    unsigned way = action->datagram.local % BK_UDP_WAYS;
    bool second = action->datagram.second;

    if (socket >= s->config.n_listen) {
        return;
    }
    if ((action->datagram.change & BK_CHANGE_IP) != 0) {
        size_t other = other_socket(s, socket);
        if (other == socket) {
            return;
        }
        socket = other;
        way = 0;
    }
    if (s->udp[second][socket] == NULL) {
        return;
    }
    if (second) {
        way = bk_udp_same_way(s->udp[1][socket], s->udp[0][socket], way);
    }
    (void)bk_udp_send_by(s->udp[second][socket], way, &action->datagram.to, action->datagram.bytes);
}

/* ---- opening and closing ---- */

static enum beckon_status open_port(struct bk_serve *s, bool second, uint16_t port)
{
    for (size_t i = 0; i < s->config.n_listen; i++) {
        struct bk_addr addr = at(s->config.listen[i], port);
        struct bk_udp_callbacks on = {.ctx = &s->locals[second][i], .received = on_datagram};
        enum bk_err err;
        s->locals[second][i] =
            (struct bk_serve_local){.serve = s, .second = second, .socket = (uint8_t)i};
        err = bk_udp_new(s->base, &addr, false, false, &on, &s->udp[second][i]);
        if (err != BK_OK) {
            return bk_serve_cannot_bind(&addr, "UDP", err);
        }
    }
    return BECKON_OK;
}

enum beckon_status bk_serve_open_udp(struct bk_serve *s)
{
    enum beckon_status status = open_port(s, false, s->config.udp_port);

    if (status == BECKON_OK && s->config.second_udp_port != 0) {
        status = open_port(s, true, s->config.second_udp_port);
    }
    return status;
}

void bk_serve_close_udp(struct bk_serve *s)
{
    for (size_t i = 0; i < BK_SERVE_UDP_PORTS; i++) {
        for (size_t k = 0; k < BK_CONFIG_LISTEN_MAX; k++) {
            bk_udp_free(s->udp[i][k]);
            s->udp[i][k] = NULL;
        }
    }
}
