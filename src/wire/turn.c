/* TURN over TCP: reading and writing. Which attributes a method knows stands in one table; what follows integrity is not
 * seen (bk_stun_next). Keys and secrets are the caller's to wipe. */
#include "wire/turn.h"

#include <string.h>

enum {
    ADDRESS = 1 << 0, /* which extra fields an answer of a method has */
    LIFETIME = 1 << 1,
    CONNECTION = 1 << 2,
    PEERS = 1 << 3,
};

/* ---- What belongs to which method ---- */

static unsigned request_fields(uint16_t method)
{
    switch (method) {
    case BK_METHOD_ALLOCATE:
        return ADDRESS | LIFETIME;
    case BK_METHOD_REFRESH:
        return LIFETIME;
    case BK_METHOD_CREATE_PERMISSION:
    case BK_METHOD_TURN_CONNECT:
        return PEERS;
    case BK_METHOD_CONNECTION_BIND:
        return CONNECTION;
    default:
        return 0;
    }
}

static unsigned answer_fields(uint16_t method)
{
    switch (method) {
    case BK_METHOD_ALLOCATE:
        return ADDRESS | LIFETIME;
    case BK_METHOD_REFRESH:
        return LIFETIME;
    case BK_METHOD_TURN_CONNECT:
        return CONNECTION;
    default:
        return 0;
    }
}

/* ---- Values ---- */

