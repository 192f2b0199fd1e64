/* The requester's state directory: who we are, which server, and which devices we know.
 *
 *   user.key user.crt ca.crt caller.key beckon.conf known_devices */
#ifndef BK_LIB_CLIENT_STATE_H
#define BK_LIB_CLIENT_STATE_H

#include "beckon/beckon.h"
#include "lib/certs.h"
#include "seal/text.h"
#include "wire/attrs.h"

enum {
    BK_CLIENT_SERVERS_MAX = 4,
};

struct bk_client_state {
    size_t n_servers; /* of one operator; tried in turn */
    char servers[BK_CLIENT_SERVERS_MAX][BK_HOST_MAX_BYTES + 1];
    uint16_t port; /* of each */
    struct bk_credentials own;
    EVP_PKEY *caller; /* the caller's own key, which devices may know; NULL: none was made */
};

/* NOT_JOINED, BAD_CONFIG. */
enum beckon_status bk_client_state_read(const char *dir, struct bk_client_state *out,
                                        struct beckon_error *error);
void bk_client_state_fini(struct bk_client_state *state);
/* Puts a renewed certificate for the same key in the old one's place, in memory and in the file. BK_E_IO (errno): it
 * could not be written, but is used. */
BK_NODISCARD enum bk_err bk_client_state_renewed(const char *dir, struct bk_client_state *state,
                                                 X509 *cert);

/* known_devices: one line a device, "EQUIPMENT-ID FINGERPRINT", and one a name by which a device was called,
 * "NAME EQUIPMENT-ID": whose name it is the server says, and it could say another's the next time.
 * BAD_CONFIG for a malformed file. */
enum beckon_status bk_known_find(const char *dir, uint64_t equipment_id, bool *found,
                                 uint8_t pin[BK_PIN_BYTES], struct beckon_error *error);
/* Adds a device; KEY_CHANGED if another fingerprint stands there. Written whole or not at all. */
enum beckon_status bk_known_add(const char *dir, uint64_t equipment_id,
                                const uint8_t pin[BK_PIN_BYTES], struct beckon_error *error);

/* 0 for a name that is not there. */
enum beckon_status bk_known_name(const char *dir, const char *name, uint64_t *equipment_id,
                                 struct beckon_error *error);
/* Adds a valid name that is not there. */
enum beckon_status bk_known_add_name(const char *dir, const char *name, uint64_t equipment_id,
                                     struct beckon_error *error);

/* The advice that goes with BECKON_KEY_CHANGED. */
enum beckon_status bk_key_changed(const char *dir, uint64_t equipment_id,
                                  struct beckon_error *error);

#endif
