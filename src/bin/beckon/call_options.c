/* Options, passwords and questions that all calls have in common. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckon/command.h"

static const char program[] = "beckon";

bool default_state(char out[PATH_BYTES])
{
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int n;

    if (config != NULL && config[0] == '/') {
        n = snprintf(out, PATH_BYTES, "%s/beckon", config);
    } else if (home != NULL && home[0] == '/') {
        n = snprintf(out, PATH_BYTES, "%s/.config/beckon", home);
    } else {
        n = -1;
    }
    if (n < 0 || n >= PATH_BYTES) {
        fprintf(stderr, "%s: no home directory; give --state\n", program);
        return false;
    }
    return true;
}

bool call_options_read(int argc, char **argv, struct call_options *out,
                       const struct bk_option *extra, int *n_rest)
{
    size_t n_extra = extra == NULL ? 0 : 1;

    return call_options_read_with(argc, argv, out, extra, n_extra, n_rest);
}

bool call_options_read_with(int argc, char **argv, struct call_options *out,
                            const struct bk_option *extra, size_t n_extra, int *n_rest)
{
    static char state[PATH_BYTES];
    struct bk_option options[CALL_OPTIONS + CALL_OPTIONS_EXTRA] = {
        {.name = "--state", .values = &out->state, .max = 1},
        {.name = "--listen", .values = &out->listen, .max = 1},
        {.name = "--advertise", .values = &out->advertise, .max = 1},
        {.name = "--password-file", .values = &out->password_file, .max = 1},
        {.name = "--path", .values = &out->paths, .max = 1},
        {.name = "--accept-new", .flag = &out->accept_new},
        {.name = "--json", .flag = &out->json},
        {.name = "-v", .flag = &out->verbose},
    };

    assert(n_extra <= CALL_OPTIONS_EXTRA);
    for (size_t i = 0; i < n_extra; i++) {
        options[CALL_OPTIONS + i] = extra[i];
    }
    if (bk_options_parse(program, argc, argv, options, CALL_OPTIONS + n_extra, n_rest) !=
        BECKON_OK) {
        return false;
    }
    if (out->state == NULL) {
        if (!default_state(state)) {
            return false;
        }
        out->state = state;
    }
    return true;
}

static int password_from_file(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int n;

    if (fd < 0) {
        return -1;
    }
    n = bk_secret_from_file(fd, out, cap);
    close(fd);
    return n;
}

static int on_password(void *ctx, const char *device, char *out, size_t cap)
{
    const struct call_options *options = ctx;
    const char *env = getenv("BECKON_PASSWORD");
    char prompt[96];

    if (options->password_file != NULL) {
        return password_from_file(options->password_file, out, cap);
    }
    if (env != NULL) {
        size_t n = strlen(env);

        if (n > cap) {
            return -1;
        }
        memcpy(out, env, n);
        return (int)n;
    }
    snprintf(prompt, sizeof prompt, "Password of device %s: ", device);
    return bk_secret_from_terminal(prompt, out, cap);
}

static int on_confirm(void *ctx, const char *device, const char *fingerprint)
{
    char question[384];

    (void)ctx;
    snprintf(question, sizeof question,
             "Device %s is called for the first time from here. Its key has the fingerprint\n"
             "  %s\n"
             "(\"beckon-agent uri\" on the device shows it too). Is it the right one? (yes/no) ",
             device, fingerprint);
    return bk_confirm_on_terminal(question);
}

static void on_log(void *ctx, int level, const char *line)
{
    const struct call_options *options = ctx;

    if (level == 0 || options->verbose) {
        fprintf(stderr, "%s: %s\n", program, line);
    }
}

static void stop(void *client)
{
    beckon_client_stop(client);
}

enum beckon_status client_open(struct call_options *options, void (*ready)(void *ctx),
                               struct beckon_client **out)
{
    struct beckon_client_options client = {
        .state_dir = options->state,
        .listen = options->listen,
        .advertise = options->advertise,
        .paths = options->paths,
        .password_first = options->password_file != NULL || getenv("BECKON_PASSWORD") != NULL,
        .accept_new = options->accept_new,
        .password = on_password,
        .confirm = on_confirm,
        .log = on_log,
        .ready = ready,
        .ctx = options,
    };
    struct beckon_error error;
    enum beckon_status status;

    if (options->password_file != NULL && access(options->password_file, R_OK) != 0) {
        fprintf(stderr, "%s: --password-file %s: %s\n", program, options->password_file,
                strerror(errno));
        return BECKON_FAILED;
    }
    status = beckon_client_new(&client, out, &error);
    if (status != BECKON_OK) {
        bk_report(program, &error);
        return status;
    }
    bk_signals_stop(stop, *out);
    return BECKON_OK;
}

int client_close(struct beckon_client *client, enum beckon_status status,
                 const struct beckon_error *error, bool interrupt_is_ok)
{
    /* A second signal during the clean-up must not touch the client any more. */
    bk_signals_ignore();
    beckon_client_free(client);
    if (status == BECKON_INTERRUPTED) { /* who sent the signal knows; ssh ends its proxies so */
        return interrupt_is_ok ? BECKON_OK : BECKON_INTERRUPTED;
    }
    return status == BECKON_OK ? BECKON_OK : bk_report(program, error);
}
