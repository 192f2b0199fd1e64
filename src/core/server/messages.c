/* Who may say what on a stream. Anything else, and anything malformed, is answered with an error where
 * it was a request, and ends the stream. */
#include "core/server/state.h"

static bool is_request(const struct bk_stun *m, uint16_t method)
{
    return m->cls == BK_STUN_REQUEST && m->method == method;
}

static enum bk_err on_plain(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                            const struct bk_stun *m, struct bk_server_out *out)
{
    const struct bk_identity *peer = &s->streams[stream].peer;
    switch (peer->role) {
    case BK_ROLE_NONE:
        return is_request(m, BK_METHOD_ENROL) ? bk_server_on_enrol(s, now, stream, m, out)
                                              : BK_E_STATE;
    case BK_ROLE_USER:
        if (is_request(m, BK_METHOD_LOOKUP)) {
            return bk_server_on_lookup(s, now, stream, m, out);
        }
        if (is_request(m, BK_METHOD_INFO)) {
            return bk_server_on_info(s, now, stream, m, out);
        }
        return is_request(m, BK_METHOD_CONNECT) ? bk_server_on_connect(s, now, stream, m, out)
                                                : BK_E_STATE;
    case BK_ROLE_DEVICE:
        if (bk_server_device_standing(s, peer->equipment_id) != BK_STANDING_GOOD) {
            return BK_E_STATE;
        }
        if (is_request(m, BK_METHOD_INFO)) {
            return bk_server_on_info(s, now, stream, m, out);
        }
        return bk_server_on_device_message(s, now, stream, m, out);
    case BK_ROLE_SERVER:
    default:
        return BK_E_STATE;
    }
}

/* Roles were checked when the stream was opened. */
static enum bk_err dispatch(struct bk_server *s, const struct bk_now *now, uint32_t stream,
                            const struct bk_stun *m, struct bk_server_out *out)
{
    switch (s->streams[stream].purpose) {
    case BK_STREAM_RENEW:
        return is_request(m, BK_METHOD_RENEW) ? bk_server_on_renew(s, now, stream, m, out)
                                              : BK_E_STATE;
    case BK_STREAM_WATCH:
        if (is_request(m, BK_METHOD_INFO)) {
            return bk_server_on_info(s, now, stream, m, out);
        }
        if (m->cls == BK_STUN_INDICATION && m->method == BK_METHOD_RESULT) {
            return bk_server_on_result_by_stream(s, now, stream, m, out);
        }
        return is_request(m, BK_METHOD_WATCH) ? bk_server_on_watch(s, now, stream, m, out)
                                              : BK_E_STATE;
    case BK_STREAM_REGISTER:
        return bk_server_on_registering(s, now, stream, m, out);
    case BK_STREAM_PLAIN:
        return on_plain(s, now, stream, m, out);
    default:
        return BK_E_STATE;
    }
}

void bk_server_on_message(struct bk_server *s, const struct bk_now *now, uint64_t number,
                          struct bk_slice bytes, struct bk_server_out *out)
{
    uint32_t stream = bk_server_stream(s, number);
    if (stream == 0 || s->streams[stream].closing) {
        return;
    }
    struct bk_stun m;
    if (bk_stun_read(bytes, &m) != BK_OK) {
        bk_server_close(s, stream);
        return;
    }
    enum bk_err err = dispatch(s, now, stream, &m, out);
    if (err == BK_OK) {
        return;
    }
    if (m.cls == BK_STUN_REQUEST) {
        uint16_t code = err == BK_E_UNKNOWN_ATTR ? BK_CODE_UNKNOWN_ATTRIBUTE : BK_CODE_BAD_REQUEST;
        bk_server_send_error(s, stream, m.method, m.txid, code, out);
    }
    bk_server_close(s, stream);
}
