#include <stdio.h>
#include <stdlib.h>

#include "devices/modes.h"

enum {
    OUTSTANDING_MAX = 4096, /* well below what the server's socket has room for */
    WAIT_US = 2000,
    SILENCE_NS = 300000000, /* after which what is outstanding counts as lost */
    PASSES_MAX = 20,
    PROOF_EVERY = 256, /* one answer in so many has its MAC checked */
};

struct fill {
    struct options *o;
    uint8_t *done; /* a bit each */
    uint64_t registered, challenged, refused, wrong, n;
    int64_t outstanding;
};

static bool is_done(const struct fill *f, uint32_t i)
{
    return (f->done[i / 8] >> (i % 8) & 1) != 0;
}

static void succeed(struct fill *f, const uint8_t *bytes, size_t n, uint32_t index)
{
    if (f->n++ % PROOF_EVERY == 0 && !wire_answer_proven(&f->o->load.wire, bytes, n, index)) {
        f->wrong++;
        return;
    }
    if (!is_done(f, index)) {
        f->done[index / 8] |= (uint8_t)(1U << (index % 8));
        f->registered++;
    }
}

static uint32_t next_counter(void *ctx, uint32_t index)
{
    const struct fill *f = ctx;

    (void)index;
    return f->o->load.counter + 1;
}

static void take(void *ctx, const uint8_t *bytes, size_t n)
{
    struct fill *f = ctx;
    uint32_t index = 0;

    switch (take_answer(f->o, bytes, n, &index, next_counter, f)) {
    case ANSWER_CHALLENGE:
        f->challenged++;
        break;
    case ANSWER_SUCCESS:
        f->outstanding--;
        succeed(f, bytes, n, index);
        break;
    case ANSWER_REFUSED:
        f->outstanding--;
        f->refused++;
        break;
    case ANSWER_NONE:
        break;
    }
}

/* Takes what came until there is room for more, or for a while nothing came. */
static void drain(struct fill *f, int64_t down_to)
{
    uint64_t heard = now_ns();

    while (f->outstanding > down_to) {
        size_t came = sockets_take(f->o->sockets, take, f);

        sockets_flush(f->o->sockets);
        if (came > 0) {
            heard = now_ns();
        } else if (now_ns() - heard > SILENCE_NS && subject_waiting(&f->o->subject) == 0) {
            f->outstanding = 0;
            sockets_forgive_gap(f->o->sockets);
        } else {
            sockets_wait(f->o->sockets, WAIT_US);
        }
    }
}

static void pass(struct fill *f)
{
    struct options *o = f->o;

    for (uint32_t i = 0; i < o->devices; i++) {
        if (is_done(f, i)) {
            continue;
        }
        if (f->outstanding >= OUTSTANDING_MAX) {
            drain(f, OUTSTANDING_MAX - BATCH);
        }
        uint8_t *to = sockets_next(o->sockets);
        sockets_put(
            o->sockets, i,
            wire_register(&o->load.wire, i, o->load.counter, false, o->load.serial, NULL, to));
        f->outstanding++;
    }
    sockets_flush(o->sockets);
    drain(f, 0);
}

void mode_fill(struct options *o)
{
    struct fill f = {.o = o, .done = calloc(1, o->devices / 8 + 1)};
    uint64_t began = now_ns();
    uint64_t before = o->subject.n > 0 ? subject_cpu_ns(&o->subject) : 0;
    int passes = 0;

    if (f.done == NULL) {
        perror("devices");
        exit(1);
    }
    for (; f.registered < o->devices && passes < PASSES_MAX; passes++) {
        pass(&f);
        o->load.counter += 2;
        o->load.serial++;
    }
    printf("{\"devices\": %u, \"registered\": %llu, \"challenged\": %llu, \"refused\": %llu, "
           "\"wrong\": %llu, "
           "\"passes\": %d, \"longest_gap_ms\": %.3f, \"sent\": %llu, \"cpu_ns\": %llu, "
           "\"seconds\": %.3f, \"counter\": %u}\n",
           o->devices, (unsigned long long)f.registered, (unsigned long long)f.challenged,
           (unsigned long long)f.refused, (unsigned long long)f.wrong, passes,
           (double)sockets_longest_gap_ns(o->sockets) / 1e6,
           (unsigned long long)sockets_sent(o->sockets),
           (unsigned long long)(o->subject.n > 0 ? subject_cpu_ns(&o->subject) - before : 0),
           (double)(now_ns() - began) / 1e9, o->load.counter);
    free(f.done);
}
