/* ENROL: from a token's secret to a certificate, or to a request for one. The store's transaction is ended on
 * every way out. */
#include "bin/beckond/enrol.h"

#include <string.h>

#include "seal/seal.h"

_Static_assert(sizeof((struct bk_identity *)0)->name == BK_NAME_MAX_BYTES + 1,
               "names are copied whole");

void bk_enrol_hash(struct bk_slice secret, uint8_t hash[BK_STORE_HASH_BYTES])
{
    bk_sha256(&secret, 1, hash);
}

uint16_t bk_enrol_code(enum bk_err err)
{
    switch ((int)err) {
    case BK_OK:
        return 0;
    case BK_E_NOTFOUND:
    case BK_E_EXPIRED:
        return BK_CODE_FORBIDDEN;
    case BK_E_EXISTS:
        return BK_CODE_TOKEN_USED;
    case BK_E_STATE:
        return BK_CODE_PENDING;
    case BK_E_MALFORMED:
    case BK_E_AUTH:
    case BK_E_RANGE:
        return BK_CODE_BAD_REQUEST;
    default:
        return BK_CODE_OVERLOADED;
    }
}

/* A device must bring a box key signed by the key that it asks a certificate for; a user must not. */
static enum bk_err check_box_key(enum bk_role role, struct bk_slice box_key,
                                 const uint8_t key[BK_KEY_BYTES])
{
    struct bk_box_key ignored;

    if (role == BK_ROLE_DEVICE) {
        return bk_box_key_check(box_key, key, &ignored);
    }
    return box_key.n == 0 ? BK_OK : BK_E_MALFORMED;
}

/* A new certificate, within the store's transaction. */
static enum bk_err enrol_new(struct bk_store *store, const struct bk_authority *authority,
                             uint64_t unix_s, const struct bk_store_enrolment *e,
                             struct bk_slice request, struct bk_slice box_key,
                             struct bk_enrol_decision *out)
{
    struct bk_identity holder = {.role = e->token.role, .equipment_id = e->token.equipment_id};
    enum bk_err err, claimed;

    if (holder.role == BK_ROLE_USER) {
        memcpy(holder.name, e->token.name, sizeof holder.name);
    }
    err = bk_authority_obtain(authority, request, &holder, unix_s, out->certificate,
                              sizeof out->certificate, &out->certificate_bytes, &out->note);
    if (err == BK_E_STATE) {
        claimed = bk_store_enrol_claim(store, e);
        return claimed == BK_OK ? BK_E_STATE : claimed;
    }
    if (err != BK_OK) {
        bk_store_enrol_abort(store);
        return err;
    }
    err = bk_store_enrol_finish(store, e, bk_slice(out->certificate, out->certificate_bytes),
                                box_key, unix_s);
    if (err == BK_OK) {
        bk_authority_issued(authority, &holder);
    }
    return err;
}

/* The current one once more. */
static enum bk_err enrol_again(struct bk_store *store, uint64_t unix_s,
                               const struct bk_store_enrolment *e, struct bk_slice box_key,
                               struct bk_enrol_decision *out)
{
    out->certificate_bytes = e->certificate_bytes;
    memcpy(out->certificate, e->certificate, e->certificate_bytes);
    return bk_store_enrol_finish(store, e, bk_slice(out->certificate, out->certificate_bytes),
                                 box_key, unix_s);
}

void bk_enrol_decide(struct bk_store *store, const struct bk_authority *authority, uint64_t unix_s,
                     struct bk_slice token, struct bk_slice request, struct bk_slice box_key,
                     struct bk_enrol_decision *out)
{
    struct bk_store_enrolment e;
    struct bk_store_token what;
    uint8_t hash[BK_STORE_HASH_BYTES], key[BK_KEY_BYTES];
    enum bk_err err;

    memset(out, 0, sizeof *out);
    bk_enrol_hash(token, hash);
    err = bk_store_token_look(store, hash, unix_s, &what);
    if (err == BK_OK) {
        err = bk_x509_request_key(request, key);
    }
    if (err == BK_OK) {
        err = check_box_key(what.role, box_key, key);
    }
    if (err == BK_OK) {
        err = bk_store_enrol_begin(store, hash, key, unix_s, &e);
    }
    if (err == BK_OK) {
        out->again = e.again;
        out->role = e.token.role;
        out->equipment_id = e.token.role == BK_ROLE_DEVICE ? e.token.equipment_id : 0;
        out->generation = e.token.role == BK_ROLE_DEVICE ? e.generation : 0;
        if (e.token.role == BK_ROLE_USER) {
            memcpy(out->user, e.token.name, sizeof out->user);
        }
        err = e.again ? enrol_again(store, unix_s, &e, box_key, out)
                      : enrol_new(store, authority, unix_s, &e, request, box_key, out);
    }
    out->code = bk_enrol_code(err);
}
