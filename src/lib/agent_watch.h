/* While a call is up: asks the server whether its caller may still call this device, and keeps asking. A server that
 * cannot be reached ends no call; one that says no does, within seconds. */
#ifndef BK_LIB_AGENT_WATCH_H
#define BK_LIB_AGENT_WATCH_H

#include <event2/event.h>

#include "base/addr.h"
#include "beckon/beckon.h"
#include "lib/certs.h"
#include "lib/sessions.h"
#include "net/resolve.h"
#include "wire/attrs.h"

struct bk_agent_watch_config {
    struct event_base *base;
    struct bk_resolver *resolver;
    const struct bk_credentials *own;
    struct bk_sessions *sessions;  /* may be NULL */
    const char *server;            /* its name; borrowed, as all of these, for the watch's life */
    struct bk_addr at;             /* where it was last, with the port for agents */
    uint32_t after_ms;             /* before it asks for the first time */
    const char *user;              /* whom the server named */
    uint64_t (*unix_s)(void *ctx); /* judges the server's certificate; 0: the host's clock does */
    void *time_ctx;
    void (*revoked)(
        void *ctx); /* once, from the loop: the caller may no longer call; may free the watch */
    void *revoked_ctx;
    beckon_log log;
    void *ctx;
};

struct bk_agent_watch;

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_agent_watch_new(const struct bk_agent_watch_config *config,
                                            struct bk_agent_watch **out);
void bk_agent_watch_free(struct bk_agent_watch *w); /* NULL is fine */

#endif
