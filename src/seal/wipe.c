/* Overwriting secrets. Apart from seal.c, so that the idle agent has it without libsodium. */
#include "seal/seal.h"

void bk_wipe(void *p, size_t n)
{
    volatile uint8_t *byte = p; /* a store to it may not be left out */

    for (size_t i = 0; i < n; i++) {
        byte[i] = 0;
    }
}
