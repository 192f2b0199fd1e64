/* The fast form: NOTIFY with the request in it, the answer that takes it, RESULT by datagram or on a stream of WATCH, and
 * the first form where something of it fails. */
#include "core/server/fast_lab.h"

static void a_call_is_taken_from_notify_and_its_results_come_by_datagram(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    ring(&c, 1);
    expect_boxed(&c, 1);
    assert_true(bk_slice_equal(c.notify.box, bk_slice_text("sealed")));
    assert_true(bk_slice_equal(c.notify.user, bk_slice_text("alice")));
    lab_pass(c.l, 40);
    take(&c, 1);
    struct bk_stun m;
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    assert_true(lab_said(c.l, USER_STREAM, &m));
    assert_int_equal(m.txid[0], 0xC0); /* the requester's own transaction */
    const struct bk_server_action *a = lab_must(c.l, BK_SERVER_AUDIT, 0);
    assert_int_equal(a->audit.how, BK_AUDIT_DELIVERED);
    assert_int_equal(a->audit.took_ms, 40);
    assert_true(a->audit.fast);
    assert_int_equal(c.l->out.n, 2);

    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    assert_true(is_answered(&c));
    assert_int_equal(c.l->out.n, 2);
    say(&c, 1, "verdict"); /* the answer was lost */
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(is_answered(&c));
    say(&c, 1, "more");
    assert_true(is_told(&c, 0, "more"));

    assert_int_equal(run(c.l, 20000), 0); /* nobody is rung up any more */
    lab_closed(c.l, USER_STREAM);
    assert_int_equal(c.l->out.n, 0); /* one line a call; no stream of the device's to be closed */
    say(&c, 1, "too late");
    assert_true(is_answered(&c)); /* of no use any more */
    assert_int_equal(c.l->out.n, 1);
    lab_free(c.l);
}

static void the_first_two_bring_the_box_the_others_the_flag_in_one_transaction(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    uint8_t txid[BK_STUN_TXID_BYTES];
    size_t sent = 1;
    ring(&c, 1);
    expect_boxed(&c, 1);
    memcpy(txid, c.notify_txid, sizeof(txid));
    bk_time began = c.l->now.mono;
    while (bk_server_deadline(c.l->server) < began + BK_SERVER_DELIVERY_MS * BK_MS) {
        c.l->now.mono = bk_server_deadline(c.l->server);
        lab_timer(c.l);
        if (lab_count(c.l, BK_SERVER_SEND_DATAGRAM) == 0) {
            continue;
        }
        expect_notify(&c);
        sent++;
        assert_int_equal(c.notify.fast, sent <= 2);
        assert_true(sent != 2 || c.l->now.mono == began + 250 * BK_MS);
        assert_memory_equal(c.notify_txid, txid, sizeof(txid));
    }
    assert_int_equal(sent, 7);
    (void)run(c.l, 2000);
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_OFFLINE);
    assert_int_equal(lab_audit(c.l), BK_AUDIT_OFFLINE);
    lab_free(c.l);
}

static void an_answer_without_the_call_asks_for_the_first_form(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    ring(&c, 1);
    answer_notify(&c, c.d.addr, c.d.local);
    assert_int_equal(run(c.l, 1000), 0);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 1);
    answer_offer(&c, DEVICE_STREAM, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    assert_false(lab_must(c.l, BK_SERVER_AUDIT, 0)->audit.fast);
    send_result(&c, DEVICE_STREAM, 1);
    assert_true(is_told(&c, 0, "verdict"));
    lab_free(c.l);
}

static void an_answer_counts_for_the_call_that_was_sent_only(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    ring(&c, 1);
    take(&c, 2);
    assert_int_equal(c.l->out.n, 0);
    c.d.key[0] ^= 1;
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0);
    c.d.key[0] ^= 1;
    c.d.addr.port++;
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0);
    c.d.addr.port--;
    c.notify_txid[11] ^= 1;
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0);
    c.notify_txid[11] ^= 1;
    assert_int_equal(run(c.l, 300), 1); /* it goes on */
    take(&c, 1);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    take(&c, 1); /* the answer once more */
    assert_int_equal(c.l->out.n, 0);
    lab_free(c.l);

    c = call_lab_new(); /* a device cannot have taken what it was not sent */
    ring(&c, 1);
    assert_false(c.notify.fast);
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0);
    say(&c, 1, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(is_answered(&c));
    lab_free(c.l);
}

