/* A call on the device's side: what is checked, in which order, and every way in which it ends. */
#include "core/agent/bench.h"
#include "core/failing.h"

static void a_good_call_goes_step_by_step(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.has_tag = true;
    b->request.tag = (struct bk_tag){99, 4};
    start(b);
    deliver(b);
    assert_answered(b, BK_STUN_SUCCESS); /* at once, before anything is decided */
    assert_int_equal(b->out.n, 2);
    const struct bk_call_action *ask = must_find(b, BK_CALL_ASK_ADMISSION);
    assert_memory_equal(ask->facts.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    assert_int_equal(ask->facts.unix_s, b->request.unix_s);
    assert_true(ask->facts.has_tag);
    assert_int_equal(ask->facts.tag.counter, 4);
    assert_true(bk_slice_equal(bk_call_user(b->c), bk_slice_text("alice")));
    assert_null(bk_call_opened(b->c));

    admission(b, BK_ADMITTED);
    assert_int_equal(b->out.n, 1);
    struct bk_slice asked = b->out.actions[0].bytes;
    assert_int_equal(b->out.actions[0].type, BK_CALL_CHECK_CALLER);
    assert_true(bk_slice_equal(asked, bk_slice_text("open sesame")));
    assert_false(b->out.actions[0].facts.has_key);
    assert_memory_equal(b->out.actions[0].facts.call_id, b->request.call_id, BK_CALL_ID_BYTES);
    assert_null(bk_call_opened(b->c));

    caller(b, true);
    assert_false(holds(asked.p, asked.n, "open")); /* wiped */
    assert_int_equal(b->out.n, 3);
    assert_int_equal(b->out.actions[0].type,
                     BK_CALL_LISTEN); /* before ACCEPTED, whoever hears it may come */
    assert_int_equal(b->out.actions[1].type, BK_CALL_SEND_SERVER);
    assert_int_equal(result(b).status, BK_CALL_ACCEPTED);
    assert_int_equal(result(b).n_candidates, 0);                 /* we know of none */
    assert_int_equal(b->out.actions[2].type, BK_CALL_ASK_DIALS); /* after ACCEPTED */
    assert_int_equal(b->out.actions[2].dials, 1);
    assert_non_null(bk_call_opened(b->c));
    assert_memory_equal(bk_call_opened(b->c)->call_key, b->request.call_key, BK_KEY_BYTES);

    dials(b, 1);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_DIAL);
    assert_int_equal(b->out.actions[0].index, 0);
    assert_true(bk_addr_equal(&b->out.actions[0].addr, &b->request.candidates[0].addr));

    dial_event(b, BK_CALL_SESSION_UP, 0);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_CALL_CLOSE_SERVER);
    assert_true(b->out.actions[0].abort);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
    dial_event(b, BK_CALL_SESSION_ENDED, 0);
    assert_ended(b, BK_CALL_END_SERVED);
    assert_int_equal(b->out.n, 1);
}

static void without_226_it_ends(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    assert_int_equal(bk_call_deadline(b->c), b->now.mono + BK_CALL_SERVER_WAIT_MS * BK_MS);
    tick(b);
    assert_ended(b, BK_CALL_END_NO_SERVER);
    begin(b);
    start(b);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    assert_ended(b, BK_CALL_END_NO_SERVER);
    assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), 0);
}

static void what_is_not_for_us_is_refused(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->connect.equipment_id = DEVICE + 1;
    start(b);
    deliver(b);
    assert_answered(b, BK_STUN_ERROR);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);

    begin(b); /* right outside, wrong inside */
    b->request.equipment_id = DEVICE + 1;
    start(b);
    deliver(b);
    assert_answered(b, BK_STUN_SUCCESS);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);

    begin(b); /* another call's box under this call's ID */
    b->connect.call_id[0] ^= 1;
    start(b);
    deliver(b);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
    assert_null(find(b, BK_CALL_ASK_ADMISSION));

    begin(b); /* sealed to another key */
    start(b);
    bk_box_pair_make(&b->rng, &b->config.box[0]);
    deliver(b);
    assert_answered(b, BK_STUN_SUCCESS);
    assert_ended(b, BK_CALL_END_BAD_REQUEST);
}

