/* The stateless proof of an address: text that only somebody who receives at that address can return,
 * good for one registration while the row stays as it is, for a few seconds.
 *
 *   3 bytes  seconds since the core's start, low 24 bits
 *   12 bytes HMAC-SHA-256, cut, under a key drawn at the core's start
 *
 * in base64url, 20 characters. */
#ifndef BK_CORE_REGISTRAR_NONCE_H
#define BK_CORE_REGISTRAR_NONCE_H

#include "base/mac.h"
#include "core/registrar/table.h"
#include "wire/register.h"

enum {
    BK_NONCE_LIFE_S = 5,
};

/* What a nonce is bound to. */
struct bk_nonce_facts {
    uint64_t equipment_id;
    uint32_t generation;
    struct bk_addr from;
    uint8_t local;
    const struct bk_row *row; /* as it stands; NULL if absent */
};

void bk_nonce_make(const struct bk_mac_ops *mac, const struct bk_mac_key *key, uint32_t now_s,
                   const struct bk_nonce_facts *facts, char out[BK_NONCE_BYTES + 1]);
bool bk_nonce_check(const struct bk_mac_ops *mac, const struct bk_mac_key *key, uint32_t now_s,
                    const struct bk_nonce_facts *facts, struct bk_slice nonce);

#endif
