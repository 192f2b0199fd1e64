/* INFO: round trips and refusals. */
#include "support.h"

#include "wire/info.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_info_read(&m) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_info v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_info_answer_read(&m, &v) : err;
}

static void requests(void **state)
{
    (void)state;
    uint8_t whole[64];
    struct bk_slice out;
    assert_int_equal(bk_info_write(whole, sizeof whole, txid, &out), BK_OK);
    refuses_other_lengths(read_request, out);
    judges_unknown_attributes(read_request, out);
    refuses_other_types(read_request, out);
    REFUSES_SHORT_BUFFERS(out, bk_info_write(buf, cap, txid, &ignored));
}

static struct bk_info sample(size_t n_relays, size_t n_bindings)
{
    struct bk_info in;
    memset(&in, 0, sizeof in);
    in.observed = bk_addr_v4(4, 17, 168, 2, 7000);
    in.n_relays = n_relays;
    for (size_t i = 0; i < n_relays && i < BK_INFO_RELAYS_MAX; i++) {
        in.relays[i].port = (uint16_t)(1201 + i);
        in.relays[i].host = i % 2 == 0 ? BK_SLICE_EMPTY : text("turn.example.com");
    }
    if (n_relays > 0) {
        in.username = text("1763823600:alice");
        in.password = text("bm90aGluZyBzZWNyZXQ=");
        in.lifetime_s = 3600;
    }
    in.n_bindings = n_bindings;
    for (size_t i = 0; i < n_bindings && i < BK_INFO_BINDINGS_MAX; i++) {
        in.bindings[i] = bk_addr_v4(130, 74, 23, (uint8_t)(6 + i), 1202);
        in.bindings[i].ip[0] = i == 1 ? 0x20 : 0; /* IPv6 */
    }
    return in;
}

static void assert_same(const struct bk_info *a, const struct bk_info *b)
{
    assert_true(bk_addr_equal(&a->observed, &b->observed));
    assert_int_equal(a->n_relays, b->n_relays);
    for (size_t i = 0; i < a->n_relays; i++) {
        assert_int_equal(a->relays[i].port, b->relays[i].port);
        assert_true(bk_slice_equal(a->relays[i].host, b->relays[i].host));
    }
    assert_true(bk_slice_equal(a->username, b->username) &&
                bk_slice_equal(a->password, b->password) && a->lifetime_s == b->lifetime_s);
    assert_int_equal(a->n_bindings, b->n_bindings);
    for (size_t i = 0; i < a->n_bindings; i++) {
        assert_true(bk_addr_equal(&a->bindings[i], &b->bindings[i]));
    }
}

static void answers(void **state)
{
    (void)state;
    for (size_t i = 0; i <= BK_INFO_RELAYS_MAX * (BK_INFO_BINDINGS_MAX + 1); i++) {
        struct bk_info in = sample(i % (BK_INFO_RELAYS_MAX + 1), i % (BK_INFO_BINDINGS_MAX + 1));
        struct bk_info back;
        struct bk_slice out;
        struct bk_stun m;
        uint8_t whole[1024];
        assert_int_equal(bk_info_answer_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_info_answer_read(&m, &back), BK_OK);
        assert_same(&in, &back);
        refuses_other_lengths(read_answer, out);
        judges_unknown_attributes(read_answer, out);
        refuses_other_types(read_answer, out);
        REFUSES_SHORT_BUFFERS(out, bk_info_answer_write(buf, cap, txid, &in, &ignored));
    }
}

static void out_of_range(void **state)
{
    (void)state;
    static char long_text[BK_RELAY_HOST_MAX_BYTES + 2];
    memset(long_text, 'a', sizeof long_text - 1);
    struct bk_info rows[] = {
        sample(BK_INFO_RELAYS_MAX + 1, 0),
        sample(0, BK_INFO_BINDINGS_MAX + 1),
        sample(1, 0),
        sample(1, 0),
        sample(1, 0),
        sample(1, 0),
        sample(1, 0),
        sample(1, 0),
        sample(1, 0),
    };
    rows[2].relays[0].port = 0;
    rows[3].relays[0].host = text(long_text);
    rows[4].relays[0].host = text("two words");
    rows[5].username = BK_SLICE_EMPTY;
    rows[6].password = BK_SLICE_EMPTY;
    rows[7].username = bk_slice(long_text, BK_RELAY_USERNAME_MAX_BYTES + 1);
    rows[8].password = bk_slice(long_text, BK_RELAY_PASSWORD_MAX_BYTES + 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[1024];
        struct bk_slice out;
        assert_int_equal(bk_info_answer_write(buf, sizeof buf, txid, &rows[i], &out), BK_E_RANGE);
    }
}

/* What the writer would not write. */
static void out_of_form(void **state)
{
    (void)state;
    static const uint8_t lifetime[] = {0, 0, 14, 16, 0};
    static const uint8_t relay[] = {4, 177, 'a', '\n', 0};
    const struct bk_addr here = bk_addr_v4(4, 17, 168, 2, 7000);
    const struct {
        bool mapped;
        size_t n_relays, relay_n, lifetime_n, n_bindings;
        const char *username;
        enum bk_err expected;
    } rows[] = {
        {true, 1, 3, 4, 0, "u", BK_OK},
        {true, 4, 2, 4, 3, "u", BK_OK},
        {false, 1, 3, 4, 0, "u", BK_E_MALFORMED},
        {true, 5, 3, 4, 0, "u", BK_E_MALFORMED},
        {true, 1, 1, 4, 0, "u", BK_E_MALFORMED},
        {true, 1, 4, 4, 0, "u", BK_E_MALFORMED},
        {true, 1, 3, 5, 0, "u", BK_E_MALFORMED},
        {true, 1, 3, 3, 0, "u", BK_E_MALFORMED},
        {true, 1, 3, 4, 5, "u", BK_E_MALFORMED},
        {true, 1, 3, 4, 0, "", BK_E_MALFORMED},
        {true, 1, 3, 4, 0, "a b", BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t buf[512];
        struct bk_slice out;
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_INFO, BK_STUN_SUCCESS, txid);
        if (rows[i].mapped) {
            bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, &here);
        }
        for (size_t n = 0; n < rows[i].n_relays; n++) {
            bk_stun_put(&s, BK_ATTR_RELAY, bk_slice(relay, rows[i].relay_n));
        }
        bk_stun_put(&s, BK_ATTR_USERNAME, text(rows[i].username));
        bk_stun_put(&s, BK_ATTR_PASSWORD, text("p"));
        bk_stun_put(&s, BK_ATTR_LIFETIME, bk_slice(lifetime, rows[i].lifetime_n));
        for (size_t n = 0; n < rows[i].n_bindings; n++) {
            bk_stun_put_xor_address(&s, BK_ATTR_OTHER_ADDRESS, &here);
        }
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_copy(read_answer, out), rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(answers),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(out_of_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
