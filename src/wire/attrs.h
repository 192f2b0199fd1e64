/* Values that several messages share: the registration's name and tag, device references, and the
 * attribute lists (without a STUN header) that lie inside sealed boxes. */
#ifndef BK_WIRE_ATTRS_H
#define BK_WIRE_ATTRS_H

#include "base/number.h"
#include "base/reader.h"
#include "wire/stun.h"

enum {
    BK_CALL_ID_BYTES = 16,
    BK_NAME_MAX_BYTES = 63, /* device, user and service names: [a-z0-9][a-z0-9._-]* */
    BK_FAMILY_IPV4 = 1,     /* address families, RFC 8489, 14.1 */
    BK_FAMILY_IPV6 = 2,
};

/* 64 random bits drawn at the agent's start, and a counter that every REGISTER raises. */
struct bk_tag {
    uint64_t random;
    uint32_t counter;
};

/* A name as it may stand in messages and on command lines (not only digits; see above). */
bool bk_name_valid(struct bk_slice name);

/* Values of exactly their size and form. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_attr_read_u16(struct bk_slice value, uint16_t *out);
BK_NODISCARD enum bk_err bk_attr_read_u64(struct bk_slice value, uint64_t *out);
BK_NODISCARD enum bk_err bk_attr_read_bytes(struct bk_slice value, uint8_t *out, size_t n);
BK_NODISCARD enum bk_err bk_attr_read_tag(struct bk_slice value, struct bk_tag *out);
void bk_attr_put_tag(struct bk_stun_writer *s, const struct bk_tag *tag);

/* Attributes that a message (or a box) must have, each of its exact form. BK_E_MALFORMED when
 * missing or otherwise. */
BK_NODISCARD enum bk_err bk_attr_need(const struct bk_stun *m, uint16_t type, size_t min_bytes,
                                      size_t max_bytes, struct bk_slice *value);
BK_NODISCARD enum bk_err bk_attr_need_equipment_id(const struct bk_stun *m, uint64_t *out);
BK_NODISCARD enum bk_err bk_attr_need_call_id(const struct bk_stun *m,
                                              uint8_t out[BK_CALL_ID_BYTES]);
/* REGISTRATION: which key, and how often its device means to be heard (wire/register.h). */
struct bk_registration_ref {
    uint32_t generation;
    uint16_t epoch;
    uint16_t interval_s;
};
BK_NODISCARD enum bk_err bk_attr_need_registration(const struct bk_stun *m,
                                                   struct bk_registration_ref *out);
void bk_attr_put_registration(struct bk_stun_writer *s, const struct bk_registration_ref *ref);
BK_NODISCARD enum bk_err bk_attr_read_equipment_id(struct bk_slice value, uint64_t *out);

/* The next attribute of a list without header: false at its end, or with `r->err` set where an
 * attribute does not end within it. */
bool bk_attr_next(struct bk_reader *r, struct bk_stun_attr *out);

/* Takes one attribute of a list into `got`; `bit` says which of its fields it was, 0 for none. */
typedef enum bk_err bk_attr_field(const struct bk_stun_attr *a, void *got, unsigned *bit);
/* Reads a whole list, attribute by attribute. A field may stand once, those of `repeated` oftener, so that no
 * two readers can see two different contents; `seen` says which were there. BK_E_TRUNCATED, BK_E_MALFORMED,
 * and what `field` returns. */
BK_NODISCARD enum bk_err bk_attr_list_read(struct bk_slice list, bk_attr_field *field, void *got,
                                           unsigned repeated, unsigned *seen);

/* MAPPED-ADDRESS's form (RFC 8489, 14.1), `first` being its unused first byte. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_attr_read_address(struct bk_slice value, uint8_t *first,
                                              struct bk_addr *out);
void bk_attr_put_address(struct bk_stun_writer *s, uint16_t type, uint8_t first, bool v4,
                         const struct bk_addr *a);
/* XORs an address with the cookie and, IPv6, the transaction ID; its own inverse. */
void bk_attr_xor_address(struct bk_addr *a, bool v4, const uint8_t txid[BK_STUN_TXID_BYTES]);

/* FINGERPRINT and integrity of 16 bytes, as REGISTER and NOTIFY carry them. BK_E_MALFORMED when one
 * is missing, BK_E_AUTH when wrong. */
BK_NODISCARD enum bk_err bk_datagram_check(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                           struct bk_slice key);
/* Puts both and ends the message. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_datagram_end(struct bk_stun_writer *s, const struct bk_mac_ops *mac,
                                         struct bk_slice key, struct bk_slice *out);

/* Method and class as expected, and every attribute that must be understood among `known`.
 * BK_E_MALFORMED, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_message_expect(const struct bk_stun *m, uint16_t method,
                                           enum bk_stun_class cls, const uint16_t *known,
                                           size_t n_known);

/* A success response without any attribute (CONNECT), and an error response with its code and
 * reason, as streams carry them. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_success_write(uint8_t *buf, size_t cap, uint16_t method,
                                          const uint8_t txid[BK_STUN_TXID_BYTES],
                                          struct bk_slice *out);
BK_NODISCARD enum bk_err bk_error_write(uint8_t *buf, size_t cap, uint16_t method,
                                        const uint8_t txid[BK_STUN_TXID_BYTES], uint16_t code,
                                        const char *reason, struct bk_slice *out);
/* The ERROR-CODE of an error response. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_error_read(const struct bk_stun *m, uint16_t *code);

#endif
