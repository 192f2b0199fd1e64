/* agent.conf, and the small state files that both parts of the agent read. No TLS here: the idle part
 * links this. */
#ifndef BK_LIB_AGENT_CONFIG_H
#define BK_LIB_AGENT_CONFIG_H

#include "beckon/beckon.h"
#include "seal/seal.h"
#include "seal/text.h"
#include "wire/attrs.h"
#include "wire/enrol.h"

enum {
    BK_AGENT_SERVICES_MAX = 64,
    BK_TARGET_MAX_BYTES = 108,    /* as long as a Unix socket path may be */
    BK_AGENT_PORT_DEFAULT = 2000, /* the local UDP port, figure 7A */
};

enum bk_target_kind {
    BK_TARGET_TCP,
    BK_TARGET_UNIX,
};

struct bk_service {
    char name[BK_NAME_MAX_BYTES + 1];
    enum bk_target_kind kind;
    char host[BK_TARGET_MAX_BYTES]; /* TCP: address literal or name; Unix: path */
    uint16_t port;
};

struct bk_agent_config {
    uint64_t equipment_id;
    char server[BK_HOST_MAX_BYTES + 1];
    uint16_t port; /* local UDP port */
    uint16_t server_udp_port;
    uint16_t server_request_port; /* only known, so that no caller has it dialled */
    uint16_t server_agent_port;
    uint32_t keepalive_s;
    size_t n_services;
    struct bk_service services[BK_AGENT_SERVICES_MAX];
};

/* Reads and checks `file` (NULL: DIR/agent.conf). NOT_JOINED if there is none, BAD_CONFIG with file and
 * line. */
enum beckon_status bk_agent_config_read(const char *state_dir, const char *file,
                                        struct bk_agent_config *out, struct beckon_error *error);

/* DIR/registration.key: what ENROL gave the device to register with. */
struct bk_registration_secret {
    uint32_t generation;
    uint16_t epoch;
    uint8_t key[BK_KEY_BYTES];
};
enum beckon_status bk_registration_secret_read(const char *state_dir,
                                               struct bk_registration_secret *out,
                                               struct beckon_error *error);
BK_NODISCARD enum bk_err bk_registration_secret_write(const char *state_dir,
                                                      const struct bk_registration_secret *in);

/* DIR/box.key: public key, then secret key. */
enum beckon_status bk_box_pair_read(const char *state_dir, struct bk_box_pair *out,
                                    struct beckon_error *error);
BK_NODISCARD enum bk_err bk_box_pair_write(const char *state_dir, const struct bk_box_pair *in);

/* DIR/clock: the newest server time that was authenticated, for devices without a clock of their own; 0 if
 * none was stored. */
uint64_t bk_stored_time_read(const char *state_dir);
BK_NODISCARD enum bk_err bk_stored_time_write(const char *state_dir, uint64_t unix_s);

/* The service with that name, or NULL. */
const struct bk_service *bk_service_find(const struct bk_agent_config *config,
                                         struct bk_slice name);

#endif
