/* The configuration file that init writes. It tells the truth about the defaults: a test reads it back. */
#include <stdio.h>
#include <string.h>

#include "bin/beckond/config.h"
#include "bin/beckond/config_defaults.h"
#include "wire/enrol.h"

/* The numbers are those of config_defaults.h, in this order. */
static const char text[] =
    "# beckond's configuration. Lines that begin with # are comments; a commented setting "
    "shows\n"
    "# its default. SIGHUP makes a running server read this file again.\n"
    "\n"
    "[server]\n"
    "# The name or address under which agents and users find this server. It goes into join\n"
    "# tokens and must be one of those that `beckond init` put into the server's certificate.\n"
    "host = %s\n"
    "\n"
    "# Addresses to listen on; the line may be repeated, up to 5 times. The default takes "
    "IPv4\n"
    "# and IPv6 on every interface. (Ports, addresses: takes effect with a restart.)\n"
    "# listen = ::\n"
    "\n"
    "# UDP: registration and notification; and plain STUN Binding.\n"
    "# udp_port = %d\n"
    "# UDP: plain STUN Binding besides, by which callers find out how their NAT maps and "
    "filters\n"
    "# (RFC 5780). 0 is none. The default is udp_port + 2.\n"
    "# second_udp_port = %d\n"
    "# TCP: users' requests, and joining.\n"
    "# request_port = %d\n"
    "# TCP: agents that have been called, and joining. May be the same as request_port.\n"
    "# agent_port = %d\n"
    "\n"
    "# How many devices may be registered at one time.\n"
    "# (Takes effect with a restart.)\n"
    "# max_devices = %d\n"
    "# How many threads work on datagrams; each has its share of the devices. The default is as "
    "many\n"
    "# as there are processors, and at most %d. (Takes effect with a restart.)\n"
    "# workers: one for each processor\n"
    "\n"
    "# Whether plain STUN Binding requests are answered, and how many a second from one IPv4\n"
    "# address or IPv6 /64 network.\n"
    "# answer_binding = yes\n"
    "# binding_per_second = %d\n"
    "\n"
    "# How many requests (lookups, calls, renewals) a second one user or device may make, and\n"
    "# how many joins may come from one IPv4 address or IPv6 /64 network; ten times as many "
    "in\n"
    "# a burst. 0 is no limit.\n"
    "# requests_per_second = %d\n"
    "\n"
    "# Started by root: the user to become once the sockets are open. The state directory "
    "must\n"
    "# belong to that user. Empty: stays who it is. (Takes effect with a restart.)\n"
    "# user =\n"
    "\n"
    "# The relay (TURN, RFC 8656 and 6062, on the TCP ports above) carries calls that no other "
    "path\n"
    "# carries. What it carries is sealed end to end. relay_ports is where peers connect to; "
    "these\n"
    "# must be reachable from outside.\n"
    "# relay = yes\n"
    "# relay_ports = %d-%d\n"
    "# Behind a NAT: the address under which relay_ports are reached; one IPv4, one IPv6 "
    "address.\n"
    "# relay_address: as clients reach this server\n"
    "# Whether clients may also open connections to others through it (the Connect request;\n"
    "# takes effect with a restart).\n"
    "# relay_connect = no\n"
    "# How many relayed addresses there may be at one time, of one user and in all\n"
    "# (relay_allocations: a larger number takes effect with a restart), and how many bytes a\n"
    "# second are relayed; 0 is no limit.\n"
    "# relay_user_allocations = %d\n"
    "# relay_allocations = %d\n"
    "# relay_user_bytes_per_second = 0\n"
    "# relay_bytes_per_second = 0\n"
    "# Another TURN server, HOST:PORT, to be used in place of this one, and the secret that "
    "it\n"
    "# shares with us (coturn: use-auth-secret, static-auth-secret).\n"
    "# external_relay =\n"
    "# external_relay_secret =\n"
    "\n"
    "# How calls reach a device: by a notification over UDP, in which the sealed request travels "
    "where it\n"
    "# fits. \"no\": the device always comes for the request over TLS. (Takes effect with a "
    "restart.)\n"
    "# fast_form = yes\n";

enum bk_err bk_config_template(const char *host, char *out, size_t cap)
{
    int n;

    if (strlen(host) > BK_CONFIG_HOST_MAX_BYTES) {
        return BK_E_RANGE;
    }
    n = snprintf(out, cap, text, host, BK_SERVER_UDP_PORT,
                 BK_SERVER_UDP_PORT + BK_CONFIG_SECOND_UDP_OFFSET, BK_SERVER_REQUEST_PORT,
                 BK_SERVER_AGENT_PORT, BK_CONFIG_DEFAULT_MAX_DEVICES, BK_CONFIG_DEFAULT_WORKERS_MAX,
                 BK_CONFIG_DEFAULT_BINDING_PER_SECOND, BK_CONFIG_DEFAULT_REQUESTS_PER_SECOND,
                 BK_CONFIG_DEFAULT_RELAY_FIRST, BK_CONFIG_DEFAULT_RELAY_LAST,
                 BK_CONFIG_DEFAULT_RELAY_USER_ALLOCATIONS, BK_CONFIG_DEFAULT_RELAY_ALLOCATIONS);
    return n < 0 || (size_t)n >= cap ? BK_E_NOSPACE : BK_OK;
}
