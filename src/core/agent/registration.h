/* The idle agent's core: keeps one registration alive at one of its servers and says when someone calls.
 *
 * Restarts and outages are met with jittered back-off that never exceeds the keepalive interval, so a
 * server that returns or a router that forgot its mapping costs at most one interval.
 *
 * Keepalives come every 25 s until the NAT is known to keep mappings for longer (core/agent/lifetime.h), and then at nine
 * tenths of what it keeps. Once a mapping has stood, three quiet ones (unanswered) come between two answered ones: a
 * server that restarted or sees another address answers the next of either kind, one that is gone is missed at the next
 * answered one. Where intervals are stretched an answered one is two, 3 s apart: a router that restarted unseen takes
 * the mapping for a lasting one again (Linux: only what is answered two seconds after it began).
 *
 * Bytes a day over UDP and IPv4, headers (28) counted: request 88, answer 72, quiet 88; 95 % of the interval on average.
 *   25 s, all answered       3638 x (116 + 100)                       =  786 KB
 *   25 s, three of four quiet 910 x (116 + 100 + 3 x 116)             =  513 KB    NAT of 30 s
 *   99 s, the answered twice  230 x (2 x 216 + 3 x 116)               =  179 KB    NAT of 120 s
 *  240 s                       95 x (2 x 216 + 3 x 116)               =   74 KB    NAT of 300 s
 *   90 s over TLS           ~1010 x (88 + 72 + 2 x 22 + 3 x 40)        =  327 KB
 *
 * A call in the fast form brings its request with it: it is taken by the answer, at once, and acted on once, whatever
 * comes twice or in whichever form. What the device makes of it (RESULT) goes back by UDP as well.
 *
 * Where UDP is not answered, the same messages go through a tunnel (TLS, a process that the shell starts), and UDP is
 * tried again now and then. Of several servers the first that answers is used, and the first of all tried again. */
#ifndef BK_CORE_AGENT_REGISTRATION_H
#define BK_CORE_AGENT_REGISTRATION_H

#include "base/addr.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mac.h"
#include "base/random.h"
#include "seal/seal.h"
#include "wire/attrs.h"
#include "wire/call_result.h"
#include "wire/register.h"

enum {
    BK_AGENT_OUT_ACTIONS = 12,
    BK_AGENT_OUT_BYTES = 2048,
    BK_AGENT_KEEPALIVE_S = 25,
    BK_AGENT_KEEPALIVE_MAX_S =
        240, /* stretched no further: a caller may still know the newest tag by then */
    BK_AGENT_SERVERS_MAX = 4,
    BK_AGENT_TUNNEL_INTERVAL_S = 90, /* between two REGISTER over TLS, at most */
    BK_AGENT_SEEN_MAX = 256,         /* NOTIFY transactions remembered */
    BK_AGENT_RESULTS_MAX = 8,        /* on their way by UDP; of more the call hears at once */
    BK_AGENT_RESULT_BYTES = BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES,
    BK_AGENT_RESULT_SENDS = 5,
    BK_AGENT_RESULT_MS = 3000, /* unanswered for so long: another way is to be found */
};

/* 2100-01-01: no time from here on is believed, or one lie could hold a device without a clock there for good. */
#define BK_TIME_BELIEVED_BELOW_S UINT64_C(4102444800)
/* 2024-01-01: a server that says less has no clock itself. */
#define BK_TIME_BELIEVED_FROM_S UINT64_C(1704067200)

struct bk_registration_config {
    struct bk_random rng;
    struct bk_mac_ops mac;
    uint64_t equipment_id;
    uint32_t generation;
    uint16_t epoch;
    uint8_t key[BK_KEY_BYTES];
    uint32_t keepalive_s;   /* fixed; 0: from BK_AGENT_KEEPALIVE_S on as the NAT allows */
    uint8_t n_servers;      /* up to BK_AGENT_SERVERS_MAX; 0 is 1 */
    uint64_t newest_unix_s; /* newest server time of earlier runs; an older one is not believed */
};

