/* Where the device can reach us, of what this host and its router know: an address made by hand, or the host's own
 * addresses and what the router maps to our port. A mapping is kept and renewed for as long as this lives. */
#ifndef BK_LIB_CANDIDATES_H
#define BK_LIB_CANDIDATES_H

#include <event2/event.h>

#include "net/portmap.h"
#include "wire/call_request.h"

enum {
    BK_CANDIDATES_HOSTS_MAX =
        4, /* of this host's addresses: the mapped, observed and relayed ones need room too */
};

struct bk_candidates;

/* None comes from inside a call. */
struct bk_candidates_callbacks {
    void *ctx;
    /* HOST or MAPPED; MAPPED comes again, with the same address, when its lease was renewed. */
    void (*candidate)(void *ctx, const struct bk_candidate *candidate);
    /* All of that kind have been told. `why`: none, and a phrase for people; else empty. */
    void (*gathered)(void *ctx, enum bk_candidate_kind kind, const char *why);
    /* For the log alone: of a mapping, or of a pinhole to a HOST candidate. */
    void (*note)(void *ctx, const char *text);
};

struct bk_candidates_config {
    struct bk_addr listening; /* of our listener; if it is of one address, only that is told */
    const struct bk_addr *advertise; /* or NULL: the one candidate, made by hand */
    bool no_host, no_mapping;        /* not wanted */
    struct bk_candidates_callbacks on;
};

/* Begins at once. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_candidates_new(struct event_base *base,
                                           const struct bk_candidates_config *config,
                                           struct bk_candidates **out);
/* The network has changed: tells all anew. A mapping is kept where our place in the network is the same. */
void bk_candidates_again(struct bk_candidates *c);
/* Nothing comes through this mapping: bk_portmap_doubt. */
void bk_candidates_doubt(struct bk_candidates *c, const struct bk_addr *mapped);
void bk_candidates_free(struct bk_candidates *c); /* takes mappings back. NULL is fine */

/* "mapped 4.17.168.2:5000" and the like. */
void bk_candidate_format(const struct bk_candidate *candidate, char *out, size_t cap);

#endif
