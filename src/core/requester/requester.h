/* One call on the requester's side: asks the server about the device, checks what it says against the
 * pin, seals the request, and picks the first end-to-end session that stands. The lifetime of this core
 * is one call.
 *
 * Every sealing has a call ID of its own, drawn here: the first, the one after STALE, and the one with the
 * password after the caller's own key was refused. What belongs to an earlier one is not this call any more. */
#ifndef BK_CORE_REQUESTER_REQUESTER_H
#define BK_CORE_REQUESTER_REQUESTER_H

#include "base/alloc.h"
#include "base/clock.h"
#include "seal/box_key.h"
#include "seal/caller_key.h"
#include "seal/identity.h"
#include "wire/call_request.h"
#include "wire/call_result.h"
#include "wire/connect.h"
#include "wire/lookup.h"

enum {
    BK_REQUESTER_OUT_ACTIONS = 16,
    BK_REQUESTER_SERVER_MS = 5000,   /* TLS to the server, and its answer to LOOKUP */
    BK_REQUESTER_DELIVERY_MS = 9000, /* 217 to the server's answer */
    BK_REQUESTER_SESSION_MS = 7000,  /* its answer, then ACCEPTED, to a session that stands */
    BK_REQUESTER_GATHER_MS = 6000,   /* GATHER unanswered for so long: there is no candidate */
    /* A box key that ended no longer ago, or begins no later, is let pass: clocks differ. */
    BK_REQUESTER_SKEW_S = 24 * 3600,
};

struct bk_requester_config {
    struct bk_random rng;
    struct bk_cert_ops certs;
    uint64_t equipment_id; /* 0: by name */
    char device_name[BK_NAME_MAX_BYTES + 1];
    char service[BK_NAME_MAX_BYTES + 1];
    bool have_pin;
    uint8_t pin[BK_PIN_BYTES];
    uint8_t call_key[BK_KEY_BYTES]; /* pin of the call's TLS key, which the shell made */
    /* The caller's own key: the request is signed with it, and a password asked for only where the device does
     * not take it. */
    bool have_key;
    uint8_t key_seed[BK_SIGN_SEED_BYTES];
};

enum bk_requester_event_type {
    BK_REQUESTER_START,
    BK_REQUESTER_SERVER_OPEN,
    BK_REQUESTER_SERVER_MESSAGE,
    BK_REQUESTER_SERVER_CLOSED, /* could not be reached, or went away */
    BK_REQUESTER_CANDIDATES,    /* answers GATHER; none: no way to be dialled */
    BK_REQUESTER_PIN_ACCEPTED,  /* answers CONFIRM_PIN with yes */
    BK_REQUESTER_PIN_REFUSED,
    BK_REQUESTER_PASSWORD, /* answers NEED_PASSWORD; copied, wiped once it cannot be needed again */
    BK_REQUESTER_NO_PASSWORD, /* or this does: none is to be had */
    BK_REQUESTER_SESSION_UP, /* connection `session`: end-to-end TLS stands for the newest EXPECT */
};

struct bk_requester_event {
    enum bk_requester_event_type type;
    struct bk_slice bytes; /* SERVER_MESSAGE; PASSWORD */
    const struct bk_candidate *candidates;
    size_t n_candidates;
    uint64_t session;
};

enum bk_requester_action_type {
    BK_REQUESTER_CONNECT_SERVER, /* also once more, if the server left while a person was asked */
    BK_REQUESTER_SEND_SERVER,
    BK_REQUESTER_CLOSE_SERVER,
    BK_REQUESTER_GATHER,        /* start collecting candidates; asked for at START */
    BK_REQUESTER_CONFIRM_PIN,   /* first contact: `pin` is not known yet */
    BK_REQUESTER_NEED_PASSWORD, /* `key_refused`: the device did not take the caller's key */
    BK_REQUESTER_EXPECT, /* from now on accept sessions of call ID `call_id`, of the device with
                                 * key pin `pin`, and of no earlier ID */
    BK_REQUESTER_USE_SESSION,   /* the winner: open HTTP/2 on it */
    BK_REQUESTER_CLOSE_SESSION, /* a loser */
    BK_REQUESTER_PHASE,         /* progress, for -v and the waterfall */
    BK_REQUESTER_FAILED,        /* the call is over */
};

enum bk_requester_phase {
    BK_PHASE_SERVER,    /* connected to the server */
    BK_PHASE_FOUND,     /* LOOKUP answered and verified */
    BK_PHASE_REQUESTED, /* 217 is out */
    BK_PHASE_DELIVERED, /* the device has it */
    BK_PHASE_ACCEPTED,  /* and dials */
    BK_PHASE_UP,
};

enum bk_requester_failure {
    BK_FAIL_SERVER,          /* unreachable, or closed the connection */
    BK_FAIL_SERVER_PROTOCOL, /* says something we do not understand */
    BK_FAIL_UNKNOWN_DEVICE,
    BK_FAIL_REVOKED,      /* the device */
    BK_FAIL_USER_REVOKED, /* we ourselves, or our certificate was replaced */
    BK_FAIL_OFFLINE,
    BK_FAIL_OVERLOADED,
    BK_FAIL_CERTIFICATE, /* the device's certificate or box key does not verify, or `expired` */
    BK_FAIL_PIN_CHANGED,
    BK_FAIL_PIN_REFUSED,  /* first contact, and nobody accepted the fingerprint */
    BK_FAIL_NO_CANDIDATE, /* no port mapping to be had, no public address */
    BK_FAIL_PASSWORD,
    BK_FAIL_NO_PASSWORD, /* one is needed, and none is to be had */
    BK_FAIL_KEY, /* the device does not know the caller's key, and there is no password to try */
    BK_FAIL_BACK_OFF,
    BK_FAIL_NO_SERVICE,
    BK_FAIL_NO_ANSWER, /* the device cannot reach us */
    BK_FAIL_BUSY,
    BK_FAIL_STALE, /* twice: clocks and tags do not fit */
};

struct bk_requester_action {
    enum bk_requester_action_type type;
    struct bk_slice bytes;             /* SEND_SERVER */
    uint8_t pin[BK_PIN_BYTES];         /* CONFIRM_PIN, EXPECT, FAILED with PIN_CHANGED */
    uint64_t equipment_id;             /* CONFIRM_PIN, EXPECT */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* EXPECT */
    bool key_refused;                  /* NEED_PASSWORD */
    bool expired; /* FAILED with CERTIFICATE: it was the box key, by its time */
    uint64_t session;
    enum bk_requester_phase phase;
    enum bk_requester_failure failure;
};

struct bk_requester_out {
    size_t n;
    struct bk_requester_action actions[BK_REQUESTER_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[4096];
};

struct bk_requester;

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_requester_new(const struct bk_alloc *alloc,
                                          const struct bk_requester_config *config,
                                          struct bk_requester **out);
void bk_requester_free(struct bk_requester *r); /* wipes password and keys */
/* Both start `out` afresh. A session that comes up after the call is over or won is closed. */
void bk_requester_input(struct bk_requester *r, const struct bk_now *now,
                        const struct bk_requester_event *event, struct bk_requester_out *out);
void bk_requester_timer(struct bk_requester *r, const struct bk_now *now,
                        struct bk_requester_out *out);
bk_time bk_requester_deadline(const struct bk_requester *r);

#endif
