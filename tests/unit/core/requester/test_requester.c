/* A call on the requester's side: what it believes, in which order it asks, and every way in which it ends. */
#include "core/failing.h"
#include "core/requester/bench.h"

static void a_good_call_goes_step_by_step(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    struct bk_lookup lookup = open_server(b);
    assert_int_equal(lookup.equipment_id, DEVICE);
    answer_lookup(b);
    assert_true(phase(b, BK_PHASE_FOUND));
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    assert_null(find(b, BK_REQUESTER_CONFIRM_PIN));
    password(b);
    assert_int_equal(b->out.n, 0); /* candidates are still missing */
    candidates(b, BK_CANDIDATES_MAX + 2);
    const struct bk_requester_action *expect = must_find(b, BK_REQUESTER_EXPECT);
    assert_ptr_equal(expect, &b->out.actions[0]); /* before 217: the device may be quick */
    assert_memory_equal(expect->pin, b->config.pin, BK_PIN_BYTES);
    take_request(b);
    assert_int_equal(b->request.n_candidates, BK_CANDIDATES_MAX);
    assert_int_equal(b->request.unix_s, b->now.unix_s);
    assert_true(b->request.has_tag);
    assert_int_equal(b->request.tag.counter, 6);
    deliver(b);
    assert_true(phase(b, BK_PHASE_DELIVERED));
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    session(b, 41);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 41);
    assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
    assert_true(phase(b, BK_PHASE_UP));
    assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
    session(b, 42);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 42);
}

static void a_device_may_be_asked_for_by_name(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.equipment_id = 0;
    strncpy(b->config.device_name, "kiosk", sizeof b->config.device_name - 1);
    start(b);
    struct bk_lookup lookup = open_server(b);
    assert_true(bk_slice_equal(lookup.name, bk_slice_text("kiosk")));
    answer_lookup(b);
    candidates(b, 1);
    password(b);
    take_request(b);
}

static void what_does_not_verify_is_refused(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int wrong = 0; wrong < 9; wrong++) {
        begin(b);
        enum bk_requester_failure failure = BK_FAIL_CERTIFICATE;
        if (wrong == 0) {
            b->certificate = BK_E_AUTH;
        } else if (wrong == 1) {
            b->device.role = BK_ROLE_USER;
        } else if (wrong == 2) {
            b->device.equipment_id = DEVICE + 1;
        } else if (wrong == 3) { /* a true certificate, but of another device */
            b->device.equipment_id = b->found.equipment_id = DEVICE + 1;
        } else if (wrong == 4) {
            b->config.pin[0] ^= 1;
            failure = BK_FAIL_PIN_CHANGED;
        } else if (wrong == 5) { /* the server's own box key */
            b->device_seed[0] ^= 1;
            sign_box_key(b);
        } else if (wrong == 6) {
            b->box_until_s = b->now.unix_s - BK_REQUESTER_SKEW_S;
            sign_box_key(b);
        } else if (wrong == 7) { /* asked for by name, the ID is the server's word alone */
            b->config.equipment_id = 0;
            strncpy(b->config.device_name, "kiosk", sizeof b->config.device_name - 1);
            b->device.equipment_id = DEVICE + 1;
        } else {
            b->signed_key[1] ^= 1;
        }
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_failed(b, failure);
        assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
        assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        assert_true(must_find(b, BK_REQUESTER_FAILED)->expired == (wrong == 6));
        if (failure == BK_FAIL_PIN_CHANGED) {
            uint8_t pin[BK_PIN_BYTES];
            bk_pin_of_key(b->device.key, pin);
            assert_memory_equal(must_find(b, BK_REQUESTER_FAILED)->pin, pin, sizeof pin);
        }
        password(b);
        assert_int_equal(b->out.n, 0);
    }
}