static void a_result_is_also_the_answer_that_was_lost(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    ring(&c, 1);
    say(&c, 1, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), 0); /* first of all */
    assert_true(is_told(&c, 1, "verdict"));
    assert_true(lab_must(c.l, BK_SERVER_AUDIT, 0)->audit.fast);
    assert_true(is_answered(&c));
    assert_int_equal(run(c.l, 8000), 0);
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0);
    lab_free(c.l);
}

static void a_result_of_another_device_or_call_tells_nobody(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    struct device other = device_new(c.l, 2134);
    deliver_fast(&c, 1);
    say(&c, 2, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(is_answered(&c));
    say_as(&c, &other, 1, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_int_equal(c.l->out.n, 1); /* an answer, under the key of who asked */
    c.d.key[5] ^= 1;
    say(&c, 1, "verdict");
    assert_int_equal(c.l->out.n, 0);
    c.d.key[5] ^= 1;
    lab_connect(c.l, USER_STREAM, 2133,
                3); /* the store still thinks: the device cannot know of it */
    say(&c, 3, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    lab_free(c.l);
}

static bool is_passed(struct call_lab *c, uint8_t call)
{
    say(c, call, "verdict");
    return is_answered(c) && is_told(c, 0, "verdict");
}

/* One that was overheard is good for ever: its device's key is. */
static void results_of_old_calls_sent_over_and_over_keep_no_new_one_away(void **state)
{
    (void)state;
    enum { TIMES = 1000 };
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    assert_true(is_passed(&c, 1));
    run(c.l, 61000); /* it is over */
    deliver_fast(&c, 2);
    for (int i = 0; i < TIMES; i++) {
        say(&c, 1, "verdict");
        assert_true(is_answered(&c));
        assert_int_equal(c.l->out.n, 1);
    }
    assert_true(is_passed(&c, 2));
    lab_free(c.l);
}

static void eight_results_pass_and_no_more(void **state)
{
    (void)state;
    static const char *const what[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    for (size_t i = 0; i < BK_SERVER_RESULTS_MAX; i++) {
        say(&c, 1, what[i]);
        assert_true(is_told(&c, 0, what[i]));
    }
    say(&c, 1, "9");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(is_answered(&c));
    lab_free(c.l);
}

static void a_call_that_was_taken_is_offered_on_no_stream(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    assert_true(lab_closes(c.l, DEVICE_STREAM));
    ring(&c, 2);
    ring(&c, 3);
    lab_open(c.l, 30, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 30, 2);
    lab_closed(c.l, 30);
    say(&c, 1, "verdict"); /* none the worse for it */
    assert_true(is_told(&c, 0, "verdict"));
    lab_open(c.l, 31, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, 31, 3);
    lab_free(c.l);
}

static void a_new_run_is_told_of_what_the_old_one_took(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    uint8_t txid[BK_STUN_TXID_BYTES];
    deliver_fast(&c, 1);
    memcpy(txid, c.notify_txid, sizeof(txid));
    lab_pass(c.l, 3000);
    restart_device(&c);
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM), 2); /* the answer, and NOTIFY */
    expect_nth_notify(&c, 1);
    expect_boxed(&c, 1);
    assert_memory_equal(c.notify_txid, txid, sizeof(txid));
    take(&c, 1);
    assert_int_equal(c.l->out.n, 0); /* the caller knows, and the audit */
    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    restart_device(&c); /* the caller has heard of it: nothing is to be had from another run */
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM), 1);
    assert_int_equal(run(c.l, 57500),
                     0); /* a minute after it was taken the server forgets it, in silence */
    assert_int_equal(c.l->out.n, 0);
    say(&c, 1, "too late");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    lab_free(c.l);
}

static void a_new_run_may_come_for_it_by_stream_after_those_that_wait(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    ring(&c, 2);
    restart_device(&c);
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM), 3);
    lab_open(c.l, DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, DEVICE_STREAM, 2);
    answer_offer(&c, DEVICE_STREAM, 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    lab_open(c.l, SECOND_DEVICE_STREAM, BK_ROLE_DEVICE, 2133, "");
    expect_offer(&c, SECOND_DEVICE_STREAM, 1);
    answer_offer(&c, SECOND_DEVICE_STREAM, 0);
    assert_int_equal(c.l->out.n, 0); /* told before */
    send_result(&c, SECOND_DEVICE_STREAM, 1);
    assert_true(is_told(&c, 0, "verdict"));
    lab_free(c.l);
}

