/* STUN messages (RFC 8489): framing, attributes, integrity. Every Beckon message, over UDP and over
 * TLS, is one; the files beside this one each hold one message, its reader beside its writer.
 *
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |0 0|  message type (14 bits)   |  length of what follows       |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |                  magic cookie 0x2112A442                      |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |                  transaction ID (96 bits)                     |
 *  |                                                               |
 *  |                                                               |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  then attributes: type (16), length (16), value padded to 4 bytes.
 *
 * This layer allocates nothing, draws nothing, logs nothing, and never reads past what it was given. */
#ifndef BK_WIRE_STUN_H
#define BK_WIRE_STUN_H

#include "base/addr.h"
#include "base/err.h"
#include "base/mac.h"
#include "base/slice.h"
#include "base/writer.h"

enum {
    BK_STUN_HEADER_BYTES = 20,
    BK_STUN_TXID_BYTES = 12,
    BK_STUN_FINGERPRINT_BYTES = 8, /* the whole attribute */
    BK_STUN_SHORT_MAC_BYTES = 16,  /* REGISTER, NOTIFY: cut to 16 (RFC 8489, 14.6 allows 16..32) */
    BK_STUN_DATAGRAM_MAX_BYTES = 1232, /* IPv6 minimum MTU less IPv6 and UDP headers */
    BK_STUN_STREAM_MAX_BYTES = 16384,  /* largest message taken from a TLS stream */
    BK_REASON_MAX_BYTES = 124,         /* reason phrase of ERROR-CODE, as we write it */
};
#define BK_STUN_COOKIE UINT32_C(0x2112A442)
#define BK_STUN_FINGERPRINT_XOR UINT32_C(0x5354554E) /* RFC 8489, 14.7 */

/* The two class bits, RFC 8489 section 5. */
enum bk_stun_class {
    BK_STUN_REQUEST = 0,
    BK_STUN_INDICATION = 1,
    BK_STUN_SUCCESS = 2,
    BK_STUN_ERROR = 3,
};

/* Ours lie in 0x0C0-0x0FF: above it Wireshark no longer takes a datagram for STUN. */
enum bk_method {
    BK_METHOD_BINDING = 0x001,
    /* RFC 8656 and RFC 6062 (TURN, over TCP) */
    BK_METHOD_ALLOCATE = 0x003,
    BK_METHOD_REFRESH = 0x004,
    BK_METHOD_CREATE_PERMISSION = 0x008,
    BK_METHOD_TURN_CONNECT = 0x00A,
    BK_METHOD_CONNECTION_BIND = 0x00B,
    BK_METHOD_CONNECTION_ATTEMPT = 0x00C,
    /* Ours */
    BK_METHOD_REGISTER = 0x0C1, /* 201 */
    BK_METHOD_NOTIFY = 0x0C2,   /* 205 */
    BK_METHOD_LOOKUP = 0x0C3,
    BK_METHOD_CONNECT = 0x0C4, /* 217 and 226 */
    BK_METHOD_RESULT = 0x0C5,
    BK_METHOD_ENROL = 0x0C6,
    BK_METHOD_RENEW = 0x0C7,
    BK_METHOD_WATCH = 0x0C8,
    BK_METHOD_INFO = 0x0C9,
    BK_METHOD_PROBE = 0x0CA,
    BK_METHOD_PATHS = 0x0CB, /* inside a call, end to end */
};

