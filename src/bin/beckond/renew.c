/* RENEW: what is asked for is checked before anything is issued, and stored in one transaction, which looks once
 * more whether the holder still is one. */
#include "bin/beckond/renew.h"

#include <string.h>

#include "bin/beckond/enrol.h"
#include "wire/stun.h"

static enum bk_err check(const struct bk_identity *peer, struct bk_slice request,
                         struct bk_slice box_key)
{
    uint8_t key[BK_X509_KEY_BYTES];
    struct bk_box_key ignored;
    enum bk_err err = BK_OK;

    if (request.n > 0) {
        err = bk_x509_request_key(request, key);
        if (err == BK_OK && memcmp(key, peer->key, sizeof key) != 0) {
            err = BK_E_MALFORMED;
        }
    }
    if (err == BK_OK && box_key.n > 0) {
        err = peer->role == BK_ROLE_DEVICE ? bk_box_key_check(box_key, peer->key, &ignored)
                                           : BK_E_MALFORMED;
    }
    return err;
}

/* Whether the certificate is in the first half of its life. Nobody needs another one then: the answer that held
 * it got lost, and no operator shall have to sign twice for that. */
static bool is_young(const struct bk_store_holder *holder, X509 *ca, uint64_t unix_s)
{
    struct bk_x509_facts facts;

    return bk_x509_read(bk_slice(holder->certificate, holder->certificate_bytes), ca, unix_s,
                        &facts) == BK_OK &&
           unix_s < facts.not_before_s + (facts.not_after_s - facts.not_before_s) / 2;
}

/* A new key that waits to take this holder's place has its request lying there: that is not pushed aside. */
static bool place_is_taken(struct bk_store *store, const struct bk_identity *peer, uint64_t unix_s)
{
    uint8_t key[BK_KEY_BYTES];

    return bk_store_claimant(store, peer, unix_s, key) == BK_OK &&
           memcmp(key, peer->key, sizeof key) != 0;
}

static enum bk_err certificate(struct bk_store *store, const struct bk_authority *authority,
                               uint64_t unix_s, const struct bk_identity *peer,
                               const struct bk_store_holder *holder, struct bk_slice request,
                               struct bk_renew_decision *out)
{
    enum bk_err err = BK_E_STATE;

    if (authority->ca_key == NULL && is_young(holder, authority->ca, unix_s)) {
        memcpy(out->certificate, holder->certificate, holder->certificate_bytes);
        out->certificate_bytes = holder->certificate_bytes;
        return BK_OK;
    }
    if (authority->ca_key != NULL || !place_is_taken(store, peer, unix_s)) {
        err = bk_authority_obtain(authority, request, peer, unix_s, out->certificate,
                                  sizeof out->certificate, &out->certificate_bytes, &out->note);
    }
    out->fresh = err == BK_OK;
    if (err == BK_E_STATE) {
        out->certificate_bytes = 0;
        out->pending = true;
        err = BK_OK;
    }
    return err;
}

/* Whether somebody is still the holder, the store says within its transaction; where there is nothing to write, what
 * it said before is as good. */
static enum bk_err keep(struct bk_store *store, const struct bk_identity *peer,
                        struct bk_slice box_key, const struct bk_renew_decision *out)
{
    struct bk_slice fresh =
        out->fresh ? bk_slice(out->certificate, out->certificate_bytes) : BK_SLICE_EMPTY;

    return fresh.n == 0 && box_key.n == 0 ? BK_OK : bk_store_renew(store, peer, fresh, box_key);
}

static uint16_t code_of(enum bk_err err)
{
    /* Another key is enrolled meanwhile: to who asks that is as good as revoked. */
    return err == BK_E_AUTH ? BK_CODE_FORBIDDEN : bk_enrol_code(err);
}

void bk_renew_decide(struct bk_store *store, const struct bk_authority *authority, uint64_t unix_s,
                     const struct bk_identity *peer, struct bk_slice request,
                     struct bk_slice box_key, struct bk_renew_decision *out)
{
    struct bk_store_holder holder;
    enum bk_err err;

    memset(out, 0, sizeof *out);
    err = bk_store_holder(store, peer, &holder);
    if (err != BK_OK) {
        out->code = code_of(err);
        return;
    }
    err = check(peer, request, box_key);
    if (err == BK_OK && request.n > 0) {
        err = certificate(store, authority, unix_s, peer, &holder, request, out);
    }
    if (err != BK_OK) {
        out->code = bk_enrol_code(err);
        return;
    }
    err = keep(store, peer, box_key, out);
    out->code = code_of(err);
    if (err == BK_OK) {
        out->generation = peer->role == BK_ROLE_DEVICE ? holder.generation : 0;
        out->box_key = box_key.n > 0;
        if (out->fresh) { /* else what lies there is somebody else's: a successor's */
            bk_authority_issued(authority, peer);
        }
    }
}
