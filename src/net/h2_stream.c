/* One stream of a session: between nghttp2 and its pump. Never calls nghttp2_session_send or _mem_recv.
 * Invariant: a stream is freed only when it is over (bk_h2_stream_is_over), in the session's turn. */
#include "net/h2_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_pump_readable(void *ctx)
{
    struct bk_h2_stream *s = ctx;
    if (s->deferred && !s->http_closed && s->h->ng != NULL) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(s->h->ng, s->id);
        bk_h2_want_turn(s->h);
    }
}

/* The pump's queue may have changed. */
static void count_queue(struct bk_h2_stream *s)
{
    s->h->queued += s->pump.q_len;
    s->h->queued -= s->queued;
    s->queued = s->pump.q_len;
}

/* The local reader took n bytes: the peer may send as many again, and more if the reader keeps up. */
static void taken(struct bk_h2_stream *s, size_t n)
{
    struct bk_h2 *h = s->h;
    s->outcome.received_bytes += n;
    if (s->http_closed || h->ng == NULL || n == 0) {
        return;
    }
    (void)nghttp2_session_consume_stream(h->ng, s->id, n);
    s->window_taken += (uint32_t)n;
    if (s->pump.q_len > 0 || s->window_taken < s->window || s->window >= BK_H2_WINDOW_MAX_BYTES ||
        h->growth + s->window > BK_H2_WINDOW_GROWTH_BYTES || s->got_end) {
        return;
    }
    h->growth += s->window;
    s->window *= 2;
    s->window_taken = 0;
    (void)nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, s->id,
                                                (int32_t)s->window);
}

static void on_pump_written(void *ctx, size_t n)
{
    struct bk_h2_stream *s = ctx;
    count_queue(s);
    taken(s, n);
    bk_h2_want_turn(s->h);
}

static void on_pump_out_done(void *ctx)
{
    struct bk_h2_stream *s = ctx;
    s->h->sweep = true;
    bk_h2_want_turn(s->h);
}

static void reset(struct bk_h2_stream *s, uint32_t code)
{
    if (!s->http_closed && !s->reset_asked && s->h->ng != NULL) {
        s->reset_asked = true; /* twice could name a stream that was never opened */
        (void)nghttp2_submit_rst_stream(s->h->ng, NGHTTP2_FLAG_NONE, s->id, code);
        bk_h2_want_turn(s->h);
    }
}

static void local_failure(struct bk_h2_stream *s, int error)
{
    bk_h2_stream_settle(s, BK_H2_LOCAL, 0, error);
    reset(s, NGHTTP2_CONNECT_ERROR);
}

static void on_pump_failed(void *ctx, int error)
{
    local_failure(ctx, error);
}

static const struct bk_pump_callbacks pump_callbacks = {
    .readable = on_pump_readable,
    .written = on_pump_written,
    .out_done = on_pump_out_done,
    .failed = on_pump_failed,
};

struct bk_h2_stream *bk_h2_stream_new(struct bk_h2 *h)
{
    struct bk_h2_stream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->h = h;
    s->window = BK_H2_WINDOW_FIRST_BYTES;
    bk_pump_init(&s->pump, h->base, &pump_callbacks, s);
    s->next = h->streams;
    if (s->next != NULL) {
        s->next->prev = s;
    }
    h->streams = s;
    return s;
}

void bk_h2_stream_free(struct bk_h2_stream *s)
{
    struct bk_h2 *h = s->h;
    if (s->prev != NULL) {
        s->prev->next = s->next;
    } else {
        h->streams = s->next;
    }
    if (s->next != NULL) {
        s->next->prev = s->prev;
    }
    h->n_streams -= s->known;
    h->growth -= s->window - BK_H2_WINDOW_FIRST_BYTES;
    bk_pump_close(&s->pump, !s->settled || s->outcome.how != BK_H2_CLEAN);
    count_queue(s);
    free(s);
}

