/* PROBE: does a mapping of a device's NAT still live? The device asks, from the address of its registration, that the
 * server send one datagram to another port of that same address, behind which a socket of its own has been silent.
 *
 *   indication, device to server   EQUIPMENT-ID, REGISTRATION, TAG of the registration, RESPONSE-PORT, integrity (16),
 *                                  FINGERPRINT    96 bytes
 *   indication, server to device   integrity (16), FINGERPRINT, under the same transaction ID; to RESPONSE-PORT of the
 *                                  sender's IP address. 48 bytes
 *
 * Both keyed with the registration key. The server sends only where the sender is the row's address and the tag that
 * of its registration: nobody else can have it send anywhere. */
#ifndef BK_WIRE_PROBE_H
#define BK_WIRE_PROBE_H

#include "wire/attrs.h"

struct bk_probe {
    uint64_t equipment_id;
    uint32_t generation;
    uint16_t epoch;
    struct bk_tag tag;
    uint16_t port; /* not 0 */
};

/* Without checking integrity: as bk_register_read. */
BK_NODISCARD enum bk_err bk_probe_read(const struct bk_stun *m, struct bk_probe *out);
BK_NODISCARD enum bk_err bk_probe_write(uint8_t *buf, size_t cap,
                                        const uint8_t txid[BK_STUN_TXID_BYTES],
                                        const struct bk_probe *in, const struct bk_mac_ops *mac,
                                        struct bk_slice key, struct bk_slice *out);
/* Checks fingerprint and integrity. BK_E_MALFORMED, BK_E_AUTH, BK_E_UNKNOWN_ATTR. */
BK_NODISCARD enum bk_err bk_probe_echo_read(const struct bk_stun *m, const struct bk_mac_ops *mac,
                                            struct bk_slice key);
BK_NODISCARD enum bk_err bk_probe_echo_write(uint8_t *buf, size_t cap,
                                             const uint8_t txid[BK_STUN_TXID_BYTES],
                                             const struct bk_mac_ops *mac, struct bk_slice key,
                                             struct bk_slice *out);

#endif
