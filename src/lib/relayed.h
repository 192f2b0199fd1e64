/* A relayed address on a TURN server (RFC 8656, RFC 6062: TCP allocations), held for a call: whom it is permitted to
 * can connect there, and the connection comes to us. The state machine is core/requester/turn.h; this carries it out.
 * Control connection and data connections are plain TCP: what travels over them is sealed end to end. */
#ifndef BK_LIB_RELAYED_H
#define BK_LIB_RELAYED_H

#include <event2/event.h>

#include "base/addr.h"
#include "net/resolve.h"

enum {
    BK_RELAYED_MS = 5000,       /* for the address: otherwise `failed` */
    BK_RELAYED_PERMITS_MAX = 8, /* IP addresses */
};

struct bk_relayed;

struct bk_relayed_callbacks {
    void *ctx;
    /* The address stands, with permissions for all peers given so far. Once. */
    void (*ready)(void *ctx, const struct bk_addr *relayed);
    /* `peer` has connected to it (`by_name`: to the relay's own port, by our server name): a TCP connection, yours from
     * now on, whose next byte is the peer's first. */
    void (*connected)(void *ctx, int fd, const struct bk_addr *peer, bool by_name);
    /* There is none, or no longer: last. `why`: a phrase for people. */
    void (*failed)(void *ctx, const char *why);
};

struct bk_relayed_config {
    const char *host; /* name or literal */
    uint16_t port;
    /* Somebody else has named it: only a global address is gone to, and no port that well-known services have. */
    bool named_by_server;
    const char *username, *password; /* copied */
    bool v6;                         /* the family of the relayed address */
    const struct bk_addr *permits;   /* IP addresses that may connect; ports do not count */
    size_t n_permits;
    /* Shown to the relay, which then takes TLS connections to its own ports with that server name for ours, from
     * whomever they come; NULL: none. Copied. Our own attribute, which other relays ignore. */
    const char *server_name;
    struct bk_relayed_callbacks on;
};

/* Callbacks come later, from the loop, and may free it. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_relayed_new(struct event_base *base, struct bk_resolver *resolver,
                                        const struct bk_relayed_config *config,
                                        struct bk_relayed **out);
/* One more peer; nothing happens where it is permitted already, or there are too many. */
void bk_relayed_permit(struct bk_relayed *r, const struct bk_addr *peer);
/* Another server name, in place of the former: told to the relay at once, in the order of calls. */
void bk_relayed_name(struct bk_relayed *r, const char *server_name);
/* Gives the address back. Connections that were handed out end too: their relay forgets them. NULL is fine. */
void bk_relayed_free(struct bk_relayed *r);

#endif
