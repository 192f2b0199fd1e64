/* TURN over TCP (RFC 8656, RFC 6062): a client leases an address on a relay; whom it permits connects there, and each
 * such connection is joined with one that the client opens for it.
 *
 *   Allocate          REQUESTED-TRANSPORT 6 [, LIFETIME] [, REQUESTED-ADDRESS-FAMILY] [, SERVER-NAME: ours, may be
 *                     ignored: TLS connections to the relay's own ports with that name are peers' too]
 *                     success: XOR-RELAYED-ADDRESS, XOR-MAPPED-ADDRESS, LIFETIME
 *   Refresh           [LIFETIME; 0 gives the address back] [, REQUESTED-ADDRESS-FAMILY] [, SERVER-NAME: in place of
 *                     the former one]                                           success: LIFETIME
 *   CreatePermission  XOR-PEER-ADDRESS × 1..16, ports do not count              success: nothing
 *   Connect           XOR-PEER-ADDRESS                                          success: CONNECTION-ID
 *   ConnectionAttempt indication to the client: CONNECTION-ID, XOR-PEER-ADDRESS [, SERVER-NAME: by which the peer came]
 *   ConnectionBind    CONNECTION-ID, on a new connection; after its success that one carries the peer's bytes
 *
 * Requests and successes end in MESSAGE-INTEGRITY (SHA-1) under the long-term key; requests carry USERNAME, REALM and
 * NONCE. A first request carries none of these; 401 (and 438) tells REALM and NONCE. Nobody's password algorithms are
 * negotiated: our nonces lack RFC 8489's cookie prefix. */
#ifndef BK_WIRE_TURN_H
#define BK_WIRE_TURN_H

#include "base/turn_ops.h"
#include "wire/attrs.h"

/* MD5 and HMAC-SHA-1 come as struct bk_turn_ops (base/turn_ops.h); OpenSSL's: bk_turn_openssl (net/turn_ops.h). */
enum {
    BK_TURN_TRANSPORT_TCP = 6,
    BK_TURN_PEERS_MAX = 16,   /* addresses in one CreatePermission */
    BK_TURN_LIFETIME_S = 600, /* of an allocation, where none is asked for */
    BK_TURN_LIFETIME_MAX_S = 3600,
    BK_TURN_PERMISSION_S = 300,
    BK_TURN_BIND_S = 30,          /* RFC 6062, 5.2: an attempt nobody binds ends */
    BK_TURN_TEXT_MAX_BYTES = 508, /* USERNAME, REALM and NONCE as we take and write them */
    BK_TURN_SERVER_NAME_MAX_BYTES = 253,
    BK_TURN_UNKNOWN_MAX = 8,          /* types that a 420 lists */
    BK_TURN_PASSWORD_TEXT_BYTES = 29, /* base64 of 20 bytes, and a terminator */
    BK_TURN_USERNAME_TEXT_BYTES = 96, /* "EXPIRY:NAME" and a terminator */
    BK_TURN_MESSAGE_MAX_BYTES = 4096, /* room for any message of ours that is in this file */
};

/* ---- Credentials ---- */

/* The long-term key: MD5(username ":" realm ":" password) (RFC 8489, 9.2.2). */
void bk_turn_key(const struct bk_turn_ops *ops, struct bk_slice username, struct bk_slice realm,
                 struct bk_slice password, uint8_t key[BK_TURN_KEY_BYTES]);
/* Time-limited credentials as coturn's use-auth-secret takes them: username "EXPIRY:NAME", password
 * base64(HMAC-SHA1(secret, username)). BK_E_RANGE: a name that does not fit. */
BK_NODISCARD enum bk_err bk_turn_username(uint64_t expiry_s, struct bk_slice name,
                                          char out[BK_TURN_USERNAME_TEXT_BYTES]);
/* BK_E_MALFORMED */
BK_NODISCARD enum bk_err bk_turn_username_read(struct bk_slice username, uint64_t *expiry_s,
                                               struct bk_slice *name);
void bk_turn_password(const struct bk_turn_ops *ops, struct bk_slice secret,
                      struct bk_slice username, char out[BK_TURN_PASSWORD_TEXT_BYTES]);

/* Who asks, towards the relay. All empty and `key` NULL: the first request, without integrity. */
struct bk_turn_login {
    struct bk_slice username, realm, nonce;
    const uint8_t *key; /* BK_TURN_KEY_BYTES, or NULL */
};