static enum bk_err read_u32(struct bk_slice value, uint32_t *out)
{
    struct bk_reader r = bk_reader(value);
    *out = bk_read_u32(&r);
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

static void put_u32(struct bk_stun_writer *s, uint16_t type, uint32_t v)
{
    uint8_t value[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    bk_stun_put(s, type, BK_SLICE_OF(value));
}

/* REQUESTED-TRANSPORT and REQUESTED-ADDRESS-FAMILY: one byte and three that are ignored. */
static enum bk_err read_first_byte(struct bk_slice value, uint8_t *out)
{
    if (value.n != 4) {
        return BK_E_MALFORMED;
    }
    *out = value.p[0];
    return BK_OK;
}

static void put_first_byte(struct bk_stun_writer *s, uint16_t type, uint8_t v)
{
    uint8_t value[4] = {v};
    bk_stun_put(s, type, BK_SLICE_OF(value));
}

static bool text_fits(struct bk_slice text)
{
    return text.n <= BK_TURN_TEXT_MAX_BYTES;
}

static bool has_mac(const struct bk_stun *m)
{
    static const struct bk_mac_ops none = {
        .ctx = NULL}; /* not called for: only asks whether it is there */
    return bk_stun_check_sha1(m, &none, BK_SLICE_EMPTY) != BK_E_NOTFOUND;
}

/* Wrong where it is there; over TCP it need not be. */
static bool fingerprint_wrong(const struct bk_stun *m)
{
    return bk_stun_check_fingerprint(m) == BK_E_AUTH;
}

static struct bk_mac_ops mac_of(const struct bk_turn_ops *ops)
{
    return (struct bk_mac_ops){.ctx = ops->ctx, .hmac_sha1 = ops->hmac_sha1};
}

/* ---- Requests ---- */

static enum bk_err take_peer(const struct bk_stun *m, struct bk_slice value,
                             struct bk_turn_request *out)
{
    if (out->n_peers == BK_TURN_PEERS_MAX) {
        return BK_E_RANGE;
    }
    return bk_stun_xor_address(m, value, &out->peers[out->n_peers++]);
}

/* Attributes that stand in every request. False: it is none of them. */
static bool take_login(const struct bk_stun_attr *a, struct bk_turn_request *out)
{
    switch (a->type) {
    case BK_ATTR_USERNAME:
        out->username = a->value;
        return true;
    case BK_ATTR_REALM:
        out->realm = a->value;
        return true;
    case BK_ATTR_NONCE:
        out->nonce = a->value;
        return true;
    default:
        return false;
    }
}

/* BK_E_NOTFOUND: not an attribute of this method. */
static enum bk_err take_field(const struct bk_stun *m, const struct bk_stun_attr *a,
                              struct bk_turn_request *out)
{
    unsigned fields = request_fields(m->method);
    if ((fields & PEERS) != 0 && a->type == BK_ATTR_XOR_PEER_ADDRESS) {
        return take_peer(m, a->value, out);
    }
    if ((fields & CONNECTION) != 0 && a->type == BK_ATTR_CONNECTION_ID) {
        return read_u32(a->value, &out->connection_id);
    }
    if ((fields & LIFETIME) != 0 && a->type == BK_ATTR_LIFETIME) {
        out->has_lifetime = true;
        return read_u32(a->value, &out->lifetime_s);
    }
    if ((fields & LIFETIME) != 0 && a->type == BK_ATTR_REQUESTED_ADDRESS_FAMILY) {
        return read_first_byte(a->value, &out->family);
    }
    if ((fields & LIFETIME) != 0 && a->type == BK_ATTR_SERVER_NAME) {
        out->server_name = a->value;
        return a->value.n <= BK_TURN_SERVER_NAME_MAX_BYTES ? BK_OK : BK_E_MALFORMED;
    }
    if ((fields & ADDRESS) == 0) {
        return BK_E_NOTFOUND;
    }
    switch (a->type) {
    case BK_ATTR_REQUESTED_TRANSPORT:
        return read_first_byte(a->value, &out->transport);
    case BK_ATTR_EVEN_PORT:
    case BK_ATTR_DONT_FRAGMENT:
    case BK_ATTR_RESERVATION_TOKEN:
        out->datagram_only = true;
        return BK_OK;
    default:
        return BK_E_NOTFOUND;
    }
}

/* What the method cannot do without. */
static enum bk_err need_fields(const struct bk_stun *m, const struct bk_turn_request *out)
{
    struct bk_slice value;
    if (m->method == BK_METHOD_CONNECTION_BIND) {
        return bk_stun_find(m, BK_ATTR_CONNECTION_ID, &value) ? BK_OK : BK_E_MALFORMED;
    }
    if (m->method == BK_METHOD_CREATE_PERMISSION) {
        return out->n_peers > 0 ? BK_OK : BK_E_MALFORMED;
    }
    if (m->method == BK_METHOD_TURN_CONNECT) {
        return out->n_peers == 1 ? BK_OK : BK_E_MALFORMED;
    }
    return BK_OK;
}

/* Of several mistakes the one that is told: what cannot be read, then what is not known, then what is too many. */
static enum bk_err worse(enum bk_err a, enum bk_err b)
{
    static const enum bk_err order[] = {BK_E_MALFORMED, BK_E_UNKNOWN_ATTR, BK_E_RANGE};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if (a == order[i] || b == order[i]) {
            return order[i];
        }
    }
    return BK_OK;
}

enum bk_err bk_turn_request_read(const struct bk_stun *m, struct bk_turn_request *out)
{
    memset(out, 0, sizeof *out);
    if (m->cls != BK_STUN_REQUEST || request_fields(m->method) == 0) {
        return BK_E_MALFORMED;
    }
    out->method = m->method;
    out->has_mac = has_mac(m);
    enum bk_err err = BK_OK;
    size_t offset = 0;
    struct bk_stun_attr a;
    while (bk_stun_next(m, &offset, &a)) {
        enum bk_err taken = take_login(&a, out) ? BK_OK : take_field(m, &a, out);
        if (taken == BK_E_NOTFOUND && a.type < 0x8000) {
            taken = BK_E_UNKNOWN_ATTR;
            if (out->n_unknown < BK_TURN_UNKNOWN_MAX) {
                out->unknown[out->n_unknown++] = a.type;
            }
        }
        err = worse(err, taken);
    }
    if (!text_fits(out->username) || !text_fits(out->realm) || !text_fits(out->nonce) ||
        fingerprint_wrong(m)) {
        return BK_E_MALFORMED;
    }
    return worse(err, err == BK_OK ? need_fields(m, out) : BK_OK);
}

enum bk_err bk_turn_check(const struct bk_stun *m, const struct bk_turn_ops *ops,
                          const uint8_t key[BK_TURN_KEY_BYTES])
{
    struct bk_mac_ops mac = mac_of(ops);
    return bk_stun_check_sha1(m, &mac, bk_slice(key, BK_TURN_KEY_BYTES));
}

static void put_request_fields(struct bk_stun_writer *s, const struct bk_turn_request *in)
{
    unsigned fields = request_fields(in->method);
    if ((fields & ADDRESS) != 0) {
        put_first_byte(s, BK_ATTR_REQUESTED_TRANSPORT, in->transport);
    }
    if ((fields & LIFETIME) != 0 && in->has_lifetime) {
        put_u32(s, BK_ATTR_LIFETIME, in->lifetime_s);
    }
    if ((fields & LIFETIME) != 0 && in->family != 0) {
        put_first_byte(s, BK_ATTR_REQUESTED_ADDRESS_FAMILY, in->family);
    }
    if ((fields & LIFETIME) != 0 && in->server_name.n > 0) {
        bk_stun_put(s, BK_ATTR_SERVER_NAME, in->server_name);
    }
    for (size_t i = 0; (fields & PEERS) != 0 && i < in->n_peers; i++) {
        bk_stun_put_xor_address(s, BK_ATTR_XOR_PEER_ADDRESS, &in->peers[i]);
    }
    if ((fields & CONNECTION) != 0) {
        put_u32(s, BK_ATTR_CONNECTION_ID, in->connection_id);
    }
}

static bool request_valid(const struct bk_turn_request *in, const struct bk_turn_login *login)
{
    unsigned fields = request_fields(in->method);
    bool peers = in->n_peers > 0 && in->n_peers <= BK_TURN_PEERS_MAX &&
                 (in->method != BK_METHOD_TURN_CONNECT || in->n_peers == 1);
    return fields != 0 && ((fields & PEERS) == 0 || peers) &&
           in->server_name.n <= BK_TURN_SERVER_NAME_MAX_BYTES && text_fits(login->username) &&
           text_fits(login->realm) && text_fits(login->nonce);
}

enum bk_err bk_turn_request_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                  const struct bk_turn_request *in,
                                  const struct bk_turn_login *login, const struct bk_turn_ops *ops,
                                  struct bk_slice *out)
{
    *out = BK_SLICE_EMPTY;
    if (!request_valid(in, login)) {
        return BK_E_RANGE;
    }
    struct bk_stun_writer s = bk_stun_begin(buf, cap, in->method, BK_STUN_REQUEST, txid);
    put_request_fields(&s, in);
    if (login->key != NULL) {
        struct bk_mac_ops mac = mac_of(ops);
        bk_stun_put(&s, BK_ATTR_USERNAME, login->username);
        bk_stun_put(&s, BK_ATTR_REALM, login->realm);
        bk_stun_put(&s, BK_ATTR_NONCE, login->nonce);
        bk_stun_put_sha1(&s, &mac, bk_slice(login->key, BK_TURN_KEY_BYTES));
    }
    return bk_stun_end(&s, out);
}

