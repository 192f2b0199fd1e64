/* Registration keys: derived when needed, never kept. Whoever asks for one wipes it. */
#include "base/writer.h"
#include "core/server/state.h"

void bk_registration_key(const struct bk_mac_ops *mac, const uint8_t master[BK_KEY_BYTES],
                         uint64_t equipment_id, uint32_t generation, uint8_t key[BK_KEY_BYTES])
{
    uint8_t numbers[12];
    struct bk_writer w = bk_writer(numbers, sizeof numbers);
    bk_write_u64(&w, equipment_id);
    bk_write_u32(&w, generation);
    struct bk_slice parts[] = {bk_slice_text("beckon registration key 1"), bk_writer_bytes(&w)};
    mac->hmac_sha256(mac->ctx, bk_slice(master, BK_KEY_BYTES), parts, 2, key);
}

bool bk_server_device_key(const struct bk_server *s, uint16_t epoch, uint64_t equipment_id,
                          uint32_t generation, uint8_t key[BK_KEY_BYTES])
{
    for (size_t i = 0; i < s->config.n_master; i++) {
        const struct bk_master_key *m = &s->config.master[i];
        if (m->epoch == epoch) {
            bk_registration_key(&s->config.mac, m->key, equipment_id, generation, key);
            return true;
        }
    }
    return false;
}
