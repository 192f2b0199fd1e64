/* Keeps nothing: a nonce is checked by making it again. The row's mark is among the facts and is raised
 * whenever a nonce is used, so that each works once even where it changes nothing else. */
#include "core/registrar/nonce.h"

#include <string.h>

#include "seal/text.h"

enum {
    TIME_BYTES = 3,
    MAC_BYTES = 12,
    FACTS_BYTES = 128,
};

static void put_row(struct bk_writer *w, const struct bk_row *row)
{
    bk_write_u8(w, row ? 1 : 0);
    if (!row) {
        return;
    }
    bk_write_bytes(w, BK_SLICE_OF(row->ip));
    bk_write_u16(w, row->port);
    bk_write_u8(w, row->local);
    bk_write_u8(w, row->mark);
    bk_write_u64(w, row->tag_random);
    bk_write_u32(w, row->tag_counter);
    bk_write_u32(w, row->generation);
}

/* The time goes into the MAC whole, so that the three bytes may wrap. */
static void make_at(const struct bk_mac_ops *mac, const struct bk_mac_key *key, uint32_t at_s,
                    const struct bk_nonce_facts *facts, char out[BK_NONCE_BYTES + 1])
{
    uint8_t buf[FACTS_BYTES];
    struct bk_writer w = bk_writer(buf, sizeof buf);
    bk_write_u32(&w, at_s);
    bk_write_u64(&w, facts->equipment_id);
    bk_write_u32(&w, facts->generation);
    bk_write_bytes(&w, BK_SLICE_OF(facts->from.ip));
    bk_write_u16(&w, facts->from.port);
    bk_write_u8(&w, facts->local);
    put_row(&w, facts->row);

    uint8_t digest[BK_HMAC_SHA256_BYTES];
    bk_mac_prepared(mac, key, bk_writer_bytes(&w), digest);
    uint8_t raw[TIME_BYTES + MAC_BYTES] = {(uint8_t)(at_s >> 16), (uint8_t)(at_s >> 8),
                                           (uint8_t)at_s};
    memcpy(raw + TIME_BYTES, digest, MAC_BYTES);
    if (bk_base64_write(BK_SLICE_OF(raw), out, BK_NONCE_BYTES + 1) != BK_OK) {
        out[0] = '\0'; /* cannot be: 15 bytes are 20 characters */
    }
}

void bk_nonce_make(const struct bk_mac_ops *mac, const struct bk_mac_key *key, uint32_t now_s,
                   const struct bk_nonce_facts *facts, char out[BK_NONCE_BYTES + 1])
{
    make_at(mac, key, now_s, facts, out);
}

bool bk_nonce_check(const struct bk_mac_ops *mac, const struct bk_mac_key *key, uint32_t now_s,
                    const struct bk_nonce_facts *facts, struct bk_slice nonce)
{
    uint8_t raw[TIME_BYTES + MAC_BYTES];
    size_t n = 0;
    if (nonce.n != BK_NONCE_BYTES || bk_base64_read(nonce, raw, sizeof raw, &n) != BK_OK ||
        n != sizeof raw) {
        return false;
    }
    uint32_t low = (uint32_t)raw[0] << 16 | (uint32_t)raw[1] << 8 | raw[2];
    uint32_t age_s = (now_s - low) & 0xFFFFFF;
    if (age_s > BK_NONCE_LIFE_S || age_s > now_s) {
        return false;
    }
    char right[BK_NONCE_BYTES + 1];
    make_at(mac, key, now_s - age_s, facts, right);
    return bk_equal_const_time((const uint8_t *)right, nonce.p, BK_NONCE_BYTES);
}
