/* What a peer may cost us. Every frame that moves no data costs tokens; time, data that we send and streams
 * that were served give some back, so that a peer never runs out by using the session, however fast, and a
 * flood does within a second. Sees frame heads and counts; knows no stream.
 *
 * Beside it stand nghttp2's own limits (bk_h2_guard_options), which it enforces without asking, and those of
 * flow control. */
#include "net/h2_internal.h"

enum {
    TOKENS_MAX = 32768,
    TOKENS_PER_S = 8192,
    COST_PLAIN = 1,     /* PING, WINDOW_UPDATE, DATA without data, CONTINUATION, unknown kinds */
    COST_HEADERS = 2,   /* a stream: memory, and a local connection perhaps */
    COST_RESET = 4,     /* all that for nothing */
    COST_PRIORITY = 4,  /* moves a part of the tree */
    COST_SETTINGS = 64, /* goes through all streams */
    COST_RARE = 64,     /* GOAWAY, PUSH_PROMISE: once a session, or never */
    COST_INVALID = 16,
    EARN_OPENED = 8, /* HEADERS, RST_STREAM, WINDOW_UPDATE in answer */
    EARN_SENT = 2,   /* WINDOW_UPDATE of stream and session */
    USEFUL_BYTES = 1024,

    HEADERS_FRAME_BYTES = 16 * 1024,
    HEADERS_A_TOKEN_BYTES = 256, /* ours have less */
    CONTINUATIONS = 8,
    GOAWAY_BYTES = 1024,
    SETTINGS_ENTRIES = 32,
    FIRST_UNKNOWN_TYPE = 10,
    ACKS_OUT = 1000,      /* answers to PING and SETTINGS that wait to be sent */
    RESETS_BURST = 16384, /* by the peer of a server; above what the tokens allow */
    RESETS_PER_S = 4096,
    FRAMES_OUT = 2048,           /* frames that wait to be sent, about 200 bytes each */
    FRAMES_OUT_A_STREAM = 4,     /* and these for each stream */
    EFFORT_BYTES = 64,           /* a frame costs as much as that many bytes */
    CHATTER_BYTES = 1024 * 1024, /* one message of TLS itself for each of these is forgiven */
};

void bk_h2_guard_init(struct bk_h2 *h)
{
    h->guard = (struct h2_guard){.tokens = TOKENS_MAX, .filled = h->heard};
}

void bk_h2_guard_options(nghttp2_option *option)
{
    nghttp2_option_set_max_outbound_ack(option, ACKS_OUT);
    nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS);
    nghttp2_option_set_stream_reset_rate_limit(option, RESETS_BURST, RESETS_PER_S);
    nghttp2_option_set_max_reserved_remote_streams(option, 0); /* nobody pushes here */
    for (unsigned type = FIRST_UNKNOWN_TYPE; type <= UINT8_MAX;
         type++) { /* else nobody counts those */
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
    }
}

static void fault(struct bk_h2 *h, const char *text)
{
    if (h->guard.fault == NULL) {
        h->guard.fault = text;
    }
}

static void earn(struct bk_h2 *h, uint32_t n)
{
    h->guard.tokens = n < TOKENS_MAX - h->guard.tokens ? h->guard.tokens + n : TOKENS_MAX;
}

static void spend(struct bk_h2 *h, uint32_t n, const char *what)
{
    if (n > h->guard.tokens) {
        fault(h, what);
        n = h->guard.tokens;
    }
    h->guard.tokens -= n;
}

void bk_h2_guard_refill(struct bk_h2 *h)
{
    const bk_time each = BK_SECOND / TOKENS_PER_S;
    bk_time passed = h->now > h->guard.filled ? h->now - h->guard.filled : 0;
    if (passed / each >= TOKENS_MAX) {
        h->guard.tokens = TOKENS_MAX;
        h->guard.filled = h->now;
        return;
    }
    earn(h, (uint32_t)(passed / each));
    h->guard.filled += passed / each * each;
}

