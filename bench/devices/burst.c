#include <stdio.h>
#include <time.h>

#include "devices/modes.h"

enum {
    STEP_US = 200,
    PATIENCE_US = 20000, /* with nothing more to be answered, and nothing coming */
};

struct burst {
    const struct kind *kind;
    uint64_t answers, others;
    uint64_t drain_ns; /* from being let go until everything had been taken up */
};

static void take(void *ctx, const uint8_t *bytes, size_t n)
{
    struct burst *b = ctx;

    if (b->kind->is_answer != NULL && b->kind->is_answer(bytes, n)) {
        b->answers++;
    } else {
        b->others++;
    }
}

/* Until the subject has taken everything up; nobody disturbs it meanwhile. */
static void await_drained(struct options *o, struct burst *b)
{
    const struct timespec step = {.tv_nsec = STEP_US * 1000};
    uint64_t began = now_ns();

    do {
        (void)nanosleep(&step,
                        NULL); /* and not poll(): whoever answers is not to have somebody to wake */
    } while (subject_waiting(&o->subject) > 0);
    b->drain_ns += now_ns() - began;
}

/* Until the subject has worked it off, and what it has to say has come. */
static void await_end(struct options *o, struct burst *b, uint64_t answers)
{
    const struct timespec step = {.tv_nsec = STEP_US * 1000};

    for (unsigned idle_us = 0; idle_us < PATIENCE_US;) {
        (void)nanosleep(&step, NULL);
        size_t came = sockets_take(o->sockets, take, b);
        bool worked_off = subject_waiting(&o->subject) == 0;

        if (worked_off && (!o->kind->answered || b->answers + b->others >= answers)) {
            return;
        }
        idle_us = came > 0 || !worked_off ? 0 : idle_us + STEP_US;
    }
}

static uint32_t sender_of(const struct options *o, uint64_t i)
{
    uint64_t z = (i + 1) * UINT64_C(0x9E3779B97F4A7C15) + o->load.counter;

    if (!o->random) {
        return (uint32_t)(i % o->devices);
    }
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) % o->devices);
}

static void lay(struct options *o, uint64_t *sent)
{
    for (unsigned i = 0; i < o->burst; i++) {
        uint32_t sender = sender_of(o, *sent);
        uint8_t *to = sockets_next(o->sockets);

        o->load.serial = (uint32_t)*sent;
        if (o->random || (*sent > 0 && *sent % o->devices == 0)) {
            o->load.counter++; /* nobody may say the same thing twice */
        }
        sockets_put(o->sockets, sender, o->kind->make(&o->load, sender, to));
        ++*sent;
    }
    sockets_flush(o->sockets);
}

static void report(const struct options *o, const struct burst *b, uint64_t sent, uint64_t dropped,
                   uint64_t cpu_ns, uint64_t began)
{
    printf("{\"sent\": %llu, \"answers\": %llu, \"others\": %llu, \"dropped\": %llu, \"cpu_ns\": "
           "%llu, "
           "\"drain_ns\": %llu, \"seconds\": %.3f, \"counter\": %u}\n",
           (unsigned long long)sent, (unsigned long long)b->answers, (unsigned long long)b->others,
           (unsigned long long)dropped, (unsigned long long)cpu_ns, (unsigned long long)b->drain_ns,
           (double)(now_ns() - began) / 1e9, o->load.counter + 1);
}

void mode_burst(struct options *o)
{
    struct burst b = {.kind = o->kind};
    uint64_t dropped = subject_dropped(&o->subject);
    uint64_t sent = 0;
    uint64_t began = now_ns();
    uint64_t before;

    (void)sockets_take(o->sockets, take, &b);
    b.answers = b.others = 0;
    before = subject_cpu_ns(&o->subject);
    while (sent < o->count) {
        subject_hold(&o->subject);
        lay(o, &sent);
        subject_let_go(&o->subject);
        await_drained(o, &b);
        await_end(o, &b, sent);
    }
    report(o, &b, sent, subject_dropped(&o->subject) - dropped,
           subject_cpu_ns(&o->subject) - before, began);
}

void mode_stream(struct options *o)
{
    struct burst b = {.kind = o->kind};
    uint64_t dropped = subject_dropped(&o->subject);
    uint64_t sent = 0;
    uint64_t began = now_ns();
    uint64_t before = subject_cpu_ns(&o->subject);
    const uint64_t most = (uint64_t)o->window;

    while (sent < o->count) {
        if (o->kind->answered && sent - b.answers - b.others >= most) {
            uint64_t heard = b.answers + b.others;
            if (sockets_take(o->sockets, take, &b) == 0) {
                sockets_wait(o->sockets, PATIENCE_US);
                (void)sockets_take(o->sockets, take, &b);
                if (b.answers + b.others == heard) {
                    break;
                }
            }
            continue;
        }
        lay(o, &sent);
        (void)sockets_take(o->sockets, take, &b);
    }
    await_end(o, &b, sent);
    report(o, &b, sent, subject_dropped(&o->subject) - dropped,
           subject_cpu_ns(&o->subject) - before, began);
}
