/* What the files of this folder share; not for others. */
#ifndef BK_CORE_REQUESTER_STATE_H
#define BK_CORE_REQUESTER_STATE_H

#include "core/requester/requester.h"
#include "wire/paths.h"

enum {
    BK_REQUESTER_POOL_MAX = 24, /* candidates kept; at most BK_CANDIDATES_MAX of them are sent */
    BK_REQUESTER_NO_SESSION = BK_REQUESTER_SESSIONS_MAX,
    BK_REQUESTER_RELAY_TEXT_BYTES = BK_INFO_RELAYS_MAX * BK_RELAY_HOST_MAX_BYTES +
                                    BK_RELAY_USERNAME_MAX_BYTES + BK_RELAY_PASSWORD_MAX_BYTES,
};

enum requester_state {
    STATE_NEW,
    STATE_PREPARING, /* until 217 can be sealed */
    STATE_REQUESTED, /* 217 is out */
    STATE_UP,
    STATE_OVER,
};

enum server_state {
    SERVER_NONE,
    SERVER_OPENING,
    SERVER_OPEN,
};

/* A question to the server, and whether its answer is waited for. */
struct bk_requester_question {
    uint8_t txid[BK_STUN_TXID_BYTES];
    bool waiting;
};

/* One of our own addresses. */
struct bk_requester_own {
    struct bk_candidate candidate; /* never REFLEXIVE */
    enum bk_requester_source source;
    bool proven; /* MAPPING: the device has come through it */
};

enum session_state {
    SESSION_NONE,
    SESSION_HELD,    /* stands, waits for a better one */
    SESSION_USED,    /* has HTTP/2: the current one, or standby */
    SESSION_RETIRED, /* has HTTP/2 until its streams have ended */
};

struct bk_requester_session {
    enum session_state state;
    uint64_t id;
    enum bk_candidate_kind kind;
    bool doubtful; /* the network has changed since it was heard of */
    uint32_t ms;   /* its round trip; 0: not known */
};

enum round_state {
    ROUND_NONE,
    ROUND_COLLECTING, /* until PATHS is sent */
    ROUND_ASKED,      /* until its answer */
    ROUND_DIALLING,
};

/* Looking for another path inside the call (rounds.c). */
struct bk_requester_rounds {
    enum round_state state;
    uint16_t number; /* of the newest */
    bk_time collect_until, until;
    bool after_change; /* the network of either side has changed: this is the round for it */
    /* The timetable of a relayed call. */
    bk_time relayed_since, next;
    size_t n_timed;
    /* What the next one is for, and when it may begin at the earliest. */
    bool wanted, wanted_after_change, gather;
    bk_time not_before;
    bool relay; /* this one asks for a relayed address too */
    bool asked; /* by the device */
    bk_time asked_next;
    /* Mappings whose renewal is to be proven by the device. */
    bool verify, verifying;
    struct bk_candidate mapping;
};

struct bk_requester {
    struct bk_alloc alloc;
    struct bk_requester_config config;
    enum requester_state state;
    enum server_state server;
    size_t server_i;
    bk_time deadline; /* of the server, the delivery or the session, whichever is awaited */
    struct bk_requester_question lookup, info, connect;

    /* From LOOKUP, all verified but the address. */
    bool found, has_tag, has_device_addr;
    unsigned device_families; /* of all addresses of it that were told (chances.c) */
    uint64_t equipment_id;
    uint8_t pin[BK_PIN_BYTES];
    struct bk_box_key box_key;
    struct bk_tag tag;
    struct bk_addr device_addr; /* as the server observed it */
    struct bk_addr
        device_reflexive; /* and its call's own port, as the device says; port 0: not told */

    /* From INFO; its slices point into relay_text. */
    bool has_relays;
    bool relays_lent; /* to the shell until the next use */
    struct bk_info relays;
    uint8_t relay_text[BK_REQUESTER_RELAY_TEXT_BYTES];

    /* known.c */
    bool
        quick; /* called by what is known, without asking the server, or without waiting for a relay */
    bool
        by_known; /* the box key is one of before, and the server has not said that it still is the one */
    bool asked_anew;     /* that came to nothing yet; its sessions are still taken */
    bk_time give_up_at;  /* asked anew, after it had been accepted */
    bk_time doubt_until; /* while quick, and requested */

    bool asked_pin, pin_accepted;
    bool sign;        /* with the caller's own key; else the password is given */
    bool key_refused; /* it was tried, and the device asked for no more of it: */
    enum bk_call_status key_status;
    bool asked_password, have_password;
    uint8_t password[BK_PASSWORD_MAX_BYTES];
    size_t password_n;

