/* A relay's core under test: hashes that do for a test, a client that speaks through wire/turn.h, and a look at what came
 * out. */
#ifndef BK_TEST_RELAY_LAB_H
#define BK_TEST_RELAY_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/relay/relay.h"

#define UNIX_S UINT64_C(1800000000)

static inline void lab_hash(void *ctx, const struct bk_slice *parts, size_t n_parts,
                            uint8_t out[BK_TURN_KEY_BYTES])
{
    crypto_generichash_state s;

    (void)ctx;
    (void)crypto_generichash_init(&s, NULL, 0, BK_TURN_KEY_BYTES);
    for (size_t i = 0; i < n_parts; i++) {
        (void)crypto_generichash_update(&s, parts[i].p, parts[i].n);
    }
    (void)crypto_generichash_final(&s, out, BK_TURN_KEY_BYTES);
}

static inline void lab_mac(void *ctx, struct bk_slice key, const struct bk_slice *parts,
                           size_t n_parts, uint8_t out[BK_HMAC_SHA1_BYTES])
{
    crypto_generichash_state s;

    (void)ctx;
    (void)crypto_generichash_init(&s, NULL, 0, BK_HMAC_SHA1_BYTES);
    (void)crypto_generichash_update(&s, key.p, key.n);
    for (size_t i = 0; i < n_parts; i++) {
        (void)crypto_generichash_update(&s, parts[i].p, parts[i].n);
    }
    (void)crypto_generichash_final(&s, out, BK_HMAC_SHA1_BYTES);
}

static inline struct bk_turn_ops lab_ops(void)
{
    return (struct bk_turn_ops){.md5 = lab_hash, .hmac_sha1 = lab_mac};
}

static inline void lab_fill(void *ctx, uint8_t *out, size_t n)
{
    uint64_t *state = ctx;

    for (size_t i = 0; i < n; i++) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(*state >> 56);
    }
}

struct lab {
    struct bk_relay_core *core;
    struct bk_relay_out out;
    struct bk_now now;
    uint64_t rng;
    uint64_t next_conn;
    char nonce[64];
    struct bk_slice last; /* message to who asked last, in `out` */
};

struct bk_relay_core_config lab_config(struct lab *l);
void lab_start(struct lab *l, const struct bk_relay_core_config *config);
void lab_stop(struct lab *l);

void lab_input(struct lab *l, const struct bk_relay_event *event);
void lab_pass(struct lab *l, uint64_t seconds); /* and runs the timer */
/* The n-th action of that type, which must be there. */
const struct bk_relay_action *lab_action(const struct lab *l, enum bk_relay_action_type type,
                                         size_t n);
size_t lab_count(const struct lab *l, enum bk_relay_action_type type);

struct bk_addr lab_client(void); /* from where connections come */
struct bk_addr lab_local(void);  /* of the server */
struct bk_addr lab_device(void); /* a peer */
struct bk_addr lab_relayed(void);
uint64_t lab_accept(struct lab *l);

struct lab_ask {
    struct bk_turn_request request;
    const char *user;     /* NAME; NULL: "alice" */
    uint64_t expiry_s;    /* 0: UNIX_S + 100 */
    const char *username; /* in full */
    const char *password; /* NULL: the right one */
    const char *nonce;    /* NULL: the one last told */
    const char *realm;    /* NULL: BK_RELAY_REALM */
    bool bare;            /* without credentials */
};
void lab_ask_raw(struct lab *l, uint64_t conn, struct bk_slice bytes);
/* Asks, and reads the answer if there is one: its code, 0 for success; -1: none. */
int lab_ask(struct lab *l, uint64_t conn, const struct lab_ask *ask, struct bk_turn_answer *answer);
/* A connection with an allocation of that user. `allocation` may be NULL. */
uint64_t lab_allocate(struct lab *l, const char *user, uint64_t *allocation);
int lab_permit(struct lab *l, uint64_t conn, const struct bk_addr *peer);
/* A peer connects: its number, and the CONNECTION-ID that the client is told; 0: none, it was closed. */
uint64_t lab_peer(struct lab *l, uint64_t allocation, const struct bk_addr *from, uint32_t *id);
int lab_bind(struct lab *l, uint64_t conn, const char *user, uint32_t id);

#endif
