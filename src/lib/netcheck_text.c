/* Words for what netcheck found. */
#include "lib/netcheck_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *bk_behaviour_text(enum bk_behaviour_kind kind)
{
    switch (kind) {
    case BK_BEHAVIOUR_UNKNOWN:
        break;
    case BK_BEHAVIOUR_NO_NAT:
        return "none: the address is this host's own";
    case BK_BEHAVIOUR_ENDPOINT_INDEPENDENT:
        return "endpoint-independent";
    case BK_BEHAVIOUR_NOT_PORT_DEPENDENT:
        return "endpoint-independent or address-dependent";
    case BK_BEHAVIOUR_ADDRESS_DEPENDENT:
        return "address-dependent";
    case BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT:
        return "address and port-dependent";
    case BK_BEHAVIOUR_NOT_ENDPOINT_INDEPENDENT:
        return "address-dependent, or on the port too";
    }
    return "unknown";
}

static void advise(struct beckon_netcheck *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void advise(struct beckon_netcheck *r, const char *format, ...)
{
    va_list args;

    if (r->n_advice == BECKON_NETCHECK_ADVICE_MAX) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(r->advice[r->n_advice], sizeof r->advice[0], format, args);
    va_end(args);
    r->n_advice++;
}

/* The first protocol by which a router opens a port to us; NULL: none. PCP does not tell the outer address: where another
 * protocol of that router says that it is of no use, so is PCP. */
static const struct beckon_netcheck_mapping *usable(const struct beckon_netcheck *r)
{
    const struct beckon_netcheck_mapping *found = NULL;

    for (size_t i = 0; i < BECKON_NETCHECK_MAPPINGS; i++) {
        const struct beckon_netcheck_mapping *m = &r->mappings[i];

        if (m->there && m->reason[0] != '\0') {
            return NULL;
        }
        if (m->there && found == NULL) {
            found = m;
        }
    }
    return found;
}

static bool has_pinholes(const struct beckon_netcheck *r)
{
    for (size_t i = 0; i < BECKON_NETCHECK_MAPPINGS; i++) {
        if (r->mappings[i].there && r->mappings[i].pinholes) {
            return true;
        }
    }
    return false;
}

static void advise_direct(struct beckon_netcheck *r)
{
    const struct beckon_netcheck_mapping *mapped = usable(r);

    if (r->public_v4) {
        advise(
            r,
            "host: a public IPv4 address; devices dial it, unless a firewall here keeps them out");
    }
    if (r->public_v6) {
        advise(r, "host: a public IPv6 address, for devices that have IPv6%s",
               has_pinholes(r) ? "; the router lets them in" : "");
    }
    if (mapped != NULL && !r->public_v4) {
        advise(r, "mapped: the router opens a port by %s", mapped->protocol);
    }
}

/* TCP goes by the same tables as UDP in nearly all NATs, and is what counts here. */
static void advise_punch(struct beckon_netcheck *r)
{
    bool independent =
        strcmp(r->mapping, bk_behaviour_text(BK_BEHAVIOUR_ENDPOINT_INDEPENDENT)) == 0 ||
        strcmp(r->mapping, bk_behaviour_text(BK_BEHAVIOUR_NOT_PORT_DEPENDENT)) == 0;

    if (strcmp(r->mapping, bk_behaviour_text(BK_BEHAVIOUR_NO_NAT)) == 0) {
        advise(r, "punched: no NAT on the way; a device behind one can be met half-way");
    } else if (independent || r->port_preserved) {
        advise(r, "punched: likely to work with most devices (%s)",
               independent ? "the mapping does not depend on whom it leads to"
                           : "the NAT keeps the port");
    } else if (r->udp) {
        advise(r, "punched: only with devices whose NAT lets in whoever was written to once");
    }
}

void bk_netcheck_advise(struct beckon_netcheck *r)
{
    r->n_advice = 0;
    advise_direct(r);
    advise_punch(r);
    if (r->relayed[0] != '\0') {
        advise(r, "relayed: by %s, wherever nothing else works", r->relay);
    } else if (r->server && r->relay[0] == '\0') {
        advise(r, "relayed: the server offers no relay");
    } else if (r->server) {
        advise(r, "relayed: not by %.100s: %.60s", r->relay, r->relay_reason);
    }
    if (!r->server) {
        advise(r, "no calls: the server cannot be reached from here");
    } else if (!r->udp) {
        advise(r,
               "UDP gets no answer: calls do not need it here; an agent would register over TLS");
    }
    if (strcmp(r->hairpin, "no") == 0) {
        advise(r, "no hairpin: devices on this network are met on their own addresses, or relayed");
    }
}
