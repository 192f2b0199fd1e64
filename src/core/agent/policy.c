/* Decides whether one address may be dialled. Looks at addresses only: keeps nothing, asks nobody.
 *
 * Every comparison is made with the address as written and with the IPv4 address inside it, if there
 * is one: another spelling opens no door. */
#include "core/agent/policy.h"

enum {
    PRIVILEGED_PORTS_END = 1024,
    /* The one port below that a caller behind a strict firewall may need; at the server, its relay's too. */
    HTTPS_PORT = 443,
};

/* The two addresses of an IPv4 network that reach all of its hosts. */
static bool is_broadcast_of(const struct bk_prefix *net, const struct bk_addr *a)
{
    if (!bk_addr_is_v4(a) || net->bits < 96 || net->bits > 126 || !bk_prefix_contains(net, a)) {
        return false;
    }
    bool ones = true;
    bool zeros = true;
    for (unsigned bit = net->bits; bit < 128; bit++) {
        bool set = (a->ip[bit / 8] >> (7 - bit % 8) & 1) != 0;
        ones = ones && set;
        zeros = zeros && !set;
    }
    return ones || zeros;
}

static bool has_port(const struct bk_policy *policy, uint16_t port)
{
    for (size_t i = 0; i < policy->n_server_ports; i++) {
        if (policy->server_ports[i] == port) {
            return true;
        }
    }
    return false;
}

static bool is_server(const struct bk_policy *policy, const struct bk_addr *target)
{
    for (size_t i = 0; i < policy->n_servers; i++) {
        if (bk_addr_same_ip(&policy->servers[i], target)) {
            return true;
        }
    }
    return false;
}

/* IPv4 by IPv4 prefixes, IPv6 by IPv6 ones: ::/0 means no IPv4 address, though all are written inside it. */
static bool listed(const struct bk_prefix *list, size_t n, const struct bk_addr *target)
{
    for (size_t i = 0; i < n; i++) {
        if (bk_prefix_contains(&list[i], target) &&
            (list[i].bits >= 96 || !bk_addr_is_v4(target))) {
            return true;
        }
    }
    return false;
}

static enum bk_policy_verdict check_spelling(const struct bk_policy *policy,
                                             const struct bk_addr *target)
{
    if (listed(policy->deny, policy->n_deny, target)) {
        return BK_POLICY_LISTED;
    }
    bool in_own_net = false;
    for (size_t i = 0; i < policy->n_own_nets; i++) {
        if (is_broadcast_of(&policy->own_nets[i], target)) {
            return BK_POLICY_SCOPE;
        }
        in_own_net = in_own_net || bk_prefix_contains(&policy->own_nets[i], target);
    }
    for (size_t i = 0; i < policy->n_own; i++) {
        if (bk_addr_same_ip(&policy->own[i], target)) {
            return BK_POLICY_OWN;
        }
    }
    if (is_server(policy, target) && target->port != HTTPS_PORT && has_port(policy, target->port)) {
        return BK_POLICY_SERVER;
    }
    if (policy->n_allow > 0) {
        return listed(policy->allow, policy->n_allow, target) ? BK_POLICY_ALLOWED
                                                              : BK_POLICY_LISTED;
    }
    if (bk_addr_scope(target) == BK_SCOPE_PRIVATE && !in_own_net) {
        return BK_POLICY_PRIVATE;
    }
    return BK_POLICY_ALLOWED;
}

enum bk_policy_verdict bk_policy_check(const struct bk_policy *policy, const struct bk_addr *target)
{
    enum bk_addr_scope scope = bk_addr_scope(target);
    if (scope != BK_SCOPE_GLOBAL && scope != BK_SCOPE_PRIVATE) {
        return BK_POLICY_SCOPE;
    }
    if (target->port == 0 || (target->port < PRIVILEGED_PORTS_END && target->port != HTTPS_PORT)) {
        return BK_POLICY_PORT;
    }
    if (policy->own_unknown) {
        return BK_POLICY_OWN;
    }
    struct bk_addr inner;
    if (bk_addr_inner_v4(target, &inner)) {
        enum bk_policy_verdict verdict = check_spelling(policy, &inner);
        if (verdict != BK_POLICY_ALLOWED) {
            return verdict;
        }
    }
    return check_spelling(policy, target);
}
