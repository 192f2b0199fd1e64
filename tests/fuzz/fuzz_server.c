/* The server's core as a whole: the input is a script of datagrams, streams, messages, answers of the
 * store, revocations and time. The script may bend whatever it sends, send it from elsewhere, and let
 * memory run out. Held against it, after every event:
 *
 *   an answer to a datagram goes to its sender and is no larger (Binding: 24 bytes at most);
 *   a row appears or moves only by a REGISTER under the device's key, not bent, with a nonce that was
 *   sent to the very address; it is refreshed only by such a one from where it is;
 *   a revoked device has no row, is given no call and no 226; old generations are refused;
 *   every action names a stream that is open, a question is new, and nothing is said after CLOSE_STREAM;
 *   a device hears only of calls to it that the store granted, a user only of its own calls;
 *   every request is answered once; RENEW gives the key of the current epoch, and none to whom is revoked;
 *   nothing is sent under a key of an epoch that has gone, and its rows are no more;
 *   a watch is up only by the store's word, and closed after a change of what it watches;
 *   a call is delivered only by its device's word, its request goes by NOTIFY only where the operator wants that and the store
 *   has said yes, and RESULT by datagram is answered for its device only;
 *   a row made over a stream goes with it, and NOTIFY to it takes that stream; at the second port there is only Binding;
 *   a probe's echo goes to the IP address that the row has, and only for who is there;
 *   and all of it with several shards too, be they worked on by the core or by workers who are given what is not theirs. */
#include "server_events.h"

enum {
    FUZZ_INPUT_MAX = 8192,
    SHARDS = 3,
};

/* The device has another key from now on. */
static void on_new_key(struct world *w)
{
    struct device *d = &w->devices[feed_below(&w->f, DEVICES)];
    d->generation = 1 + (uint32_t)feed_below(&w->f, 4);
    d->epoch = (uint16_t)(OLD_EPOCH + feed_below(&w->f, EPOCHS));
}

static void on_time(struct world *w)
{
    feed_pass(&w->f, &w->now);
    timer(w);
}

/* What stands here twice comes twice as often. */
static void (*const events[])(struct world *w) = {
    on_register,  on_register,     on_register,    on_replay,       on_raw_datagram,   on_open,
    on_open,      on_closed,       on_message,     on_message,      on_answer,         on_answer,
    on_exception, on_user_revoked, on_new_key,     on_time,         on_grants_changed, on_masters,
    on_keepalive, on_probe,        on_second_port, on_stream_extra,
};
static void (*const rare_events[])(struct world *w) = {on_notify_answer, on_result};

enum {
    N_EVENTS = sizeof events / sizeof events[0],
    RARE_FROM = UINT8_MAX / N_EVENTS * N_EVENTS, /* so all the others are equally likely */
};

static void one_event(struct world *w)
{
    uint8_t what = feed_u8(&w->f);
    (what >= RARE_FROM ? rare_events[what % 2] : events[what % N_EVENTS])(w);
}

/* The store has answered everything, and all calls are over: so has the core. */
static void all_is_answered(struct world *w)
{
    for (size_t i = 0; i < QUERIES; i++) {
        struct query q = w->queries[i];
        w->queries[i] = (struct query){0};
        if (q.number != 0) {
            answer(w, &q, 0);
        }
    }
    w->now.mono += 100 * BK_SECOND;
    timer(w);
    for (size_t i = 0; i < STREAMS; i++) {
        const struct stream *s = &w->streams[i];
        require(s->number == 0 || s->closing || s->sent_bad || s->answered == s->asked);
    }
}

/* With everybody gone nothing stays behind. */
static void end(struct world *w)
{
    struct bk_server_event e = {.type = BK_SERVER_STREAM_CLOSED};
    all_is_answered(w);
    for (size_t i = 0; i < STREAMS; i++) {
        if (w->streams[i].number != 0) {
            e.closed.stream = w->streams[i].number;
            w->streams[i] = (struct stream){0};
            input(w, &e, &no_licence);
        }
    }
    /* A place in the rows that was used again and again at one moment has rows seen seconds ahead. */
    for (size_t i = 0; i < 4; i++) {
        w->now.mono += (BK_SERVER_EXPIRY_MAX_S + 10 + FUZZ_INPUT_MAX) * BK_SECOND;
        timer(w);
    }
    require(bk_server_rows(w->server) == 0);
    require(bk_server_deadline(w->server) == BK_TIME_NEVER);
    bk_server_free(w->server);
    require(w->memory.alive == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.f = (struct feed){data, size};
    w.now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1700000000};
    require(bk_seal_init() == BK_OK);
    w.config = (struct bk_server_config){
        .alloc = feed_alloc(&w.memory),
        .rng = feed_random(&w.seed),
        .mac = bk_mac_sodium(),
        .n_master = 2,
        .max_devices = DEVICES - 1,
        .max_streams = STREAMS - 2,
        .max_calls = 6,
        .answer_binding = true,
        .changes = BK_CHANGE_PORT | BK_CHANGE_IP,
        .binding_per_s = 3,
        .requests_per_s = 2,
        .ports = {1200, 1201, 1300},
    };
    w.config.master[0] = master_of(EPOCH);
    w.config.master[1] = master_of(OLD_EPOCH);
    for (size_t i = 0; i < DEVICES; i++) {
        w.devices[i].generation = 1;
        w.devices[i].epoch = EPOCH;
    }
    uint8_t fail = feed_u8(&w.f);
    w.in_shard = NO_SHARD;
    w.config.shards = fail < 224 ? 1 + fail % SHARDS : 1;
    if (fail % 2 == 1) {
        w.config.lock = shard_lock(&w);
    }
    w.config.fast_form = fail / 2 % 2 == 1;
    require(bk_server_new(&w.config, &w.now, &w.server) == BK_OK);
    w.memory.fail_from = fail < 224 ? 0 : w.memory.taken + fail - 223;
    while (w.f.left > 0) {
        one_event(&w);
    }
    end(&w);
    return 0;
}
