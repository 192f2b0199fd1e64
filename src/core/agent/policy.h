/* Which addresses a device may dial when a caller asks it to: a device must never become a scanner or
 * a reflector. Refused: everything but global and private scope in every spelling; its own addresses;
 * its gateway, inside and outside; ports below 1024 except 443; the server's service ports, but for 443, where its relay is; private
 * addresses unless inside a prefix of one of its own interfaces. Lists of the device's owner deny more, or
 * narrow it down to prefixes in which private addresses need not be its own network's; they lift nothing else. */
#ifndef BK_CORE_AGENT_POLICY_H
#define BK_CORE_AGENT_POLICY_H

#include "base/addr.h"

enum {
    BK_POLICY_NETS_MAX = 32,
    BK_POLICY_OWN_MAX = 64,
    BK_POLICY_SERVERS_MAX = 4,
    BK_POLICY_PORTS_MAX = 8,
    BK_POLICY_LIST_MAX = 16,
};

struct bk_policy {
    struct bk_prefix own_nets[BK_POLICY_NETS_MAX]; /* prefixes of its interfaces */
    size_t n_own_nets;
    struct bk_addr own[BK_POLICY_OWN_MAX]; /* its addresses, gateways and observed address */
    size_t n_own;
    bool own_unknown; /* there may be more of these: nothing is dialled */
    struct bk_addr servers[BK_POLICY_SERVERS_MAX]; /* the server's; only the addresses count */
    size_t n_servers;
    uint16_t server_ports[BK_POLICY_PORTS_MAX];
    size_t n_server_ports;
    /* Where there are any, nothing outside them; an address with an IPv4 address inside needs both in them. */
    struct bk_prefix allow[BK_POLICY_LIST_MAX];
    size_t n_allow;
    struct bk_prefix deny[BK_POLICY_LIST_MAX]; /* nothing inside them, whatever else says */
    size_t n_deny;
};

/* For the device's own log; never told to a caller. */
enum bk_policy_verdict {
    BK_POLICY_ALLOWED,
    BK_POLICY_SCOPE,
    BK_POLICY_OWN,
    BK_POLICY_PORT,
    BK_POLICY_SERVER,
    BK_POLICY_PRIVATE,
    BK_POLICY_LISTED, /* denied by the device's own lists, or not among those allowed */
};
enum bk_policy_verdict bk_policy_check(const struct bk_policy *policy,
                                       const struct bk_addr *target);

#endif
