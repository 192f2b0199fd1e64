/* CRC-32, four bits at a time: a table of 16 entries is enough for messages of a hundred bytes. */
#include "wire/crc32.h"

/* table[i]: what the four bits i leave behind, by the reversed polynomial 0xEDB88320. */
static const uint32_t table[16] = {
    UINT32_C(0x00000000), UINT32_C(0x1DB71064), UINT32_C(0x3B6E20C8), UINT32_C(0x26D930AC),
    UINT32_C(0x76DC4190), UINT32_C(0x6B6B51F4), UINT32_C(0x4DB26158), UINT32_C(0x5005713C),
    UINT32_C(0xEDB88320), UINT32_C(0xF00F9344), UINT32_C(0xD6D6A3E8), UINT32_C(0xCB61B38C),
    UINT32_C(0x9B64C2B0), UINT32_C(0x86D3D2D4), UINT32_C(0xA00AE278), UINT32_C(0xBDBDF21C),
};

uint32_t bk_crc32(struct bk_slice bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= bytes.p[i];
        crc = crc >> 4 ^ table[crc & 0x0F];
        crc = crc >> 4 ^ table[crc & 0x0F];
    }
    return ~crc;
}
