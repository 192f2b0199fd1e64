/* beckon-agent-call: started by beckon-agent for what needs TLS, and gone when it is done. With no
 * subcommand it takes one call over the socket inherited as descriptor 3. */
#include <signal.h>
#include <string.h>

#include "bin/beckon-agent/command.h"
#include "bin/common/descriptors.h"

int main(int argc, char **argv)
{
    bk_descriptors_fill();
    (void)signal(SIGPIPE, SIG_IGN); /* a connection that breaks is told by errno */
    if (argc >= 2 && strcmp(argv[1], "join") == 0) {
        return cmd_join(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "uri") == 0) {
        return cmd_uri(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "renew") == 0) {
        return cmd_renew(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "tunnel") == 0) {
        return cmd_tunnel(argc - 1, argv + 1);
    }
    return cmd_call(argc, argv);
}
