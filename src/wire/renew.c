/* RENEW. The answer to a device carries its registration key: for TLS only, and whoever holds the buffers wipes
 * them. Whose certificate the connection showed, and what it may ask for, is judged elsewhere. */
#include "wire/renew.h"

#include <string.h>

/* Not there, or with something in it. */
static enum bk_err read_optional(const struct bk_stun *m, uint16_t type, struct bk_slice *value)
{
    return bk_stun_find(m, type, value) && value->n == 0 ? BK_E_MALFORMED : BK_OK;
}

enum bk_err bk_renew_read(const struct bk_stun *m, struct bk_renew *out)
{
    static const uint16_t known[] = {BK_ATTR_CERTIFICATE_REQUEST, BK_ATTR_BOX_KEY};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_RENEW, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_renew got;
    if (read_optional(m, BK_ATTR_CERTIFICATE_REQUEST, &got.csr) != BK_OK ||
        read_optional(m, BK_ATTR_BOX_KEY, &got.box_key) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_renew_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                           const struct bk_renew *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_RENEW, BK_STUN_REQUEST, txid);
    if (in->csr.n > 0) {
        bk_stun_put(&s, BK_ATTR_CERTIFICATE_REQUEST, in->csr);
    }
    if (in->box_key.n > 0) {
        bk_stun_put(&s, BK_ATTR_BOX_KEY, in->box_key);
    }
    return bk_stun_end(&s, out);
}

/* What only a device is told: all of it or nothing. */
static enum bk_err read_device_part(const struct bk_stun *m, struct bk_renew_answer *got)
{
    struct bk_slice unused;
    got->device = bk_stun_find(m, BK_ATTR_REGISTRATION, &unused) ||
                  bk_stun_find(m, BK_ATTR_REGISTRATION_KEY, &unused) ||
                  bk_stun_find(m, BK_ATTR_SERVER_PORTS, &unused);
    if (!got->device) {
        return BK_OK;
    }
    struct bk_registration_ref ref;
    if (bk_attr_need_registration(m, &ref) != BK_OK || ref.interval_s != 0 ||
        bk_attr_need_server_ports(m, &got->ports) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got->generation = ref.generation;
    got->epoch = ref.epoch;
    return bk_attr_need(m, BK_ATTR_REGISTRATION_KEY, BK_KEY_BYTES, BK_KEY_BYTES,
                        &got->registration_key);
}

enum bk_err bk_renew_answer_read(const struct bk_stun *m, struct bk_renew_answer *out)
{
    static const uint16_t known[] = {BK_ATTR_CERTIFICATE, BK_ATTR_REGISTRATION,
                                     BK_ATTR_REGISTRATION_KEY, BK_ATTR_SERVER_PORTS};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_RENEW, BK_STUN_SUCCESS, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_renew_answer got;
    memset(&got, 0, sizeof got);
    if (read_optional(m, BK_ATTR_CERTIFICATE, &got.certificate) != BK_OK ||
        read_device_part(m, &got) != BK_OK) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_renew_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                  const struct bk_renew_answer *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_RENEW, BK_STUN_SUCCESS, txid);
    if (in->certificate.n > 0) {
        bk_stun_put(&s, BK_ATTR_CERTIFICATE, in->certificate);
    }
    if (in->device) {
        if (in->registration_key.n != BK_KEY_BYTES || in->ports.udp == 0 ||
            in->ports.request == 0 || in->ports.agent == 0) {
            bk_writer_fail(&s.w, BK_E_RANGE);
        }
        const struct bk_registration_ref ref = {in->generation, in->epoch, 0};
        bk_attr_put_registration(&s, &ref);
        bk_stun_put(&s, BK_ATTR_REGISTRATION_KEY, in->registration_key);
        bk_attr_put_server_ports(&s, &in->ports);
    }
    return bk_stun_end(&s, out);
}
