/* beckon ping: round trips on a call's session, and where the time of the call went. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bin/beckon/command.h"

enum {
    PINGS_MAX = 1000000,
    DEFAULT_PINGS = 3,
};

static cJSON *round_trips; /* with --json: the array being filled */

static void on_ping(void *ctx, unsigned n, uint64_t rtt_us)
{
    (void)ctx;
    if (round_trips != NULL) {
        cJSON_AddItemToArray(round_trips, cJSON_CreateNumber((double)rtt_us / 1000));
        return;
    }
    printf("round trip %u: %llu.%03llu ms\n", n, (unsigned long long)(rtt_us / 1000),
           (unsigned long long)(rtt_us % 1000));
    (void)fflush(stdout);
}

struct row {
    const char *key, *text;
    uint64_t us;
};

#define ROWS 6

static void rows_of(const struct beckon_phases *p, struct row rows[ROWS])
{
    const struct row filled[ROWS] = {
        {"server", "connected to the server", p->server_us},
        {"found", "device found and verified", p->found_us},
        {"requested", "sealed request sent", p->requested_us},
        {"delivered", "device has the request", p->delivered_us},
        {"accepted", "device accepted", p->accepted_us},
        {"up", "end-to-end session stands", p->up_us},
    };

    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = filled[i];
    }
}

static void print_text(const struct beckon_phases *phases)
{
    struct row rows[ROWS];

    rows_of(phases, rows);
    printf("path: %s\n", phases->path);
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].us != 0) {
            printf("%9.1f ms  %s\n", (double)rows[i].us / 1000, rows[i].text);
        }
    }
}

static bool print_json(const struct beckon_phases *phases)
{
    struct row rows[ROWS];
    cJSON *root = cJSON_CreateObject();
    cJSON *times = cJSON_AddObjectToObject(root, "phases_ms");
    char *text;

    rows_of(phases, rows);
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].us != 0) {
            cJSON_AddNumberToObject(times, rows[i].key, (double)rows[i].us / 1000);
        }
    }
    cJSON_AddStringToObject(root, "path", phases->path);
    cJSON_AddItemToObject(root, "round_trips_ms", round_trips);
    text = cJSON_Print(root);
    if (text != NULL) {
        puts(text);
    }
    cJSON_free(text);
    cJSON_Delete(root);
    return text != NULL;
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

int cmd_ping(int argc, char **argv)
{
    struct call_options options = {0};
    const char *count_text = NULL;
    const struct bk_option count_option = {.name = "-c", .values = &count_text, .max = 1};
    struct beckon_client *client;
    struct beckon_phases phases;
    struct beckon_error error;
    enum beckon_status status;
    unsigned count = DEFAULT_PINGS;
    int n_rest;

    if (!call_options_read(argc, argv, &options, &count_option, &n_rest)) {
        return BECKON_USAGE;
    }
    if (n_rest != 1 || (count_text != NULL && !count_read(count_text, &count))) {
        return bk_usage("beckon", "ping takes DEVICE and -c N, N from 1 to 1000000");
    }
    status = client_open(&options, NULL, &client);
    if (status != BECKON_OK) {
        return (int)status;
    }
    round_trips = options.json ? cJSON_CreateArray() : NULL;
    status = beckon_client_ping(client, argv[1], count, on_ping, &phases, &error);
    if (status != BECKON_OK) {
        cJSON_Delete(round_trips);
    } else if (!options.json) {
        print_text(&phases);
    } else if (!print_json(&phases)) {
        status = BECKON_FAILED;
        error = (struct beckon_error){status, "no memory to print the result"};
    }
    return client_close(client, status, &error, false);
}
