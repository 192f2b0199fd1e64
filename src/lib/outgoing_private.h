/* The inside of an outgoing call, shared by the files that carry out its parts: outgoing.c (core, beginning,
 * end), outgoing_server.c, outgoing_session.c (where the device dials, and the session), outgoing_ask.c
 * (questions to the user). */
#ifndef BK_LIB_OUTGOING_PRIVATE_H
#define BK_LIB_OUTGOING_PRIVATE_H

#include <openssl/ssl.h>

#include "lib/client.h"
#include "lib/fail.h"
#include "lib/names.h"
#include "net/listener.h"

enum {
    BK_OUTGOING_LATER_MAX = 8,
    BK_OUTGOING_SESSIONS_MAX = BK_CANDIDATES_MAX,
    /* Taken on the callback address at one time, handshakes included. */
    BK_OUTGOING_CONNECTIONS_MAX = 128,
    /* The device may come on all candidates at once; more of one address are strangers, who must not fill it. */
    BK_OUTGOING_PER_ADDRESS_MAX = BK_CANDIDATES_MAX,
    BK_OUTGOING_STRANGERS_TOLD_MAX = 20, /* in the log, of those who knock at that address */
};

/* A connection on which the device proved itself; the core has not chosen yet. */
struct bk_outgoing_waiting {
    uint64_t id;
    SSL *ssl;
    struct bk_addr from;
};

struct bk_outgoing {
    struct beckon_client *client;
    struct bk_outgoing_callbacks on;
    struct bk_requester *core;
    struct event *timer;
    bk_time started;
    struct beckon_phases phases;
    struct bk_resolve *question;
    struct bk_conn *server;
    EVP_PKEY *call_key;
    X509 *call_cert;
    char call_name[BK_CALL_NAME_BYTES]; /* the TLS server name of the newest call ID */
    struct bk_listener *listener;
    struct bk_tls *listener_tls;
    struct bk_addr listening;
    struct bk_candidates *candidates;
    struct bk_candidate told[BK_CANDIDATES_MAX]; /* what the device is told of them */
    size_t n_told;
    char no_candidate[256];                   /* why there is none */
    char server_text[BK_TLS_TEXT_BYTES + 64]; /* why the server could not be asked */
    bool expecting;                           /* EXPECT was asked for: `device_pin` may come in */
    uint8_t device_pin[BK_PIN_BYTES];
    uint64_t equipment_id;
    /* Called by this name, and whose it is only the server says; else empty. */
    char name[BK_NAME_MAX_BYTES + 1];
    uint64_t last_session;
    uint32_t strangers; /* told of in the log */
    struct bk_outgoing_waiting waiting[BK_OUTGOING_SESSIONS_MAX];
    struct bk_h2 *session;
    bool begun; /* the core has had its START */
    bool busy;  /* `out` is being carried out */
    size_t n_later;
    struct bk_requester_event later[BK_OUTGOING_LATER_MAX];
    char password[BK_PASSWORD_MAX_BYTES]; /* from the user's answer until the core has taken it */
    bool over; /* nothing more goes to the core; `status` and `text` are to be told */
    enum beckon_status status;
    char text[BECKON_ERROR_TEXT_BYTES];
    struct bk_requester_out out;
};

#define BK_OUTGOING_LOG(call, level, ...)                                                          \
    bk_log((call)->client->options.log, (call)->client->options.ctx, level, __VA_ARGS__)

/* Hands an event to the core and carries out what it wants; what that brings about by itself waits its
 * turn. The call may be gone afterwards. */
void bk_outgoing_tell(struct bk_outgoing *c, const struct bk_requester_event *event);
void bk_outgoing_tell_type(struct bk_outgoing *c, enum bk_requester_event_type type);

/* Ends the call with this status, unless it has ended already; the owner is told by bk_outgoing_settle, the
 * last step of every way in from the loop. The call may be gone after that. */
void bk_outgoing_fail(struct bk_outgoing *c, enum beckon_status status, const char *text);
void bk_outgoing_settle(struct bk_outgoing *c);

/* outgoing_server.c */
void bk_outgoing_connect_server(struct bk_outgoing *c);

/* outgoing_session.c */
enum beckon_status bk_outgoing_listen(struct bk_outgoing *c, struct beckon_error *error);
void bk_outgoing_gather(struct bk_outgoing *c);
void bk_outgoing_use_session(struct bk_outgoing *c, uint64_t id);
void bk_outgoing_close_session(struct bk_outgoing *c, uint64_t id);
void bk_outgoing_close_sessions(struct bk_outgoing *c); /* those that were not chosen */

/* outgoing_ask.c */
void bk_outgoing_ask_pin(struct bk_outgoing *c, uint64_t equipment_id,
                         const uint8_t pin[BK_PIN_BYTES]);
void bk_outgoing_ask_password(struct bk_outgoing *c, bool key_refused);

#endif
