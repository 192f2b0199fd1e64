/* Durations, strictly: one number and one unit. */
#include "bin/beckond/duration.h"

#include "base/number.h"

static uint64_t unit_seconds(uint8_t unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return UINT64_C(24) * 3600;
    default:
        return 0;
    }
}

enum bk_err bk_duration_parse(struct bk_slice text, uint64_t *seconds)
{
    uint64_t unit, count;
    enum bk_err err;

    if (text.n < 2 || (unit = unit_seconds(text.p[text.n - 1])) == 0) {
        return BK_E_MALFORMED;
    }
    err = bk_number_parse(bk_slice(text.p, text.n - 1), BK_DURATION_MAX_S / unit, &count);
    if (err != BK_OK) {
        return err;
    }
    if (count == 0) {
        return BK_E_RANGE;
    }
    *seconds = count * unit;
    return BK_OK;
}
