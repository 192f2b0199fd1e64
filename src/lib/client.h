/* The client object, and one outgoing call: the shell of core/requester/requester.h. */
#ifndef BK_LIB_CLIENT_H
#define BK_LIB_CLIENT_H

#include "beckon/beckon.h"
#include "core/requester/requester.h"
#include "lib/candidates.h"
#include "lib/client_state.h"
#include "lib/files.h"
#include "lib/loop.h"
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
    bool renewal_tried;    /* of our certificate, */
    bk_time renewal_again; /* not to be tried again before */
};

/* Renews our certificate where it is time, before a call. OK also where that failed and the call may be tried, REVOKED,
 * INTERRUPTED, PENDING (it has expired, and the next one is yet to be signed). */
enum beckon_status bk_client_renew(struct beckon_client *client, struct beckon_error *error);
/* As far as this host has a clock. */
bool bk_client_expired(const struct beckon_client *client);

struct bk_outgoing;

struct bk_outgoing_callbacks {
    void *ctx;
    /* The session stands: open streams on it. */
    void (*up)(void *ctx, struct bk_h2 *session);
    /* The call failed before, or its session is over (OK: in order). Last; the owner frees the call, also
     * from here. */
    void (*over)(void *ctx, enum beckon_status status, const char *text);
    /* As in bk_h2_callbacks; may be NULL. */
    void (*answered)(void *ctx, struct bk_h2_stream *s, int status);
    void (*finished)(void *ctx, struct bk_h2_stream *s, const struct bk_h2_outcome *outcome);
    void (*pong)(void *ctx, bk_time round_trip);
};

/* Calls `device` (ID or name) naming `service` ("" for none); callbacks come from the loop, later.
 * USAGE, FAILED. */
enum beckon_status bk_outgoing_new(struct beckon_client *client, const char *device,
                                   const char *service, const struct bk_outgoing_callbacks *on,
                                   struct bk_outgoing **out, struct beckon_error *error);
/* Ends everything at once and takes back port mappings. */
void bk_outgoing_free(struct bk_outgoing *call);
/* The session, or NULL while it does not stand. */
struct bk_h2 *bk_outgoing_session(const struct bk_outgoing *call);
void bk_outgoing_phases(const struct bk_outgoing *call, struct beckon_phases *out);

#endif
