/* What a wrong clock does to a call is told as such. */
#include "core/requester/bench.h"

/* By our clock the device's certificate has expired, or is yet to begin: which of the clocks is wrong a person finds out. */
static void a_certificate_out_of_its_time_is_told_as_such(void **state)
{
    (void)state;
    static const enum bk_err errs[] = {BK_E_EXPIRED, BK_E_AUTH, BK_E_MALFORMED};
    struct bench *b = &bench;
    for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++) {
        begin(b);
        b->certificate = errs[i];
        start(b);
        candidates(b, 1);
        open_server(b);
        answer_lookup(b);
        assert_failed(b, BK_FAIL_CERTIFICATE);
        const struct bk_requester_action *failed = must_find(b, BK_REQUESTER_FAILED);
        assert_true(failed->untimely == (errs[i] == BK_E_EXPIRED) && !failed->expired);
    }
}

int main(void)
{
    if (bk_seal_init() != BK_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_certificate_out_of_its_time_is_told_as_such, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
