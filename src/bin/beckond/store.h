/* What the server must not forget: devices, users, join tokens, grants and revocations, in SQLite.
 *
 * Several processes use one store: the running server, and the commands that change it meanwhile. Every
 * change is one immediate transaction. The location table is not here: it is never durable.
 *
 * A device or user has a row from its first token on; generation 0 (no certificate) means that it has
 * been invited and not enrolled yet. Slices handed in are copied. Unless a function says otherwise it
 * returns BK_E_IO when SQLite fails, and bk_store_why tells why. */
#ifndef BK_BECKOND_STORE_H
#define BK_BECKOND_STORE_H

#include "seal/box_key.h"
#include "seal/identity.h"
#include "wire/attrs.h"

enum {
    BK_STORE_HASH_BYTES = 32,
    BK_STORE_CERTIFICATE_MAX_BYTES = 1024,
    BK_STORE_WHY_BYTES = 256,
};

struct bk_store;

/* A device as enrolled. */
struct bk_store_device {
    uint64_t equipment_id;
    char name[BK_NAME_MAX_BYTES + 1]; /* empty: none */
    uint32_t generation;              /* 0: invited only */
    bool revoked;
    uint8_t key[BK_KEY_BYTES]; /* raw Ed25519 */
    size_t certificate_bytes;
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
    size_t box_key_bytes;
    uint8_t box_key[BK_BOX_KEY_BYTES];
};

/* `create` makes a new file and refuses an existing one (BK_E_EXISTS); `open` takes only one of our
 * schema (BK_E_NOTFOUND, BK_E_MALFORMED). `why` gets a phrase on failure. */
BK_NODISCARD enum bk_err bk_store_create(const char *path, char why[BK_STORE_WHY_BYTES]);
BK_NODISCARD enum bk_err bk_store_open(const char *path, struct bk_store **out,
                                       char why[BK_STORE_WHY_BYTES]);
void bk_store_close(struct bk_store *s);
const char *bk_store_why(const struct bk_store *s);

/* Integrity of the file and of its references. BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_store_check(struct bk_store *s);

/* ---- devices and users ---- */

/* An equipment ID or a device's name, as commands take either. BK_E_NOTFOUND. */
BK_NODISCARD enum bk_err bk_store_resolve(struct bk_store *s, struct bk_slice device,
                                          uint64_t *equipment_id);
/* BK_E_NOTFOUND. */
BK_NODISCARD enum bk_err bk_store_device(struct bk_store *s, uint64_t equipment_id,
                                         struct bk_store_device *out);

/* The device, if `user` may call it: by ID, or by name where the ID is 0. Not granted, user revoked,
 * invited only and missing are one and the same BK_E_NOTFOUND, and take the same statements and steps. */
BK_NODISCARD enum bk_err bk_store_find(struct bk_store *s, struct bk_slice user,
                                       uint64_t equipment_id, struct bk_slice name,
                                       struct bk_store_device *out);

/* Whether a verified certificate's holder is still the one enrolled under that role and name with that
 * key. BK_E_NOTFOUND unknown, BK_E_AUTH another key meanwhile, BK_E_EXPIRED revoked. */
BK_NODISCARD enum bk_err bk_store_admit(struct bk_store *s, const struct bk_identity *peer);

/* Whether somebody is enrolled under that user's name, and not revoked. BK_E_NOTFOUND: nobody. */
BK_NODISCARD enum bk_err bk_store_enrolled(struct bk_store *s, struct bk_slice user);

/* Enrolled devices by ascending ID, the first above `after`. BK_E_NOTFOUND at the end. */
BK_NODISCARD enum bk_err bk_store_next_device(struct bk_store *s, uint64_t after,
                                              struct bk_store_device *out);

/* Devices that the location table must treat otherwise than "generation 1 and welcome": each has been
 * enrolled more than once, or is revoked. */
typedef void (*bk_store_exception)(void *ctx, uint64_t equipment_id, uint32_t lowest_generation,
                                   bool revoked);
BK_NODISCARD enum bk_err bk_store_exceptions(struct bk_store *s, bk_store_exception each,
                                             void *ctx);

/* Revoking also voids the holder's tokens. BK_E_NOTFOUND. */
BK_NODISCARD enum bk_err bk_store_revoke_device(struct bk_store *s, uint64_t equipment_id);
BK_NODISCARD enum bk_err bk_store_revoke_user(struct bk_store *s, struct bk_slice user);

