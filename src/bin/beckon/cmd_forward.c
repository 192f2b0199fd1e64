/* beckon forward: local listeners that lead to services, until interrupted. */
#include <stdio.h>
#include <string.h>

#include "bin/beckon/command.h"

enum {
    SPECS_MAX = 64,
    SPEC_BYTES = 256,
};

static const char udp_prefix[] = "udp:"; /* as beckon_client_forward has it */

void say_ready(void *ctx)
{
    (void)ctx;
    puts("ready");
    (void)fflush(stdout);
}

/* The TCP ports as given, then those of --udp with the prefix by which the library knows them. -1: too many or too long. */
static int collect(char **words, int n_words, const char *const *udp, size_t n_udp,
                   const char *specs[SPECS_MAX])
{
    static char texts[SPECS_MAX][SPEC_BYTES];

    if (n_words < 0 || (size_t)n_words + n_udp > SPECS_MAX) {
        return -1;
    }
    memcpy(specs, words, (size_t)n_words * sizeof specs[0]);
    for (size_t i = 0; i < n_udp; i++) {
        int n = snprintf(texts[i], SPEC_BYTES, "%s%s", udp_prefix, udp[i]);

        if (n < 0 || n >= SPEC_BYTES) {
            return -1;
        }
        specs[(size_t)n_words + i] = texts[i];
    }
    return n_words + (int)n_udp;
}

int cmd_forward(int argc, char **argv)
{
    static const char *specs[SPECS_MAX];
    const char *udp[SPECS_MAX];
    size_t n_udp = 0;
    const struct bk_option udp_option = {
        .name = "--udp", .values = udp, .max = SPECS_MAX, .count = &n_udp};
    struct call_options options = {0};
    struct beckon_client *client;
    struct beckon_error error;
    enum beckon_status status;
    int n_rest, n_specs;

    if (!call_options_read(argc, argv, &options, &udp_option, &n_rest)) {
        return BECKON_USAGE;
    }
    n_specs = collect(argv + 2, n_rest - 1, udp, n_udp, specs);
    if (n_rest < 1 || n_specs < 1) {
        return bk_usage("beckon", "forward takes DEVICE and one or more of [ADDR:]PORT:SERVICE and "
                                  "--udp [ADDR:]PORT:SERVICE, at most 64");
    }
    status = client_open(&options, say_ready, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    status = beckon_client_forward(client, argv[1], specs, (size_t)n_specs, &error);
    return client_close(client, status, &error, true);
}
