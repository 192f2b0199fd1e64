/* DIR/authorized_users: the callers' own keys that this device knows.
 *
 *   KEY NAME [ACCESS]     KEY as "beckon key" prints it; NAME for the log, letters, digits and . _ - @; ACCESS a
 *                         section [access ACCESS] of agent.conf, "owner" where none is named. # begins a comment line */
#ifndef BK_LIB_AUTHORIZED_H
#define BK_LIB_AUTHORIZED_H

#include "beckon/beckon.h"
#include "lib/agent_config.h"
#include "seal/caller_key.h"

enum {
    BK_AUTHORIZED_NAME_BYTES = 64, /* with terminator */
};

struct bk_authorized {
    uint8_t key[BK_KEY_BYTES];
    char name[BK_AUTHORIZED_NAME_BYTES];
    char access[BK_NAME_MAX_BYTES + 1];
};

/* One line without its end. BK_E_NOTFOUND: blank or a comment; BK_E_MALFORMED. */
BK_NODISCARD enum bk_err bk_authorized_line(struct bk_slice line, struct bk_authorized *out);

/* The first line for that key whose access `config` has. Lines that are wrong are left out, and named in the log with
 * file and line. BK_E_NOTFOUND: no such line, or no file; BK_E_AUTH: others than its owner may write the file, so that
 * nothing in it counts (logged); BK_E_IO: it cannot be read (logged). */
BK_NODISCARD enum bk_err bk_authorized_find(const char *state_dir,
                                            const struct bk_agent_config *config,
                                            const uint8_t key[BK_KEY_BYTES], beckon_log log,
                                            void *ctx, struct bk_authorized *out);

#endif
