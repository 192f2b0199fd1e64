/* Filling core/agent/policy.h from the host, its addresses, networks and gateways as they are now, and from agent.conf. */
#include <stdlib.h>
#include <string.h>

#include "lib/agent_call_private.h"
#include "lib/fail.h"

_Static_assert(sizeof((struct bk_policy *)NULL)->servers ==
                   sizeof((struct bk_call_part *)NULL)->servers,
               "all that HELLO can carry");

enum {
    HOST_ADDRS_MAX = 1024,
};

static void own(struct bk_policy *policy, const struct bk_addr *addr)
{
    enum bk_addr_scope scope = bk_addr_scope(addr);

    if (scope != BK_SCOPE_GLOBAL && scope != BK_SCOPE_PRIVATE) {
        return; /* refused whoever has it; there may be many of them */
    }
    if (policy->n_own < BK_POLICY_OWN_MAX) {
        policy->own[policy->n_own++] = *addr;
    } else {
        policy->own_unknown = true;
    }
}

static void own_net(struct bk_policy *policy, const struct bk_prefix *net)
{
    if (policy->n_own_nets < BK_POLICY_NETS_MAX) { /* what is left out is refused the sooner */
        policy->own_nets[policy->n_own_nets++] = *net;
    }
}

/* What the host's interfaces have. */
static void host(struct bk_policy *policy)
{
    struct bk_host_addr *addrs = calloc(HOST_ADDRS_MAX, sizeof *addrs);
    size_t n = 0;

    if (addrs == NULL || bk_host_addresses(addrs, HOST_ADDRS_MAX, &n) != BK_OK ||
        n == HOST_ADDRS_MAX) {
        policy->own_unknown = true;
    }
    for (size_t i = 0; i < n; i++) {
        own(policy, &addrs[i].addr);
        own_net(policy, &addrs[i].prefix);
    }
    free(addrs);
}

static void list(const struct bk_prefix_list *in, struct bk_prefix out[BK_POLICY_LIST_MAX],
                 size_t *n)
{
    memcpy(out, in->at, sizeof in->at);
    *n = in->n;
}

void bk_call_part_policy(const struct bk_call_part *p, struct bk_policy *policy)
{
    const uint16_t ports[] = {p->config.server_udp_port, p->config.server_request_port,
                              p->config.server_agent_port};
    struct bk_addr gateways[4];
    size_t n;

    *policy = (struct bk_policy){.n_servers = p->n_servers,
                                 .n_server_ports = sizeof ports / sizeof ports[0]};
    memcpy(policy->servers, p->servers, sizeof p->servers);
    memcpy(policy->server_ports, ports, sizeof ports);
    list(&p->config.allow, policy->allow, &policy->n_allow);
    list(&p->config.deny, policy->deny, &policy->n_deny);
    own(policy, &p->observed);
    n = bk_host_gateways(gateways, sizeof gateways / sizeof gateways[0]);
    for (size_t i = 0; i < n; i++) {
        own(policy, &gateways[i]);
    }
    host(policy);
    if (policy->own_unknown) {
        bk_log(p->log, p->ctx, 0,
               "this host's own addresses are not known, or too many: nothing is dialled");
    }
}
