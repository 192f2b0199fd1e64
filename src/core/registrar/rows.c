/* The location table seen through time: a row that was not refreshed, or whose epoch has gone, counts as
 * absent at once, and is taken away by a sweep that looks at a bounded number of rows at a time. Nothing is sent from here. */
#include "core/registrar/state.h"

#include <string.h>

enum {
    SWEEP_ROWS = 4096, /* at a time; fewer where many go: each costs several waits for memory */
    SWEEP_GONE = 512,
    SWEEP_ROUND_MS = 30000, /* every row is looked at so often */
    SWEEP_MIN_MS = 5,
    SWEEP_MAX_MS = 1000,
};

/* How long a row lives without being heard of, by the class of the interval that its device has announced: about
 * three and a half of the longest interval of the class. Two bits of the mark are all the room there is. */
static const struct {
    uint16_t interval_s, expiry_s;
} lives[] = {{25, BK_REGISTRAR_EXPIRY_S}, {60, 225}, {120, 450}, {300, BK_REGISTRAR_EXPIRY_MAX_S}};

enum {
    CLASSES = sizeof lives / sizeof lives[0],
    CLASS_SHIFT = 2,
};

uint8_t bk_registrar_mark_of_interval(uint16_t interval_s)
{
    unsigned i = 0;
    while (i < CLASSES - 1 && interval_s > lives[i].interval_s) {
        i++;
    }
    return (uint8_t)(i << CLASS_SHIFT);
}

static uint32_t expiry_s(const struct bk_row *row)
{
    return lives[row->mark >> CLASS_SHIFT & (CLASSES - 1)].expiry_s;
}

bool bk_registrar_is_live(const struct bk_registrar *r, const struct bk_row *row, uint32_t now_s)
{
    uint16_t epoch;
    /* A row may have been seen a second ahead of now (bk_registrar_seen_now). */
    return (row->seen_s >= now_s || now_s - row->seen_s <= expiry_s(row)) &&
           bk_registrar_row_epoch(r, row, &epoch);
}

struct bk_row *bk_registrar_live_row(const struct bk_registrar *r, uint64_t equipment_id)
{
    struct bk_row *row = bk_table_find(&r->table, equipment_id);
    return row && bk_registrar_is_live(r, row, r->now_s) ? row : NULL;
}

void bk_registrar_sweep(struct bk_registrar *r, bk_time now)
{
    if (now < r->sweep_at) {
        return;
    }
    uint32_t gone = 0;
    for (uint32_t i = 0; i < SWEEP_ROWS && i < r->table.high && gone < SWEEP_GONE; i++) {
        const struct bk_row *row = bk_table_at(&r->table, r->sweep_next);
        if (row && !bk_registrar_is_live(r, row, r->now_s)) {
            gone += bk_table_remove(&r->table, row->equipment_id);
        }
        r->sweep_next = r->sweep_next + 1 < r->table.high ? r->sweep_next + 1 : 0;
    }
    uint64_t steps = r->table.high / SWEEP_ROWS + 1;
    uint64_t pause_ms = gone < SWEEP_GONE ? SWEEP_ROUND_MS / steps : SWEEP_MIN_MS;
    pause_ms = pause_ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : pause_ms;
    pause_ms = pause_ms > SWEEP_MAX_MS ? SWEEP_MAX_MS : pause_ms;
    r->sweep_at = bk_time_add(now, pause_ms * BK_MS);
}

/* False if the row is not live at that time. */
static bool show(const struct bk_registrar *r, const struct bk_row *row, const struct bk_now *now,
                 struct bk_location *out)
{
    uint32_t now_s = bk_registrar_seconds(r, now);
    if (!bk_registrar_is_live(r, row, now_s)) {
        return false;
    }
    *out = (struct bk_location){
        .equipment_id = row->equipment_id,
        .addr = {.port = row->port},
        .tag = {.random = row->tag_random, .counter = row->tag_counter},
        .generation = row->generation,
        .local = row->local,
        .last_seen = bk_time_add(r->started, row->seen_s * BK_SECOND),
    };
    memcpy(out->addr.ip, row->ip, sizeof out->addr.ip);
    return bk_registrar_row_epoch(r, row, &out->epoch);
}

bool bk_registrar_find(const struct bk_registrar *r, const struct bk_now *now,
                       uint64_t equipment_id, struct bk_location *out)
{
    const struct bk_row *row = bk_table_find(&r->table, equipment_id);
    return row && show(r, row, now, out);
}

bool bk_registrar_walk(const struct bk_registrar *r, const struct bk_now *now, uint64_t *cursor,
                       size_t max_rows, bool *found, struct bk_location *out)
{
    *found = false;
    for (; max_rows > 0 && *cursor < r->table.high && !*found; max_rows--) {
        const struct bk_row *row = bk_table_at(&r->table, (uint32_t)(*cursor)++);
        *found = row && show(r, row, now, out);
    }
    return *cursor < r->table.high;
}

uint64_t bk_registrar_rows(const struct bk_registrar *r)
{
    return r->table.rows;
}

void bk_registrar_stream_ended(struct bk_registrar *r, uint64_t equipment_id)
{
    const struct bk_row *row = bk_table_find(&r->table, equipment_id);
    if (row && row->local == BK_LOCAL_STREAM) {
        (void)bk_table_remove(&r->table, equipment_id);
    }
}