/* Clocks differ: a day is let pass, either way, and without a clock everything. */
static void a_box_key_is_of_its_time(void **state)
{
    (void)state;
    static const struct {
        int64_t made_s, until_s; /* from now */
        bool good;
    } rows[] = {
        {0, 1, true},
        {-1000, 1 - BK_REQUESTER_SKEW_S, true},
        {-1000, -BK_REQUESTER_SKEW_S, false},
        {BK_REQUESTER_SKEW_S, BK_REQUESTER_SKEW_S + 1, true},
        {BK_REQUESTER_SKEW_S + 1, BK_REQUESTER_SKEW_S + 2, false},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        bool clock = i < sizeof rows / sizeof rows[0];
        size_t row = i % (sizeof rows / sizeof rows[0]);
        begin(b);
        b->box_made_s = b->now.unix_s + (uint64_t)rows[row].made_s;
        b->box_until_s = b->now.unix_s + (uint64_t)rows[row].until_s;
        sign_box_key(b);
        b->now.unix_s = clock ? b->now.unix_s : 0;
        start(b);
        open_server(b);
        answer_lookup(b);
        if (rows[row].good || !clock) {
            assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        } else {
            assert_failed(b, BK_FAIL_CERTIFICATE);
            assert_true(must_find(b, BK_REQUESTER_FAILED)->expired);
        }
    }
    for (int end = 0; end < 2; end++) { /* no sum to overflow */
        begin(b);
        b->box_made_s = end == 0 ? UINT64_MAX : 0;
        b->box_until_s = end == 0 ? UINT64_MAX : 0;
        sign_box_key(b);
        start(b);
        open_server(b);
        answer_lookup(b);
        assert_failed(b, BK_FAIL_CERTIFICATE);
    }
}

static void a_first_contact_is_confirmed_before_a_password_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int yes = 0; yes < 2; yes++) {
        begin(b);
        b->config.have_pin = false;
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_memory_equal(must_find(b, BK_REQUESTER_CONFIRM_PIN)->pin, b->config.pin,
                            BK_PIN_BYTES);
        assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));
        password(b); /* not asked for: not taken */
        assert_int_equal(b->out.n, 0);
        fake_pass(&b->now, 3600 * BK_SECOND); /* people take their time */
        bk_requester_timer(b->r, &b->now, &b->out);
        assert_int_equal(b->out.n, 0);
        input(b, (struct bk_requester_event){.type = yes ? BK_REQUESTER_PIN_ACCEPTED
                                                         : BK_REQUESTER_PIN_REFUSED});
        if (yes) {
            assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
            password(b);
            take_request(b);
        } else {
            assert_failed(b, BK_FAIL_PIN_REFUSED);
        }
    }
}

static void a_server_that_left_meanwhile_is_connected_again(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    password(b);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(b->out.actions[0].type, BK_REQUESTER_CONNECT_SERVER);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_int_equal(b->out.n, 1);
    take_info(b); /* it may see us otherwise now */
    answer_info(b, NULL);
    take_request(b);

    begin(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    password(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);
}

static void the_servers_errors_have_their_names(void **state)
{
    (void)state;
    static const struct {
        uint16_t code;
        enum bk_requester_failure failure;
    } rows[] = {
        {BK_CODE_NOT_FOUND, BK_FAIL_UNKNOWN_DEVICE}, {BK_CODE_REVOKED, BK_FAIL_REVOKED},
        {BK_CODE_FORBIDDEN, BK_FAIL_USER_REVOKED},   {BK_CODE_OFFLINE, BK_FAIL_OFFLINE},
        {BK_CODE_OVERLOADED, BK_FAIL_OVERLOADED},    {BK_CODE_BAD_REQUEST, BK_FAIL_SERVER_PROTOCOL},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        start(b);
        open_server(b);
        answer_error(b, BK_METHOD_LOOKUP, rows[i].code);
        assert_failed(b, rows[i].failure);
        begin(b);
        reach_requested(b);
        answer_error(b, BK_METHOD_CONNECT, rows[i].code);
        assert_failed(b, rows[i].failure);
    }
}

static void no_candidate_is_told_before_anybody_is_asked(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 0);
    assert_int_equal(b->out.n, 0); /* an unknown device is the better news */
    open_server(b);
    answer_lookup(b);
    assert_failed(b, BK_FAIL_NO_CANDIDATE);
    assert_null(find(b, BK_REQUESTER_NEED_PASSWORD));

    begin(b); /* gathering that never ends */
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_int_equal(bk_requester_deadline(b->r),
                     b->now.mono + BK_REQUESTER_MAPPING_ALONE_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_CANDIDATE);
}

