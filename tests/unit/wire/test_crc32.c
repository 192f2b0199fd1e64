/* CRC-32 by its published check value. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
