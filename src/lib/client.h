/* The client object, and one outgoing call: the shell of core/requester/requester.h. */
#ifndef BK_LIB_CLIENT_H
#define BK_LIB_CLIENT_H

#include "beckon/beckon.h"
#include "core/requester/requester.h"
#include "lib/candidates.h"
#include "lib/client_state.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "lib/outgoing_record.h"
#include "lib/sessions.h"
#include "net/h2.h"
#include "net/resolve.h"

struct beckon_client {
    struct beckon_client_options options; /* strings point into the members below */
    char state_dir[BK_PATH_BYTES];
    struct bk_addr listen;    /* where calls are taken; "::" and port 0 by default */
    struct bk_addr advertise; /* port 0: find out */
    struct bk_client_state state;
    struct event_base *base;
    struct bk_stop stop;
    struct bk_resolver *resolver;
    struct bk_sessions *sessions; /* of TLS with the servers; may be NULL */
    unsigned kinds;               /* of paths: bit 1 << enum bk_candidate_kind */
    struct bk_record record;      /* of the last call */
    bool renewal_tried;           /* of our certificate, */
    bk_time renewal_again;        /* not to be tried again before */
};

/* Renews our certificate where it is time, before a call. OK also where that failed and the call may be tried, REVOKED,
 * INTERRUPTED, PENDING (it has expired, and the next one is yet to be signed). */
enum beckon_status bk_client_renew(struct beckon_client *client, struct beckon_error *error);
/* As far as this host has a clock. */
bool bk_client_expired(const struct beckon_client *client);

struct bk_outgoing;

struct bk_outgoing_callbacks {
    void *ctx;
    /* The first stream will be one to the service named: it is opened with the handshake where that can be, and then
     * bk_outgoing_take_early has it. */
    bool early;
    /* A session stands: open streams now. Once. */
    void (*up)(void *ctx);
    /* One session has ended, its streams before it (BK_H2_LOST where `lost`); the call may have others, or be over: then
     * `over` follows. May be NULL. */
    void (*session_over)(void *ctx, bool lost, const char *text);
    /* Another session than before takes new streams from now on: a better one, or one in the place of one that was
     * lost. May be NULL. */
    void (*moved)(void *ctx);
    /* The call failed before, or its last session is over (OK: in order). Last, and from the top of the loop; the owner
     * frees the call, also from here. */
    void (*over)(void *ctx, enum beckon_status status, const char *text);
    /* As in bk_h2_callbacks, of any session; may be NULL. */
    void (*answered)(void *ctx, struct bk_h2_stream *s, int status);
    void (*finished)(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome);
    /* The answer to bk_outgoing_ping. */
    void (*pong)(void *ctx, bk_time round_trip);
};

/* Calls `device` (ID or name) naming `service` ("" for none); callbacks come from the loop, later.
 * USAGE, FAILED. */
enum beckon_status bk_outgoing_new(struct beckon_client *client, const char *device,
                                   const char *service, const struct bk_outgoing_callbacks *on,
                                   struct bk_outgoing **out, struct beckon_error *error);
/* Ends everything at once and takes back port mappings. */
void bk_outgoing_free(struct bk_outgoing *call);
/* Is there none that takes new streams, but may yet be: `up` or `moved` tells, or `over`? */
bool bk_outgoing_is_coming(const struct bk_outgoing *call);
/* The session for new streams: the best one that takes any; NULL: none does. Not to be kept: ask every time. */
struct bk_h2 *bk_outgoing_session(struct bk_outgoing *call);
/* In `up`, once: the stream that was opened ahead, without local ends (bk_h2_join); NULL: none was, open one. Its callbacks
 * are as those of others. */
struct bk_h2_stream *bk_outgoing_take_early(struct bk_outgoing *call);
/* One `pong` of that session; none comes if it ends before. BK_E_STATE: there is none, or one is awaited. */
BK_NODISCARD enum bk_err bk_outgoing_ping(struct bk_outgoing *call);
/* Ends all sessions in order; `over` tells when they have. */
void bk_outgoing_end(struct bk_outgoing *call);

#endif
