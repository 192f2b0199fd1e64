/* The audit line. Peer bytes in it are escaped. */
#include "bin/beckond/audit.h"

#include <assert.h>
#include <stdio.h>

#include "base/number.h"
#include "bin/beckond/say.h"
#include "wire/stun.h"

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
    case BK_AUDIT_CALL_ENDED:
        return "ended";
    case BK_AUDIT_CALL_REVOKED:
        return "revoked";
    }
    return "unknown";
}

void bk_audit_format(const struct bk_server_action *action, char out[BK_AUDIT_LINE_BYTES])
{
    char user[4 * BK_NAME_MAX_BYTES + 8];
    char from[BK_ADDR_TEXT_BYTES];
    char device[21];
    char left_out[40] = "";
    bool was_up;

    assert(action->type == BK_SERVER_AUDIT);
    bk_say_escape(action->audit.user, user, sizeof user);
    bk_addr_format(&action->audit.from, from);
    bk_number_format(action->audit.equipment_id, device);
    was_up = action->audit.how == BK_AUDIT_CALL_ENDED || action->audit.how == BK_AUDIT_CALL_REVOKED;
    if (action->audit.left_out > 0) {
        (void)snprintf(left_out, sizeof left_out, " left-out=%lu",
                       (unsigned long)action->audit.left_out);
    }
    (void)snprintf(out, BK_AUDIT_LINE_BYTES,
                   "audit %s device=%s user=%s from=%s result=%s ms=%llu%s%s",
                   was_up ? "call-end" : "call", device, user, from, result(action->audit.how),
                   (unsigned long long)action->audit.took_ms,
                   action->audit.fast ? " form=fast" : "", left_out);
}

static const char *renewal(uint16_t code)
{
    switch (code) {
    case 0:
        return "done";
    case BK_CODE_FORBIDDEN:
        return "revoked";
    case BK_CODE_OVERLOADED:
        return "overloaded";
    default:
        return "bad-request";
    }
}

void bk_audit_format_renew(const struct bk_identity *peer, const struct bk_renew_decision *d,
                           char out[BK_AUDIT_LINE_BYTES])
{
    char who[4 * BK_NAME_MAX_BYTES + 8];

    if (peer->role == BK_ROLE_DEVICE) {
        bk_number_format(peer->equipment_id, who);
    } else {
        bk_say_escape(bk_slice_text(peer->name), who, sizeof who);
    }
    (void)snprintf(out, BK_AUDIT_LINE_BYTES,
                   "audit renew %s=%s result=%s certificate=%s box-key=%s",
                   peer->role == BK_ROLE_DEVICE ? "device" : "user", who, renewal(d->code),
                   d->pending                  ? "pending"
                   : d->certificate_bytes == 0 ? "-"
                   : d->fresh                  ? "new"
                                               : "same",
                   d->box_key ? "new" : "-");
}
