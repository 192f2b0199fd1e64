/* The sessions of a call and its rounds: which one new streams go to, when another path is looked for, and what neither
 * the server nor the device can make of it. */
#include "core/requester/bench.h"

static void reach_accepted(struct bench *b)
{
    begin(b);
    reach_requested(b);
    deliver(b);
    result(b, BK_CALL_ACCEPTED, 0);
}

/* Used after its patience, and the server is gone. */
static void reach_relayed(struct bench *b)
{
    reach_accepted(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    assert_int_equal(b->out.n, 0);
    tick(b);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
    assert_true(phase(b, BK_PHASE_UP));
}

static void reach_direct(struct bench *b)
{
    reach_accepted(b);
    session(b, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
}

static void pass(struct bench *b, uint64_t ms)
{
    fake_pass(&b->now, ms * BK_MS);
    bk_requester_timer(b->r, &b->now, &b->out);
}

static void take_paths(struct bench *b)
{
    struct bk_stun m;
    assert_int_equal(bk_stun_read(must_find(b, BK_REQUESTER_SEND_PATHS)->bytes, &m), BK_OK);
    assert_int_equal(bk_paths_read(&m, &b->paths), BK_OK);
}

/* Up to SEND_PATHS; INFO is answered with `observed`, or not at all. */
static void finish_collecting(struct bench *b, const struct bk_addr *observed)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
    assert_int_equal(b->out.n, 1); /* no LOOKUP, no word of a phase */
    take_info(b);
    if (observed != NULL) {
        struct bk_info info = {.observed = *observed};
        answer_info(b, &info);
    } else {
        pass(b, BK_REQUESTER_ROUND_SERVER_MS);
    }
    take_paths(b);
}

static void say_paths(struct bench *b, uint64_t session, uint16_t round,
                      const struct bk_candidate *list, size_t n)
{
    static const uint8_t txid[BK_STUN_TXID_BYTES] = {1};
    struct bk_paths paths = {.round = round, .n_candidates = n};
    struct bk_slice bytes;
    for (size_t i = 0; i < n; i++) {
        paths.candidates[i] = list[i];
    }
    assert_int_equal(bk_paths_write(b->buf, sizeof b->buf, txid, &paths, &bytes), BK_OK);
    input(b, (struct bk_requester_event){
                 .type = BK_REQUESTER_PATHS, .session = session, .bytes = bytes});
}

static const struct bk_candidate theirs[] = {
    {BK_CANDIDATE_MAPPED, {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 202, 204, 17, 1}, 3000}},
    {BK_CANDIDATE_REFLEXIVE, {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 202, 204, 17, 1}, 4000}},
};

/* ---- before the call is up ---- */

static void a_relayed_session_waits_and_a_direct_one_does_not(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const enum bk_candidate_kind direct[] = {BK_CANDIDATE_HOST, BK_CANDIDATE_MAPPED};
    for (size_t i = 0; i < 2; i++) {
        reach_accepted(b);
        session_by(b, 1, BK_CANDIDATE_RELAYED);
        assert_int_equal(b->out.n, 0);
        assert_int_equal(bk_requester_deadline(b->r),
                         b->now.mono + BK_REQUESTER_RELAY_PATIENCE_MS * BK_MS);
        pass(b, BK_REQUESTER_RELAY_PATIENCE_MS - 1);
        assert_int_equal(b->out.n, 0);
        session_by(b, 2, direct[i]);
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 1);
        assert_non_null(find(b, BK_REQUESTER_STOP_DIALS));
        assert_non_null(find(b, BK_REQUESTER_CLOSE_SERVER));
        assert_true(phase(b, BK_PHASE_UP));
        assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
    }
    reach_relayed(b);
    assert_null(find(b, BK_REQUESTER_STOP_DIALS)); /* a better one may come yet */
}

static void one_relayed_session_is_enough(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_accepted(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    session_by(b, 2, BK_CANDIDATE_RELAYED);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 2);
    session_ends(b, 1, true);
    assert_int_equal(b->out.n, 0);
    session_by(b, 3, BK_CANDIDATE_RELAYED);
    tick(b);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 3);
}

/* Nothing but a relay on our side, and nothing on the device's. */
static void where_nothing_better_can_come_nothing_is_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    begin(b);
    start(b);
    candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, own_address(0));
    candidates(b, 0);
    open_server(b);
    answer_lookup(b);
    password(b);
    take_request(b);
    result(b, BK_CALL_ACCEPTED, 0);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
}

