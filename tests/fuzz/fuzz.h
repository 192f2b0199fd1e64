/* What the fuzz targets share. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdlib.h>

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process where libFuzzer sees it, whatever the build does with assert. */
static inline void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

#endif
