/* One file per subcommand; what they share is here. */
#ifndef BK_BIN_BECKON_COMMAND_H
#define BK_BIN_BECKON_COMMAND_H

#include "bin/common/args.h"
#include "bin/common/options.h"

struct command {
    const char *name;
    const char *usage; /* arguments, for --help */
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand; returns the exit status */
};

int cmd_join(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_pin(int argc, char **argv);
int cmd_connect(int argc, char **argv);
int cmd_forward(int argc, char **argv);
int cmd_ssh(int argc, char **argv);
int cmd_ping(int argc, char **argv);
int cmd_netcheck(int argc, char **argv);
int cmd_socks(int argc, char **argv);

/* For client_open: prints "ready" (forward, socks). */
void say_ready(void *ctx);

/* What every call takes. */
struct call_options {
    const char *state, *listen, *advertise, *password_file, *paths;
    bool accept_new, json, verbose;
};

enum {
    CALL_OPTIONS = 8,
    CALL_OPTIONS_EXTRA = 4,
    PATH_BYTES = 1024,
};

/* Options of a call plus up to one more (`extra`, may be NULL); as bk_options_parse. The state directory is
 * filled in where none was given. */
bool call_options_read(int argc, char **argv, struct call_options *out,
                       const struct bk_option *extra, int *n_rest);

/* The same with several, at most CALL_OPTIONS_EXTRA. */
bool call_options_read_with(int argc, char **argv, struct call_options *out,
                            const struct bk_option *extra, size_t n_extra, int *n_rest);

/* The default state directory, ~/.config/beckon; false (after one line) where there is no home. */
bool default_state(char out[PATH_BYTES]);

/* A client for these options, stopped by SIGINT and SIGTERM; or a status after one line. `ready` may be
 * NULL. `options` must outlive the client. */
enum beckon_status client_open(struct call_options *options, void (*ready)(void *ctx),
                               struct beckon_client **out);

/* Frees the client and reports what `status` and `error` say; having been interrupted by a signal is not
 * worth a line, and counts as success when `interrupt_is_ok`. Returns the exit status. */
int client_close(struct beckon_client *client, enum beckon_status status,
                 const struct beckon_error *error, bool interrupt_is_ok);

#endif