/* Whatever the server says once the device has come to us. */
static void a_held_session_outlives_the_servers_word(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 4; how++) {
        begin(b);
        reach_requested(b);
        session_by(b, 1, BK_CANDIDATE_RELAYED);
        if (how == 0) {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
        } else if (how == 1) {
            answer_error(b, BK_METHOD_CONNECT, BK_CODE_OFFLINE);
        } else if (how == 2) {
            result(b, BK_CALL_STALE, 0);
        } else {
            result(b, BK_CALL_NO_ANSWER, 0);
        }
        assert_int_equal(b->out.n, 0);
        tick(b);
        assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    }
    begin(b); /* but nonsense ends it all */
    reach_requested(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    message(b, bk_slice_text("nonsense that is no STUN"));
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 1);
    assert_failed(b, BK_FAIL_SERVER_PROTOCOL);
}

/* ---- better and worse ---- */

static void a_better_session_is_used_and_the_relayed_one_kept(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_relayed(b);
    session_by(b, 2, BK_CANDIDATE_MAPPED);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
    assert_null(find(b, BK_REQUESTER_CLOSE_SESSION));
    assert_null(find(b, BK_REQUESTER_RETIRE_SESSION));
    assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER); /* no rounds any more */
    session_by(b, 3, BK_CANDIDATE_HOST); /* another, and the relayed one stays all the same */
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 3);
    assert_int_equal(must_find(b, BK_REQUESTER_RETIRE_SESSION)->session, 2);
    session_by(b, 4, BK_CANDIDATE_HOST); /* no better */
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 4);
    session_ends(b, 3, true);
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 1);
    assert_int_equal(bk_requester_deadline(b->r), b->now.mono + 2 * BK_SECOND);
    session_ends(b, 1, true); /* 2 still has streams */
    pass(b, BK_REQUESTER_LOST_MS);
    assert_null(find(b, BK_REQUESTER_ENDED));
    session_ends(b, 2, false);
    assert_non_null(find(b, BK_REQUESTER_ENDED));
    assert_false(must_find(b, BK_REQUESTER_ENDED)->lost);
}

static void no_more_sessions_are_in_use_than_there_may_be(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_relayed(b);
    session_by(b, 2, BK_CANDIDATE_REFLEXIVE);
    tick(b); /* none better has come */
    session_by(b, 3, BK_CANDIDATE_MAPPED);
    session_by(b, 4, BK_CANDIDATE_HOST);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 4);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
    session_by(b, 5,
               BK_CANDIDATE_HOST); /* better than all in doubt, but 2 and 3 have streams yet */
    assert_int_equal(b->out.n, 1);
    assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 5);
    session_ends(b, 2, false);
    session_by(b, 6, BK_CANDIDATE_HOST);
    assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 6);
}

static void a_lost_call_is_over(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int lost = 0; lost < 2; lost++) {
        reach_direct(b);
        pass(b, 60000);
        session_ends(b, 99, true); /* no session of ours */
        assert_int_equal(b->out.n, 0);
        session_ends(b, 1, lost);
        assert_int_equal(b->out.n, 1);
        assert_int_equal(must_find(b, BK_REQUESTER_ENDED)->lost, lost);
        assert_true(bk_requester_deadline(b->r) == BK_TIME_NEVER);
        session(b, 2);
        assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 2);
    }
}

static void while_dials_are_under_way_a_new_session_is_waited_for(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int comes = 0; comes < 2; comes++) {
        reach_direct(b); /* the device dialled a moment ago */
        session_ends(b, 1, true);
        assert_int_equal(b->out.n, 0);
        assert_int_equal(bk_requester_deadline(b->r), b->now.mono + BK_REQUESTER_LOST_MS * BK_MS);
        if (comes) {
            session_by(b, 2, BK_CANDIDATE_RELAYED); /* at once: there is no other */
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        } else {
            tick(b);
            assert_true(must_find(b, BK_REQUESTER_ENDED)->lost);
        }
    }
}

/* Who ends a call does not want another session: nothing is waited for, whatever is still under way. */
static void a_call_that_the_device_ends_is_over_at_once(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_direct(b);
    session_ends(b, 1, false);
    assert_false(must_find(b, BK_REQUESTER_ENDED)->lost);
}

/* ---- rounds ---- */

