#include "devices/wire.h"

#include <string.h>

#include "core/registrar/registrar.h"
#include "seal/seal.h"
#include "wire/crc32.h"
#include "wire/register.h"

enum {
    BLOCK_BYTES = 64,
    HEADER_BYTES = 20,
    TXID_AT = 8,
    SERIAL_AT = 12, /* in the transaction ID, behind a mark of ours */
    INDEX_AT = 16,
    ID_AT = 20,
    REGISTRATION_AT = 32,
    TAG_AT = 44,
    NONCE_AT = 60,
    MAC_BYTES = 16,
    MAC_ATTR_BYTES = 4 + MAC_BYTES,
    FINGERPRINT_BYTES = 8,
    TAIL_BYTES = MAC_ATTR_BYTES + FINGERPRINT_BYTES,
    TYPE_REQUEST = 0x0281, /* REGISTER, 0x0C1, in the four classes */
    TYPE_INDICATION = 0x0291,
    TYPE_SUCCESS = 0x0381,
    TYPE_ERROR = 0x0391,
    ATTR_ERROR_CODE = 0x0009,
    ATTR_NONCE = 0x0015,
    ATTR_MAC = 0x001C,
    ATTR_FINGERPRINT = 0x8028,
    MARK = 0x62656E63,
};

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xFFFF);
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void hmac_prepare(struct hmac_key *k, const uint8_t key[KEY_BYTES])
{
    uint8_t pad[BLOCK_BYTES];

    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        pad[i] = (uint8_t)((i < KEY_BYTES ? key[i] : 0) ^ 0x36);
    }
    SHA256_Init(&k->inner);
    SHA256_Update(&k->inner, pad, sizeof pad);
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        pad[i] ^= 0x36 ^ 0x5C;
    }
    SHA256_Init(&k->outer);
    SHA256_Update(&k->outer, pad, sizeof pad);
}

static void hmac(const struct hmac_key *k, const uint8_t *a, size_t n_a, const uint8_t *b,
                 size_t n_b, uint8_t out[32])
{
    SHA256_CTX c = k->inner;

    SHA256_Update(&c, a, n_a);
    SHA256_Update(&c, b, n_b);
    SHA256_Final(out, &c);
    c = k->outer;
    SHA256_Update(&c, out, 32);
    SHA256_Final(out, &c);
}

/* A tag's random part: any will do, but the same for all runs, so that one can go on where another ended. */
static uint64_t tag_random(uint32_t index)
{
    uint64_t z = (index + UINT64_C(1)) * UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ (z >> 27);
}

static void device_key(const struct wire *w, uint32_t index, uint8_t key[KEY_BYTES])
{
    static const char label[] = "beckon registration key 1";
    uint8_t numbers[12];

    put64(numbers, w->first_id + index);
    put32(numbers + 8, w->generation);
    hmac(&w->master, (const uint8_t *)label, sizeof label - 1, numbers, sizeof numbers, key);
}

void wire_init(struct wire *w, const uint8_t master[KEY_BYTES], uint16_t epoch, uint64_t first_id,
               uint32_t generation, uint16_t interval_s)
{
    hmac_prepare(&w->master, master);
    w->first_id = first_id;
    w->generation = generation;
    w->epoch = epoch;
    w->interval_s = interval_s;
}

void wire_fingerprint(uint8_t *bytes, size_t n)
{
    put32(bytes + n - 4,
          bk_crc32(bk_slice(bytes, n - FINGERPRINT_BYTES)) ^ BK_STUN_FINGERPRINT_XOR);
}

/* The MAC of a message of n bytes that ends in integrity and fingerprint: its length field ends with the former. */
static void mac_of(const struct wire *w, uint32_t index, const uint8_t *bytes, size_t n,
                   uint8_t out[32])
{
    uint8_t key[KEY_BYTES];
    uint8_t head[4] = {bytes[0], bytes[1], 0, 0};
    struct hmac_key k;

    put16(head + 2, (unsigned)(n - FINGERPRINT_BYTES - HEADER_BYTES));
    device_key(w, index, key);
    hmac_prepare(&k, key);
    hmac(&k, head, sizeof head, bytes + 4, n - TAIL_BYTES - 4, out);
}

