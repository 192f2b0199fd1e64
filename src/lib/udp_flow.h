/* One end of a CONNECT-UDP stream (RFC 9298): datagrams in and out on this side, capsules on the stream's. What the stream
 * cannot take now is dropped, as UDP may drop it. */
#ifndef BK_LIB_UDP_FLOW_H
#define BK_LIB_UDP_FLOW_H

#include <event2/event.h>

#include "lib/capsule.h"
#include "wire/attrs.h"

enum {
    BK_UDP_PATH_BYTES = 24 + BK_NAME_MAX_BYTES + 4,
};

#define BK_UDP_PROTOCOL "connect-udp"

/* "/.well-known/masque/udp/NAME/1/"; `service` is a valid name. And the name in one; empty where there is none. */
void bk_udp_path(const char *service, char out[BK_UDP_PATH_BYTES]);
struct bk_slice bk_udp_path_name(const char *path);

struct bk_udp_flow;

struct bk_udp_flow_callbacks {
    void *ctx;
    void (*datagram)(void *ctx, struct bk_slice payload);
    void (*ended)(void *ctx); /* the stream is over: last; free it then, or here */
};

/* `*fd` is the stream's end, for bk_h2_open_extended or bk_h2_accept. BK_E_NOMEM, BK_E_IO. */
BK_NODISCARD enum bk_err bk_udp_flow_new(struct event_base *base,
                                         const struct bk_udp_flow_callbacks *on, int *fd,
                                         struct bk_udp_flow **out);
void bk_udp_flow_send(struct bk_udp_flow *f, struct bk_slice payload);
/* Ends the stream in order. NULL is fine. */
void bk_udp_flow_free(struct bk_udp_flow *f);

#endif
