/* agent.conf: what people write. It holds no secret. No TLS here: the idle part links this. */
#ifndef BK_LIB_AGENT_CONFIG_H
#define BK_LIB_AGENT_CONFIG_H

#include "base/addr.h"
#include "beckon/beckon.h"
#include "core/agent/policy.h"
#include "core/agent/registration.h"
#include "seal/text.h"
#include "wire/attrs.h"
#include "wire/enrol.h"

enum {
    BK_AGENT_SERVICES_MAX = 64,   /* as many as a mask has bits */
    BK_AGENT_ACCESSES_MAX = 8,    /* "owner" included */
    BK_AGENT_USER_BYTES = 33,     /* a login name, with terminator */
    BK_TARGET_MAX_BYTES = 108,    /* as long as a Unix socket path may be */
    BK_AGENT_PORT_DEFAULT = 2000, /* the local UDP port, figure 7A */
};

/* The access of callers who are given no other. */
#define BK_ACCESS_OWNER "owner"

enum bk_target_kind {
    BK_TARGET_TCP,
    BK_TARGET_UNIX,
    BK_TARGET_UDP, /* reached by CONNECT-UDP streams alone */
};

struct bk_service {
    char name[BK_NAME_MAX_BYTES + 1];
    enum bk_target_kind kind;
    char host[BK_TARGET_MAX_BYTES]; /* TCP, UDP: address literal or name; Unix: path */
    uint16_t port;
};

/* One way to be let in: which services, and until when. */
struct bk_access {
    char name[BK_NAME_MAX_BYTES + 1];
    bool listed;        /* "services" was given */
    uint64_t services;  /* bit i: services[i] of the configuration */
    uint64_t expires_s; /* seconds since 1970 from which on it is closed; 0: never */
};

/* Prefixes of one key of [callback]. */
struct bk_prefix_list {
    struct bk_prefix at[BK_POLICY_LIST_MAX];
    size_t n;
};

struct bk_agent_config {
    uint64_t equipment_id;
    char server[BK_HOST_MAX_BYTES +
                1];   /* the first of them; in a call's process: the one that called */
    size_t n_servers; /* 1 to BK_AGENT_SERVERS_MAX, in the order of preference */
    char servers[BK_AGENT_SERVERS_MAX][BK_HOST_MAX_BYTES + 1];
    char user[BK_AGENT_USER_BYTES]; /* to run as; empty: whoever we are */
    uint16_t port;                  /* local UDP port */
    uint16_t server_udp_port;
    uint16_t server_request_port; /* only known, so that no caller has it dialled */
    uint16_t server_agent_port;
    uint32_t keepalive_s;
    uint32_t renew_within_s; /* a hint to renew is followed within; 0: the default */
    size_t n_services;
    struct bk_service services[BK_AGENT_SERVICES_MAX];
    size_t n_accesses;
    struct bk_access accesses[BK_AGENT_ACCESSES_MAX]; /* the first is "owner" */
    struct bk_prefix_list allow, deny;                /* where callers may have us dial */
};

/* Reads and checks `file` (NULL: DIR/agent.conf). NOT_JOINED if there is none, BAD_CONFIG with file and
 * line. */
enum beckon_status bk_agent_config_read(const char *state_dir, const char *file,
                                        struct bk_agent_config *out, struct beckon_error *error);

/* The service with that name, or NULL. */
const struct bk_service *bk_service_find(const struct bk_agent_config *config,
                                         struct bk_slice name);

/* The access with that name, or NULL. */
const struct bk_access *bk_access_find(const struct bk_agent_config *config, struct bk_slice name);

#endif
