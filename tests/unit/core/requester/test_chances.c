/* Which session waits for a better one, and how long: only for what either side has told can come. */
#include "core/requester/bench.h"

static struct bk_addr v6(uint8_t last)
{
    struct bk_addr a = {.ip = {0x20, 0x01, 0x4, 0x70, [15] = last}, .port = 5000};
    return a;
}

/* What both sides have told of themselves. */
struct told {
    const char *what;
    struct bk_candidate ours; /* besides the relayed one; port 0: none */
    struct bk_addr observed;  /* of us; port 0: the server does not say */
    struct bk_addr device;    /* of the device, by its registration */
    struct bk_candidate theirs[2];
};

static void reach_far(struct bench *b, const struct told *t, uint16_t device_ms)
{
    struct bk_info info = {.observed = t->observed};
    size_t n = 0;
    begin(b);
    b->keeps_info = true;
    b->found.observed = t->device;
    start(b);
    open_server(b);
    answer_info(b, t->observed.port != 0 ? &info : NULL);
    if (t->ours.addr.port != 0) {
        candidate(b, t->ours.kind == BK_CANDIDATE_HOST ? BK_SOURCE_HOST : BK_SOURCE_MAPPING,
                  t->ours.kind, t->ours.addr);
    }
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, bk_addr_v4(130, 74, 23, 6, 50000));
    candidates(b, 0);
    answer_lookup(b);
    password(b);
    take_request(b);
    deliver(b);
    while (n < 2 && t->theirs[n].addr.port != 0) {
        n++;
    }
    b->device_ms = device_ms;
    result_with(b, BK_CALL_ACCEPTED, 0, t->theirs, n);
}

static void reach_told(struct bench *b, const struct told *t)
{
    reach_far(b, t, 0);
}

/* How long a session of that kind waits when it is the first. */
static uint64_t waits_ms(struct bench *b, const struct told *t, enum bk_candidate_kind kind)
{
    uint64_t ms = 0;
    reach_told(b, t);
    session_by(b, 1, kind);
    if (find(b, BK_REQUESTER_USE_SESSION) == NULL) {
        assert_int_equal(b->out.n, 0);
        bk_time began = b->now.mono;
        tick(b);
        ms = (b->now.mono - began) / BK_MS;
    }
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    return ms;
}

static void what_each_kind_waits_for(void **state)
{
    (void)state;
    const struct bk_addr seen = bk_addr_v4(4, 17, 168, 2, 40000);
    const struct bk_addr device = fake_mapped(), device6 = v6(9);
    const struct bk_addr theirs = bk_addr_v4(202, 204, 16, 13, 7000);
    const struct bk_addr public_v4 = bk_addr_v4(4, 17, 168, 9, 5000);
    const struct bk_addr private_v4 = bk_addr_v4(192, 168, 1, 11, 5000);
    const struct bk_candidate none = {BK_CANDIDATE_HOST, {{0}, 0}};
    const struct {
        struct told told;
        bool host_may_come, mapped_may_come, direct_may_come;
    } rows[] = {
        {{"ordinary translation", {BK_CANDIDATE_HOST, private_v4}, seen, device, {none, none}},
         false,
         false,
         true},
        {{"its punched address", none, seen, device, {{BK_CANDIDATE_REFLEXIVE, theirs}, none}},
         false,
         false,
         true},
        {{"its router's mapping", none, seen, device, {{BK_CANDIDATE_MAPPED, theirs}, none}},
         false,
         false,
         true},
        {{"our mapping", {BK_CANDIDATE_MAPPED, public_v4}, seen, device, {none, none}},
         false,
         true,
         true},
        {{"our mapping, and a device of the other family",
          {BK_CANDIDATE_MAPPED, public_v4},
          seen,
          device6,
          {none, none}},
         false,
         false,
         false},
        {{"our public host", {BK_CANDIDATE_HOST, public_v4}, seen, device, {none, none}},
         true,
         true,
         true},
        {{"our host of the other family", {BK_CANDIDATE_HOST, v6(1)}, seen, device, {none, none}},
         false,
         false,
         true},
        {{"and the device has that too",
          {BK_CANDIDATE_HOST, v6(1)},
          seen,
          device,
          {{BK_CANDIDATE_REFLEXIVE, device6}, none}},
         true,
         true,
         true},
        {{"the device's public host", none, seen, device, {{BK_CANDIDATE_HOST, theirs}, none}},
         true,
         true,
         true},
        {{"the device's host of a family that we do not have",
          none,
          seen,
          device,
          {{BK_CANDIDATE_HOST, device6}, none}},
         false,
         false,
         true},
        {{"both behind one router",
          {BK_CANDIDATE_HOST, private_v4},
          seen,
          bk_addr_v4(4, 17, 168, 2, 1200),
          {none, none}},
         true,
         true,
         true},
        {{"in the call's own words",
          {BK_CANDIDATE_HOST, private_v4},
          seen,
          device,
          {{BK_CANDIDATE_REFLEXIVE, bk_addr_v4(4, 17, 168, 2, 41000)}, none}},
         true,
         true,
         true},
        {{"no family in common", none, seen, device6, {{BK_CANDIDATE_HOST, v6(8)}, none}},
         false,
         false,
         false},
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct told *t = &rows[i].told;
        print_message("%s\n", t->what);
        assert_int_equal(waits_ms(b, t, BK_CANDIDATE_HOST), 0);
        assert_int_equal(waits_ms(b, t, BK_CANDIDATE_MAPPED),
                         rows[i].host_may_come ? BK_REQUESTER_BETTER_MS : 0);
        assert_int_equal(waits_ms(b, t, BK_CANDIDATE_REFLEXIVE),
                         rows[i].mapped_may_come ? BK_REQUESTER_BETTER_MS : 0);
        assert_int_equal(waits_ms(b, t, BK_CANDIDATE_RELAYED),
                         rows[i].direct_may_come ? BK_REQUESTER_RELAY_PATIENCE_MS : 0);
    }
}

