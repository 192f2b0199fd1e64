/* The audit: one line for every call, who called which device, from where, and how it ended.
 *
 *   audit call device=2133 user=alice from=4.17.168.2:7000 result=delivered ms=12 */
#ifndef BK_BECKOND_AUDIT_H
#define BK_BECKOND_AUDIT_H

#include "core/server/server.h"

enum {
    BK_AUDIT_LINE_BYTES = 512,
};

/* `action` is a BK_SERVER_AUDIT. */
void bk_audit_format(const struct bk_server_action *action, char out[BK_AUDIT_LINE_BYTES]);

#endif
