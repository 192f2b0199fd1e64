/* The location table seen through time: a row that was not refreshed, or whose epoch has gone, counts as
 * absent at once, and is taken away by a sweep that looks at a bounded number of rows at a time. Nothing is sent from here. */
#include "core/server/state.h"

#include <string.h>

enum {
    SWEEP_ROWS = 4096,
    SWEEP_ROUND_MS = 30000, /* every row is looked at so often */
    SWEEP_MIN_MS = 5,
    SWEEP_MAX_MS = 1000,
};

/* How long a row lives without being heard of, by the class of the interval that its device has announced: about
 * three and a half of the longest interval of the class. Two bits of the mark are all the room there is. */
static const struct {
    uint16_t interval_s, expiry_s;
} lives[] = {{25, BK_SERVER_EXPIRY_S}, {60, 225}, {120, 450}, {300, BK_SERVER_EXPIRY_MAX_S}};

enum {
    CLASSES = sizeof lives / sizeof lives[0],
    CLASS_SHIFT = 2,
};

uint8_t bk_server_mark_of_interval(uint16_t interval_s)
{
    uint8_t class = 0;
    while (class < CLASSES - 1 && interval_s > lives[class].interval_s) {
        class ++;
    }
    return (uint8_t)(class << CLASS_SHIFT);
}

static uint32_t expiry_s(const struct bk_row *row)
{
    return lives[row->mark >> CLASS_SHIFT & (CLASSES - 1)].expiry_s;
}

static bool is_live(const struct bk_server *s, const struct bk_row *row)
{
    uint16_t epoch;
    /* A row may have been seen a second ahead of now (bk_server_seen_now). */
    return (row->seen_s >= s->now_s || s->now_s - row->seen_s <= expiry_s(row)) &&
           bk_server_row_epoch(s, row, &epoch);
}

struct bk_row *bk_server_live_row(const struct bk_server *s, uint64_t equipment_id)
{
    struct bk_row *row = bk_table_find(&s->table, equipment_id);
    return row && is_live(s, row) ? row : NULL;
}

struct bk_addr bk_server_row_addr(const struct bk_row *row)
{
    struct bk_addr a = {.port = row->port};
    memcpy(a.ip, row->ip, sizeof a.ip);
    return a;
}

void bk_server_sweep(struct bk_server *s, bk_time now)
{
    if (now < s->sweep_at) {
        return;
    }
    for (uint32_t i = 0; i < SWEEP_ROWS && i < s->table.high; i++) {
        const struct bk_row *row = bk_table_at(&s->table, s->sweep_next);
        if (row && !is_live(s, row)) {
            (void)bk_table_remove(&s->table, row->equipment_id);
        }
        s->sweep_next = s->sweep_next + 1 < s->table.high ? s->sweep_next + 1 : 0;
    }
    uint64_t steps = s->table.high / SWEEP_ROWS + 1;
    uint64_t pause_ms = SWEEP_ROUND_MS / steps;
    pause_ms = pause_ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : pause_ms;
    pause_ms = pause_ms > SWEEP_MAX_MS ? SWEEP_MAX_MS : pause_ms;
    s->sweep_at = bk_time_add(now, pause_ms * BK_MS);
}

static void show(const struct bk_server *s, const struct bk_row *row, struct bk_server_row *out)
{
    out->equipment_id = row->equipment_id;
    out->addr = bk_server_row_addr(row);
    out->by_stream = row->local == BK_SERVER_LOCAL_STREAM;
    out->last_seen = bk_time_add(s->started, row->seen_s * BK_SECOND);
    if (!bk_server_row_epoch(s, row, &out->epoch)) {
        out->epoch = 0; /* live rows have one */
    }
}

uint64_t bk_server_rows(const struct bk_server *s)
{
    return s->table.rows;
}

bool bk_server_find(const struct bk_server *s, uint64_t equipment_id, struct bk_server_row *out)
{
    const struct bk_row *row = bk_server_live_row(s, equipment_id);
    if (row) {
        show(s, row, out);
    }
    return row != NULL;
}

bool bk_server_next(const struct bk_server *s, uint64_t *cursor, struct bk_server_row *out)
{
    while (*cursor < s->table.high) {
        const struct bk_row *row = bk_table_at(&s->table, (uint32_t)(*cursor)++);
        if (row && is_live(s, row)) {
            show(s, row, out);
            return true;
        }
    }
    return false;
}