static void each_status_has_its_failure(void **state)
{
    (void)state;
    static const struct {
        enum bk_call_status status;
        enum bk_requester_failure failure;
    } rows[] = {
        {BK_CALL_REFUSED, BK_FAIL_PASSWORD},
        {BK_CALL_BACK_OFF, BK_FAIL_BACK_OFF},
        {BK_CALL_NO_SERVICE, BK_FAIL_NO_SERVICE},
        {BK_CALL_NO_ANSWER, BK_FAIL_NO_ANSWER},
        {BK_CALL_BUSY, BK_FAIL_BUSY},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        reach_requested(b);
        deliver(b);
        result(b, rows[i].status, 0);
        assert_failed(b, rows[i].failure);
        session(b, 1);
        assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 1);
        assert_null(find(b, BK_REQUESTER_USE_SESSION));
    }
}

static void a_result_not_from_the_device_is_dropped(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    deliver(b);
    for (int twist = 1; twist <= 3; twist++) {
        result(b, BK_CALL_REFUSED, twist);
        assert_int_equal(b->out.n, 0);
    }
    result(b, BK_CALL_REFUSED, 0);
    assert_failed(b, BK_FAIL_PASSWORD);
}

static void stale_is_sealed_once_more_with_the_devices_tag(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int early = 0; early < 2; early++) {
        begin(b);
        reach_requested(b);
        if (!early) { /* else RESULT overtakes the server's answer */
            deliver(b);
        }
        struct bk_call_request first = b->request;
        result(b, BK_CALL_STALE, 0);
        take_request(b); /* the same password, another call ID */
        assert_memory_not_equal(b->request.call_id, first.call_id, BK_CALL_ID_BYTES);
        assert_true(b->request.has_tag);
        assert_int_equal(b->request.tag.random, 77);
        assert_int_equal(b->request.tag.counter, 78);
        assert_int_equal(b->request.unix_s, 4711); /* the device's clock, not ours */
        deliver(b);
        if (early) {
            result(b, BK_CALL_STALE, 0);
            assert_failed(b, BK_FAIL_STALE);
        } else {
            result(b, BK_CALL_ACCEPTED, 0);
            assert_true(phase(b, BK_PHASE_ACCEPTED));
            result(b, BK_CALL_STALE, 0); /* said again by the server */
            assert_int_equal(b->out.n, 0);
        }
    }
}

/* A server may hand the first box on once more, say its answer again, or hold it back until now. */
static void what_belongs_to_an_earlier_call_id_is_void(void **state)
{
    (void)state;
    static const enum bk_call_status all[] = {
        BK_CALL_ACCEPTED,   BK_CALL_STALE,     BK_CALL_REFUSED, BK_CALL_BACK_OFF,
        BK_CALL_NO_SERVICE, BK_CALL_NO_ANSWER, BK_CALL_BUSY};
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    uint8_t first[BK_CALL_ID_BYTES], txid[BK_STUN_TXID_BYTES];
    memcpy(first, b->call_id, sizeof first);
    memcpy(txid, b->txid, sizeof txid);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    uint8_t second[BK_CALL_ID_BYTES], newest[BK_STUN_TXID_BYTES];
    memcpy(second, b->call_id, sizeof second);
    memcpy(newest, b->txid, sizeof newest);
    memcpy(b->call_id, first, sizeof first);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        result(b, all[i], 0);
        assert_int_equal(b->out.n, 0);
    }
    memcpy(b->txid, txid, sizeof txid);
    deliver(b);
    assert_int_equal(b->out.n, 0);
    memcpy(b->txid, newest, sizeof newest);
    deliver(b);
    assert_true(phase(b, BK_PHASE_DELIVERED));
    memcpy(b->call_id, second, sizeof second);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_true(phase(b, BK_PHASE_ACCEPTED));
}

