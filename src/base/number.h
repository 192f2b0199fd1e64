/* Strict decimal numbers: digits only, no sign, no space, no leading zero (but "0"), no overflow. */
#ifndef BK_BASE_NUMBER_H
#define BK_BASE_NUMBER_H

#include "base/err.h"
#include "base/slice.h"

/* BK_E_MALFORMED if not a number, BK_E_RANGE if above `max`. */
BK_NODISCARD enum bk_err bk_number_parse(struct bk_slice text, uint64_t max, uint64_t *out);

/* Equipment IDs: 1 to 2^63-1. Errors as above. */
#define BK_EQUIPMENT_ID_MAX UINT64_C(0x7FFFFFFFFFFFFFFF)
bool bk_equipment_id_valid(uint64_t id);
BK_NODISCARD enum bk_err bk_equipment_id_parse(struct bk_slice text, uint64_t *out);

/* Writes the decimal digits of v and a terminator; `out` has room for 21 bytes. */
void bk_number_format(uint64_t v, char out[21]);

#endif
