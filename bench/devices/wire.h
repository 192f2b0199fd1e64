/* Registrations as bytes, made fast: templates with a few fields set, HMACs continued from kept midstates. It writes the
 * messages a second time, beside src/wire; devices_wire_check compares both. */
#ifndef BENCH_DEVICES_WIRE_H
#define BENCH_DEVICES_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED /* the one interface of OpenSSL 3 that lets a midstate be kept */
#endif
#include <openssl/sha.h>

enum {
    REGISTER_BYTES = 88,
    REGISTER_NONCE_BYTES = 112,
    NONCE_BYTES = 20,
    KEY_BYTES = 32,
};

struct hmac_key {
    SHA256_CTX inner, outer;
};

struct wire {
    struct hmac_key master;
    uint64_t first_id;
    uint32_t generation;
    uint16_t epoch, interval_s;
};

/* What came back, as far as a load wants to know. */
enum answer {
    ANSWER_NONE, /* not a REGISTER's */
    ANSWER_SUCCESS,
    ANSWER_CHALLENGE, /* 438, or the indication that a quiet keepalive is challenged with */
    ANSWER_REFUSED,
};

void wire_init(struct wire *w, const uint8_t master[KEY_BYTES], uint16_t epoch, uint64_t first_id,
               uint32_t generation, uint16_t interval_s);

/* The REGISTER of device `index` (equipment ID first_id + index): REGISTER_BYTES, or REGISTER_NONCE_BYTES with a nonce
 * of NONCE_BYTES; NULL: none. The transaction ID holds `serial` and the index. */
size_t wire_register(const struct wire *w, uint32_t index, uint32_t counter, bool quiet,
                     uint32_t serial, const uint8_t *nonce, uint8_t *out);

/* `nonce` points into `bytes`; `index` is that of the request. */
enum answer wire_answer(const uint8_t *bytes, size_t n, uint32_t *index, const uint8_t **nonce);

/* Whether an answer is keyed as it should be. */
bool wire_answer_proven(const struct wire *w, const uint8_t *bytes, size_t n, uint32_t index);

/* Sets FINGERPRINT anew: for messages that are wrong in another way. */
void wire_fingerprint(uint8_t *bytes, size_t n);

/* False if src/wire would have written another REGISTER. */
bool wire_check(const struct wire *w, const uint8_t master[KEY_BYTES]);

#endif
