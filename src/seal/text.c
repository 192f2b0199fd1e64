/* Join tokens, beckon:// URIs and base64url. What is read was typed or pasted by people: every
 * deviation is refused, none is repaired. */
#include "seal/text.h"

#include <sodium.h>
#include <string.h>

#include "base/number.h"
#include "base/reader.h"
#include "base/writer.h"
#include "seal/seal.h"

enum {
    CHECKSUM_BYTES = 4,
    TOKEN_FIXED_BYTES = 1 + 16 + BK_PIN_BYTES + 2,
    TOKEN_BINARY_MAX_BYTES = TOKEN_FIXED_BYTES + BK_HOST_MAX_BYTES + CHECKSUM_BYTES,
    TOKEN_ROLE_DEVICE = 2,
    TOKEN_ROLE_USER = 3,
};

static const char token_prefix[] = "beckon1.";
static const char uri_prefix[] = "beckon://";

_Static_assert(BK_TOKEN_TEXT_BYTES >= sizeof token_prefix + (TOKEN_BINARY_MAX_BYTES * 4 + 2) / 3,
               "the longest token");
_Static_assert(BK_URI_TEXT_BYTES >=
                   sizeof uri_prefix + BK_HOST_MAX_BYTES + 2 + 20 + 1 + BK_PIN_TEXT_BYTES,
               "the longest URI");

enum bk_err bk_base64_write(struct bk_slice bytes, char *out, size_t cap)
{
    const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    if (cap == 0) {
        return BK_E_NOSPACE;
    }
    out[0] = '\0';
    /* Three quarters of `cap` is more than can fit; asked first, as the length below would wrap. */
    if (bytes.n >= cap || sodium_base64_encoded_len(bytes.n, variant) > cap) {
        return BK_E_NOSPACE;
    }
    if (bytes.n > 0) {
        (void)sodium_bin2base64(out, cap, bytes.p, bytes.n, variant);
    }
    return BK_OK;
}

