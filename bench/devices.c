/* Devices by the million, on loopback, each at an address of its own: a load that costs the measured nothing but its
 * datagrams.
 *
 *   devices MODE [option ...]
 *
 *   burst   --kind K --count N --subject PID,PID   N datagrams before a server that is held for each burst: what it
 *                                                  spends on one when it always finds full batches
 *   fill    --devices N                            registers all of them
 *   keep    --devices N --interval S --count N     keeps them registered for N intervals (--kind quiet: quietly)
 *   check   --master FILE                          whether this writes what src/wire writes
 *
 *   --to ADDRESS:PORT   (127.0.0.1:1200)           --master FILE   master.keys of the server
 *   --devices N         how many senders           --first ID      the first one's number (1)
 *   --sources N         how many addresses (devices: one each, at most 16 million); several devices of one address
 *                       are told apart by --ports N sockets
 *   --burst N           (192)                      --counter N     of the tags: more than ever before
 *   --bytes N           of echo and junk (72)      --random        in no order
 *   --local PORT        the first of the senders' ports (40000)
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/modes.h"

enum {
    DEVICES_MAX = 16000000,
    GENERATION = 1,
    FIRST_LOCAL_PORT = 40000,
    BURST_DEFAULT = 192,
    WINDOW_DEFAULT = 160,
    BYTES_DEFAULT = 72,
    INTERVAL_MAX_S = 300,
};

struct words {
    char address[64];
    uint16_t port, local;
    const char *master;
    unsigned ports;
    uint32_t sources;
    uint64_t first;
};

uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "devices: %s\n", what);
    exit(2);
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n > most) {
        die(text);
    }
    return n;
}

static void read_address(struct words *w, const char *text)
{
    const char *colon = strrchr(text, ':');

    if (colon == NULL || (size_t)(colon - text) >= sizeof w->address) {
        die(text);
    }
    memcpy(w->address, text, (size_t)(colon - text));
    w->address[colon - text] = '\0';
    w->port = (uint16_t)number(colon + 1, UINT16_MAX);
}

static void one_option(struct options *o, struct words *w, int c)
{
    switch (c) {
    case 't':
        read_address(w, optarg);
        break;
    case 'm':
        w->master = optarg;
        break;
    case 'k':
        o->kind = kind_find(optarg);
        if (o->kind == NULL) {
            die(kind_names());
        }
        break;
    case 'd':
        o->devices = (uint32_t)number(optarg, DEVICES_MAX);
        break;
    case 'f':
        w->first = number(optarg, UINT64_MAX / 2);
        break;
    case 's':
        w->sources = (uint32_t)number(optarg, DEVICES_MAX);
        break;
    case 'p':
        w->ports = (unsigned)number(optarg, SOCKETS_MAX);
        break;
    case 'l':
        w->local = (uint16_t)number(optarg, UINT16_MAX);
        break;
    case 'c':
        o->count = number(optarg, UINT64_MAX);
        break;
    case 'b':
        o->burst = (unsigned)number(optarg, 1000000);
        break;
    case 'w':
        o->window = (unsigned)number(optarg, 1000000);
        break;
    case 'i':
        o->interval_s = (unsigned)number(optarg, 300);
        break;
    case 'n':
        o->load.counter = (uint32_t)number(optarg, UINT32_MAX);
        break;
    case 'y':
        o->load.bytes = (size_t)number(optarg, DATAGRAM_BYTES);
        break;
    case 'r':
        o->random = true;
        break;
    case 'u':
        if (!subject_parse(&o->subject, optarg)) {
            die(optarg);
        }
        break;
    default:
        exit(2);
    }
}

static void read_options(struct options *o, struct words *w, int argc, char **argv)
{
    static const struct option known[] = {
        {"to", required_argument, NULL, 't'},
        {"master", required_argument, NULL, 'm'},
        {"kind", required_argument, NULL, 'k'},
        {"devices", required_argument, NULL, 'd'},
        {"first", required_argument, NULL, 'f'},
        {"sources", required_argument, NULL, 's'},
        {"ports", required_argument, NULL, 'p'},
        {"local", required_argument, NULL, 'l'},
        {"count", required_argument, NULL, 'c'},
        {"burst", required_argument, NULL, 'b'},
        {"interval", required_argument, NULL, 'i'},
        {"counter", required_argument, NULL, 'n'},
        {"window", required_argument, NULL, 'w'},
        {"bytes", required_argument, NULL, 'y'},
        {"random", no_argument, NULL, 'r'},
        {"subject", required_argument, NULL, 'u'},
        {0},
    };

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        one_option(o, w, c);
    }
    if (optind != argc || o->devices == 0) {
        die("an option too many, or no devices");
    }
}

static void read_master(struct options *o, const struct words *w, uint16_t interval_s,
                        uint8_t key[KEY_BYTES])
{
    uint8_t record[2 + KEY_BYTES] = {0};

    if (w->master != NULL) {
        FILE *f = fopen(w->master, "re");
        if (f == NULL || fread(record, 1, sizeof record, f) != sizeof record) {
            die(w->master);
        }
        (void)fclose(f);
    }
    memcpy(key, record + 2, KEY_BYTES);
    wire_init(&o->load.wire, key, (uint16_t)(record[0] << 8 | record[1]), w->first, GENERATION,
              interval_s);
}

int main(int argc, char **argv)
{
    static struct options o;
    struct words w = {
        .address = "127.0.0.1", .port = 1200, .local = FIRST_LOCAL_PORT, .ports = 1, .first = 1};
    uint8_t master[KEY_BYTES];
    const char *mode = argc > 1 ? argv[1] : "";

    o = (struct options){.kind = kind_find("register"),
                         .devices = 1,
                         .burst = BURST_DEFAULT,
                         .interval_s = 25,
                         .window = WINDOW_DEFAULT};
    o.load = (struct load){.counter = 2, .bytes = BYTES_DEFAULT};
    if (argc > 1) {
        read_options(&o, &w, argc - 1, argv + 1);
    }
    o.subject.port = w.port;
    (void)signal(SIGPIPE, SIG_IGN);
    /* What one wants to have at rest for minutes is not to expire meanwhile. */
    read_master(&o, &w, strcmp(mode, "keep") == 0 ? (uint16_t)o.interval_s : INTERVAL_MAX_S,
                master);
    if (strcmp(mode, "check") == 0) {
        bool same = wire_check(&o.load.wire, master);
        (void)puts(same ? "same" : "different");
        return same ? 0 : 1;
    }
    o.sockets =
        sockets_open(w.address, w.port, w.ports, w.local, w.sources > 0 ? w.sources : o.devices);
    if (strcmp(mode, "burst") == 0 && o.subject.n > 0 && o.burst > 0) {
        mode_burst(&o);
    } else if (strcmp(mode, "stream") == 0 && o.subject.n > 0 && o.burst > 0) {
        mode_stream(&o);
    } else if (strcmp(mode, "fill") == 0) {
        mode_fill(&o);
    } else if (strcmp(mode, "keep") == 0 && o.kind->registers && o.interval_s > 0) {
        mode_keep(&o);
    } else {
        die("usage: devices burst|fill|keep|check [option ...]; bench/devices.c says which");
    }
    return 0;
}
