/* CRC-32 of ITU V.42 (IEEE 802.3), which FINGERPRINT is made of (RFC 8489, 14.7). */
#ifndef BK_WIRE_CRC32_H
#define BK_WIRE_CRC32_H

#include "base/slice.h"

uint32_t bk_crc32(struct bk_slice bytes);

#endif
