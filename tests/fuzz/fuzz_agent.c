/* The agent's cores as a whole: registration, renewal, admission, limits on dialling and calls, wired as the
 * agent wires them. The input is a script of what a server, a caller and anyone who can send a datagram may
 * do, of clocks and of time. The server knows the registration key and may lie; callers know the box keys,
 * some the password, and one has a key that the device knows.
 *
 *   nothing is sent but to the server, and every REGISTER has a tag of its own;
 *   registered, revoked, renew: said only upon an answer under the key, unbent, from the server;
 *   one call for one NOTIFY, in one form, and only for a tag that was sent; none while there is no room;
 *   a RESULT goes to the server that was named, and what became of it is told once;
 *   no box is admitted twice, whatever the clocks do;
 *   a wrong signature leads to no question; passwords and keys are checked after admission;
 *   a key that is known is never made to wait, whatever is guessed;
 *   addresses of the box, and of PATHS, are tried after the right password or key, once each, within policy, and
 *   only if the limits let them pass; relays that cut us off a few times more;
 *   one round of PATHS at a time, and not too often; the port listens, and the router is asked, once;
 *   after END nothing comes, and no deadline lies in the past. */
#include "agent_world.h"
#include "wire/notify.h"
#include "wire/result.h"

/* What this event may bring about. */
struct licence {
    bool registered, revoked, call, renew, full;
    size_t told; /* RESULTs, at most */
};

static struct bk_registration_out out;
struct bk_addr agent_address(size_t i)
{
    static const uint8_t first[] = {130, 130, 4, 127, 0, 10, 192, 239};
    return bk_addr_v4(first[i % 8], 74, 23, 6, i < 8 ? 1200 : (uint16_t)(i * 100));
}

/* ---- registration ---- */

static void check_send(struct world *w, const struct bk_registration_action *a)
{
    struct bk_stun m;
    struct bk_register r;
    require(bk_stun_read(a->bytes, &m) == BK_OK);
    if (m.method == BK_METHOD_RESULT) { /* to the server of then */
        require(!a->tunnel && w->results > 0 && m.cls == BK_STUN_REQUEST);
        require(bk_datagram_check(&m, &w->config.mac, BK_SLICE_OF(w->config.key)) == BK_OK);
        memcpy(w->result_txid, m.txid, sizeof w->result_txid);
        return;
    }
    require(a->tunnel || bk_addr_equal(&a->addr, &w->server));
    if (m.method == BK_METHOD_NOTIFY) {
        require(m.cls == BK_STUN_SUCCESS);
        return;
    }
    require(bk_register_read(&m, &r) == BK_OK && r.equipment_id == ID);
    require(bk_datagram_check(&m, &w->config.mac, BK_SLICE_OF(w->config.key)) == BK_OK);
    if (w->n_tags > 0) {
        const struct bk_tag *before = &w->tags[(w->n_tags - 1) % TAGS];
        require(r.tag.random != before->random || r.tag.counter > before->counter);
    }
    w->tags[w->n_tags++ % TAGS] = r.tag;
    if (m.cls == BK_STUN_REQUEST) {
        memcpy(w->txid[a->tunnel], m.txid, sizeof w->txid[0]);
    }
}

