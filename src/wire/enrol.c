/* ENROL. Both directions carry secrets (token, registration key): for TLS only, and whoever holds
 * the buffers wipes them. */
#include "wire/enrol.h"

#include <string.h>

enum bk_err bk_enrol_read(const struct bk_stun *m, struct bk_enrol *out)
{
    static const uint16_t known[] = {BK_ATTR_TOKEN, BK_ATTR_CERTIFICATE_REQUEST, BK_ATTR_BOX_KEY};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_ENROL, BK_STUN_REQUEST, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_enrol got;
    if (bk_attr_need(m, BK_ATTR_TOKEN, BK_TOKEN_SECRET_BYTES, BK_TOKEN_SECRET_BYTES, &got.token) !=
            BK_OK ||
        bk_attr_need(m, BK_ATTR_CERTIFICATE_REQUEST, 1, SIZE_MAX, &got.csr) != BK_OK) {
        return BK_E_MALFORMED;
    }
    (void)bk_stun_find(m, BK_ATTR_BOX_KEY, &got.box_key);
    *out = got;
    return BK_OK;
}

enum bk_err bk_enrol_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                           const struct bk_enrol *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_ENROL, BK_STUN_REQUEST, txid);
    if (in->token.n != BK_TOKEN_SECRET_BYTES || in->csr.n == 0) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put(&s, BK_ATTR_TOKEN, in->token);
    bk_stun_put(&s, BK_ATTR_CERTIFICATE_REQUEST, in->csr);
    if (in->box_key.n > 0) {
        bk_stun_put(&s, BK_ATTR_BOX_KEY, in->box_key);
    }
    return bk_stun_end(&s, out);
}

enum bk_err bk_attr_need_server_ports(const struct bk_stun *m, struct bk_server_ports *out)
{
    struct bk_slice value;
    if (bk_attr_need(m, BK_ATTR_SERVER_PORTS, 8, 8, &value) != BK_OK) {
        return BK_E_MALFORMED;
    }
    struct bk_reader r = bk_reader(value);
    out->udp = bk_read_u16(&r);
    out->request = bk_read_u16(&r);
    out->agent = bk_read_u16(&r);
    bool zero = bk_read_u16(&r) == 0;
    return zero && out->udp != 0 && out->request != 0 && out->agent != 0 ? BK_OK : BK_E_MALFORMED;
}

void bk_attr_put_server_ports(struct bk_stun_writer *s, const struct bk_server_ports *ports)
{
    uint8_t value[8];
    struct bk_writer w = bk_writer(value, sizeof value);
    bk_write_u16(&w, ports->udp);
    bk_write_u16(&w, ports->request);
    bk_write_u16(&w, ports->agent);
    bk_write_u16(&w, 0);
    bk_stun_put(s, BK_ATTR_SERVER_PORTS, bk_writer_bytes(&w));
}

static enum bk_err read_device_part(const struct bk_stun *m, struct bk_enrol_answer *got)
{
    struct bk_registration_ref ref;
    if (bk_attr_need_equipment_id(m, &got->equipment_id) != BK_OK ||
        bk_attr_need_registration(m, &ref) != BK_OK || ref.interval_s != 0 ||
        bk_attr_need_server_ports(m, &got->ports) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got->generation = ref.generation;
    got->epoch = ref.epoch;
    return bk_attr_need(m, BK_ATTR_REGISTRATION_KEY, BK_KEY_BYTES, BK_KEY_BYTES,
                        &got->registration_key);
}

/* What a user is told must not come with anything of a device's. */
static enum bk_err check_user_part(const struct bk_stun *m, const struct bk_enrol_answer *got)
{
    struct bk_slice unused;
    bool device_part = bk_stun_find(m, BK_ATTR_EQUIPMENT_ID, &unused) ||
                       bk_stun_find(m, BK_ATTR_REGISTRATION, &unused) ||
                       bk_stun_find(m, BK_ATTR_REGISTRATION_KEY, &unused) ||
                       bk_stun_find(m, BK_ATTR_SERVER_PORTS, &unused);
    return bk_name_valid(got->user) && !device_part ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_enrol_answer_read(const struct bk_stun *m, struct bk_enrol_answer *out)
{
    static const uint16_t known[] = {BK_ATTR_CERTIFICATE,      BK_ATTR_CA_CERTIFICATE,
                                     BK_ATTR_EQUIPMENT_ID,     BK_ATTR_REGISTRATION,
                                     BK_ATTR_REGISTRATION_KEY, BK_ATTR_USER_NAME,
                                     BK_ATTR_SERVER_PORTS};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_ENROL, BK_STUN_SUCCESS, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_enrol_answer got;
    memset(&got, 0, sizeof got);
    if (bk_attr_need(m, BK_ATTR_CERTIFICATE, 1, SIZE_MAX, &got.certificate) != BK_OK ||
        bk_attr_need(m, BK_ATTR_CA_CERTIFICATE, 1, SIZE_MAX, &got.ca_certificate) != BK_OK) {
        return BK_E_MALFORMED;
    }
    err = bk_stun_find(m, BK_ATTR_USER_NAME, &got.user) ? check_user_part(m, &got)
                                                        : read_device_part(m, &got);
    if (err == BK_OK) {
        *out = got;
    }
    return err;
}

enum bk_err bk_enrol_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                  const struct bk_enrol_answer *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_ENROL, BK_STUN_SUCCESS, txid);
    bool user = in->equipment_id == 0;
    bool fits = user ? bk_name_valid(in->user)
                     : in->user.n == 0 && bk_equipment_id_valid(in->equipment_id) &&
                           in->registration_key.n == BK_KEY_BYTES && in->ports.udp != 0 &&
                           in->ports.request != 0 && in->ports.agent != 0;
    if (!fits || in->certificate.n == 0 || in->ca_certificate.n == 0) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put(&s, BK_ATTR_CERTIFICATE, in->certificate);
    bk_stun_put(&s, BK_ATTR_CA_CERTIFICATE, in->ca_certificate);
    if (user) {
        bk_stun_put(&s, BK_ATTR_USER_NAME, in->user);
    } else {
        bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
        const struct bk_registration_ref ref = {in->generation, in->epoch, 0};
        bk_attr_put_registration(&s, &ref);
        bk_stun_put(&s, BK_ATTR_REGISTRATION_KEY, in->registration_key);
        bk_attr_put_server_ports(&s, &in->ports);
    }
    return bk_stun_end(&s, out);
}
