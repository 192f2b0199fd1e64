/* The lists of system calls, as data; sandbox.c makes a filter of them. Not for anybody else. */
#ifndef BK_NET_SANDBOX_CALLS_H
#define BK_NET_SANDBOX_CALLS_H

#include <stddef.h>

#include <seccomp.h>

enum {
    BK_SANDBOX_ARGS_MAX = 3,
};

/* Who may make a call: bits by enum bk_sandbox_kind. */
enum {
    BK_FOR_SERVER = 1 << 0,
    BK_FOR_IDLE = 1 << 1,
    BK_FOR_CALL = 1 << 2,
    BK_FOR_RENEW = 1 << 3,
    BK_FOR_ALL = BK_FOR_SERVER | BK_FOR_IDLE | BK_FOR_CALL | BK_FOR_RENEW,
};

/* Calls allowed whatever their arguments. */
struct bk_sandbox_group {
    unsigned who;
    const int *calls;
    size_t n;
};

/* A call allowed when all comparisons hold; several rows of one call are alternatives. */
struct bk_sandbox_rule {
    unsigned who;
    int call;
    unsigned n;
    struct scmp_arg_cmp args[BK_SANDBOX_ARGS_MAX];
};

extern const struct bk_sandbox_group bk_sandbox_groups[];
extern const size_t bk_sandbox_n_groups;

extern const struct bk_sandbox_rule bk_sandbox_rules[];
extern const size_t bk_sandbox_n_rules;

/* What no program of ours and no C library calls by itself, ever: who does has broken in. */
extern const int bk_sandbox_never[];
extern const size_t bk_sandbox_n_never;

/* What C libraries try and can do without. Not allowed because arguments are behind a pointer, where no
 * filter can look. */
extern const int bk_sandbox_absent[];
extern const size_t bk_sandbox_n_absent;

#endif