static void no_changed_byte_of_226_leads_to_a_question(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    static uint8_t good[2048];
    size_t n = 20 + (size_t)(b->message[2] << 8 | b->message[3]);
    memcpy(good, b->message, n);
    for (size_t i = 0; i < n; i++) {
        bk_call_free(b->c);
        b->c = NULL;
        start(b);
        memcpy(b->message, good, n);
        b->message[i] ^= 0x10;
        input(b, (struct bk_call_event){.type = BK_CALL_SERVER_MESSAGE,
                                        .bytes = bk_slice(b->message, n)});
        assert_null(find(b, BK_CALL_ASK_DIALS));
        if (i >= 20 && find(b, BK_CALL_ASK_ADMISSION) != NULL) {
            /* only the user's name, which is a note, and padding may differ */
            assert_memory_equal(must_find(b, BK_CALL_ASK_ADMISSION)->facts.call_id,
                                b->request.call_id, BK_CALL_ID_BYTES);
        }
    }
}

static void each_verdict_has_its_result(void **state)
{
    (void)state;
    static const struct {
        enum bk_admission_verdict verdict;
        enum bk_call_status status;
        enum bk_call_end end;
    } rows[] = {
        {BK_ADMISSION_STALE, BK_CALL_STALE, BK_CALL_END_STALE},
        {BK_ADMISSION_BACK_OFF, BK_CALL_BACK_OFF, BK_CALL_END_BACK_OFF},
        {BK_ADMISSION_BUSY, BK_CALL_BUSY, BK_CALL_END_BUSY},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        start(b);
        deliver(b);
        admission(b, rows[i].verdict);
        assert_int_equal(result(b).status, rows[i].status);
        assert_int_equal(b->out.actions[1].type, BK_CALL_CLOSE_SERVER); /* after what was said */
        assert_ended(b, rows[i].end);
        caller(b, true); /* too late */
        assert_int_equal(b->out.n, 0);
    }
}

static void a_repeated_call_is_dropped_without_a_word(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    admission(b, BK_ADMISSION_REPEATED);
    assert_null(find(b, BK_CALL_SEND_SERVER));
    assert_ended(b, BK_CALL_END_REPEATED);
}

static void a_wrong_password_dials_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, false);
    assert_int_equal(result(b).status, BK_CALL_REFUSED);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    assert_ended(b, BK_CALL_END_REFUSED);
}

static void an_unknown_service_is_told_only_after_the_password(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.service = bk_slice_text("telnet");
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    assert_non_null(find(b, BK_CALL_CHECK_CALLER));
    caller(b, false);
    assert_int_equal(result(b).status, BK_CALL_REFUSED);

    begin(b);
    b->request.service = bk_slice_text("telnet");
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    assert_int_equal(result(b).status, BK_CALL_NO_SERVICE);
    assert_null(find(b, BK_CALL_ASK_DIALS));
    assert_ended(b, BK_CALL_END_NO_SERVICE);
}

static void a_call_without_a_service_dials_too(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.service = BK_SLICE_EMPTY;
    reach_accepted(b);
    assert_int_equal(result(b).status, BK_CALL_ACCEPTED);
    dials(b, ALL);
    assert_int_equal(count(b, BK_CALL_DIAL), 1);
}

static void all_permitted_candidates_are_dialled_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 8;
    for (uint8_t i = 0; i < 8; i++) {
        b->request.candidates[i] =
            (struct bk_candidate){BK_CANDIDATE_HOST, bk_addr_v4(4, 17, 168, i, 5000)};
    }
    b->request.candidates[2].addr = bk_addr_v4(127, 0, 0, 1, 5000);
    b->request.candidates[4].addr = b->request.candidates[1].addr;
    b->request.candidates[5].addr.port = 22;
    reach_accepted(b);
    assert_int_equal(must_find(b, BK_CALL_ASK_DIALS)->dials, 0xCB);
    dials(b, ALL);
    assert_int_equal(count(b, BK_CALL_DIAL), 5);
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_CALL_DIAL) {
            size_t index = b->out.actions[i].index;
            assert_true(index != 2 && index != 4 && index != 5);
        }
    }
}