    /* gather.c */
    struct bk_requester_own pool[BK_REQUESTER_POOL_MAX];
    size_t n_pool;
    struct bk_addr reflexive;
    bool has_reflexive;
    bool done[BK_SOURCES]; /* nothing more is waited for from there */
    bool relay_asked;
    bool info_done;    /* answered, or not waited for any more */
    bool info_refused; /* the server left instead of answering it */
    bk_time alone_until, info_until, relay_until;
    bk_time ready_at; /* all but the mapping was there; BK_TIME_NEVER: not yet */

    struct bk_box_pair reply;
    uint8_t call_id[BK_CALL_ID_BYTES]; /* of the newest sealing */
    uint32_t server_ms;
    bool delivered, accepted; /* by the device's word, or its coming */
    bool heard_accepted;      /* by its word */
    bool retried;             /* it is the second with this proof, after STALE */
    uint64_t device_unix_s;   /* the device's clock, as STALE gave it; 0: it has none */
    bk_time device_at;        /* when it gave it */
    size_t n_told;            /* all that it was told */
    struct bk_candidate told[BK_CANDIDATES_MAX];
    uint32_t told_ms;      /* and our round trip to the server */
    uint32_t both_ms;      /* of both sides to the server: what the grid is reckoned from */
    bool sent_reflexive;   /* the device was told of it: it will be met there */
    bool sent_direct;      /* or of any address that is not a relay's */
    bool early, had_early; /* see BK_REQUESTER_EARLY; of this call ID */
    bool lost;             /* the last session that ended did not end in order */

    /* dials.c */
    struct bk_candidate dialled[BK_REQUESTER_DIALS_MAX];
    size_t n_dialled;
    struct bk_addr permitted[BK_REQUESTER_PERMITS_MAX];
    size_t n_permitted;
    bk_time dials_until; /* until then somebody may still come */

    /* paths.c */
    struct bk_requester_session sessions[BK_REQUESTER_SESSIONS_MAX];
    size_t current; /* index, or BK_REQUESTER_NO_SESSION */
    bk_time patience_until;
    bk_time lost_until; /* every session is lost, and a new one awaited */
    struct bk_requester_rounds rounds;
};

struct bk_requester_action *bk_requester_add(struct bk_requester_out *out,
                                             enum bk_requester_action_type type);
void bk_requester_phase(struct bk_requester_out *out, enum bk_requester_phase phase);

/* Ends the call; FAILED is the last action. */
void bk_requester_fail(struct bk_requester *r, enum bk_requester_failure failure,
                       struct bk_requester_out *out);
/* This server cannot help: on to the next, or the end if it was the last, or the device has accepted already. */
void bk_requester_server_failed(struct bk_requester *r, const struct bk_now *now,
                                enum bk_requester_failure failure, struct bk_requester_out *out);
/* Whether there is a next server, and it is gone to. */
bool bk_requester_next_server(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out);
void bk_requester_connect_server(struct bk_requester *r, struct bk_requester_out *out);
void bk_requester_ask_server(struct bk_requester *r, const struct bk_now *now,
                             struct bk_requester_out *out); /* unless it is being opened */
void bk_requester_close_server(struct bk_requester *r, struct bk_requester_out *out);
void bk_requester_ask(struct bk_requester *r, const struct bk_now *now,
                      struct bk_requester_out *out); /* LOOKUP and INFO */
void bk_requester_send_info(struct bk_requester *r, struct bk_requester_out *out);
void bk_requester_send_lookup(struct bk_requester *r, struct bk_requester_out *out);

/* Takes the next step that is possible on the way to 217. */
void bk_requester_go_on(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out);
/* The device did not take the caller's key: once more with the password. */
void bk_requester_key_refused(struct bk_requester *r, const struct bk_now *now,
                              enum bk_call_status status, struct bk_requester_out *out);
/* Nothing will be sealed any more. */
void bk_requester_wipe_secrets(struct bk_requester *r);

/* Seals the request under a fresh call ID, and sends it (request.c). */
void bk_requester_send_request(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out);
void bk_requester_draw(struct bk_requester *r, struct bk_requester_question *question);

/* One whole message of the server (answers.c). */
void bk_requester_message(struct bk_requester *r, const struct bk_now *now, struct bk_slice bytes,
                          struct bk_requester_out *out);

/* known.c: calling without asking the server. */
/* At the start: is what is known of the device good? */
void bk_requester_try_known(struct bk_requester *r, const struct bk_now *now);
/* Is there a way that is worth trying before a relay has given us an address? */
bool bk_requester_plain_way(const struct bk_requester *r);
/* Is the address there to which it came? */
bool bk_requester_same_place(const struct bk_requester *r);
/* By our clock. */
bool bk_requester_box_key_timely(const struct bk_box_key *key, uint64_t unix_s);
/* The server's word was right. */
void bk_requester_remember(struct bk_requester *r, const struct bk_lookup_answer *answer,
                           struct bk_requester_out *out);
