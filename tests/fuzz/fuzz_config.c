/* Any bytes as the files that people write: agent.conf, beckon.conf, known_devices. What is taken is within
 * its limits; what is not is told in one plain line. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "lib/agent_config.h"
#include "lib/client_state.h"

static const char *const names[] = {"agent.conf", "beckon.conf", "known_devices"};
static char dir[] = "/tmp/beckon-fuzz-XXXXXX";
static int file = -1;

static void path_of(const char *name, char out[64])
{
    require(snprintf(out, 64, "%s/%s", dir, name) < 64);
}

static void clean(void)
{
    char path[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(names[i], path);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

/* A folder in which every name leads to the one file in memory. */
static void make_folder(void)
{
    char path[64];
    char target[64];
    require(mkdtemp(dir) != NULL && atexit(clean) == 0);
    file = memfd_create("fuzz", MFD_CLOEXEC);
    require(file >= 0 && snprintf(target, sizeof target, "/proc/self/fd/%d", file) < 64);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(names[i], path);
        require(symlink(target, path) == 0);
    }
}

static void put(const uint8_t *data, size_t size)
{
    size_t done = 0;
    require(ftruncate(file, 0) == 0);
    while (done < size) {
        ssize_t n = pwrite(file, data + done, size - done, (off_t)done);
        require(n > 0);
        done += (size_t)n;
    }
}

static void is_one_line(enum beckon_status status, const struct beckon_error *error)
{
    require(status == BECKON_BAD_CONFIG && error->status == status && error->text[0] != '\0');
    for (const char *c = error->text; *c != '\0'; c++) {
        require((unsigned char)*c >= ' ' && *c != 0x7F);
    }
}

static void as_agent_config(void)
{
    static struct bk_agent_config config;
    struct beckon_error error;
    enum beckon_status status = bk_agent_config_read(dir, NULL, &config, &error);
    if (status != BECKON_OK) {
        is_one_line(status, &error);
        return;
    }
    require(config.equipment_id > 0 && config.equipment_id <= BK_EQUIPMENT_ID_MAX);
    require(config.server[0] != '\0' && strlen(config.server) <= BK_HOST_MAX_BYTES);
    require(config.port != 0 && config.server_udp_port != 0 && config.server_agent_port != 0);
    require(config.keepalive_s == 0 || (config.keepalive_s >= 5 && config.keepalive_s <= 60));
    require(config.n_services <= BK_AGENT_SERVICES_MAX);
    require(strlen(config.user) < BK_AGENT_USER_BYTES && config.renew_within_s <= 30 * 86400);
    require(config.allow.n <= BK_POLICY_LIST_MAX && config.deny.n <= BK_POLICY_LIST_MAX);
    require(config.n_accesses >= 1 && config.n_accesses <= BK_AGENT_ACCESSES_MAX);
    require(strcmp(config.accesses[0].name, BK_ACCESS_OWNER) == 0);
    for (size_t i = 0; i < config.n_accesses; i++) {
        const struct bk_access *a = &config.accesses[i];
        require(bk_name_valid(bk_slice_text(a->name)));
        require(bk_access_find(&config, bk_slice_text(a->name)) == a);
        require(a->listed ? a->services != 0 : a->services == UINT64_MAX);
        require(!a->listed || config.n_services == BK_AGENT_SERVICES_MAX ||
                a->services >> config.n_services == 0);
    }
    for (size_t i = 0; i < config.n_services; i++) {
        const struct bk_service *s = &config.services[i];
        require(bk_name_valid(bk_slice_text(s->name)) && s->host[0] != '\0');
        require(s->kind == BK_TARGET_UNIX ? s->host[0] == '/' : s->port != 0);
        require(bk_service_find(&config, bk_slice_text(s->name)) == s);
    }
}

static void as_client_state(void)
{
    struct bk_client_state state;
    struct beckon_error error;
    /* never BECKON_OK: there are no keys beside it */
    is_one_line(bk_client_state_read(dir, &state, &error), &error);
}

static void as_known_devices(void)
{
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    bool found;
    enum beckon_status status = bk_known_find(dir, 2133, &found, pin, &error);
    if (status != BECKON_OK) {
        is_one_line(status, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (file < 0) {
        make_folder();
    }
    put(data, size);
    as_agent_config();
    as_client_state();
    as_known_devices();
    return 0;
}