enum bk_attr {
    /* RFC 8489, section 18.3 */
    BK_ATTR_MAPPED_ADDRESS = 0x0001,
    BK_ATTR_CHANGE_REQUEST = 0x0003, /* RFC 5780 */
    BK_ATTR_USERNAME = 0x0006,
    BK_ATTR_MESSAGE_INTEGRITY = 0x0008,
    BK_ATTR_ERROR_CODE = 0x0009,
    BK_ATTR_UNKNOWN_ATTRIBUTES = 0x000A,
    BK_ATTR_LIFETIME = 0x000D,         /* RFC 8656: u32 seconds */
    BK_ATTR_XOR_PEER_ADDRESS = 0x0012, /* RFC 8656 */
    BK_ATTR_REALM = 0x0014,
    BK_ATTR_NONCE = 0x0015,
    BK_ATTR_XOR_RELAYED_ADDRESS = 0x0016,      /* RFC 8656 */
    BK_ATTR_REQUESTED_ADDRESS_FAMILY = 0x0017, /* RFC 8656: u8 family, 3 zero */
    BK_ATTR_EVEN_PORT = 0x0018,                /* RFC 8656 */
    BK_ATTR_REQUESTED_TRANSPORT = 0x0019,      /* RFC 8656: u8 protocol, 3 zero */
    BK_ATTR_DONT_FRAGMENT = 0x001A,            /* RFC 8656 */
    BK_ATTR_MESSAGE_INTEGRITY_SHA256 = 0x001C,
    BK_ATTR_PASSWORD_ALGORITHM = 0x001D,
    BK_ATTR_USERHASH = 0x001E,
    BK_ATTR_XOR_MAPPED_ADDRESS = 0x0020,
    BK_ATTR_RESERVATION_TOKEN = 0x0022, /* RFC 8656 */
    BK_ATTR_RESPONSE_PORT = 0x0027,     /* RFC 5780: u16 port, u16 zero */
    BK_ATTR_CONNECTION_ID = 0x002A,     /* RFC 6062: u32 */
    BK_ATTR_PASSWORD_ALGORITHMS = 0x8002,
    BK_ATTR_SOFTWARE = 0x8022,
    BK_ATTR_FINGERPRINT = 0x8028,
    BK_ATTR_RESPONSE_ORIGIN = 0x802B, /* RFC 5780 */
    BK_ATTR_OTHER_ADDRESS = 0x802C,   /* RFC 5780 */
    /* Ours, to be understood */
    BK_ATTR_EQUIPMENT_ID = 0x4001,        /* u64 */
    BK_ATTR_REGISTRATION = 0x4002,        /* u32 generation, u16 epoch, u16 interval in seconds */
    BK_ATTR_TAG = 0x4003,                 /* u64 random, u32 counter */
    BK_ATTR_CALL_WAITING = 0x4004,        /* empty: the flag of 205 */
    BK_ATTR_DEVICE_NAME = 0x4005,         /* text */
    BK_ATTR_CALL_ID = 0x4006,             /* 16 bytes */
    BK_ATTR_BOX = 0x4007,                 /* sealed bytes */
    BK_ATTR_CERTIFICATE = 0x4008,         /* X.509, DER */
    BK_ATTR_CA_CERTIFICATE = 0x4009,      /* X.509, DER */
    BK_ATTR_BOX_KEY = 0x400A,             /* seal/box_key.h */
    BK_ATTR_OBSERVED_ADDRESS = 0x400B,    /* as XOR-MAPPED-ADDRESS */
    BK_ATTR_TIME = 0x400C,                /* u64, seconds since 1970 */
    BK_ATTR_TOKEN = 0x400D,               /* join token's secret, 16 bytes */
    BK_ATTR_CERTIFICATE_REQUEST = 0x400E, /* PKCS#10, DER */
    BK_ATTR_REGISTRATION_KEY = 0x400F,    /* 32 bytes */
    BK_ATTR_USER_NAME = 0x4010,           /* text */
    BK_ATTR_SERVER_PORTS = 0x4011,        /* u16 UDP, u16 requests, u16 agents, u16 zero */
    BK_ATTR_RELAY = 0x4012, /* u16 TCP port, then the host as text; empty: the server's own */
    /* Inside the box */
    BK_ATTR_SERVICE = 0x4020, /* text */
    BK_ATTR_PASSWORD = 0x4021,
    BK_ATTR_CANDIDATE = 0x4022,  /* as MAPPED-ADDRESS, the kind in its unused first byte */
    BK_ATTR_CALL_KEY = 0x4023,   /* 32: fingerprint of the call's TLS key */
    BK_ATTR_REPLY_KEY = 0x4024,  /* 32: X25519 */
    BK_ATTR_STATUS = 0x4025,     /* u16 */
    BK_ATTR_CALLER_KEY = 0x4026, /* 32: the caller's own key, Ed25519 */
    BK_ATTR_SIGNATURE = 0x4027,  /* 64: by that key; always last */
    BK_ATTR_ROUND_TRIP = 0x4028, /* u16, milliseconds: to the server, or (PATHS) to each other */
    BK_ATTR_ROUND = 0x4029,      /* u16: PATHS */
    /* Ours, may be ignored */
    BK_ATTR_RENEW = 0xC001,       /* empty: the registration key is of an old epoch */
    BK_ATTR_SERVER_NAME = 0xC002, /* text: Allocate (wire/turn.h) */
};

/* ERROR-CODE numbers. */
enum bk_code {
    BK_CODE_BAD_REQUEST = 400,
    BK_CODE_FORBIDDEN = 403, /* the asking device or user is revoked; ENROL: bad token */
    BK_CODE_NOT_FOUND = 404, /* no such device, or no grant for it: the two are never told apart */
    BK_CODE_UNAUTHENTICATED = 401, /* TURN */
    BK_CODE_TOKEN_USED = 409,
    BK_CODE_REVOKED = 410,
    BK_CODE_UNKNOWN_ATTRIBUTE = 420,
    BK_CODE_PENDING = 425,             /* ENROL: the operator has yet to sign; ask again */
    BK_CODE_ALLOCATION_MISMATCH = 437, /* TURN, this and the following but the next and 480, 503 */
    BK_CODE_STALE_NONCE = 438,         /* REGISTER: prove the address with this nonce; TURN */
    BK_CODE_ADDRESS_FAMILY = 440,
    BK_CODE_WRONG_CREDENTIALS = 441,
    BK_CODE_UNSUPPORTED_TRANSPORT = 442,
    BK_CODE_PEER_ADDRESS_FAMILY = 443,
    BK_CODE_CONNECTION_EXISTS = 446,
    BK_CODE_CONNECTION_FAILED = 447,
    BK_CODE_QUOTA = 486,
    BK_CODE_CAPACITY = 508,
    BK_CODE_OFFLINE = 480, /* the device does not answer NOTIFY */
    BK_CODE_OVERLOADED = 503,
};