static void check_out(struct world *w, struct licence l)
{
    size_t calls = 0;
    size_t told = 0;
    require(out.used <= sizeof out.bytes);
    for (size_t i = 0; i < out.n; i++) {
        switch (out.actions[i].type) {
        case BK_REGISTRATION_SEND:
            check_send(w, &out.actions[i]);
            break;
        case BK_REGISTRATION_REGISTERED:
            require(l.registered);
            bk_renewal_registered(&w->renewal, &w->now, true);
            break;
        case BK_REGISTRATION_REVOKED:
            require(l.revoked);
            bk_renewal_registered(&w->renewal, &w->now, false);
            break;
        case BK_REGISTRATION_RENEW:
            require(l.renew);
            bk_renewal_hint(&w->renewal, &w->now);
            break;
        case BK_REGISTRATION_CALL:
            require(l.call && calls++ == 0);
            break;
        case BK_REGISTRATION_FULL:
            require(l.full && out.n == 1);
            break;
        case BK_REGISTRATION_RESULT_TOLD:
            require(w->results > 0 && told++ < l.told);
            w->results--;
            break;
        case BK_REGISTRATION_LOST:
            bk_renewal_registered(&w->renewal, &w->now, false);
            break;
        case BK_REGISTRATION_RESOLVE:
        case BK_REGISTRATION_TUNNEL_OPEN:
        case BK_REGISTRATION_TUNNEL_CLOSE:
            break;
        }
    }
}

static void registration_input(struct world *w, struct bk_registration_event e, struct licence l)
{
    bk_registration_input(&w->registration, &w->now, &e, &out);
    check_out(w, l);
}

static struct bk_slice register_answer(struct world *w, uint8_t how, bool tunnel, uint8_t *buf,
                                       size_t cap, struct licence *l)
{
    static const uint16_t codes[] = {0, 0, BK_CODE_STALE_NONCE, BK_CODE_FORBIDDEN};
    struct bk_register_answer a = {.code = codes[how % 4],
                                   .mapped = agent_address(2 + how / 4 % 2)};
    uint8_t txid[BK_STUN_TXID_BYTES] = {0};
    struct bk_slice bytes;
    a.nonce = bk_slice_text("abcdefghijklmnopqrst");
    /* The server's idea of the time: none, right, or a lie. */
    uint64_t right = 1700000000 + w->now.mono / BK_SECOND;
    a.unix_s = how / 16 % 4 == 0 ? 0 : how / 16 % 4 == 3 ? right + 400 * feed_u8(&w->f) : right;
    a.renew = a.code == 0 && (how & 128) != 0;
    if ((how & 64) == 0) {
        memcpy(txid, w->txid[tunnel], sizeof txid);
        l->renew = a.renew;
        l->registered = a.code == 0;
        l->revoked = a.code == BK_CODE_FORBIDDEN;
    }
    require(bk_register_answer_write(buf, cap, txid, &a, &w->config.mac, BK_SLICE_OF(w->config.key),
                                     &bytes) == BK_OK);
    return bytes;
}

static struct bk_slice notify(struct world *w, uint8_t how, uint8_t *buf, size_t cap,
                              struct licence *l)
{
    uint8_t txid[BK_STUN_TXID_BYTES] = {1, how % TXIDS};
    struct bk_slice bytes;
    static const uint8_t box[] = "not looked into";
    struct bk_notify in = {.tag = w->tags[feed_below(&w->f, TAGS)], .fast = (how & 128) != 0};
    bool sent = w->n_tags > 0 && in.tag.counter != 0;
    in.tag.counter += (how & 64) != 0 ? 100000 : 0;
    l->call = sent && (how & 64) == 0 && !w->called[how % TXIDS];
    if (in.fast) {
        in.call_id[0] = how % TXIDS;
        in.box = BK_SLICE_OF(box);
        in.user = (how & 32) != 0 ? bk_slice_text("alice") : BK_SLICE_EMPTY;
    }
    require(bk_notify_write(buf, cap, txid, &in, &w->config.mac, BK_SLICE_OF(w->config.key),
                            &bytes) == BK_OK);
    return bytes;
}

static struct bk_slice result_answer(const struct world *w, uint8_t *buf, size_t cap,
                                     struct licence *l)
{
    struct bk_slice bytes;
    l->told = 1;
    require(bk_result_answer_write(buf, cap, w->result_txid, &w->config.mac,
                                   BK_SLICE_OF(w->config.key), &bytes) == BK_OK);
    return bytes;
}

