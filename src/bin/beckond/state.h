/* The state directory: which file lies where, and the server's master keys. */
#ifndef BK_BECKOND_STATE_H
#define BK_BECKOND_STATE_H

#include "core/server/server.h"

enum {
    BK_STATE_PATH_BYTES = 1024,
    BK_STATE_MASTER_RECORD_BYTES = 2 + BK_KEY_BYTES,
};

#define BK_STATE_CA_KEY "ca.key"
#define BK_STATE_CA_CERTIFICATE "ca.crt"
#define BK_STATE_SERVER_KEY "server.key"
#define BK_STATE_SERVER_CERTIFICATE "server.crt"
#define BK_STATE_MASTER_KEYS "master.keys"
#define BK_STATE_RELAY_SECRET "relay.secret"
#define BK_STATE_STORE "beckond.db"
#define BK_STATE_CONFIG "beckond.conf"
#define BK_STATE_SOCKET "beckond.sock"
#define BK_STATE_REQUESTS "requests" /* a directory: bin/beckond/requests.h */

/* DIR/NAME. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_state_path(const char *dir, const char *name,
                                       char out[BK_STATE_PATH_BYTES]);

/* master.keys: one record or more, the current epoch first: u16 epoch in network order, 32 bytes of key.
 * The epochs differ in their two lowest bits (core/server/server.h). `make` writes a new file with epoch 1;
 * `save` puts a whole new list in place of the old. BK_E_EXISTS, BK_E_IO, BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_state_master_make(const char *dir, const struct bk_random *rng);
BK_NODISCARD enum bk_err bk_state_master_save(const char *dir, const struct bk_master_key *keys,
                                              size_t n);
/* BK_E_NOTFOUND, BK_E_IO, BK_E_MALFORMED. Wipe the keys after use. */
BK_NODISCARD enum bk_err
bk_state_master_load(const char *dir, struct bk_master_key out[BK_SERVER_EPOCHS_MAX], size_t *n);

#endif
