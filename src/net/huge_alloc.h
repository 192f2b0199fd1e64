/* The allocator of what is large and read all over: tables of millions of rows. Blocks of 2 MiB and more come from the
 * kernel at addresses of huge pages, and asked to be such: each row read is then one wait for memory, not two. What is
 * smaller comes from the C library. Also keeps growth short: no block is ever moved or copied. */
#ifndef BK_NET_HUGE_ALLOC_H
#define BK_NET_HUGE_ALLOC_H

#include "base/alloc.h"

enum {
    BK_HUGE_PAGE_BYTES = 2 * 1024 * 1024,
};

/* Any thread may take and give, also what another has taken. */
struct bk_alloc bk_alloc_huge(void);

#endif
