/* TURN's messages: round trips, refusals, integrity, credentials. */
#include "support.h"

#include "sha1.h"
#include "wire/turn.h"

static const uint8_t key[BK_TURN_KEY_BYTES] = {1, 2, 3};

/* MD5 itself is tested where it is; here anything does that depends on every byte. */
static void fake_md5(void *ctx, const struct bk_slice *parts, size_t n_parts,
                     uint8_t out[BK_TURN_KEY_BYTES])
{
    uint8_t mac[BK_HMAC_SHA1_BYTES];
    test_hmac_sha1(ctx, text(""), parts, n_parts, mac);
    memcpy(out, mac, BK_TURN_KEY_BYTES);
}

static const struct bk_turn_ops ops = {.md5 = fake_md5, .hmac_sha1 = test_hmac_sha1};

static struct bk_turn_login login_of(bool with_key)
{
    return (struct bk_turn_login){.username = text("1800000000:alice"),
                                  .realm = text("beckon"),
                                  .nonce = text("0123456789abcdef"),
                                  .key = with_key ? key : NULL};
}

static struct bk_turn_request sample(uint16_t method)
{
    struct bk_turn_request r = {.method = method,
                                .transport = BK_TURN_TRANSPORT_TCP,
                                .family = BK_FAMILY_IPV6,
                                .has_lifetime = true,
                                .lifetime_s = 1234,
                                .server_name = text("abc.call"),
                                .n_peers = 1,
                                .connection_id = 0xDEADBEEF};
    r.peers[0] = bk_addr_v4(202, 204, 16, 13, 2600);
    if (method == BK_METHOD_CREATE_PERMISSION) {
        r.n_peers = 2;
        assert_int_equal(bk_addr_parse(text("[2001:db8::5]:7"), 0, &r.peers[1]), BK_OK);
    }
    return r;
}

static const uint16_t methods[] = {BK_METHOD_ALLOCATE, BK_METHOD_REFRESH,
                                   BK_METHOD_CREATE_PERMISSION, BK_METHOD_TURN_CONNECT,
                                   BK_METHOD_CONNECTION_BIND};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

static struct bk_slice write_request(const struct bk_turn_request *in, bool with_key, uint8_t *buf,
                                     size_t cap)
{
    struct bk_turn_login login = login_of(with_key);
    struct bk_slice out;
    assert_int_equal(bk_turn_request_write(buf, cap, txid, in, &login, &ops, &out), BK_OK);
    return out;
}

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_request got;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_turn_request_read(&m, &got) : err;
}

static enum bk_err check_request(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_request got;
    enum bk_err err = bk_stun_read(bytes, &m);
    if (err == BK_OK) {
        err = bk_turn_request_read(&m, &got);
    }
    return err == BK_OK ? bk_turn_check(&m, &ops, key) : err;
}

static void requests_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_METHODS; i++) {
        static uint8_t buf[512];
        bool with_key = i < N_METHODS;
        uint16_t method = methods[i % N_METHODS];
        struct bk_turn_request in = sample(method), got;
        struct bk_slice out = write_request(&in, with_key, buf, sizeof buf);
        struct bk_stun m;
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_turn_request_read(&m, &got), BK_OK);
        assert_int_equal(got.method, method);
        assert_int_equal(got.has_mac, with_key);
        bool allocate = method == BK_METHOD_ALLOCATE,
             lasts = allocate || method == BK_METHOD_REFRESH;
        assert_int_equal(got.transport, allocate ? 6 : 0);
        assert_int_equal(got.family, lasts ? BK_FAMILY_IPV6 : 0);
        assert_int_equal(got.lifetime_s, lasts ? 1234 : 0);
        assert_int_equal(got.server_name.n, lasts ? 8 : 0);
        bool peers = method == BK_METHOD_CREATE_PERMISSION || method == BK_METHOD_TURN_CONNECT;
        assert_int_equal(got.n_peers, peers ? in.n_peers : 0);
        for (size_t j = 0; j < got.n_peers; j++) {
            assert_true(bk_addr_equal(&got.peers[j], &in.peers[j]));
        }
        assert_int_equal(got.connection_id, method == BK_METHOD_CONNECTION_BIND ? 0xDEADBEEF : 0);
        if (with_key) {
            assert_true(bk_slice_equal(got.username, text("1800000000:alice")));
            assert_true(bk_slice_equal(got.realm, text("beckon")));
            assert_true(bk_slice_equal(got.nonce, text("0123456789abcdef")));
            assert_int_equal(bk_turn_check(&m, &ops, key), BK_OK);
            refuses_any_changed_bit(check_request, out);
        } else {
            assert_int_equal(bk_turn_check(&m, &ops, key), BK_E_NOTFOUND);
            judges_unknown_attributes(read_request, out);
        }
        refuses_other_lengths(read_request, out);
        for (size_t cap = 0; cap < out.n; cap++) {
            struct bk_turn_login login = login_of(with_key);
            struct bk_slice none;
            assert_int_equal(bk_turn_request_write(buf, cap, txid, &in, &login, &ops, &none),
                             BK_E_NOSPACE);
        }
    }
}

