/* Strict decimal numbers. There is exactly one text for each value, so what was parsed and formatted
 * again is the same text. */
#include "base/number.h"

enum bk_err bk_number_parse(struct bk_slice text, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (text.n == 0 || (text.n > 1 && text.p[0] == '0')) {
        return BK_E_MALFORMED;
    }
    uint64_t v = 0;
    bool over = false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return BK_E_MALFORMED; /* even behind digits too many: it is no number at all */
        }
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        if (over || v > (UINT64_MAX - digit) / 10) {
            over = true;
            continue;
        }
        v = v * 10 + digit;
    }
    if (over || v > max) {
        return BK_E_RANGE;
    }
    *out = v;
    return BK_OK;
}

bool bk_equipment_id_valid(uint64_t id)
{
    return id >= 1 && id <= BK_EQUIPMENT_ID_MAX;
}

enum bk_err bk_equipment_id_parse(struct bk_slice text, uint64_t *out)
{
    enum bk_err err = bk_number_parse(text, BK_EQUIPMENT_ID_MAX, out);
    return err == BK_OK && *out == 0 ? BK_E_RANGE : err;
}

void bk_number_format(uint64_t v, char out[21])
{
    char digits[20]; /* least significant first */
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (size_t i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }
    out[n] = '\0';
}
