/* The steering program. A load beyond the datagram's end ends it with 0, the first socket. */
#include "net/steer.h"

#include <string.h>
#include <sys/socket.h>

enum {
    FIRST_ATTRIBUTE = 20,                   /* offset: behind the header of a message */
    EQUIPMENT_ID_FIRST = 0x4001 << 16 | 8,  /* its type and length */
    EQUIPMENT_ID_LOW = FIRST_ATTRIBUTE + 8, /* the lower half of the ID */
    TXID_LAST = 19,
    SHIFT = 16,
};
/* bk_shard_of: devices numbered in steps of a common width spread as well. */
#define SPREAD UINT32_C(0x9E3779B1)

size_t bk_steer_program(uint32_t n, struct sock_filter out[BK_STEER_PROGRAM_MAX])
{
    /* The numbers of jumps count instructions from the next one on. */
    const struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, EQUIPMENT_ID_LOW + 4, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIRST_ATTRIBUTE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EQUIPMENT_ID_FIRST, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, EQUIPMENT_ID_LOW),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, SHIFT),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
        BPF_STMT(BPF_RET | BPF_A, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TXID_LAST),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };

    _Static_assert(sizeof program / sizeof program[0] <= BK_STEER_PROGRAM_MAX, "room");
    memcpy(out, program, sizeof program);
    return sizeof program / sizeof program[0];
}

enum bk_err bk_steer_attach(int fd, uint32_t n)
{
    struct sock_filter instructions[BK_STEER_PROGRAM_MAX];
    const struct sock_fprog program = {.len = (unsigned short)bk_steer_program(n, instructions),
                                       .filter = instructions};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0
               ? BK_OK
               : BK_E_IO;
}
