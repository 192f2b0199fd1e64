/* RENEW decided: somebody who is enrolled, and has proved the key by a handshake, against a new certificate for
 * that key and (for a device) a new box key. Generation and key stay what they are. */
#ifndef BK_BECKOND_RENEW_H
#define BK_BECKOND_RENEW_H

#include "bin/beckond/authority.h"
#include "bin/beckond/store.h"

struct bk_renew_decision {
    uint16_t code;            /* 0, or an enum bk_code */
    uint32_t generation;      /* 0 for a user */
    bool pending;             /* a certificate was asked for and has yet to be signed elsewhere */
    bool box_key;             /* a new one has been stored */
    bool fresh;               /* the certificate is a new one; else the one in use, once more */
    size_t certificate_bytes; /* 0: none was asked for, or pending */
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
    struct bk_authority_note note;
};

/* Whatever happens, `out` holds an answer. */
void bk_renew_decide(struct bk_store *store, const struct bk_authority *authority, uint64_t unix_s,
                     const struct bk_identity *peer, struct bk_slice request,
                     struct bk_slice box_key, struct bk_renew_decision *out);

#endif
