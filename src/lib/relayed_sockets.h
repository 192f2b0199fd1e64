/* TCP connections to a relay; for relayed.c alone. */
#ifndef BK_LIB_RELAYED_SOCKETS_H
#define BK_LIB_RELAYED_SOCKETS_H

#include <stdbool.h>

#include "base/addr.h"

/* A connection under way, not blocking; -1 if it could not even begin. */
int bk_relayed_begin_connect(const struct bk_addr *addr);
/* It is writable: it has come about. */
bool bk_relayed_stands(int fd);
/* A relay that is gone without a word is noticed; small messages are not held back. */
void bk_relayed_set_alive(int fd);

#endif
