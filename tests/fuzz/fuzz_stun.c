/* Any bytes as a datagram: every message reader, and what one accepts is written, read and written
 * again to the same bytes. The MAC is a stand-in that anyone can compute, and a FINGERPRINT is put
 * right, so that the fuzzer gets behind both. */
#include <string.h>

#include "fuzz.h"
#include "wire/binding.h"
#include "wire/connect.h"
#include "wire/crc32.h"
#include "wire/enrol.h"
#include "wire/info.h"
#include "wire/lookup.h"
#include "wire/notify.h"
#include "wire/paths.h"
#include "wire/probe.h"
#include "wire/register.h"
#include "wire/register_quick.h"
#include "wire/renew.h"
#include "wire/result.h"
#include "wire/watch.h"

enum {
    INPUT_MAX_BYTES = 4096,
    OUTPUT_BYTES = 8192,
};

static void fake_mac(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n_parts,
                     uint8_t *out)
{
    (void)ctx;
    (void)key;
    volatile uint8_t sum = 0; /* touches all that a MAC would */
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t k = 0; k < parts[i].n; k++) {
            sum = (uint8_t)(sum + parts[i].p[k]);
        }
    }
    memset(out, 0, BK_HMAC_SHA1_BYTES);
}

static void fake_mac_sha256(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                            size_t n_parts, uint8_t out[BK_HMAC_SHA256_BYTES])
{
    fake_mac(ctx, key, parts, n_parts, out);
    memset(out, 0, BK_HMAC_SHA256_BYTES);
}

static const struct bk_mac_ops mac = {.hmac_sha256 = fake_mac_sha256, .hmac_sha1 = fake_mac};
static const struct bk_slice key = {(const uint8_t *)"key", 3};

/* Reads a message of one kind and, if it is one, writes it; false if it is none. */
typedef bool (*rewriter)(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out);

static bool rewrite_binding(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_addr a;
    if (bk_binding_response_read(m, &a) != BK_OK) {
        return false;
    }
    require(bk_binding_response_write(buf, OUTPUT_BYTES, m->txid, &a, out) == BK_OK);
    return true;
}

