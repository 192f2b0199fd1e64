/* LOOKUP: a requester asks, over TLS, for what it needs to seal a request to a device.
 *
 *   request   EQUIPMENT-ID or DEVICE-NAME
 *   success   EQUIPMENT-ID, CERTIFICATE, BOX-KEY [, OBSERVED-ADDRESS, TAG]: the last two while the
 *             device is registered
 *   error     404 (unknown, or not granted), 410 (revoked) */
#ifndef BK_WIRE_LOOKUP_H
#define BK_WIRE_LOOKUP_H

#include "wire/attrs.h"

struct bk_lookup {
    uint64_t equipment_id; /* 0: by name */
    struct bk_slice name;  /* empty: by ID */
};

struct bk_lookup_answer {
    uint64_t equipment_id;
    struct bk_slice certificate; /* DER */
    struct bk_slice box_key;     /* seal/box_key.h */
    bool registered;
    struct bk_addr observed; /* if registered */
    struct bk_tag tag;       /* if registered */
};

BK_NODISCARD enum bk_err bk_lookup_read(const struct bk_stun *m, struct bk_lookup *out);
BK_NODISCARD enum bk_err bk_lookup_write(uint8_t *buf, size_t cap,
                                         const uint8_t txid[BK_STUN_TXID_BYTES],
                                         const struct bk_lookup *in, struct bk_slice *out);
/* Success responses only; bk_error_read takes the others. */
BK_NODISCARD enum bk_err bk_lookup_answer_read(const struct bk_stun *m,
                                               struct bk_lookup_answer *out);
BK_NODISCARD enum bk_err bk_lookup_answer_write(uint8_t *buf, size_t cap,
                                                const uint8_t txid[BK_STUN_TXID_BYTES],
                                                const struct bk_lookup_answer *in,
                                                struct bk_slice *out);

#endif
