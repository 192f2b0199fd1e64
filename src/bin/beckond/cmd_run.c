/* beckond run: serves in the foreground. */
#include <sys/resource.h>

#include "bin/beckond/cmd.h"
#include "bin/beckond/serve.h"

/* Every connection takes a descriptor. Where the limit cannot be raised, the listener copes. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *file = NULL;
    const struct bk_option options[] = {
        {"--state", &dir, 1, NULL, NULL, true},
        {"--config", &file, 1, NULL, NULL, false},
    };
    struct bk_config config;
    struct bk_serve_start start;
    struct bk_store *store = NULL;
    uint64_t now_s = 0;
    enum beckon_status status = bk_cmd_options(argc, argv, options, 2, NULL, 0);

    if (status == BECKON_OK) {
        status = bk_cmd_clock(&now_s);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_config(dir, file, &config);
    }
    if (status == BECKON_OK) {
        status = bk_cmd_store(dir, &store);
    }
    if (status != BECKON_OK) {
        return status;
    }
    raise_descriptor_limit();
    start =
        (struct bk_serve_start){.dir = dir, .config_file = file, .config = &config, .store = store};
    status = bk_serve(&start);
    bk_store_close(store);
    return status;
}

const struct bk_command bk_cmd_run = {
    .name = "run",
    .summary = "serve, in the foreground",
    .help =
        "usage: beckond run --state DIR [--config FILE]\n\n"
        "Serves until SIGTERM or SIGINT. Says \"ready\" on standard output, and to systemd, once "
        "it\n"
        "serves. Logs to standard error, one line for every call among it. SIGHUP makes it read\n"
        "configuration and certificates again; a bad configuration leaves the old one in force, "
        "and\n"
        "addresses, the server's ports, max_devices, workers, fast_form, user, relay_connect and "
        "a\n"
        "larger relay_allocations take effect with a restart.\n\n"
        "  --config   instead of DIR/beckond.conf\n",
    .run = run,
};
