/* The inside of a call, shared by call.c (the request, checks, the timer), call_results.c (what the caller hears),
 * call_links.c (dials and sessions) and call_paths.c (own addresses, and looking for paths while the call is up). */
#ifndef BK_CORE_AGENT_CALL_STATE_H
#define BK_CORE_AGENT_CALL_STATE_H

#include "core/agent/call.h"

enum bk_call_state {
    BK_CALL_NEW,
    BK_CALL_WAITING, /* for the server's 226 */
    BK_CALL_ADMITTING,
    BK_CALL_CHECKING, /* the password, or the key */
    BK_CALL_DIALLING,
    BK_CALL_UP,      /* a session was picked */
    BK_CALL_TELLING, /* fast form: all is over but for results that the server does not have yet */
    BK_CALL_OVER,
};

enum bk_link_state {
    BK_LINK_NONE,
    BK_LINK_TRYING,
    BK_LINK_PAUSING,  /* relayed: is dialled once more at `at` */
    BK_LINK_STANDING, /* a session that nobody has picked until `at` is closed */
    BK_LINK_USED,
};

struct bk_call_link {
    enum bk_link_state state;
    enum bk_candidate_kind kind;
    struct bk_addr addr;
    uint32_t redials;
    bk_time at;
};

/* Fast form: a RESULT that the server does not have yet. */
enum bk_untold {
    BK_UNTOLD_NONE,
    BK_UNTOLD_BY_IDLE, /* the idle part is at it */
    BK_UNTOLD_STREAM,  /* it did not get through: over TLS, once that stands */
};

/* Fast form: our address for the simultaneous open. */
enum bk_meeting {
    BK_MEETING_NONE,
    BK_MEETING_LATER, /* from `meet_at` on, if no direct session stands by then */
    BK_MEETING_ASKED,
    BK_MEETING_KNOWN, /* or known that it cannot be learnt */
};

struct bk_call {
    struct bk_alloc alloc;
    struct bk_call_config config;
    enum bk_call_state state;
    bool server_open; /* the shell holds or makes a connection to the server */
    bool fast;
    bool stream_good;        /* fast form: that connection stands: results leave by it */
    bk_time entered;         /* when the event that is being handled came */
    enum bk_call_end reason; /* TELLING */
    enum bk_meeting meeting;
    struct {
        enum bk_untold state;
        size_t n;
        uint8_t box[BK_CALL_RESULT_MAX_BYTES + BK_REPLY_OVERHEAD_BYTES];
    } untold[BK_CALL_UNTOLD_MAX];
    bk_time meet_at;
    bk_time deadline; /* of the states before ACCEPTED */
    bk_time accepted_at;
    bk_time told_at;    /* our address; where there is none to tell, as accepted_at */
    uint32_t server_ms; /* round trip to the server; 0: not known */
    char user[BK_NAME_MAX_BYTES + 1];
    uint8_t plain[BK_CALL_REQUEST_MAX_BYTES];
    size_t password_at; /* where in `plain` */
    size_t password_n;
    struct bk_call_request request; /* borrows from `plain` */
    size_t box;                     /* which of ours opened it: results come from the same */
    struct bk_tag tag;              /* the agent's current one, for results */
    uint64_t unix_s;

    struct bk_call_link links[BK_CALL_LINKS_MAX];
    bk_time pick_until;   /* DIALLING, while sessions stand: one must be picked by then */
    bk_time linger_until; /* UP without a session in use */
    size_t n_peer;        /* the caller's candidates that count now */
    struct bk_candidate peer[BK_CANDIDATES_MAX];
    uint32_t asked_dials; /* of those, which ASK_DIALS waits for, bit i for peer[i] */
    uint32_t to_punch;    /* permitted, and waiting for our answer to PATHS */

    size_t n_own;
    struct bk_candidate own[BK_CALL_OWN_MAX];
    bool map_asked;
    bool answering;    /* our answer to PATHS waits for OBSERVED */
    uint16_t round;    /* of the newest PATHS */
    uint32_t round_ms; /* the session's round trip, as the caller says */
    bk_time map_at;    /* BK_TIME_NEVER: not by time */
    size_t round_link;
    bk_time round_free_at; /* the next PATHS is heard from then on */
    bk_time learn_until;
    bk_time answered_at;
};

/* call.c */
struct bk_call_action *bk_call_add(struct bk_call_out *out, enum bk_call_action_type type);
void bk_call_finish(struct bk_call *c, enum bk_call_end reason, struct bk_call_out *out);
void bk_call_close_server(struct bk_call *c, bool abort, struct bk_call_out *out);

/* call_results.c */
/* Boxed to the caller of this call, with `n` of our candidates; nothing is sent once the server is gone. */
void bk_call_send_result(struct bk_call *c, enum bk_call_status status,
                         const struct bk_candidate *own, size_t n, struct bk_call_out *out);
/* To the server, whole. */
void bk_call_send_server(struct bk_call_out *out, struct bk_slice bytes);
void bk_call_reply(uint16_t code, const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_call_out *out);
/* Fast form: */
bool bk_call_is_untold(const struct bk_call *c);
void bk_call_forget_untold(struct bk_call *c);
void bk_call_result_told(struct bk_call *c, size_t index, bool good, struct bk_call_out *out);
void bk_call_stream_open(struct bk_call *c, struct bk_call_out *out);
void bk_call_stream_closed(struct bk_call *c, struct bk_call_out *out);

/* call_links.c */
/* Asks for what policy lets pass of c->peer. */
void bk_call_ask(struct bk_call *c, struct bk_call_out *out);
void bk_call_dials_answered(struct bk_call *c, const struct bk_now *now, uint32_t dials,
                            struct bk_call_out *out);
void bk_call_punch_waiting(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out);
void bk_call_link_event(struct bk_call *c, const struct bk_now *now,
                        const struct bk_call_event *event, struct bk_call_out *out);
/* Attempts, not sessions. */
void bk_call_stop_trying(struct bk_call *c, struct bk_call_out *out);
void bk_call_close_links(struct bk_call *c, struct bk_call_out *out);
size_t bk_call_count(const struct bk_call *c, enum bk_link_state state);
bool bk_call_uses_direct(const struct bk_call *c);
bool bk_call_has_direct(const struct bk_call *c); /* in use or not */
void bk_call_links_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out);
bk_time bk_call_links_deadline(const struct bk_call *c);

/* call_paths.c */
void bk_call_own(struct bk_call *c, const struct bk_call_event *event, struct bk_call_out *out);
/* The server sees our port as `addr`; zeroes say nothing. */
void bk_call_observe(struct bk_call *c, const struct bk_addr *addr);
void bk_call_map(struct bk_call *c, struct bk_call_out *out);
/* Fast form: our address is asked for, now. */
void bk_call_meet(struct bk_call *c, struct bk_call_out *out);
void bk_call_paths(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out);
void bk_call_observed(struct bk_call *c, const struct bk_now *now,
                      const struct bk_call_event *event, struct bk_call_out *out);
void bk_call_network_changed(struct bk_call *c, struct bk_call_out *out);
void bk_call_paths_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out);
bk_time bk_call_paths_deadline(const struct bk_call *c);

#endif