static void a_relayed_call_looks_for_better_by_the_timetable(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static const uint32_t at_s[] = {2, 10, 30, 60, 120, 420, 720};
    reach_relayed(b);
    bk_time since = b->now.mono;
    for (uint16_t i = 0; i < sizeof at_s / sizeof at_s[0]; i++) {
        do {
            tick(b);
        } while (find(b, BK_REQUESTER_CONNECT_SERVER) == NULL);
        uint64_t gap = i == 1 ? 5 : 0; /* the first round is not over by the second's time */
        assert_true(b->now.mono - since >= at_s[i] * BK_SECOND);
        assert_true(b->now.mono - since <= (at_s[i] + gap) * BK_SECOND);
        assert_null(find(b, BK_REQUESTER_GATHER));
        struct bk_addr observed = own_address(100 + i);
        input(b, (struct bk_requester_event){
                     .type = BK_REQUESTER_ROUND_TRIP, .session = 1, .ms = i % 2 ? 100000 : 40});
        finish_collecting(b, &observed);
        assert_int_equal(must_find(b, BK_REQUESTER_SEND_PATHS)->session, 1);
        assert_int_equal(b->paths.round, i + 1);
        assert_int_equal(b->paths.round_trip_ms, i % 2 ? UINT16_MAX : 40);
        assert_int_equal(b->paths.n_candidates, 2);
        assert_true(bk_addr_equal(&b->paths.candidates[1].addr, &observed));
        say_paths(b, 1, (uint16_t)(i + 1), theirs, 2);
        assert_int_equal(count(b, BK_REQUESTER_DIAL), 1); /* in each round anew */
        assert_int_equal(count(b, BK_REQUESTER_PUNCH), 1);
        say_paths(b, 1, (uint16_t)(i + 1), theirs, 2); /* once */
        assert_int_equal(b->out.n, 0);
        do {
            tick(b);
        } while (find(b, BK_REQUESTER_CLOSE_SERVER) == NULL); /* kept until the round is over */
        assert_non_null(find(b, BK_REQUESTER_STOP_DIALS));
    }
}

static void a_round_goes_without_the_server(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int how = 0; how < 5; how++) {
        reach_relayed(b);
        tick(b);
        assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
        if (how == 0) {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_CLOSED});
        } else if (how == 1) {
            pass(b, BK_REQUESTER_ROUND_SERVER_MS);
        } else {
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
            take_info(b);
            if (how == 2) {
                answer_info(b, NULL);
            } else if (how == 3) {
                message(b, bk_slice_text("nonsense that is no STUN"));
            } else {
                result(b, BK_CALL_STALE, 0); /* it cannot have the call sealed anew */
                assert_int_equal(b->out.n, 0);
                pass(b, BK_REQUESTER_ROUND_SERVER_MS);
            }
        }
        take_paths(b);
        assert_int_equal(b->paths.n_candidates, 1); /* no REFLEXIVE of before */
        say_paths(b, 1, b->paths.round, theirs, 2);
        assert_int_equal(count(b, BK_REQUESTER_DIAL), 1);
        assert_int_equal(count(b, BK_REQUESTER_PUNCH), 0);
        assert_null(find(b, BK_REQUESTER_FAILED));
    }
    begin(b); /* with a port of its own the connection would tell nothing */
    b->config.no_reflexive = true;
    reach_requested(b);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    tick(b);
    tick(b);
    assert_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    take_paths(b);
}

static void paths_that_nobody_asked_for_change_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_addr observed = own_address(100);
    reach_accepted(b);
    say_paths(b, 1, 1, theirs, 2); /* before there is a session */
    assert_int_equal(b->out.n, 0);
    session_by(b, 1, BK_CANDIDATE_RELAYED);
    say_paths(b, 1, 1, theirs, 2); /* on one without a stream */
    assert_int_equal(b->out.n, 0);
    tick(b);
    say_paths(b, 1, 1, theirs, 2); /* before its round */
    assert_int_equal(b->out.n, 0);
    tick(b);
    finish_collecting(b, &observed);
    say_paths(b, 2, 1, theirs, 2); /* another session's */
    assert_int_equal(b->out.n, 0);
    say_paths(b, 1, 2, theirs, 2); /* another round's */
    assert_int_equal(b->out.n, 0);
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_PATHS,
                                         .session = 1,
                                         .bytes = bk_slice_text("nonsense that is no STUN")});
    assert_int_equal(b->out.n, 0);
    say_paths(b, 1, 1, theirs, 2);
    assert_int_equal(count(b, BK_REQUESTER_DIAL), 1);
}

