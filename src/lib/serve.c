/* Joining streams to services. Invariant: a stream whose service has not answered owns one bk_serve_joining,
 * which is in the list. */
#include "lib/serve_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail.h"
#include "net/clock.h"

enum {
    STATUS_NO_SERVICE = 404,
    STATUS_NO_PROTOCOL = 501,
    STATUS_NO_ANSWER = 502,
    STATUS_NO_ROOM = 503,
    LINE_BYTES = 512,
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

static void abandon(struct bk_serve_joining *j)
{
    bk_serve_leave_prepared(j);
    bk_target_cancel(j->target);
    bk_udp_serve_cancel(j->udp);
    joining_free(j);
}

void bk_serve_joined(struct bk_serve_joining *j, int fd, int why)
{
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

static void on_target(void *ctx, int fd, int why)
{
    bk_serve_joined(ctx, fd, why);
}

/* "NAME:1" → NAME; empty if it is of another form. */
static struct bk_slice name_in(const char *authority)
{
    size_t n = strlen(authority);

    return n < 3 || strcmp(authority + n - 2, ":1") != 0 ? BK_SLICE_EMPTY
                                                         : bk_slice(authority, n - 2);
}

const struct bk_service *bk_serve_permitted(struct bk_serve *serve, struct bk_slice name, bool udp)
{
    const struct bk_service *service = name.n == 0 ? NULL : bk_service_find(serve->config, name);

    if (service == NULL || (service->kind == BK_TARGET_UDP) != udp) {
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

/* Begins to join the stream to its service. */
static enum bk_err join(struct bk_serve_joining *j)
{
    struct bk_serve *serve = j->serve;

    return j->service->kind == BK_TARGET_UDP
               ? bk_udp_serve_new(serve->base, serve->resolver, j->service, on_target, j,
                                  &serve->udp_streams, &j->udp)
               : bk_target_connect(serve->base, serve->resolver, j->service, on_target, j,
                                   &j->target);
}

/* 0, or with what status the stream is to be refused. */
static int begin(struct bk_serve *serve, const void *session, struct bk_h2_stream *stream,
                 const struct bk_service *service)
{
    struct bk_serve_joining *j = calloc(1, sizeof *j);
    bool prepared;
    int fd;

    if (j == NULL) {
        return STATUS_NO_ROOM;
    }
    *j = (struct bk_serve_joining){
        .serve = serve, .session = session, .stream = stream, .service = service};
    prepared = bk_serve_take_prepared(j, &fd);
    if (!prepared && join(j) != BK_OK) {
        free(j);
        return STATUS_NO_ROOM;
    }
    joining_add(j);
    bk_h2_stream_set_owner(stream, j);
    if (fd >= 0) {
        bk_serve_joined(j, fd, 0);
    }
    return 0;
}

void bk_serve_request(struct bk_serve *serve, const void *session, struct bk_h2_stream *stream,
                      const char *authority)
{
    const char *protocol = bk_h2_stream_protocol(stream);
    bool udp = strcmp(protocol, BK_UDP_PROTOCOL) == 0;
    const struct bk_service *service;
    int status;

    if (!udp && protocol[0] != '\0') {
        bk_h2_refuse(stream, STATUS_NO_PROTOCOL);
        return;
    }
    service = bk_serve_permitted(
        serve, udp ? bk_udp_path_name(bk_h2_stream_path(stream)) : name_in(authority), udp);
    status = service == NULL ? STATUS_NO_SERVICE
             : udp && serve->udp_streams >= BK_SERVE_UDP_MAX
                 ? STATUS_NO_ROOM
                 : begin(serve, session, stream, service);
    if (status != 0) {
        bk_h2_refuse(stream, status);
    }
}

void bk_serve_finished(struct bk_serve *serve, struct bk_h2_stream *stream,
                       const struct bk_h2_outcome *outcome)
{
    void *owner = bk_h2_stream_owner(stream);

    if (owner != NULL) { /* the caller left before the service answered */
        abandon(owner);
    }
    tell(serve, BK_SERVE_ENDED, 1, "a stream of %s ended; %llu bytes to it, %llu from it",
         serve->caller, (unsigned long long)outcome->sent_bytes,
         (unsigned long long)outcome->received_bytes);
}

void bk_serve_cancel(struct bk_serve *serve, const void *session)
{
    struct bk_serve_joining *next = NULL;

    for (struct bk_serve_joining *j = serve->joining; j != NULL; j = next) {
        next = j->next;
        if (j->session == session) {
            abandon(j);
        }
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
