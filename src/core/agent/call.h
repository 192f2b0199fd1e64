/* One call on the device's side, from the connection to the server to the end-to-end session that the
 * caller picked. Checks everything before the first SYN: seal, IDs, a signature, freshness and memory (asked
 * of the idle part), password or key, service, policy, and the limits on dialling (of the idle part again).
 * The lifetime of this core is one call. */
#ifndef BK_CORE_AGENT_CALL_H
#define BK_CORE_AGENT_CALL_H

#include "base/alloc.h"
#include "core/agent/admission.h"
#include "core/agent/policy.h"
#include "seal/identity.h"
#include "seal/seal.h"
#include "wire/call_request.h"
#include "wire/call_result.h"
#include "wire/connect.h"

enum {
    BK_CALL_OUT_ACTIONS = 16,
    BK_CALL_BOXES_MAX = 3, /* all that a device may hold at a time: lib/box_keys.h */
    BK_CALL_SERVICES_MAX = 64,
    BK_CALL_SERVER_WAIT_MS = 8000, /* until 226 is here */
    BK_CALL_CHECK_MS = 8000,       /* 226 to ACCEPTED: admission and the password check */
    BK_CALL_NO_ANSWER_MS = 5000,   /* ACCEPTED to NO_ANSWER: always this long, whatever the cause */
    BK_CALL_PICK_MS = 10000,       /* a session that stands to its being picked */
};

struct bk_call_config {
    struct bk_random rng;
    uint64_t equipment_id;
    uint8_t device_pin[BK_PIN_BYTES]; /* of the device's own key: callers' signatures cover it */
    struct bk_box_pair box[BK_CALL_BOXES_MAX]; /* the current one, and the one before for a while */
    size_t n_boxes;
    struct bk_slice services[BK_CALL_SERVICES_MAX]; /* names; borrowed for the call's life */
    size_t n_services;
    struct bk_policy policy;
};

enum bk_call_event_type {
    BK_CALL_START,
    BK_CALL_SERVER_OPEN,
    BK_CALL_SERVER_MESSAGE,
    BK_CALL_SERVER_CLOSED,
    BK_CALL_ADMISSION,      /* answers ASK_ADMISSION */
    BK_CALL_CALLER,         /* answers CHECK_CALLER */
    BK_CALL_DIALS,          /* answers ASK_DIALS */
    BK_CALL_DIAL_FAILED,    /* candidate `index`: no connection, or not the caller at its end */
    BK_CALL_SESSION_UP,     /* candidate `index`: end-to-end TLS stands, both sides verified */
    BK_CALL_SESSION_PICKED, /* candidate `index`: the requester speaks HTTP/2 on it */
    BK_CALL_SESSION_ENDED,  /* the picked session is over */
};

struct bk_call_event {
    enum bk_call_event_type type;
    struct bk_slice bytes;             /* SERVER_MESSAGE: one whole message */
    enum bk_admission_verdict verdict; /* ADMISSION */
    struct bk_tag tag;                 /* ADMISSION: the current one */
    uint64_t unix_s;                   /* ADMISSION: the agent's clock, or 0 */
    bool right;        /* CALLER: the password, or the key, is one of this device's */
    bool untold;       /* CALLER: that cannot be found out now, for want of memory */
    uint64_t services; /* CALLER: those this caller may use, bit i for config.services[i] */
    uint32_t
        dials; /* DIALS: candidates that the limits on dialling let pass, bit i for candidate i */
    size_t index;
};

enum bk_call_action_type {
    BK_CALL_CONNECT_SERVER,
    BK_CALL_SEND_SERVER, /* always leaves before a CLOSE_SERVER that follows it */
    BK_CALL_CLOSE_SERVER,
    BK_CALL_ASK_ADMISSION,
    BK_CALL_CHECK_CALLER, /* the password in `bytes` (Argon2id, slow; valid until answered), or where
                           * facts.has_key whether facts.key is known here */
    BK_CALL_ASK_DIALS, /* candidates in `dials`, all within policy: the idle part's limits (core/agent/dials.h) */
    BK_CALL_DIAL,       /* candidate `index`; bk_call_opened() has what TLS needs */
    BK_CALL_CLOSE_DIAL, /* candidate `index`, whatever its state */
    BK_CALL_END,        /* nothing more will come; `reason` for the log */
};

enum bk_call_end {
    BK_CALL_END_SERVED,      /* the session was picked and is over */
    BK_CALL_END_NO_SERVER,   /* the server could not be reached, or closed before 226 */
    BK_CALL_END_BAD_REQUEST, /* 226 or the box is malformed, not ours, or will not open */
    BK_CALL_END_REPEATED,
    BK_CALL_END_STALE,
    BK_CALL_END_REFUSED,
    BK_CALL_END_BACK_OFF,
    BK_CALL_END_BUSY,
    BK_CALL_END_NO_SERVICE,
    BK_CALL_END_NO_ANSWER,
};

struct bk_call_action {
    enum bk_call_action_type type;
    struct bk_slice bytes;           /* SEND_SERVER; CHECK_CALLER: the password */
    struct bk_admission_facts facts; /* ASK_ADMISSION, CHECK_CALLER */
    uint32_t dials;                  /* ASK_DIALS */
    size_t index;
    struct bk_addr addr;     /* DIAL */
    enum bk_call_end reason; /* END */
};

struct bk_call_out {
    size_t n;
    struct bk_call_action actions[BK_CALL_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[4096];
};

struct bk_call;

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_call_new(const struct bk_alloc *alloc,
                                     const struct bk_call_config *config, struct bk_call **out);
void bk_call_free(struct bk_call *c); /* wipes what was opened */
/* Both start `out` afresh. */
void bk_call_input(struct bk_call *c, const struct bk_now *now, const struct bk_call_event *event,
                   struct bk_call_out *out);
void bk_call_timer(struct bk_call *c, const struct bk_now *now, struct bk_call_out *out);
bk_time bk_call_deadline(const struct bk_call *c);

/* The opened request, once ASK_DIALS was asked for; NULL before. The password in it is wiped by then. */
const struct bk_call_request *bk_call_opened(const struct bk_call *c);
/* Whom the server says is calling; for the log. Empty before 226. */
struct bk_slice bk_call_user(const struct bk_call *c);

#endif