static void without_a_clock_the_tag_of_lookup_goes_along(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->now.unix_s = 0;
    reach_requested(b);
    assert_int_equal(b->request.unix_s, 0);
    assert_true(b->request.has_tag);
    begin(b);
    b->found.registered = false;
    reach_requested(b);
    assert_false(b->request.has_tag);
}

static void each_wait_has_its_end(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidates(b, 1);
    bk_time due = b->now.mono + BK_REQUESTER_SERVER_MS * BK_MS;
    assert_int_equal(bk_requester_deadline(b->r), due);
    open_server(b);
    assert_int_equal(bk_requester_deadline(b->r), due);
    tick(b);
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_DELIVERY_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_OFFLINE);

    begin(b);
    reach_requested(b);
    deliver(b);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_SESSION_MS * BK_MS);
    fake_pass(&b->now, BK_SECOND);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_SESSION_MS * BK_MS);
    tick(b);
    assert_failed(b, BK_FAIL_NO_ANSWER);
}

static void a_lost_server_matters_until_the_device_has_the_request(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_failed(b, BK_FAIL_SERVER);

    begin(b);
    reach_requested(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    assert_int_equal(b->out.n, 0);
    session(b, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    assert_null(find(b, BK_REQUESTER_CLOSE_SERVER));

    begin(b);
    reach_requested(b);
    deliver(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
    tick(b);
    assert_failed(b, BK_FAIL_SERVER);
}

static void nonsense_from_the_server_ends_the_call_and_strays_do_not(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    open_server(b);
    b->txid[0] ^= 1;
    answer_lookup(b); /* an answer to a question nobody asked */
    assert_int_equal(b->out.n, 0);
    message(b, bk_slice_text("GET / HTTP/1.1"));
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);
}

static void a_password_longer_than_any_is_wrong(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const uint8_t longest[BK_PASSWORD_MAX_BYTES + 1];
    begin(b);
    start(b);
    open_server(b);
    answer_lookup(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PASSWORD,
                                         .bytes = bk_slice(longest, sizeof longest)});
    assert_failed(b, BK_FAIL_PASSWORD);
}

static uint8_t memory[65536];
static size_t memory_n;

static void *get_static(void *ctx, size_t n)
{
    (void)ctx;
    assert_true(n <= sizeof memory);
    memset(memory, 0, sizeof memory);
    memory_n = n;
    return memory;
}

static void put_static(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

static bool memory_holds(const void *what, size_t n)
{
    for (size_t i = 0; n <= memory_n && i <= memory_n - n; i++) {
        if (memcmp(memory + i, what, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Needed once more after "stale" only: gone with the device's yes, its no, or the session. */
static void the_password_is_kept_no_longer_than_needed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 5; how++) {
        begin(b);
        struct bk_alloc alloc = {NULL, get_static, put_static};
        assert_int_equal(bk_requester_new(&alloc, &b->config, &b->r), BK_OK);
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_START});
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        password(b);
        take_request(b);
        deliver(b);
        struct bk_slice text = b->request.password;
        assert_true(text.n > 0 && memory_holds(text.p, text.n));
        if (how == 0) {
            result(b, BK_CALL_ACCEPTED, 0);
        } else if (how == 1) {
            result(b, BK_CALL_REFUSED, 0);
        } else if (how == 2) {
            session(b, 41);
        } else if (how == 3) {
            session_by(b, 41, BK_CANDIDATE_RELAYED); /* not used yet */
        }
        if (how < 4) {
            assert_false(memory_holds(text.p, text.n));
        }
        bk_requester_free(b->r);
        b->r = NULL;
        for (size_t i = 0; i < memory_n; i++) {
            assert_int_equal(memory[i], 0);
        }
    }
}

/* What opens the relay is the shell's, from the moment that it has got it. */
static void the_relays_credentials_are_lent_and_wiped(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const char credentials[] = "c2VjcmV0IG9mIGEgcmVsYXk=";
    struct bk_info info = {.observed = own_address(9), .n_relays = 1, .lifetime_s = 600};
    info.relays[0].port = 3478;
    info.username = bk_slice_text("1700000600:alice");
    info.password = bk_slice_text(credentials);
    begin(b);
    b->keeps_info = true;
    start_with(b, (struct bk_alloc){NULL, get_static, put_static});
    open_server(b);
    answer_info(b, &info);
    assert_true(memory_holds(credentials, sizeof credentials - 1));
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_GATHER_RELAY));
    assert_true(memory_holds(credentials, sizeof credentials - 1));
    gathered(b, BK_SOURCE_HOST);
    assert_false(memory_holds(credentials, sizeof credentials - 1));
    bk_requester_free(b->r);
    b->r = NULL;
}