void bk_h2_stream_settle(struct bk_h2_stream *s, enum bk_h2_how how, uint32_t code, int local_errno)
{
    if (s->settled) {
        return;
    }
    s->settled = true;
    s->outcome.how = how;
    s->outcome.code = code;
    s->outcome.local_errno = local_errno;
    if (how != BK_H2_CLEAN) {
        bk_pump_close(&s->pump, true);
        count_queue(s);
    }
    s->h->sweep = true;
    bk_h2_want_turn(s->h);
}

bool bk_h2_stream_is_over(struct bk_h2_stream *s)
{
    if (s->http_closed && s->sent_end && s->got_end && s->pump.out_done) {
        bk_h2_stream_settle(s, BK_H2_CLEAN, 0, 0); /* no effect if it failed meanwhile */
    }
    return s->settled && (s->http_closed || s->h->ng == NULL);
}

void bk_h2_stream_receive(struct bk_h2_stream *s, struct bk_slice bytes)
{
    if (s->settled) { /* already resetting: nobody will read this */
        return;
    }
    size_t written;
    enum bk_err err = bk_pump_push(&s->pump, bytes, &written);
    count_queue(s);
    if (err == BK_OK && written < bytes.n && s->h->queued > s->h->config.queued_max_bytes) {
        local_failure(s, ENOBUFS);
        return;
    }
    if (err != BK_OK) {
        local_failure(s, err == BK_E_NOMEM ? ENOMEM : errno);
        return;
    }
    taken(s, written);
}

void bk_h2_stream_receive_end(struct bk_h2_stream *s)
{
    if (s->got_end) {
        return;
    }
    s->got_end = true;
    if (!s->settled && bk_pump_end(&s->pump) != BK_OK) {
        local_failure(s, errno);
    }
}

void bk_h2_stream_answered(struct bk_h2_stream *s, int status)
{
    struct bk_h2 *h = s->h;
    if (s->answered || status / 100 == 1) {
        return;
    }
    s->answered = true;
    s->outcome.status = status;
    if (!h->dead && h->config.on.answered != NULL && !s->settled) {
        h->config.on.answered(h->config.ctx, s, status);
    }
    if (status != 200) {
        bk_h2_stream_settle(s, BK_H2_REFUSED, 0, 0);
        reset(s, NGHTTP2_CANCEL);
        return;
    }
    if (s->deferred) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(h->ng, s->id);
    }
}

/* A whole request header is here. */
void bk_h2_stream_requested(struct bk_h2_stream *s)
{
    struct bk_h2 *h = s->h;
    /* Streams that HTTP is done with may still be writing out: they count. */
    bool full = h->n_streams >= 2 * (size_t)h->config.max_streams + H2_STREAMS_ENDING;
    if (!s->is_connect || s->bad_target || h->dead || h->shutting_down || full) {
        bk_h2_refuse(s, !s->is_connect ? 405 : s->bad_target ? 400 : 503);
        return;
    }
    s->known = true;
    h->n_streams++;
    h->config.on.request(h->config.ctx, s, s->authority);
}

void bk_h2_stream_http_closed(struct bk_h2_stream *s, uint32_t code)
{
    s->http_closed = true;
    s->h->sweep = true;
    if (s->sent_end && s->got_end && code == NGHTTP2_NO_ERROR) {
        bk_h2_want_turn(s->h); /* clean, once everything is written out */
    } else {
        bk_h2_stream_settle(s, BK_H2_RESET, code, 0);
    }
}

/* ---- From the pump to nghttp2 ---- */

static ssize_t source_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)id;
    (void)buf;
    struct bk_h2 *h = user;
    struct bk_h2_stream *s = source->ptr;
    long n = BK_PUMP_WAIT;
    if (s->answered && !s->settled && !h->dead) {
        size_t most = length < BK_H2_FRAME_BYTES ? length : BK_H2_FRAME_BYTES;
        n = bk_pump_read(&s->pump, h->stage + H2_FRAME_HEAD_BYTES, most);
    }
    if (n == BK_PUMP_ERROR) {
        local_failure(s, errno);
    }
    if (n < 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n == BK_PUMP_END) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    s->outcome.sent_bytes += (uint64_t)n;
    bk_h2_guard_sent(h, (size_t)n, length);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    h->staged = (size_t)n;
    return (ssize_t)n;
}

