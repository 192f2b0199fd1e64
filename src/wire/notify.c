/* NOTIFY. Authenticity comes first: nothing is looked at before the MAC is right. */
#include "wire/notify.h"

enum bk_err bk_notify_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                           struct bk_slice key, struct bk_tag *tag)
{
    static const uint16_t known[] = {BK_ATTR_CALL_WAITING, BK_ATTR_TAG};
    *tag = (struct bk_tag){0, 0};
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
    return err == BK_OK ? bk_attr_read_tag(value, tag) : err;
}

enum bk_err bk_notify_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                            const struct bk_tag *tag, const struct bk_mac_ops *mac,
                            struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_NOTIFY, BK_STUN_REQUEST, txid);
    bk_stun_put(&s, BK_ATTR_CALL_WAITING, BK_SLICE_EMPTY);
    bk_attr_put_tag(&s, tag);
    return bk_datagram_end(&s, mac, key, out);
}

enum bk_err bk_notify_answer_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                  struct bk_slice key)
{
    if (m->method != BK_METHOD_NOTIFY || m->cls != BK_STUN_SUCCESS) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    if (err == BK_OK && !bk_stun_understood(m, NULL, 0)) {
        err = BK_E_UNKNOWN_ATTR;
    }
    return err;
}

enum bk_err bk_notify_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                   const struct bk_mac_ops *mac, struct bk_slice key,
                                   struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_NOTIFY, BK_STUN_SUCCESS, txid);
    return bk_datagram_end(&s, mac, key, out);
}
