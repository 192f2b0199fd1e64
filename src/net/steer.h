/* Which of the sockets bound to one UDP port a datagram goes to, decided in the kernel (SO_ATTACH_REUSEPORT_CBPF):
 * the socket of the shard that its device's row lies in, so that workers have rows of their own. What carries no
 * EQUIPMENT-ID in front goes by the last byte of its transaction ID. A hint, no more: who receives a datagram checks
 * whose it is. */
#ifndef BK_NET_STEER_H
#define BK_NET_STEER_H

#include <stddef.h>
#include <stdint.h>

#include <linux/filter.h>

#include "base/err.h"

enum {
    BK_STEER_PROGRAM_MAX = 16,
};

/* The program for `n` sockets (1 to 256), in the order of their binding; returns how many instructions it has.
 * Reads what wire/register.h and its like write, and agrees with bk_shard_of (core/registrar/registrar.h). */
size_t bk_steer_program(uint32_t n, struct sock_filter out[BK_STEER_PROGRAM_MAX]);

/* Attaches it to the group that `fd` belongs to. BK_E_IO: errno tells. */
BK_NODISCARD enum bk_err bk_steer_attach(int fd, uint32_t n);

#endif
