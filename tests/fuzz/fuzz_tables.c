/* The containers against models that are too simple to be wrong: an array that is searched from its start.
 * Memory may run out in between; then a container says so and has changed nothing. */
#include "base/heap.h"
#include "base/map.h"
#include "core/registrar/table.h"
#include "core/server/pool.h"
#include "feed.h"

enum {
    KEYS = 1024, /* more than a first segment, or a first map, holds */
    ROWS_MAX = 1000,
    TIMERS = 32,
    PLACES = 16,
};

/* Keys of every size; equipment IDs are never 0. */
static uint64_t key_of(size_t i)
{
    return i % 2 == 0 ? i + 1 : (UINT64_C(0x7FFFFFFFFFFFFFFF) - i) / (i + 1) + KEYS;
}

static size_t feed_key(struct feed *f)
{
    return ((size_t)feed_u8(f) << 2 | (size_t)feed_bool(f) << 1) % KEYS;
}

/* A run of neighbours, so that few bytes of script make a container grow. */
static size_t feed_run(struct feed *f)
{
    uint8_t n = feed_u8(f);
    return n < 224 ? 1 : (size_t)(n - 223) * 8;
}

static void check_map(const struct bk_map *m, const uint64_t model[KEYS])
{
    size_t n = 0;
    for (size_t i = 0; i < KEYS; i++) {
        require(bk_map_get(m, key_of(i)) == model[i]);
        n += model[i] != 0;
    }
    require(m->len == n);
}

static void map(struct feed *f, struct feed_memory *memory, const uint64_t seed[2])
{
    struct bk_alloc alloc = feed_alloc(memory);
    uint64_t model[KEYS] = {0};
    struct bk_map m;
    if (bk_map_init(&m, &alloc, seed, feed_u8(f)) != BK_OK) {
        return;
    }
    while (f->left > 0) {
        uint8_t op = feed_u8(f);
        size_t first = feed_key(f);
        size_t run = feed_run(f);
        for (size_t i = first; i < first + run; i++) {
            size_t k = i % KEYS;
            if (op % 3 == 0) {
                require(bk_map_remove(&m, key_of(k)) == (model[k] != 0));
                model[k] = 0;
            } else if (bk_map_put(&m, key_of(k), op + i) == BK_OK) {
                model[k] = op + i;
            } else {
                require(memory->fail_from != 0 && model[k] == 0);
            }
        }
        require(m.len < m.cap);
    }
    check_map(&m, model);
    bk_map_fini(&m);
}

static void check_table(const struct bk_table *t, const uint32_t model[KEYS])
{
    size_t n = 0;
    for (size_t i = 0; i < KEYS; i++) {
        const struct bk_row *row = bk_table_find(t, key_of(i));
        require((row != NULL) == (model[i] != 0));
        require(row == NULL || (row->equipment_id == key_of(i) && row->generation == model[i]));
        n += model[i] != 0;
    }
    require(t->rows == n && t->high <= ROWS_MAX && n <= t->high);
    for (uint32_t i = 0; i < t->high; i++) {
        const struct bk_row *row = bk_table_at(t, i);
        n -= row != NULL;
        require(row == NULL || bk_table_find(t, row->equipment_id) == row);
    }
    require(n == 0 && bk_table_at(t, t->high) == NULL);
}

static void table_insert(struct bk_table *t, const struct feed_memory *memory, uint64_t id,
                         uint32_t value, uint32_t *model)
{
    struct bk_row *row = NULL;
    uint32_t before = t->rows;
    if (*model != 0) {
        return; /* must be absent */
    }
    enum bk_err err = bk_table_insert(t, id, &row);
    if (err == BK_OK) {
        require(row->equipment_id == id && row->generation == 0 && row->port == 0 &&
                row->tag_random == 0 && row->tag_counter == 0 && row->mark == 0);
        row->generation = value;
        *model = value;
    } else {
        require(t->rows == before && bk_table_find(t, id) == NULL);
        require(err == BK_E_NOSPACE ? before == t->max_rows : memory->fail_from != 0);
    }
}

