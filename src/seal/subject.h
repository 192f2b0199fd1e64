/* How a certificate names its holder: the one URI in its subjectAltName, also its common name.
 *
 *   beckon:server    beckon:device:2133    beckon:user:alice */
#ifndef BK_SEAL_SUBJECT_H
#define BK_SEAL_SUBJECT_H

#include "seal/identity.h"

enum {
    BK_SUBJECT_TEXT_BYTES = 96,
};

/* Role and name of `id`; its key is not looked at. */
void bk_subject_write(const struct bk_identity *id, char out[BK_SUBJECT_TEXT_BYTES]);
/* Fills role and name, leaves the key alone. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_subject_read(struct bk_slice text, struct bk_identity *out);

#endif
