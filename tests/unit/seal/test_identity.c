/* Pins: of a known key, and their one text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "seal/identity.h"
#include "seal/seal.h"

static int setup(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK ? 0 : -1;
}

/* The key of RFC 8410, section 10.1; the pin is what
 * `openssl pkey -pubin -outform DER | openssl dgst -sha256` says of it, as base64url. */
static void pin_of_a_known_key(void **state)
{
    (void)state;
    const uint8_t key[BK_KEY_BYTES] = {0x19, 0xBF, 0x44, 0x09, 0x69, 0x84, 0xCD, 0xFE,
                                       0x85, 0x41, 0xBA, 0xC1, 0x67, 0xDC, 0x3B, 0x96,
                                       0xC8, 0x50, 0x86, 0xAA, 0x30, 0xB6, 0xB6, 0xCB,
                                       0x0C, 0x5C, 0x38, 0xAD, 0x70, 0x31, 0x66, 0xE1};
    uint8_t pin[BK_PIN_BYTES];
    char text[BK_PIN_TEXT_BYTES];
    bk_pin_of_key(key, pin);
    bk_pin_format(pin, text);
    assert_string_equal(text, "oekVYFTgT6yJmunydRMs3Ael28TqLCrTof_G4NJTaB8");
}

static void texts(void **state)
{
    (void)state;
    uint8_t pin[BK_PIN_BYTES];
    uint8_t back[BK_PIN_BYTES];
    char text[BK_PIN_TEXT_BYTES + 1];
    for (unsigned fill = 0; fill < 256; fill++) {
        memset(pin, (int)fill, sizeof pin);
        bk_pin_format(pin, text);
        assert_int_equal(strlen(text), BK_PIN_TEXT_BYTES - 1);
        assert_int_equal(bk_pin_parse(bk_slice_text(text), back), BK_OK);
        assert_memory_equal(pin, back, sizeof pin);
    }
    for (size_t n = 0; n < BK_PIN_TEXT_BYTES - 1; n++) {
        assert_int_equal(bk_pin_parse(bk_slice(text, n), back), BK_E_MALFORMED);
    }
    text[BK_PIN_TEXT_BYTES - 1] = 'A';
    assert_int_equal(bk_pin_parse(bk_slice(text, BK_PIN_TEXT_BYTES), back), BK_E_MALFORMED);
    const char refused[] = "+/= \n.";
    for (size_t i = 0; refused[i] != '\0'; i++) {
        bk_pin_format(pin, text);
        text[20] = refused[i];
        assert_int_equal(bk_pin_parse(bk_slice_text(text), back), BK_E_MALFORMED);
    }
    bk_pin_format(pin, text);
    text[42] = '9'; /* bits that no pin has: 256 bits in 43 characters leave two over */
    assert_int_equal(bk_pin_parse(bk_slice_text(text), back), BK_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pin_of_a_known_key),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
