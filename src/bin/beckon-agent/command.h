/* One file per subcommand. beckon-agent carries what waiting takes and no more: the rest (join, uri, passwd,
 * renewals, names, and every call) is done by beckon-agent-call, the second executable of the package. */
#ifndef BK_BIN_AGENT_COMMAND_H
#define BK_BIN_AGENT_COMMAND_H

#include "bin/common/args.h"
#include "bin/common/options.h"

enum {
    PATH_BYTES = 1024,
};

/* channel.c, of what beckon-agent starts by itself */
enum {
    CHANNEL_FD = 3, /* a socket to beckon-agent */
};
bool channel_is_there(void);
int channel_missed(void); /* says so in a line; returns the exit status */
void channel_log(void *ctx, int level, const char *line);

/* Of beckon-agent. argv[0] is the subcommand; they return the exit status. */
int cmd_run(int argc, char **argv);

/* Of beckon-agent-call. */
int cmd_join(int argc, char **argv);
int cmd_uri(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_renew(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_tunnel(int argc, char **argv);
int cmd_call(int argc, char **argv);

/* Options --state (required) and those of `extra`; false after one line. */
bool agent_options_read(int argc, char **argv, const char **state, const struct bk_option *extra,
                        size_t n_extra, int *n_rest);

/* Where beckon-agent-call is: beside this program (a build), in ../libexec/beckon (an installation, wherever
 * it lies), or where it was meant to be installed. False after one line. */
bool call_program_find(char out[PATH_BYTES]);

#endif