static void no_answer_comes_after_a_fixed_time_whatever_the_cause(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int cause = 0; cause < 5; cause++) {
        begin(b);
        if (cause == 0) { /* against policy */
            b->request.candidates[0].addr = bk_addr_v4(127, 0, 0, 1, 5000);
        }
        reach_accepted(b);
        assert_int_equal(result(b).status, BK_CALL_ACCEPTED);
        assert_int_equal(count(b, BK_CALL_ASK_DIALS), cause == 0 ? 0 : 1);
        bk_time due = b->now.mono + BK_CALL_NO_ANSWER_MS * BK_MS;
        fake_pass(&b->now, BK_MS);
        if (cause != 4) {                   /* the idle part never answers */
            dials(b, cause == 3 ? 0 : ALL); /* too many of late */
            assert_int_equal(count(b, BK_CALL_DIAL), cause == 1 || cause == 2 ? 1 : 0);
            assert_int_equal(b->out.n, count(b, BK_CALL_DIAL));
        }
        if (cause == 1) { /* refused at once; else silence */
            fake_pass(&b->now, BK_MS);
            dial_event(b, BK_CALL_DIAL_FAILED, 0);
            assert_int_equal(b->out.n, 0);
        }
        tick(b); /* the same for all: the router is asked */
        assert_int_equal(b->out.n, 1);
        assert_int_equal(b->out.actions[0].type, BK_CALL_MAP);
        assert_int_equal(bk_call_deadline(b->c), due);
        fake_pass(&b->now, due - b->now.mono - 1);
        bk_call_timer(b->c, &b->now, &b->out);
        assert_int_equal(b->out.n, 0);
        tick(b);
        assert_int_equal(b->now.mono, due);
        assert_int_equal(result(b).status, BK_CALL_NO_ANSWER);
        assert_int_equal(count(b, BK_CALL_CLOSE_LINK), cause == 2 ? 1 : 0);
        assert_ended(b, BK_CALL_END_NO_ANSWER);
    }
}

static void what_is_not_picked_is_closed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 3;
    b->request.candidates[1] = b->request.candidates[2] = b->request.candidates[0];
    b->request.candidates[1].addr.port = 5001;
    b->request.candidates[2].addr.port = 5002;
    reach_dialling(b);
    dial_event(b, BK_CALL_SESSION_UP, 2);
    dial_event(b, BK_CALL_SESSION_UP, 1);
    dial_event(b, BK_CALL_SESSION_PICKED, 1);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK),
                     1); /* what was under way; what stands has its time */
    assert_int_equal(must_find(b, BK_CALL_CLOSE_LINK)->index, 0);
    assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), 1);
    assert_int_equal(bk_call_deadline(b->c), b->now.mono + BK_CALL_PICK_MS * BK_MS);
    tick(b);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_CALL_CLOSE_LINK)->index, 2);
    assert_true(bk_call_deadline(b->c) == BK_TIME_NEVER);
    dial_event(b, BK_CALL_SESSION_ENDED, 2); /* closed already: not ours any more */
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_ENDED, 1);
    assert_ended(b, BK_CALL_END_SERVED);
}

static void a_session_nobody_picks_ends(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_waiting(b);
    fake_pass(&b->now, 3 * BK_SECOND);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    assert_int_equal(bk_call_deadline(b->c), b->now.mono + 10 * BK_SECOND);
    tick(b);
    assert_int_equal(count(b, BK_CALL_CLOSE_LINK), 1);
    assert_ended(b, BK_CALL_END_NO_ANSWER);

    begin(b); /* it fails after the time for an answer: no reason to wait longer */
    reach_waiting(b);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    fake_pass(&b->now, BK_CALL_NO_ANSWER_MS * BK_MS);
    dial_event(b, BK_CALL_DIAL_FAILED, 0);
    assert_true(bk_call_deadline(b->c) <= b->now.mono);
    tick(b);
    assert_ended(b, BK_CALL_END_NO_ANSWER);
}

static void a_lost_server_matters_only_before_accepted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    assert_ended(b, BK_CALL_END_NO_SERVER);

    begin(b);
    reach_dialling(b);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_ENDED, 0);
    assert_ended(b, BK_CALL_END_SERVED);

    begin(b);
    reach_dialling(b);
    input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
    tick(b); /* the router is asked */
    tick(b);
    assert_null(find(b, BK_CALL_SEND_SERVER)); /* nobody to tell */
    assert_ended(b, BK_CALL_END_NO_ANSWER);
}

static void a_second_226_is_ignored(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    deliver(b);
    assert_int_equal(b->out.n, 0);
}

static void a_check_that_never_ends_is_busy(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    tick(b);
    assert_int_equal(result(b).status, BK_CALL_BUSY);
    assert_ended(b, BK_CALL_END_BUSY);
}

static uint8_t freed[65536];
static size_t freed_n;

static void *get_static(void *ctx, size_t n)
{
    (void)ctx;
    assert_true(n <= sizeof freed);
    memset(freed, 0, sizeof freed);
    freed_n = n;
    return freed;
}