enum bk_registration_event_type {
    BK_REGISTRATION_START,
    BK_REGISTRATION_RESOLVED,   /* the address of server `index`, asked for by RESOLVE */
    BK_REGISTRATION_UNRESOLVED, /* its name could not be resolved now */
    BK_REGISTRATION_DATAGRAM,
    BK_REGISTRATION_NETWORK_CHANGED, /* an address or route of the host changed: register again now */
    BK_REGISTRATION_TUNNEL_UP,
    BK_REGISTRATION_TUNNEL_DOWN, /* it could not be made, or has ended */
    BK_REGISTRATION_KEPT, /* the NAT keeps silent mappings for `kept_s`; 0: not even for 40 s, or unknown */
    BK_REGISTRATION_RESULT, /* of call `call_id`, that came by the fast form from the server at `addr`: `bytes`, sealed */
};

struct bk_registration_event {
    enum bk_registration_event_type type;
    struct bk_addr addr;               /* RESOLVED, RESULT: the server; DATAGRAM: its sender */
    struct bk_slice bytes;             /* DATAGRAM; RESULT: at most BK_AGENT_RESULT_BYTES */
    bool tunnel;                       /* DATAGRAM: it came through it, and has no sender */
    bool full;                         /* DATAGRAM: no call part can be started now */
    uint8_t index;                     /* RESOLVED, UNRESOLVED */
    uint32_t kept_s;                   /* KEPT */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* RESULT */
    uint8_t number;                    /* RESULT: any, to tell several of a call apart */
};

enum bk_registration_action_type {
    BK_REGISTRATION_SEND,
    BK_REGISTRATION_RESOLVE, /* the name of server `index` */
    BK_REGISTRATION_REGISTERED, /* with `addr` as observed by server `index`; again whenever it changes */
    BK_REGISTRATION_LOST,       /* the server no longer answers */
    BK_REGISTRATION_REVOKED, /* the server says so, with integrity; keeps trying slowly */
    BK_REGISTRATION_CALL,    /* someone calls, by server `index` at `addr`: start the call part */
    BK_REGISTRATION_FULL,    /* someone calls, and is not answered: there is no room */
    BK_REGISTRATION_RESULT_TOLD, /* what became of RESULT `number` of `call_id`: the server has it, or does not answer */
    BK_REGISTRATION_RENEW,       /* the server says that this registration key is of an old epoch */
    BK_REGISTRATION_TUNNEL_OPEN, /* to server `index`: answer with TUNNEL_UP or TUNNEL_DOWN */
    BK_REGISTRATION_TUNNEL_CLOSE, /* nothing more of it is to be told */
};

struct bk_registration_action {
    enum bk_registration_action_type type;
    struct bk_addr addr;   /* SEND: to; REGISTERED: observed; CALL: the server */
    struct bk_slice bytes; /* SEND; CALL, fast: the sealed request, borrowed from the datagram */
    bool tunnel; /* SEND: through it; REGISTERED: by it, `addr` is that of a TCP connection */
    uint8_t index;
    bool fast;                         /* CALL: these three are there */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* CALL, RESULT_TOLD */
    struct bk_slice
        user;       /* CALL, borrowed likewise; may be empty: whom the server says is calling */
    uint8_t number; /* RESULT_TOLD */
    bool good;      /* RESULT_TOLD: the server has it */
};

struct bk_registration_out {
    size_t n;
    struct bk_registration_action actions[BK_AGENT_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[BK_AGENT_OUT_BYTES];
};

enum bk_registration_state {
    BK_REGISTRATION_IDLE,
    BK_REGISTRATION_TRYING,
    BK_REGISTRATION_UP,
};

/* REGISTER, by one way. */
struct bk_registration_exchange {
    uint8_t txid[BK_STUN_TXID_BYTES];
    bool waiting;        /* for the answer to txid */
    uint32_t attempt;    /* timed sends since the last answer, the first included */
    uint32_t challenges; /* nonces answered since the last timed send */
    bool have_nonce;
    uint8_t nonce[BK_NONCE_BYTES];
    bk_time nonce_until;
    bk_time due; /* next send; of `udp`, or resolve */
};

enum bk_tunnel_state {
    BK_TUNNEL_NONE,
    BK_TUNNEL_OPENING,
    BK_TUNNEL_OPEN,
};

/* Held by value; no memory besides. Fields belong to registration*.c. */
struct bk_registration {
    struct bk_registration_config config;
    enum bk_registration_state state;
    bool told_up, told_by_tunnel, told_lost, told_revoked;
    struct bk_registration_exchange udp, tunnel;
    uint32_t easings; /* challenges that shortened the wait, since the last success */
    struct bk_addr observed;
    struct bk_tag tag; /* of the newest REGISTER */

