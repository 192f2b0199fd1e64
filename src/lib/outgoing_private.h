/* The inside of an outgoing call, shared by the files that carry out its parts: outgoing.c (core, beginning,
 * end), outgoing_server.c (the server's connection), outgoing_gather.c (our own addresses), outgoing_dial.c (how the
 * device's connections come about), outgoing_early.c (what goes with their handshakes), outgoing_session.c (those that
 * stand, and those in use), outgoing_known.c (what is kept for the next call), outgoing_watch.c (which
 * of them still live), outgoing_ask.c (questions to the user).
 *
 * Nothing here frees the call: its end is told from the top of the loop. */
#ifndef BK_LIB_OUTGOING_PRIVATE_H
#define BK_LIB_OUTGOING_PRIVATE_H

#include <openssl/ssl.h>

#include "lib/arrival.h"
#include "lib/client.h"
#include "lib/control.h"
#include "lib/fail.h"
#include "lib/names.h"
#include "lib/outgoing_record.h"
#include "lib/pulse.h"
#include "lib/relayed.h"
#include "net/clock.h"
#include "net/host.h"
#include "net/listener.h"
#include "net/punch.h"

enum {
    BK_OUTGOING_LATER_MAX = 64,
    BK_OUTGOING_SESSIONS_MAX = 16, /* the core keeps fewer */
    BK_OUTGOING_DIALS_MAX =
        2 * BK_REQUESTER_DIALS_MAX, /* connections by the relay that prove themselves included */
    BK_OUTGOING_TOLD_MAX = 16,      /* of our candidates, former ones included */
    /* Taken on the callback address at one time, handshakes included. */
    BK_OUTGOING_CONNECTIONS_MAX = 128,
    /* The device may come on all candidates at once; more of one address are strangers, who must not fill it. */
    BK_OUTGOING_PER_ADDRESS_MAX = 4 * BK_CANDIDATES_MAX,
    BK_OUTGOING_STRANGERS_TOLD_MAX = 20, /* in the log, of those who knock at that address */
    BK_OUTGOING_PATH_BYTES = 64,
    BK_OUTGOING_PROBE_MS = 5000, /* a changed network: a session answers, where another is open */
    BK_OUTGOING_PROBE_ALONE_MS = 15000, /* where none is */
};

struct bk_outgoing;

/* One connection on which the device proved itself: at first the core has not chosen it. */
struct bk_outgoing_session {
    struct bk_outgoing *call; /* NULL: a free place */
    uint64_t id;
    enum bk_candidate_kind kind;
    char path[BK_OUTGOING_PATH_BYTES]; /* kind and address */
    struct bk_addr from;
    struct beckon_candidate *row,
        *other;       /* of the record; `other`: of a punched one, ours; may be NULL */
    SSL *ssl;         /* until it is used */
    struct bk_h2 *h2; /* from then on */
    int fd;           /* its connection's */
    struct bk_control *control;
    struct bk_h2_stream *control_stream;
    /* It was told of its stream before it stood (outgoing_early.c); until it is used. */
    struct bk_h2 *early;
    struct bk_h2_stream *early_stream;
    struct bk_addr came_to; /* an address of ours that the device dialled; port 0: none */
    bool retiring;
    bool pinged;  /* bk_outgoing_ping awaits its answer */
    bool probing; /* since `probed`, for an answer */
    bk_time probed;
    const char *doubt; /* why */
    bool asked;        /* see lib/pulse.h */
    bk_time asked_at;
    const char *cut; /* why we ended it ourselves */
};

/* A connection that is being opened: dialled, met halfway, or come by the relay. */
struct bk_outgoing_dial {
    struct bk_outgoing *call;
    struct bk_candidate candidate;
    struct bk_conn *conn;
    struct bk_punch *punch;
};

/* The relays that the server told, and the address that one of them gives us. */
struct bk_outgoing_relay {
    struct bk_relayed *relayed;
    bool stands;
    struct bk_addr addr;
    size_t n, next; /* relays, and the one after that which is tried */
    struct {
        char host[BK_RELAY_HOST_MAX_BYTES + 1];
        uint16_t port;
        bool servers; /* the server itself: it leads connections by the call's name, too */
    } relays[BK_INFO_RELAYS_MAX];
    bool https; /* the server takes connections on port 443 */
    char username[BK_RELAY_USERNAME_MAX_BYTES + 1], password[BK_RELAY_PASSWORD_MAX_BYTES + 1];
    bool v6;
    size_t n_permits;
    struct bk_addr permits[BK_RELAYED_PERMITS_MAX];
    char why[160]; /* the last one that failed */
};