static void put_static(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

static void *get_nothing(void *ctx, size_t n)
{
    (void)ctx;
    (void)n;
    return NULL;
}

static void memory_is_wiped_and_may_be_missing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    struct bk_alloc alloc = {NULL, get_static, put_static};
    assert_int_equal(bk_call_new(&alloc, &b->config, &b->c), BK_OK);
    input(b, (struct bk_call_event){.type = BK_CALL_START});
    deliver(b);
    assert_true(holds(freed, freed_n, "open sesame"));
    bk_call_free(b->c);
    b->c = NULL;
    for (size_t i = 0; i < freed_n; i++) {
        assert_int_equal(freed[i], 0);
    }
    alloc.get = get_nothing;
    assert_int_equal(bk_call_new(&alloc, &b->config, &b->c), BK_E_NOMEM);
    b->c = NULL;
    bk_call_free(NULL);
}

/* However a call ends: what is not yet freed holds no password any more. */
static void the_password_is_gone_as_soon_as_the_call_is_over(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 6; how++) {
        begin(b);
        struct bk_alloc alloc = {NULL, get_static, put_static};
        assert_int_equal(bk_call_new(&alloc, &b->config, &b->c), BK_OK);
        input(b, (struct bk_call_event){.type = BK_CALL_START});
        if (how == 4) { /* a box that is not for us */
            b->connect.call_id[0] ^= 1;
        }
        struct bk_slice plain = write_request(b);
        if (how == 5) { /* one that is no request */
            b->plain[0] ^= 0x40;
        }
        deliver_plain(b, plain);
        assert_true(how >= 4 || holds(freed, freed_n, "open sesame"));
        if (how == 0) {
            admission(b, BK_ADMISSION_STALE);
        } else if (how == 1) {
            admission(b, BK_ADMISSION_REPEATED);
        } else if (how == 2) {
            input(b, (struct bk_call_event){.type = BK_CALL_SERVER_CLOSED});
        } else if (how == 3) {
            tick(b);
        }
        assert_non_null(find(b, BK_CALL_END));
        assert_false(holds(freed, freed_n, "open sesame"));
    }
}

static void memory_that_fails_fails_the_call_before_it_begins(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct failing memory = {0};
    struct bk_alloc alloc = failing_alloc(&memory);
    uint64_t nth = 1;
    for (;; nth++) {
        begin(b);
        memory = (struct failing){.fail_at = nth};
        enum bk_err err = bk_call_new(&alloc, &b->config, &b->c);
        if (err == BK_OK) {
            break;
        }
        assert_int_equal(err, BK_E_NOMEM);
        assert_null(b->c);
        assert_int_equal(memory.alive, 0);
    }
    assert_true(nth > 1);
    /* The whole of a call needs no more than that. */
    input(b, (struct bk_call_event){.type = BK_CALL_START});
    deliver(b);
    admission(b, BK_ADMITTED);
    caller(b, true);
    dials(b, ALL);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    dial_event(b, BK_CALL_SESSION_ENDED, 0);
    assert_ended(b, BK_CALL_END_SERVED);
    bk_call_free(b->c);
    b->c = NULL;
    assert_true(memory.calls < nth);
    assert_int_equal(memory.alive, 0);
}

static void answers_that_nobody_asked_for_change_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    bk_time deadline = bk_call_deadline(b->c);
    admission(b, BK_ADMITTED);
    assert_int_equal(b->out.n, 0);
    caller(b, true);
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_call_event){.type = BK_CALL_START});
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 0);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    assert_true(bk_call_deadline(b->c) == deadline);
    deliver(b);
    caller(b, true); /* before the idle part has admitted it */
    assert_int_equal(b->out.n, 0);
    admission(b, BK_ADMITTED);
    assert_non_null(find(b, BK_CALL_CHECK_CALLER));
    admission(b, BK_ADMISSION_STALE); /* a second answer */
    assert_int_equal(b->out.n, 0);
    dials(b, ALL); /* before anything is known about the caller */
    assert_int_equal(b->out.n, 0);
    caller(b, true);
    assert_non_null(find(b, BK_CALL_ASK_DIALS));
    caller(b, false);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0); /* before it is dialled */
    assert_int_equal(b->out.n, 0);
    dials(b, ALL);
    assert_int_equal(count(b, BK_CALL_DIAL), 1);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, BK_CANDIDATES_MAX);
    dial_event(b, BK_CALL_SESSION_PICKED, 1); /* not dialled */
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(count(b, BK_CALL_CLOSE_SERVER), 1);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    dial_event(b, BK_CALL_SESSION_PICKED, 0);
    assert_int_equal(b->out.n, 0);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
    dial_event(b, BK_CALL_DIAL_FAILED, 0);
    assert_ended(b, BK_CALL_END_SERVED);
    dials(b, ALL);
    assert_int_equal(b->out.n, 0);
}

