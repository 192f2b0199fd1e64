/* WATCH: round trips and refusals. */
#include "support.h"

#include "wire/watch.h"

static enum bk_err read_watch(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_watch v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_watch_read(&m, &v) : err;
}

static void round_trips(void **state)
{
    (void)state;
    const char *names[] = {"a", "alice",
                           "a23456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct bk_watch in = {text(names[i])};
        struct bk_watch back;
        uint8_t whole[128];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_watch_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(m.method, BK_METHOD_WATCH);
        assert_int_equal(bk_watch_read(&m, &back), BK_OK);
        assert_true(bk_slice_equal(back.user, in.user));
        refuses_other_lengths(read_watch, out);
        refuses_missing_attributes(read_watch, out, 0);
        judges_unknown_attributes(read_watch, out);
        refuses_other_types(read_watch, out);
        REFUSES_SHORT_BUFFERS(out, bk_watch_write(buf, cap, txid, &in, &ignored));
    }
}

static void names_that_are_none(void **state)
{
    (void)state;
    const char *bad[] = {"", "2133", "Alice", "a b",
                         "a234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct bk_watch in = {text(bad[i])};
        uint8_t buf[128];
        struct bk_slice out;
        assert_int_equal(bk_watch_write(buf, sizeof buf, txid, &in, &out), BK_E_RANGE);
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_WATCH, BK_STUN_REQUEST, txid);
        bk_stun_put(&s, BK_ATTR_USER_NAME, in.user);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_watch(out), BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(names_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
