/* INFO: who is enrolled asks, over TLS, how the server sees his connection and what it offers for finding a path.
 *
 *   request   nothing
 *   success   XOR-MAPPED-ADDRESS of the connection, RELAY × 0..4 [, USERNAME, PASSWORD, LIFETIME: for all of these relays,
 *             by coturn's convention for time-limited credentials] [, OTHER-ADDRESS × 1..4: where plain Binding is
 *             answered: the usual address, then as there are (RFC 5780) other port, other IP address, both]
 *   error     403, 503 */
#ifndef BK_WIRE_INFO_H
#define BK_WIRE_INFO_H

#include "wire/attrs.h"

enum {
    BK_INFO_RELAYS_MAX = 4,
    BK_INFO_BINDINGS_MAX = 4,
    BK_RELAY_HOST_MAX_BYTES = 253,
    BK_RELAY_USERNAME_MAX_BYTES = 96,
    BK_RELAY_PASSWORD_MAX_BYTES = 64,
};

struct bk_info_relay {
    uint16_t port;        /* TCP */
    struct bk_slice host; /* empty: where the server itself was reached */
};

struct bk_info {
    struct bk_addr observed;
    size_t n_relays;
    struct bk_info_relay relays[BK_INFO_RELAYS_MAX];
    struct bk_slice username, password; /* with relays */
    uint32_t lifetime_s;                /* of these credentials */
    size_t n_bindings;
    struct bk_addr bindings[BK_INFO_BINDINGS_MAX];
};

BK_NODISCARD enum bk_err bk_info_read(const struct bk_stun *m);
BK_NODISCARD enum bk_err bk_info_write(uint8_t *buf, size_t cap,
                                       const uint8_t txid[BK_STUN_TXID_BYTES],
                                       struct bk_slice *out);
/* Success responses only; slices borrow from the message. */
BK_NODISCARD enum bk_err bk_info_answer_read(const struct bk_stun *m, struct bk_info *out);
BK_NODISCARD enum bk_err bk_info_answer_write(uint8_t *buf, size_t cap,
                                              const uint8_t txid[BK_STUN_TXID_BYTES],
                                              const struct bk_info *in, struct bk_slice *out);

#endif
