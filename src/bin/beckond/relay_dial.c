/* Connect: the relay opens a connection to a peer, from the allocation's own port. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/beckond/relay_private.h"
#include "net/clock.h"
#include "net/host.h"
#include "net/sockaddr.h"

static void unlink_dial(struct relay_dial *dial)
{
    (void)event_del(&dial->connected);
    *dial->link = dial->next;
    if (dial->next != NULL) {
        dial->next->link = dial->link;
    }
}

void relay_dial_free(struct relay_dial *dial)
{
    unlink_dial(dial);
    close(dial->fd);
    free(dial);
}

static void on_connected(evutil_socket_t fd, short what, void *ctx)
{
    struct relay_dial *dial = ctx;
    struct bk_relay *r = dial->lease->relay;
    struct bk_relay_event event = {.type = BK_RELAY_DIALLED};
    struct relay_sock *s = NULL;
    int error = 0;
    socklen_t len = sizeof error;

    event.dialled.allocation = dial->lease->allocation;
    event.dialled.connection_id = dial->connection_id;
    if ((what & EV_TIMEOUT) == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
        error == 0) {
        s = relay_sock_new(r, fd, false);
    }
    if (s != NULL) {
        event.dialled.connected = true;
        event.dialled.conn = s->number;
        unlink_dial(dial);
        free(dial);
    } else {
        relay_dial_free(dial);
    }
    relay_feed(r, &event);
}

static bool same_ip(const struct bk_addr *told, const struct bk_addr *peer)
{
    return told->port != 0 && bk_addr_same_ip(told, peer);
}

/* Something that this machine serves, by whichever of its addresses (the core knows the one that the client came by),
 * also where a router in front leads back to it. Relayed addresses alone are for everybody. */
static bool is_own_service(const struct bk_relay *r, const struct bk_addr *peer)
{
    struct bk_addr source;

    if (r->any_peer ||
        (peer->port >= r->config.relay_first_port && peer->port <= r->config.relay_last_port)) {
        return false;
    }
    return same_ip(&r->config.relay_address4, peer) || same_ip(&r->config.relay_address6, peer) ||
           (bk_host_source_toward(peer, &source) == BK_OK && bk_addr_same_ip(&source, peer));
}

/* From the lease's port, which listens: both have SO_REUSEPORT. */
static int dial_socket(const struct relay_lease *lease, const struct bk_addr *peer)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int fd = -1, family = 0;

    if (bk_socket_bind(SOCK_STREAM, &lease->bound, true, &fd, &family) != BK_OK) {
        return -1;
    }
    if (bk_sockaddr_write(peer, family, &ss, &len) != BK_OK ||
        (connect(fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS)) {
        close(fd);
        return -1;
    }
    return fd;
}

void relay_dial(struct bk_relay *r, const struct bk_relay_action *action)
{
    uint64_t place = bk_map_get(&r->leases, action->dial.allocation);
    struct relay_lease *lease = (struct relay_lease *)(uintptr_t)place;
    struct relay_dial *dial = lease == NULL ? NULL : calloc(1, sizeof *dial);
    struct timeval patience = bk_timeval_ms(BK_RELAY_DIAL_MS);
    int fd = dial == NULL || is_own_service(r, &action->dial.peer)
                 ? -1
                 : dial_socket(lease, &action->dial.peer);

    if (fd < 0) {
        struct bk_relay_event event = {.type = BK_RELAY_DIALLED};
        event.dialled.allocation = action->dial.allocation;
        event.dialled.connection_id = action->dial.connection_id;
        free(dial);
        relay_later(r, &event);
        return;
    }
    dial->lease = lease;
    dial->connection_id = action->dial.connection_id;
    dial->fd = fd;
    dial->peer = action->dial.peer;
    dial->link = &lease->dials;
    dial->next = lease->dials;
    if (dial->next != NULL) {
        dial->next->link = &dial->next;
    }
    lease->dials = dial;
    event_assign(&dial->connected, r->base, fd, EV_WRITE, on_connected, dial);
    (void)event_add(&dial->connected, &patience);
}
