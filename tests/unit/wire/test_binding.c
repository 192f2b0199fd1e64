/* Binding: sizes, round trip, what other servers add. */
#include "support.h"

#include "wire/binding.h"

static enum bk_err read_response(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_addr a;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_binding_response_read(&m, &a) : err;
}

static void request_is_a_bare_header(void **state)
{
    (void)state;
    uint8_t whole[64];
    struct bk_slice out;
    struct bk_stun m;
    assert_int_equal(bk_binding_request_write(whole, sizeof whole, txid, &out), BK_OK);
    assert_int_equal(out.n, 20);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(m.method, BK_METHOD_BINDING);
    assert_int_equal(m.cls, BK_STUN_REQUEST);
    REFUSES_SHORT_BUFFERS(out, bk_binding_request_write(buf, cap, txid, &ignored));
}

static void responses(void **state)
{
    (void)state;
    const char *texts[] = {"202.204.16.13:1024", "[2001:db8::7]:65535"};
    const size_t sizes[] = {32, 44};
    for (size_t i = 0; i < 2; i++) {
        uint8_t whole[64];
        struct bk_addr in;
        struct bk_addr back;
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_addr_parse(text(texts[i]), 0, &in), BK_OK);
        assert_int_equal(bk_binding_response_write(whole, sizeof whole, txid, &in, &out), BK_OK);
        assert_int_equal(out.n, sizes[i]);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_binding_response_read(&m, &back), BK_OK);
        assert_true(bk_addr_equal(&in, &back));
        refuses_other_lengths(read_response, out);
        refuses_missing_attributes(read_response, out, 0);
        judges_unknown_attributes(read_response, out);
        refuses_other_types(read_response, out);
        REFUSES_SHORT_BUFFERS(out, bk_binding_response_write(buf, cap, txid, &in, &ignored));
    }
}

static void a_plain_address_besides_is_fine(void **state)
{
    (void)state;
    uint8_t buf[64];
    struct bk_slice out;
    struct bk_addr a = bk_addr_v4(1, 2, 3, 4, 5);
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_BINDING, BK_STUN_SUCCESS, txid);
    bk_attr_put_address(&s, BK_ATTR_MAPPED_ADDRESS, 0, true, &a);
    bk_stun_put_xor_address(&s, BK_ATTR_XOR_MAPPED_ADDRESS, &a);
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_response(out), BK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_a_bare_header),
        cmocka_unit_test(responses),
        cmocka_unit_test(a_plain_address_besides_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
