/* beckon-agent: the daemon on a device. Finds the subcommand; what is more than
 * waiting is left to beckon-agent-call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bin/beckon-agent/command.h"
#include "bin/common/descriptors.h"

static const char help[] =
    "usage: beckon-agent COMMAND --state DIR ...\n"
    "\n"
    "  join --state DIR TOKEN|-         become a device of the server that a token names\n"
    "  passwd --state DIR               set the password that callers must give\n"
    "  passwd --state DIR --access NAME set that of callers with [access NAME]; --config FILE "
    "where\n"
    "                                   that section is not in DIR/agent.conf\n"
    "  run --state DIR [--config FILE]  stay registered and answer calls\n"
    "  uri --state DIR                  print beckon://HOST/ID#FINGERPRINT, for \"beckon pin\"\n"
    "\n"
    "TOKEN - reads the token from standard input. passwd asks for the password, or reads one line\n"
    "of standard input. FILE stands in for DIR/agent.conf. --version tells the version.\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 usage, 8 server down, 9 bad token, 10 token used,\n"
    "12 malformed configuration, 15 not joined, 16 server busy, 18 waiting for the operator to "
    "sign.\n";

/* Replaces this process by beckon-agent-call with the same arguments. */
static int hand_over(char **argv)
{
    char program[PATH_BYTES];

    if (!call_program_find(program)) {
        return BECKON_FAILED;
    }
    argv[0] = program;
    execv(program, argv);
    fprintf(stderr, "beckon-agent: %s: %s; install the package again\n", program, strerror(errno));
    return BECKON_FAILED;
}

/* --help among a command's words. */
static bool asks_for_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    if (argc < 2) {
        return bk_usage("beckon-agent", "a command is missing");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || asks_for_help(argc, argv)) {
        (void)fputs(help, stdout);
        return BECKON_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("beckon-agent " BECKON_VERSION);
        return BECKON_OK;
    }
    if (strcmp(argv[1], "run") == 0) {
        return cmd_run(argc - 1, argv + 1);
    }
    if (strcmp(argv[1], "join") == 0 || strcmp(argv[1], "uri") == 0 ||
        strcmp(argv[1], "passwd") == 0) {
        return hand_over(argv);
    }
    fprintf(stderr, "beckon-agent: unknown command \"%s\"; see beckon-agent --help\n", argv[1]);
    return BECKON_USAGE;
}
