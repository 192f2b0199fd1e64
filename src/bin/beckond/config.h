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
    BK_CONFIG_TEMPLATE_BYTES = 3072,
    BK_CONFIG_USER_BYTES = 33, /* a user of the system's, with terminator */
};

struct bk_config {
    char host[BK_HOST_MAX_BYTES + 1];            /* under which agents and users find this server */
    struct bk_addr listen[BK_CONFIG_LISTEN_MAX]; /* ports 0 */
    size_t n_listen;
    uint16_t udp_port;
    uint16_t request_port;
    uint16_t agent_port;
    uint64_t max_devices;
    bool answer_binding;
    uint32_t binding_per_second;
    uint32_t requests_per_second; /* of one peer; 0: no limit */
    char user
        [BK_CONFIG_USER_BYTES]; /* whom to become once the sockets are open; empty: nobody else */
};

/* A host name as DNS takes it, or an IP address literal without brackets. */
bool bk_config_host_valid(struct bk_slice host);

/* BK_E_NOTFOUND no such file, BK_E_IO, BK_E_MALFORMED; `why` then says what and where. */
BK_NODISCARD enum bk_err bk_config_load(const char *path, struct bk_config *out,
                                        char why[BK_CONFIG_WHY_BYTES]);

/* The file that `init` writes: the host, and every other setting with its default in a comment. BK_E_RANGE: a
 * host of more than BK_CONFIG_HOST_MAX_BYTES, which could not be read back. BK_E_NOSPACE. */
BK_NODISCARD enum bk_err bk_config_template(const char *host, char *out, size_t cap);

#endif
