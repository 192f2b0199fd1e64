/* How often a device lets itself be made to dial: limits for each target (IPv4 address, IPv6 /64) and in total,
 * over all callers, known and right as they are. It lives in the idle part, since a call's process ends with
 * it. What is refused is not dialled; the caller learns nothing of it (core/agent/call.h: NO_ANSWER). */
#ifndef BK_CORE_AGENT_DIALS_H
#define BK_CORE_AGENT_DIALS_H

#include "base/addr.h"
#include "base/bucket.h"
#include "base/clock.h"

enum {
    BK_DIALS_TARGETS_MAX =
        64, /* remembered; a further one is refused while all of them are in use */
    BK_DIALS_TARGET_BURST = 64,
    BK_DIALS_TARGET_PER_S = 8,
    BK_DIALS_TOTAL_BURST = 128,
    BK_DIALS_TOTAL_PER_S = 16,
};

struct bk_dials {
    struct bk_bucket total;
    struct {
        uint64_t key; /* bk_addr_rate_key; 0: free */
        struct bk_bucket bucket;
    } targets[BK_DIALS_TARGETS_MAX];
};

void bk_dials_init(struct bk_dials *d, const struct bk_now *now);
/* True if this address may be dialled now; counts it then. */
bool bk_dials_permit(struct bk_dials *d, const struct bk_now *now, const struct bk_addr *target);

#endif
