/* DIR/box.key: the pairs that callers' requests are sealed to.
 *
 * A renewal passes through three states of the file, so that whichever key the server hands on, after a crash at any
 * moment, is one that the file holds:
 *
 *   current                     the server has it
 *   current, next               the next one may be with the server, or be on its way: it is sent again after a crash
 *   current, previous           the next has become current; the previous opens requests under way, for ten minutes
 *
 * A previous key that is still kept when the next is made stays beside both. What leaves the file is overwritten, and
 * with the next write also what a crash left of an earlier one. */
#ifndef BK_LIB_BOX_KEYS_H
#define BK_LIB_BOX_KEYS_H

#include "beckon/beckon.h"
#include "seal/seal.h"

enum {
    BK_BOX_KEYS_MAX = 3,
};

struct bk_box_keys {
    struct bk_box_pair current;
    bool has_next, has_previous;
    struct bk_box_pair next;
    struct bk_box_pair previous;
    uint64_t
        replaced_s; /* when `previous` was, by the host's clock; seconds since 1970, 0: it had none */
};

/* NOT_JOINED, BAD_CONFIG, FAILED. Wipe it after use. */
enum beckon_status bk_box_keys_read(const char *state_dir, struct bk_box_keys *out,
                                    struct beckon_error *error);
/* Written whole; the file that was there before is overwritten then. BK_E_IO. */
BK_NODISCARD enum bk_err bk_box_keys_write(const char *state_dir, const struct bk_box_keys *in);

/* The previous key has had its ten minutes. False where no clock can tell (unix_s 0, or none at the time). */
bool bk_box_keys_outdated(const struct bk_box_keys *keys, uint64_t unix_s);

/* Destroys a previous key that has had its time; where no clock can tell, once the caller has `waited` for it. `left`
 * tells whether there still is one. BK_E_IO: it could not be read or written; try again later. */
BK_NODISCARD enum bk_err bk_box_keys_prune(const char *state_dir, uint64_t unix_s, bool waited,
                                           bool *left);

/* Whoever writes the file holds this; -1 (errno EWOULDBLOCK) if another does. */
int bk_box_keys_lock(const char *state_dir);
void bk_box_keys_unlock(int lock);

#endif
