#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "devices/modes.h"

enum {
    TICK_NS = 500000,
    RETRY_NS = 500000000,
    TRIES_MAX = 6,
};

struct asked {
    uint64_t ns;
    uint32_t index, interval;
    uint8_t tries;
};

struct keep {
    struct options *o;
    uint32_t *confirmed; /* by device: the last interval in which the server has answered it */
    uint32_t *counter;   /* by device: of its newest tag */
    uint8_t *marked;     /* by device: confirmed since the mark */
    struct asked
        *asked; /* a ring: who was asked lately, each to be asked again unless confirmed by then */
    size_t room, first, n;
    uint32_t interval;
    uint64_t success, challenged, refused, resent, given_up;
    uint64_t mark_ns;
    uint32_t left; /* to be confirmed since the mark */
};

static void *get(size_t n, size_t bytes)
{
    void *p = calloc(n, bytes);

    if (p == NULL) {
        perror("devices");
        exit(1);
    }
    return p;
}

static void ask(struct keep *k, struct asked who)
{
    struct options *o = k->o;
    uint8_t *to = sockets_next(o->sockets);

    o->load.counter = ++k->counter[who.index];
    sockets_put(o->sockets, who.index, o->kind->make(&o->load, who.index, to));
    if (o->kind->answered && k->n < k->room) {
        who.ns = now_ns();
        k->asked[(k->first + k->n++) % k->room] = who;
    }
}

static void confirm(struct keep *k, uint32_t index)
{
    k->success++;
    k->confirmed[index] = k->interval;
    if (k->left > 0 && !k->marked[index]) {
        k->marked[index] = 1;
        if (--k->left == 0) {
            printf("{\"all_confirmed_s\": %.3f}\n", (double)(now_ns() - k->mark_ns) / 1e9);
            (void)fflush(stdout);
        }
    }
}

static uint32_t next_counter(void *ctx, uint32_t index)
{
    const struct keep *k = ctx;

    return ++k->counter[index];
}

static void take(void *ctx, const uint8_t *bytes, size_t n)
{
    struct keep *k = ctx;
    uint32_t index = 0;

    switch (take_answer(k->o, bytes, n, &index, next_counter, k)) {
    case ANSWER_CHALLENGE:
        k->challenged++;
        break;
    case ANSWER_SUCCESS:
        confirm(k, index);
        break;
    case ANSWER_REFUSED:
        k->refused++;
        break;
    case ANSWER_NONE:
        break;
    }
}

static void ask_again(struct keep *k)
{
    for (uint64_t now = now_ns(); k->n > 0 && k->asked[k->first].ns + RETRY_NS <= now;) {
        struct asked who = k->asked[k->first];

        k->first = (k->first + 1) % k->room;
        k->n--;
        if (k->confirmed[who.index] >= who.interval) {
            continue;
        }
        if (who.tries++ < TRIES_MAX) {
            k->resent++;
            ask(k, who);
        } else {
            k->given_up++;
        }
    }
}

static void read_mark(struct keep *k)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[64];

    if (poll(&in, 1, 0) == 1 && (in.revents & POLLIN) != 0 &&
        read(STDIN_FILENO, line, sizeof line) > 0) {
        for (uint32_t i = 0; i < k->o->devices; i++) {
            k->marked[i] = 0;
        }
        k->left = k->o->devices;
        k->mark_ns = now_ns();
        printf("{\"marked\": true}\n");
        (void)fflush(stdout);
    }
}

static void turn(struct keep *k)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};

    (void)sockets_take(k->o->sockets, take, k);
    ask_again(k);
    sockets_flush(k->o->sockets);
    read_mark(k);
    (void)nanosleep(&tick, NULL);
}

/* One interval: everyone in its turn. */
static void once(struct keep *k)
{
    struct options *o = k->o;
    const uint64_t took = (uint64_t)o->interval_s * 1000000000;
    const uint64_t began = now_ns();
    uint64_t sent = sockets_sent(o->sockets);
    uint32_t next = 0;

    k->interval++;
    o->load.serial++;
    k->success = k->challenged = k->refused = k->resent = k->given_up = 0;
    for (uint64_t passed = 0; passed < took || next < o->devices; passed = now_ns() - began) {
        uint64_t due = (uint64_t)((double)passed / (double)took * o->devices);

        for (unsigned i = 0; next < due && next < o->devices && i < 4 * BATCH; i++) {
            ask(k, (struct asked){.index = next++, .interval = k->interval});
        }
        turn(k);
    }
    printf("{\"interval\": %u, \"seconds\": %.3f, \"sent\": %llu, \"success\": %llu, "
           "\"challenged\": %llu, "
           "\"refused\": %llu, \"resent\": %llu, \"given_up\": %llu}\n",
           k->interval, (double)(now_ns() - began) / 1e9,
           (unsigned long long)(sockets_sent(o->sockets) - sent), (unsigned long long)k->success,
           (unsigned long long)k->challenged, (unsigned long long)k->refused,
           (unsigned long long)k->resent, (unsigned long long)k->given_up);
    (void)fflush(stdout);
}

void mode_keep(struct options *o)
{
    struct keep k = {.o = o, .room = 2 * (size_t)o->devices};

    k.confirmed = get(o->devices, sizeof *k.confirmed);
    k.counter = get(o->devices, sizeof *k.counter);
    k.marked = get(o->devices, 1);
    k.asked = get(k.room, sizeof *k.asked);
    for (uint32_t i = 0; i < o->devices; i++) {
        k.counter[i] =
            o->load.counter; /* more than ever before: what is not is challenged again and again */
    }
    for (uint64_t i = 0; i < o->count; i++) {
        once(&k);
    }
    free(k.confirmed);
    free(k.counter);
    free(k.marked);
    free(k.asked);
}
