/* beckon: what a person runs to reach a device. Finds the subcommand and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bin/beckon/command.h"
#include "bin/common/descriptors.h"

static const struct command commands[] = {
    {"join", "[--state DIR] TOKEN|-", "become a user of the server that a token names", cmd_join},
    {"key", "[--state DIR]", "print your own key, as a line for a device's authorized_users",
     cmd_key},
    {"pin", "[--state DIR] [--replace] URI",
     "take a device's fingerprint from its beckon:// URI; --replace: also in another's place",
     cmd_pin},
    {"connect", "[OPTIONS] DEVICE [SERVICE]",
     "join standard input and output to a service (ssh, if none is named)", cmd_connect},
    {"forward", "[OPTIONS] DEVICE [--udp] [ADDR:]PORT:SERVICE ...",
     "local ports that lead to services; --udp before each that is for UDP", cmd_forward},
    {"socks", "[OPTIONS] DEVICE [[ADDR:]PORT]",
     "a local SOCKS5 port (127.0.0.1:1080); its clients name a service as the host", cmd_socks},
    {"ssh", "[OPTIONS] [USER@]DEVICE [-- SSH ARGUMENTS]", "log in by ssh", cmd_ssh},
    {"ping", "[OPTIONS] DEVICE [-c N] [--html FILE]",
     "N round trips (3), where the time of a call went, and what came of every address tried;\n"
     "           --html: drawn on a page of its own",
     cmd_ping},
    {"netcheck", "[OPTIONS]", "what this network allows, and what that means for a call",
     cmd_netcheck},
};

static const char options_help[] =
    "\n"
    "DEVICE is an equipment ID or a device's name. TOKEN - reads the token from standard input.\n"
    "OPTIONS:\n"
    "  --state DIR             state directory (default ~/.config/beckon)\n"
    "  --listen [ADDR]:PORT    take the device's connection on this port\n"
    "  --advertise ADDR:PORT   what leads there from outside, mapped by hand in the router\n"
    "  --path KIND,...         meet only this way: host, mapped, punched, relayed (for tests)\n"
    "  --accept-new            accept a device's key, or its name, at first contact unasked\n"
    "  --password-file FILE    the device's password (else BECKON_PASSWORD, else the key of\n"
    "                          \"beckon key\", else a question)\n"
    "  --json                  print results as JSON (ping, netcheck)\n"
    "  -v                      say what happens, and which path won\n"
    "\n"
    "\"beckon COMMAND --help\" shows one command alone; --version tells the version.\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 usage, 3 unknown device, 4 offline, 5 password or key\n"
    "refused, 6 no way to meet works, 7 no address to be met at, 8 server down, 9 bad token,\n"
    "10 token used, 11 device key changed or not accepted, 12 malformed configuration or state,\n"
    "13 revoked, 14 no such service, 15 not joined, 16 busy, 17 interrupted, 18 certificate yet\n"
    "to be signed.\n";

static void help(void)
{
    printf("usage: beckon COMMAND ...\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        printf("  %-8s %s\n           %s\n", commands[i].name, commands[i].usage,
               commands[i].summary);
    }
    (void)fputs(options_help, stdout);
}

/* --help among a command's words; what follows "--" is another program's. */
static bool asks_for_help(int argc, char **argv)
{
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    (void)signal(SIGPIPE, SIG_IGN); /* a connection or pipe that breaks is told by errno */
    if (argc < 2) {
        return bk_usage("beckon", "a command is missing");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help();
        return BECKON_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("beckon " BECKON_VERSION);
        return BECKON_OK;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) {
            continue;
        }
        if (asks_for_help(argc, argv)) {
            printf("usage: beckon %s %s\n%s\n%s", commands[i].name, commands[i].usage,
                   commands[i].summary, options_help);
            return BECKON_OK;
        }
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "beckon: unknown command \"%s\"; see beckon --help\n", argv[1]);
    return BECKON_USAGE;
}
