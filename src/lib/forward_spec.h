/* "[ADDR:]PORT:SERVICE" of beckon forward. */
#ifndef BK_LIB_FORWARD_SPEC_H
#define BK_LIB_FORWARD_SPEC_H

#include "base/addr.h"
#include "wire/attrs.h"

struct bk_forward_spec {
    struct bk_addr addr; /* 127.0.0.1 unless given */
    char service[BK_NAME_MAX_BYTES + 1];
};

/* BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_forward_spec_read(const char *text, struct bk_forward_spec *out);

#endif
