/* Asking a running server by its admin socket (bin/beckond/admin.h). Errors have been said on standard
 * error. */
#ifndef BK_BECKOND_ADMIN_CLIENT_H
#define BK_BECKOND_ADMIN_CLIENT_H

#include "base/addr.h"
#include "beckon/beckon.h"
#include "bin/beckond/admin.h"

/* Tells the server, if one is running, that the state has changed: `what` is one of BK_ADMIN_*_CHANGED, `word`
 * what belongs to it, or NULL. */
enum beckon_status bk_admin_tell(const char *dir, const char *what, const char *word);

/* A line of the answer to BK_ADMIN_DEVICES. False: it is none. */
struct bk_admin_row {
    uint64_t id;
    struct bk_addr addr;
    uint64_t age_s;
    uint16_t epoch;
};
bool bk_admin_row_read(struct bk_slice line, struct bk_admin_row *out);

/* Whether anybody listens there; nothing is said. */
bool bk_admin_running(const char *dir);

/* Asks, and hands every line of the answer but the last to `each`, which returns false for a line that it
 * does not understand or cannot keep. No server running is FAILED. */
enum beckon_status bk_admin_ask(const char *dir, const char *request,
                                bool (*each)(void *ctx, struct bk_slice line), void *ctx);

#endif
