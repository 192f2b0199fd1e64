/* PATHS, an indication inside a call, both ways on its control stream: where each side can be reached now, so that a
 * relayed call finds a direct path, and any call another one when its network changes.
 *
 *   indication   ROUND [, ROUND-TRIP] [, CANDIDATE × 1..8]
 *
 * The requester begins a round (a number above all before, from 1); the device answers it once, under the same number,
 * with its own candidates, and dials: at once what it may dial, and half of ROUND-TRIP later, on the grid, the
 * requester's REFLEXIVE candidate; the requester dials when the answer comes. A device that would like a round (its
 * network has changed) says ROUND 0.
 *
 * The grid of a simultaneous open is reckoned by both sides from the same number, the sum of their round trips to the
 * server (in a round: ROUND-TRIP): a try must be able to stand before the next one takes its place. */
#ifndef BK_WIRE_PATHS_H
#define BK_WIRE_PATHS_H

#include "wire/call_request.h"

enum {
    BK_PATHS_MAX_BYTES = 20 + 8 + 8 + BK_CANDIDATES_MAX * 24,
    BK_PATHS_GRID_MS =
        250, /* between two instants, where both are near; and the unit where they are not */
    BK_PATHS_GRID_SPARE_MS = 50, /* over the round trip */
    BK_PATHS_GRID_LASTS_MS = 6000,
    BK_PATHS_TRIES_MIN = 6,
    BK_PATHS_SUM_MAX_MS = 3000, /* whatever is claimed */
};

struct bk_paths {
    uint16_t round;
    uint16_t round_trip_ms; /* of the call's session; 0: not known */
    size_t n_candidates;
    struct bk_candidate candidates[BK_CANDIDATES_MAX];
};

BK_NODISCARD enum bk_err bk_paths_read(const struct bk_stun *m, struct bk_paths *out);
BK_NODISCARD enum bk_err bk_paths_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        const struct bk_paths *in, struct bk_slice *out);

/* Between two tries of a simultaneous open, and how many there are. */
uint32_t bk_paths_grid_ms(uint32_t sum_ms);
uint32_t bk_paths_grid_tries(uint32_t every_ms);

#endif
