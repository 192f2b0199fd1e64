/* What the idle part has its helper do, the call program in another role: `sandbox` makes its system call filter, and
 * `resolve HOST PORT` looks a name up. The answer is one message over the channel. So neither libseccomp nor a resolver
 * is in the memory of a device that waits, and answers of name servers are read in a process of their own. */
#ifndef BK_LIB_AGENT_HELPER_H
#define BK_LIB_AGENT_HELPER_H

#include "base/addr.h"
#include "net/resolve.h"

enum {
    BK_RESOLVED_TEXT_BYTES = 80,
};

/* Both sides are of one build. */
struct bk_resolved_message {
    uint32_t failed; /* 0: n >= 1 addresses */
    uint32_t n;
    struct bk_addr addrs[BK_RESOLVE_MAX];
    char text[BK_RESOLVED_TEXT_BYTES]; /* why it failed */
};

#endif
