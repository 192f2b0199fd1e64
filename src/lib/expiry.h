/* Moments as people write them into agent.conf. */
#ifndef BK_LIB_EXPIRY_H
#define BK_LIB_EXPIRY_H

#include "base/err.h"
#include "base/slice.h"

/* "2027-01-31": the end of that day; "2027-01-31T12:00:00Z": that moment. Both in UTC, years 1970 to 9999. Seconds
 * since 1970 at which it is over. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_expiry_parse(struct bk_slice text, uint64_t *unix_s);

#endif
