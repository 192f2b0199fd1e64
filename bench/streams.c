/* Load for forwarders and relays: TCP connections through them, filled from one end and emptied at the other (streams/ends.h).
 *
 *   streams pair CONNECT LISTEN[@PID] REST                        a pair of forwarders
 *   streams relay ADDRESS PORT USERNAME PASSWORD OWN-ADDRESS REST   a TURN relay (streams/turn.h)
 *   REST: COUNT up|down WARM_MS MEASURE_MS CPU_OUTER CPU_INNER [PID ...]
 *
 * Pair: ports of 127.0.0.1, the second in the network namespace of that process. Outer ends are those that connect to the pair,
 * or the relay's client's; up is from them to the inner ones. The processes' time is counted. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "streams/ends.h"
#include "streams/turn.h"

enum {
    CONNECT_TRIES = 500,
    TRY_MS = 10,
    PAIR_WORDS = 2,
    RELAY_WORDS = 5,
    REST_WORDS = 6,
};

/* ---- Connections ---- */

static struct sockaddr_in address(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* A socket belongs to the namespace that it was made in. */
static int socket_in(const char *pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/ns/net", strtol(pid, NULL, 10));
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(path, O_RDONLY | O_CLOEXEC);
    if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) {
        die(path);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (setns(here, CLONE_NEWNET) != 0) {
        die("back again");
    }
    close(here);
    close(there);
    return fd;
}

static int listen_on(const char *where, int n)
{
    struct sockaddr_in at = address(where);
    const char *pid = strchr(where, '@');
    int on = 1,
        fd = pid != NULL ? socket_in(pid + 1) : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    set_buffers(fd, n);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, ENDS_MAX) != 0) {
        die("listening");
    }
    return fd;
}

static int connect_to(const char *port, int n)
{
    const struct timespec pause = {.tv_nsec = TRY_MS * 1000000L};
    struct sockaddr_in at = address(port);
    for (int i = 0; i < CONNECT_TRIES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        set_buffers(fd, n);
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
            return fd;
        }
        close(fd);
        (void)nanosleep(&pause, NULL);
    }
    die("connecting");
    return -1;
}

/* One after the other: what a forwarder accepts comes out before the next one goes in. */
static void connect_by_pair(char **ports, int n, int *outer, int *inner)
{
    int listener = listen_on(ports[1], n);
    for (int i = 0; i < n; i++) {
        outer[i] = connect_to(ports[0], n);
        inner[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (inner[i] < 0) {
            die("accepting");
        }
        check_way(outer[i], inner[i]);
    }
}

int main(int argc, char **argv)
{
    static struct ends ends;
    bool relay = argc > 1 && strcmp(argv[1], "relay") == 0;
    int first = 2 + (relay ? RELAY_WORDS : PAIR_WORDS);
    char **rest = argv + first;
    if (argc < first + REST_WORDS || argc > first + REST_WORDS + ENDS_PIDS_MAX ||
        (!relay && strcmp(argv[1], "pair") != 0)) {
        (void)fprintf(stderr,
                      "streams pair CONNECT LISTEN[@PID] REST\n"
                      "streams relay ADDRESS PORT USERNAME PASSWORD OWN-ADDRESS REST\n"
                      "REST: COUNT up|down WARM_MS MEASURE_MS CPU_OUTER CPU_INNER [PID ...]\n");
        return 2;
    }
    ends.n = (int)strtol(rest[0], NULL, 10);
    if (ends.n < 1 || ends.n > ENDS_MAX) {
        return 2;
    }
    bool up = strcmp(rest[1], "up") == 0;
    struct end *outer = up ? &ends.from : &ends.to, *inner = up ? &ends.to : &ends.from;
    ends.warm_ms = strtol(rest[2], NULL, 10);
    ends.measure_ms = strtol(rest[3], NULL, 10);
    outer->cpu = (int)strtol(rest[4], NULL, 10);
    inner->cpu = (int)strtol(rest[5], NULL, 10);
    ends.pids = rest + REST_WORDS;
    ends.n_pids = argc - first - REST_WORDS;
    if (relay) {
        connect_by_relay(argv + 2, argv[6], ends.n, outer->fds, inner->fds);
    } else {
        connect_by_pair(argv + 2, ends.n, outer->fds, inner->fds);
    }
    measure(&ends);
    return 0;
}