static nghttp2_data_provider source_of(struct bk_h2_stream *s)
{
    return (nghttp2_data_provider){.source = {.ptr = s}, .read_callback = source_read};
}

/* ---- The interface ---- */

#define NV(n, v, v_n)                                                                              \
    {                                                                                              \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, (v_n), NGHTTP2_NV_FLAG_NONE                 \
    }

static void drop_fds(int fd_in, int fd_out)
{
    if (fd_in >= 0) {
        close(fd_in);
    }
    if (fd_out >= 0 && fd_out != fd_in) {
        close(fd_out);
    }
}

/* Submits the CONNECT of a stream whose target is set. */
static enum bk_err submit(struct bk_h2_stream *s)
{
    char method_name[] = ":method", authority_name[] = ":authority", protocol_name[] = ":protocol";
    char scheme_name[] = ":scheme", path_name[] = ":path", capsule_name[] = "capsule-protocol";
    char method[] = "CONNECT", scheme[] = "https", yes[] = "?1";
    nghttp2_nv nv[] = {NV(method_name, method, sizeof method - 1),
                       NV(authority_name, s->authority, strlen(s->authority)),
                       NV(protocol_name, s->protocol, strlen(s->protocol)),
                       NV(scheme_name, scheme, sizeof scheme - 1),
                       NV(path_name, s->path, strlen(s->path)),
                       NV(capsule_name, yes, sizeof yes - 1)};
    size_t n = s->protocol[0] == '\0' ? 2 : s->capsules ? 6 : 5;
    nghttp2_data_provider source = source_of(s);
    s->id = nghttp2_submit_request(s->h->ng, NULL, nv, n, &source, s);
    return s->id > 0 ? BK_OK : s->id == NGHTTP2_ERR_NOMEM ? BK_E_NOMEM : BK_E_STATE;
}

static bool copy_text(char *out, size_t cap, const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n >= cap) {
        return false;
    }
    memcpy(out, text, n + 1);
    return true;
}

bool bk_h2_extended(const struct bk_h2 *h)
{
    return bk_h2_is_open(h) && h->started && !h->config.server &&
           nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) ==
               1;
}

/* A stream whose descriptors are joined; the target is to be set. NULL: the descriptors are closed. */
static struct bk_h2_stream *begin(struct bk_h2 *h, bool may, int fd_in, int fd_out,
                                  enum bk_err *err)
{
    struct bk_h2_stream *s = may ? bk_h2_stream_new(h) : NULL;
    *err = may ? BK_E_NOMEM : BK_E_STATE;
    if (s == NULL) {
        drop_fds(fd_in, fd_out);
        return NULL;
    }
    *err = bk_pump_attach(&s->pump, fd_in, fd_out);
    if (*err != BK_OK) {
        bk_h2_stream_free(s);
        return NULL;
    }
    return s;
}

/* Submits it; `fits`: the target did. */
static enum bk_err finish(struct bk_h2_stream *s, bool fits, void *owner, struct bk_h2_stream **out)
{
    struct bk_h2 *h = s->h;
    enum bk_err err = fits ? submit(s) : BK_E_RANGE;
    if (err != BK_OK) {
        bk_h2_stream_free(s);
        return err;
    }
    bk_h2_guard_opened(h);
    s->owner = owner;
    s->known = true;
    h->n_streams++;
    bk_h2_want_turn(h);
    *out = s;
    return BK_OK;
}

enum bk_err bk_h2_open(struct bk_h2 *h, const char *authority, int fd_in, int fd_out, void *owner,
                       struct bk_h2_stream **out)
{
    enum bk_err err;
    bool may = !h->config.server && bk_h2_is_open(h);
    struct bk_h2_stream *s = begin(h, may, fd_in, fd_out, &err);
    *out = NULL;
    return s == NULL
               ? err
               : finish(s, copy_text(s->authority, sizeof s->authority, authority), owner, out);
}

