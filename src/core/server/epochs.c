/* The epochs of the registration keys that are accepted. A row keeps two bits of its epoch, so an epoch that
 * takes the place of one with the same bits must not inherit its rows: those seen before the change count
 * as absent, and the sweep takes them away. Invariant: nothing is sent under a key whose epoch has gone. */
#include <string.h>

#include "core/server/state.h"
#include "seal/seal.h"

enum { SLOT_MASK = BK_SERVER_EPOCH_SLOTS - 1 };

uint8_t bk_server_epoch_slot(uint16_t epoch)
{
    return (uint8_t)(epoch & SLOT_MASK);
}

bool bk_server_epochs_fit(const struct bk_master_key *master, size_t n)
{
    if (n < 1 || n > BK_SERVER_EPOCHS_MAX) {
        return false;
    }
    unsigned taken = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 1u << bk_server_epoch_slot(master[i].epoch);
        if ((taken & bit) != 0) {
            return false;
        }
        taken |= bit;
    }
    return true;
}

static const struct bk_master_key *in_slot(const struct bk_master_key *master, size_t n,
                                           uint8_t slot)
{
    for (size_t i = 0; i < n; i++) {
        if (bk_server_epoch_slot(master[i].epoch) == slot) {
            return &master[i];
        }
    }
    return NULL;
}

static bool goes(const struct bk_master_key *old, const struct bk_master_key *now)
{
    return old && !(now && old->epoch == now->epoch &&
                    bk_equal_const_time(old->key, now->key, sizeof old->key));
}

enum bk_err bk_server_set_masters(struct bk_server *s, const struct bk_master_key *master, size_t n)
{
    if (!bk_server_epochs_fit(master, n)) {
        return BK_E_RANGE;
    }
    for (unsigned i = 0; i < BK_SERVER_EPOCH_SLOTS; i++) {
        uint8_t slot = (uint8_t)i;
        if (goes(in_slot(s->config.master, s->config.n_master, slot), in_slot(master, n, slot))) {
            s->slot_since_s[slot] = bk_server_seen_now(s, slot) + 1; /* later than any row of it */
        }
    }
    /* By way of a copy: the caller may hand in what a wipe would take from it. */
    struct bk_master_key fresh[BK_SERVER_EPOCHS_MAX] = {0};
    memcpy(fresh, master, n * sizeof *master);
    bk_wipe(s->config.master, sizeof s->config.master);
    memcpy(s->config.master, fresh, sizeof fresh);
    bk_wipe(fresh, sizeof fresh);
    s->config.n_master = n;
    return BK_OK;
}

bool bk_server_row_epoch(const struct bk_server *s, const struct bk_row *row, uint16_t *epoch)
{
    uint8_t slot = row->mark & SLOT_MASK;
    const struct bk_master_key *m = in_slot(s->config.master, s->config.n_master, slot);
    if (!m || row->seen_s < s->slot_since_s[slot]) {
        return false;
    }
    *epoch = m->epoch;
    return true;
}

uint32_t bk_server_seen_now(const struct bk_server *s, uint8_t slot)
{
    return s->now_s > s->slot_since_s[slot] ? s->now_s : s->slot_since_s[slot];
}
