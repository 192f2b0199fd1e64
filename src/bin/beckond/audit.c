/* The audit line. Peer bytes in it are escaped. */
#include "bin/beckond/audit.h"

#include <assert.h>
#include <stdio.h>

#include "base/number.h"
#include "bin/beckond/say.h"

static const char *result(enum bk_server_audit how)
{
    switch (how) {
    case BK_AUDIT_DELIVERED:
        return "delivered";
    case BK_AUDIT_NOT_FOUND:
        return "not-found";
    case BK_AUDIT_REVOKED:
        return "revoked";
    case BK_AUDIT_OFFLINE:
        return "offline";
    case BK_AUDIT_ABANDONED:
        return "abandoned";
    case BK_AUDIT_OVERLOADED:
        return "overloaded";
    }
    return "unknown";
}

void bk_audit_format(const struct bk_server_action *action, char out[BK_AUDIT_LINE_BYTES])
{
    char user[4 * BK_NAME_MAX_BYTES + 8];
    char from[BK_ADDR_TEXT_BYTES];
    char device[21];

    assert(action->type == BK_SERVER_AUDIT);
    bk_say_escape(action->audit.user, user, sizeof user);
    bk_addr_format(&action->audit.from, from);
    bk_number_format(action->audit.equipment_id, device);
    (void)snprintf(out, BK_AUDIT_LINE_BYTES,
                   "audit call device=%s user=%s from=%s result=%s ms=%llu", device, user, from,
                   result(action->audit.how), (unsigned long long)action->audit.took_ms);
}
