/* Registration keys: derived when needed, never kept. Whoever asks for one wipes it. */
#include <string.h>

#include "base/writer.h"
#include "core/registrar/state.h"
#include "seal/seal.h"

static const char label[] = "beckon registration key 1";

enum {
    LABEL_BYTES = sizeof label - 1,
    NAMED_BYTES = LABEL_BYTES + 12, /* 37: one block of SHA-256 with all that goes behind it */
};

/* What the key is a MAC of. */
static void name_it(uint8_t out[NAMED_BYTES], uint64_t equipment_id, uint32_t generation)
{
    struct bk_writer w = bk_writer(out, NAMED_BYTES);
    bk_write_bytes(&w, bk_slice(label, LABEL_BYTES));
    bk_write_u64(&w, equipment_id);
    bk_write_u32(&w, generation);
}

void bk_registration_key(const struct bk_mac_ops *mac, const uint8_t master[BK_KEY_BYTES],
                         uint64_t equipment_id, uint32_t generation, uint8_t key[BK_KEY_BYTES])
{
    uint8_t name[NAMED_BYTES];
    name_it(name, equipment_id, generation);
    struct bk_slice part = BK_SLICE_OF(name);
    mac->hmac_sha256(mac->ctx, bk_slice(master, BK_KEY_BYTES), &part, 1, key);
}

bool bk_registrar_device_key(const struct bk_registrar *r, uint16_t epoch, uint64_t equipment_id,
                             uint32_t generation, struct bk_device_key *out)
{
    for (size_t i = 0; i < r->n_master; i++) {
        const struct bk_registrar_master *m = &r->master[i];
        if (m->epoch == epoch) {
            uint8_t name[NAMED_BYTES];
            name_it(name, equipment_id, generation);
            bk_mac_prepared(&r->config.mac, &m->key, BK_SLICE_OF(name), out->raw);
            bk_mac_prepare(&r->config.mac, out->raw, &out->key);
            return true;
        }
    }
    return false;
}
