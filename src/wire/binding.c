/* Binding. Everything here is unauthenticated: an address learnt this way proves nothing. */
#include "wire/binding.h"

#include "wire/attrs.h"

enum bk_err bk_binding_request_write(uint8_t *buf, size_t cap,
                                     const uint8_t txid[BK_STUN_TXID_BYTES], struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_BINDING, BK_STUN_REQUEST, txid);
    return bk_stun_end(&s, out);
}

enum bk_err bk_binding_response_write(uint8_t *buf, size_t cap,
                                      const uint8_t txid[BK_STUN_TXID_BYTES],
                                      const struct bk_addr *mapped, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_BINDING, BK_STUN_SUCCESS, txid);
    bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, mapped);
    return bk_stun_end(&s, out);
}

enum bk_err bk_binding_response_read(const struct bk_stun *m, struct bk_addr *mapped)
{
    /* Other servers add the plain address for clients of RFC 3489. */
    static const uint16_t known[] = {BK_ATTR_XOR_MAPPED_ADDRESS, BK_ATTR_MAPPED_ADDRESS};
    struct bk_slice value;
    enum bk_err err = bk_message_expect(m, BK_METHOD_BINDING, BK_STUN_SUCCESS, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    if (!bk_stun_find(m, BK_ATTR_XOR_MAPPED_ADDRESS, &value)) {
        return BK_E_MALFORMED;
    }
    return bk_stun_xor_address(m, value, mapped);
}
