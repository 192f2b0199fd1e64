/* One call on the requester's side: asks the server about the device, checks what it says against the
 * pin, gathers candidates, seals the request, and picks among the end-to-end sessions that stand: the best that can be had
 * at once, another when no better one has come for a while. A relayed call keeps looking for a direct path and moves new
 * streams to it, and back if that is lost. The lifetime of this core is one call.
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
#include "wire/info.h"
#include "wire/lookup.h"

enum {
    BK_REQUESTER_OUT_ACTIONS = 32,
    BK_REQUESTER_SERVER_MS = 5000,   /* TLS to the server, and its answer to LOOKUP */
    BK_REQUESTER_DELIVERY_MS = 9000, /* 217 to the server's answer */
    BK_REQUESTER_SESSION_MS = 10000, /* its answer, then ACCEPTED, to a session that stands */
    BK_REQUESTER_RELAY_MS = 3000,    /* a relayed address that takes longer is gone without */
    /* A port mapping is waited for so long once everything else is there; longer where there is nothing else. */
    BK_REQUESTER_MAPPING_MS = 150,
    BK_REQUESTER_MAPPING_ALONE_MS = 6000,
    BK_REQUESTER_RELAY_PATIENCE_MS =
        1500,                      /* a relayed session that stands waits for a direct one */
    BK_REQUESTER_BETTER_MS = 150,  /* and a direct one for one of a better kind, if that may come */
    BK_REQUESTER_EARLY_MS = 500,   /* and any for the one that was told already that it is it */
    BK_REQUESTER_PUNCH_TRIES = 24, /* at most; fewer where the way is long (wire/paths.h) */
    BK_REQUESTER_DIALS_MAX =
        16, /* of the device's addresses, dialled or met: before the call is up, and in each round */
    BK_REQUESTER_PERMITS_MAX = 8, /* IP addresses of the device, all in all */
    BK_REQUESTER_SERVERS_MAX = 4,
    BK_REQUESTER_SESSIONS_MAX = 8, /* that stand at a time, used or not; more are closed */
    BK_REQUESTER_IN_USE_MAX = 4,   /* sessions with HTTP/2 on them, at a time */
    BK_REQUESTER_ROUND_SERVER_MS =
        3000, /* from a round's begin to PATHS: what is not there by then is left out */
    BK_REQUESTER_ROUND_MS =
        10000, /* from its begin to its end: who has not come by then does not come */
    BK_REQUESTER_ROUND_GAP_MS =
        3000, /* from the end of a round to the next, however badly wanted */
    BK_REQUESTER_LOST_MS =
        5000, /* with every session lost, and dials under way, a new one is waited for */
    /* A box key that ended no longer ago, or begins no later, is let pass: clocks differ. */
    BK_REQUESTER_SKEW_S = 24 * 3600,
    /* One that is older is not called without asking the server: devices renew theirs weekly. */
    BK_REQUESTER_KNOWN_S = 6 * 86400,
    /* Called without asking, and nothing has come of it, nor been heard, for so long: the server is asked. */
    BK_REQUESTER_DOUBT_MS = 2000,
    BK_REQUESTER_ANEW_MS =
        9000, /* such a call is given up so long after it was first accepted: no later than any */
    BK_REQUESTER_CERT_MAX_BYTES = 2048, /* of a certificate that is remembered */
};

/* What a call has learnt of its device, for the next one, in which all of it is verified anew. */
struct bk_requester_known {
    size_t certificate_n; /* 0: nothing */
    uint8_t certificate[BK_REQUESTER_CERT_MAX_BYTES];
    uint8_t box_key[BK_BOX_KEY_BYTES];
    struct bk_addr
        came_to; /* an address of ours to which the device came; the port does not count */
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
    size_t n_servers;  /* tried in turn, until one knows where the device is; 0 counts as 1 */
    bool no_reflexive; /* the connection to the server does not leave by the listener's port */
    /* With a pin, and where we still have the address that the device came to: the request leaves without LOOKUP and INFO,
     * with our own addresses only. The server is asked after all if nothing comes of that. */
    struct bk_requester_known known;
};

/* Where candidates come from besides the server's own word. */
enum bk_requester_source {
    BK_SOURCE_HOST,
    BK_SOURCE_MAPPING,
    BK_SOURCE_RELAY,
    BK_SOURCES,
};

enum bk_requester_event_type {
    BK_REQUESTER_START,
    BK_REQUESTER_SERVER_OPEN,
    BK_REQUESTER_SERVER_MESSAGE,
    BK_REQUESTER_SERVER_CLOSED, /* could not be reached, or went away */
    BK_REQUESTER_CANDIDATE,     /* one more, from `source`, at any time after GATHER */
    BK_REQUESTER_GATHERED,      /* `source` has nothing more to come for now */
    BK_REQUESTER_PIN_ACCEPTED,  /* answers CONFIRM_PIN with yes */
    BK_REQUESTER_PIN_REFUSED,
    BK_REQUESTER_PASSWORD, /* answers NEED_PASSWORD; copied, wiped once it cannot be needed again */
    BK_REQUESTER_NO_PASSWORD, /* or this does: none is to be had */
    BK_REQUESTER_SESSION_UP, /* connection `session`, come about by `kind`: end-to-end TLS stands for the newest EXPECT */
    BK_REQUESTER_SESSION_ENDED, /* one that was up, in use or not, is over; `lost`: not in order */
    /* A connection that is yet to come up has been given the first bytes of HTTP/2 (bk_requester_may_be_early said yes):
     * SESSION_UP with `early` follows, or EARLY_LOST. */
    BK_REQUESTER_EARLY,
    BK_REQUESTER_EARLY_LOST,
    BK_REQUESTER_PATHS,      /* `bytes`, a message on the control stream of `session` */
    BK_REQUESTER_ROUND_TRIP, /* of `session`, measured: `ms` */
    BK_REQUESTER_NETWORK_CHANGED,
};