/* A device that wants rounds all the time gets one now and then. */
static void a_device_may_ask_for_a_round_but_not_without_end(void **state)
{
    (void)state;
    struct bench *b = &bench;
    size_t rounds = 0;
    size_t paths = 0;
    reach_direct(b);
    bk_time since = b->now.mono;
    say_paths(b, 1, 0, NULL, 0);
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER)); /* the first at once */
    while (b->now.mono - since < 600 * BK_SECOND) {
        say_paths(b, 1, 0, theirs, 2);
        rounds += count(b, BK_REQUESTER_CONNECT_SERVER);
        paths += count(b, BK_REQUESTER_SEND_PATHS);
        pass(b, 100);
        rounds += count(b, BK_REQUESTER_CONNECT_SERVER);
        paths += count(b, BK_REQUESTER_SEND_PATHS);
    }
    assert_in_range(rounds, 18, 20);
    assert_in_range(paths, 18, 21);
}

static void a_changed_network_puts_sessions_in_doubt(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_requester_event changed = {.type = BK_REQUESTER_NETWORK_CHANGED};
    struct bk_addr observed = own_address(100);
    for (int how = 0; how < 4; how++) {
        reach_direct(b);
        input(b, changed);
        assert_non_null(find(b, BK_REQUESTER_GATHER));
        assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
        candidate(b, BK_SOURCE_HOST, BK_CANDIDATE_HOST, own_address(7));
        gathered(b, BK_SOURCE_HOST);
        gathered(b, BK_SOURCE_MAPPING);
        finish_collecting(b, &observed);
        assert_int_equal(b->paths.n_candidates, 2);
        assert_true(b->paths.candidates[0].kind == BK_CANDIDATE_HOST); /* what was is forgotten */
        say_paths(b, 1, b->paths.round, theirs, 2);
        assert_int_equal(count(b, BK_REQUESTER_DIAL), 1);
        if (how == 0) { /* no better of kind, but it has come since */
            session(b, 2);
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        } else if (how == 1) { /* a relayed one has patience */
            session_by(b, 2, BK_CANDIDATE_RELAYED);
            assert_int_equal(b->out.n, 0);
            pass(b, BK_REQUESTER_RELAY_PATIENCE_MS);
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        } else if (how == 2) { /* the one of before is heard of: the relayed one is not needed */
            session_by(b, 2, BK_CANDIDATE_RELAYED);
            input(b, (struct bk_requester_event){
                         .type = BK_REQUESTER_ROUND_TRIP, .session = 1, .ms = 20});
            pass(b, BK_REQUESTER_RELAY_PATIENCE_MS);
            assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 2);
        } else { /* heard of before the other comes: that one is kept for the day it is needed */
            input(b, (struct bk_requester_event){
                         .type = BK_REQUESTER_ROUND_TRIP, .session = 1, .ms = 20});
            session_by(b, 2, BK_CANDIDATE_RELAYED);
            assert_int_equal(b->out.n, 2); /* HTTP/2 on it, and back */
            assert_int_equal(b->out.actions[0].session, 2);
            assert_int_equal(b->out.actions[1].session, 1);
            session_by(b, 3, BK_CANDIDATE_RELAYED); /* one is enough */
            assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 3);
            session_ends(b, 1, true);
            assert_int_equal(must_find(b, BK_REQUESTER_USE_SESSION)->session, 2);
        }
    }
}

static void a_new_relayed_address_is_asked_for_only_where_none_is_used(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_info info = {.observed = own_address(100), .n_relays = 1, .lifetime_s = 600};
    info.relays[0].port = 3478;
    info.username = bk_slice_text("1700000600:alice");
    info.password = bk_slice_text("c2VjcmV0");
    for (int relayed = 0; relayed < 2; relayed++) {
        if (relayed) {
            reach_relayed(b);
        } else {
            reach_direct(b);
        }
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_NETWORK_CHANGED});
        candidates(b, 1);
        input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN});
        take_info(b);
        answer_info(b, &info);
        assert_int_equal(count(b, BK_REQUESTER_GATHER_RELAY), !relayed);
        if (!relayed) {
            assert_null(find(b, BK_REQUESTER_SEND_PATHS));
            candidate(b, BK_SOURCE_RELAY, BK_CANDIDATE_RELAYED, own_address(50));
            gathered(b, BK_SOURCE_RELAY);
            take_paths(b);
            assert_int_equal(b->paths.n_candidates, 3);
        } else {
            take_paths(b);
            assert_int_equal(b->paths.n_candidates, 2);
        }
    }
}