/* ---- Answers ---- */

static enum bk_err read_error(const struct bk_stun *m, struct bk_turn_answer *out)
{
    struct bk_slice value;
    if (!bk_stun_find(m, BK_ATTR_ERROR_CODE, &value) ||
        bk_stun_error_code(value, &out->code, &out->reason) != BK_OK) {
        return BK_E_MALFORMED;
    }
    (void)bk_stun_find(m, BK_ATTR_REALM, &out->realm);
    (void)bk_stun_find(m, BK_ATTR_NONCE, &out->nonce);
    return text_fits(out->realm) && text_fits(out->nonce) ? BK_OK : BK_E_MALFORMED;
}

static enum bk_err read_success(const struct bk_stun *m, struct bk_turn_answer *out)
{
    /* Other relays add what was not asked for. */
    static const uint16_t known[] = {BK_ATTR_XOR_RELAYED_ADDRESS,
                                     BK_ATTR_XOR_MAPPED_ADDRESS,
                                     BK_ATTR_MAPPED_ADDRESS,
                                     BK_ATTR_LIFETIME,
                                     BK_ATTR_CONNECTION_ID,
                                     BK_ATTR_RESERVATION_TOKEN,
                                     BK_ATTR_USERNAME,
                                     BK_ATTR_REALM,
                                     BK_ATTR_NONCE};
    unsigned fields = answer_fields(m->method);
    struct bk_slice value;
    if (!bk_stun_understood(m, known, sizeof known / sizeof known[0])) {
        return BK_E_UNKNOWN_ATTR;
    }
    if ((fields & ADDRESS) != 0 && (!bk_stun_find(m, BK_ATTR_XOR_RELAYED_ADDRESS, &value) ||
                                    bk_stun_xor_address(m, value, &out->relayed) != BK_OK ||
                                    !bk_stun_find(m, BK_ATTR_XOR_MAPPED_ADDRESS, &value) ||
                                    bk_stun_xor_address(m, value, &out->mapped) != BK_OK)) {
        return BK_E_MALFORMED;
    }
    if ((fields & LIFETIME) != 0 && (!bk_stun_find(m, BK_ATTR_LIFETIME, &value) ||
                                     read_u32(value, &out->lifetime_s) != BK_OK)) {
        return BK_E_MALFORMED;
    }
    if ((fields & CONNECTION) != 0 && (!bk_stun_find(m, BK_ATTR_CONNECTION_ID, &value) ||
                                       read_u32(value, &out->connection_id) != BK_OK)) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

enum bk_err bk_turn_answer_read(const struct bk_stun *m, const struct bk_turn_ops *ops,
                                const uint8_t *key, struct bk_turn_answer *out)
{
    memset(out, 0, sizeof *out);
    bool success = m->cls == BK_STUN_SUCCESS;
    if ((!success && m->cls != BK_STUN_ERROR) || request_fields(m->method) == 0 ||
        fingerprint_wrong(m)) {
        return BK_E_MALFORMED;
    }
    if (key != NULL) {
        enum bk_err mac = bk_turn_check(m, ops, key);
        if (mac != BK_OK && (success || mac != BK_E_NOTFOUND)) {
            return BK_E_AUTH;
        }
        out->authentic = mac == BK_OK;
    }
    out->method = m->method;
    return success ? read_success(m, out) : read_error(m, out);
}

static const char *usual_reason(uint16_t code)
{
    static const struct {
        uint16_t code;
        const char *text;
    } reasons[] = {
        {BK_CODE_BAD_REQUEST, "bad request"},
        {BK_CODE_UNAUTHENTICATED, "unauthenticated"},
        {BK_CODE_FORBIDDEN, "forbidden"},
        {BK_CODE_UNKNOWN_ATTRIBUTE, "unknown attribute"},
        {BK_CODE_ALLOCATION_MISMATCH, "allocation mismatch"},
        {BK_CODE_STALE_NONCE, "stale nonce"},
        {BK_CODE_ADDRESS_FAMILY, "address family not supported"},
        {BK_CODE_WRONG_CREDENTIALS, "wrong credentials"},
        {BK_CODE_UNSUPPORTED_TRANSPORT, "unsupported transport protocol"},
        {BK_CODE_PEER_ADDRESS_FAMILY, "peer address family mismatch"},
        {BK_CODE_CONNECTION_EXISTS, "connection already exists"},
        {BK_CODE_CONNECTION_FAILED, "connection timeout or failure"},
        {BK_CODE_QUOTA, "allocation quota reached"},
        {BK_CODE_CAPACITY, "insufficient capacity"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].code == code) {
            return reasons[i].text;
        }
    }
    return "";
}

