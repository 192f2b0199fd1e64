/* A UDP socket: batches in (recvmmsg), batches out (sendmmsg). Sends made while a batch is being handed
 * out leave together at its end. What the network says about sent datagrams (ICMP) is ignored, as is a
 * full send buffer: UDP may lose. Without OpenSSL. */
#ifndef BK_NET_UDP_H
#define BK_NET_UDP_H

#include <event2/event.h>

#include "base/addr.h"
#include "net/ways.h"

enum {
    BK_UDP_BATCH = 32,
    BK_UDP_MAX_BYTES = 1500,               /* longer datagrams are dropped, in and out */
    BK_UDP_BUFFER_BYTES = 4 * 1024 * 1024, /* SO_RCVBUF asked for; the kernel may give less */
};

struct bk_udp;

struct bk_udp_callbacks {
    void *ctx;
    void (*received)(void *ctx, const struct bk_addr *from, struct bk_slice bytes);
    void (*batch_end)(void *ctx); /* after the last of a batch, before its answers leave; or NULL */
};

/* `bind_to`: "::" takes both families, port 0 any port; reuse_port: SO_REUSEPORT. `small`: a few KB of
 * buffers and no SO_RCVBUF (the idle agent). BK_E_IO: errno tells; BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_udp_new(struct event_base *base, const struct bk_addr *bind_to,
                                    bool reuse_port, bool small, const struct bk_udp_callbacks *on,
                                    struct bk_udp **out);
/* The socket may be freed within `received`. */
void bk_udp_free(struct bk_udp *udp);

/* Sends, or queues until the batch ends; the bytes are copied. False: it could not be sent (no route, say);
 * no reason to give up. */
bool bk_udp_send(struct bk_udp *udp, const struct bk_addr *to, struct bk_slice bytes);

/* A socket bound to "::" (unless `small`) hears on all addresses of the host. The way is the number of the one
 * that the datagram being handed out came to, below BK_UDP_WAYS; 0 if the socket has only one, or too many
 * were seen. What is sent by a way leaves from that address; by 0 the kernel chooses. */
unsigned bk_udp_way(const struct bk_udp *udp);
bool bk_udp_send_by(struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                    struct bk_slice bytes);

/* Numbers the ways as others do that share the table, which must live longer. To be said before any datagram comes. */
void bk_udp_share_ways(struct bk_udp *udp, struct bk_ways *ways);

/* From any thread, also while the owner works on the socket, as long as it is there. */
bool bk_udp_send_at_once(const struct bk_udp *udp, unsigned way, const struct bk_addr *to,
                         struct bk_slice bytes);

struct bk_addr bk_udp_local(const struct bk_udp *udp);

#endif
