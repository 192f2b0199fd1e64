/* One call on the device's side, from the connection to the server to the end of its last end-to-end session. Checks
 * everything before the first SYN: seal, IDs, a signature, freshness and memory (asked of the idle part), password or
 * key, service, policy, and the limits on dialling (of the idle part again); so also what the caller names while the
 * call is up (PATHS). The lifetime of this core is one call.
 *
 * In the fast form the request is there from the start. Then what the caller is to hear (RESULT) goes by the idle part, and
 * the server is connected to only if that fails; our own address is asked for (LEARN) only where the two ends must meet.
 *
 * An attempt to connect, and the session that comes of it, is a link, known by its number: those that the core asks for
 * are below BK_CALL_DIALS_MAX; what comes in by the listener gets a number from there on that is free (the shell's
 * choice). A number is free again after DIAL_FAILED, SESSION_ENDED and CLOSE_LINK. */
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
#include "wire/paths.h"

enum {
    BK_CALL_DIALS_MAX = 16,                    /* links that we make */
    BK_CALL_LINKS_MAX = BK_CALL_DIALS_MAX + 8, /* and those that come */
    BK_CALL_STANDING_MAX = 8,                  /* sessions; more are closed */
    BK_CALL_USED_MAX = 4,                      /* of them with HTTP/2 on them */
    BK_CALL_OUT_ACTIONS = BK_CALL_LINKS_MAX + 16,
    BK_CALL_BOXES_MAX = 3, /* all that a device may hold at a time: lib/box_keys.h */
    BK_CALL_SERVICES_MAX = 64,
    BK_CALL_SERVER_WAIT_MS = 8000, /* until 226 is here */
    BK_CALL_CHECK_MS = 8000,       /* 226 to ACCEPTED: admission and the password check */
    BK_CALL_NO_ANSWER_MS = 9000,   /* ACCEPTED to NO_ANSWER: always this long, whatever the cause */
    BK_CALL_PICK_MS = 10000,       /* a session that stands to its being picked */
    BK_CALL_MAP_AFTER_MS = 300, /* ACCEPTED, and no direct session yet: the own router is asked */
    /* A relayed address that took the connection and cut it has no permission for us yet. */
    BK_CALL_REDIAL_MS = 300,
    BK_CALL_REDIALS_MAX = 8,
    BK_CALL_PUNCH_TRIES = 24,          /* at most; fewer where the way is long (wire/paths.h) */
    BK_CALL_PUNCH_FIRST_MAX_MS = 1500, /* whatever round trip the caller claims */
    BK_CALL_ROUND_EVERY_MS = 1000,     /* PATHS sooner after the one before are ignored */
    BK_CALL_LEARN_MS = 3000,           /* to be told our address; answered without it then */
    BK_CALL_MEET_AFTER_MS =
        250, /* fast form: no direct session yet, and the two must meet halfway */
    BK_CALL_UNTOLD_MAX =
        8, /* fast form: RESULTs that the server does not have yet; no more are said */
    BK_CALL_TELL_MS = 10000,  /* fast form: the last of them, when all else is over */
    BK_CALL_LINGER_MS = 3000, /* the last session was lost: another may be coming */
    BK_CALL_OWN_HOSTS_MAX = 4,
    BK_CALL_OWN_MAPPED_MAX = 3,
    BK_CALL_OWN_MAX = BK_CALL_OWN_HOSTS_MAX + BK_CALL_OWN_MAPPED_MAX + 1, /* one REFLEXIVE */
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
    bool
        no_port; /* the host cannot give us a port of our own: nothing is listened to, nor met halfway */
};

enum bk_call_event_type {
    BK_CALL_START, /* `request`, of the fast form; NULL: 226 is to bring it */
    BK_CALL_SERVER_OPEN,
    BK_CALL_SERVER_MESSAGE,
    BK_CALL_SERVER_CLOSED,
    BK_CALL_ADMISSION, /* answers ASK_ADMISSION */
    BK_CALL_CALLER,    /* answers CHECK_CALLER */
    BK_CALL_DIALS,     /* answers ASK_DIALS */
    BK_CALL_OWN, /* `candidate`: where we can be reached; `gone`: or no longer. At any time, HOST and MAPPED */
    BK_CALL_OBSERVED, /* answers LEARN: `addr`, or zeroes; `ms` */
    BK_CALL_RESULT_TOLD, /* answers SEND_RESULT `index`: the server has it (`right`), or does not answer */
    BK_CALL_DIAL_FAILED,     /* link `index`: no connection, or not the caller at its end */
    BK_CALL_SESSION_UP,      /* link `index`: end-to-end TLS stands, both sides verified */
    BK_CALL_SESSION_PICKED,  /* link `index`: the requester speaks HTTP/2 on it */
    BK_CALL_SESSION_ENDED,   /* link `index` was a session, and is over */
    BK_CALL_PATHS,           /* `bytes`, a message on the control stream of link `index` */
    BK_CALL_NETWORK_CHANGED, /* of the host: addresses of ours are forgotten, and told anew */
    BK_CALL_STOP,            /* the caller may no longer call */
};

