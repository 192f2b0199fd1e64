/* The caller's own key: what it signs, and its text. Whom a device knows is judged elsewhere; keeps no secret. */
#include "seal/caller_key.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/writer.h"
#include "seal/text.h"

_Static_assert(BK_CALLER_SIGNATURE_BYTES + 0U == crypto_sign_BYTES, "Ed25519");
_Static_assert(BK_CALLER_KEY_TEXT_BYTES == (BK_KEY_BYTES * 4 + 2) / 3 + 1, "base64url");

/* Keeps this signature from meaning anything elsewhere, and others from meaning anything here. */
static const char context[] = "beckon caller signature 1";

/* The signed message: the context with its terminator, the pin of the device called, the text. */
struct message {
    uint8_t bytes[sizeof context + BK_PIN_BYTES + BK_CALLER_TEXT_MAX_BYTES];
    size_t n;
};

static void message_of(const uint8_t device_pin[BK_PIN_BYTES], struct bk_slice box_text,
                       struct message *m)
{
    struct bk_writer w = bk_writer(m->bytes, sizeof m->bytes);
    bk_write_bytes(&w, BK_SLICE_OF(context));
    bk_write_bytes(&w, bk_slice(device_pin, BK_PIN_BYTES));
    bk_write_bytes(&w, box_text);
    m->n = bk_writer_bytes(&w).n; /* 0 where it did not fit */
}

void bk_caller_key_of(const uint8_t seed[BK_SIGN_SEED_BYTES], uint8_t key[BK_KEY_BYTES])
{
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    (void)crypto_sign_seed_keypair(key, secret_key, seed); /* cannot fail */
    bk_wipe(secret_key, sizeof secret_key);
}

void bk_caller_sign(const uint8_t seed[BK_SIGN_SEED_BYTES], const uint8_t device_pin[BK_PIN_BYTES],
                    struct bk_slice box_text, uint8_t signature[BK_CALLER_SIGNATURE_BYTES])
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    struct message m;
    message_of(device_pin, box_text, &m);
    assert(m.n > 0);
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed); /* neither call can fail */
    (void)crypto_sign_detached(signature, NULL, m.bytes, m.n, secret_key);
    bk_wipe(secret_key, sizeof secret_key);
    bk_wipe(&m, sizeof m);
}

enum bk_err bk_caller_check(const uint8_t key[BK_KEY_BYTES], const uint8_t device_pin[BK_PIN_BYTES],
                            struct bk_slice box_text,
                            const uint8_t signature[BK_CALLER_SIGNATURE_BYTES])
{
    struct message m;
    message_of(device_pin, box_text, &m);
    /* libsodium refuses keys of small order and what is not canonical: no key but one fits a signature. */
    bool fits = m.n > 0 && crypto_sign_verify_detached(signature, m.bytes, m.n, key) == 0;
    bk_wipe(&m, sizeof m);
    return fits ? BK_OK : BK_E_AUTH;
}

void bk_caller_key_format(const uint8_t key[BK_KEY_BYTES], char out[BK_CALLER_KEY_TEXT_BYTES])
{
    /* 32 bytes are 43 characters: it always fits. */
    enum bk_err err = bk_base64_write(bk_slice(key, BK_KEY_BYTES), out, BK_CALLER_KEY_TEXT_BYTES);
    (void)err;
}

enum bk_err bk_caller_key_parse(struct bk_slice text, uint8_t key[BK_KEY_BYTES])
{
    size_t n;
    enum bk_err err = bk_base64_read(text, key, BK_KEY_BYTES, &n);
    return err == BK_OK && n == BK_KEY_BYTES ? BK_OK : BK_E_MALFORMED;
}