static void requests_that_lack(void **state)
{
    uint8_t buf[256];
    struct bk_turn_request none = {.method = BK_METHOD_CREATE_PERMISSION};
    struct bk_turn_login login = login_of(true);
    struct bk_slice out;

    (void)state;
    assert_int_equal(bk_turn_request_write(buf, sizeof buf, txid, &none, &login, &ops, &out),
                     BK_E_RANGE);
    none.n_peers = BK_TURN_PEERS_MAX + 1;
    assert_int_equal(bk_turn_request_write(buf, sizeof buf, txid, &none, &login, &ops, &out),
                     BK_E_RANGE);
    none = (struct bk_turn_request){.method = BK_METHOD_TURN_CONNECT, .n_peers = 2};
    assert_int_equal(bk_turn_request_write(buf, sizeof buf, txid, &none, &login, &ops, &out),
                     BK_E_RANGE);
    none = (struct bk_turn_request){.method = BK_METHOD_BINDING};
    assert_int_equal(bk_turn_request_write(buf, sizeof buf, txid, &none, &login, &ops, &out),
                     BK_E_RANGE);
    static const uint16_t lacking[] = {BK_METHOD_CREATE_PERMISSION, BK_METHOD_TURN_CONNECT,
                                       BK_METHOD_CONNECTION_BIND};
    for (size_t i = 0; i < 3; i++) {
        struct bk_stun_writer s = bk_stun_begin(buf, sizeof buf, lacking[i], BK_STUN_REQUEST, txid);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(read_request(out), BK_E_MALFORMED);
    }
}

/* More peers than there is room for; values of another size; a FINGERPRINT, right and wrong; what is not known. */
static void odd_requests(void **state)
{
    static const struct {
        uint16_t type, n;
        enum bk_err err;
    } rows[] = {{BK_ATTR_LIFETIME, 3, BK_E_MALFORMED},
                {BK_ATTR_LIFETIME, 5, BK_E_MALFORMED},
                {BK_ATTR_REQUESTED_TRANSPORT, 1, BK_E_MALFORMED},
                {BK_ATTR_REQUESTED_ADDRESS_FAMILY, 8, BK_E_MALFORMED},
                {BK_ATTR_SERVER_NAME, BK_TURN_SERVER_NAME_MAX_BYTES + 1, BK_E_MALFORMED},
                {BK_ATTR_USERNAME, BK_TURN_TEXT_MAX_BYTES + 1, BK_E_MALFORMED},
                {BK_ATTR_NONCE, BK_TURN_TEXT_MAX_BYTES + 1, BK_E_MALFORMED},
                {BK_ATTR_USERNAME, BK_TURN_TEXT_MAX_BYTES, BK_OK},
                {BK_ATTR_XOR_PEER_ADDRESS, 8, BK_E_UNKNOWN_ATTR},
                {BK_ATTR_CONNECTION_ID, 4, BK_E_UNKNOWN_ATTR},
                {BK_ATTR_EVEN_PORT, 1, BK_OK},
                {0xFFFF, 0, BK_OK}};
    static const uint8_t zeros[BK_TURN_TEXT_MAX_BYTES + 1];
    uint8_t buf[2048];
    struct bk_slice out;
    struct bk_stun m;
    struct bk_turn_request got;
    struct bk_addr peer = bk_addr_v4(1, 2, 3, 4, 5);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_ALLOCATE, BK_STUN_REQUEST, txid);
        bk_stun_put(&s, rows[i].type, bk_slice(zeros, rows[i].n));
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_turn_request_read(&m, &got), rows[i].err);
        assert_int_equal(got.method, BK_METHOD_ALLOCATE);
        assert_int_equal(got.n_unknown, rows[i].err == BK_E_UNKNOWN_ATTR);
        assert_int_equal(got.datagram_only, rows[i].type == BK_ATTR_EVEN_PORT);
    }
    for (int fault = 0; fault < 2; fault++) {
        struct bk_stun_writer s =
            bk_stun_begin(buf, sizeof buf, BK_METHOD_CREATE_PERMISSION, BK_STUN_REQUEST, txid);
        for (int i = 0; i < BK_TURN_PEERS_MAX; i++) {
            bk_stun_put_xor_address(&s, BK_ATTR_XOR_PEER_ADDRESS, &peer);
        }
        bk_stun_put_fingerprint(&s);
        assert_int_equal(bk_stun_end(&s, &out), BK_OK);
        buf[out.n - 1] ^= (uint8_t)fault;
        assert_int_equal(read_request(out), fault != 0 ? BK_E_MALFORMED : BK_OK);
    }
    struct bk_stun_writer s =
        bk_stun_begin(buf, sizeof buf, BK_METHOD_CREATE_PERMISSION, BK_STUN_REQUEST, txid);
    for (int i = 0; i <= BK_TURN_PEERS_MAX; i++) {
        bk_stun_put_xor_address(&s, BK_ATTR_XOR_PEER_ADDRESS, &peer);
    }
    assert_int_equal(bk_stun_end(&s, &out), BK_OK);
    assert_int_equal(read_request(out), BK_E_RANGE);
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_answer got;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_turn_answer_read(&m, &ops, NULL, &got) : err;
}

