/* Simultaneous open of TCP (RFC 9293, 3.5, fig. 7) through NATs: dials one address from one local port again and again,
 * on a grid of instants that the other side keeps too, until a connection stands or the time is over. A listener of
 * ours on the same port should stand besides: it takes a SYN of the other side that comes between two tries, and
 * without it the host's own RST would close the mapping.
 *
 * What made this reliable: both sides listen and dial; both dial at common instants, 250 ms apart, so that neither
 * router has time to answer a SYN with RST before its own side's has left. TCP's own retransmissions come too late.
 * Where the way is longer than that, so is the time between two instants, and a try whose SYN has met the other side's
 * is left alone. */
#ifndef BK_NET_PUNCH_H
#define BK_NET_PUNCH_H

#include "net/conn.h"

enum {
    BK_PUNCH_EVERY_MS = 250,
    BK_PUNCH_CROSSED_MS =
        3000, /* a try whose SYNs have crossed is waited for so long, from its begin */
};

struct bk_punch;

struct bk_punch_config {
    /* TLS role, callbacks and limits of a connection that stands. `open` comes once, with the connection, which is
     * then its taker's; a connection whose handshake failed counts as a failed try. `closed` is never called.
     * `early` as everywhere, except that it may not set the connection's ctx. */
    struct bk_conn_config conn;
    struct bk_addr local; /* with the port of the listener */
    struct bk_addr peer;
    uint32_t first_ms; /* until the first try */
    uint32_t every_ms; /* between two instants, the same on both sides; 0: BK_PUNCH_EVERY_MS */
    uint32_t tries;    /* at least 1 */
    void (*over)(void *ctx, uint32_t tries,
                 const char *why); /* with conn's ctx: none stood; or NULL */
};

/* BK_E_NOMEM. After `over` or `open` it is still to be freed (from there, if liked). */
BK_NODISCARD enum bk_err bk_punch_new(struct event_base *base, const struct bk_punch_config *config,
                                      struct bk_punch **out);
uint32_t bk_punch_tries(const struct bk_punch *p); /* so far */
/* Ends what does not stand yet. NULL is fine. */
void bk_punch_free(struct bk_punch *p);

#endif