static void put_error(struct bk_stun_writer *s, const struct bk_turn_answer *in)
{
    struct bk_slice usual = bk_slice_text(usual_reason(in->code));
    bk_stun_put_error(s, in->code, in->reason.n > 0 ? in->reason : usual);
    if (in->realm.n > 0) {
        bk_stun_put(s, BK_ATTR_REALM, in->realm);
    }
    if (in->nonce.n > 0) {
        bk_stun_put(s, BK_ATTR_NONCE, in->nonce);
    }
    if (in->code == BK_CODE_UNKNOWN_ATTRIBUTE) {
        uint8_t types[2 * BK_TURN_UNKNOWN_MAX];
        struct bk_writer w = bk_writer(types, sizeof types);
        for (size_t i = 0; i < in->n_unknown && i < BK_TURN_UNKNOWN_MAX; i++) {
            bk_write_u16(&w, in->unknown[i]);
        }
        bk_stun_put(s, BK_ATTR_UNKNOWN_ATTRIBUTES, bk_writer_bytes(&w));
    }
}

static void put_success(struct bk_stun_writer *s, const struct bk_turn_answer *in)
{
    unsigned fields = answer_fields(in->method);
    if ((fields & ADDRESS) != 0) {
        bk_stun_put_xor_address(s, BK_ATTR_XOR_RELAYED_ADDRESS, &in->relayed);
        bk_stun_put_xor_address(s, BK_ATTR_XOR_MAPPED_ADDRESS, &in->mapped);
    }
    if ((fields & LIFETIME) != 0) {
        put_u32(s, BK_ATTR_LIFETIME, in->lifetime_s);
    }
    if ((fields & CONNECTION) != 0) {
        put_u32(s, BK_ATTR_CONNECTION_ID, in->connection_id);
    }
}

