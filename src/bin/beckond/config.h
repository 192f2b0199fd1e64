/* beckond.conf: INI, one section [server]. Reading is strict: what is not understood is an error that
 * names file and line, so that a typing mistake never passes for a default. */
#ifndef BK_BECKOND_CONFIG_H
#define BK_BECKOND_CONFIG_H

#include "base/addr.h"
#include "seal/text.h"

enum {
    BK_CONFIG_LISTEN_MAX = 5,       /* times three ports stays within what a listener takes */
    BK_CONFIG_LINE_MAX_BYTES = 180, /* inih would cut longer lines in two */
    BK_CONFIG_HOST_MAX_BYTES = BK_CONFIG_LINE_MAX_BYTES - 8, /* "host = ", and the line's end */
    BK_CONFIG_WHY_BYTES = 512,
    BK_CONFIG_WORKERS_MAX = 64,
    BK_CONFIG_TEMPLATE_BYTES = 8192,
    BK_CONFIG_SECRET_BYTES = 129,
    BK_CONFIG_USER_BYTES = 33, /* a user of the system's, with terminator */
};

struct bk_config {
    char host[BK_HOST_MAX_BYTES + 1];            /* under which agents and users find this server */
    struct bk_addr listen[BK_CONFIG_LISTEN_MAX]; /* ports 0 */
    size_t n_listen;
    uint16_t udp_port;
    uint16_t request_port;
    uint16_t agent_port;
    /* Plain Binding besides on this UDP port, so that callers can tell how their NAT maps and filters; 0: not. */
    uint16_t second_udp_port;
    /* The relay of this server itself (RFC 6062), on the two TCP ports above. */
    bool relay;
    uint16_t relay_first_port, relay_last_port; /* where its relayed addresses lie */
    /* Under which peers reach these, where a NAT stands before this server; port 0: as clients reach it. */
    struct bk_addr relay_address4, relay_address6;
    bool relay_connect; /* clients may also connect to peers through it */
    uint32_t relay_user_allocations, relay_allocations; /* at a time: of one user, in all */
    uint64_t relay_user_bytes_per_s, relay_bytes_per_s; /* 0: no limit */
    /* Another relay, HOST:PORT, that takes credentials made with that secret (coturn: static-auth-secret); empty: none.
     * It is offered in place of our own. */
    char external_relay[BK_HOST_MAX_BYTES + 8];
    char external_relay_secret[BK_CONFIG_SECRET_BYTES];
    uint64_t max_devices;
    uint32_t workers; /* threads for datagrams of one address; 0: as many as there are processors */
    bool fast_form;   /* calls travel inside the notification where they fit */
    bool answer_binding;
    uint32_t binding_per_second;
    uint32_t requests_per_second; /* of one peer; 0: no limit */
    char user
        [BK_CONFIG_USER_BYTES]; /* whom to become once the sockets are open; empty: nobody else */
};

/* A host name as DNS takes it, or an IP address literal without brackets. */
bool bk_config_host_valid(struct bk_slice host);

/* HOST:PORT, an IPv6 address in brackets (`host` is it without them). */
bool bk_config_host_port(struct bk_slice text, struct bk_slice *host, uint16_t *port);

/* BK_E_NOTFOUND no such file, BK_E_IO, BK_E_MALFORMED; `why` then says what and where. */
BK_NODISCARD enum bk_err bk_config_load(const char *path, struct bk_config *out,
                                        char why[BK_CONFIG_WHY_BYTES]);

/* The file that `init` writes: the host, and every other setting with its default in a comment. BK_E_RANGE: a
 * host of more than BK_CONFIG_HOST_MAX_BYTES, which could not be read back. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_config_template(const char *host, char *out, size_t cap);

#endif
