/* "[ADDR:]PORT:SERVICE", strictly. */
#include "lib/forward_spec.h"

#include <string.h>

#include "base/number.h"

enum bk_err bk_forward_spec_read(const char *text, struct bk_forward_spec *out)
{
    const char *colon = strrchr(text, ':');
    struct bk_slice service, where;
    uint64_t port;

    if (colon == NULL) {
        return BK_E_MALFORMED;
    }
    service = bk_slice_text(colon + 1);
    where = bk_slice(text, (size_t)(colon - text));
    if (!bk_name_valid(service) || !bk_slice_to_text(service, out->service, sizeof out->service)) {
        return BK_E_MALFORMED;
    }
    if (bk_number_parse(where, UINT16_MAX, &port) == BK_OK && port != 0) {
        out->addr = bk_addr_v4(127, 0, 0, 1, (uint16_t)port);
        return BK_OK;
    }
    if (bk_addr_parse(where, 0, &out->addr) != BK_OK || out->addr.port == 0) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}
