/* getrandom(2) as the cores want it: all bytes, or no process. Keeps nothing. */
#include "lib/random_kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static enum bk_err fill_all(uint8_t *out, size_t n)
{
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);

        if (got < 0 && errno != EINTR) {
            return BK_E_IO;
        }
        if (got > 0) {
            out += got;
            n -= (size_t)got;
        }
    }
    return BK_OK;
}

static void fill(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    if (fill_all(out, n) != BK_OK) {
        abort(); /* nothing that is not random may go out as if it were */
    }
}

enum bk_err bk_random_kernel_check(void)
{
    uint8_t byte;

    return fill_all(&byte, sizeof byte);
}

struct bk_random bk_random_kernel(void)
{
    return (struct bk_random){NULL, fill};
}
