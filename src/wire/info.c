/* INFO. Hosts and credentials are the server's word, as text: checked for form and length, no more. */
#include "wire/info.h"

#include <string.h>

enum {
    RELAY_PORT_BYTES = 2,
    LIFETIME_BYTES = 4,
};

/* Printable ASCII without blanks: it goes into log lines and into names that are looked up. */
static bool plain_text(struct bk_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] <= ' ' || text.p[i] > '~') {
            return false;
        }
    }
    return true;
}

enum bk_err bk_info_read(const struct bk_stun *m)
{
    return bk_message_expect(m, BK_METHOD_INFO, BK_STUN_REQUEST, NULL, 0);
}

enum bk_err bk_info_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                          struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_INFO, BK_STUN_REQUEST, txid);
    return bk_stun_end(&s, out);
}

static enum bk_err read_relay(struct bk_slice value, struct bk_info *got)
{
    struct bk_reader r = bk_reader(value);
    struct bk_info_relay relay = {.port = bk_read_u16(&r), .host = r.left};
    if (got->n_relays == BK_INFO_RELAYS_MAX || r.err != BK_OK || relay.port == 0 ||
        relay.host.n > BK_RELAY_HOST_MAX_BYTES || !plain_text(relay.host)) {
        return BK_E_MALFORMED;
    }
    got->relays[got->n_relays++] = relay;
    return BK_OK;
}

static enum bk_err read_other(const struct bk_stun *m, struct bk_slice value, struct bk_info *got)
{
    return got->n_bindings == BK_INFO_BINDINGS_MAX
               ? BK_E_MALFORMED
               : bk_stun_xor_address(m, value, &got->bindings[got->n_bindings++]);
}

static enum bk_err read_credentials(const struct bk_stun *m, struct bk_info *got)
{
    struct bk_slice lifetime;
    if (bk_attr_need(m, BK_ATTR_USERNAME, 1, BK_RELAY_USERNAME_MAX_BYTES, &got->username) !=
            BK_OK ||
        bk_attr_need(m, BK_ATTR_PASSWORD, 1, BK_RELAY_PASSWORD_MAX_BYTES, &got->password) !=
            BK_OK ||
        bk_attr_need(m, BK_ATTR_LIFETIME, LIFETIME_BYTES, LIFETIME_BYTES, &lifetime) != BK_OK ||
        !plain_text(got->username) || !plain_text(got->password)) {
        return BK_E_MALFORMED;
    }
    struct bk_reader r = bk_reader(lifetime);
    got->lifetime_s = bk_read_u32(&r);
    return BK_OK;
}

enum bk_err bk_info_answer_read(const struct bk_stun *m, struct bk_info *out)
{
    static const uint16_t known[] = {BK_ATTR_XOR_MAPPED_ADDRESS, BK_ATTR_RELAY, BK_ATTR_USERNAME,
                                     BK_ATTR_PASSWORD, BK_ATTR_LIFETIME};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_INFO, BK_STUN_SUCCESS, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    struct bk_info got;
    memset(&got, 0, sizeof got);
    struct bk_slice mapped;
    if (!bk_stun_find(m, BK_ATTR_XOR_MAPPED_ADDRESS, &mapped) ||
        bk_stun_xor_address(m, mapped, &got.observed) != BK_OK) {
        return BK_E_MALFORMED;
    }
    size_t offset = 0;
    struct bk_stun_attr a;
    while (err == BK_OK && bk_stun_next(m, &offset, &a)) {
        if (a.type == BK_ATTR_RELAY) {
            err = read_relay(a.value, &got);
        } else if (a.type == BK_ATTR_OTHER_ADDRESS) {
            err = read_other(m, a.value, &got);
        }
    }
    if (err == BK_OK && got.n_relays > 0) {
        err = read_credentials(m, &got);
    }
    if (err == BK_OK) {
        *out = got;
    }
    return err;
}

static void put_relays(struct bk_stun_writer *s, const struct bk_info *in)
{
    for (size_t i = 0; i < in->n_relays; i++) {
        const struct bk_info_relay *relay = &in->relays[i];
        uint8_t value[RELAY_PORT_BYTES + BK_RELAY_HOST_MAX_BYTES];
        struct bk_writer w = bk_writer(value, sizeof value);
        bk_write_u16(&w, relay->port);
        bk_write_bytes(&w, relay->host);
        if (w.err != BK_OK || relay->port == 0 || !plain_text(relay->host)) {
            bk_writer_fail(&s->w, BK_E_RANGE);
            return;
        }
        bk_stun_put(s, BK_ATTR_RELAY, bk_writer_bytes(&w));
    }
}

static void put_credentials(struct bk_stun_writer *s, const struct bk_info *in)
{
    uint8_t lifetime[LIFETIME_BYTES];
    struct bk_writer w = bk_writer(lifetime, sizeof lifetime);
    bk_write_u32(&w, in->lifetime_s);
    if (in->username.n == 0 || in->username.n > BK_RELAY_USERNAME_MAX_BYTES ||
        in->password.n == 0 || in->password.n > BK_RELAY_PASSWORD_MAX_BYTES ||
        !plain_text(in->username) || !plain_text(in->password)) {
        bk_writer_fail(&s->w, BK_E_RANGE);
    }
    bk_stun_put(s, BK_ATTR_USERNAME, in->username);
    bk_stun_put(s, BK_ATTR_PASSWORD, in->password);
    bk_stun_put(s, BK_ATTR_LIFETIME, bk_writer_bytes(&w));
}

enum bk_err bk_info_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                 const struct bk_info *in, struct bk_slice *out)
{
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_INFO, BK_STUN_SUCCESS, txid);
    if (in->n_relays > BK_INFO_RELAYS_MAX || in->n_bindings > BK_INFO_BINDINGS_MAX) {
        bk_writer_fail(&s.w, BK_E_RANGE);
        return bk_stun_end(&s, out);
    }
    bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, &in->observed);
    put_relays(&s, in);
    if (in->n_relays > 0) {
        put_credentials(&s, in);
    }
    for (size_t i = 0; i < in->n_bindings; i++) {
        bk_stun_put_xor_address(&s, BK_ATTR_OTHER_ADDRESS, &in->bindings[i]);
    }
    return bk_stun_end(&s, out);
}
