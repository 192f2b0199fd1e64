/* Any bytes as the texts that people type: what is accepted has one text only, which reads back. */
#include <string.h>

#include "base/addr.h"
#include "base/number.h"
#include "fuzz.h"
#include "seal/caller_key.h"
#include "seal/seal.h"
#include "seal/text.h"
#include "wire/attrs.h"

static void as_number(struct bk_slice text)
{
    uint64_t v;
    char out[21];
    if (bk_number_parse(text, UINT64_MAX, &v) == BK_OK) {
        bk_number_format(v, out);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
    if (bk_equipment_id_parse(text, &v) == BK_OK) {
        require(v > 0 && v <= INT64_MAX);
    }
}

static void as_address(struct bk_slice text)
{
    struct bk_addr a;
    struct bk_addr back;
    char out[BK_ADDR_TEXT_BYTES];
    for (uint16_t port = 0; port < 2; port++) {
        if (bk_addr_parse(text, port, &a) == BK_OK) {
            bk_addr_format(&a, out);
            require(bk_addr_parse(bk_slice_text(out), 0, &back) == BK_OK);
            require(bk_addr_equal(&a, &back));
            require(bk_addr_scope(&a) <= BK_SCOPE_RESERVED);
        }
    }
    struct bk_prefix prefix;
    if (bk_prefix_parse(text, &prefix) == BK_OK) {
        struct bk_addr inside = {{0}, 0};
        memcpy(inside.ip, prefix.ip, sizeof inside.ip);
        require(prefix.bits <= 128 && bk_prefix_contains(&prefix, &inside));
    }
}

static void as_base64(struct bk_slice text)
{
    uint8_t bytes[512];
    uint8_t pin[BK_PIN_BYTES];
    char out[1024];
    size_t n;
    if (bk_base64_read(text, bytes, sizeof bytes, &n) == BK_OK) {
        require(bk_base64_write(bk_slice(bytes, n), out, sizeof out) == BK_OK);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
    if (bk_pin_parse(text, pin) == BK_OK) {
        bk_pin_format(pin, out);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
    if (bk_caller_key_parse(text, pin) == BK_OK) {
        bk_caller_key_format(pin, out);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
}

static void as_token(struct bk_slice text)
{
    struct bk_token token;
    char out[BK_TOKEN_TEXT_BYTES];
    if (bk_token_read(text, &token) == BK_OK) {
        require(bk_token_write(&token, out) == BK_OK);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
}

/* The same, behind prefix and checksum, which a fuzzer does not guess. */
static void as_token_inside(struct bk_slice fields)
{
    uint8_t bytes[400];
    uint8_t sum[32];
    char text[BK_TOKEN_TEXT_BYTES + 64] = "beckon1.";
    if (fields.n == 0 || fields.n > sizeof bytes - 4) {
        return;
    }
    bk_sha256(&fields, 1, sum);
    memcpy(bytes, fields.p, fields.n);
    memcpy(bytes + fields.n, sum, 4);
    require(bk_base64_write(bk_slice(bytes, fields.n + 4), text + 8, sizeof text - 8) == BK_OK);
    as_token(bk_slice_text(text));
}

static void as_uri(struct bk_slice text)
{
    struct bk_uri uri;
    char out[BK_URI_TEXT_BYTES];
    if (bk_uri_read(text, &uri) == BK_OK) {
        require(bk_uri_write(&uri, out) == BK_OK);
        require(bk_slice_equal(text, bk_slice_text(out)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[65];
    uint8_t *copy = malloc(size > 0 ? size : 1);
    require(copy != NULL && bk_seal_init() == BK_OK);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct bk_slice in = bk_slice(copy, size);
    as_number(in);
    as_address(in);
    as_base64(in);
    as_token(in);
    as_token_inside(in);
    as_uri(in);
    if (bk_name_valid(in)) {
        require(bk_slice_to_text(in, text, sizeof text));
    }
    free(copy);
    return 0;
}
