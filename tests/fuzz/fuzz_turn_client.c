/* The TURN client against a relay that knows its questions: the input says, step by step, what the relay answers, in
 * order or bent, and what happens besides. */
#include "core/requester/turn.h"
#include "feed.h"

enum { STEPS_MAX = 200 };

struct world {
    struct feed feed;
    uint64_t seed;
    struct bk_now now;
    struct bk_turn_client t;
    struct bk_turn_client_out out;
    bool over;
    bool has_question, has_bind_question;
    uint8_t question[BK_TURN_MESSAGE_MAX_BYTES], bind_question[BK_TURN_MESSAGE_MAX_BYTES];
    size_t question_n, bind_question_n, bind;
    bool bound[BK_TURN_CLIENT_BINDS_MAX]; /* as the shell would hold a connection */
};

/* Weak, and enough: both sides use it. */
static void mix(struct bk_slice key, const struct bk_slice *parts, size_t n_parts, uint8_t *out,
                size_t n)
{
    uint32_t h = 1;
    for (size_t i = 0; i < key.n; i++) {
        h = h * 31 + key.p[i];
    }
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t j = 0; j < parts[i].n; j++) {
            h = h * 31 + parts[i].p[j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(h >> 8 * (i % 4));
    }
}

static void md5(void *ctx, const struct bk_slice *parts, size_t n, uint8_t out[BK_TURN_KEY_BYTES])
{
    (void)ctx;
    mix(BK_SLICE_EMPTY, parts, n, out, BK_TURN_KEY_BYTES);
}

static void sha1(void *ctx, struct bk_slice key, const struct bk_slice *parts, size_t n,
                 uint8_t out[BK_HMAC_SHA1_BYTES])
{
    (void)ctx;
    mix(key, parts, n, out, BK_HMAC_SHA1_BYTES);
}

static const struct bk_turn_ops ops = {NULL, md5, sha1};

static void keep_question(struct bk_slice bytes, uint8_t *room, size_t *n)
{
    struct bk_stun m;
    struct bk_turn_request request;
    require(bytes.n <= BK_TURN_MESSAGE_MAX_BYTES);
    memcpy(room, bytes.p, bytes.n);
    *n = bytes.n;
    require(bk_stun_read(bk_slice(room, *n), &m) == BK_OK);
    require(bk_turn_request_read(&m, &request) == BK_OK);
}

/* What the shell would do, and what must hold of what the core asks of it. */
static void look(struct world *w)
{
    size_t sends = 0;
    for (size_t i = 0; i < w->out.n; i++) {
        const struct bk_turn_client_action *a = &w->out.actions[i];
        require(!w->over);
        require(a->bind < BK_TURN_CLIENT_BINDS_MAX);
        switch (a->type) {
        case BK_TURN_CLIENT_SEND:
            keep_question(a->bytes, w->question, &w->question_n);
            w->has_question = true;
            sends++;
            break;
        case BK_TURN_CLIENT_READY:
            require(bk_addr_is_v4(&a->addr) && a->addr.port != 0);
            break;
        case BK_TURN_CLIENT_BIND:
            require(!w->bound[a->bind]);
            w->bound[a->bind] = true;
            break;
        case BK_TURN_CLIENT_BIND_SEND:
            require(w->bound[a->bind]);
            keep_question(a->bytes, w->bind_question, &w->bind_question_n);
            w->has_bind_question = true;
            w->bind = a->bind;
            sends++;
            break;
        case BK_TURN_CLIENT_BIND_DONE:
        case BK_TURN_CLIENT_BIND_CLOSE:
            require(w->bound[a->bind]);
            w->bound[a->bind] = false;
            break;
        case BK_TURN_CLIENT_FAILED:
            require(i == w->out.n - 1 && a->why[0] != '\0');
            w->over = true;
            break;
        }
    }
    require(sends <= 1); /* they share one buffer */
    require(!w->over || bk_turn_client_deadline(&w->t) == BK_TIME_NEVER);
}

static void input(struct world *w, enum bk_turn_client_event_type type, struct bk_slice bytes,
                  size_t bind)
{
    const struct bk_turn_client_event event = {.type = type,
                                               .bytes = bytes,
                                               .bind = bind,
                                               .addr = bk_addr_v4(4, 2, 99, (uint8_t)bytes.n, 0)};
    bk_turn_client_input(&w->t, &w->now, &event, &w->out);
    look(w);
}

