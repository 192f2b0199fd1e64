/* Moments as text. Strict: every digit in its place, days that exist, no leap second. */
#include "lib/expiry.h"

enum {
    DATE_BYTES = 10,   /* 2027-01-31 */
    MOMENT_BYTES = 20, /* 2027-01-31T12:00:00Z */
    YEAR_FIRST = 1970,
    DAY_S = 86400,
};

/* Exactly `n` digits at `at`, at most `max`; false otherwise. */
static bool digits(struct bk_slice text, size_t at, size_t n, unsigned max, unsigned *out)
{
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return false;
        }
        *out = *out * 10 + (unsigned)(text.p[i] - '0');
    }
    return *out <= max;
}

static bool leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_of(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && leap(year) ? 29 : days[month - 1];
}

/* Days since 1970-01-01 of a date that exists. */
static uint64_t days_since(unsigned year, unsigned month, unsigned day)
{
    uint64_t n = day - 1;

    for (unsigned y = YEAR_FIRST; y < year; y++) {
        n += leap(y) ? 366 : 365;
    }
    for (unsigned m = 1; m < month; m++) {
        n += days_of(year, m);
    }
    return n;
}

enum bk_err bk_expiry_parse(struct bk_slice text, uint64_t *unix_s)
{
    unsigned year, month, day, hour, minute, second;

    if ((text.n != DATE_BYTES && text.n != MOMENT_BYTES) || text.p[4] != '-' || text.p[7] != '-' ||
        !digits(text, 0, 4, 9999, &year) || !digits(text, 5, 2, 12, &month) ||
        !digits(text, 8, 2, 31, &day) || year < YEAR_FIRST || month == 0 || day == 0 ||
        day > days_of(year, month)) {
        return BK_E_MALFORMED;
    }
    *unix_s = days_since(year, month, day) * DAY_S;
    if (text.n == DATE_BYTES) {
        *unix_s += DAY_S;
        return BK_OK;
    }
    if (text.p[10] != 'T' || text.p[13] != ':' || text.p[16] != ':' || text.p[19] != 'Z' ||
        !digits(text, 11, 2, 23, &hour) || !digits(text, 14, 2, 59, &minute) ||
        !digits(text, 17, 2, 59, &second)) {
        return BK_E_MALFORMED;
    }
    *unix_s += (uint64_t)hour * 3600 + (uint64_t)minute * 60 + second;
    return BK_OK;
}
