/* Pins: the fingerprints of keys that people keep. A pin has exactly one text. */
#include "seal/identity.h"

#include "seal/seal.h"
#include "seal/text.h"

/* SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, section 4). */
static const uint8_t spki_head[12] = {0x30, 0x2A, 0x30, 0x05, 0x06, 0x03,
                                      0x2B, 0x65, 0x70, 0x03, 0x21, 0x00};

void bk_pin_of_key(const uint8_t key[BK_KEY_BYTES], uint8_t pin[BK_PIN_BYTES])
{
    struct bk_slice parts[2] = {BK_SLICE_OF(spki_head), bk_slice(key, BK_KEY_BYTES)};
    bk_sha256(parts, 2, pin);
}

void bk_pin_format(const uint8_t pin[BK_PIN_BYTES], char out[BK_PIN_TEXT_BYTES])
{
    /* 32 bytes are 43 characters: it always fits. */
    enum bk_err err = bk_base64_write(bk_slice(pin, BK_PIN_BYTES), out, BK_PIN_TEXT_BYTES);
    (void)err;
}

enum bk_err bk_pin_parse(struct bk_slice text, uint8_t pin[BK_PIN_BYTES])
{
    size_t n;
    enum bk_err err = bk_base64_read(text, pin, BK_PIN_BYTES, &n);
    return err == BK_OK && n == BK_PIN_BYTES ? BK_OK : BK_E_MALFORMED;
}
