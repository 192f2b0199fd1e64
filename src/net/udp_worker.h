/* A UDP port worked on by threads: one socket and one thread for each share of what comes (SO_REUSEPORT, net/steer.h).
 * A worker waits in recvmmsg, hands a batch over, and sends the answers in one sendmmsg, each to where its datagram
 * came from and from where it came to. Nothing is copied on the way, and nothing allocated after the start.
 *
 * Threads are made in order to be there before system calls are restricted (net/sandbox.h), and wait until they are
 * told to begin. They take no signals. */
#ifndef BK_NET_UDP_WORKER_H
#define BK_NET_UDP_WORKER_H

#include "base/addr.h"
#include "base/clock.h"
#include "net/ways.h"

enum {
    BK_UDP_WORKERS_MAX = 64, /* of one port */
    BK_UDP_WORKER_BATCH = 64,
    BK_UDP_WORKER_BYTES = 1500, /* longer datagrams are dropped */
};

struct bk_udp_worker;

/* A datagram as it came. Lives until the batch's function returns. */
struct bk_udp_datagram {
    struct bk_addr from;
    struct bk_slice bytes;
    uint8_t way; /* net/ways.h; 0 where the socket has one address only */
};

struct bk_udp_worker_callbacks {
    void *ctx;
    /* On the worker's thread. answers[i] is what goes back to the i-th datagram's sender: nothing, unless it is set.
     * Those bytes must stay as they are until the next call. */
    void (*batch)(void *ctx, const struct bk_udp_datagram *in, size_t n, struct bk_slice *answers);
    /* On the worker's thread, after each batch and when the time has come that it returned last: what is due. */
    bk_time (*due)(void *ctx);
};

/* Binds `*n` sockets (1 to BK_UDP_WORKERS_MAX) to that address and port, none of which another program has, for as
 * many workers, in the order in which net/steer.h numbers them. Where datagrams cannot be steered: one, and *n says
 * so, and errno why. `ways` is shared by all who are given it, and must live longer. Nothing is started.
 * BK_E_IO: errno tells; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_udp_workers_open(const struct bk_addr *bind_to, struct bk_ways *ways,
                                             unsigned *n, struct bk_udp_worker **out);

/* Makes the thread, and returns when it runs. BK_E_NOMEM: there can be no more threads. */
BK_NODISCARD enum bk_err bk_udp_worker_start(struct bk_udp_worker *w,
                                             const struct bk_udp_worker_callbacks *on);
/* Lets it read from now on. */
void bk_udp_worker_go(struct bk_udp_worker *w);
/* Ends the thread, started or not, and waits for it: its functions are not called any more. */
void bk_udp_worker_stop(struct bk_udp_worker *w);
/* After `stop`, or before `start`. NULL is fine. */
void bk_udp_worker_free(struct bk_udp_worker *w);

/* From any thread, until `free`. False: it could not be sent; no reason to give up. */
bool bk_udp_worker_send(const struct bk_udp_worker *w, unsigned way, const struct bk_addr *to,
                        struct bk_slice bytes);

struct bk_addr bk_udp_worker_local(const struct bk_udp_worker *w);

#endif
