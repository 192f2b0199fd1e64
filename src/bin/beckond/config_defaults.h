/* What holds where beckond.conf says nothing; config.c sets it and config_template.c tells it. */
#ifndef BK_BECKOND_CONFIG_DEFAULTS_H
#define BK_BECKOND_CONFIG_DEFAULTS_H

enum {
    BK_CONFIG_DEFAULT_MAX_DEVICES = 1000000,
    BK_CONFIG_DEFAULT_WORKERS_MAX = 16, /* of as many as there are processors */
    BK_CONFIG_DEFAULT_BINDING_PER_SECOND = 10,
    BK_CONFIG_DEFAULT_REQUESTS_PER_SECOND = 20,
    BK_CONFIG_SECOND_UDP_OFFSET = 2, /* udp_port + 2: with the usual ports 1202, next to 1201 */
    BK_CONFIG_DEFAULT_RELAY_FIRST =
        49152, /* the dynamic ports (RFC 6335), as TURN servers use them */
    BK_CONFIG_DEFAULT_RELAY_LAST = 65535,
    BK_CONFIG_DEFAULT_RELAY_USER_ALLOCATIONS = 16,
    BK_CONFIG_DEFAULT_RELAY_ALLOCATIONS = 1000,
};

#endif