enum bk_err bk_h2_open_unjoined(struct bk_h2 *h, const char *authority, void *owner,
                                struct bk_h2_stream **out)
{
    *out = NULL;
    if (h->config.server || !bk_h2_is_open(h)) {
        return BK_E_STATE;
    }
    struct bk_h2_stream *s = bk_h2_stream_new(h);
    return s == NULL
               ? BK_E_NOMEM
               : finish(s, copy_text(s->authority, sizeof s->authority, authority), owner, out);
}

enum bk_err bk_h2_join(struct bk_h2_stream *s, int fd_in, int fd_out)
{
    struct bk_h2 *h = s->h;
    if (h->config.server || s->pump.attached || s->settled) {
        drop_fds(fd_in, fd_out);
        return BK_E_STATE;
    }
    if (bk_pump_attach(&s->pump, fd_in, fd_out) != BK_OK) {
        local_failure(s, errno);
        return BK_E_IO;
    }
    if (s->answered) {
        on_pump_readable(s);
    }
    return BK_OK;
}

enum bk_err bk_h2_open_extended(struct bk_h2 *h, const char *protocol, const char *authority,
                                const char *path, bool capsules, int fd_in, int fd_out, void *owner,
                                struct bk_h2_stream **out)
{
    enum bk_err err;
    struct bk_h2_stream *s = begin(h, bk_h2_extended(h), fd_in, fd_out, &err);
    *out = NULL;
    if (s == NULL) {
        return err;
    }
    s->capsules = capsules;
    bool fits = copy_text(s->authority, sizeof s->authority, authority) &&
                copy_text(s->protocol, sizeof s->protocol, protocol) &&
                copy_text(s->path, sizeof s->path, path);
    return finish(s, fits, owner, out);
}

const char *bk_h2_stream_protocol(const struct bk_h2_stream *s)
{
    return s->protocol;
}

const char *bk_h2_stream_path(const struct bk_h2_stream *s)
{
    return s->path;
}

enum bk_err bk_h2_accept(struct bk_h2_stream *s, int fd_in, int fd_out)
{
    struct bk_h2 *h = s->h;
    if (!h->config.server || s->answered || s->settled || s->http_closed || h->ng == NULL) {
        drop_fds(fd_in, fd_out);
        return BK_E_STATE;
    }
    s->answered = true;
    s->outcome.status = 200;
    if (bk_pump_attach(&s->pump, fd_in, fd_out) != BK_OK) {
        local_failure(s, errno);
        return BK_E_IO;
    }
    char status[] = "200", name[] = ":status";
    nghttp2_nv nv[] = {NV(name, status, 3)};
    nghttp2_data_provider source = source_of(s);
    if (nghttp2_submit_response(h->ng, s->id, nv, 1, &source) != 0) {
        local_failure(s, ENOMEM);
        return BK_E_NOMEM;
    }
    bk_h2_want_turn(h);
    return BK_OK;
}

void bk_h2_refuse(struct bk_h2_stream *s, int status)
{
    struct bk_h2 *h = s->h;
    if (!h->config.server || s->answered || s->settled || s->http_closed || h->ng == NULL) {
        return;
    }
    s->answered = true;
    s->outcome.status = status < 400 || status > 599 ? 500 : status;
    status = s->outcome.status;
    char digits[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                     (char)('0' + status % 10), 0};
    char name[] = ":status";
    nghttp2_nv nv[] = {NV(name, digits, 3)};
    bk_h2_stream_settle(s, BK_H2_REFUSED, 0, 0);
    if (nghttp2_submit_response(h->ng, s->id, nv, 1, NULL) != 0) {
        reset(s, NGHTTP2_INTERNAL_ERROR);
    }
    bk_h2_want_turn(h);
}

void bk_h2_abort(struct bk_h2_stream *s)
{
    bk_h2_stream_settle(s, BK_H2_LOCAL, 0, ECANCELED);
    reset(s, NGHTTP2_CANCEL);
}

void *bk_h2_stream_owner(const struct bk_h2_stream *s)
{
    return s->owner;
}

void bk_h2_stream_set_owner(struct bk_h2_stream *s, void *owner)
{
    s->owner = owner;
}