/* libsodium 1.0.18 takes some bytes above 0x7F for characters of the alphabet. */
static bool base64_alphabet(struct bk_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

enum bk_err bk_base64_read(struct bk_slice text, uint8_t *out, size_t cap, size_t *n)
{
    const char *end = NULL;
    const char *start = (const char *)text.p;
    *n = 0;
    if (text.n == 0) {
        return BK_OK;
    }
    if (!base64_alphabet(text)) {
        return BK_E_MALFORMED;
    }
    /* libsodium writes up to `cap` bytes before it finds that there are more. */
    if (text.n / 4 * 3 + (text.n % 4) * 3 / 4 > cap) {
        return BK_E_NOSPACE;
    }
    if (sodium_base642bin(out, cap, start, text.n, NULL, n, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != start + text.n) {
        *n = 0;
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

/* A DNS name, an IPv4 address or, for tokens, an IPv6 address without brackets. */
static bool host_valid(struct bk_slice host)
{
    if (host.n == 0 || host.n > BK_HOST_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < host.n; i++) {
        uint8_t c = host.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && c != '.' && c != '-' && c != '_' && c != ':') {
            return false;
        }
    }
    return host.p[0] != '-'; /* never to be taken for an option */
}

static void checksum(struct bk_slice bytes, uint8_t out[CHECKSUM_BYTES])
{
    uint8_t hash[32];
    bk_sha256(&bytes, 1, hash);
    memcpy(out, hash, CHECKSUM_BYTES);
    bk_wipe(hash, sizeof hash);
}

enum bk_err bk_token_write(const struct bk_token *in, char out[BK_TOKEN_TEXT_BYTES])
{
    struct bk_slice host = bk_slice_text(in->host);
    out[0] = '\0';
    if ((in->role != BK_ROLE_DEVICE && in->role != BK_ROLE_USER) || in->port == 0 ||
        !host_valid(host)) {
        return BK_E_RANGE;
    }
    uint8_t binary[TOKEN_BINARY_MAX_BYTES];
    uint8_t sum[CHECKSUM_BYTES];
    struct bk_writer w = bk_writer(binary, sizeof binary);
    bk_write_u8(&w, in->role == BK_ROLE_DEVICE ? TOKEN_ROLE_DEVICE : TOKEN_ROLE_USER);
    bk_write_bytes(&w, BK_SLICE_OF(in->secret));
    bk_write_bytes(&w, BK_SLICE_OF(in->ca_pin));
    bk_write_u16(&w, in->port);
    bk_write_bytes(&w, host);
    checksum(bk_writer_bytes(&w), sum);
    bk_write_bytes(&w, BK_SLICE_OF(sum));
    const size_t head = sizeof token_prefix - 1;
    memcpy(out, token_prefix, head);
    enum bk_err err = bk_base64_write(bk_writer_bytes(&w), out + head, BK_TOKEN_TEXT_BYTES - head);
    bk_wipe(binary, sizeof binary);
    return err;
}

static bool starts_with(struct bk_slice text, const char *prefix, size_t n)
{
    return text.n >= n && memcmp(text.p, prefix, n) == 0;
}

static enum bk_err read_token_fields(struct bk_slice fields, struct bk_token *out)
{
    struct bk_reader r = bk_reader(fields);
    uint8_t role = bk_read_u8(&r);
    bk_read_copy(&r, out->secret, sizeof out->secret);
    bk_read_copy(&r, out->ca_pin, sizeof out->ca_pin);
    out->port = bk_read_u16(&r);
    out->role = role == TOKEN_ROLE_DEVICE ? BK_ROLE_DEVICE : BK_ROLE_USER;
    if (r.err != BK_OK || (role != TOKEN_ROLE_DEVICE && role != TOKEN_ROLE_USER) ||
        out->port == 0 || !host_valid(r.left) ||
        !bk_slice_to_text(r.left, out->host, sizeof out->host)) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

enum bk_err bk_token_read(struct bk_slice text, struct bk_token *out)
{
    const size_t head = sizeof token_prefix - 1;
    uint8_t binary[TOKEN_BINARY_MAX_BYTES];
    uint8_t sum[CHECKSUM_BYTES];
    size_t n = 0;
    enum bk_err err = BK_E_MALFORMED;
    memset(out, 0, sizeof *out);
    if (!starts_with(text, token_prefix, head)) {
        return BK_E_MALFORMED;
    }
    if (bk_base64_read(bk_slice(text.p + head, text.n - head), binary, sizeof binary, &n) !=
            BK_OK ||
        n < CHECKSUM_BYTES) {
        goto out;
    }
    struct bk_slice fields = bk_slice(binary, n - CHECKSUM_BYTES);
    checksum(fields, sum);
    if (memcmp(sum, binary + fields.n, CHECKSUM_BYTES) == 0) {
        err = read_token_fields(fields, out);
    }
out:
    if (err != BK_OK) {
        bk_wipe(out, sizeof *out);
    }
    bk_wipe(binary, sizeof binary);
    return err;
}

enum bk_err bk_uri_write(const struct bk_uri *in, char out[BK_URI_TEXT_BYTES])
{
    struct bk_slice host = bk_slice_text(in->host);
    out[0] = '\0';
    if (!host_valid(host) || !bk_equipment_id_valid(in->equipment_id)) {
        return BK_E_RANGE;
    }
    char id[21];
    char pin[BK_PIN_TEXT_BYTES];
    bk_number_format(in->equipment_id, id);
    bk_pin_format(in->pin, pin);
    /* Brackets around an IPv6 address, as in every URI (RFC 3986, 3.2.2). */
    bool v6 = memchr(in->host, ':', host.n) != NULL;
    struct bk_writer w = bk_writer((uint8_t *)out, BK_URI_TEXT_BYTES);
    bk_write_bytes(&w, bk_slice_text(uri_prefix));
    bk_write_bytes(&w, bk_slice_text(v6 ? "[" : ""));
    bk_write_bytes(&w, host);
    bk_write_bytes(&w, bk_slice_text(v6 ? "]/" : "/"));
    bk_write_bytes(&w, bk_slice_text(id));
    bk_write_bytes(&w, bk_slice_text("#"));
    bk_write_bytes(&w, bk_slice_text(pin));
    bk_write_u8(&w, 0);
    return w.err;
}

/* Cuts `rest` at the first `mark`: what stands before it, and `rest` becomes what stands behind. */
static bool cut(struct bk_slice *rest, uint8_t mark, struct bk_slice *before)
{
    const uint8_t *at = rest->n > 0 ? memchr(rest->p, mark, rest->n) : NULL;
    if (at == NULL) {
        return false;
    }
    size_t n = (size_t)(at - rest->p);
    *before = bk_slice(rest->p, n);
    *rest = bk_slice(at + 1, rest->n - n - 1);
    return true;
}

enum bk_err bk_uri_read(struct bk_slice text, struct bk_uri *out)
{
    const size_t head = sizeof uri_prefix - 1;
    memset(out, 0, sizeof *out);
    if (!starts_with(text, uri_prefix, head)) {
        return BK_E_MALFORMED;
    }
    struct bk_slice rest = bk_slice(text.p + head, text.n - head);
    struct bk_slice host;
    struct bk_slice id;
    if (!cut(&rest, '/', &host) || !cut(&rest, '#', &id)) {
        return BK_E_MALFORMED;
    }
    bool brackets = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    if (brackets) {
        host = bk_slice(host.p + 1, host.n - 2);
    }
    struct bk_uri got;
    memset(&got, 0, sizeof got);
    if (!host_valid(host) || brackets != (memchr(host.p, ':', host.n) != NULL) ||
        bk_equipment_id_parse(id, &got.equipment_id) != BK_OK ||
        bk_pin_parse(rest, got.pin) != BK_OK ||
        !bk_slice_to_text(host, got.host, sizeof got.host)) {
        return BK_E_MALFORMED;
    }
    *out = got;
    return BK_OK;
}