static void a_device_that_never_comes_back_leaves_nothing(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    restart_device(&c);
    assert_int_equal(run(c.l, 59000), 6); /* NOTIFY, until it is clear that nobody hears */
    assert_int_equal(run(c.l, 2000), 0);
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE); /* it heard "success" once */
    ring(&c, 1); /* nothing is left: the call ID is free again */
    lab_free(c.l);
}

static void a_moved_device_answers_from_where_it_is(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    char nonce[BK_NONCE_BYTES + 1];
    deliver_fast(&c, 1);
    c.d.addr.port = 3401;
    assert_int_equal(device_send(c.l, &c.d, NULL, nonce), BK_CODE_STALE_NONCE);
    assert_int_equal(device_send(c.l, &c.d, nonce, NULL), 0);
    expect_nth_notify(&c, 1);
    take(&c, 1);
    assert_int_equal(run(c.l, 9000), 0);
    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    lab_free(c.l);
}

/* Two small datagrams of a device must not cost the server one to it for each of its calls, as fast as it can send. */
static void a_device_that_moves_without_end_is_told_now_and_then(void **state)
{
    (void)state;
    enum { CALLS = 8, MOVES = 200, EVERY_MS = 5, AT_ONCE = 4, SECOND_MS = 1000 };
    struct call_lab c = fast_lab_new();
    size_t sent = 0;
    for (uint8_t call = 1; call <= CALLS; call++) {
        deliver_fast(&c, call);
    }
    for (int i = 0; i < MOVES; i++) {
        restart_device(&c);
        sent += lab_count(c.l, BK_SERVER_SEND_DATAGRAM) - 1;
        sent += run(c.l, EVERY_MS);
    }
    assert_in_range(sent, CALLS * (AT_ONCE - 1), CALLS * (AT_ONCE + 1));
    /* And hears of all of them where it is at last. */
    sent = 0;
    for (int i = 0; i < SECOND_MS && sent < CALLS; i++) {
        lab_pass(c.l, 1);
        lab_timer(c.l);
        for (size_t nth = 0; nth < lab_count(c.l, BK_SERVER_SEND_DATAGRAM); nth++, sent++) {
            expect_nth_notify(&c, nth);
        }
    }
    assert_int_equal(sent, CALLS);
    take(&c, c.notify.call_id[0]);
    assert_int_equal(run(c.l, 60000), 6 * (CALLS - 1)); /* one has answered */
    lab_free(c.l);
}

