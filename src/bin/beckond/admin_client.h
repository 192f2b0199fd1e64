/* Asking a running server by its admin socket (bin/beckond/admin.h). Errors have been said on standard
 * error. */
#ifndef BK_BECKOND_ADMIN_CLIENT_H
#define BK_BECKOND_ADMIN_CLIENT_H

#include "base/slice.h"
#include "beckon/beckon.h"
#include "bin/beckond/admin.h"

/* Tells the server, if one is running, that the store has changed: `what` is one of BK_ADMIN_*_CHANGED. */
enum beckon_status bk_admin_tell(const char *dir, const char *what, const char *word);

/* Asks, and hands every line of the answer but the last to `each`, which returns false for a line that it
 * does not understand or cannot keep. No server running is FAILED. */
enum beckon_status bk_admin_ask(const char *dir, const char *request,
                                bool (*each)(void *ctx, struct bk_slice line), void *ctx);

#endif
