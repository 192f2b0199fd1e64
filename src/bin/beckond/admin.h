/* The admin socket of a running server: DIR/beckond.sock, mode 0600, one request line a connection, an
 * answer of lines, the last of which is "end". Who may open the socket may see the table and say that the
 * store has changed; what changed the server reads in the store itself.
 *
 *   devices          each row of the location table: ID ADDRESS:PORT SECONDS-SINCE-SEEN EPOCH
 *   device-changed ID
 *   user-changed NAME
 *   grants-changed NAME
 *   masters-changed  */
#ifndef BK_BECKOND_ADMIN_H
#define BK_BECKOND_ADMIN_H

#include <event2/event.h>

#include "core/server/server.h"

#define BK_ADMIN_DEVICES "devices"
#define BK_ADMIN_DEVICE_CHANGED "device-changed"
#define BK_ADMIN_USER_CHANGED "user-changed"
#define BK_ADMIN_GRANTS_CHANGED "grants-changed"
#define BK_ADMIN_MASTERS_CHANGED "masters-changed"
#define BK_ADMIN_END "end"

enum {
    BK_ADMIN_LINE_MAX_BYTES = 128,
    BK_ADMIN_CLIENTS_MAX = 32,
    BK_ADMIN_TIMEOUT_S = 10, /* for a client that neither asks nor reads */
};

struct bk_admin;

/* What the server does when it is told; `core` is only read. */
struct bk_admin_config {
    const char *dir;
    int dir_fd;
    const struct bk_server *core;
    void *ctx;
    bool (*device_changed)(void *ctx,
                           uint64_t equipment_id); /* false: it could not be taken over */
    void (*user_changed)(void *ctx, struct bk_slice user);
    void (*grants_changed)(void *ctx, struct bk_slice user);
    bool (*masters_changed)(void *ctx); /* false as above */
};

/* Binds the socket, in place of one that a killed server left: the caller makes sure that it is the only
 * server of this directory. BK_E_IO errno tells; BK_E_NOSPACE, BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_admin_new(struct event_base *base, const struct bk_admin_config *config,
                                      struct bk_admin **out);
/* Removes the socket too. NULL is fine. */
void bk_admin_free(struct bk_admin *a);

#endif