static void table(struct feed *f, struct feed_memory *memory, const uint64_t seed[2])
{
    struct bk_alloc alloc = feed_alloc(memory);
    uint32_t model[KEYS] = {0};
    struct bk_table t;
    if (bk_table_init(&t, &alloc, &alloc, seed, ROWS_MAX) != BK_OK) {
        bk_table_fini(&t);
        return;
    }
    while (f->left > 0) {
        uint8_t op = feed_u8(f);
        size_t first = feed_key(f);
        size_t run = feed_run(f);
        for (size_t i = first; i < first + run; i++) {
            size_t k = i % KEYS;
            if (op % 3 == 0) {
                require(bk_table_remove(&t, key_of(k)) == (model[k] != 0));
                model[k] = 0;
            } else {
                table_insert(&t, memory, key_of(k), (uint32_t)(op + i), &model[k]);
            }
        }
    }
    check_table(&t, model);
    bk_table_fini(&t);
}

/* Every node knows its place, and the earliest of all that are set is the first. */
static void check_heap(const struct bk_heap *h, struct bk_timer timers[TIMERS])
{
    size_t set = 0;
    bk_time first = BK_TIME_NEVER;
    for (size_t i = 0; i < TIMERS; i++) {
        if (timers[i].slot != 0) {
            require(timers[i].slot <= h->len && h->nodes[timers[i].slot - 1] == &timers[i]);
            first = bk_time_min(first, timers[i].at);
            set++;
        }
    }
    require(h->len == set);
    require(set == 0 ? bk_heap_first(h) == NULL : bk_heap_first(h)->at == first);
}

static void heap(struct feed *f)
{
    struct bk_timer timers[TIMERS] = {0};
    struct bk_timer *nodes[TIMERS];
    struct bk_heap h;
    bk_heap_init(&h, nodes, TIMERS);
    while (f->left > 0) {
        uint8_t op = feed_u8(f);
        size_t i = op / 4 % TIMERS;
        if (op % 4 == 0) {
            bk_heap_clear(&h, &timers[i]);
            require(timers[i].slot == 0);
        } else if (op % 4 == 1) {
            bk_time now = feed_u8(f);
            const struct bk_timer *first = bk_heap_first(&h);
            const struct bk_timer *t = bk_heap_pop_due(&h, now);
            require(first != NULL && first->at <= now ? t != NULL && t->at <= now && t->slot == 0
                                                      : t == NULL);
        } else {
            bk_time at = feed_u8(f);
            bk_heap_set(&h, &timers[i], at);
            require(timers[i].at == at && timers[i].slot != 0);
        }
        check_heap(&h, timers);
    }
}

static void pool(struct feed *f, struct feed_memory *memory)
{
    struct bk_alloc alloc = feed_alloc(memory);
    bool model[PLACES + 1] = {false};
    uint32_t used = 0;
    struct bk_pool p;
    if (bk_pool_init(&p, &alloc, PLACES) != BK_OK) {
        return;
    }
    while (f->left > 0) {
        uint8_t op = feed_u8(f);
        uint32_t n = 1 + op / 2 % PLACES;
        if (op % 2 == 0) {
            n = bk_pool_take(&p);
            require(n == 0 ? used == PLACES : n <= PLACES && !model[n]);
            model[n] = n != 0;
            used += n != 0;
        } else if (model[n]) {
            bk_pool_give(&p, n);
            model[n] = false;
            used--;
        }
        require(p.used == used && p.high <= PLACES);
    }
    bk_pool_fini(&p, &alloc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    struct feed_memory memory = {0};
    const uint64_t seed[2] = {feed_u8(&f), 7};
    uint8_t which = feed_u8(&f);
    memory.fail_from = which < 128 ? 0 : (size_t)which - 120;
    switch (which % 4) {
    case 0:
        map(&f, &memory, seed);
        break;
    case 1:
        table(&f, &memory, seed);
        break;
    case 2:
        heap(&f);
        break;
    default:
        pool(&f, &memory);
        break;
    }
    require(memory.alive == 0);
    return 0;
}
