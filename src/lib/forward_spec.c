/* What a local port leads to, strictly read. */
#include "lib/forward_spec.h"

#include <string.h>

#include "base/number.h"

/* "[ADDR:]PORT" */
static enum bk_err read_where(struct bk_slice where, struct bk_addr *out)
{
    uint64_t port;

    if (bk_number_parse(where, UINT16_MAX, &port) == BK_OK && port != 0) {
        *out = bk_addr_v4(127, 0, 0, 1, (uint16_t)port);
        return BK_OK;
    }
    return bk_addr_parse(where, 0, out) == BK_OK && out->port != 0 ? BK_OK : BK_E_MALFORMED;
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

enum bk_err bk_forward_spec_read(const char *text, struct bk_forward_spec *out)
{
    const char *colon;
    struct bk_slice service;

    *out = (struct bk_forward_spec){.kind = BK_FORWARD_TCP};
    if (begins(text, BK_FORWARD_SOCKS_PREFIX)) {
        out->kind = BK_FORWARD_SOCKS;
        return read_where(bk_slice_text(text + strlen(BK_FORWARD_SOCKS_PREFIX)), &out->addr);
    }
    if (begins(text, BK_FORWARD_UDP_PREFIX)) {
        out->kind = BK_FORWARD_UDP;
        text += strlen(BK_FORWARD_UDP_PREFIX);
    }
    colon = strrchr(text, ':');
    if (colon == NULL) {
        return BK_E_MALFORMED;
    }
    service = bk_slice_text(colon + 1);
    if (!bk_name_valid(service) || !bk_slice_to_text(service, out->service, sizeof out->service)) {
        return BK_E_MALFORMED;
    }
    return read_where(bk_slice(text, (size_t)(colon - text)), &out->addr);
}
