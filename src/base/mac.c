/* Comparison of secrets. No branch and no index may depend on the bytes compared. */
#include "base/mac.h"

bool bk_equal_const_time(const uint8_t *a, const uint8_t *b, size_t n)
{
    volatile uint8_t diff = 0; /* volatile: the loop must not learn to stop early */
    for (size_t i = 0; i < n; i++) {
        diff = (uint8_t)(diff | (a[i] ^ b[i]));
    }
    return diff == 0;
}