struct bk_outgoing {
    struct beckon_client *client;
    struct bk_outgoing_callbacks on;
    struct bk_requester *core;
    struct event *timer, *end;
    bk_time started;
    struct bk_record *record; /* the client's */

    struct bk_resolve *question;
    struct bk_conn *server, *leaving; /* `leaving`: it ends in order */
    size_t server_index;
    struct bk_addr server_addrs[BK_RESOLVE_MAX];
    size_t n_server_addrs;
    char server_text[BK_TLS_TEXT_BYTES + 64]; /* why the server could not be asked */

    EVP_PKEY *call_key;
    X509 *call_cert;
    char call_name[BK_CALL_NAME_BYTES]; /* the TLS server name of the newest call ID */
    struct bk_listener *listener;
    struct bk_tls *call_tls; /* of the listener, and of what we dial: TLS server in each */
    struct bk_addr listening;
    struct bk_candidates *candidates;
    struct bk_candidate told[BK_OUTGOING_TOLD_MAX]; /* what the device may have been told of ours */
    size_t n_told;
    struct bk_outgoing_relay relay;
    struct bk_outgoing_dial dials[BK_OUTGOING_DIALS_MAX];
    size_t n_met; /* the device's addresses met halfway, the last ones */
    struct bk_addr met[BK_ARRIVAL_MET_MAX];

    uint8_t device_pin[BK_PIN_BYTES];
    uint64_t equipment_id;
    char service[BK_NAME_MAX_BYTES + 1]; /* empty: none is named */
    /* outgoing_known.c */
    struct bk_requester_known known;
    bool known_kept, known_changed,
        known_due; /* it is in its file; is not what is there; is to be written */
    struct event *settle;
    /* outgoing_early.c */
    struct bk_outgoing_early *early;
    struct event *early_lost;
    /* Called by this name, and whose it is only the server says; else empty. */
    char name[BK_NAME_MAX_BYTES + 1];

    uint64_t last_session;
    uint32_t strangers; /* told of in the log */
    struct bk_outgoing_session sessions[BK_OUTGOING_SESSIONS_MAX];
    struct bk_outgoing_session *preferred;
    char lost[BECKON_ERROR_TEXT_BYTES]; /* why the last session ended */
    struct bk_host_watch *watch;
    struct event *probe, *pulse;

    size_t n_later;
    struct bk_requester_event later[BK_OUTGOING_LATER_MAX];
    char password[BK_PASSWORD_MAX_BYTES]; /* from the user's answer until the core has taken it */
    enum beckon_status status;            /* of `over`, and its line */
    char text[BECKON_ERROR_TEXT_BYTES];
    bool own_port;         /* connections to the server do not leave by the listener's port */
    bool retried_own_port; /* nor does the present one, for once */
    bool expecting;        /* EXPECT was asked for: `device_pin` may come in */
    bool up;               /* told */
    bool ending;           /* bk_outgoing_end */
    bool begun;            /* the core has had its START */
    bool busy;             /* `out` is being carried out */
    bool over;             /* nothing more goes to the core; `status` and `text` are to be told */
    struct bk_requester_out out;
};

#define BK_OUTGOING_LOG(call, level, ...)                                                          \
    bk_log((call)->client->options.log, (call)->client->options.ctx, level, __VA_ARGS__)

