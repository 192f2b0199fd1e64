/* What `beckon ping` found, and the forms in which it is shown. */
#ifndef BK_BIN_BECKON_PING_H
#define BK_BIN_BECKON_PING_H

#include <stdbool.h>
#include <stdio.h>

#include "beckon/beckon.h"

enum {
    PING_PHASES = 6,
};

struct ping_result {
    const char *device, *when; /* `when`: date and time, for people */
    const struct beckon_report *report;
    const double *round_trips_ms; /* in order */
    size_t n_round_trips;
    const struct beckon_error *error; /* NULL: it went well */
};

/* One phase: from the end of the one before it to its own; 0: it was not seen. */
struct ping_phase {
    const char *key, *text;
    uint64_t begun_us, ended_us;
};
void ping_phases(const struct beckon_phases *p, struct ping_phase out[PING_PHASES]);
/* When the last thing happened that a waterfall shows; at least 1. */
uint64_t ping_span_us(const struct beckon_report *report);

void ping_text(const struct ping_result *result);
bool ping_json(const struct ping_result *result); /* false: no memory */
/* One page that stands by itself: no script, nothing loaded. False: it could not be written (errno). */
bool ping_html(FILE *out, const struct ping_result *result);

#endif
