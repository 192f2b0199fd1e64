/* A map from equipment ID to lowest generation and revocation. A revocation must not be forgotten: the
 * map has spare room, and if even that ends, devices without an entry are refused, not believed. */
#include "core/registrar/exceptions.h"

#define PRESENT (UINT64_C(1) << 33)
#define REVOKED (UINT64_C(1) << 32)
enum {
    SPARE = 1000,
};

enum bk_err bk_exceptions_init(struct bk_exceptions *e, const struct bk_alloc *alloc,
                               const uint64_t seed[2])
{
    e->lost = false;
    return bk_map_init(&e->map, alloc, seed, SPARE);
}

void bk_exceptions_fini(struct bk_exceptions *e)
{
    bk_map_fini(&e->map);
}

bool bk_exceptions_set(struct bk_exceptions *e, uint64_t equipment_id, uint32_t lowest_generation,
                       bool revoked)
{
    uint64_t old = bk_map_get(&e->map, equipment_id);
    uint64_t value = PRESENT | (revoked ? REVOKED : 0) | lowest_generation;
    if (value == PRESENT) {
        return bk_map_remove(&e->map, equipment_id);
    }
    if (value == old) {
        return false;
    }
    if (bk_map_put(&e->map, equipment_id, value) != BK_OK) {
        e->lost = true;
    }
    return true;
}

bool bk_exceptions_raise(struct bk_exceptions *e, uint64_t equipment_id, uint32_t generation)
{
    uint64_t old = bk_map_get(&e->map, equipment_id);
    /* Before the first generation there was none to refuse. */
    if (generation <= 1 || generation <= (uint32_t)old) {
        return false;
    }
    return bk_exceptions_set(e, equipment_id, generation, (old & REVOKED) != 0);
}

enum bk_standing bk_exceptions_check(const struct bk_exceptions *e, uint64_t equipment_id,
                                     uint32_t generation)
{
    uint64_t v = e->map.len == 0 ? 0 : bk_map_get(&e->map, equipment_id);
    if (v == 0) {
        return e->lost ? BK_STANDING_UNKNOWN : BK_STANDING_GOOD;
    }
    return (v & REVOKED) != 0 || generation < (uint32_t)v ? BK_STANDING_REVOKED : BK_STANDING_GOOD;
}