static void memory_that_fails_fails_the_call_before_it_begins(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct failing heap = {0};
    struct bk_alloc alloc = failing_alloc(&heap);
    uint64_t nth = 1;
    for (;; nth++) {
        begin(b);
        heap = (struct failing){.fail_at = nth};
        enum bk_err err = bk_requester_new(&alloc, &b->config, &b->r);
        if (err == BK_OK) {
            break;
        }
        assert_int_equal(err, BK_E_NOMEM);
        assert_null(b->r);
        assert_int_equal(heap.alive, 0);
    }
    assert_true(nth > 1);
    /* The whole of a call, sealed twice, needs no more than that. */
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_START});
    request(b);
    deliver(b);
    result(b, BK_CALL_STALE, 0);
    take_request(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    tick(b);
    assert_true(phase(b, BK_PHASE_UP));
    tick(b); /* a round */
    tick(b);
    session(b, 2);
    session_ends(b, 2, true);
    session_ends(b, 1, true);
    bk_requester_free(b->r);
    b->r = NULL;
    assert_true(heap.calls < nth);
    assert_int_equal(heap.alive, 0);
}

static void answers_that_nobody_asked_for_change_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_START});
    assert_int_equal(b->out.n, 0);
    password(b); /* before anybody asked for it */
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0);
    session(b, 7); /* before 217 is out nobody can have been invited */
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 7);
    open_server(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_int_equal(b->out.n, 0); /* no second LOOKUP */
    candidates(b, 1);
    candidates(b, 0); /* a late second answer takes none away */
    assert_int_equal(b->out.n, 0);
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0); /* the pin was known */
    password(b);
    take_request(b);
    assert_int_equal(b->request.n_candidates, 1);
    password(b);
    assert_int_equal(b->out.n, 0);
}

static void a_first_contact_is_confirmed_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.have_pin = false;
    start(b);
    open_server(b);
    answer_lookup(b);
    assert_non_null(find(b, BK_REQUESTER_CONFIRM_PIN));
    candidates(b, 1);
    assert_int_equal(b->out.n, 0); /* neither asked again, nor asked for the password before */
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_ACCEPTED});
    assert_non_null(find(b, BK_REQUESTER_NEED_PASSWORD));
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PIN_REFUSED});
    assert_int_equal(b->out.n, 0); /* said is said */
    password(b);
    take_request(b);
}

static void what_no_request_can_hold_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    b->config.equipment_id = 0; /* a name that no device can have */
    strncpy(b->config.device_name, "no name", sizeof b->config.device_name - 1);
    start(b);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_failed(b, BK_FAIL_UNKNOWN_DEVICE);

    begin(b); /* a rightly signed box key that is no point of the curve */
    memset(b->box.public_key, 0, sizeof b->box.public_key);
    sign_box_key(b);
    start(b);
    candidates(b, 1);
    open_server(b);
    answer_lookup(b);
    if (find(b, BK_REQUESTER_NEED_PASSWORD)) {
        password(b);
    }
    assert_null(find(b, BK_REQUESTER_SEND_SERVER));
    assert_failed(b, BK_FAIL_CERTIFICATE);
}

