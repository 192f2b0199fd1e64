/* beckon-agent-call: started by beckon-agent for what is more than waiting, and gone when it is done. With no
 * subcommand it takes one call over the socket inherited as descriptor 3. */
#include <signal.h>
#include <string.h>

#include "bin/beckon-agent/command.h"
#include "bin/common/descriptors.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} subcommands[] = {
    {"join", cmd_join},       {"passwd", cmd_passwd},   {"renew", cmd_renew},
    {"resolve", cmd_resolve}, {"sandbox", cmd_sandbox}, {"tunnel", cmd_tunnel},
    {"uri", cmd_uri},
};

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    (void)signal(SIGPIPE, SIG_IGN); /* a connection that breaks is told by errno */
    for (size_t i = 0; argc >= 2 && i < sizeof subcommands / sizeof subcommands[0]; i++) {
        if (strcmp(argv[1], subcommands[i].name) == 0) {
            return subcommands[i].run(argc - 1, argv + 1);
        }
    }
    return cmd_call(argc, argv);
}
