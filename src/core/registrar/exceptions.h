/* The devices that are not as usual: revoked, or enrolled again so that older generations of their key
 * are refused. Everybody else is accepted with any generation that verifies. */
#ifndef BK_CORE_REGISTRAR_EXCEPTIONS_H
#define BK_CORE_REGISTRAR_EXCEPTIONS_H

#include "base/map.h"
#include "core/registrar/registrar.h"

struct bk_exceptions {
    struct bk_map map;
    bool lost; /* memory ran out while one was to be kept */
};

/* BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_exceptions_init(struct bk_exceptions *e, const struct bk_alloc *alloc,
                                            const uint64_t seed[2]);
void bk_exceptions_fini(struct bk_exceptions *e);

/* True if that is news. */
bool bk_exceptions_set(struct bk_exceptions *e, uint64_t equipment_id, uint32_t lowest_generation,
                       bool revoked);
/* Raises the lowest generation, never lowers it; a revocation stays. True if that is news. */
bool bk_exceptions_raise(struct bk_exceptions *e, uint64_t equipment_id, uint32_t generation);

enum bk_standing bk_exceptions_check(const struct bk_exceptions *e, uint64_t equipment_id,
                                     uint32_t generation);

#endif