static void charge(struct bk_h2 *h, const nghttp2_frame_hd *hd)
{
    static const char idle[] = "the peer floods us with frames that carry nothing";
    static const char churn[] = "the peer opens and breaks off streams without end";
    bool empty = hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0;
    switch (hd->type) {
    case NGHTTP2_DATA:
        spend(h, empty || (hd->flags & NGHTTP2_FLAG_PADDED) != 0 ? COST_PLAIN : 0, idle);
        break;
    case NGHTTP2_HEADERS:
        spend(h, COST_HEADERS + (uint32_t)(hd->length / HEADERS_A_TOKEN_BYTES), churn);
        break;
    case NGHTTP2_RST_STREAM:
        spend(h, COST_RESET, churn);
        break;
    case NGHTTP2_PRIORITY:
        spend(h, COST_PRIORITY, idle);
        break;
    case NGHTTP2_SETTINGS:
        spend(h, COST_SETTINGS, idle);
        break;
    case NGHTTP2_GOAWAY:
    case NGHTTP2_PUSH_PROMISE:
        spend(h, COST_RARE, idle);
        break;
    default:
        spend(h, COST_PLAIN, idle);
    }
}

static bool is_huge(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_PUSH_PROMISE:
    case NGHTTP2_CONTINUATION:
        return hd->length > HEADERS_FRAME_BYTES;
    case NGHTTP2_GOAWAY:
        return hd->length > GOAWAY_BYTES;
    default:
        return false;
    }
}

int bk_h2_guard_frame(struct bk_h2 *h, const nghttp2_frame_hd *hd)
{
    h->guard.frames++;
    charge(h, hd);
    if (is_huge(hd)) { /* nghttp2 would keep or decode all of it */
        fault(h, "the peer sends frames beyond all measure");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (nghttp2_session_get_outbound_queue_size(h->ng) >
        FRAMES_OUT + FRAMES_OUT_A_STREAM * h->n_streams) {
        fault(h, "the peer does not read our answers");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

void bk_h2_guard_invalid(struct bk_h2 *h)
{
    spend(h, COST_INVALID, "the peer breaks the rules of HTTP/2 without end");
}

void bk_h2_guard_opened(struct bk_h2 *h)
{
    earn(h, EARN_OPENED);
}

void bk_h2_guard_served(struct bk_h2 *h)
{
    earn(h, COST_HEADERS);
}

/* Frames that are small because the peer's window is earn nothing: else it could have us send byte by byte. */
void bk_h2_guard_sent(struct bk_h2 *h, size_t bytes, size_t allowed)
{
    if (bytes < allowed || bytes >= USEFUL_BYTES) {
        earn(h, EARN_SENT);
    }
}

void bk_h2_guard_judge(struct bk_h2 *h)
{
    if (h->guard.fault == NULL || h->phase != H2_OPEN) {
        return;
    }
    if (h->blocked) { /* it would not hear of it */
        bk_h2_lose(h, BK_E_RANGE, h->guard.fault);
        return;
    }
    bk_h2_blame(h, BK_E_RANGE, h->guard.fault);
    /* From here on nghttp2 looks at nothing the peer sends. */
    if (nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM) != 0) {
        bk_h2_lose(h, BK_E_NOMEM, "out of memory");
    }
}

bool bk_h2_guard_chatty(struct bk_h2 *h)
{
    struct h2_guard *g = &h->guard;
    if (g->chatter == 0) {
        return false;
    }
    uint64_t forgiven = (h->bio.received - g->chatter_from) / CHATTER_BYTES;
    if (forgiven > 0) {
        g->chatter -= forgiven < g->chatter ? (unsigned)forgiven : g->chatter;
        g->chatter_from = h->bio.received;
    }
    return g->chatter > BK_TLS_CHATTER_MAX;
}

size_t bk_h2_guard_effort(struct bk_h2 *h)
{
    size_t effort = (size_t)h->guard.frames * EFFORT_BYTES;
    h->guard.frames = 0;
    return effort;
}
