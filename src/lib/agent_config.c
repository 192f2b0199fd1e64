/* agent.conf: [agent] and [service NAME], and the reading of it all. It is read twice, since an [access NAME] may
 * list services whose sections stand below it. */
#include "lib/agent_config.h"

#include <assert.h>
#include <string.h>

#include "base/number.h"
#include "lib/agent_config_private.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/ini.h"

static const char file_config[] = "agent.conf";

enum {
    KEEPALIVE_MIN_S = 5,
    KEEPALIVE_MAX_S = 60,
    RENEW_WITHIN_MAX_S = 30 * 86400,
};

static bool port_read(const char *value, uint16_t *out)
{
    uint64_t v;

    if (bk_number_parse(bk_slice_text(value), UINT16_MAX, &v) != BK_OK || v == 0) {
        return false;
    }
    *out = (uint16_t)v;
    return true;
}

static bool seconds_read(const char *value, uint64_t min, uint64_t max, uint32_t *out)
{
    uint64_t v;

    if (bk_number_parse(bk_slice_text(value), max, &v) != BK_OK || v < min) {
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

static bool text_copy(char *out, size_t cap, const char *value)
{
    return value[0] != '\0' && bk_slice_to_text(bk_slice_text(value), out, cap);
}

/* "tcp:HOST:PORT", "tcp:[V6]:PORT", the same with "udp:", or "unix:/PATH". */
static bool target_read(const char *value, struct bk_service *out)
{
    const char *colon;
    size_t n;

    if (strncmp(value, "unix:", 5) == 0) {
        out->kind = BK_TARGET_UNIX;
        return value[5] == '/' && text_copy(out->host, sizeof out->host, value + 5);
    }
    if (strncmp(value, "tcp:", 4) != 0 && strncmp(value, "udp:", 4) != 0) {
        return false;
    }
    out->kind = value[0] == 't' ? BK_TARGET_TCP : BK_TARGET_UDP;
    value += 4;
    colon = strrchr(value, ':');
    if (colon == NULL || !port_read(colon + 1, &out->port)) {
        return false;
    }
    n = (size_t)(colon - value);
    if (n >= 2 && value[0] == '[' && value[n - 1] == ']') {
        value++;
        n -= 2;
    }
    return n > 0 && bk_slice_to_text(bk_slice(value, n), out->host, sizeof out->host);
}

static struct bk_service *service_named(struct bk_agent_config *config, const char *name)
{
    struct bk_slice text = bk_slice_text(name);
    struct bk_service *service;

    for (size_t i = 0; i < config->n_services; i++) {
        if (strcmp(config->services[i].name, name) == 0) {
            return &config->services[i];
        }
    }
    if (config->n_services == BK_AGENT_SERVICES_MAX || !bk_name_valid(text)) {
        return NULL;
    }
    service = &config->services[config->n_services++];
    (void)bk_slice_to_text(text, service->name, sizeof service->name);
    return service;
}

/* "HOST, HOST ...": the first is preferred; a further line adds to the list. */
static const char *take_servers(struct bk_agent_config *config, const char *value)
{
    struct bk_slice word;

    while (bk_config_next_word(&value, &word)) {
        if (config->n_servers == BK_AGENT_SERVERS_MAX) {
            return "more than 4 hosts";
        }
        if (word.n == 0 || memchr(word.p, ' ', word.n) != NULL ||
            !bk_slice_to_text(word, config->servers[config->n_servers],
                              sizeof config->servers[config->n_servers])) {
            return "not a host, or a list of hosts with commas";
        }
        for (size_t i = 0; i < config->n_servers; i++) {
            if (strcmp(config->servers[i], config->servers[config->n_servers]) == 0) {
                return "a host comes twice";
            }
        }
        config->n_servers++;
    }
    memcpy(config->server, config->servers[0], sizeof config->server);
    return NULL;
}

/* A port, by its key; NULL for another key. */
static uint16_t *port_named(struct bk_agent_config *config, const char *key)
{
    const struct {
        const char *key;
        uint16_t *port;
    } ports[] = {{"port", &config->port},
                 {"server_udp_port", &config->server_udp_port},
                 {"server_request_port", &config->server_request_port},
                 {"server_agent_port", &config->server_agent_port}};

    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        if (strcmp(key, ports[i].key) == 0) {
            return ports[i].port;
        }
    }
    return NULL;
}

static const char *take_agent_key(struct bk_agent_config *config, const char *key,
                                  const char *value)
{
    uint16_t *port = port_named(config, key);

    assert(config != NULL);
    if (port != NULL) {
        return port_read(value, port) ? NULL : "not a port";
    }
    if (strcmp(key, "id") == 0) {
        return bk_equipment_id_parse(bk_slice_text(value), &config->equipment_id) == BK_OK
                   ? NULL
                   : "not an equipment ID (a decimal number below 2^63)";
    }
    if (strcmp(key, "server") == 0) {
        return take_servers(config, value);
    }
    if (strcmp(key, "user") == 0) {
        return text_copy(config->user, sizeof config->user, value) ? NULL : "not a user";
    }
    if (strcmp(key, "keepalive") == 0) {
        return seconds_read(value, KEEPALIVE_MIN_S, KEEPALIVE_MAX_S, &config->keepalive_s)
                   ? NULL
                   : "not a number of seconds from 5 to 60";
    }
    if (strcmp(key, "renew_within") == 0) {
        return seconds_read(value, 1, RENEW_WITHIN_MAX_S, &config->renew_within_s)
                   ? NULL
                   : "not a number of seconds from 1 to 2592000";
    }
    return "unknown key";
}

static const char *take_service_key(struct bk_agent_config *config, const char *name,
                                    const char *key, const char *value)
{
    struct bk_service *service = service_named(config, name);

    if (service == NULL) {
        return "not a service name (lower-case letters, digits, - _ .), or too many services";
    }
    if (strcmp(key, "target") != 0) {
        return "unknown key";
    }
    return target_read(value, service)
               ? NULL
               : "not a target (tcp:HOST:PORT, udp:HOST:PORT or unix:/PATH)";
}

/* What follows `prefix` in a section's name; NULL if it does not begin so. */
static const char *after(const char *prefix, const char *section)
{
    size_t n = strlen(prefix);

    return strncmp(section, prefix, n) == 0 ? section + n : NULL;
}

/* The first reading: everything but the services of accesses. */
static const char *take_key(void *ctx, const char *section, const char *key, const char *value)
{
    struct bk_agent_config *config = ctx;
    const char *name;

    if (strcmp(section, "agent") == 0) {
        return take_agent_key(config, key, value);
    }
    if (strcmp(section, "callback") == 0) {
        return bk_config_take_callback(config, key, value);
    }
    if ((name = after("service ", section)) != NULL) {
        return take_service_key(config, name, key, value);
    }
    if ((name = after("access ", section)) != NULL) {
        return bk_config_take_access(config, name, key, value);
    }
    return "unknown section";
}

/* The second reading, with every service known. */
static const char *take_services(void *ctx, const char *section, const char *key, const char *value)
{
    const char *name = after("access ", section);

    return name != NULL && strcmp(key, "services") == 0 ? bk_config_take_services(ctx, name, value)
                                                        : NULL;
}

enum beckon_status bk_agent_config_read(const char *state_dir, const char *file,
                                        struct bk_agent_config *out, struct beckon_error *error)
{
    char path[BK_PATH_BYTES];
    enum beckon_status status;

    *out = (struct bk_agent_config){
        .port = BK_AGENT_PORT_DEFAULT,
        .server_udp_port = BK_SERVER_UDP_PORT,
        .server_request_port = BK_SERVER_REQUEST_PORT,
        .server_agent_port = BK_SERVER_AGENT_PORT,
        .n_accesses = 1,
        .accesses = {{.name = BK_ACCESS_OWNER, .services = UINT64_MAX}},
    };
    if (file == NULL) {
        if (bk_file_path(state_dir, file_config, path) != BK_OK) {
            return bk_fail(error, BECKON_USAGE, "the state directory's name is too long");
        }
        file = path;
    }
    status = bk_ini_read(file, take_key, out, error);
    if (status == BECKON_OK) {
        status = bk_ini_read(file, take_services, out, error);
    }
    if (status == BECKON_NOT_JOINED) {
        return bk_fail(error, status, "%s is not there; run \"beckon-agent join\" first", file);
    }
    if (status != BECKON_OK) {
        return status;
    }
    if (out->equipment_id == 0 || out->server[0] == '\0') {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s: [agent] lacks %s; add it", file,
                       out->equipment_id == 0 ? "id" : "server");
    }
    return BECKON_OK;
}

const struct bk_service *bk_service_find(const struct bk_agent_config *config, struct bk_slice name)
{
    for (size_t i = 0; i < config->n_services; i++) {
        if (bk_slice_equal(bk_slice_text(config->services[i].name), name)) {
            return &config->services[i];
        }
    }
    return NULL;
}

const struct bk_access *bk_access_find(const struct bk_agent_config *config, struct bk_slice name)
{
    for (size_t i = 0; i < config->n_accesses; i++) {
        if (bk_slice_equal(bk_slice_text(config->accesses[i].name), name)) {
            return &config->accesses[i];
        }
    }
    return NULL;
}
