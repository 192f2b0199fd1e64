/* WATCH. The user's name is the server's own word from 226, given back to it. */
#include "wire/watch.h"

enum bk_err bk_watch_read(const struct bk_stun *m, struct bk_watch *out)
{
    static const uint16_t known[] = {BK_ATTR_USER_NAME};
    out->user = BK_SLICE_EMPTY;
    enum bk_err err = bk_message_expect(m, BK_METHOD_WATCH, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_slice user;
    if (!bk_stun_find(m, BK_ATTR_USER_NAME, &user) || !bk_name_valid(user)) {
        return BK_E_MALFORMED;
    }
    out->user = user;
    return BK_OK;
}

enum bk_err bk_watch_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                           const struct bk_watch *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_WATCH, BK_STUN_REQUEST, txid);
    if (!bk_name_valid(in->user)) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put(&s, BK_ATTR_USER_NAME, in->user);
    return bk_stun_end(&s, out);
}