    uint8_t index; /* of the server in use, */
    struct bk_addr server;
    bool have_server;    /* and whether its address is known */
    uint32_t turn_sends; /* timed, unanswered since it was taken */
    uint32_t rounds;     /* through all servers, without an answer */
    bool wants_first;    /* the first server's address has been asked for, to return to it */
    bk_time first_at;    /* when to do so */
    struct {             /* the first server is being tried; where to go back to */
        bool on;
        uint8_t index;
        struct bk_addr server;
    } back;

    enum bk_tunnel_state tunnel_state;
    bool by_tunnel;           /* the registration that stands, or stood last */
    bool tunnel_tried;        /* since this server was taken */
    bool udp_blocked;         /* it was when we last knew */
    bool trial_challenged;    /* UDP, tried beside the tunnel, moved the registration perhaps */
    uint32_t tunnel_failures; /* in a row */
    uint32_t trials;          /* of UDP since the tunnel was registered by */
    bk_time tunnel_after;     /* no new one before */

    uint32_t interval_s;
    uint32_t steady;    /* answers in a row that found mapping and interval unchanged */
    uint32_t quiet_run; /* quiet keepalives since the last answered one */
    bool warming;       /* the second of two answered ones comes next */
    bool quiet_open;    /* a challenge to the newest quiet one would count */
    uint8_t quiet_txid[BK_STUN_TXID_BYTES];
    bk_time changed_at;    /* the mapping, under a stretched interval; 0: never */
    bk_time ceiling_until; /* it did twice within hours: no stretching */

    uint64_t server_unix_s; /* newest authenticated time */
    bk_time server_time_at;
    uint64_t first_unix_s; /* the first authenticated time of this run */
    bk_time first_time_at;
    uint64_t told_unix_s; /* what the last answer said, be it earlier than one before */
    bk_time told_at;
    struct {
        uint32_t counter;
        bk_time at;
    } sent[16]; /* when recent counters went out, a ring */
    size_t sent_next;
    struct {
        uint8_t txid[BK_STUN_TXID_BYTES];
        bool taken; /* in the fast form, under this call ID */
        uint8_t call_id[BK_CALL_ID_BYTES];
    } seen[BK_AGENT_SEEN_MAX]; /* NOTIFYs that were acted on, a ring */
    size_t seen_next;
    struct bk_registration_result {
        uint32_t sends; /* 0: free */
        bk_time due;
        struct bk_addr to;
        uint8_t txid[BK_STUN_TXID_BYTES];
        uint8_t call_id[BK_CALL_ID_BYTES];
        uint8_t number;
        size_t n;
        uint8_t box[BK_AGENT_RESULT_BYTES];
    } results[BK_AGENT_RESULTS_MAX];
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

/* True if this agent sent that tag within the last BK_FRESH_S seconds (core/agent/admission.h), or twice as long where
 * it registers that seldom. */
bool bk_registration_sent_lately(const struct bk_registration *r, const struct bk_now *now,
                                 const struct bk_tag *tag);

/* Seconds since 1970 for judging freshness: the host's clock, or, where it is not to be trusted
 * (now->unix_s is 0), the newest authenticated server time carried on; 0 if there is neither. */
uint64_t bk_registration_unix_s(const struct bk_registration *r, const struct bk_now *now);

/* The first authenticated server time of this run, and what it is by now if our monotonic clock is right: a time that
 * nothing sets back or holds still. False: no server has told one yet. */
bool bk_registration_run_s(const struct bk_registration *r, const struct bk_now *now,
                           uint64_t *began_s, uint64_t *now_s);

/* The time by which certificates and the age of keys are judged, and which is put into what others will judge: the host's
 * clock, unless it is BK_CLOCK_OFF_S and more from what the server last said; then that, as where there is no clock. It may
 * be set back. 0: neither is known. */
uint64_t bk_registration_calendar_s(const struct bk_registration *r, const struct bk_now *now);

/* The time by which an access ends: the later of the host's clock and what the server last said. 0: neither is known. */
uint64_t bk_registration_latest_s(const struct bk_registration *r, const struct bk_now *now);

/* The newest authenticated server time of this run, 0 if none: for the shell to keep. */
uint64_t bk_registration_server_unix_s(const struct bk_registration *r);

#endif
