/* The running server: carries out what core/server decides, on sockets, TLS and the store. Decides
 * nothing about registrations and calls itself; what it does decide is who is at the other end of a
 * connection, and whether that one is still enrolled. */
#ifndef BK_BECKOND_SERVE_H
#define BK_BECKOND_SERVE_H

#include "beckon/beckon.h"
#include "bin/beckond/config.h"
#include "bin/beckond/store.h"

struct bk_serve_start {
    const char *dir;
    const char *config_file; /* NULL: DIR/beckond.conf; read again at SIGHUP */
    const struct bk_config *config;
    struct bk_store *store; /* borrowed */
};

/* Serves until SIGTERM or SIGINT. What went wrong has been said on standard error. */
enum beckon_status bk_serve(const struct bk_serve_start *start);

#endif
