/* Streams in words. */
#include "lib/stream_text.h"

#include <stdio.h>
#include <string.h>

#include "lib/fail.h"

void bk_authority(const char *service, char out[BK_AUTHORITY_BYTES])
{
    snprintf(out, BK_AUTHORITY_BYTES, "%s:1", service);
}

enum beckon_status bk_stream_error(const struct bk_h2_outcome *outcome, const char *service,
                                   struct beckon_error *error)
{
    switch (outcome->how) {
    case BK_H2_CLEAN:
        return BECKON_OK;
    case BK_H2_REFUSED:
        return bk_fail(
            error, BECKON_NO_SERVICE,
            outcome->status == 404
                ? "the device offers no service \"%s\"; see [service] in its agent.conf"
                : "service \"%s\" does not answer on the device; check that it runs there",
            service);
    case BK_H2_RESET:
        return bk_fail(error, BECKON_FAILED, "service \"%s\" broke the connection off", service);
    case BK_H2_LOCAL:
        return bk_fail(error, BECKON_FAILED, "our end of the connection to \"%s\" failed: %s",
                       service, strerror(outcome->local_errno));
    case BK_H2_LOST:
        break;
    }
    return bk_fail(error, BECKON_FAILED, "the connection to the device was lost");
}
