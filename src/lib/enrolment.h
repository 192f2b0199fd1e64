/* The ENROL exchange that both kinds of joining share: one TLS connection to the server that a token
 * names, one question, one answer. */
#ifndef BK_LIB_ENROLMENT_H
#define BK_LIB_ENROLMENT_H

#include "beckon/beckon.h"
#include "net/x509.h"
#include "seal/box_key.h"
#include "seal/text.h"
#include "wire/enrol.h"

struct bk_enrolment {
    struct bk_token token;
    EVP_PKEY *key; /* ours; borrowed */
    bool device;
    uint8_t box_key[BK_BOX_KEY_BYTES]; /* devices: signed by `key` */
};

/* What came back, verified: the certificate is for our key and from the pinned CA. */
struct bk_enrolled {
    X509 *cert, *ca; /* owned; bk_enrolled_fini */
    uint64_t equipment_id;
    char user[BK_NAME_MAX_BYTES + 1];
    uint32_t generation;
    uint16_t epoch;
    uint8_t registration_key[BK_KEY_BYTES];
    struct bk_server_ports ports; /* devices */
};

/* Reads a token and checks that it is for that role, device or user. BAD_TOKEN. */
enum beckon_status bk_token_check(const char *text, enum bk_role role, struct bk_token *out,
                                  struct beckon_error *error);

/* BAD_TOKEN, USED_TOKEN, SERVER_DOWN, FAILED. */
enum beckon_status bk_enrol_run(const struct bk_enrolment *enrolment, struct bk_enrolled *out,
                                struct beckon_error *error);
void bk_enrolled_fini(struct bk_enrolled *enrolled);

/* What both kinds of joining begin with: the token is for that role, the directory is not joined yet
 * (`marker` is the file that would say so), and our key is in DIR/`key_name`: made and saved if there is
 * none, so that a join that was cut off may be repeated with the same token. `out->key` is the caller's to
 * free. BAD_TOKEN, FAILED. */
enum beckon_status bk_join_begin(const char *dir, const char *token, enum bk_role role,
                                 const char *marker, const char *key_name, struct bk_enrolment *out,
                                 struct beckon_error *error);

#endif