size_t wire_register(const struct wire *w, uint32_t index, uint32_t counter, bool quiet,
                     uint32_t serial, const uint8_t *nonce, uint8_t *out)
{
    size_t at = NONCE_AT + (nonce != NULL ? 4 + NONCE_BYTES : 0);
    size_t n = at + TAIL_BYTES;
    uint8_t mac[32];

    put16(out, quiet ? TYPE_INDICATION : TYPE_REQUEST);
    put16(out + 2, (unsigned)(n - HEADER_BYTES));
    put32(out + 4, BK_STUN_COOKIE);
    put32(out + TXID_AT, MARK);
    put32(out + SERIAL_AT, serial);
    put32(out + INDEX_AT, index);
    put16(out + ID_AT, BK_ATTR_EQUIPMENT_ID);
    put16(out + ID_AT + 2, 8);
    put64(out + ID_AT + 4, w->first_id + index);
    put16(out + REGISTRATION_AT, BK_ATTR_REGISTRATION);
    put16(out + REGISTRATION_AT + 2, 8);
    put32(out + REGISTRATION_AT + 4, w->generation);
    put16(out + REGISTRATION_AT + 8, w->epoch);
    put16(out + REGISTRATION_AT + 10, w->interval_s);
    put16(out + TAG_AT, BK_ATTR_TAG);
    put16(out + TAG_AT + 2, 12);
    put64(out + TAG_AT + 4, tag_random(index));
    put32(out + TAG_AT + 12, counter);
    if (nonce != NULL) {
        put16(out + NONCE_AT, ATTR_NONCE);
        put16(out + NONCE_AT + 2, NONCE_BYTES);
        memcpy(out + NONCE_AT + 4, nonce, NONCE_BYTES);
    }
    mac_of(w, index, out, n, mac);
    put16(out + at, ATTR_MAC);
    put16(out + at + 2, MAC_BYTES);
    memcpy(out + at + 4, mac, MAC_BYTES);
    put16(out + at + MAC_ATTR_BYTES, ATTR_FINGERPRINT);
    put16(out + at + MAC_ATTR_BYTES + 2, 4);
    wire_fingerprint(out, n);
    return n;
}

/* An attribute of exactly NONCE_BYTES at `at`. */
static const uint8_t *nonce_at(const uint8_t *bytes, size_t n, size_t at)
{
    if (n < at + 4 + NONCE_BYTES || get16(bytes + at) != ATTR_NONCE ||
        get16(bytes + at + 2) != NONCE_BYTES) {
        return NULL;
    }
    return bytes + at + 4;
}

enum answer wire_answer(const uint8_t *bytes, size_t n, uint32_t *index, const uint8_t **nonce)
{
    unsigned type;

    *nonce = NULL;
    if (n < HEADER_BYTES + TAIL_BYTES || get32(bytes + TXID_AT) != MARK) {
        return ANSWER_NONE;
    }
    type = get16(bytes);
    *index = get32(bytes + INDEX_AT);
    if (type == TYPE_SUCCESS) {
        return ANSWER_SUCCESS;
    }
    if (type == TYPE_INDICATION) {
        *nonce = nonce_at(bytes, n, HEADER_BYTES);
    } else if (type == TYPE_ERROR && get16(bytes + HEADER_BYTES) == ATTR_ERROR_CODE) {
        *nonce = nonce_at(bytes, n, HEADER_BYTES + 8);
    } else {
        return ANSWER_NONE;
    }
    return *nonce != NULL ? ANSWER_CHALLENGE : ANSWER_REFUSED;
}

bool wire_answer_proven(const struct wire *w, const uint8_t *bytes, size_t n, uint32_t index)
{
    uint8_t mac[32];

    mac_of(w, index, bytes, n, mac);
    return memcmp(mac, bytes + n - TAIL_BYTES + 4, MAC_BYTES) == 0;
}

bool wire_check(const struct wire *w, const uint8_t master[KEY_BYTES])
{
    static const uint8_t nonce[NONCE_BYTES + 1] = "abcdefghijklmnopqrst";
    const uint32_t index = 4711;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t key[BK_KEY_BYTES];
    uint8_t ours[REGISTER_NONCE_BYTES];
    uint8_t theirs[REGISTER_NONCE_BYTES];

    bk_registration_key(&mac, master, w->first_id + index, w->generation, key);
    for (int i = 0; i < 3; i++) {
        struct bk_slice got;
        struct bk_register r = {
            .quiet = i == 1,
            .equipment_id = w->first_id + index,
            .generation = w->generation,
            .epoch = w->epoch,
            .interval_s = w->interval_s,
            .tag = {tag_random(index), 17},
            .nonce = bk_slice(nonce, i == 2 ? NONCE_BYTES : 0),
        };
        size_t n = wire_register(w, index, 17, i == 1, 3, i == 2 ? nonce : NULL, ours);

        if (bk_register_write(theirs, sizeof theirs, ours + TXID_AT, &r, &mac, BK_SLICE_OF(key),
                              &got) != BK_OK ||
            got.n != n || memcmp(theirs, ours, n) != 0) {
            return false;
        }
    }
    return true;
}
