/* beckon-agent run: keeps the device registered and answers calls, in the foreground. */
#include <stdio.h>

#include "bin/beckon-agent/command.h"
#include "bin/common/ready.h"

static void on_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "beckon-agent: %s\n", line);
}

static void on_registered(void *ctx)
{
    (void)ctx;
    if (bk_ready_tell() != BK_OK) {
        fprintf(stderr, "beckon-agent: nobody could be told that we are ready\n");
    }
}

static void stop(void *agent)
{
    beckon_agent_stop(agent);
}

int cmd_run(int argc, char **argv)
{
    const char *config = NULL;
    const struct bk_option extra[] = {{.name = "--config", .values = &config, .max = 1}};
    struct beckon_agent_options options = {
        .confined = 1, .log = on_log, .registered = on_registered};
    struct beckon_agent *agent;
    struct beckon_error error;
    enum beckon_status status;
    char call_program[PATH_BYTES];
    int n_rest;

    if (!agent_options_read(argc, argv, &options.state_dir, extra, 1, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 0) {
        return bk_usage("beckon-agent", "run takes no arguments");
    }
    if (!call_program_find(call_program)) {
        return BECKON_FAILED;
    }
    options.config_file = config;
    options.call_program = call_program;
    status = beckon_agent_new(&options, &agent, &error);
    if (status != BECKON_OK) {
        return bk_report("beckon-agent", &error);
    }
    bk_signals_stop(stop, agent);
    status = beckon_agent_run(agent, &error);
    bk_signals_ignore();
    beckon_agent_free(agent);
    return status == BECKON_OK ? BECKON_OK : bk_report("beckon-agent", &error);
}