enum bk_err bk_turn_answer_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                 const struct bk_turn_answer *in, const struct bk_turn_ops *ops,
                                 const uint8_t *key, struct bk_slice *out)
{
    struct bk_stun_writer s =
        bk_stun_begin(buf, cap, in->method, in->code == 0 ? BK_STUN_SUCCESS : BK_STUN_ERROR, txid);
    if (in->code == 0) {
        put_success(&s, in);
    } else {
        put_error(&s, in);
    }
    if (key != NULL) {
        struct bk_mac_ops mac = mac_of(ops);
        bk_stun_put_sha1(&s, &mac, bk_slice(key, BK_TURN_KEY_BYTES));
    }
    return bk_stun_end(&s, out);
}

/* ---- ConnectionAttempt ---- */

enum bk_err bk_turn_attempt_read(const struct bk_stun *m, struct bk_turn_attempt *out)
{
    static const uint16_t known[] = {BK_ATTR_CONNECTION_ID, BK_ATTR_XOR_PEER_ADDRESS};
    struct bk_slice value;
    struct bk_turn_attempt got = {0};
    memset(out, 0, sizeof *out);
    enum bk_err err = bk_message_expect(m, BK_METHOD_CONNECTION_ATTEMPT, BK_STUN_INDICATION, known,
                                        sizeof known / sizeof known[0]);
    if (err != BK_OK) {
        return err;
    }
    if (fingerprint_wrong(m) || !bk_stun_find(m, BK_ATTR_CONNECTION_ID, &value) ||
        read_u32(value, &got.connection_id) != BK_OK ||
        !bk_stun_find(m, BK_ATTR_XOR_PEER_ADDRESS, &value) ||
        bk_stun_xor_address(m, value, &got.peer) != BK_OK) {
        return BK_E_MALFORMED;
    }
    if (bk_stun_find(m, BK_ATTR_SERVER_NAME, &value)) {
        got.server_name = value;
    }
    *out = got;
    return BK_OK;
}

enum bk_err bk_turn_attempt_write(uint8_t *buf, size_t cap, const uint8_t txid[BK_STUN_TXID_BYTES],
                                  const struct bk_turn_attempt *in, struct bk_slice *out)
{
    struct bk_stun_writer s =
        bk_stun_begin(buf, cap, BK_METHOD_CONNECTION_ATTEMPT, BK_STUN_INDICATION, txid);
    put_u32(&s, BK_ATTR_CONNECTION_ID, in->connection_id);
    bk_stun_put_xor_address(&s, BK_ATTR_XOR_PEER_ADDRESS, &in->peer);
    if (in->server_name.n > 0) {
        bk_stun_put(&s, BK_ATTR_SERVER_NAME, in->server_name);
    }
    return bk_stun_end(&s, out);
}