struct bk_requester_event {
    enum bk_requester_event_type type;
    struct bk_slice bytes;           /* SERVER_MESSAGE; PASSWORD */
    enum bk_requester_source source; /* CANDIDATE, GATHERED */
    struct bk_candidate candidate;   /* CANDIDATE */
    uint32_t ms; /* SERVER_OPEN: the round trip of that connection, 0 unknown; ROUND_TRIP */
    uint64_t session;
    enum bk_candidate_kind kind; /* SESSION_UP */
    bool
        ours; /* SESSION_UP: we dialled the device there (DIAL), and not it us; a punched one counts as either */
    bool early; /* SESSION_UP: it is the one of EARLY */
    bool lost;  /* SESSION_ENDED */
};

enum bk_requester_action_type {
    /* To server number `server`, from the listener's port unless config.no_reflexive; also once more, if the server left
     * while a person was asked, to the next server, and in rounds, to be told our address anew. */
    BK_REQUESTER_CONNECT_SERVER,
    BK_REQUESTER_SEND_SERVER,
    BK_REQUESTER_CLOSE_SERVER, /* also while it is being opened; of that connection nothing is told any more */
    /* Start collecting host addresses and mappings; asked for at START, and again when the network has changed: the core
     * has forgotten those of before, and all that hold now are told anew. Each of HOST and MAPPING answers with GATHERED
     * (MAPPING with none at once where none is wanted). After that a CANDIDATE of MAPPING with another address is a
     * further one; with the same, a renewed lease, which the core has the device try. */
    BK_REQUESTER_GATHER,
    /* `info` has relays: hold a relayed address of the family of `addr`, permitted to `addr` (which the server observed
     * of the device); answered by CANDIDATE and GATHERED of RELAY. Not asked for where there is none. Asked for once more
     * only after the network has changed and while no relayed session stands: the former one may be given back then. */
    BK_REQUESTER_GATHER_RELAY,
    BK_REQUESTER_PERMIT, /* `addr` may come by the relayed address too */
    BK_REQUESTER_DIAL,   /* `candidate` of the device: connect, and be TLS server there */
    BK_REQUESTER_PUNCH, /* simultaneous open with `candidate`: the first try now, then `tries` in all, `every_ms` */
    BK_REQUESTER_STOP_DIALS,    /* all of both that do not stand yet */
    BK_REQUESTER_CONFIRM_PIN,   /* first contact: `pin` is not known yet */
    BK_REQUESTER_NEED_PASSWORD, /* `key_refused`: the device did not take the caller's key */
    BK_REQUESTER_EXPECT, /* from now on accept sessions of call ID `call_id`, of the device with
                                 * key pin `pin`, and of no earlier ID */
    /* Open HTTP/2 on it if that is not done yet, and new streams there from now on: the first winner, a better one
     * later, or one in use to which new streams fall back. */
    BK_REQUESTER_USE_SESSION,
    BK_REQUESTER_CLOSE_SESSION,  /* a loser, never used */
    BK_REQUESTER_RETIRE_SESSION, /* in use: it ends in order when its streams have */
    BK_REQUESTER_SEND_PATHS,     /* `bytes`, on the control stream of `session` */
    /* A renewed mapping, `candidate`, through which the device had come before: it has come again, or it has not. */
    BK_REQUESTER_MAPPING_PROVEN,
    BK_REQUESTER_MAPPING_DOUBTED,
    BK_REQUESTER_REMEMBER, /* `known`, without `came_to`: as the server told it, verified */
    BK_REQUESTER_PHASE,    /* progress, for -v and the waterfall */
    BK_REQUESTER_FAILED,   /* the call is over */
    BK_REQUESTER_ENDED, /* it was up, and every session of it has ended; `lost`: the last one not in order */
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
    struct bk_slice bytes;             /* SEND_SERVER, SEND_PATHS */
    uint8_t pin[BK_PIN_BYTES];         /* CONFIRM_PIN, EXPECT, FAILED with PIN_CHANGED */
    uint64_t equipment_id;             /* CONFIRM_PIN, EXPECT */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* EXPECT */
    bool key_refused;                  /* NEED_PASSWORD */
    bool expired;  /* FAILED with CERTIFICATE: it was the box key, by its time */
    bool untimely; /* FAILED with CERTIFICATE: it was the certificate, by its time */
    uint64_t session;
    size_t server;                          /* CONNECT_SERVER */
    const struct bk_info *info;             /* GATHER_RELAY; valid until the core's next use */
    const struct bk_requester_known *known; /* REMEMBER; likewise */
    struct bk_addr addr;                    /* GATHER_RELAY, PERMIT */
    struct bk_candidate candidate;          /* DIAL, PUNCH, MAPPING_PROVEN, MAPPING_DOUBTED */
    uint32_t tries, every_ms;               /* PUNCH */
    bool lost;                              /* ENDED */
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
/* Whether a session of this kind, if it came up now, would be the one: then it may be told what it is for before the device
 * has proven itself there. One at a time, and one for each call ID. */
bool bk_requester_may_be_early(const struct bk_requester *r, enum bk_candidate_kind kind);

#endif
