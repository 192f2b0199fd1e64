/* A call on the requester's side, and its memory: secrets stay no longer than they are needed, and all that can fail does so
 * before it begins. */
#include "core/failing.h"
#include "core/requester/bench.h"

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

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_password_is_kept_no_longer_than_needed, tear_down),
        cmocka_unit_test_teardown(the_relays_credentials_are_lent_and_wiped, tear_down),
        cmocka_unit_test_teardown(memory_that_fails_fails_the_call_before_it_begins, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
