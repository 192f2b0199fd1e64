/* What the idle part and the process of its tunnel say to each other (SOCK_SEQPACKET, one message a packet).
 *
 *   idle → tunnel  HELLO     which server, the time       once, first
 *   tunnel → idle  UP        the port that let TLS in     once
 *   both ways      MESSAGE   a STUN message, whole        from UP on
 *   tunnel → idle  DOWN      why, as one phrase           once, last
 *
 * Either side's end of the socket ends the other. No TLS here: the idle part links this. */
#ifndef BK_LIB_TUNNEL_CHANNEL_H
#define BK_LIB_TUNNEL_CHANNEL_H

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_TUNNEL_MESSAGE_BYTES = 512, /* of a message, and of a phrase */
};

enum bk_tunnel_type {
    BK_TUNNEL_HELLO = 1,
    BK_TUNNEL_UP = 2,
    BK_TUNNEL_MESSAGE = 3,
    BK_TUNNEL_DOWN = 4,
};

struct bk_tunnel_message {
    enum bk_tunnel_type type;
    uint8_t index;   /* HELLO: of agent.conf's servers */
    uint64_t unix_s; /* HELLO; 0: no time is known */
    uint16_t port;   /* UP */
    struct bk_slice
        bytes; /* MESSAGE, DOWN: at most BK_TUNNEL_MESSAGE_BYTES; of what was received, in `buf` */
    uint8_t buf[BK_TUNNEL_MESSAGE_BYTES];
};

/* BK_E_RANGE: too long. BK_E_CLOSED, BK_E_IO; BK_E_NOSPACE: the other side does not read. */
BK_NODISCARD enum bk_err bk_tunnel_send(int fd, const struct bk_tunnel_message *in);
/* BK_E_CLOSED at the end, BK_E_MALFORMED, BK_E_TRUNCATED when there is nothing now (non-blocking). */
BK_NODISCARD enum bk_err bk_tunnel_receive(int fd, struct bk_tunnel_message *out);

#endif