/* ---- Requests ---- */

struct bk_turn_request {
    uint16_t method;
    /* Set by the reader, ignored by the writer. */
    bool has_mac; /* MESSAGE-INTEGRITY stands there; bk_turn_check */
    struct bk_slice username, realm, nonce;
    bool datagram_only; /* EVEN-PORT, DONT-FRAGMENT or RESERVATION-TOKEN: 400 over TCP */
    size_t n_unknown;   /* with BK_E_UNKNOWN_ATTR: for the 420 */
    uint16_t unknown[BK_TURN_UNKNOWN_MAX];
    /* Both. */
    uint8_t transport; /* Allocate; 0: missing */
    uint8_t family;    /* Allocate, Refresh: BK_FAMILY_..., 0: not said, others as sent */
    bool has_lifetime; /* Allocate, Refresh */
    uint32_t lifetime_s;
    struct bk_slice server_name; /* Allocate, Refresh; may be empty */
    size_t n_peers;              /* CreatePermission, Connect (exactly 1) */
    struct bk_addr peers[BK_TURN_PEERS_MAX];
    uint32_t connection_id; /* ConnectionBind */
};

/* Any of the five requests, integrity not yet checked (bk_turn_check). What the method needs is there, except `transport`.
 * `method`, username, realm and nonce are filled in for every error but another class or method, so that who asks can
 * be told. BK_E_MALFORMED (400; a wrong FINGERPRINT too), BK_E_UNKNOWN_ATTR (420), BK_E_RANGE: more peers than fit (508). */
BK_NODISCARD enum bk_err bk_turn_request_read(const struct bk_stun *m, struct bk_turn_request *out);
/* BK_E_NOTFOUND no integrity, BK_E_AUTH. */
BK_NODISCARD enum bk_err bk_turn_check(const struct bk_stun *m, const struct bk_turn_ops *ops,
                                       const uint8_t key[BK_TURN_KEY_BYTES]);
/* BK_E_NOSPACE, BK_E_RANGE */
BK_NODISCARD enum bk_err bk_turn_request_write(uint8_t *buf, size_t cap,
                                               const uint8_t txid[BK_STUN_TXID_BYTES],
                                               const struct bk_turn_request *in,
                                               const struct bk_turn_login *login,
                                               const struct bk_turn_ops *ops, struct bk_slice *out);

/* ---- Answers ---- */

struct bk_turn_answer {
    uint16_t method;
    uint16_t code;                  /* 0 success, else ERROR-CODE */
    struct bk_slice reason;         /* errors; the writer puts the usual phrase where empty */
    struct bk_slice realm, nonce;   /* 401, 438 */
    bool authentic;                 /* reader: the integrity is there and right */
    struct bk_addr relayed, mapped; /* Allocate */
    uint32_t lifetime_s;            /* Allocate, Refresh */
    uint32_t connection_id;         /* Connect */
    const uint16_t *unknown;        /* writer, 420 */
    size_t n_unknown;
};

/* Any success or error response to the five requests (to Binding there is wire/binding.h). `key` may be NULL where none
 * was used. A success under a key must be authentic, else BK_E_AUTH; an error with integrity too. BK_E_MALFORMED, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_turn_answer_read(const struct bk_stun *m, const struct bk_turn_ops *ops,
                                             const uint8_t *key, struct bk_turn_answer *out);
/* With integrity where `key` is not NULL. BK_E_NOSPACE */
BK_NODISCARD enum bk_err bk_turn_answer_write(uint8_t *buf, size_t cap,
                                              const uint8_t txid[BK_STUN_TXID_BYTES],
                                              const struct bk_turn_answer *in,
                                              const struct bk_turn_ops *ops, const uint8_t *key,
                                              struct bk_slice *out);

/* ---- ConnectionAttempt ---- */

struct bk_turn_attempt {
    uint32_t connection_id;
    struct bk_addr peer;
    struct bk_slice server_name; /* empty: by the relayed address */
};

/* Without integrity (RFC 6062 asks for none); over TCP it comes from whom the allocation is with. */
BK_NODISCARD enum bk_err bk_turn_attempt_read(const struct bk_stun *m, struct bk_turn_attempt *out);
BK_NODISCARD enum bk_err bk_turn_attempt_write(uint8_t *buf, size_t cap,
                                               const uint8_t txid[BK_STUN_TXID_BYTES],
                                               const struct bk_turn_attempt *in,
                                               struct bk_slice *out);

#endif