static bool rewrite_register(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_register v;
    if (bk_register_read(m, &v) != BK_OK || bk_datagram_check(m, &mac, key) != BK_OK) {
        return false;
    }
    require(bk_register_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_register_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_register_answer v;
    if (bk_register_answer_read(m, &mac, key, &v) != BK_OK) {
        return false;
    }
    require(bk_register_answer_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_register_challenge(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_slice nonce;
    if (bk_register_challenge_read(m, &mac, key, &nonce) != BK_OK) {
        return false;
    }
    require(bk_register_challenge_write(buf, OUTPUT_BYTES, m->txid, nonce, &mac, key, out) ==
            BK_OK);
    return true;
}

static bool rewrite_probe(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_probe v;
    if (bk_probe_read(m, &v) != BK_OK || bk_datagram_check(m, &mac, key) != BK_OK) {
        return false;
    }
    require(bk_probe_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_probe_echo(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    if (bk_probe_echo_read(m, &mac, key) != BK_OK) {
        return false;
    }
    require(bk_probe_echo_write(buf, OUTPUT_BYTES, m->txid, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_info_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_info v;
    if (bk_info_answer_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_info_answer_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_paths(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_paths v;
    if (bk_paths_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_paths_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_notify(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_notify v;
    if (bk_notify_read(m, &mac, key, &v) != BK_OK) {
        return false;
    }
    require(v.fast || (v.box.n == 0 && v.user.n == 0));
    require(bk_notify_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    require(out->n <= BK_STUN_DATAGRAM_MAX_BYTES);
    return true;
}

static bool rewrite_notify_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_notify_answer v;
    if (bk_notify_answer_read(m, &mac, key, &v) != BK_OK) {
        return false;
    }
    require(bk_notify_answer_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_lookup(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_lookup v;
    if (bk_lookup_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_lookup_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_lookup_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_lookup_answer v;
    if (bk_lookup_answer_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_lookup_answer_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_connect(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_connect v;
    if (bk_connect_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_connect_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_result(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_result v;
    if (bk_result_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_result_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_result_datagram(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_result_datagram v;
    if (bk_result_datagram_read(m, &v) != BK_OK || bk_datagram_check(m, &mac, key) != BK_OK) {
        return false;
    }
    require(bk_result_datagram_write(buf, OUTPUT_BYTES, m->txid, &v, &mac, key, out) == BK_OK);
    require(out->n <= BK_STUN_DATAGRAM_MAX_BYTES);
    return true;
}

static bool rewrite_result_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    if (bk_result_answer_read(m, &mac, key) != BK_OK) {
        return false;
    }
    require(bk_result_answer_write(buf, OUTPUT_BYTES, m->txid, &mac, key, out) == BK_OK);
    return true;
}

static bool rewrite_enrol(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_enrol v;
    if (bk_enrol_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_enrol_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_enrol_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_enrol_answer v;
    if (bk_enrol_answer_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_enrol_answer_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_renew(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_renew v;
    if (bk_renew_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_renew_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_renew_answer(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_renew_answer v;
    if (bk_renew_answer_read(m, &v) != BK_OK) {
        return false;
    }
    require(v.device || (v.registration_key.n == 0 && v.ports.udp == 0));
    require(bk_renew_answer_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_watch(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    struct bk_watch v;
    if (bk_watch_read(m, &v) != BK_OK) {
        return false;
    }
    require(bk_watch_write(buf, OUTPUT_BYTES, m->txid, &v, out) == BK_OK);
    return true;
}

static bool rewrite_error(const struct bk_stun *m, uint8_t *buf, struct bk_slice *out)
{
    uint16_t code;
    if (bk_error_read(m, &code) != BK_OK) {
        return false;
    }
    require(bk_error_write(buf, OUTPUT_BYTES, m->method, m->txid, code, "why", out) == BK_OK);
    return true;
}

static const rewriter rewriters[] = {
    rewrite_binding,         rewrite_register,
    rewrite_register_answer, rewrite_notify,
    rewrite_notify_answer,   rewrite_lookup,
    rewrite_lookup_answer,   rewrite_connect,
    rewrite_result,          rewrite_enrol,
    rewrite_enrol_answer,    rewrite_renew,
    rewrite_renew_answer,    rewrite_watch,
    rewrite_error,           rewrite_register_challenge,
    rewrite_probe,           rewrite_probe_echo,
    rewrite_info_answer,     rewrite_paths,
    rewrite_result_datagram, rewrite_result_answer,
};

/* The walk stays inside, and ends; every check may be asked of any message. */
static void walk(const struct bk_stun *m)
{
    size_t offset = 0;
    size_t steps = 0;
    struct bk_stun_attr attr;
    while (bk_stun_next(m, &offset, &attr)) {
        struct bk_addr a;
        struct bk_slice reason;
        uint16_t code;
        require(++steps <= m->raw.n / 4);
        require(attr.value.n == 0 ||
                (attr.value.p >= m->raw.p && attr.value.n <= m->raw.n &&
                 (size_t)(attr.value.p - m->raw.p) <= m->raw.n - attr.value.n));
        (void)!bk_stun_xor_address(m, attr.value, &a);
        (void)!bk_stun_error_code(attr.value, &code, &reason);
    }
    (void)!bk_stun_check_fingerprint(m);
    (void)!bk_stun_check_sha256(m, &mac, key, 16);
    (void)!bk_stun_check_sha256(m, &mac, key, 32);
    (void)!bk_stun_check_sha1(m, &mac, key);
}

static void fix_fingerprint(uint8_t *p, size_t n)
{
    static const uint8_t head[4] = {0x80, 0x28, 0, 4};
    if (n < BK_STUN_HEADER_BYTES + 8 || memcmp(p + n - 8, head, 4) != 0) {
        return;
    }
    uint32_t crc = bk_crc32(bk_slice(p, n - 8)) ^ BK_STUN_FINGERPRINT_XOR;
    for (size_t i = 0; i < 4; i++) {
        p[n - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
}

/* The reader at fixed places takes nothing that the general one would not, or would otherwise understand. */
static void read_quickly(struct bk_slice bytes)
{
    static const uint8_t some_key[BK_KEY_BYTES] = {1};
    struct bk_register quick, general;
    struct bk_mac_key ready;
    struct bk_stun m;
    (void)bk_register_quick_device(bytes);
    if (!bk_register_quick_read(bytes, &quick)) {
        return;
    }
    bk_mac_prepare(&mac, some_key, &ready);
    require(bk_stun_read(bytes, &m) == BK_OK && bk_register_read(&m, &general) == BK_OK);
    require(quick.quiet == general.quiet && quick.equipment_id == general.equipment_id &&
            quick.generation == general.generation && quick.epoch == general.epoch &&
            quick.interval_s == general.interval_s && quick.tag.random == general.tag.random &&
            quick.tag.counter == general.tag.counter && bk_slice_equal(quick.nonce, general.nonce));
    require(bk_register_quick_fingerprint(bytes) == (bk_stun_check_fingerprint(&m) == BK_OK));
    require(
        bk_register_quick_integrity(bytes, &mac, &ready) ==
        (bk_stun_check_sha256(&m, &mac, BK_SLICE_OF(some_key), BK_STUN_SHORT_MAC_BYTES) == BK_OK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[OUTPUT_BYTES];
    static uint8_t second[OUTPUT_BYTES];
    if (size == 0 || size > INPUT_MAX_BYTES) {
        return 0;
    }
    uint8_t *copy = malloc(size); /* of exact size: the sanitizer sees a byte too many */
    require(copy != NULL);
    memcpy(copy, data, size);
    fix_fingerprint(copy, size);
    read_quickly(bk_slice(copy, size));
    struct bk_stun m;
    if (bk_stun_read(bk_slice(copy, size), &m) == BK_OK) {
        walk(&m);
        for (size_t i = 0; i < sizeof rewriters / sizeof rewriters[0]; i++) {
            struct bk_slice once;
            struct bk_slice twice;
            struct bk_stun again;
            if (rewriters[i](&m, first, &once)) {
                require(bk_stun_read(once, &again) == BK_OK);
                require(rewriters[i](&again, second, &twice));
                require(bk_slice_equal(once, twice));
            }
        }
    }
    free(copy);
    return 0;
}