/* What a call part may have its idle part say. */
static void on_result(struct world *w)
{
    static const uint8_t box[BK_AGENT_RESULT_BYTES + 1];
    uint8_t how = feed_u8(&w->f);
    struct bk_registration_event e = {.type = BK_REGISTRATION_RESULT,
                                      .addr = w->server,
                                      .number = how,
                                      .bytes = bk_slice(box, how * 2 % sizeof box)};
    e.call_id[0] = how % TXIDS;
    w->results++;
    bk_registration_input(&w->registration, &w->now, &e, &out);
    check_out(w, (struct licence){.told = 1});
}

static void on_datagram(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    uint8_t from = feed_u8(&w->f);
    uint8_t what = feed_u8(&w->f);
    uint8_t buf[512];
    struct licence l = {0};
    struct bk_registration_event e = {.type = BK_REGISTRATION_DATAGRAM, .addr = w->server};
    e.tunnel = (what & 2) != 0;
    if (from >= 240) {
        e.bytes = feed_bytes(&w->f);
    } else if ((what & 12) == 12) {
        e.bytes = result_answer(w, buf, sizeof buf, &l);
    } else if ((what & 1) != 0) {
        e.bytes = register_answer(w, how, e.tunnel, buf, sizeof buf, &l);
    } else {
        e.bytes = notify(w, how, buf, sizeof buf, &l);
        e.full = what >= 224;
        l.full = e.full && l.call;
        l.call = l.call && !e.full;
    }
    if (from >= 200 && from < 240) {
        e.bytes = feed_bend(&w->f, buf, e.bytes.n);
        l = (struct licence){0};
    } else if (from >= 180 && from < 200 && !e.tunnel) {
        e.addr = agent_address(2);
        l = (struct licence){0};
    }
    registration_input(w, e, l);
    for (size_t i = 0; i < out.n; i++) {
        if (out.actions[i].type == BK_REGISTRATION_CALL) {
            w->called[how % TXIDS] = true;
        }
    }
}

/* ---- time ---- */

/* A new registration key, as the answer to a renewal brings one. */
static void rekey(struct world *w)
{
    w->config.key[0] = feed_u8(&w->f);
    w->config.epoch++;
    bk_registration_rekey(&w->registration, &w->now, w->config.generation, w->config.epoch,
                          w->config.key);
}

static void on_renewal(struct world *w)
{
    bool was_running = w->renewal.running;
    bool certificate;
    uint64_t unix_s = bk_registration_unix_s(&w->registration, &w->now);
    if (bk_renewal_due(&w->renewal, &w->now, unix_s, &certificate)) {
        require(!was_running && bk_renewal_deadline(&w->renewal) == BK_TIME_NEVER);
    } else {
        require(!certificate && bk_renewal_deadline(&w->renewal) > w->now.mono);
    }
    if (!w->renewal.running || feed_bool(&w->f)) {
        return; /* nothing to end, or not yet */
    }
    struct bk_renewal_facts facts = {.certificate_from_s = unix_s,
                                     .certificate_until_s = unix_s + 86400 * feed_u8(&w->f),
                                     .box_made_s = unix_s};
    if (facts.certificate_until_s % 7 == 0) {
        bk_renewal_ended(&w->renewal, &w->now, NULL);
    } else {
        bk_renewal_ended(&w->renewal, &w->now, &facts);
        rekey(w);
    }
    require(bk_renewal_deadline(&w->renewal) > w->now.mono);
}

static void on_time(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    feed_pass(&w->f, &w->now);
    if (how >= 224) { /* the host's clock is set, or not to be trusted any more */
        uint64_t right = 1700000000 + w->now.mono / BK_SECOND;
        w->now.unix_s = how % 4 == 0 ? 0 : right + 100 * (uint64_t)(how % 32) - 1500;
    }
    for (int turn = 0; turn < 4 && bk_registration_deadline(&w->registration) <= w->now.mono;
         turn++) { /* results that are due take the room of one or more */
        bk_registration_timer(&w->registration, &w->now, &out);
        check_out(w, (struct licence){.told = BK_AGENT_RESULTS_MAX});
    }
    require(bk_registration_deadline(&w->registration) > w->now.mono);
    agent_calls_timer(w);
    on_renewal(w);
}

