/* Where the device can reach us: one address made by hand, or the host's own public ones, or what the
 * router maps to our port. */
#ifndef BK_LIB_CANDIDATES_H
#define BK_LIB_CANDIDATES_H

#include <event2/event.h>

#include "wire/call_request.h"

struct bk_candidates;

/* Told once. n = 0: nothing to be had, and `text` says why, for people. */
typedef void (*bk_candidates_fn)(void *ctx, const struct bk_candidate *list, size_t n,
                                 const char *text);

/* `port`: of our listener; `advertise` (may be NULL): the one candidate, made by hand. The callback comes
 * later, from the loop, within some 5 s. A port mapping is kept and renewed until bk_candidates_free, which
 * takes it back. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_candidates_new(struct event_base *base, uint16_t port,
                                           const struct bk_addr *advertise, bk_candidates_fn done,
                                           void *ctx, struct bk_candidates **out);
void bk_candidates_free(struct bk_candidates *c);

/* "mapped 4.17.168.2:5000" and the like. */
void bk_candidate_format(const struct bk_candidate *candidate, char *out, size_t cap);

#endif