/* What is known did not do: the server is asked, and the call made once more. */
void bk_requester_ask_anew(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out);
/* Nothing has come of it for a while. */
void bk_requester_doubt(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out);
/* The server's answer to that. */
void bk_requester_compare(struct bk_requester *r, const struct bk_now *now,
                          const struct bk_lookup_answer *answer, struct bk_requester_out *out);
/* Something has come of it so far. */
void bk_requester_hope(struct bk_requester *r, const struct bk_now *now);

/* gather.c: our own candidates. */
enum gathered {
    GATHERED_NOT_YET,
    GATHERED_ENOUGH,
    GATHERED_NOTHING,
};
void bk_requester_gather(struct bk_requester *r, const struct bk_now *now,
                         struct bk_requester_out *out);
void bk_requester_take_info(struct bk_requester *r, const struct bk_info *info);
void bk_requester_gather_relay(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out);
void bk_requester_wipe_relays(struct bk_requester *r);
enum gathered bk_requester_gathered(struct bk_requester *r, const struct bk_now *now);
bool bk_requester_gathered_all(struct bk_requester *r, const struct bk_now *now);
bk_time bk_requester_gather_deadline(const struct bk_requester *r);
/* Whether it is one that was known already (a renewed lease). */
struct bk_requester_own *bk_requester_keep(struct bk_requester *r, enum bk_requester_source source,
                                           const struct bk_candidate *c, bool *known);
void bk_requester_forget(struct bk_requester *r, const struct bk_candidate *c);
void bk_requester_forget_relay(struct bk_requester *r);
/* The best, at most BK_CANDIDATES_MAX, and notes what was told of. */
size_t bk_requester_choose(struct bk_requester *r, struct bk_candidate *list);

/* chances.c: what is worth waiting for. */
void bk_requester_note_family(struct bk_requester *r, const struct bk_addr *a);
bool bk_requester_better_may_come(const struct bk_requester *r, enum bk_candidate_kind kind);
bool bk_requester_mapping_matters(const struct bk_requester *r);

/* dials.c: the device's candidates. */
void bk_requester_dial(struct bk_requester *r, const struct bk_now *now,
                       const struct bk_candidate *list, size_t n, struct bk_requester_out *out);
void bk_requester_permit(struct bk_requester *r, const struct bk_addr *addr,
                         struct bk_requester_out *out);

/* paths.c: the sessions. */
void bk_requester_session_up(struct bk_requester *r, const struct bk_now *now,
                             const struct bk_requester_event *event, struct bk_requester_out *out);
void bk_requester_session_ended(struct bk_requester *r, const struct bk_now *now, uint64_t id,
                                bool lost, struct bk_requester_out *out);
void bk_requester_round_trip(struct bk_requester *r, uint64_t id, uint32_t ms);
void bk_requester_early_lost(struct bk_requester *r, const struct bk_now *now,
                             struct bk_requester_out *out);
void bk_requester_close_held(struct bk_requester *r, struct bk_requester_out *out);
bool bk_requester_has_held(const struct bk_requester *r);
/* Time for those that wait. */
void bk_requester_patience(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out);
void bk_requester_use_held(struct bk_requester *r, const struct bk_now *now,
                           struct bk_requester_out *out);
/* More is known of what may come. */
void bk_requester_consider_held(struct bk_requester *r, const struct bk_now *now,
                                struct bk_requester_out *out);
bool bk_requester_relayed(const struct bk_requester *r); /* the current one is */
size_t bk_requester_find_session(const struct bk_requester *r, uint64_t id);

/* rounds.c */
void bk_requester_rounds_follow(struct bk_requester *r,
                                const struct bk_now *now); /* the session in use is another */
void bk_requester_want_round(struct bk_requester *r, const struct bk_now *now, bool after_change,
                             struct bk_requester_out *out);
void bk_requester_round_go_on(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out);
void bk_requester_round_timer(struct bk_requester *r, const struct bk_now *now,
                              struct bk_requester_out *out);
bk_time bk_requester_round_deadline(const struct bk_requester *r);
void bk_requester_paths(struct bk_requester *r, const struct bk_now *now, uint64_t session,
                        struct bk_slice bytes, struct bk_requester_out *out);
/* A mapping's lease was renewed; the device has come through a mapping. */
void bk_requester_renewed(struct bk_requester *r, const struct bk_now *now,
                          const struct bk_requester_own *own, struct bk_requester_out *out);
void bk_requester_came_by_mapping(struct bk_requester *r, struct bk_requester_out *out);
void bk_requester_end_round(struct bk_requester *r, const struct bk_now *now,
                            struct bk_requester_out *out);

#endif
