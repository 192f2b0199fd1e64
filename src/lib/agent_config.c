/* agent.conf and the agent's small state files. Buffers that held keys are wiped on every way out. */
#include "lib/agent_config.h"

#include <string.h>

#include "base/number.h"
#include "base/reader.h"
#include "base/writer.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/ini.h"

static const char file_config[] = "agent.conf";
static const char file_registration[] = "registration.key";
static const char file_box[] = "box.key";
static const char file_clock[] = "clock";

enum {
    REGISTRATION_FILE_BYTES = 4 + 2 + BK_KEY_BYTES,
    KEEPALIVE_MIN_S = 5,
    KEEPALIVE_MAX_S = 60,
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

static bool text_copy(char *out, size_t cap, const char *value)
{
    return value[0] != '\0' && bk_slice_to_text(bk_slice_text(value), out, cap);
}

/* "tcp:HOST:PORT", "tcp:[V6]:PORT" or "unix:/PATH". */
static bool target_read(const char *value, struct bk_service *out)
{
    const char *colon;
    size_t n;

    if (strncmp(value, "unix:", 5) == 0) {
        out->kind = BK_TARGET_UNIX;
        return value[5] == '/' && text_copy(out->host, sizeof out->host, value + 5);
    }
    if (strncmp(value, "tcp:", 4) != 0) {
        return false;
    }
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
    out->kind = BK_TARGET_TCP;
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

static const char *take_agent_key(struct bk_agent_config *config, const char *key,
                                  const char *value)
{
    uint64_t v;

    if (strcmp(key, "id") == 0) {
        return bk_equipment_id_parse(bk_slice_text(value), &config->equipment_id) == BK_OK
                   ? NULL
                   : "not an equipment ID (a decimal number below 2^63)";
    }
    if (strcmp(key, "server") == 0) {
        return text_copy(config->server, sizeof config->server, value) ? NULL : "not a host";
    }
    if (strcmp(key, "port") == 0) {
        return port_read(value, &config->port) ? NULL : "not a port";
    }
    if (strcmp(key, "server_udp_port") == 0) {
        return port_read(value, &config->server_udp_port) ? NULL : "not a port";
    }
    if (strcmp(key, "server_request_port") == 0) {
        return port_read(value, &config->server_request_port) ? NULL : "not a port";
    }
    if (strcmp(key, "server_agent_port") == 0) {
        return port_read(value, &config->server_agent_port) ? NULL : "not a port";
    }
    if (strcmp(key, "keepalive") == 0) {
        if (bk_number_parse(bk_slice_text(value), KEEPALIVE_MAX_S, &v) != BK_OK ||
            v < KEEPALIVE_MIN_S) {
            return "not a number of seconds from 5 to 60";
        }
        config->keepalive_s = (uint32_t)v;
        return NULL;
    }
    return "unknown key";
}

static const char *take_key(void *ctx, const char *section, const char *key, const char *value)
{
    static const char service_prefix[] = "service ";
    struct bk_agent_config *config = ctx;

    if (strcmp(section, "agent") == 0) {
        return take_agent_key(config, key, value);
    }
    if (strncmp(section, service_prefix, sizeof service_prefix - 1) == 0) {
        struct bk_service *service = service_named(config, section + sizeof service_prefix - 1);

        if (service == NULL) {
            return "not a service name (lower-case letters, digits, - _ .), or too many services";
        }
        if (strcmp(key, "target") != 0) {
            return "unknown key";
        }
        return target_read(value, service) ? NULL : "not a target (tcp:HOST:PORT or unix:/PATH)";
    }
    return "unknown section";
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
    };
    if (file == NULL) {
        if (bk_file_path(state_dir, file_config, path) != BK_OK) {
            return bk_fail(error, BECKON_USAGE, "the state directory's name is too long");
        }
        file = path;
    }
    status = bk_ini_read(file, take_key, out, error);
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

/* Reads a file that has exactly n bytes. */
static enum beckon_status read_exactly(const char *dir, const char *name, uint8_t *out, size_t n,
                                       struct beckon_error *error)
{
    size_t got;
    enum bk_err err = bk_file_read(dir, name, out, n, &got);

    if (err == BK_OK && got == n) {
        return BECKON_OK;
    }
    bk_wipe(out, n);
    if (err == BK_E_NOTFOUND) {
        return bk_fail(error, BECKON_NOT_JOINED,
                       "%s/%s is not there; run \"beckon-agent join\" first", dir, name);
    }
    if (err == BK_OK || err == BK_E_NOSPACE) {
        return bk_fail(error, BECKON_BAD_CONFIG, "%s/%s is damaged; join again with a new token",
                       dir, name);
    }
    return bk_fail(error, BECKON_FAILED, "%s/%s cannot be read; check its owner and mode", dir,
                   name);
}

enum beckon_status bk_registration_secret_read(const char *state_dir,
                                               struct bk_registration_secret *out,
                                               struct beckon_error *error)
{
    uint8_t bytes[REGISTRATION_FILE_BYTES];
    enum beckon_status status =
        read_exactly(state_dir, file_registration, bytes, sizeof bytes, error);
    struct bk_reader r = bk_reader(BK_SLICE_OF(bytes));

    if (status != BECKON_OK) {
        return status;
    }
    out->generation = bk_read_u32(&r);
    out->epoch = bk_read_u16(&r);
    bk_read_copy(&r, out->key, sizeof out->key);
    bk_wipe(bytes, sizeof bytes);
    return BECKON_OK;
}

enum bk_err bk_registration_secret_write(const char *state_dir,
                                         const struct bk_registration_secret *in)
{
    uint8_t bytes[REGISTRATION_FILE_BYTES];
    struct bk_writer w = bk_writer(bytes, sizeof bytes);
    enum bk_err err;

    bk_write_u32(&w, in->generation);
    bk_write_u16(&w, in->epoch);
    bk_write_bytes(&w, BK_SLICE_OF(in->key));
    err = bk_file_write(state_dir, file_registration, bk_writer_bytes(&w));
    bk_wipe(bytes, sizeof bytes);
    return err;
}

enum beckon_status bk_box_pair_read(const char *state_dir, struct bk_box_pair *out,
                                    struct beckon_error *error)
{
    uint8_t bytes[2 * BK_KEY_BYTES];
    enum beckon_status status = read_exactly(state_dir, file_box, bytes, sizeof bytes, error);

    if (status != BECKON_OK) {
        return status;
    }
    memcpy(out->public_key, bytes, BK_KEY_BYTES);
    memcpy(out->secret_key, bytes + BK_KEY_BYTES, BK_KEY_BYTES);
    bk_wipe(bytes, sizeof bytes);
    return BECKON_OK;
}

enum bk_err bk_box_pair_write(const char *state_dir, const struct bk_box_pair *in)
{
    uint8_t bytes[2 * BK_KEY_BYTES];
    enum bk_err err;

    memcpy(bytes, in->public_key, BK_KEY_BYTES);
    memcpy(bytes + BK_KEY_BYTES, in->secret_key, BK_KEY_BYTES);
    err = bk_file_write(state_dir, file_box, BK_SLICE_OF(bytes));
    bk_wipe(bytes, sizeof bytes);
    return err;
}

uint64_t bk_stored_time_read(const char *state_dir)
{
    uint8_t text[20];
    uint64_t unix_s;
    size_t n;

    return bk_file_read(state_dir, file_clock, text, sizeof text, &n) == BK_OK &&
                   bk_number_parse(bk_slice(text, n), UINT64_MAX, &unix_s) == BK_OK
               ? unix_s
               : 0;
}

enum bk_err bk_stored_time_write(const char *state_dir, uint64_t unix_s)
{
    char text[21];

    bk_number_format(unix_s, text);
    return bk_file_write(state_dir, file_clock, bk_slice_text(text));
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
