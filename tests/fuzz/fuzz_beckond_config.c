/* Any bytes as beckond.conf. What is taken is within its limits; what is not is told in one plain line that
 * begins with the file's name. And the file that `init` writes is read back, whatever host it is for. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bin/beckond/config.h"
#include "fuzz.h"

static int file = -1;
static char path[64];

static void put(const void *data, size_t size)
{
    size_t done = 0;
    require(ftruncate(file, 0) == 0);
    while (done < size) {
        ssize_t n = pwrite(file, (const char *)data + done, size - done, (off_t)done);
        require(n > 0);
        done += (size_t)n;
    }
}

static bool load(struct bk_config *config)
{
    char why[BK_CONFIG_WHY_BYTES] = "";
    enum bk_err err = bk_config_load(path, config, why);
    if (err == BK_OK) {
        return true;
    }
    require(err == BK_E_MALFORMED && strlen(why) < sizeof why);
    require(strncmp(why, path, strlen(path)) == 0);
    for (const char *c = why; *c != '\0'; c++) {
        require((unsigned char)*c >= ' ' && *c != 0x7F);
    }
    return false;
}

static void as_file(const uint8_t *data, size_t size)
{
    static struct bk_config c;
    put(data, size);
    if (!load(&c)) {
        return;
    }
    require(bk_config_host_valid(bk_slice_text(c.host)));
    require(c.n_listen >= 1 && c.n_listen <= BK_CONFIG_LISTEN_MAX);
    for (size_t i = 0; i < c.n_listen; i++) {
        require(c.listen[i].port == 0);
    }
    require(c.udp_port != 0 && c.request_port != 0 && c.agent_port != 0);
    require(c.max_devices >= 1 && c.max_devices <= 16777214);
    require(c.binding_per_second >= 1 && c.binding_per_second <= 1000000);
    require(c.requests_per_second <= 1000000);
    require(strlen(c.user) < sizeof c.user && c.user[0] != '-' && strpbrk(c.user, " /;\t") == NULL);
}

static void as_host(const uint8_t *data, size_t size)
{
    static struct bk_config c;
    char host[BK_HOST_MAX_BYTES + 1];
    char text[BK_CONFIG_TEMPLATE_BYTES];
    if (!bk_config_host_valid(bk_slice(data, size))) {
        return;
    }
    require(bk_slice_to_text(bk_slice(data, size), host, sizeof host) && host[0] != '\0');
    if (size > BK_CONFIG_HOST_MAX_BYTES) {
        require(bk_config_template(host, text, sizeof text) == BK_E_RANGE);
        return;
    }
    require(bk_config_template(host, text, sizeof text) == BK_OK);
    put(text, strlen(text));
    require(load(&c) && strcmp(c.host, host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (file < 0) {
        file = memfd_create("fuzz", MFD_CLOEXEC);
        require(file >= 0 && snprintf(path, sizeof path, "/proc/self/fd/%d", file) < 64);
    }
    as_file(data, size);
    as_host(data, size);
    return 0;
}
