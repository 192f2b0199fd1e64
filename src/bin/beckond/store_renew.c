/* Renewals: the same holder with the same key gets new things. May not enrol: that is store_token.c. */
#include <assert.h>
#include <string.h>

#include "bin/beckond/store_sql.h"

enum bk_err bk_store_holder(struct bk_store *s, const struct bk_identity *peer,
                            struct bk_store_holder *out)
{
    struct bk_store_device device;
    struct bk_store_user user;
    enum bk_err err = bk_store_admit(s, peer);

    memset(out, 0, sizeof *out);
    if (err != BK_OK) {
        return err;
    }
    if (peer->role == BK_ROLE_DEVICE) {
        err = bk_store_device(s, peer->equipment_id, &device);
        if (err == BK_OK) {
            out->generation = device.generation;
            out->certificate_bytes = device.certificate_bytes;
            memcpy(out->certificate, device.certificate, device.certificate_bytes);
        }
        return err;
    }
    err = bk_store_user(s, bk_slice_text(peer->name), &user);
    if (err == BK_OK) {
        out->certificate_bytes = user.certificate_bytes;
        memcpy(out->certificate, user.certificate, user.certificate_bytes);
    }
    return err;
}

static enum bk_err put(struct bk_store *s, const struct bk_identity *peer,
                       struct bk_slice certificate, struct bk_slice box_key)
{
    bool device = peer->role == BK_ROLE_DEVICE;
    sqlite3_stmt *statement = bk_sql_get(s, device ? BK_SQL_RENEW_DEVICE : BK_SQL_RENEW_USER);

    if (statement == NULL) {
        return BK_E_IO;
    }
    if (device) {
        bk_sql_bind_int(statement, 1, peer->equipment_id);
        bk_sql_bind_blob(statement, 3, box_key);
    } else {
        bk_sql_bind_text(statement, 1, bk_slice_text(peer->name));
    }
    bk_sql_bind_blob(statement, 2, certificate);
    return bk_sql_run(s, statement);
}

enum bk_err bk_store_renew(struct bk_store *s, const struct bk_identity *peer,
                           struct bk_slice certificate, struct bk_slice box_key)
{
    enum bk_err err = bk_sql_begin(s);

    assert(certificate.n <= BK_STORE_CERTIFICATE_MAX_BYTES && box_key.n <= BK_BOX_KEY_BYTES);
    if (err != BK_OK) {
        return err;
    }
    err = bk_store_admit(s, peer);
    if (err == BK_OK) {
        err = put(s, peer, certificate, box_key);
    }
    return bk_sql_end(s, err);
}
