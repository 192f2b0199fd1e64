/* Renewing a device, in two steps around the exchange (lib/renewal_exchange.h), so that a crash at any moment leaves a
 * device that works: what the server may come to know is in the state directory before it is sent. */
#ifndef BK_LIB_AGENT_RENEW_H
#define BK_LIB_AGENT_RENEW_H

#include "beckon/beckon.h"
#include "lib/box_keys.h"
#include "lib/certs.h"
#include "lib/renewal_exchange.h"

struct bk_agent_renewing {
    int lock;
    struct bk_credentials own;
    struct bk_box_keys keys;           /* as they stand in the file: with a next pair */
    uint8_t box_key[BK_BOX_KEY_BYTES]; /* that pair's public key, signed */
    uint64_t unix_s;                   /* the best that is known of the time; 0: nothing */
};

/* Reads the state, makes the next box key unless there is one already, and stores it. NOT_JOINED, BAD_CONFIG, BUSY
 * (another renewal is under way), FAILED. bk_agent_renewing_fini in every case. `unix_s`: the time to go by, 0: the best
 * that is known here. */
enum beckon_status bk_agent_renewing_begin(const char *state_dir, uint64_t unix_s,
                                           struct bk_agent_renewing *out,
                                           struct beckon_error *error);
/* The server has answered: the next box key becomes the current one, and what else came is stored. FAILED: of that,
 * something is not done; begin again. */
enum beckon_status bk_agent_renewing_take(const char *state_dir, struct bk_agent_renewing *r,
                                          const struct bk_renewed *renewed,
                                          struct beckon_error *error);
void bk_agent_renewing_fini(struct bk_agent_renewing *r);

/* DIR/renewal, for that certificate and box key. BK_E_MALFORMED, BK_E_IO. */
BK_NODISCARD enum bk_err bk_agent_facts_save(const char *state_dir, X509 *cert,
                                             uint64_t box_made_s);

#endif
