/* Filling core/agent/policy.h from the host, its addresses, networks and gateways as they are now, and from agent.conf. */
#include <string.h>

#include "lib/agent_call_private.h"
#include "net/host.h"

static void own(struct bk_policy *policy, const struct bk_addr *addr)
{
    if (policy->n_own < BK_POLICY_ADDRS_MAX) {
        policy->own[policy->n_own++] = *addr;
    }
}

static void list(const struct bk_prefix_list *in, struct bk_prefix out[BK_POLICY_LIST_MAX],
                 size_t *n)
{
    memcpy(out, in->at, sizeof in->at);
    *n = in->n;
}

void bk_call_part_policy(const struct bk_call_part *p, const struct bk_addr *observed,
                         struct bk_policy *policy)
{
    const uint16_t ports[] = {p->config.server_udp_port, p->config.server_request_port,
                              p->config.server_agent_port};
    struct bk_host_addr addrs[BK_POLICY_ADDRS_MAX];
    struct bk_addr gateways[4];
    size_t n;

    *policy =
        (struct bk_policy){.server = p->server, .n_server_ports = sizeof ports / sizeof ports[0]};
    memcpy(policy->server_ports, ports, sizeof ports);
    list(&p->config.allow, policy->allow, &policy->n_allow);
    list(&p->config.deny, policy->deny, &policy->n_deny);
    own(policy, observed);
    n = bk_host_gateways(gateways, sizeof gateways / sizeof gateways[0]);
    for (size_t i = 0; i < n; i++) {
        own(policy, &gateways[i]);
    }
    if (bk_host_addresses(addrs, BK_POLICY_ADDRS_MAX, &n) != BK_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        own(policy, &addrs[i].addr);
        policy->own_nets[policy->n_own_nets++] = addrs[i].prefix;
    }
}
