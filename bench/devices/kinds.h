/* What a datagram of the load looks like, by name, and whether what came back is its answer. */
#ifndef BENCH_DEVICES_KINDS_H
#define BENCH_DEVICES_KINDS_H

#include "devices/wire.h"

enum {
    DATAGRAM_BYTES = 768, /* the largest that a kind makes */
};

struct load {
    struct wire wire;
    uint32_t counter; /* of all tags at this time */
    uint32_t serial;  /* goes into transaction IDs */
    size_t bytes;     /* of "echo" and "junk" */
};

struct kind {
    const char *name;
    bool answered;
    bool registers; /* a REGISTER: challenges are to be answered */
    size_t (*make)(const struct load *l, uint32_t index, uint8_t *out);
    bool (*is_answer)(const uint8_t *bytes, size_t n);
};

/* NULL if there is none of that name. */
const struct kind *kind_find(const char *name);
/* For the message to whoever mistyped it. */
const char *kind_names(void);

#endif
