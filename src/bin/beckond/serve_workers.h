/* The threads that work on the datagrams of the first UDP port: for each address that the server listens on, one for each
 * shard of the location table, fed with its devices' datagrams by the kernel. What is not for a worker to decide goes to the
 * main thread, which owns the core, by a mailbox.
 *
 * A worker touches its shard, under the shard's lock, which it takes once a batch; its own sockets and buffers; the mailbox;
 * and of struct bk_serve only what does not change while workers run: addresses and sockets. */
#ifndef BK_BECKOND_SERVE_WORKERS_H
#define BK_BECKOND_SERVE_WORKERS_H

#include "beckon/beckon.h"
#include "core/server/server.h"
#include "net/ways.h"

struct bk_serve;
struct bk_serve_workers;

/* Opens the sockets of all addresses, and says on standard error what fails. As many shards as the configuration wants
 * workers, or one, where this kernel cannot tell datagrams apart. */
enum beckon_status bk_serve_workers_open(struct bk_serve *s);
uint32_t bk_serve_workers_shards(const struct bk_serve_workers *w);
struct bk_shard_lock bk_serve_workers_lock(struct bk_serve_workers *w);
/* The numbers of the local addresses that the socket of that address is reached at. */
struct bk_ways *bk_serve_workers_ways(struct bk_serve_workers *w, size_t socket);

/* With the core made: makes the threads, which wait, so that they are there before system calls are restricted. */
enum beckon_status bk_serve_workers_start(struct bk_serve *s);
/* Lets them read. */
void bk_serve_workers_go(struct bk_serve_workers *w);
/* Ends the threads, if there are any: afterwards the core is touched by nobody else. */
void bk_serve_workers_stop(struct bk_serve_workers *w);
void bk_serve_workers_free(struct bk_serve_workers *w);

/* Sends by the socket of that address and shard. Any thread. */
void bk_serve_workers_send(const struct bk_serve_workers *w, size_t socket, uint8_t shard,
                           unsigned way, const struct bk_addr *to, struct bk_slice bytes);

#endif
