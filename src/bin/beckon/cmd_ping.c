/* beckon ping: round trips on a call's session, where the time of the call went, and what came of every candidate. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bin/beckon/command.h"
#include "bin/beckon/ping.h"

enum {
    PINGS_MAX = 1000000,
    DEFAULT_PINGS = 3,
    WHEN_BYTES = 64,
};

/* What `on_ping` fills. */
static struct {
    double *ms;
    size_t n, room;
    bool quiet;
} measured;

static void on_ping(void *ctx, unsigned n, uint64_t rtt_us)
{
    (void)ctx;
    if (measured.n < measured.room) {
        measured.ms[measured.n++] = (double)rtt_us / 1000;
    }
    if (measured.quiet) {
        return;
    }
    printf("round trip %u: %llu.%03llu ms\n", n, (unsigned long long)(rtt_us / 1000),
           (unsigned long long)(rtt_us % 1000));
    (void)fflush(stdout);
}

static bool count_read(const char *text, unsigned *out)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (end == text || *end != '\0' || v < 1 || v > PINGS_MAX) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

static void when_is(char out[WHEN_BYTES])
{
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm) == NULL ||
        strftime(out, WHEN_BYTES, "%Y-%m-%d %H:%M:%S %z", &tm) == 0) {
        out[0] = '\0';
    }
}

/* False after one line. */
static bool write_page(const char *path, const struct ping_result *result)
{
    FILE *out = fopen(path, "we");
    bool ok = out != NULL && ping_html(out, result);

    if (out != NULL && fclose(out) != 0) {
        ok = false;
    }
    if (!ok) {
        fprintf(stderr, "beckon: --html %s: %s\n", path, strerror(errno));
    }
    return ok;
}

/* True: all that was asked for has been shown. */
static bool show(const struct call_options *options, const char *page,
                 const struct ping_result *result)
{
    bool ok = true;

    if (options->json) {
        ok = ping_json(result);
        if (!ok) {
            fprintf(stderr, "beckon: no memory to print the result\n");
        }
    } else if (result->error == NULL) {
        ping_text(result);
    }
    return (page == NULL || write_page(page, result)) && ok;
}

int cmd_ping(int argc, char **argv)
{
    static struct beckon_report report; /* large */
    struct call_options options = {0};
    const char *count_text = NULL, *page = NULL;
    const struct bk_option extra[] = {{.name = "-c", .values = &count_text, .max = 1},
                                      {.name = "--html", .values = &page, .max = 1}};
    struct beckon_client *client;
    struct beckon_phases phases;
    struct beckon_error error;
    struct ping_result result = {.report = &report};
    char when[WHEN_BYTES];
    enum beckon_status status;
    unsigned count = DEFAULT_PINGS;
    int n_rest, exit_status;
    bool shown;

    if (!call_options_read_with(argc, argv, &options, extra, 2, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1 || (count_text != NULL && !count_read(count_text, &count))) {
        return bk_usage("beckon", "ping takes DEVICE and -c N, N from 1 to 1000000");
    }
    status = client_open(&options, NULL, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    measured.quiet = options.json;
    measured.ms = calloc(count, sizeof *measured.ms);
    measured.room = measured.ms != NULL ? count : 0;
    when_is(when);
    status = beckon_client_ping(client, argv[1], count, on_ping, &phases, &error);
    beckon_client_report(client, &report);
    result.device = argv[1];
    result.when = when;
    result.round_trips_ms = measured.ms;
    result.n_round_trips = measured.n;
    result.error = status == BECKON_OK ? NULL : &error;
    shown = status == BECKON_INTERRUPTED || show(&options, page, &result);
    free(measured.ms);
    exit_status = client_close(client, status, &error, false);
    return exit_status == BECKON_OK && !shown ? BECKON_FAILED : exit_status;
}