static void a_lost_session_does_not_shorten_the_wait_for_another(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.n_candidates = 2;
    b->request.candidates[1] =
        (struct bk_candidate){BK_CANDIDATE_MAPPED, bk_addr_v4(4, 17, 168, 2, 5001)};
    reach_waiting(b);
    bk_time no_answer = bk_call_deadline(b->c);
    dial_event(b, BK_CALL_SESSION_UP, 0);
    bk_time pick = bk_call_deadline(b->c);
    assert_true(pick > no_answer);
    fake_pass(&b->now, BK_SECOND);
    dial_event(b, BK_CALL_SESSION_UP, 1);
    assert_true(bk_call_deadline(b->c) == pick); /* counts from the first */
    dial_event(b, BK_CALL_DIAL_FAILED, 1);
    assert_true(bk_call_deadline(b->c) == pick);
    dial_event(b, BK_CALL_DIAL_FAILED, 0);
    assert_true(bk_call_deadline(b->c) == no_answer);
}

static void a_caller_without_a_password_is_asked_about_none(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->request.password = BK_SLICE_EMPTY;
    start(b);
    deliver(b);
    admission(b, BK_ADMITTED);
    assert_int_equal(must_find(b, BK_CALL_CHECK_CALLER)->bytes.n, 0);
    caller(b, false);
    assert_int_equal(result(b).status, BK_CALL_REFUSED);
    assert_ended(b, BK_CALL_END_REFUSED);
}

/* Nothing can be sealed to it: the call goes its way and the caller hears nothing. */
static void to_a_reply_key_that_is_no_key_nothing_is_said(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    memset(b->request.reply_key, 0, sizeof b->request.reply_key);
    start(b);
    deliver(b);
    admission(b, BK_ADMISSION_BUSY);
    assert_null(find(b, BK_CALL_SEND_SERVER));
    assert_ended(b, BK_CALL_END_BUSY);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_good_call_goes_step_by_step, tear_down),
        cmocka_unit_test_teardown(without_226_it_ends, tear_down),
        cmocka_unit_test_teardown(what_is_not_for_us_is_refused, tear_down),
        cmocka_unit_test_teardown(no_changed_byte_of_226_leads_to_a_question, tear_down),
        cmocka_unit_test_teardown(each_verdict_has_its_result, tear_down),
        cmocka_unit_test_teardown(a_repeated_call_is_dropped_without_a_word, tear_down),
        cmocka_unit_test_teardown(a_wrong_password_dials_nothing, tear_down),
        cmocka_unit_test_teardown(an_unknown_service_is_told_only_after_the_password, tear_down),
        cmocka_unit_test_teardown(a_call_without_a_service_dials_too, tear_down),
        cmocka_unit_test_teardown(all_permitted_candidates_are_dialled_once, tear_down),
        cmocka_unit_test_teardown(no_answer_comes_after_a_fixed_time_whatever_the_cause, tear_down),
        cmocka_unit_test_teardown(what_is_not_picked_is_closed, tear_down),
        cmocka_unit_test_teardown(a_session_nobody_picks_ends, tear_down),
        cmocka_unit_test_teardown(a_lost_server_matters_only_before_accepted, tear_down),
        cmocka_unit_test_teardown(a_second_226_is_ignored, tear_down),
        cmocka_unit_test_teardown(a_check_that_never_ends_is_busy, tear_down),
        cmocka_unit_test_teardown(memory_is_wiped_and_may_be_missing, tear_down),
        cmocka_unit_test_teardown(the_password_is_gone_as_soon_as_the_call_is_over, tear_down),
        cmocka_unit_test_teardown(memory_that_fails_fails_the_call_before_it_begins, tear_down),
        cmocka_unit_test_teardown(answers_that_nobody_asked_for_change_nothing, tear_down),
        cmocka_unit_test_teardown(a_lost_session_does_not_shorten_the_wait_for_another, tear_down),
        cmocka_unit_test_teardown(a_caller_without_a_password_is_asked_about_none, tear_down),
        cmocka_unit_test_teardown(to_a_reply_key_that_is_no_key_nothing_is_said, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
