/* The local end of a stream: a descriptor to read from and one to write to (often the same socket), with a
 * queue before the second. Knows nothing of what is at the other end.
 *
 * Reading is asked for by the user, never done ahead: a pump holds no bytes of that direction. What is pushed and cannot
 * be written at once is queued; its bound is the user's business (a flow-control window).
 * Descriptors are the pump's from bk_pump_attach on. */
#ifndef BK_NET_PUMP_H
#define BK_NET_PUMP_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/err.h"
#include "base/slice.h"

struct bk_pump_callbacks {
    void (*readable)(void *ctx);          /* after BK_PUMP_WAIT: bk_pump_read is worth trying */
    void (*written)(void *ctx, size_t n); /* queued bytes went out */
    void (*out_done)(void *ctx);          /* everything written and the end passed on */
    void (*failed)(void *ctx, int error); /* the out side failed; nothing more is written */
};

struct bk_pump {
    struct event_base *base;
    const struct bk_pump_callbacks *on;
    void *ctx;
    int fd_in, fd_out;
    int in_flags, out_flags; /* as found, if they must be put back; else -1 */
    bool attached;
    bool in_polled, out_polled; /* false: a regular file or the like, always ready */
    bool ending;                /* the end follows what is queued */
    bool out_done;
    bool broken;
    struct event ev_in, ev_out; /* assigned when polled */
    uint8_t *queue;
    size_t q_off, q_len, q_cap;
};

enum { BK_PUMP_END = 0, BK_PUMP_WAIT = -1, BK_PUMP_ERROR = -2 };

void bk_pump_init(struct bk_pump *p, struct event_base *base, const struct bk_pump_callbacks *on,
                  void *ctx);

/* Takes the descriptors, also on failure (then they are closed). Pushed bytes that wait are written, with
 * callbacks, when the loop next runs. -1, -1: drops what is pushed and never yields anything. BK_E_IO. */
BK_NODISCARD enum bk_err bk_pump_attach(struct bk_pump *p, int fd_in, int fd_out);

/* Up to n bytes from fd_in: their number, or BK_PUMP_END, or BK_PUMP_WAIT (`readable` will come), or
 * BK_PUMP_ERROR (errno tells). */
long bk_pump_read(struct bk_pump *p, uint8_t *buf, size_t n);

/* Writes or queues all of `bytes`; `*written` went out at once. After a failure (BK_E_IO, errno; BK_E_NOMEM) nothing
 * is queued any more. Makes no callback. */
BK_NODISCARD enum bk_err bk_pump_push(struct bk_pump *p, struct bk_slice bytes, size_t *written);

/* After everything pushed, the end: shutdown(SHUT_WR), or close for what is no socket. BK_E_IO, errno.
 * Makes no callback: if all is done at once `p->out_done` is true on return. */
BK_NODISCARD enum bk_err bk_pump_end(struct bk_pump *p);

/* Closes both; with `reset`, sockets by RST, so that nobody takes it for a clean end. Can be called again. */
void bk_pump_close(struct bk_pump *p, bool reset);

#endif
