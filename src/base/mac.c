/* Keys made ready, where the operations do not know how: then they are the key itself. And comparison of secrets: no
 * branch and no index may depend on the bytes compared. */
#include "base/mac.h"

#include <string.h>

void bk_mac_prepare(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                    struct bk_mac_key *out)
{
    if (mac->prepare) {
        mac->prepare(mac->ctx, key, out);
    } else {
        memset(out, 0, sizeof *out);
        memcpy(out->words, key, BK_KEY_BYTES);
    }
}

void bk_mac_prepared(const struct bk_mac_ops *mac, const struct bk_mac_key *key,
                     struct bk_slice bytes, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    if (mac->prepared) {
        mac->prepared(mac->ctx, key, bytes, out);
    } else {
        mac->hmac_sha256(mac->ctx, bk_slice(key->words, BK_KEY_BYTES), &bytes, 1, out);
    }
}

bool bk_equal_const_time(const uint8_t *a, const uint8_t *b, size_t n)
{
    unsigned diff = 0;
    for (size_t i = 0; i < n; i++) {
        diff |= (unsigned)(a[i] ^ b[i]);
        __asm__(""
                : "+r"(diff)); /* unknown to the compiler: the loop must not learn to stop early */
    }
    return diff == 0;
}
