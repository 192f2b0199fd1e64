/* The processes under measurement: held while a burst is laid before them, let go, and their processor time read. */
#ifndef BENCH_DEVICES_SUBJECT_H
#define BENCH_DEVICES_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SUBJECTS_MAX = 8,
};

struct subject {
    int pids[SUBJECTS_MAX];
    unsigned n;
    uint16_t port;
};

/* "123,124" */
bool subject_parse(struct subject *s, const char *text);
/* Returns when all of them stand still. */
void subject_hold(const struct subject *s);
void subject_let_go(const struct subject *s);
/* Of all their living threads. */
uint64_t subject_cpu_ns(const struct subject *s);
/* Bytes that wait in UDP sockets of that port in this network namespace. */
uint64_t subject_waiting(const struct subject *s);
/* Datagrams that these sockets had no room for, since they are there. */
uint64_t subject_dropped(const struct subject *s);

#endif