/* Authentic, or refused: a bit more and an error's integrity is another attribute. */
static enum bk_err read_authentic(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_answer got;
    enum bk_err err = bk_stun_read(bytes, &m);
    if (err == BK_OK) {
        err = bk_turn_answer_read(&m, &ops, key, &got);
    }
    return err == BK_OK && !got.authentic ? BK_E_AUTH : err;
}

static enum bk_err check_answer(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_answer got;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_turn_answer_read(&m, &ops, key, &got) : err;
}

static void successes_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_METHODS; i++) {
        struct bk_turn_answer in = {.method = methods[i],
                                    .relayed = bk_addr_v4(9, 8, 7, 6, 50000),
                                    .mapped = bk_addr_v4(4, 17, 168, 2, 7000),
                                    .lifetime_s = 600,
                                    .connection_id = 77},
                              got;
        static uint8_t buf[512];
        struct bk_slice out;
        struct bk_stun m;
        assert_int_equal(bk_turn_answer_write(buf, sizeof buf, txid, &in, &ops, key, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_turn_answer_read(&m, &ops, key, &got), BK_OK);
        assert_true(got.authentic && got.code == 0 && got.method == methods[i]);
        if (methods[i] == BK_METHOD_ALLOCATE) {
            assert_true(bk_addr_equal(&got.relayed, &in.relayed) &&
                        bk_addr_equal(&got.mapped, &in.mapped) && got.lifetime_s == 600);
        } else if (methods[i] == BK_METHOD_REFRESH) {
            assert_int_equal(got.lifetime_s, 600);
        } else if (methods[i] == BK_METHOD_TURN_CONNECT) {
            assert_int_equal(got.connection_id, 77);
        }
        refuses_other_lengths(check_answer, out);
        refuses_any_changed_bit(check_answer, out);
        assert_int_equal(bk_turn_answer_write(buf, sizeof buf, txid, &in, &ops, NULL, &out), BK_OK);
        assert_int_equal(check_answer(out), BK_E_AUTH); /* without integrity */
        assert_int_equal(read_answer(out), BK_OK);
        judges_unknown_attributes(read_answer, out);
    }
}

