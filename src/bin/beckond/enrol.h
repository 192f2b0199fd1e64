/* ENROL decided: a token's secret, a certificate request and (for a device) a box key against a place in
 * the store and a certificate. Cheap checks come first: without a good token nothing is verified. */
#ifndef BK_BECKOND_ENROL_H
#define BK_BECKOND_ENROL_H

#include "bin/beckond/authority.h"
#include "bin/beckond/store.h"

struct bk_enrol_decision {
    uint16_t
        code; /* 0, or an enum bk_code: BK_CODE_PENDING while the certificate is signed elsewhere */
    bool again; /* the same key once more: nothing has changed */
    enum bk_role role;
    uint64_t equipment_id; /* 0 for a user */
    uint32_t generation;   /* 0 for a user */
    struct bk_authority_note note;
    char user[BK_NAME_MAX_BYTES + 1];
    size_t certificate_bytes;
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
};

/* The hash under which a token's secret is kept. */
void bk_enrol_hash(struct bk_slice secret, uint8_t hash[BK_STORE_HASH_BYTES]);

/* The enum bk_code for what authority and store may return. */
uint16_t bk_enrol_code(enum bk_err err);

/* Whatever happens, `out` holds an answer. */
void bk_enrol_decide(struct bk_store *store, const struct bk_authority *authority, uint64_t unix_s,
                     struct bk_slice token, struct bk_slice request, struct bk_slice box_key,
                     struct bk_enrol_decision *out);

#endif
