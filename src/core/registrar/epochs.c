/* The epochs of the registration keys that are accepted. A row keeps two bits of its epoch, so an epoch that
 * takes the place of one with the same bits must not inherit its rows: those seen before the change count
 * as absent, and the sweep takes them away. Invariant: nothing is sent under a key whose epoch has gone. */
#include <string.h>

#include "core/registrar/state.h"
#include "seal/seal.h"

enum { SLOT_MASK = BK_REGISTRAR_EPOCH_SLOTS - 1 };

uint8_t bk_registrar_epoch_slot(uint16_t epoch)
{
    return (uint8_t)(epoch & SLOT_MASK);
}

bool bk_registrar_epochs_fit(const struct bk_master_key *master, size_t n)
{
    if (n < 1 || n > BK_REGISTRAR_EPOCHS_MAX) {
        return false;
    }
    unsigned taken = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 1u << bk_registrar_epoch_slot(master[i].epoch);
        if ((taken & bit) != 0) {
            return false;
        }
        taken |= bit;
    }
    return true;
}

/* Of ours, and of those that are to come. */
static const struct bk_registrar_master *in_slot(const struct bk_registrar *r, uint8_t slot)
{
    for (size_t i = 0; i < r->n_master; i++) {
        if (bk_registrar_epoch_slot(r->master[i].epoch) == slot) {
            return &r->master[i];
        }
    }
    return NULL;
}

static bool stays(const struct bk_registrar_master *old, const struct bk_master_key *master,
                  size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (master[i].epoch == old->epoch) {
            return bk_equal_const_time(old->raw, master[i].key, sizeof old->raw);
        }
    }
    return false;
}

void bk_registrar_take_masters(struct bk_registrar *r, const struct bk_master_key *master, size_t n)
{
    bk_wipe(r->master, sizeof r->master);
    for (size_t i = 0; i < n; i++) {
        r->master[i].epoch = master[i].epoch;
        memcpy(r->master[i].raw, master[i].key, BK_KEY_BYTES);
        bk_mac_prepare(&r->config.mac, master[i].key, &r->master[i].key);
    }
    r->n_master = n;
}

enum bk_err bk_registrar_set_masters(struct bk_registrar *r, const struct bk_now *now,
                                     const struct bk_master_key *master, size_t n)
{
    if (!bk_registrar_epochs_fit(master, n)) {
        return BK_E_RANGE;
    }
    bk_registrar_keep_time(r, now);
    for (unsigned i = 0; i < BK_REGISTRAR_EPOCH_SLOTS; i++) {
        uint8_t slot = (uint8_t)i;
        const struct bk_registrar_master *old = in_slot(r, slot);
        if (old && !stays(old, master, n)) {
            r->slot_since_s[slot] =
                bk_registrar_seen_now(r, slot) + 1; /* later than any row of it */
        }
    }
    bk_registrar_take_masters(r, master, n);
    return BK_OK;
}

bool bk_registrar_row_epoch(const struct bk_registrar *r, const struct bk_row *row, uint16_t *epoch)
{
    uint8_t slot = row->mark & SLOT_MASK;
    const struct bk_registrar_master *m = in_slot(r, slot);
    if (!m || row->seen_s < r->slot_since_s[slot]) {
        return false;
    }
    *epoch = m->epoch;
    return true;
}

uint32_t bk_registrar_seen_now(const struct bk_registrar *r, uint8_t slot)
{
    return r->now_s > r->slot_since_s[slot] ? r->now_s : r->slot_since_s[slot];
}
