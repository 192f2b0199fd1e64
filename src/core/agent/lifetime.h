/* How long does the NAT keep a mapping that nothing passes through? Measured behind a second UDP socket, so that the
 * registration's own is never at risk:
 *
 *   second socket → server  Binding, and again 3 s later: the flow was answered twice, and lasts (Linux), its port is known
 *   nothing for T
 *   main socket → server    PROBE with that port, up to three times
 *   server → second socket  the echo: the mapping still stood
 *
 * T climbs until one fails twice; the result is the largest that worked. Again once a day, and when the address changes. A
 * day's measurements take some 70 datagrams of 100 bytes at most.
 *
 * A server that answers no Binding, or a NAT that lends the second socket another address, leaves it unknown: 0. */
#ifndef BK_CORE_AGENT_LIFETIME_H
#define BK_CORE_AGENT_LIFETIME_H

#include "core/agent/registration.h"

enum {
    BK_LIFETIME_OUT_ACTIONS = 4,
    BK_LIFETIME_MESSAGE_BYTES = 128,
    BK_LIFETIME_MAX_S = 270, /* the longest T */
};

enum bk_lifetime_event_type {
    BK_LIFETIME_REGISTERED, /* by UDP, with a server at `server` that sees us at `addr` */
    BK_LIFETIME_LOST,       /* no more, or by the tunnel; or the network has changed */
    BK_LIFETIME_DATAGRAM,   /* at the second socket */
};

struct bk_lifetime_event {
    enum bk_lifetime_event_type type;
    struct bk_addr server;
    struct bk_addr addr;   /* REGISTERED: observed; DATAGRAM: its sender */
    struct bk_slice bytes; /* DATAGRAM */
};

enum bk_lifetime_action_type {
    BK_LIFETIME_SEND_SECOND, /* from the second socket, opened for the first of them */
    BK_LIFETIME_SEND_MAIN,   /* from the registration's */
    BK_LIFETIME_KEPT,        /* BK_REGISTRATION_KEPT */
    BK_LIFETIME_CLOSE,       /* the second socket is not needed any more */
};

struct bk_lifetime_action {
    enum bk_lifetime_action_type type;
    struct bk_addr addr;   /* SEND_*: to */
    struct bk_slice bytes; /* SEND_* */
    uint32_t kept_s;       /* KEPT */
};

struct bk_lifetime_out {
    size_t n;
    struct bk_lifetime_action actions[BK_LIFETIME_OUT_ACTIONS];
    uint8_t bytes[BK_LIFETIME_MESSAGE_BYTES]; /* at most one message at a time */
};

enum bk_lifetime_state {
    BK_LIFETIME_OFF,     /* not registered by UDP */
    BK_LIFETIME_RESTING, /* until the next measurement */
    BK_LIFETIME_WARMING, /* the first Binding is out */
    BK_LIFETIME_PAUSING, /* it was answered */
    BK_LIFETIME_WARM,    /* the second Binding is out */
    BK_LIFETIME_SILENT,
    BK_LIFETIME_PROBING,
};

/* Held by value. Fields belong to lifetime.c. */
struct bk_lifetime {
    struct bk_random rng;
    enum bk_lifetime_state state;
    struct bk_addr server, observed;
    uint16_t port; /* of the second socket's mapping */
    uint8_t txid[BK_STUN_TXID_BYTES];
    uint8_t step;     /* of the times tried */
    uint8_t failures; /* of this one */
    uint8_t sends;    /* of the message that waits for its answer */
    bool open;        /* the second socket may be */
    uint32_t kept_s;  /* the largest that worked, in this measurement */
    uint32_t told_s;  /* the result that counts */
    bk_time due;
};

void bk_lifetime_init(struct bk_lifetime *l, const struct bk_random *rng);
/* `r`: the registration whose NAT this is, for its key and tag. The two start `out` afresh. */
void bk_lifetime_input(struct bk_lifetime *l, const struct bk_now *now,
                       const struct bk_registration *r, const struct bk_lifetime_event *event,
                       struct bk_lifetime_out *out);
void bk_lifetime_timer(struct bk_lifetime *l, const struct bk_now *now,
                       const struct bk_registration *r, struct bk_lifetime_out *out);
bk_time bk_lifetime_deadline(const struct bk_lifetime *l);

#endif
