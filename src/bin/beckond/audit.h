/* The audit: one line each for every call that is asked for, who called which device, from where, and what came of
 * it; for every call that was up, when the device lets go of it; and for every renewal.
 *
 *   audit call device=2133 user=alice from=4.17.168.2:7000 result=delivered ms=12 form=fast
 *   audit call-end device=2133 user=alice from=202.204.16.13:2600 result=ended ms=360000
 *   audit renew device=2133 result=done certificate=pending box-key=new */
#ifndef BK_BECKOND_AUDIT_H
#define BK_BECKOND_AUDIT_H

#include "bin/beckond/renew.h"
#include "core/server/server.h"

enum {
    BK_AUDIT_LINE_BYTES = 512,
};

/* `action` is a BK_SERVER_AUDIT. */
void bk_audit_format(const struct bk_server_action *action, char out[BK_AUDIT_LINE_BYTES]);
void bk_audit_format_renew(const struct bk_identity *peer, const struct bk_renew_decision *d,
                           char out[BK_AUDIT_LINE_BYTES]);

#endif
