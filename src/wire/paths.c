/* PATHS. The other side is who it claims to be (TLS), and may be hostile all the same: form is checked here. */
#include "wire/paths.h"

#include <string.h>

static bool known(uint16_t type)
{
    return type >= 0x8000 || type == BK_ATTR_ROUND || type == BK_ATTR_ROUND_TRIP ||
           type == BK_ATTR_CANDIDATE;
}

static enum bk_err read_candidates(const struct bk_stun *m, struct bk_paths *got)
{
    size_t offset = 0;
    size_t n_present = 0;
    struct bk_stun_attr a;
    enum bk_err err = BK_OK;
    while (err == BK_OK && bk_stun_next(m, &offset, &a)) {
        if (!known(a.type)) {
            err = BK_E_UNKNOWN_ATTR;
        } else if (a.type == BK_ATTR_CANDIDATE) {
            err = ++n_present > BK_CANDIDATES_MAX
                      ? BK_E_MALFORMED
                      : bk_candidate_take(a.value, got->candidates, &got->n_candidates);
        }
    }
    return err;
}

enum bk_err bk_paths_read(const struct bk_stun *m, struct bk_paths *out)
{
    memset(out, 0, sizeof *out);
    if (m->method != BK_METHOD_PATHS || m->cls != BK_STUN_INDICATION) {
        return BK_E_MALFORMED;
    }
    struct bk_paths got;
    memset(&got, 0, sizeof got);
    enum bk_err err = read_candidates(m, &got);
    struct bk_slice value;
    if (err == BK_OK) {
        err = bk_stun_find(m, BK_ATTR_ROUND, &value) ? bk_attr_read_u16(value, &got.round)
                                                     : BK_E_MALFORMED;
    }
    if (err == BK_OK && bk_stun_find(m, BK_ATTR_ROUND_TRIP, &value)) {
        err = bk_attr_read_u16(value, &got.round_trip_ms);
    }
    if (err == BK_OK) {
        *out = got;
    }
    return err;
}

enum bk_err bk_paths_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                           const struct bk_paths *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_PATHS, BK_STUN_INDICATION, txid);
    bk_stun_put_u16(&s, BK_ATTR_ROUND, in->round);
    if (in->round_trip_ms != 0) {
        bk_stun_put_u16(&s, BK_ATTR_ROUND_TRIP, in->round_trip_ms);
    }
    if (in->n_candidates > BK_CANDIDATES_MAX) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    for (size_t i = 0; i < in->n_candidates && s.w.err == BK_OK; i++) {
        if (bk_candidate_kind_known(in->candidates[i].kind)) {
            bk_candidate_put(&s, &in->candidates[i]);
        } else {
            bk_writer_fail(&s.w, BK_E_RANGE);
        }
    }
    return bk_stun_end(&s, out);
}

uint32_t bk_paths_grid_ms(uint32_t sum_ms)
{
    uint32_t sum = sum_ms < BK_PATHS_SUM_MAX_MS ? sum_ms : BK_PATHS_SUM_MAX_MS;
    return BK_PATHS_GRID_MS * (1 + (sum + BK_PATHS_GRID_SPARE_MS) / BK_PATHS_GRID_MS);
}

uint32_t bk_paths_grid_tries(uint32_t every_ms)
{
    uint32_t tries = BK_PATHS_GRID_LASTS_MS / every_ms;
    return tries > BK_PATHS_TRIES_MIN ? tries : BK_PATHS_TRIES_MIN;
}