static void one_event(struct world *w)
{
    const struct licence none = {0};
    uint8_t how = feed_u8(&w->f);
    if (how < 80) {
        on_datagram(w);
    } else if (how < 100) {
        agent_call_begins(w);
    } else if (how < 180) {
        agent_call_event(w);
    } else if (how < 226) {
        on_time(w);
    } else if (how < 230) {
        on_result(w);
    } else if (how < 240) {
        w->server = agent_address(how % 2);
        registration_input(
            w, (struct bk_registration_event){.type = BK_REGISTRATION_RESOLVED, .addr = w->server},
            none);
    } else {
        static const enum bk_registration_event_type types[] = {
            BK_REGISTRATION_START,     BK_REGISTRATION_UNRESOLVED,  BK_REGISTRATION_NETWORK_CHANGED,
            BK_REGISTRATION_TUNNEL_UP, BK_REGISTRATION_TUNNEL_DOWN, BK_REGISTRATION_KEPT};
        registration_input(
            w, (struct bk_registration_event){.type = types[how % 6], .kept_s = 10 * (how % 32)},
            none);
    }
}

static void init(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    w->now = (struct bk_now){.mono = 1000 * BK_SECOND};
    w->now.unix_s = (how & 1) != 0 ? 0 : 1700000000 + 1000;
    w->config = (struct bk_registration_config){
        .rng = feed_random(&w->seed),
        .mac = bk_mac_sodium(),
        .equipment_id = ID,
        .generation = 1,
        .keepalive_s = (how & 2) != 0 ? 60 : 0,
    };
    bk_registration_init(&w->registration, &w->config);
    bk_admission_init(&w->admission);
    bk_dials_init(&w->dials, &w->now);
    struct bk_renewal_config renewal = {.rng = w->config.rng, .spread_s = (how & 8) != 0 ? 10 : 0};
    struct bk_renewal_facts facts = {.certificate_until_s = (how & 16) != 0 ? UINT64_MAX : 0};
    bk_renewal_init(&w->renewal, &w->now, &renewal, &facts);
    w->call_config = (struct bk_call_config){
        .rng = w->config.rng,
        .equipment_id = ID,
        .n_boxes = BK_CALL_BOXES_MAX,
        .services = {bk_slice_text("ssh"), bk_slice_text("web")},
        .n_services = 2,
        .policy = {.own = {agent_address(2)},
                   .n_own = 1,
                   .servers = {agent_address(0)},
                   .n_servers = 1},
    };
    for (size_t i = 0; i < BK_CALL_BOXES_MAX; i++) {
        bk_box_pair_make(&w->config.rng, &w->call_config.box[i]);
    }
    for (size_t i = 0; i < KEYS; i++) {
        w->seeds[i][0] = (uint8_t)(i + 1);
        bk_caller_key_of(w->seeds[i], w->keys[i]);
    }
    if ((how & 4) != 0) { /* its owner's lists */
        struct bk_policy *p = &w->call_config.policy;
        const struct bk_addr listed[] = {agent_address(6), agent_address(1)};
        for (size_t i = 0; i < 2; i++) {
            p->allow[i].bits = 104;
            memcpy(p->allow[i].ip, listed[i].ip, sizeof p->allow[i].ip);
        }
        p->n_allow = 2;
        p->deny[0] = p->allow[0];
        p->deny[0].bits = 128;
        p->n_deny = 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    require(bk_seal_init() == BK_OK);
    w.f = (struct feed){data, size};
    init(&w);
    while (w.f.left > 0) {
        one_event(&w);
        agent_calls_settle(&w);
    }
    for (size_t i = 0; i < CALLS; i++) {
        bk_call_free(w.calls[i].core);
    }
    require(w.memory.alive == 0);
    return 0;
}
