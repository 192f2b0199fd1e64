/* Joining streams to services. Invariant: a stream whose service has not answered owns one bk_serve_joining,
 * which is in the list. */
#include "lib/serve.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail.h"
#include "net/clock.h"

enum {
    STATUS_NO_SERVICE = 404,
    STATUS_NO_ANSWER = 502,
    STATUS_NO_MEMORY = 503,
    LINE_BYTES = 512,
};

/* A stream whose service is being connected to. */
struct bk_serve_joining {
    struct bk_serve *serve;
    struct bk_h2_stream *stream;
    struct bk_target *target;
    const struct bk_service *service;
    struct bk_serve_joining *next, **link; /* of bk_serve.joining */
};

static void tell_count(struct bk_serve *serve, uint64_t left_out)
{
    if (left_out > 0) {
        bk_log(serve->log, serve->ctx, 0, "%llu lines more about streams of %s were left out",
               (unsigned long long)left_out, serve->caller);
    }
}

static void tell(struct bk_serve *serve, enum bk_serve_line kind, int level, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

static void tell(struct bk_serve *serve, enum bk_serve_line kind, int level, const char *format,
                 ...)
{
    char line[LINE_BYTES];
    uint64_t left_out;
    va_list args;

    if (!bk_log_limit_pass(&serve->limits[kind], bk_clock_mono(), &left_out)) {
        return;
    }
    tell_count(serve, left_out);
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    bk_log(serve->log, serve->ctx, level, "%s", line);
}

static void joining_add(struct bk_serve_joining *j)
{
    j->link = &j->serve->joining;
    j->next = *j->link;
    *j->link = j;
    if (j->next != NULL) {
        j->next->link = &j->next;
    }
}

static void joining_free(struct bk_serve_joining *j)
{
    *j->link = j->next;
    if (j->next != NULL) {
        j->next->link = j->link;
    }
    free(j);
}

static void on_target(void *ctx, int fd, int why)
{
    struct bk_serve_joining *j = ctx;
    struct bk_h2_stream *stream = j->stream;
    struct bk_serve *serve = j->serve;
    const struct bk_service *service = j->service;

    bk_h2_stream_set_owner(stream, NULL);
    joining_free(j);
    if (fd < 0) {
        tell(serve, BK_SERVE_NO_ANSWER, 0, "service %s: %s", service->name, strerror(why));
        bk_h2_refuse(stream, STATUS_NO_ANSWER);
        return;
    }
    tell(serve, BK_SERVE_USED, 1, "%s uses service %s", serve->caller, service->name);
    if (bk_h2_accept(stream, fd, fd) != BK_OK) {
        tell(serve, BK_SERVE_NO_ANSWER, 0, "service %s: the stream could not be joined",
             service->name);
    }
}

/* "NAME:1" → the service, if there is one and this caller may use it now. */
static const struct bk_service *permitted(struct bk_serve *serve, const char *authority)
{
    const struct bk_service *service;
    size_t n = strlen(authority);

    if (n < 3 || strcmp(authority + n - 2, ":1") != 0) {
        return NULL;
    }
    service = bk_service_find(serve->config, bk_slice(authority, n - 2));
    if (service == NULL) {
        return NULL;
    }
    if ((serve->access.services >> (service - serve->config->services) & 1) == 0 ||
        !bk_caller_is_open(&serve->access, serve->unix_s(serve->time_ctx))) {
        tell(serve, BK_SERVE_NOT_OPEN, 0, "%s (%s) asked for service %s, which is not open to him",
             serve->caller, serve->access.label, service->name);
        return NULL;
    }
    return service;
}

void bk_serve_request(struct bk_serve *serve, struct bk_h2_stream *stream, const char *authority)
{
    const struct bk_service *service = permitted(serve, authority);
    struct bk_serve_joining *j;

    if (service == NULL) {
        bk_h2_refuse(stream, STATUS_NO_SERVICE);
        return;
    }
    j = calloc(1, sizeof *j);
    if (j == NULL) {
        bk_h2_refuse(stream, STATUS_NO_MEMORY);
        return;
    }
    *j = (struct bk_serve_joining){.serve = serve, .stream = stream, .service = service};
    if (bk_target_connect(serve->base, serve->resolver, service, on_target, j, &j->target) !=
        BK_OK) {
        free(j);
        bk_h2_refuse(stream, STATUS_NO_MEMORY);
        return;
    }
    joining_add(j);
    bk_h2_stream_set_owner(stream, j);
}

void bk_serve_finished(struct bk_serve *serve, struct bk_h2_stream *stream,
                       const struct bk_h2_outcome *outcome)
{
    struct bk_serve_joining *j = bk_h2_stream_owner(stream);

    if (j != NULL) { /* the caller left before the service answered */
        bk_target_cancel(j->target);
        joining_free(j);
    }
    tell(serve, BK_SERVE_ENDED, 1, "a stream of %s ended; %llu bytes to it, %llu from it",
         serve->caller, (unsigned long long)outcome->sent_bytes,
         (unsigned long long)outcome->received_bytes);
}

void bk_serve_cancel(struct bk_serve *serve)
{
    while (serve->joining != NULL) {
        /* joining_free takes it out of the list by way of its link, which the analyzer does not follow. */
        bk_target_cancel(serve->joining->target); // NOLINT(clang-analyzer-unix.Malloc)
        joining_free(serve->joining);
    }
}

void bk_serve_tell_left_out(struct bk_serve *serve)
{
    uint64_t left_out = 0;

    for (size_t i = 0; i < BK_SERVE_LINES; i++) {
        left_out += serve->limits[i].left_out;
        serve->limits[i].left_out = 0;
    }
    tell_count(serve, left_out);
}
