/* NOTIFY. Authenticity comes first: nothing is looked at before the MAC is right. With every field that it may have it
 * fits a datagram. */
#include "wire/notify.h"

#include <string.h>

#include "wire/connect.h"

enum {
    TXID_RANDOM_BYTES = 4,
    TXID_MAC_BYTES = BK_STUN_TXID_BYTES - TXID_RANDOM_BYTES,
};

/* Who calls is not for everybody on the way to read: hidden under a key stream of the call. The server's transaction ID
 * is part of it: a caller draws his call ID himself, and could name one that he has seen go by, to learn the stream by
 * his own name. `text` has at most BK_NAME_MAX_BYTES. */
static void hide_user(const struct bk_mac_ops *mac, struct bk_slice key,
                      const uint8_t txid[BK_STUN_TXID_BYTES],
                      const uint8_t call_id[BK_CALL_ID_BYTES], struct bk_slice text, uint8_t *out)
{
    uint8_t stream[BK_HMAC_SHA256_BYTES];
    for (size_t i = 0; i < text.n; i++) {
        if (i % sizeof stream == 0) {
            const uint8_t block = (uint8_t)(i / sizeof stream);
            const struct bk_slice parts[] = {
                bk_slice_text("beckon notify user 1"), bk_slice(txid, BK_STUN_TXID_BYTES),
                bk_slice(call_id, BK_CALL_ID_BYTES), bk_slice(&block, 1)};
            mac->hmac_sha256(mac->ctx, key, parts, 4, stream);
        }
        out[i] = text.p[i] ^ stream[i % sizeof stream];
    }
}

/* The whole request, or nothing of it: a device that took half of one would not know which form it is in. */
static enum bk_err read_request(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                struct bk_slice key, struct bk_notify *got)
{
    struct bk_slice call_id, user;
    bool has_user = bk_stun_find(m, BK_ATTR_USER_NAME, &user);
    got->fast = bk_stun_find(m, BK_ATTR_CALL_ID, &call_id);
    if (!got->fast) {
        struct bk_slice box;
        return has_user || bk_stun_find(m, BK_ATTR_BOX, &box) ? BK_E_MALFORMED : BK_OK;
    }
    enum bk_err err = bk_attr_read_bytes(call_id, got->call_id, sizeof got->call_id);
    if (err == BK_OK && has_user) {
        if (user.n == 0 || user.n > BK_NAME_MAX_BYTES) {
            return BK_E_MALFORMED;
        }
        hide_user(mac, key, m->txid, got->call_id, user, got->user_text);
        got->user = bk_slice(got->user_text, user.n);
        err = bk_name_valid(got->user) ? BK_OK : BK_E_MALFORMED;
    }
    return err == BK_OK ? bk_attr_need(m, BK_ATTR_BOX, 1, BK_BOX_MAX_BYTES, &got->box) : err;
}

enum bk_err bk_notify_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                           struct bk_slice key, struct bk_notify *out)
{
    static const uint16_t known[] = {BK_ATTR_CALL_WAITING, BK_ATTR_TAG, BK_ATTR_CALL_ID,
                                     BK_ATTR_BOX, BK_ATTR_USER_NAME};
    memset(out, 0, sizeof *out);
    if (m->method != BK_METHOD_NOTIFY || m->cls != BK_STUN_REQUEST) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK && !bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        err = BK_E_UNKNOWN_ATTR;
    }
    struct bk_slice value = BK_SLICE_EMPTY;
    if (err == BK_OK) {
        err = bk_attr_need(m, BK_ATTR_CALL_WAITING, 0, 0, &value);
    }
    if (err == BK_OK) {
        err = bk_attr_need(m, BK_ATTR_TAG, 12, 12, &value);
    }
    struct bk_notify got;
    memset(&got, 0, sizeof got);
    if (err == BK_OK) {
        err = bk_attr_read_tag(value, &got.tag);
    }
    if (err == BK_OK) {
        err = read_request(m, mac, key, &got);
    }
    if (err == BK_OK) {
        *out = got;
        out->user = bk_slice(out->user_text, got.user.n);
    }
    return err;
}

enum bk_err bk_notify_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                            const struct bk_notify *in, const struct bk_mac_ops *mac,
                            struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_NOTIFY, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
    bk_attr_put_tag(&s, &in->tag);
    if (in->fast) {
        if (in->box.n == 0 || in->box.n > BK_BOX_MAX_BYTES ||
            (in->user.n > 0 && !bk_name_valid(in->user))) {
            bk_writer_fail(&s.w, BK_E_RANGE);
            return bk_datagram_end(&s, mac, key, out);
        }
        bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
        bk_stun_put(&s, BK_ATTR_BOX, in->box);
        if (in->user.n > 0) {
            uint8_t hidden[BK_NAME_MAX_BYTES];
            hide_user(mac, key, txid, in->call_id, in->user, hidden);
            bk_stun_put(&s, BK_ATTR_USER_NAME, bk_slice(hidden, in->user.n));
        }
    }
    return bk_datagram_end(&s, mac, key, out);
}

enum bk_err bk_notify_answer_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                  struct bk_slice key, struct bk_notify_answer *out)
{
    static const uint16_t known[] = {BK_ATTR_CALL_ID};
    memset(out, 0, sizeof *out);
    if (m->method != BK_METHOD_NOTIFY || m->cls != BK_STUN_SUCCESS) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK && !bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        err = BK_E_UNKNOWN_ATTR;
    }
    struct bk_slice call_id;
    if (err != BK_OK || !bk_stun_find(m, BK_ATTR_CALL_ID, &call_id)) {
        return err;
    }
    err = bk_attr_read_bytes(call_id, out->call_id, sizeof out->call_id);
    out->taken = err == BK_OK;
    return err;
}

enum bk_err bk_notify_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const struct bk_notify_answer *in, const struct bk_mac_ops *mac,
                                   struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_NOTIFY, BK_STUN_SUCCESS, txid);
    if (in->taken) {
        bk_stun_put(&s, BK_ATTR_CALL_ID, BK_SLICE_OF(in->call_id));
    }
    return bk_datagram_end(&s, mac, key, out);
}

static void txid_mac(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                     const uint8_t *random, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    const struct bk_slice parts[] = {bk_slice_text("beckon notify transaction 1"),
                                     bk_slice(random, TXID_RANDOM_BYTES)};
    mac->hmac_sha256(mac->ctx, bk_slice(key, BK_KEY_BYTES), parts, 2, out);
}

void bk_notify_txid_make(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                         const uint8_t random[4], uint8_t txid[BK_STUN_TXID_BYTES])
{
    uint8_t sum[BK_HMAC_SHA256_BYTES];
    txid_mac(mac, key, random, sum);
    memcpy(txid, random, TXID_RANDOM_BYTES);
    memcpy(txid + TXID_RANDOM_BYTES, sum, TXID_MAC_BYTES);
}

bool bk_notify_txid_ours(const struct bk_mac_ops *mac, const uint8_t key[BK_KEY_BYTES],
                         const uint8_t txid[BK_STUN_TXID_BYTES])
{
    uint8_t sum[BK_HMAC_SHA256_BYTES];
    txid_mac(mac, key, txid, sum);
    return bk_equal_const_time(sum, txid + TXID_RANDOM_BYTES, TXID_MAC_BYTES);
}
