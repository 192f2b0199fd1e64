/* The TLS server name of a call. One-way: the call ID cannot be read from it. */
#include "lib/names.h"

#include <string.h>

#include "seal/seal.h"

void bk_call_name(const uint8_t call_id[BK_CALL_ID_BYTES], char out[BK_CALL_NAME_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    static const char suffix[] = BK_CALL_NAME_SUFFIX;
    const struct bk_slice parts[] = {bk_slice_text("beckon call name 1"),
                                     bk_slice(call_id, BK_CALL_ID_BYTES)};
    uint8_t hash[32];

    bk_sha256(parts, 2, hash);
    for (size_t i = 0; i < 16; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
    memcpy(out + 32, suffix, sizeof suffix);
}
