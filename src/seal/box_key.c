/* The signed box key. Whether its times fit is for the caller to judge; here only who made it. */
#include "seal/box_key.h"

#include <sodium.h>
#include <string.h>

#include "base/reader.h"
#include "base/writer.h"

enum {
    VERSION = 1,
    SIGNED_BYTES = BK_BOX_KEY_BYTES - crypto_sign_BYTES,
};

/* Keeps this signature from meaning anything elsewhere, and others from meaning anything here. */
static const char context[] = "beckon box key v1";

/* The signed message: the context with its terminator, then the fields. */
struct message {
    uint8_t bytes[sizeof context + SIGNED_BYTES];
};

static struct message message_of(const uint8_t fields[SIGNED_BYTES])
{
    struct message m;
    memcpy(m.bytes, context, sizeof context);
    memcpy(m.bytes + sizeof context, fields, SIGNED_BYTES);
    return m;
}

void bk_box_key_sign(const struct bk_box_key *in, const uint8_t seed[BK_SIGN_SEED_BYTES],
                     uint8_t out[BK_BOX_KEY_BYTES])
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    struct bk_writer w = bk_writer(out, BK_BOX_KEY_BYTES);
    bk_write_u8(&w, VERSION);
    bk_write_bytes(&w, BK_SLICE_OF(in->key));
    bk_write_u64(&w, in->made_s);
    bk_write_u64(&w, in->until_s);
    struct message m = message_of(out);
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed); /* neither call can fail */
    (void)crypto_sign_detached(out + SIGNED_BYTES, NULL, m.bytes, sizeof m.bytes, secret_key);
    bk_wipe(secret_key, sizeof secret_key);
}

enum bk_err bk_box_key_check(struct bk_slice signed_key, const uint8_t signer[BK_KEY_BYTES],
                             struct bk_box_key *out)
{
    memset(out, 0, sizeof *out);
    if (signed_key.n != BK_BOX_KEY_BYTES || signed_key.p[0] != VERSION) {
        return BK_E_MALFORMED;
    }
    struct message m = message_of(signed_key.p);
    if (crypto_sign_verify_detached(signed_key.p + SIGNED_BYTES, m.bytes, sizeof m.bytes, signer) !=
        0) {
        return BK_E_AUTH;
    }
    struct bk_reader r = bk_reader(bk_slice(signed_key.p + 1, SIGNED_BYTES - 1));
    bk_read_copy(&r, out->key, sizeof out->key);
    out->made_s = bk_read_u64(&r);
    out->until_s = bk_read_u64(&r);
    return bk_reader_end(&r);
}
