#include "devices/modes.h"

enum answer take_answer(struct options *o, const uint8_t *bytes, size_t n, uint32_t *index,
                        uint32_t (*next_counter)(void *ctx, uint32_t index), void *ctx)
{
    const uint8_t *nonce;
    enum answer a = wire_answer(bytes, n, index, &nonce);

    if (a == ANSWER_NONE || *index >= o->devices) {
        return ANSWER_NONE;
    }
    if (a == ANSWER_CHALLENGE) {
        uint8_t *to = sockets_next(o->sockets);

        sockets_put(o->sockets, *index,
                    wire_register(&o->load.wire, *index, next_counter(ctx, *index), false,
                                  o->load.serial, nonce, to));
    }
    return a;
}
