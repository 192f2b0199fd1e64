/* Random bytes from the kernel, for the idle part, which carries no crypto library. */
#ifndef BK_LIB_RANDOM_KERNEL_H
#define BK_LIB_RANDOM_KERNEL_H

#include "base/err.h"
#include "base/random.h"

/* Waits until the kernel's generator is seeded. BK_E_IO: this kernel has none (before Linux 3.17). */
BK_NODISCARD enum bk_err bk_random_kernel_check(void);
/* getrandom(2); the process ends if it fails after a check went well. */
struct bk_random bk_random_kernel(void);

#endif