static void by_stream_there_is_the_first_form_only(void **state)
{
    (void)state;
    struct lab *l = fast_server_new(1);
    struct call_lab c = {.l = l, .d = device_new(l, 2133)};
    uint8_t buf[256];
    struct bk_stun m;
    char nonce[BK_NONCE_BYTES + 1] = "";
    lab_open_for(l, 70, BK_ROLE_DEVICE, 2133, "", BK_STREAM_REGISTER);
    for (int i = 0; i < 2; i++) {
        struct bk_register_answer a;
        c.d.tag.counter++;
        lab_message(l, 70, device_write(l, &c.d, i == 0 ? NULL : nonce, buf, sizeof(buf)));
        assert_true(lab_said(l, 70, &m));
        assert_int_equal(bk_register_answer_read(&m, &l->config.mac, BK_SLICE_OF(c.d.key), &a),
                         BK_OK);
        if (i == 0) {
            memcpy(nonce, a.nonce.p, BK_NONCE_BYTES);
        }
    }
    lab_open(l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    lab_connect(l, USER_STREAM, 2133, 1);
    lab_found(l, lab_query(l), 0, 2133);
    assert_true(lab_said(l, 70, &m));
    assert_int_equal(bk_notify_read(&m, &l->config.mac, BK_SLICE_OF(c.d.key), &c.notify), BK_OK);
    assert_false(c.notify.fast);
    lab_free(l);
}

static void a_caller_whose_name_no_message_can_carry_calls_without_one(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    lab_open(c.l, OTHER_USER_STREAM, BK_ROLE_USER, 0, "Alice B.");
    lab_connect(c.l, OTHER_USER_STREAM, 2133, 1);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify(&c);
    expect_boxed(&c, 1);
    assert_int_equal(c.notify.user.n, 0);
    lab_free(c.l);
}

static void the_largest_box_goes_with_notify(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    char name[BK_NAME_MAX_BYTES + 1];
    uint8_t box[BK_BOX_MAX_BYTES], buf[2048];
    uint8_t txid[BK_STUN_TXID_BYTES] = {0xC0, 1};
    struct bk_connect in = {.equipment_id = 2133, .box = BK_SLICE_OF(box)};
    struct bk_slice b;
    memset(name, 'a', BK_NAME_MAX_BYTES);
    name[BK_NAME_MAX_BYTES] = '\0';
    memset(box, 0xB0, sizeof(box));
    memset(in.call_id, 1, sizeof(in.call_id));
    lab_open(c.l, OTHER_USER_STREAM, BK_ROLE_USER, 0, name);
    assert_int_equal(bk_connect_write(buf, sizeof(buf), txid, &in, &b), BK_OK);
    lab_message(c.l, OTHER_USER_STREAM, b);
    lab_found(c.l, lab_query(c.l), 0, 2133);
    expect_notify(&c);
    assert_true(bk_slice_equal(c.notify.box, BK_SLICE_OF(box)));
    assert_true(bk_slice_equal(c.notify.user, bk_slice_text(name)));
    lab_free(c.l);
}

static void a_revocation_ends_what_was_taken(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    deliver_fast(&c, 1);
    ring(&c, 2);
    lab_exception(c.l, 2133, 0, true);
    struct bk_stun m;
    assert_int_equal(lab_code(c.l, USER_STREAM), BK_CODE_REVOKED);
    assert_false(
        lab_said_nth(c.l, USER_STREAM, 1, &m)); /* the one that was taken was answered before */
    assert_int_equal(lab_audit(c.l), BK_AUDIT_REVOKED);
    say(&c, 1, "verdict");
    assert_int_equal(c.l->out.n, 0);
    take(&c, 2);
    assert_int_equal(c.l->out.n, 0);
    lab_free(c.l);
}

static void results_come_on_a_stream_of_watch_too(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    ring(&c, 1);
    lab_open_for(c.l, WATCH_STREAM, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    say_by_stream(&c, WATCH_STREAM, 1, "verdict"); /* nothing of the device came through by UDP */
    assert_int_equal(lab_code(c.l, USER_STREAM), 0);
    assert_true(is_told(&c, 1, "verdict"));
    assert_int_equal(lab_count(c.l, BK_SERVER_SEND_DATAGRAM), 0);
    assert_false(lab_closes(c.l, WATCH_STREAM));
    say_by_stream(&c, WATCH_STREAM, 1, "more");
    assert_true(is_told(&c, 0, "more"));
    say(&c, 1, "more"); /* one that was on its way for long */
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(is_answered(&c));
    deliver_fast(&c, 2); /* and of another call of that device */
    say_by_stream(&c, WATCH_STREAM, 2, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    lab_closed(c.l, WATCH_STREAM);
    assert_int_equal(c.l->out.n, 0); /* it was no watch: nothing ends with it */
    say(&c, 2, "last");
    assert_true(is_told(&c, 0, "last"));
    lab_free(c.l);
}

static void a_stream_of_watch_speaks_of_its_own_device_only(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    uint8_t buf[128];
    uint8_t txid[BK_STUN_TXID_BYTES] = {9};
    struct bk_slice b;
    deliver_fast(&c, 1);
    lab_open_for(c.l, WATCH_STREAM, BK_ROLE_DEVICE, 2134, "", BK_STREAM_WATCH);
    say_by_stream(&c, WATCH_STREAM, 1, "verdict");
    assert_int_equal(c.l->out.n, 0);
    lab_open_for(c.l, 61, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    struct bk_stun_writer w =
        bk_stun_begin(buf, sizeof(buf), BK_METHOD_RESULT, BK_STUN_INDICATION, txid);
    assert_int_equal(bk_stun_end(&w, &b), BK_OK);
    lab_message(c.l, 61, b);
    assert_true(lab_closes(c.l, 61));
    lab_exception(c.l, 2133, 0, true);
    lab_open_for(c.l, 62, BK_ROLE_DEVICE, 2133, "", BK_STREAM_WATCH);
    say_by_stream(&c, 62, 1, "verdict");
    assert_int_equal(lab_code(c.l, USER_STREAM), SILENCE);
    assert_true(lab_closes(c.l, 62));
    lab_free(c.l);
}

/* Without memory for the news of a row a call goes on as well as it can. */
static void a_call_that_cannot_ask_for_news_is_none_the_worse(void **state)
{
    (void)state;
    struct call_lab c = fast_lab_new();
    c.l->memory.fail_from = 1;
    for (uint8_t i = 0; i < 28;
         i++) { /* of devices that may still come: the server has just started */
        uint64_t stream = i % 2 == 0 ? 40 : 41;
        if (i < 2) {
            lab_open(c.l, stream, BK_ROLE_USER, 0, "bob");
        }
        lab_connect(c.l, stream, 3000u + i, (uint8_t)(100 + i));
        lab_found(c.l, lab_query(c.l), 0, 3000u + i);
        assert_int_equal(c.l->out.n, 0);
    }
    deliver_fast(&c, 1);
    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    lab_closed(c.l, USER_STREAM);
    lab_closed(c.l, 40);
    lab_closed(c.l, 41);
    lab_open(c.l, USER_STREAM, BK_ROLE_USER, 0, "alice");
    ring(&c, 2);
    restart_device(&c); /* what was asked for was given back: now there is room, and this is news */
    expect_nth_notify(&c, 1);
    lab_free(c.l);
}

struct watched_lock {
    uint32_t in; /* shard + 1 */
    uint32_t entered;
};

static void lock_enter(void *ctx, uint32_t shard)
{
    struct watched_lock *w = ctx;
    assert_int_equal(w->in, 0); /* never two at a time */
    w->in = shard + 1;
    w->entered++;
}

static void lock_leave(void *ctx, uint32_t shard)
{
    struct watched_lock *w = ctx;
    assert_int_equal(w->in, shard + 1);
    w->in = 0;
}

static void with_several_shards_every_lock_is_left(void **state)
{
    (void)state;
    struct watched_lock lock = {0};
    struct lab *l = lab_new();
    bk_server_free(l->server);
    l->config.fast_form = true;
    l->config.shards = 5;
    l->config.lock = (struct bk_shard_lock){&lock, lock_enter, lock_leave};
    assert_int_equal(bk_server_new(&l->config, &l->now, &l->server), BK_OK);
    struct call_lab c = call_lab_from(l);
    ring(&c, 1);
    assert_int_equal(lab_must(l, BK_SERVER_SEND_DATAGRAM, 0)->datagram.shard, bk_shard_of(2133, 5));
    take(&c, 1);
    assert_int_equal(lab_code(l, USER_STREAM), 0);
    restart_device(&c);
    expect_nth_notify(&c, 1);
    say(&c, 1, "verdict");
    assert_true(is_told(&c, 0, "verdict"));
    assert_true(is_answered(&c));
    assert_true(lock.entered > 5 && lock.in == 0);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_taken_from_notify_and_its_results_come_by_datagram),
        cmocka_unit_test(the_first_two_bring_the_box_the_others_the_flag_in_one_transaction),
        cmocka_unit_test(an_answer_without_the_call_asks_for_the_first_form),
        cmocka_unit_test(an_answer_counts_for_the_call_that_was_sent_only),
        cmocka_unit_test(a_result_is_also_the_answer_that_was_lost),
        cmocka_unit_test(a_result_of_another_device_or_call_tells_nobody),
        cmocka_unit_test(results_of_old_calls_sent_over_and_over_keep_no_new_one_away),
        cmocka_unit_test(eight_results_pass_and_no_more),
        cmocka_unit_test(a_call_that_was_taken_is_offered_on_no_stream),
        cmocka_unit_test(a_new_run_is_told_of_what_the_old_one_took),
        cmocka_unit_test(a_new_run_may_come_for_it_by_stream_after_those_that_wait),
        cmocka_unit_test(a_device_that_never_comes_back_leaves_nothing),
        cmocka_unit_test(a_moved_device_answers_from_where_it_is),
        cmocka_unit_test(a_device_that_moves_without_end_is_told_now_and_then),
        cmocka_unit_test(by_stream_there_is_the_first_form_only),
        cmocka_unit_test(a_caller_whose_name_no_message_can_carry_calls_without_one),
        cmocka_unit_test(the_largest_box_goes_with_notify),
        cmocka_unit_test(a_revocation_ends_what_was_taken),
        cmocka_unit_test(results_come_on_a_stream_of_watch_too),
        cmocka_unit_test(a_stream_of_watch_speaks_of_its_own_device_only),
        cmocka_unit_test(a_call_that_cannot_ask_for_news_is_none_the_worse),
        cmocka_unit_test(with_several_shards_every_lock_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
