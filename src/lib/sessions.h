/* TLS sessions with servers, kept for the next connection: one file of the state directory, mode 0600, with a place for
 * each server and protocol. It is opened before the program is confined and written in place, so that a process that may
 * open no file for writing can keep what it learns. A place whose digest is wrong, that belongs to another server,
 * authority or certificate of ours, that is past its life or was used BK_SESSIONS_USES times is as good as empty. */
#ifndef BK_LIB_SESSIONS_H
#define BK_LIB_SESSIONS_H

#include "net/tls.h"

enum {
    BK_SESSIONS_PLACES = 12, /* servers times protocols */
    BK_SESSIONS_USES = 4,    /* of one session: calls at the same time */
};

struct bk_sessions;

/* NULL where the file can be neither opened nor made: then every handshake is a full one, which is all. */
struct bk_sessions *bk_sessions_open(const char *state_dir);

/* Right after bk_tls_new_client with the same `client`: its connections resume what is kept, and keep what they are given.
 * `sessions` may be NULL, and may be closed while they live. */
void bk_sessions_use(struct bk_sessions *sessions, const struct bk_tls_client *client,
                     struct bk_tls *tls);

void bk_sessions_close(struct bk_sessions *sessions); /* NULL is fine */

/* Overwrites and removes what is kept: after the certificate has been replaced. */
void bk_sessions_forget(const char *state_dir);

#endif
