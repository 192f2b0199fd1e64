/* beckond: the server. Finds the subcommand and runs it; the rest is in cmd_*.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bin/beckond/cmd.h"
#include "bin/beckond/say.h"
#include "bin/common/descriptors.h"
#include "seal/seal.h"

static const struct bk_command *const commands[] = {
    &bk_cmd_init,    &bk_cmd_run,    &bk_cmd_token, &bk_cmd_devices, &bk_cmd_grant,
    &bk_cmd_ungrant, &bk_cmd_revoke, &bk_cmd_epoch, &bk_cmd_sign,
};

enum {
    N_COMMANDS = sizeof commands / sizeof commands[0],
};

static void print_help(void)
{
    (void)printf("usage: beckond COMMAND --state DIR ...\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        (void)printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)printf("\n\"beckond COMMAND --help\" says more; --version tells the version.\n"
                 "\n"
                 "Exit status: 0 done, 1 failed, 2 usage, 12 malformed configuration or state.\n");
}

static bool asks(const char *arg, const char *long_form, const char *short_form)
{
    return strcmp(arg, long_form) == 0 || strcmp(arg, short_form) == 0;
}

/* Output that could not be written (a full disk, a closed pipe) is a failure. */
static int finish(enum beckon_status status)
{
    if (fflush(stdout) != 0 && status == BECKON_OK) {
        bk_say("standard output cannot be written; nothing else went wrong");
        return BECKON_FAILED;
    }
    return (int)status;
}

static int run(const struct bk_command *command, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (asks(argv[i], "--help", "-h")) {
            (void)printf("%s", command->help);
            return finish(BECKON_OK);
        }
    }
    if (bk_seal_init() != BK_OK) {
        bk_say("libsodium cannot start; the system's random generator may be missing");
        return BECKON_FAILED;
    }
    return finish(command->run(argc, argv));
}

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    (void)umask(077); /* every file of ours holds, or leads to, keys */
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        bk_say("a command is missing; beckond --help lists them");
        return BECKON_USAGE;
    }
    if (asks(argv[1], "--help", "-h")) {
        print_help();
        return finish(BECKON_OK);
    }
    if (asks(argv[1], "--version", "-V")) {
        (void)printf("beckond %s\n", BECKON_VERSION);
        return finish(BECKON_OK);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i]->name) == 0) {
            return run(commands[i], argc - 1, argv + 1);
        }
    }
    char shown[128];
    bk_say_escape(bk_slice_text(argv[1]), shown, sizeof shown);
    bk_say("there is no command %s; beckond --help lists them", shown);
    return BECKON_USAGE;
}