static void an_answer_that_cannot_be_read_ends_the_call(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_slice bytes;
    begin(b);
    start(b);
    open_server(b);
    assert_int_equal(bk_success_write(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, b->txid, &bytes),
                     BK_OK);
    message(b, bytes); /* found, and nothing about what */
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);

    begin(b);
    start(b);
    open_server(b);
    struct bk_stun_writer s =
        bk_stun_begin(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, BK_STUN_ERROR, b->txid);
    assert_int_equal(bk_stun_end(&s, &bytes), BK_OK);
    message(b, bytes); /* refused, and no word why */
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);

    begin(b);
    start(b);
    open_server(b);
    s = bk_stun_begin(b->buf, sizeof b->buf, BK_METHOD_LOOKUP, BK_STUN_REQUEST, b->txid);
    assert_int_equal(bk_stun_end(&s, &bytes), BK_OK);
    message(b, bytes); /* neither: as good as no answer */
    assert_int_equal(b->out.n, 0);
    answer_lookup(b);
    assert_true(phase(b, BK_PHASE_FOUND));
}

/* Once more, with the same word: the server may repeat what the device said. */
static void accepted_is_heard_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    reach_requested(b);
    result(b, BK_CALL_ACCEPTED, 0); /* the device may be quicker than the server */
    assert_true(phase(b, BK_PHASE_ACCEPTED));
    bk_time deadline = bk_requester_deadline(b->r);
    fake_pass(&b->now, BK_SECOND);
    result(b, BK_CALL_ACCEPTED, 0);
    assert_int_equal(b->out.n, 0);
    deliver(b);
    assert_true(bk_requester_deadline(b->r) == deadline);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_good_call_goes_step_by_step, tear_down),
        cmocka_unit_test_teardown(a_device_may_be_asked_for_by_name, tear_down),
        cmocka_unit_test_teardown(what_does_not_verify_is_refused, tear_down),
        cmocka_unit_test_teardown(a_box_key_is_of_its_time, tear_down),
        cmocka_unit_test_teardown(a_first_contact_is_confirmed_before_a_password_is_asked,
                                  tear_down),
        cmocka_unit_test_teardown(a_server_that_left_meanwhile_is_connected_again, tear_down),
        cmocka_unit_test_teardown(the_servers_errors_have_their_names, tear_down),
        cmocka_unit_test_teardown(no_candidate_is_told_before_anybody_is_asked, tear_down),
        cmocka_unit_test_teardown(each_status_has_its_failure, tear_down),
        cmocka_unit_test_teardown(a_result_not_from_the_device_is_dropped, tear_down),
        cmocka_unit_test_teardown(stale_is_sealed_once_more_with_the_devices_tag, tear_down),
        cmocka_unit_test_teardown(what_belongs_to_an_earlier_call_id_is_void, tear_down),
        cmocka_unit_test_teardown(without_a_clock_the_tag_of_lookup_goes_along, tear_down),
        cmocka_unit_test_teardown(each_wait_has_its_end, tear_down),
        cmocka_unit_test_teardown(a_lost_server_matters_until_the_device_has_the_request,
                                  tear_down),
        cmocka_unit_test_teardown(nonsense_from_the_server_ends_the_call_and_strays_do_not,
                                  tear_down),
        cmocka_unit_test_teardown(a_password_longer_than_any_is_wrong, tear_down),
        cmocka_unit_test_teardown(the_password_is_kept_no_longer_than_needed, tear_down),
        cmocka_unit_test_teardown(the_relays_credentials_are_lent_and_wiped, tear_down),
        cmocka_unit_test_teardown(memory_that_fails_fails_the_call_before_it_begins, tear_down),
        cmocka_unit_test_teardown(answers_that_nobody_asked_for_change_nothing, tear_down),
        cmocka_unit_test_teardown(a_first_contact_is_confirmed_once, tear_down),
        cmocka_unit_test_teardown(what_no_request_can_hold_is_refused_before_it_is_sent, tear_down),
        cmocka_unit_test_teardown(an_answer_that_cannot_be_read_ends_the_call, tear_down),
        cmocka_unit_test_teardown(accepted_is_heard_once, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
