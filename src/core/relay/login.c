/* Who asks: nonces and long-term credentials. Nothing is kept for a nonce: it names its time and is bound, under a key
 * made at the start, to that time and the address it was given to. */
#include <string.h>

#include "core/relay/state.h"
#include "seal/seal.h"

enum {
    TIME_DIGITS = 8,
};

static void put_hex(char *out, uint64_t v, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = hex[v & 15];
        v >>= 4;
    }
}

static bool get_hex(const uint8_t *p, size_t digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        uint8_t c = p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        *out = *out << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static uint64_t nonce_mac(const struct bk_relay_core *c, uint32_t at_s, const struct bk_addr *from)
{
    uint8_t bytes[6 + sizeof from->ip] = {
        'n',          'o', (uint8_t)(at_s >> 24), (uint8_t)(at_s >> 16), (uint8_t)(at_s >> 8),
        (uint8_t)at_s};
    memcpy(bytes + 6, from->ip, sizeof from->ip);
    return bk_hash_bytes(c->seed, BK_SLICE_OF(bytes));
}

void relay_nonce_write(const struct bk_relay_core *c, const struct bk_now *now,
                       const struct bk_addr *from, char out[BK_RELAY_NONCE_TEXT_BYTES + 1])
{
    uint32_t at_s = (uint32_t)(now->mono / BK_SECOND);
    put_hex(out, at_s, TIME_DIGITS);
    put_hex(out + TIME_DIGITS, nonce_mac(c, at_s, from), BK_RELAY_NONCE_TEXT_BYTES - TIME_DIGITS);
    out[BK_RELAY_NONCE_TEXT_BYTES] = '\0';
}

bool relay_nonce_good(const struct bk_relay_core *c, const struct bk_now *now,
                      const struct bk_addr *from, struct bk_slice nonce)
{
    char expected[BK_RELAY_NONCE_TEXT_BYTES + 1] = "";
    uint64_t at_s;
    if (nonce.n != BK_RELAY_NONCE_TEXT_BYTES || !get_hex(nonce.p, TIME_DIGITS, &at_s) ||
        (uint32_t)((uint32_t)(now->mono / BK_SECOND) - (uint32_t)at_s) > BK_RELAY_NONCE_S) {
        return false;
    }
    memcpy(expected, nonce.p, TIME_DIGITS);
    put_hex(expected + TIME_DIGITS, nonce_mac(c, (uint32_t)at_s, from),
            BK_RELAY_NONCE_TEXT_BYTES - TIME_DIGITS);
    return bk_equal_const_time(nonce.p, (const uint8_t *)expected, BK_RELAY_NONCE_TEXT_BYTES);
}

uint16_t relay_login_check(const struct bk_relay_core *c, const struct bk_now *now,
                           const struct relay_conn *conn, const struct bk_stun *m,
                           const struct bk_turn_request *request, struct relay_login *out)
{
    char password[BK_TURN_PASSWORD_TEXT_BYTES];
    memset(out, 0, sizeof *out);
    if (!request->has_mac) {
        return BK_CODE_UNAUTHENTICATED;
    }
    if (request->username.n == 0 || request->realm.n == 0 || request->nonce.n == 0) {
        return BK_CODE_BAD_REQUEST;
    }
    if (!bk_slice_equal(request->realm, bk_slice_text(BK_RELAY_REALM)) ||
        bk_turn_username_read(request->username, &out->expiry_s, &out->user) != BK_OK ||
        !bk_name_valid(out->user)) {
        return BK_CODE_UNAUTHENTICATED;
    }
    bk_turn_password(&c->config.ops, c->config.secret, request->username, password);
    bk_turn_key(&c->config.ops, request->username, request->realm, bk_slice_text(password),
                out->key);
    bk_wipe(password, sizeof password);
    if (bk_turn_check(m, &c->config.ops, out->key) != BK_OK) {
        return BK_CODE_UNAUTHENTICATED;
    }
    return relay_nonce_good(c, now, &conn->from, request->nonce) ? 0 : BK_CODE_STALE_NONCE;
}