static void errors_round_trip(void **state)
{
    static const uint16_t unknown[] = {0x7FFF, 0x0001};
    static const uint16_t codes[] = {400, 401, 403, 420, 437, 438, 440,
                                     441, 442, 443, 446, 447, 486, 508};
    uint8_t buf[512];
    struct bk_slice out, value;
    struct bk_stun m;
    struct bk_turn_answer got;

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct bk_turn_answer in = {.method = BK_METHOD_ALLOCATE,
                                    .code = codes[i],
                                    .realm = text("beckon"),
                                    .nonce = text("n"),
                                    .unknown = unknown,
                                    .n_unknown = 2};
        assert_int_equal(bk_turn_answer_write(buf, sizeof buf, txid, &in, &ops, key, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_turn_answer_read(&m, &ops, key, &got), BK_OK);
        assert_true(got.authentic && got.code == codes[i] && got.reason.n > 0);
        assert_true(bk_slice_equal(got.realm, text("beckon")) &&
                    bk_slice_equal(got.nonce, text("n")));
        assert_int_equal(bk_stun_find(&m, BK_ATTR_UNKNOWN_ATTRIBUTES, &value), codes[i] == 420);
        if (codes[i] == 420) {
            assert_int_equal(value.n, 4);
            assert_memory_equal(value.p, "\x7F\xFF\x00\x01", 4);
        }
        refuses_any_changed_bit(read_authentic, out);
        /* An error may come without integrity, from before there was a key; then it is not authentic. */
        assert_int_equal(bk_turn_answer_write(buf, sizeof buf, txid, &in, &ops, NULL, &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_turn_answer_read(&m, &ops, key, &got), BK_OK);
        assert_false(got.authentic);
    }
}

static enum bk_err read_attempt(struct bk_slice bytes)
{
    struct bk_stun m;
    struct bk_turn_attempt got;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_turn_attempt_read(&m, &got) : err;
}

static void attempts(void **state)
{
    struct bk_turn_attempt in = {.connection_id = 0x01020304,
                                 .peer = bk_addr_v4(202, 204, 16, 13, 2600)},
                           got;
    uint8_t buf[128];
    struct bk_slice out;
    struct bk_stun m;

    (void)state;
    assert_int_equal(bk_turn_attempt_write(buf, sizeof buf, txid, &in, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_turn_attempt_read(&m, &got), BK_OK);
    assert_true(got.connection_id == in.connection_id && bk_addr_equal(&got.peer, &in.peer));
    assert_int_equal(got.server_name.n, 0);
    refuses_other_lengths(read_attempt, out);
    refuses_missing_attributes(read_attempt, out, 0);
    judges_unknown_attributes(read_attempt, out);
    refuses_other_types(read_attempt, out);
    in.server_name = text("abc.call");
    assert_int_equal(bk_turn_attempt_write(buf, sizeof buf, txid, &in, &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_turn_attempt_read(&m, &got), BK_OK);
    assert_true(bk_slice_equal(got.server_name, in.server_name));
}

static void usernames(void **state)
{
    static const char *const bad[] = {
        "",        ":",        "alice",    ":alice",
        "x:alice", "-1:alice", "01:alice", "18446744073709551616:alice"};
    char out[BK_TURN_USERNAME_TEXT_BYTES], longest[BK_TURN_USERNAME_TEXT_BYTES];
    uint64_t expiry_s;
    struct bk_slice name;

    (void)state;
    assert_int_equal(bk_turn_username(1800000000, text("alice"), out), BK_OK);
    assert_string_equal(out, "1800000000:alice");
    assert_int_equal(bk_turn_username_read(text(out), &expiry_s, &name), BK_OK);
    assert_int_equal(expiry_s, 1800000000);
    assert_true(bk_slice_equal(name, text("alice")));
    assert_int_equal(bk_turn_username_read(text("5:a:b"), &expiry_s, &name), BK_OK);
    assert_true(bk_slice_equal(name, text("a:b")));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_turn_username_read(text(bad[i]), &expiry_s, &name), BK_E_MALFORMED);
    }
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (size_t n = 0; n < sizeof longest; n++) {
        enum bk_err err = bk_turn_username(UINT64_MAX, bk_slice(longest, n), out);
        assert_int_equal(err, n + 21 < sizeof out ? BK_OK : BK_E_RANGE);
        assert_true(strlen(out) < sizeof out);
    }
}

/* printf NAME | openssl dgst -sha1 -hmac north -binary | base64 */
static void passwords(void **state)
{
    char out[BK_TURN_PASSWORD_TEXT_BYTES];

    (void)state;
    bk_turn_password(&ops, text("north"), text("87400:alice"), out);
    assert_string_equal(out, "Zwdxk2HCh/rwZv1ktOGIwbin5l4=");
}

/* MD5's input is user:realm:password, and each part counts. */
static void keys(void **state)
{
    uint8_t one[BK_TURN_KEY_BYTES], two[BK_TURN_KEY_BYTES];
    struct bk_slice whole = text("user:realm:pass");

    (void)state;
    bk_turn_key(&ops, text("user"), text("realm"), text("pass"), one);
    fake_md5(NULL, &whole, 1, two);
    assert_memory_equal(one, two, sizeof one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_round_trip),
        cmocka_unit_test(requests_that_lack),
        cmocka_unit_test(odd_requests),
        cmocka_unit_test(successes_round_trip),
        cmocka_unit_test(errors_round_trip),
        cmocka_unit_test(attempts),
        cmocka_unit_test(usernames),
        cmocka_unit_test(passwords),
        cmocka_unit_test(keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