/* Our host address is public, and so every kind may come. */
static void reach_open(struct bench *b)
{
    const struct bk_addr public_v4 = bk_addr_v4(4, 17, 168, 9, 5000);
    const struct told open = {
        .ours = {BK_CANDIDATE_HOST, public_v4}, .observed = public_v4, .device = fake_mapped()};
    reach_told(b, &open);
}

static void the_best_is_used_at_once_and_the_others_closed(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_open(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    session_by(b, 2, BK_CANDIDATE_REFLEXIVE);
    assert_int_equal(b->out.n, 0); /* the relayed one stays as well: the other may be lost */
    session_by(b, 3, BK_CANDIDATE_REFLEXIVE);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 3);
    session_by(b, 4, BK_CANDIDATE_MAPPED);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 2);
    session_by(b, 5, BK_CANDIDATE_HOST);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 5);
    assert_int_equal(count(b, BK_REQUESTER_CLOSE_SESSION), 2);
    assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
}

/* One that comes while another waits does not begin the wait anew. */
static void the_wait_begins_with_the_first(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_open(b);
    session_by(b, 1, BK_CANDIDATE_REFLEXIVE);
    bk_time until = b->now.mono + BK_REQUESTER_BETTER_MS * BK_MS;
    fake_pass(&b->now, 100 * BK_MS);
    session_by(b, 2, BK_CANDIDATE_MAPPED);
    assert_true(bk_requester_deadline(b->r) == until);
    session_by(b, 3, BK_CANDIDATE_RELAYED);
    assert_true(bk_requester_deadline(b->r) == until);
    tick(b);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 3);

    reach_open(b); /* a relayed one has waited long */
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    until = b->now.mono + BK_REQUESTER_RELAY_PATIENCE_MS * BK_MS;
    fake_pass(&b->now, (BK_REQUESTER_RELAY_PATIENCE_MS - 10) * BK_MS);
    session_by(b, 2, BK_CANDIDATE_REFLEXIVE);
    assert_true(bk_requester_deadline(b->r) == until);
    tick(b);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
}

