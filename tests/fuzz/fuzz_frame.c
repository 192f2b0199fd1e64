/* Any bytes as a stream, arriving in pieces: however it is cut, the same messages come out and the
 * stream ends at the same place. The first byte seeds the sizes of the pieces. */
#include <string.h>

#include "fuzz.h"
#include "wire/stun.h"

enum {
    STREAM_MAX_BYTES = 4096,
};

struct outcome {
    enum bk_err err; /* BK_OK or BK_E_TRUNCATED: the stream may go on */
    size_t messages;
    size_t consumed;
};

/* Takes every whole message at the start of what has come. */
static void take_messages(struct bk_slice got, struct outcome *o)
{
    while (o->err == BK_OK && o->consumed < got.n) {
        struct bk_slice rest = bk_slice(got.p + o->consumed, got.n - o->consumed);
        size_t n;
        struct bk_stun m;
        enum bk_err err = bk_stun_frame(rest, &n);
        if (err == BK_E_TRUNCATED) {
            require(rest.n < 4);
            return;
        }
        if (err != BK_OK) {
            o->err = err;
            return;
        }
        require(n >= BK_STUN_HEADER_BYTES && n <= BK_STUN_STREAM_MAX_BYTES);
        if (rest.n < n) {
            return;
        }
        err = bk_stun_read(bk_slice(rest.p, n), &m);
        require(err == BK_OK || err == BK_E_MALFORMED);
        o->err = err;
        o->messages += err == BK_OK;
        o->consumed += err == BK_OK ? n : 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > STREAM_MAX_BYTES) {
        return 0;
    }
    uint32_t lcg = data[0];
    const uint8_t *stream = data + 1;
    size_t total = size - 1;
    struct outcome at_once = {BK_OK, 0, 0};
    struct outcome in_pieces = {BK_OK, 0, 0};
    take_messages(bk_slice(stream, total), &at_once);
    for (size_t got = 0; got < total && in_pieces.err == BK_OK;) {
        lcg = lcg * 1664525U + 1013904223U;
        size_t piece = 1 + (lcg >> 24) % 64;
        got += piece < total - got ? piece : total - got;
        uint8_t *exact = malloc(got); /* nothing behind what has come */
        require(exact != NULL);
        memcpy(exact, stream, got);
        take_messages(bk_slice(exact, got), &in_pieces);
        free(exact);
    }
    require(at_once.messages == in_pieces.messages && at_once.consumed == in_pieces.consumed);
    /* Which of two faults is named may depend on what had come by then. */
    require((at_once.err == BK_OK) == (in_pieces.err == BK_OK));
    return 0;
}
