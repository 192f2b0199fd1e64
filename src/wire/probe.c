/* PROBE. As with REGISTER, what bk_probe_read yields is believed once its MAC is checked. */
#include "wire/probe.h"

#include <string.h>

enum {
    RESPONSE_PORT_BYTES = 4,
};

/* RFC 5780, 7.5: the port, then two bytes of padding, which are not looked at. */
static enum bk_err need_port(const struct bk_stun *m, uint16_t *port)
{
    struct bk_slice value;
    if (bk_attr_need(m, BK_ATTR_RESPONSE_PORT, RESPONSE_PORT_BYTES, RESPONSE_PORT_BYTES, &value) !=
        BK_OK) {
        return BK_E_MALFORMED;
    }
    *port = (uint16_t)(value.p[0] << 8 | value.p[1]);
    return *port != 0 ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_probe_read(const struct bk_stun *m, struct bk_probe *out)
{
    static const uint16_t known[] = {BK_ATTR_EQUIPMENT_ID, BK_ATTR_REGISTRATION, BK_ATTR_TAG,
                                     BK_ATTR_RESPONSE_PORT};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_PROBE, BK_STUN_INDICATION, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_probe got = {0};
    struct bk_registration_ref ref;
    struct bk_slice tag;
    if (bk_attr_need_equipment_id(m, &got.equipment_id) != BK_OK ||
        bk_attr_need_registration(m, &ref) != BK_OK || ref.interval_s != 0 ||
        !bk_stun_find(m, BK_ATTR_TAG, &tag) || bk_attr_read_tag(tag, &got.tag) != BK_OK ||
        need_port(m, &got.port) != BK_OK) {
        return BK_E_MALFORMED;
    }
    got.generation = ref.generation;
    got.epoch = ref.epoch;
    *out = got;
    return BK_OK;
}

enum bk_err bk_probe_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                           const struct bk_probe *in, const struct bk_mac_ops *mac,
                           struct bk_slice key, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_PROBE, BK_STUN_INDICATION, txid);
    const struct bk_registration_ref ref = {in->generation, in->epoch, 0};
    const uint8_t port[RESPONSE_PORT_BYTES] = {(uint8_t)(in->port >> 8), (uint8_t)in->port};
    if (!bk_equipment_id_valid(in->equipment_id) || in->port == 0) {
        bk_writer_fail(&s.w, BK_E_RANGE);
    }
    bk_stun_put_u64(&s, BK_ATTR_EQUIPMENT_ID, in->equipment_id);
    bk_attr_put_registration(&s, &ref);
    bk_attr_put_tag(&s, &in->tag);
    bk_stun_put(&s, BK_ATTR_RESPONSE_PORT, BK_SLICE_OF(port));
    return bk_datagram_end(&s, mac, key, out);
}

enum bk_err bk_probe_echo_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                               struct bk_slice key)
{
    if (m->method != BK_METHOD_PROBE || m->cls != BK_STUN_INDICATION) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = bk_datagram_check(m, mac, key);
    return err == BK_OK && !bk_stun_understood(m, NULL, 0) ? BK_E_UNKNOWN_ATTR : err;
}

enum bk_err bk_probe_echo_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                const struct bk_mac_ops *mac, struct bk_slice key,
                                struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_PROBE, BK_STUN_INDICATION, txid);
    return bk_datagram_end(&s, mac, key, out);
}
