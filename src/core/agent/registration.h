/* The idle agent's core: keeps one registration alive at one server and says when someone calls.
 *
 * Restarts and outages are met with jittered back-off that never exceeds the keepalive interval, so a
 * server that returns or a router that forgot its mapping costs at most one interval. */
#ifndef BK_CORE_AGENT_REGISTRATION_H
#define BK_CORE_AGENT_REGISTRATION_H

#include "base/addr.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mac.h"
#include "base/random.h"
#include "wire/attrs.h"
#include "wire/register.h"

enum {
    BK_AGENT_OUT_ACTIONS = 8,
    BK_AGENT_KEEPALIVE_S = 25,
    BK_AGENT_SEEN_MAX = 256, /* NOTIFY transactions remembered */
};

/* 2100-01-01: no time from here on is believed, or one lie could hold a device without a clock there for good. */
#define BK_TIME_BELIEVED_BELOW_S UINT64_C(4102444800)

struct bk_registration_config {
    struct bk_random rng;
    struct bk_mac_ops mac;
    uint64_t equipment_id;
    uint32_t generation;
    uint16_t epoch;
    uint8_t key[BK_KEY_BYTES];
    uint32_t keepalive_s;   /* 0: BK_AGENT_KEEPALIVE_S */
    uint64_t newest_unix_s; /* newest server time of earlier runs; an older one is not believed */
};

enum bk_registration_event_type {
    BK_REGISTRATION_START,
    BK_REGISTRATION_RESOLVED,   /* the server's address, asked for by RESOLVE */
    BK_REGISTRATION_UNRESOLVED, /* the name could not be resolved now */
    BK_REGISTRATION_DATAGRAM,
    BK_REGISTRATION_NETWORK_CHANGED, /* an address or route of the host changed: register again now */
};

struct bk_registration_event {
    enum bk_registration_event_type type;
    struct bk_addr addr;   /* RESOLVED: the server; DATAGRAM: its sender */
    struct bk_slice bytes; /* DATAGRAM */
};

enum bk_registration_action_type {
    BK_REGISTRATION_SEND,
    BK_REGISTRATION_RESOLVE,
    BK_REGISTRATION_REGISTERED, /* with `addr` as observed by the server; again whenever it changes */
    BK_REGISTRATION_LOST,       /* the server no longer answers */
    BK_REGISTRATION_REVOKED,    /* the server says so, with integrity; keeps trying slowly */
    BK_REGISTRATION_CALL,       /* someone calls: start the call part */
    BK_REGISTRATION_RENEW,      /* the server says that this registration key is of an old epoch */
};

struct bk_registration_action {
    enum bk_registration_action_type type;
    struct bk_addr addr;   /* SEND: to; REGISTERED: observed */
    struct bk_slice bytes; /* SEND */
};

struct bk_registration_out {
    size_t n;
    struct bk_registration_action actions[BK_AGENT_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[BK_AGENT_OUT_ACTIONS * 256];
};

enum bk_registration_state {
    BK_REGISTRATION_IDLE,
    BK_REGISTRATION_TRYING,
    BK_REGISTRATION_UP,
};

/* Held by value; no memory besides. Fields belong to registration.c. */
struct bk_registration {
    struct bk_registration_config config;
    enum bk_registration_state state;
    bool told_up, told_revoked;
    struct bk_addr server;
    bool have_server;
    struct bk_addr observed;
    struct bk_tag tag; /* of the newest REGISTER */
    uint8_t txid[BK_STUN_TXID_BYTES];
    bool waiting;        /* for the answer to txid */
    uint32_t attempt;    /* timed sends since the last answer, the first included */
    uint32_t challenges; /* nonces answered since the last timed send */
    uint32_t easings;    /* challenges that shortened the wait, since the last success */
    bool have_nonce;
    uint8_t nonce[BK_NONCE_BYTES];
    bk_time nonce_until;
    bk_time due;            /* next send or resolve */
    uint64_t server_unix_s; /* newest authenticated time */
    bk_time server_time_at;
    uint64_t first_unix_s; /* the first authenticated time of this run */
    bk_time first_time_at;
    struct {
        uint32_t counter;
        bk_time at;
    } sent[16]; /* when recent counters went out, a ring */
    size_t sent_next;
    uint8_t seen[BK_AGENT_SEEN_MAX][BK_STUN_TXID_BYTES];
    size_t seen_next;
};

/* Draws the tag's random part. The two that act start `out` afresh; its slices live until its next use. */
void bk_registration_init(struct bk_registration *r, const struct bk_registration_config *config);
void bk_registration_input(struct bk_registration *r, const struct bk_now *now,
                           const struct bk_registration_event *event,
                           struct bk_registration_out *out);
void bk_registration_timer(struct bk_registration *r, const struct bk_now *now,
                           struct bk_registration_out *out);
bk_time bk_registration_deadline(const struct bk_registration *r);

/* A renewed registration key takes the old one's place; the timer, due at once, registers with it. */
void bk_registration_rekey(struct bk_registration *r, const struct bk_now *now, uint32_t generation,
                           uint16_t epoch, const uint8_t key[BK_KEY_BYTES]);

/* True if this agent sent that tag within the last BK_FRESH_S seconds (core/agent/admission.h). */
bool bk_registration_sent_lately(const struct bk_registration *r, const struct bk_now *now,
                                 const struct bk_tag *tag);

/* Seconds since 1970 for judging freshness: the host's clock, or, where it is not to be trusted
 * (now->unix_s is 0), the newest authenticated server time carried on; 0 if there is neither. */
uint64_t bk_registration_unix_s(const struct bk_registration *r, const struct bk_now *now);

/* The newest authenticated server time of this run, 0 if none: for the shell to keep. */
uint64_t bk_registration_server_unix_s(const struct bk_registration *r);

#endif
