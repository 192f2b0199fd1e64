/* The relay of this server (RFC 8656, RFC 6062: TURN with TCP allocations) on the server's own TCP ports, and what is
 * offered of it, or of another relay in its place, to those who ask INFO. core/relay decides; this carries it out on
 * sockets. What it relays is sealed end to end.
 *
 * For serve*.c:
 *   start    bk_relay_new, after bk_serve_open_sockets' sandbox-relevant work or before, it opens nothing yet; always there,
 *            whatever the configuration says: one that has no relay takes nothing.
 *   sockets  in both listeners' struct bk_listener_config (net/listener.h):
 *                .first = {.ctx = relay, .plain = bk_relay_take, .named = bk_relay_take_named}
 *   INFO     struct bk_relay_offer offer; struct bk_info info = {.observed = ...};
 *            bk_relay_offer(relay, user, unix_s, &offer, &info);   then bk_info_answer_write; bk_wipe(&offer, sizeof offer)
 *   reload   bk_relay_reload(relay, &config)
 *   revoked  bk_relay_end_user(relay, user): that user's allocations end, with what they carry
 *   end      bk_relay_free, after the listeners
 * At the end of each allocation one line goes to the log:
 *   audit relay user=alice from=4.17.168.2:7000 relayed=202.120.2.30:50000 result=ended ms=360000 connections=1 in=123 out=456 */
#ifndef BK_BECKOND_RELAY_H
#define BK_BECKOND_RELAY_H

#include <event2/event.h>

#include "bin/beckond/config.h"
#include "wire/info.h"

struct bk_relay;

struct bk_relay_start {
    struct event_base *base;
    const struct bk_config *config; /* copied */
    const char *dir; /* the state directory; relay.secret is made there if it is not there */
    uint32_t max_connections; /* descriptors for it, two for a joined pair; 0: 4096 */
    /* Asked when an allocation is made: may that user use the relay (is it still enrolled)? NULL: whoever has credentials. */
    bool (*may_use)(void *ctx, struct bk_slice user);
    void *ctx;
    bool any_peer; /* laboratory: loopback and private peers too */
};

/* BK_E_NOMEM; BK_E_IO, BK_E_MALFORMED: relay.secret. */
BK_NODISCARD enum bk_err bk_relay_new(const struct bk_relay_start *start, struct bk_relay **out);
/* Takes the new limits, and what is offered. Allocations live on, also where there is no relay for new ones. */
void bk_relay_reload(struct bk_relay *relay, const struct bk_config *config);
void bk_relay_free(struct bk_relay *relay); /* NULL is fine */

/* A new relay.secret (0600) in that directory: for init. BK_E_EXISTS, BK_E_IO, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_relay_secret_make(const char *dir);

/* For the listener: a connection whose first bytes, still unread, are STUN's. False: not taken, `fd` stays the caller's. */
bool bk_relay_take(void *relay, int fd, const struct bk_addr *from);
/* The first bytes, still unread, are a TLS ClientHello for that server name. A call's that nobody goes by is reset: the
 * device that is too early comes again, and nobody is told anything. */
bool bk_relay_take_named(void *relay, int fd, const struct bk_addr *from, const char *server_name);

/* Room for what INFO says of relays. */
struct bk_relay_offer {
    char username[BK_RELAY_USERNAME_MAX_BYTES + 1];
    char password[BK_RELAY_PASSWORD_MAX_BYTES + 1];
    char host[BK_HOST_MAX_BYTES + 8];
};
/* Puts relays and credentials for `user` into `info`, whose slices then point into `offer`. Nothing where there is no relay,
 * or no clock (unix_s 0), or `user` is empty (a device: it needs none). */
void bk_relay_offer(const struct bk_relay *relay, struct bk_slice user, uint64_t unix_s,
                    struct bk_relay_offer *offer, struct bk_info *info);
void bk_relay_end_user(struct bk_relay *relay, struct bk_slice user);
/* Connections and allocations at this moment. */
void bk_relay_count(const struct bk_relay *relay, uint32_t *connections, uint32_t *allocations);

#endif