struct bk_call_event {
    enum bk_call_event_type type;
    struct bk_slice bytes;            /* SERVER_MESSAGE, PATHS: one whole message */
    const struct bk_connect *request; /* START */
    uint32_t ms; /* SERVER_OPEN, OBSERVED: the round trip to the server, 0 unknown */
    enum bk_admission_verdict verdict; /* ADMISSION */
    struct bk_tag tag;                 /* ADMISSION: the current one */
    uint64_t unix_s;                   /* ADMISSION: the agent's clock, or 0 */
    bool right;        /* CALLER: the password, or the key, is one of this device's */
    bool untold;       /* CALLER: that cannot be found out now, for want of memory */
    uint64_t services; /* CALLER: those this caller may use, bit i for config.services[i] */
    uint32_t
        dials; /* DIALS: candidates that the limits on dialling let pass, bit i for candidate i */
    size_t index;
    struct bk_candidate candidate; /* OWN */
    bool gone;                     /* OWN */
    struct bk_addr addr;           /* OBSERVED; SESSION_UP of a link that came: its far end, */
    struct bk_addr local;          /* and the near one */
    bool cut;                      /* DIAL_FAILED: TCP stood, and was cut before TLS did */
    bool lost;                     /* SESSION_ENDED: not in order */
};

enum bk_call_action_type {
    BK_CALL_CONNECT_SERVER, /* from the port of our own; `result`: from any, only for RESULT by TLS */
    BK_CALL_SEND_SERVER,    /* always leaves before a CLOSE_SERVER that follows it */
    BK_CALL_CLOSE_SERVER,   /* `abort`: nothing that was said matters any more */
    BK_CALL_ASK_ADMISSION,
    BK_CALL_CHECK_CALLER, /* the password in `bytes` (Argon2id, slow; valid until answered), or where
                           * facts.has_key whether facts.key is known here */
    BK_CALL_ASK_DIALS, /* candidates in `dials`, all within policy: the idle part's limits (core/agent/dials.h) */
    BK_CALL_LISTEN, /* on the port of our own, from now on */
    BK_CALL_DIAL,   /* link `index`: `addr`; bk_call_opened() has what TLS needs */
    BK_CALL_PUNCH, /* link `index`: simultaneous open with `addr`, in `first_ms`, `tries` times, `every_ms` */
    BK_CALL_CLOSE_LINK, /* link `index`, whatever its state */
    BK_CALL_MAP,        /* have the own router map our port, until the end; once. OWN tells */
    BK_CALL_LEARN, /* how the server sees our port (`move`: another, from now on); answered by OBSERVED */
    BK_CALL_SEND_RESULT, /* `bytes`, sealed, by the idle part; answered by RESULT_TOLD of `index` */
    BK_CALL_SEND_PATHS,  /* `bytes`, on the control stream of link `index`, if it has one */
    BK_CALL_PING,        /* every session: those that are dead are to end soon */
    BK_CALL_END,         /* nothing more will come; `reason` for the log */
};

enum bk_call_end {
    BK_CALL_END_SERVED,      /* a session was picked, and all are over */
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
    struct bk_slice bytes;           /* SEND_SERVER, SEND_RESULT; CHECK_CALLER: the password */
    struct bk_admission_facts facts; /* ASK_ADMISSION, CHECK_CALLER */
    uint32_t dials;                  /* ASK_DIALS: bit i for bk_call_candidates()[i] */
    bool abort;                      /* CLOSE_SERVER */
    bool result;                     /* CONNECT_SERVER */
    bool move;                       /* LEARN */
    size_t index;
    struct bk_addr addr;     /* DIAL, PUNCH */
    uint32_t first_ms;       /* PUNCH */
    uint32_t tries;          /* PUNCH */
    uint32_t every_ms;       /* PUNCH */
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

/* What is so from now on: own addresses may have changed. */
void bk_call_set_policy(struct bk_call *c, const struct bk_policy *policy);

/* What ASK_DIALS asks about: of the request, or of the newest PATHS. At most BK_CANDIDATES_MAX. */
const struct bk_candidate *bk_call_candidates(const struct bk_call *c, size_t *n);
/* How a link came about; of one that came in: as well as that can be told from here. */
enum bk_candidate_kind bk_call_link_kind(const struct bk_call *c, size_t index);
/* The opened request, once ASK_DIALS was asked for; NULL before. The password in it is wiped by then. */
const struct bk_call_request *bk_call_opened(const struct bk_call *c);
/* Whom the server says is calling; for the log. Empty before the request. */
struct bk_slice bk_call_user(const struct bk_call *c);

#endif
