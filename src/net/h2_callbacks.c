/* What nghttp2 tells and asks. Decides nothing about the connection: a callback that finds the session
 * broken says so to nghttp2. Every return value other than 0 here ends the session, so bad input from the peer
 * resets its stream at most. */
#include "net/h2_internal.h"

#include <string.h>

static struct bk_h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(ng, id);
}

/* ---- Sending ---- */

static ssize_t on_send(nghttp2_session *ng, const uint8_t *data, size_t n, int flags, void *user)
{
    (void)ng;
    (void)flags;
    int err = bk_h2_put_small(user, data, n);
    return err != 0 ? err : (ssize_t)n;
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)frame;
    (void)source;
    return bk_h2_put_stage(user, head, n);
}

static ssize_t on_frame_length(nghttp2_session *ng, uint8_t type, int32_t id,
                               int32_t session_window, int32_t stream_window, uint32_t max_frame,
                               void *user)
{
    (void)ng;
    (void)type;
    (void)id;
    (void)user;
    int32_t most = BK_H2_FRAME_BYTES - H2_FRAME_HEAD_BYTES; /* with its head, whole TLS records */
    most = session_window < most ? session_window : most;
    most = stream_window < most ? stream_window : most;
    return max_frame < (uint32_t)most ? (ssize_t)max_frame : most;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct bk_h2 *h = user;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        bk_h2_blame(h, BK_E_MALFORMED, "the peer broke the rules of HTTP/2");
    }
    struct bk_h2_stream *s = stream_of(ng, frame->hd.stream_id);
    if (s == NULL || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    if (frame->hd.type == NGHTTP2_DATA) {
        s->sent_end = true;
    } else if (frame->hd.type == NGHTTP2_HEADERS && h->config.server) {
        /* Refused, and said so: the rest of the request is of no interest. */
        return nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* ---- Any frame ---- */

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    (void)ng;
    return bk_h2_guard_frame(user, hd);
}

/* Frames of kinds that we do not know mean nothing (RFC 9113, section 4.1). */
static int on_unknown_frame(nghttp2_session *ng, void **payload, const nghttp2_frame_hd *hd,
                            void *user)
{
    (void)ng;
    (void)payload;
    (void)hd;
    (void)user;
    return NGHTTP2_ERR_CANCEL;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
    (void)ng;
    (void)frame;
    (void)error;
    bk_h2_guard_invalid(user);
    return 0;
}

/* ---- Headers ---- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct bk_h2 *h = user;
    if (!h->config.server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct bk_h2_stream *s = bk_h2_stream_new(h);
    if (s == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    s->id = frame->hd.stream_id;
    return nghttp2_session_set_stream_user_data(ng, s->id, s);
}

static bool is(const uint8_t *name, size_t n, const char *what)
{
    return n == strlen(what) && memcmp(name, what, n) == 0;
}

/* A status is three digits; nghttp2 has checked that. */
static int status_of(const uint8_t *value, size_t n)
{
    return n != 3 ? 0 : (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
}

/* What a request is for. Empty or too long is a bad request. */
static void take_target(struct bk_h2_stream *s, struct bk_slice value, char *out, size_t cap)
{
    if (value.n == 0 || !bk_slice_to_text(value, out, cap)) {
        s->bad_target = true;
    }
}

static void take_request(struct bk_h2_stream *s, const uint8_t *name, size_t name_n,
                         struct bk_slice value)
{
    if (is(name, name_n, ":method")) {
        s->is_connect = is(value.p, value.n, "CONNECT");
    } else if (is(name, name_n, ":authority")) {
        take_target(s, value, s->authority, sizeof s->authority);
    } else if (is(name, name_n, ":protocol")) {
        take_target(s, value, s->protocol, sizeof s->protocol);
    } else if (is(name, name_n, ":path")) {
        take_target(s, value, s->path, sizeof s->path);
    }
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)flags;
    struct bk_h2 *h = user;
    struct bk_h2_stream *s = stream_of(ng, frame->hd.stream_id);
    if (s == NULL) {
        return 0;
    }
    s->header_bytes += name_n + value_n + 32; /* as RFC 9113 counts them */
    if (s->header_bytes > H2_HEADERS_MAX_BYTES) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (h->config.server) {
        take_request(s, name, name_n, bk_slice(value, value_n));
    } else if (is(name, name_n, ":status") && !s->answered) {
        s->outcome.status = status_of(value, value_n);
    }
    return 0;
}

/* ---- Whole frames ---- */

static void on_pong(struct bk_h2 *h, const uint8_t *opaque)
{
    if (opaque[0] != 'p' || h->ping_at == 0) {
        return; /* the keepalive's: having heard anything is all it was for */
    }
    bk_time took = bk_clock_mono() - h->ping_at;
    h->ping_at = 0;
    if (h->config.on.pong != NULL && !h->dead) {
        h->config.on.pong(h->config.ctx, took);
    }
}

static void on_goaway(struct bk_h2 *h, uint32_t code)
{
    bool first = !h->goaway_in;
    h->goaway_in = true;
    if (code != NGHTTP2_NO_ERROR) {
        bk_h2_blame(h, BK_E_MALFORMED, "the peer ended the session with an HTTP/2 error");
    }
    if (first && h->config.on.going_away != NULL && !h->dead) {
        h->config.on.going_away(h->config.ctx);
    }
}

static void on_settings(struct bk_h2 *h)
{
    if (!h->started) {
        h->started = true;
        if (h->config.on.started != NULL && !h->dead) {
            h->config.on.started(h->config.ctx);
        }
    }
}

static void on_headers(struct bk_h2 *h, struct bk_h2_stream *s, const nghttp2_frame *frame)
{
    if (h->config.server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        bk_h2_stream_requested(s);
    } else if (!h->config.server) {
        bk_h2_stream_answered(s, s->outcome.status);
    }
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct bk_h2 *h = user;
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    struct bk_h2_stream *s = stream_of(ng, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_SETTINGS && !ack) {
        on_settings(h);
    } else if (frame->hd.type == NGHTTP2_PING && ack) {
        on_pong(h, frame->ping.opaque_data);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        on_goaway(h, frame->goaway.error_code);
    } else if (frame->hd.type == NGHTTP2_HEADERS && s != NULL) {
        on_headers(h, s, frame);
    }
    if (s != NULL && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        bk_h2_stream_receive_end(s);
    }
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *user)
{
    (void)flags;
    (void)user;
    /* The connection's window is given back at once: it must never be what slow streams use up. */
    int err = nghttp2_session_consume_connection(ng, n);
    struct bk_h2_stream *s = stream_of(ng, id);
    if (s != NULL) {
        bk_h2_stream_receive(s, bk_slice(data, n));
    }
    return err == NGHTTP2_ERR_NOMEM ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)user;
    struct bk_h2_stream *s = stream_of(ng, id);
    if (s != NULL) {
        bk_h2_stream_http_closed(s, code);
    }
    return 0;
}

/* ---- Making a session ---- */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, on_frame_length);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_unknown_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}

static int submit_settings(struct bk_h2 *h)
{
    /* The last one is a server's to say (RFC 8441, section 3). */
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->config.server ? h->config.max_streams : 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, BK_H2_WINDOW_FIRST_BYTES},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_MAX_FRAME_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    size_t n = sizeof settings / sizeof settings[0];
    int err =
        nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, settings, h->config.server ? n : n - 1);
    return err != 0 ? err
                    : nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                                            H2_CONNECTION_WINDOW_BYTES);
}

enum bk_err bk_h2_make_nghttp2(struct bk_h2 *h)
{
    nghttp2_session_callbacks *cb = make_callbacks();
    nghttp2_option *option = NULL;
    int err = NGHTTP2_ERR_NOMEM;
    if (cb == NULL || nghttp2_option_new(&option) != 0) {
        goto out;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    bk_h2_guard_options(option);
    err = h->config.server ? nghttp2_session_server_new2(&h->ng, cb, h, option)
                           : nghttp2_session_client_new2(&h->ng, cb, h, option);
    if (err == 0) {
        err = submit_settings(h);
    }
out:
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return err == 0 ? BK_OK : BK_E_NOMEM;
}