struct bk_stun {
    uint16_t method;
    enum bk_stun_class cls;
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_slice raw; /* the whole message, borrowed */
};

/* Takes one whole message: header, cookie, length and the attribute chain are checked, padding too,
 * and nothing may follow FINGERPRINT. BK_E_TRUNCATED, BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_stun_read(struct bk_slice bytes, struct bk_stun *out);

/* Stream framing: how many bytes the message at the start of `got` has in all. BK_E_TRUNCATED when
 * fewer than 4 bytes are there, BK_E_MALFORMED when this is no STUN header, BK_E_RANGE when the
 * message would exceed BK_STUN_STREAM_MAX_BYTES. */
BK_NODISCARD enum bk_err bk_stun_frame(struct bk_slice got, size_t *message_bytes);

struct bk_stun_attr {
    uint16_t type;
    struct bk_slice value;
};

/* Walks the attributes in order, ending (false) at the end, and before a MESSAGE-INTEGRITY attribute
 * or FINGERPRINT: what follows integrity is not part of the message (RFC 8489, 14.5). Start with
 * *offset = 0. */
bool bk_stun_next(const struct bk_stun *m, size_t *offset, struct bk_stun_attr *out);

/* The first attribute of that type that bk_stun_next would yield. */
bool bk_stun_find(const struct bk_stun *m, uint16_t type, struct bk_slice *value);

/* True if every comprehension-required attribute (type < 0x8000) is among `known`. */
bool bk_stun_understood(const struct bk_stun *m, const uint16_t *known, size_t n_known);

/* BK_E_NOTFOUND without FINGERPRINT as last attribute, BK_E_AUTH if it is wrong. */
BK_NODISCARD enum bk_err bk_stun_check_fingerprint(const struct bk_stun *m);

/* Checks MESSAGE-INTEGRITY-SHA256, which must be exactly `mac_bytes` (16 or 32) long; constant-time.
 * BK_E_NOTFOUND, BK_E_AUTH. */
BK_NODISCARD enum bk_err bk_stun_check_sha256(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                              struct bk_slice key, size_t mac_bytes);
/* MESSAGE-INTEGRITY (SHA-1): TURN and the vectors of RFC 5769 only. */
BK_NODISCARD enum bk_err bk_stun_check_sha1(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                            struct bk_slice key);

/* Attribute values. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_stun_xor_address(const struct bk_stun *m, struct bk_slice value,
                                             struct bk_addr *out);
BK_NODISCARD enum bk_err bk_stun_error_code(struct bk_slice value, uint16_t *code,
                                            struct bk_slice *reason);

/* Writing: begin, put..., integrity, fingerprint, end. Errors stick.
 *
 * Every message file of this layer keeps to one rule: its reader returns BK_E_MALFORMED for another
 * method, class or form and BK_E_UNKNOWN_ATTR, and its slices borrow from the message; its writer
 * returns BK_E_NOSPACE, and BK_E_RANGE for what the reader would refuse. */
struct bk_stun_writer {
    struct bk_writer w;
};

struct bk_stun_writer bk_stun_begin(uint8_t *buf, size_t cap, uint16_t method,
                                    enum bk_stun_class cls, const uint8_t txid[BK_STUN_TXID_BYTES]);
void bk_stun_put(struct bk_stun_writer *s, uint16_t type, struct bk_slice value);
void bk_stun_put_u16(struct bk_stun_writer *s, uint16_t type, uint16_t v); /* followed by padding */
void bk_stun_put_u64(struct bk_stun_writer *s, uint16_t type, uint64_t v);
void bk_stun_put_xor_address(struct bk_stun_writer *s, uint16_t type, const struct bk_addr *a);
/* A reason longer than BK_REASON_MAX_BYTES is cut. */
void bk_stun_put_error(struct bk_stun_writer *s, uint16_t code, struct bk_slice reason);
void bk_stun_put_sha256(struct bk_stun_writer *s, const struct bk_mac_ops *mac, struct bk_slice key,
                        size_t mac_bytes);
void bk_stun_put_sha1(struct bk_stun_writer *s, const struct bk_mac_ops *mac, struct bk_slice key);
void bk_stun_put_fingerprint(struct bk_stun_writer *s);

/* The finished message, borrowed from the buffer. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_stun_end(struct bk_stun_writer *s, struct bk_slice *out);

#endif