/* ---- grants; equipment ID 0 stands for all ---- */

/* BK_E_NOTFOUND: no such user. */
BK_NODISCARD enum bk_err bk_store_grant(struct bk_store *s, struct bk_slice user,
                                        uint64_t equipment_id);
/* Taking back "all" takes back the single grants too. BK_E_NOTFOUND: no such user; BK_E_STATE: done,
 * but the user may still call that device, by a grant for all. */
BK_NODISCARD enum bk_err bk_store_ungrant(struct bk_store *s, struct bk_slice user,
                                          uint64_t equipment_id);

/* ---- tokens (store_token.c) ---- */

struct bk_store_token {
    enum bk_role role; /* device or user */
    uint64_t equipment_id;
    char name[BK_NAME_MAX_BYTES + 1]; /* user: the user; device: a name to give it, or empty */
    uint64_t expires_s;               /* seconds since 1970 */
};

/* Keeps the secret's hash, and forgets tokens that have expired by `now_s`. BK_E_EXISTS: the device
 * name is another device's. */
BK_NODISCARD enum bk_err bk_store_token_add(struct bk_store *s,
                                            const uint8_t hash[BK_STORE_HASH_BYTES],
                                            const struct bk_store_token *token, uint64_t now_s);
/* What the token is for. BK_E_NOTFOUND, BK_E_EXPIRED. */
BK_NODISCARD enum bk_err bk_store_token_look(struct bk_store *s,
                                             const uint8_t hash[BK_STORE_HASH_BYTES],
                                             uint64_t now_s, struct bk_store_token *out);

/* Enrolling: `begin` opens a transaction that `finish` or `abort` must end. */
struct bk_store_enrolment {
    struct bk_store_token token;
    uint8_t hash[BK_STORE_HASH_BYTES];
    uint8_t key[BK_KEY_BYTES];
    uint32_t generation; /* that this enrolment gets; the current one in a repetition */
    bool again;          /* the same key once more: the answer is `certificate` */
    size_t certificate_bytes;
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
};
/* BK_E_NOTFOUND, BK_E_EXPIRED: no such token, or its enrolment has been replaced or revoked since.
 * BK_E_EXISTS: used by another key. On an error no transaction is open. */
BK_NODISCARD enum bk_err bk_store_enrol_begin(struct bk_store *s,
                                              const uint8_t hash[BK_STORE_HASH_BYTES],
                                              const uint8_t key[BK_KEY_BYTES], uint64_t now_s,
                                              struct bk_store_enrolment *out);
/* Stores the certificate (unused in a repetition) and a device's box key, lifts a revocation of a
 * previous holder, marks the token used, and commits. */
BK_NODISCARD enum bk_err bk_store_enrol_finish(struct bk_store *s,
                                               const struct bk_store_enrolment *e,
                                               struct bk_slice certificate, struct bk_slice box_key,
                                               uint64_t now_s);
/* Instead of `finish` where the certificate has yet to be signed: keeps the token for this key, voids other
 * tokens of the same holder whose keys wait (the latest counts), and commits. */
BK_NODISCARD enum bk_err bk_store_enrol_claim(struct bk_store *s,
                                              const struct bk_store_enrolment *e);
void bk_store_enrol_abort(struct bk_store *s);
/* The key that waits to be enrolled as `holder` (role and ID or name). BK_E_NOTFOUND: none. */
BK_NODISCARD enum bk_err bk_store_claimant(struct bk_store *s, const struct bk_identity *holder,
                                           uint64_t now_s, uint8_t key[BK_KEY_BYTES]);

/* ---- renewals (store_renew.c) ---- */

/* What is enrolled, if `peer` still is whom the store knows: errors as bk_store_admit. */
struct bk_store_holder {
    uint32_t generation; /* of a device */
    size_t certificate_bytes;
    uint8_t certificate[BK_STORE_CERTIFICATE_MAX_BYTES];
};
BK_NODISCARD enum bk_err bk_store_holder(struct bk_store *s, const struct bk_identity *peer,
                                         struct bk_store_holder *out);
/* Puts a new certificate and, for a device, a new box key in place of the old; what is empty stays as it is.
 * Decides within the same transaction whether `peer` still is whom the store knows: errors as
 * bk_store_admit. */
BK_NODISCARD enum bk_err bk_store_renew(struct bk_store *s, const struct bk_identity *peer,
                                        struct bk_slice certificate, struct bk_slice box_key);

#endif
