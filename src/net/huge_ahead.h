/* Large blocks of one size, got ready before they are asked for. The first touch of a huge page has the kernel clear it,
 * which takes milliseconds: a thread does that ahead, so that whoever grows a table does not wait. Costs the memory of
 * the blocks that lie ready; none before the first block is asked for. */
#ifndef BK_NET_HUGE_AHEAD_H
#define BK_NET_HUGE_AHEAD_H

#include "base/alloc.h"
#include "base/err.h"

enum {
    BK_HUGE_AHEAD_MAX = 4,
};

struct bk_huge_ahead;

/* `n` blocks of `bytes` (at least BK_HUGE_PAGE_BYTES) are to lie ready, at most BK_HUGE_AHEAD_MAX. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_huge_ahead_new(size_t bytes, unsigned n, struct bk_huge_ahead **out);
/* The thread, which takes no signals; until then blocks come as from bk_alloc_huge. Once. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_huge_ahead_start(struct bk_huge_ahead *h);
/* After the last block has been given back. NULL is no error. */
void bk_huge_ahead_free(struct bk_huge_ahead *h);

/* Blocks of that size as they lie ready, or made at once; others as from bk_alloc_huge. Any thread may take and give. */
struct bk_alloc bk_huge_ahead_alloc(struct bk_huge_ahead *h);

#endif
