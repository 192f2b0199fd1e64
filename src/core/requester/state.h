/* What the files of this folder share; not for others. */
#ifndef BK_CORE_REQUESTER_STATE_H
#define BK_CORE_REQUESTER_STATE_H

#include "core/requester/requester.h"

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

struct bk_requester {
    struct bk_alloc alloc;
    struct bk_requester_config config;
    enum requester_state state;
    enum server_state server;
    bk_time deadline; /* of the server, the delivery or the session, whichever is awaited */
    bk_time gather_until;
    uint8_t txid[BK_STUN_TXID_BYTES];
    bool waiting; /* for the server's answer to txid */

    /* From LOOKUP, all verified. */
    bool found;
    uint64_t equipment_id;
    uint8_t pin[BK_PIN_BYTES];
    struct bk_box_key box_key;
    bool has_tag;
    struct bk_tag tag;

    bool asked_pin, pin_accepted;
    bool sign;        /* with the caller's own key; else the password is given */
    bool key_refused; /* it was tried, and the device asked for no more of it: */
    enum bk_call_status key_status;
    bool asked_password, have_password;
    uint8_t password[BK_PASSWORD_MAX_BYTES];
    size_t password_n;
    bool gathered;
    size_t n_candidates;
    struct bk_candidate candidates[BK_CANDIDATES_MAX];

    struct bk_box_pair reply;
    uint8_t call_id[BK_CALL_ID_BYTES]; /* of the newest sealing */
    bool delivered, accepted;
    bool retried;           /* it is the second with this proof, after STALE */
    uint64_t device_unix_s; /* the device's clock, as STALE gave it; 0: it has none */
    bk_time device_at;      /* when it gave it */
};

void bk_requester_phase(struct bk_requester_out *out, enum bk_requester_phase phase);

/* Ends the call. */
void bk_requester_fail(struct bk_requester *r, enum bk_requester_failure failure,
                       struct bk_requester_out *out);

/* Takes the next step that is possible on the way to 217. */
void bk_requester_go_on(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out);
/* Seals the request under a fresh call ID, and sends it. */
void bk_requester_send_request(struct bk_requester *r, const struct bk_now *now,
                               struct bk_requester_out *out);
/* The device did not take the caller's key: once more with the password. */
void bk_requester_key_refused(struct bk_requester *r, const struct bk_now *now,
                              enum bk_call_status status, struct bk_requester_out *out);
/* Nothing will be sealed any more. */
void bk_requester_wipe_secrets(struct bk_requester *r);

/* One whole message of the server (answers.c). */
void bk_requester_message(struct bk_requester *r, const struct bk_now *now, struct bk_slice bytes,
                          struct bk_requester_out *out);

#endif