/* ---- renewed mappings ---- */

static void renew(struct bench *b)
{
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, own_address(0));
}

static void a_renewed_mapping_is_proven_or_doubted(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct bk_addr observed = own_address(100);
    struct bk_addr mapping = own_address(0);
    for (int comes = 0; comes < 3; comes++) {
        reach_direct(b); /* by that mapping */
        pass(b, 100000);
        renew(b);
        finish_collecting(b, &observed);
        assert_int_equal(b->paths.candidates[0].kind, BK_CANDIDATE_MAPPED);
        say_paths(b, 1, b->paths.round, theirs, 2);
        assert_int_equal(b->out.n, 0); /* nothing but the mapping is tried */
        if (comes == 1) {
            session(b, 2);
            assert_true(bk_addr_equal(&must_find(b, BK_REQUESTER_MAPPING_PROVEN)->candidate.addr,
                                      &mapping));
            assert_int_equal(must_find(b, BK_REQUESTER_CLOSE_SESSION)->session, 2);
        } else if (comes ==
                   2) { /* where we dialled the device's mapping, that says nothing of ours */
            input(b, (struct bk_requester_event){.type = BK_REQUESTER_SESSION_UP,
                                                 .session = 2,
                                                 .kind = BK_CANDIDATE_MAPPED,
                                                 .ours = true});
            assert_null(find(b, BK_REQUESTER_MAPPING_PROVEN));
        }
        tick(b);
        assert_int_equal(count(b, BK_REQUESTER_MAPPING_DOUBTED), comes != 1);
        if (comes != 1) {
            assert_true(bk_addr_equal(&must_find(b, BK_REQUESTER_MAPPING_DOUBTED)->candidate.addr,
                                      &mapping));
            renew(b); /* made anew: it has to prove itself first */
            pass(b, 100000);
            assert_int_equal(b->out.n, 0);
        }
    }
    reach_accepted(
        b); /* one that nobody ever came through: a device that may not dial there proves nothing */
    session_by(b, 1, BK_CANDIDATE_REFLEXIVE);
    renew(b);
    assert_int_equal(b->out.n, 0);
}

static void a_mapping_that_comes_late_helps_a_relayed_call(void **state)
{
    (void)state;
    struct bench *b = &bench;
    reach_relayed(b);
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, own_address(1));
    assert_non_null(find(b, BK_REQUESTER_CONNECT_SERVER));
    reach_direct(b);
    candidate(b, BK_SOURCE_MAPPING, BK_CANDIDATE_MAPPED, own_address(1));
    assert_int_equal(b->out.n, 0);
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_relayed_session_waits_and_a_direct_one_does_not, tear_down),
        cmocka_unit_test_teardown(one_relayed_session_is_enough, tear_down),
        cmocka_unit_test_teardown(where_nothing_better_can_come_nothing_is_waited_for, tear_down),
        cmocka_unit_test_teardown(a_held_session_outlives_the_servers_word, tear_down),
        cmocka_unit_test_teardown(a_better_session_is_used_and_the_relayed_one_kept, tear_down),
        cmocka_unit_test_teardown(no_more_sessions_are_in_use_than_there_may_be, tear_down),
        cmocka_unit_test_teardown(a_lost_call_is_over, tear_down),
        cmocka_unit_test_teardown(while_dials_are_under_way_a_new_session_is_waited_for, tear_down),
        cmocka_unit_test_teardown(a_call_that_the_device_ends_is_over_at_once, tear_down),
        cmocka_unit_test_teardown(a_relayed_call_looks_for_better_by_the_timetable, tear_down),
        cmocka_unit_test_teardown(a_round_goes_without_the_server, tear_down),
        cmocka_unit_test_teardown(paths_that_nobody_asked_for_change_nothing, tear_down),
        cmocka_unit_test_teardown(a_device_may_ask_for_a_round_but_not_without_end, tear_down),
        cmocka_unit_test_teardown(a_changed_network_puts_sessions_in_doubt, tear_down),
        cmocka_unit_test_teardown(a_new_relayed_address_is_asked_for_only_where_none_is_used,
                                  tear_down),
        cmocka_unit_test_teardown(a_renewed_mapping_is_proven_or_doubted, tear_down),
        cmocka_unit_test_teardown(a_mapping_that_comes_late_helps_a_relayed_call, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