static struct bk_slice answer_to(struct world *w, const uint8_t *question, size_t n, uint8_t *buf)
{
    static const uint16_t codes[] = {0, 0, 401, 438, 403, 437, 442, 486, 508, 300, 699};
    static const char *const realms[] = {"relay", "other", ""};
    static const char *const nonces[] = {"n1", "a nonce that is another", ""};
    struct bk_stun m;
    struct bk_turn_request request;
    uint8_t key[BK_TURN_KEY_BYTES];
    struct bk_slice bytes;
    require(bk_stun_read(bk_slice(question, n), &m) == BK_OK);
    require(bk_turn_request_read(&m, &request) == BK_OK);
    bk_turn_key(&ops, request.username, request.realm, bk_slice_text("secret"), key);
    struct bk_turn_answer answer = {
        .method = m.method,
        .code = codes[feed_below(&w->feed, sizeof codes / sizeof codes[0])],
        .relayed = bk_addr_v4(4, 17, 168, 6, (uint16_t)(50000 * feed_bool(&w->feed))),
        .mapped = bk_addr_v4(4, 18, 1, 1, 1500),
        .lifetime_s = (uint32_t)feed_u8(&w->feed) << feed_below(&w->feed, 25),
    };
    if (answer.code == 401 || answer.code == 438) {
        answer.realm = bk_slice_text(realms[feed_below(&w->feed, 3)]);
        answer.nonce = bk_slice_text(nonces[feed_below(&w->feed, 3)]);
    }
    bool with_key = request.has_mac && feed_below(&w->feed, 8) != 7;
    return bk_turn_answer_write(buf, BK_TURN_MESSAGE_MAX_BYTES, m.txid, &answer, &ops,
                                with_key ? key : NULL, &bytes) == BK_OK
               ? bytes
               : BK_SLICE_EMPTY;
}

static void answer(struct world *w, bool to_bind)
{
    uint8_t buf[BK_TURN_MESSAGE_MAX_BYTES];
    if (to_bind ? !w->has_bind_question : !w->has_question) {
        return;
    }
    struct bk_slice bytes = to_bind ? answer_to(w, w->bind_question, w->bind_question_n, buf)
                                    : answer_to(w, w->question, w->question_n, buf);
    if (bytes.n > 0 && feed_below(&w->feed, 8) == 7) {
        bytes = feed_bend(&w->feed, buf, bytes.n);
    }
    input(w, to_bind ? BK_TURN_CLIENT_BIND_MESSAGE : BK_TURN_CLIENT_BYTES, bytes, w->bind);
}

static const char *const names[4] = {"", "one.call.invalid", "two.call.invalid",
                                     "three.call.invalid"};

static void attempt(struct world *w)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    uint8_t buf[256];
    struct bk_slice bytes;
    struct bk_turn_attempt a = {.connection_id = feed_u8(&w->feed)};
    uint8_t from = feed_u8(&w->feed);
    a.peer = bk_addr_v4(4, 2, 99, from & 3, 4000);
    a.server_name = bk_slice_text(names[from >> 6]);
    require(bk_turn_attempt_write(buf, sizeof buf, txid, &a, &bytes) == BK_OK);
    input(w, BK_TURN_CLIENT_BYTES, bytes, 0);
}

static void step(struct world *w)
{
    size_t bind = feed_below(&w->feed, BK_TURN_CLIENT_BINDS_MAX);
    switch (feed_below(&w->feed, 10)) {
    case 0:
    case 1:
        answer(w, false);
        break;
    case 2:
        answer(w, true);
        break;
    case 3:
        attempt(w);
        break;
    case 4:
        input(w, BK_TURN_CLIENT_BIND_OPEN, BK_SLICE_EMPTY, bind);
        break;
    case 5:
        input(w, BK_TURN_CLIENT_BYTES, feed_bytes(&w->feed), 0);
        break;
    case 6:
        input(w, BK_TURN_CLIENT_PERMIT, feed_bytes(&w->feed), 0);
        break;
    case 7:
        input(w, BK_TURN_CLIENT_NAME, bk_slice_text(names[feed_below(&w->feed, 4)]), 0);
        break;
    case 8:
        if (feed_bool(&w->feed)) {
            w->bound[bind] = false;
            input(w, BK_TURN_CLIENT_BIND_CLOSED, BK_SLICE_EMPTY, bind);
        } else {
            input(w, BK_TURN_CLIENT_BIND_MESSAGE, feed_bytes(&w->feed), bind);
        }
        break;
    default:
        feed_pass(&w->feed, &w->now);
        for (int i = 0; i < 3 && bk_turn_client_deadline(&w->t) <= w->now.mono; i++) {
            bk_turn_client_timer(&w->t, &w->now, &w->out);
            look(w);
        }
        require(w->over || bk_turn_client_deadline(&w->t) > w->now.mono);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.feed = (struct feed){data, size};
    w.seed = 1;
    w.now.mono = 1000 * BK_SECOND;
    const struct bk_addr first = bk_addr_v4(4, 2, 99, 1, 0);
    const struct bk_turn_client_config config = {.rng = feed_random(&w.seed),
                                                 .ops = ops,
                                                 .family = BK_FAMILY_IPV4,
                                                 .username = bk_slice_text("100:alice"),
                                                 .password = bk_slice_text("secret"),
                                                 .permits = &first,
                                                 .n_permits = 1};
    require(bk_turn_client_init(&w.t, &config) == BK_OK);
    input(&w, BK_TURN_CLIENT_START, BK_SLICE_EMPTY, 0);
    input(&w, BK_TURN_CLIENT_OPEN, BK_SLICE_EMPTY, 0);
    for (int i = 0; i < STEPS_MAX && w.feed.left > 0; i++) {
        step(&w);
    }
    bk_turn_client_fini(&w.t);
    return 0;
}
