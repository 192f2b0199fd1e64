/* Which sessions of a call still live, where there are several: one that has been silent is asked for a sign of life,
 * and ended when it gives none while another does. Where none does all wait: the cable may be out for a moment, and
 * TCP goes on where it was. A single session is left to the keepalive of HTTP/2.
 *
 * Decides only: who calls it asks, ends, and calls again. */
#ifndef BK_LIB_PULSE_H
#define BK_LIB_PULSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

enum {
    BK_PULSE_AFTER_MS =
        8000, /* of silence it is asked, on the caller's side, which knows the session that matters; */
    BK_PULSE_AFTER_DEVICE_MS = 12000, /* the device mostly hears the caller ask before that */
    BK_PULSE_WAIT_MS = 5000,          /* for the sign of life */
    BK_PULSE_TICK_MS = 500,           /* how often one looks meanwhile */
};

struct bk_pulse {
    uint64_t quiet_ms; /* since the last sign of life */
    bk_time asked_at;  /* kept between two looks, as is: */
    bool asked;        /* it has been asked, then */
    bool in_use;       /* can be asked, and can do for the others */
    bool watched;      /* is ended when it is silent */
    bool ask, end;     /* out: to be done */
};

/* Looks at all sessions of a call. Returns after how many ms at the latest it is to be called again; 0: when there are
 * more sessions. */
uint32_t bk_pulse_look(struct bk_pulse *all, size_t n, uint32_t after_ms, bk_time now);

#endif
