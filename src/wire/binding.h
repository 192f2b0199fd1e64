/* Binding (RFC 8489, section 3): anyone may ask which address a datagram of his arrives from. */
#ifndef BK_WIRE_BINDING_H
#define BK_WIRE_BINDING_H

#include "wire/stun.h"

BK_NODISCARD enum bk_err bk_binding_request_write(uint8_t *buf, size_t cap,
                                                  const uint8_t txid[BK_STUN_TXID_BYTES],
                                                  struct bk_slice *out);
/* XOR-MAPPED-ADDRESS and nothing else: 32 bytes for IPv4, 44 for IPv6. */
BK_NODISCARD enum bk_err bk_binding_response_write(uint8_t *buf, size_t cap,
                                                   const uint8_t txid[BK_STUN_TXID_BYTES],
                                                   const struct bk_addr *mapped,
                                                   struct bk_slice *out);
BK_NODISCARD enum bk_err bk_binding_response_read(const struct bk_stun *m, struct bk_addr *mapped);

#endif
