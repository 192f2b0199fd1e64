/* What the load can do. Each prints its result as one line of JSON, or several. */
#ifndef BENCH_DEVICES_MODES_H
#define BENCH_DEVICES_MODES_H

#include "devices/kinds.h"
#include "devices/sockets.h"
#include "devices/subject.h"

struct options {
    const struct kind *kind;
    struct load load;
    struct sockets *sockets;
    struct subject subject;
    uint32_t devices; /* senders are 0 to devices - 1 */
    uint64_t count;
    unsigned burst, window;
    unsigned interval_s;
    bool random; /* senders in no order, as the world's are */
};

/* `count` datagrams in bursts, each laid before the subject while that is held, so that it always finds full batches.
 * Its processor time is read before and after. */
void mode_burst(struct options *o);
/* `count` datagrams as they come: at most `window` unanswered, `burst` at a time, nobody held. */
void mode_stream(struct options *o);
/* Registers all devices, as fast as it goes, and answers every challenge. */
void mode_fill(struct options *o);
/* Keeps all devices registered, each in its turn every interval; `count` intervals, then the end. A line on standard
 * input: from now on count anew whom the server has confirmed, and say when it has confirmed all. */
void mode_keep(struct options *o);

uint64_t now_ns(void);

/* For fill and keep: what came back, if it is for one of the devices (else ANSWER_NONE). A challenge is answered at once, under
 * the counter that `next_counter` gives. */
enum answer take_answer(struct options *o, const uint8_t *bytes, size_t n, uint32_t *index,
                        uint32_t (*next_counter)(void *ctx, uint32_t index), void *ctx);

#endif