/* Microseconds since the call's start; and a line of progress that begins with that time. */
uint64_t bk_outgoing_us(const struct bk_outgoing *c);
void bk_outgoing_say(struct bk_outgoing *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Hands an event to the core and carries out what it wants; what that brings about by itself waits its turn. */
void bk_outgoing_tell(struct bk_outgoing *c, const struct bk_requester_event *event);
void bk_outgoing_tell_type(struct bk_outgoing *c, enum bk_requester_event_type type);

/* Ends the call with this status, unless it has ended already; the owner is told later, from the loop. */
void bk_outgoing_fail(struct bk_outgoing *c, enum beckon_status status, const char *text);

/* Is this kind of path wanted (--path)? */
bool bk_outgoing_wants(const struct bk_outgoing *c, enum bk_candidate_kind kind);

/* outgoing_server.c */
void bk_outgoing_connect_server(struct bk_outgoing *c, size_t server);
void bk_outgoing_close_server(struct bk_outgoing *c);
void bk_outgoing_free_server(struct bk_outgoing *c);

/* outgoing_gather.c */
void bk_outgoing_gather(struct bk_outgoing *c);
void bk_outgoing_gather_relay(struct bk_outgoing *c, const struct bk_info *info,
                              const struct bk_addr *peer);
void bk_outgoing_permit(struct bk_outgoing *c, const struct bk_addr *peer);
/* There is a new `call_name`: the relay, where it is the server's, leads the device's connections by it from now on. */
void bk_outgoing_name_call(struct bk_outgoing *c);
void bk_outgoing_doubt(struct bk_outgoing *c, const struct bk_addr *mapped);
/* What the server told of how it sees us, for the record. */
void bk_outgoing_observed(struct bk_outgoing *c, const struct bk_info *info);
void bk_outgoing_free_gathered(struct bk_outgoing *c);

/* outgoing_dial.c */
enum beckon_status bk_outgoing_listen(struct bk_outgoing *c, struct beckon_error *error);
void bk_outgoing_dial(struct bk_outgoing *c, const struct bk_candidate *candidate);
void bk_outgoing_punch(struct bk_outgoing *c, const struct bk_requester_action *action);
void bk_outgoing_stop_dials(struct bk_outgoing *c);
/* The device has connected to `relayed`, an address of ours; takes the descriptor. */
void bk_outgoing_adopt(struct bk_outgoing *c, int fd, const struct bk_addr *relayed);
void bk_outgoing_free_dials(struct bk_outgoing *c);

/* outgoing_session.c */
/* A place with a number of its own; NULL: all are taken. */
struct bk_outgoing_session *bk_outgoing_new_session(struct bk_outgoing *c);
/* The device has proved itself on `conn`, which is taken, and freed where it is of no use. `by`: the candidate that
 * led there, ours or (`ours` false) the device's. */
void bk_outgoing_arrived(struct bk_outgoing *c, struct bk_conn *conn, enum bk_candidate_kind kind,
                         const struct bk_candidate *by, bool ours);
void bk_outgoing_use_session(struct bk_outgoing *c, uint64_t id);
void bk_outgoing_close_session(struct bk_outgoing *c, uint64_t id);
void bk_outgoing_retire_session(struct bk_outgoing *c, uint64_t id);
void bk_outgoing_send_paths(struct bk_outgoing *c, uint64_t id, struct bk_slice bytes);
void bk_outgoing_free_sessions(struct bk_outgoing *c);

struct bk_h2_config bk_outgoing_h2_config(struct bk_outgoing_session *s);

/* outgoing_watch.c */
/* Notices changes of the network from now on; goes without where the system does not tell them. */
void bk_outgoing_watch(struct bk_outgoing *c);
void bk_outgoing_probe(struct bk_outgoing_session *s);    /* asks for one */
void bk_outgoing_answered(struct bk_outgoing_session *s); /* a sign of life */
void bk_outgoing_look(
    struct bk_outgoing *c); /* there may be another session in use: do all still live? */
/* One was lost: what of the others? */
void bk_outgoing_ask_rest(struct bk_outgoing *c);
void bk_outgoing_free_watch(struct bk_outgoing *c);

/* outgoing_early.c: what the device is to be told first goes with our flight of the handshake. */
/* bk_conn_callbacks.early of a connection that would come about by `kind`. */
struct bk_slice bk_outgoing_begin_early(struct bk_outgoing *c, struct bk_conn *conn,
                                        enum bk_candidate_kind kind);
/* bk_conn_callbacks.early_lost. */
void bk_outgoing_early_lost(struct bk_conn *conn);
/* The session that was begun on it; NULL: none. `lost`: one was, and is not to be gone on with. */
struct bk_outgoing_session *bk_outgoing_early_session(struct bk_conn *conn, bool *lost);
/* What was begun belongs to a call ID that is past, or to nobody any more. */
void bk_outgoing_drop_early(struct bk_outgoing *c);
enum beckon_status bk_outgoing_ready_early(struct bk_outgoing *c, struct beckon_error *error);

/* outgoing_known.c: what is kept of a device from call to call. */
void bk_outgoing_load_known(struct bk_outgoing *c, struct bk_requester_known *out);
void bk_outgoing_learn(struct bk_outgoing *c, const struct bk_requester_known *told);
void bk_outgoing_came_to(struct bk_outgoing *c, const struct bk_addr *came_to);
void bk_outgoing_settle_known(struct bk_outgoing *c); /* writes what is due */

/* outgoing_ask.c */
void bk_outgoing_ask_pin(struct bk_outgoing *c, uint64_t equipment_id,
                         const uint8_t pin[BK_PIN_BYTES]);
void bk_outgoing_ask_password(struct bk_outgoing *c, bool key_refused);

#endif