/* What the device has told may come after it. */
static void one_that_comes_before_accepted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct bk_candidate host = {BK_CANDIDATE_HOST, bk_addr_v4(202, 204, 16, 13, 7000)};
    for (int better = 0; better < 2; better++) {
        begin(b);
        reach_requested(b);
        session(b, 1);
        assert_int_equal(b->out.n, 0);
        result_with(b, BK_CALL_ACCEPTED, 0, &host, (size_t)better);
        if (better == 1) {
            assert_null(find(b, BK_REQUESTER_USE_SESSION));
            session_by(b, 2, BK_CANDIDATE_HOST);
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        } else {
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
        }
    }
}

/* What waits may end meanwhile. */
static void one_that_is_lost_while_it_waits(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_open(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    session_by(b, 2, BK_CANDIDATE_REFLEXIVE);
    session_ends(b, 2, true);
    assert_int_equal(b->out.n, 0);
    tick(b);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
}

/* In a call that is relayed the relay serves meanwhile. */
static void a_relayed_call_moves_to_the_best_that_comes(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int better = 0; better < 2; better++) {
        reach_open(b);
        session_by(b, 1, BK_CANDIDATE_RELAYED);
        tick(b);
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
        session_by(b, 2, BK_CANDIDATE_REFLEXIVE);
        assert_int_equal(b->out.n, 0);
        if (better == 1) {
            session_by(b, 3, BK_CANDIDATE_HOST);
        } else {
            tick(b);
        }
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, better == 1 ? 3 : 2);
        assert_int_equal(count(b, BK_REQUESTER_CLOSE_SESSION), better);
    }
}

/* A mapping is not waited for where it would be of no use. */
static void when_a_mapping_matters(void **state)
{
    (void)state;
    const struct bk_addr private_v4 = bk_addr_v4(192, 168, 1, 11, 5000);
    const struct {
        struct bk_addr device, host;
        bool registered, waits;
    } rows[] = {
        {fake_mapped(), private_v4, true, true},
        {fake_mapped(), bk_addr_v4(4, 17, 168, 9, 5000), true, false},
        {fake_mapped(), v6(1), true, true}, /* our host's address is of no use to it */
        {v6(9), v6(1), true, true},         /* pinholes */
        {v6(9), private_v4, true, false},
        {fake_mapped(), bk_addr_v4(4, 17, 168, 9, 5000), false, true}, /* nobody knows */
    };
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(b);
        b->found.observed = rows[i].device;
        b->found.registered = rows[i].registered;
        start(b);
        open_server(b);
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, rows[i].host);
        gathered(b, BK_SOURCE_HOST);
        answer_lookup(b);
        bk_time began = b->now.mono;
        password(b);
        if (rows[i].waits) {
            tick(b);
            assert_int_equal(b->now.mono - began, BK_REQUESTER_MAPPING_MS * BK_MS);
        }
        take_request(b);
    }
}

/* The requester's grid is that of the device: from the same two round trips. */
static void the_grid_of_a_long_way(void **state)
{
    (void)state;
    struct bench *b = &bench;
    const struct told far = {
        .ours = {.kind = BK_CANDIDATE_HOST},
        .observed = bk_addr_v4(4, 17, 168, 2, 40000),
        .device = fake_mapped(),
        .theirs = {{BK_CANDIDATE_REFLEXIVE, bk_addr_v4(202, 204, 16, 13, 7000)}}};
    reach_told(b, &far);
    assert_int_equal(must_find(b, BK_REQUESTER_PUNCH)->every_ms, 250);
    reach_far(b, &far, 400); /* and 30 of ours */
    assert_int_equal(must_find(b, BK_REQUESTER_PUNCH)->every_ms, 500);
    assert_int_equal(must_find(b, BK_REQUESTER_PUNCH)->tries, 12);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_each_kind_waits_for, tear_down),
        cmocka_unit_test_teardown(the_best_is_used_at_once_and_the_others_closed, tear_down),
        cmocka_unit_test_teardown(the_wait_begins_with_the_first, tear_down),
        cmocka_unit_test_teardown(one_that_comes_before_accepted, tear_down),
        cmocka_unit_test_teardown(one_that_is_lost_while_it_waits, tear_down),
        cmocka_unit_test_teardown(a_relayed_call_moves_to_the_best_that_comes, tear_down),
        cmocka_unit_test_teardown(when_a_mapping_matters, tear_down),
        cmocka_unit_test_teardown(the_grid_of_a_long_way, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
