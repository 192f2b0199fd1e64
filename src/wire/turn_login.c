/* TURN's credentials: the key of a login, and names and passwords that end with time, which need no table on either side.
 * Keys and secrets are the caller's to wipe. */
#include "wire/turn.h"

#include <string.h>

#include "base/number.h"

void bk_turn_key(const struct bk_turn_ops *ops, struct bk_slice username, struct bk_slice realm,
                 struct bk_slice password, uint8_t key[BK_TURN_KEY_BYTES])
{
    struct bk_slice colon = bk_slice_text(":");
    struct bk_slice parts[] = {username, colon, realm, colon, password};
    ops->md5(ops->ctx, parts, sizeof parts / sizeof parts[0], key);
}

enum bk_err bk_turn_username(uint64_t expiry_s, struct bk_slice name,
                             char out[BK_TURN_USERNAME_TEXT_BYTES])
{
    char digits[21];
    out[0] = '\0';
    bk_number_format(expiry_s, digits);
    size_t n = strlen(digits);
    if (name.n > BK_TURN_USERNAME_TEXT_BYTES - n - 2 ||
        !bk_slice_to_text(name, out + n + 1, BK_TURN_USERNAME_TEXT_BYTES - n - 1)) {
        out[0] = '\0';
        return BK_E_RANGE;
    }
    memcpy(out, digits, n);
    out[n] = ':';
    return BK_OK;
}

enum bk_err bk_turn_username_read(struct bk_slice username, uint64_t *expiry_s,
                                  struct bk_slice *name)
{
    const uint8_t *colon = username.n == 0 ? NULL : memchr(username.p, ':', username.n);
    *expiry_s = 0;
    *name = BK_SLICE_EMPTY;
    if (colon == NULL) {
        return BK_E_MALFORMED;
    }
    size_t digits = (size_t)(colon - username.p);
    if (bk_number_parse(bk_slice(username.p, digits), UINT64_MAX, expiry_s) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *name = bk_slice(colon + 1, username.n - digits - 1);
    return BK_OK;
}

void bk_turn_password(const struct bk_turn_ops *ops, struct bk_slice secret,
                      struct bk_slice username, char out[BK_TURN_PASSWORD_TEXT_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t mac[BK_HMAC_SHA1_BYTES + 1] = {
        0}; /* 20 bytes are 27 digits, the last of them half full */
    size_t at = 0;
    ops->hmac_sha1(ops->ctx, secret, &username, 1, mac);
    for (size_t i = 0; i < BK_HMAC_SHA1_BYTES; i += 3) {
        uint32_t v = (uint32_t)mac[i] << 16 | (uint32_t)mac[i + 1] << 8 |
                     (i + 2 < sizeof mac ? mac[i + 2] : 0U);
        for (unsigned shift = 24; shift > 0; shift -= 6) {
            out[at++] = digits[v >> (shift - 6) & 63];
        }
    }
    out[BK_TURN_PASSWORD_TEXT_BYTES - 2] = '=';
    out[BK_TURN_PASSWORD_TEXT_BYTES - 1] = '\0';
}
