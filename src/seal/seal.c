/* Sealing and opening of a call's boxes, and the hash, MAC and randomness that libsodium lends to
 * the layers below and beside. Keeps no secret: what it derives it wipes. */
#include "seal/seal.h"

#include <sodium.h>

_Static_assert(BK_KEY_BYTES == crypto_box_PUBLICKEYBYTES, "X25519 public key");
_Static_assert(BK_KEY_BYTES == crypto_box_SECRETKEYBYTES, "X25519 secret key");
_Static_assert(BK_SEAL_OVERHEAD_BYTES == crypto_box_SEALBYTES, "sealed box");
_Static_assert(BK_REPLY_OVERHEAD_BYTES == crypto_box_NONCEBYTES + crypto_box_MACBYTES, "box");

enum bk_err bk_seal_init(void)
{
    return sodium_init() < 0 ? BK_E_STATE : BK_OK;
}

static void fill_system(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    randombytes_buf(out, n);
}

struct bk_random bk_random_system(void)
{
    return (struct bk_random){NULL, fill_system};
}

static void hmac_sha256(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                        size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    (void)ctx;
    static const uint8_t nothing[1] = {0}; /* libsodium wants a pointer even to an empty key */
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key.n > 0 ? key.p : nothing, key.n);
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].n > 0) {
            (void)crypto_auth_hmacsha256_update(&state, parts[i].p, parts[i].n);
        }
    }
    (void)crypto_auth_hmacsha256_final(&state, out);
    bk_wipe(&state, sizeof state);
}

struct bk_mac_ops bk_mac_sodium(void)
{
    return (struct bk_mac_ops){.hmac_sha256 = hmac_sha256};
}

void bk_box_pair_make(const struct bk_random *rng, struct bk_box_pair *out)
{
    rng->fill(rng->ctx, out->secret_key, sizeof out->secret_key);
    (void)crypto_scalarmult_base(out->public_key, out->secret_key); /* fails for no secret key */
}

enum bk_err bk_seal_request(const uint8_t box_key[BK_KEY_BYTES], struct bk_slice plain,
                            uint8_t *out, size_t cap, struct bk_slice *sealed)
{
    *sealed = BK_SLICE_EMPTY;
    if (cap < BK_SEAL_OVERHEAD_BYTES || plain.n > cap - BK_SEAL_OVERHEAD_BYTES) {
        return BK_E_NOSPACE;
    }
    if (crypto_box_seal(out, plain.p, plain.n, box_key) != 0) {
        return BK_E_AUTH; /* a key of small order, which nobody honest has */
    }
    *sealed = bk_slice(out, plain.n + BK_SEAL_OVERHEAD_BYTES);
    return BK_OK;
}

enum bk_err bk_open_request(const struct bk_box_pair *pair, struct bk_slice sealed, uint8_t *out,
                            size_t cap, struct bk_slice *plain)
{
    *plain = BK_SLICE_EMPTY;
    if (sealed.n < BK_SEAL_OVERHEAD_BYTES) {
        return BK_E_AUTH;
    }
    size_t n = sealed.n - BK_SEAL_OVERHEAD_BYTES;
    if (n > cap) {
        return BK_E_NOSPACE;
    }
    if (crypto_box_seal_open(out, sealed.p, sealed.n, pair->public_key, pair->secret_key) != 0) {
        return BK_E_AUTH;
    }
    *plain = bk_slice(out, n);
    return BK_OK;
}

enum bk_err bk_seal_result(const uint8_t device_secret[BK_KEY_BYTES],
                           const uint8_t reply_key[BK_KEY_BYTES], const struct bk_random *rng,
                           struct bk_slice plain, uint8_t *out, size_t cap, struct bk_slice *sealed)
{
    *sealed = BK_SLICE_EMPTY;
    if (cap < BK_REPLY_OVERHEAD_BYTES || plain.n > cap - BK_REPLY_OVERHEAD_BYTES) {
        return BK_E_NOSPACE;
    }
    /* 24 random bytes do not repeat, however many results one pair of keys sees. */
    rng->fill(rng->ctx, out, crypto_box_NONCEBYTES);
    if (crypto_box_easy(out + crypto_box_NONCEBYTES, plain.p, plain.n, out, reply_key,
                        device_secret) != 0) {
        return BK_E_AUTH;
    }
    *sealed = bk_slice(out, plain.n + BK_REPLY_OVERHEAD_BYTES);
    return BK_OK;
}

enum bk_err bk_open_result(const uint8_t reply_secret[BK_KEY_BYTES],
                           const uint8_t device_box_key[BK_KEY_BYTES], struct bk_slice sealed,
                           uint8_t *out, size_t cap, struct bk_slice *plain)
{
    *plain = BK_SLICE_EMPTY;
    if (sealed.n < BK_REPLY_OVERHEAD_BYTES) {
        return BK_E_AUTH;
    }
    size_t n = sealed.n - BK_REPLY_OVERHEAD_BYTES;
    if (n > cap) {
        return BK_E_NOSPACE;
    }
    if (crypto_box_open_easy(out, sealed.p + crypto_box_NONCEBYTES,
                             sealed.n - crypto_box_NONCEBYTES, sealed.p, device_box_key,
                             reply_secret) != 0) {
        return BK_E_AUTH;
    }
    *plain = bk_slice(out, n);
    return BK_OK;
}

void bk_sha256(const struct bk_slice *parts, size_t n_parts, uint8_t out[32])
{
    crypto_hash_sha256_state state;
    (void)crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].n > 0) {
            (void)crypto_hash_sha256_update(&state, parts[i].p, parts[i].n);
        }
    }
    (void)crypto_hash_sha256_final(&state, out);
    bk_wipe(&state, sizeof state); /* what is hashed may be secret */
}
