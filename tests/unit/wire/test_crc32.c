/* CRC-32 by its published check value, and by its definition, bit by bit. */
#include "support.h"

#include "wire/crc32.h"

static void known_values(void **state)
{
    (void)state;
    assert_true(bk_crc32(text("123456789")) == UINT32_C(0xCBF43926));
    assert_true(bk_crc32(BK_SLICE_EMPTY) == 0);
    assert_true(bk_crc32(text("a")) == UINT32_C(0xE8B7BE43));
    uint8_t all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (uint8_t)i;
    }
    assert_true(bk_crc32(BK_SLICE_OF(all)) == UINT32_C(0x29058C73)); /* every table entry */
}

static uint32_t by_definition(struct bk_slice bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= bytes.p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0xEDB88320) : 0);
        }
    }
    return ~crc;
}

/* Each byte at each place of the eight that are taken at once, and every remainder. */
static void as_defined(void **state)
{
    (void)state;
    uint8_t bytes[40] = {0};
    for (size_t at = 0; at < 16; at++) {
        for (unsigned value = 0; value < 256; value++) {
            bytes[at] = (uint8_t)value;
            assert_true(bk_crc32(bk_slice(bytes, 16)) == by_definition(bk_slice(bytes, 16)));
        }
    }
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 151 + n);
        }
        for (size_t from = 0; from <= n; from++) {
            struct bk_slice part = bk_slice(bytes + from, n - from);
            assert_true(bk_crc32(part) == by_definition(part));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
