/* "[ADDR:]PORT:SERVICE" of beckon forward, "udp:[ADDR:]PORT:SERVICE", and "socks:[ADDR:]PORT". */
#ifndef BK_LIB_FORWARD_SPEC_H
#define BK_LIB_FORWARD_SPEC_H

#include "base/addr.h"
#include "wire/attrs.h"

#define BK_FORWARD_UDP_PREFIX "udp:"
#define BK_FORWARD_SOCKS_PREFIX "socks:"

enum bk_forward_kind {
    BK_FORWARD_TCP,
    BK_FORWARD_UDP,
    BK_FORWARD_SOCKS,
};

struct bk_forward_spec {
    enum bk_forward_kind kind;
    struct bk_addr addr;                 /* 127.0.0.1 unless given */
    char service[BK_NAME_MAX_BYTES + 1]; /* SOCKS: empty */
};

/* BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_forward_spec_read(const char *text, struct bk_forward_spec *out);

#endif
