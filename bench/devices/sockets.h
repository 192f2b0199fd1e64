/* Datagrams from many loopback addresses through few sockets: each says which address of 127.0.0.0/8 it leaves from. */
#ifndef BENCH_DEVICES_SOCKETS_H
#define BENCH_DEVICES_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SOCKETS_MAX = 64,
    BATCH = 64,
    ANSWER_BYTES = 2048,
};

struct sockets;

/* `n` sockets, bound to the ports from `first_port` on. Sender i is address i mod `sources`, and so on over the sockets.
 * Ends the program if the system will not. */
struct sockets *sockets_open(const char *address, uint16_t port, unsigned n, uint16_t first_port,
                             uint32_t sources);
/* Where to write the next datagram; sent with the others of its batch, at the latest by sockets_flush. */
uint8_t *sockets_next(struct sockets *s);
void sockets_put(struct sockets *s, uint32_t sender, size_t n);
void sockets_flush(struct sockets *s);
/* Hands over what has come, without waiting. How many. */
size_t sockets_take(struct sockets *s, void (*take)(void *ctx, const uint8_t *bytes, size_t n),
                    void *ctx);
/* Waits for an answer, at most so long. */
void sockets_wait(const struct sockets *s, unsigned us);
uint64_t sockets_sent(const struct sockets *s);
/* The longest time between two answers, by when the kernel had them; begins anew. */
uint64_t sockets_longest_gap_ns(struct sockets *s);
/* What comes next comes after a silence that is nobody's fault. */
void sockets_forgive_gap(struct sockets *s);

#endif
