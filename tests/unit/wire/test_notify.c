/* NOTIFY in both its forms: round trips, refusals, authenticity before anything else. */
#include "support.h"

#include "wire/connect.h"
#include "wire/notify.h"

enum { ROOM = BK_STUN_DATAGRAM_MAX_BYTES };

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_notify v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_notify_read(&m, &mac, test_key(), &v) : err;
}

static enum bk_err read_answer(struct bk_slice bytes)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_stun m;
    struct bk_notify_answer v;
    enum bk_err err = bk_stun_read(bytes, &m);
    return err == BK_OK ? bk_notify_answer_read(&m, &mac, test_key(), &v) : err;
}

static void comes_back(const struct bk_notify *in)
{
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_notify back;
    struct bk_slice out;
    struct bk_stun m;
    uint8_t whole[ROOM];
    assert_int_equal(bk_notify_write(whole, sizeof whole, txid, in, &mac, test_key(), &out), BK_OK);
    assert_int_equal(bk_stun_read(out, &m), BK_OK);
    assert_int_equal(bk_notify_read(&m, &mac, test_key(), &back), BK_OK);
    assert_true(back.tag.random == in->tag.random && back.tag.counter == in->tag.counter);
    assert_true(back.fast == in->fast && bk_slice_equal(back.box, in->box) &&
                bk_slice_equal(back.user, in->user));
    assert_memory_equal(back.call_id, in->call_id, sizeof in->call_id);
    assert_int_equal(bk_notify_read(&m, &mac, text("another key"), &back), BK_E_AUTH);
    assert_true(!back.fast && back.box.n == 0 && back.tag.random == 0);
    refuses_other_lengths(read_request, out);
    refuses_any_changed_bit(read_request, out);
    refuses_missing_attributes(read_request, out, 0);
    refuses_other_types(read_request, out);
    REFUSES_SHORT_BUFFERS(out, bk_notify_write(buf, cap, txid, in, &mac, test_key(), &ignored));
}

static void first_form(void **state)
{
    (void)state;
    const struct bk_notify in = {.tag = {UINT64_C(0xFEDCBA9876543210), UINT32_MAX}};
    comes_back(&in);
}

static void fast_form(void **state)
{
    (void)state;
    static const uint8_t box[130] = {5, 6, 7};
    const size_t sizes[] = {1, 2, 3, 130};
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        struct bk_notify in = {
            .tag = {3, 4}, .fast = true, .call_id = {1, 2, 3}, .box = bk_slice(box, sizes[i / 2])};
        in.user = i % 2 == 0 ? BK_SLICE_EMPTY : text("alice");
        comes_back(&in);
    }
}

/* Whoever is on the way sees neither the name nor, where the same user calls again, that it is the same. */
static void the_user_is_hidden(void **state)
{
    (void)state;
    static const uint8_t box[3] = {5, 6, 7};
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t seen[3][BK_NAME_MAX_BYTES];
    char name[BK_NAME_MAX_BYTES];
    memset(name, 'a', sizeof name);
    for (uint8_t call = 0; call < 3; call++) {
        struct bk_notify in = {
            .fast = true, .call_id = {call}, .box = BK_SLICE_OF(box), .user = BK_SLICE_OF(name)};
        uint8_t buf[ROOM];
        struct bk_slice out, user;
        struct bk_stun m;
        assert_int_equal(bk_notify_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out),
                         BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_true(bk_stun_find(&m, BK_ATTR_USER_NAME, &user) && user.n == sizeof name);
        memcpy(seen[call], user.p, user.n);
        for (size_t i = 4; i < user.n; i++) { /* no letter, and no block, comes again */
            assert_memory_not_equal(user.p + i - 4, name, 4);
            assert_true(i < 36 || memcmp(user.p + i - 4, user.p + i - 36, 4) != 0);
        }
    }
    assert_memory_not_equal(seen[0], seen[1], 32);
    assert_memory_not_equal(seen[1] + 32, seen[2] + 32, 31);
}

/* Who has seen another's call ID go by, and calls by it himself, knows his own name and sees what becomes of it: that does
 * not tell him the other's, for the transaction ID is the server's. */
static void a_call_id_that_comes_again_tells_nothing_of_the_user(void **state)
{
    (void)state;
    static const uint8_t box[3] = {5, 6, 7};
    static const char *const names[] = {"alice", "mallo"};
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t seen[2][5], difference = 0;
    for (uint8_t call = 0; call < 2; call++) {
        struct bk_notify in = {
            .fast = true, .call_id = {9}, .box = BK_SLICE_OF(box), .user = text(names[call])};
        uint8_t buf[ROOM], server_drawn[BK_STUN_TXID_BYTES] = {1, 2, 3, call};
        struct bk_slice out, user;
        struct bk_stun m;
        assert_int_equal(
            bk_notify_write(buf, sizeof buf, server_drawn, &in, &mac, test_key(), &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_true(bk_stun_find(&m, BK_ATTR_USER_NAME, &user) && user.n == 5);
        memcpy(seen[call], user.p, user.n);
    }
    for (size_t i = 0; i < 5; i++) {
        difference |=
            (uint8_t)(seen[0][i] ^ seen[1][i] ^ (uint8_t)names[0][i] ^ (uint8_t)names[1][i]);
    }
    assert_int_not_equal(difference, 0);
}

/* The largest box under the longest name: there is no request that goes by TLS but not by datagram. */
static void every_request_fits_a_datagram(void **state)
{
    (void)state;
    static const uint8_t box[BK_BOX_MAX_BYTES + 1] = {0};
    struct bk_mac_ops mac = bk_mac_sodium();
    char name[BK_NAME_MAX_BYTES + 1];
    memset(name, 'a', sizeof name);
    struct bk_notify in = {.fast = true,
                           .box = bk_slice(box, BK_BOX_MAX_BYTES),
                           .user = bk_slice(name, BK_NAME_MAX_BYTES)};
    uint8_t buf[1400];
    struct bk_slice out;
    assert_int_equal(bk_notify_write(buf, sizeof buf, txid, &in, &mac, test_key(), &out), BK_OK);
    assert_true(out.n <= BK_STUN_DATAGRAM_MAX_BYTES);
    assert_int_equal(read_request(out), BK_OK);
    const struct bk_notify bad[] = {
        {.fast = true},
        {.fast = true, .box = bk_slice(box, BK_BOX_MAX_BYTES + 1)},
        {.fast = true, .box = bk_slice(box, 1), .user = bk_slice_text("Not A Name")},
        {.fast = true, .box = bk_slice(box, 1), .user = bk_slice(name, BK_NAME_MAX_BYTES + 1)},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bk_notify_write(buf, sizeof buf, txid, &bad[i], &mac, test_key(), &out),
                         BK_E_RANGE);
    }
}

static void answer(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    for (unsigned taken = 0; taken < 2; taken++) {
        struct bk_notify_answer in = {.taken = taken != 0};
        struct bk_notify_answer back;
        struct bk_slice out;
        struct bk_stun m;
        uint8_t whole[128];
        memset(in.call_id, taken ? 0x5A : 0, sizeof in.call_id);
        assert_int_equal(
            bk_notify_answer_write(whole, sizeof whole, txid, &in, &mac, test_key(), &out), BK_OK);
        assert_int_equal(bk_stun_read(out, &m), BK_OK);
        assert_int_equal(bk_notify_answer_read(&m, &mac, test_key(), &back), BK_OK);
        assert_int_equal(back.taken, in.taken);
        assert_memory_equal(back.call_id, in.call_id, sizeof in.call_id);
        assert_int_equal(bk_notify_answer_read(&m, &mac, text("another key"), &back), BK_E_AUTH);
        assert_false(back.taken);
        refuses_other_lengths(read_answer, out);
        refuses_any_changed_bit(read_answer, out);
        refuses_missing_attributes(read_answer, out, 0);
        refuses_other_types(read_answer, out);
        REFUSES_SHORT_BUFFERS(
            out, bk_notify_answer_write(buf, cap, txid, &in, &mac, test_key(), &ignored));
    }
}

struct made {
    uint16_t type;
    size_t bytes;
};

/* A name as it is sent in a call whose ID is all zeros. */
static struct bk_slice hidden_alice(void)
{
    static uint8_t out[5];
    static const uint8_t call_id_and_block[BK_CALL_ID_BYTES + 1] = {0};
    uint8_t stream[BK_HMAC_SHA256_BYTES];
    struct bk_mac_ops mac = bk_mac_sodium();
    const struct bk_slice parts[] = {text("beckon notify user 1"), BK_SLICE_OF(txid),
                                     BK_SLICE_OF(call_id_and_block)};
    mac.hmac_sha256(mac.ctx, test_key(), parts, 3, stream);
    for (size_t i = 0; i < sizeof out; i++) {
        out[i] = (uint8_t)("alice"[i] ^ stream[i]);
    }
    return BK_SLICE_OF(out);
}

/* A rightly keyed message with these attributes, zeros inside; names are of letters. */
static struct bk_slice make(uint8_t *buf, size_t cap, enum bk_stun_class cls, const char *key,
                            const struct made *attrs, size_t n)
{
    static const uint8_t zeros[BK_BOX_MAX_BYTES + 1] = {0};
    struct bk_mac_ops mac = bk_mac_sodium();
    struct bk_slice out;
    struct bk_stun_writer s = bk_stun_begin(buf, cap, BK_METHOD_NOTIFY, cls, txid);
    for (size_t i = 0; i < n; i++) {
        bool name = attrs[i].type == BK_ATTR_USER_NAME && attrs[i].bytes == 5;
        bk_stun_put(&s, attrs[i].type, name ? hidden_alice() : bk_slice(zeros, attrs[i].bytes));
    }
    assert_int_equal(bk_datagram_end(&s, &mac, key == NULL ? test_key() : text(key), &out), BK_OK);
    return out;
}

static enum bk_err read_made(const struct made *attrs, size_t n, const char *key)
{
    uint8_t buf[2048];
    return read_request(make(buf, sizeof buf, BK_STUN_REQUEST, key, attrs, n));
}
#define READ_MADE(...)                                                                             \
    read_made((const struct made[]){__VA_ARGS__},                                                  \
              sizeof((const struct made[]){__VA_ARGS__}) / sizeof(struct made), NULL)
#define FLAG                                                                                       \
    {                                                                                              \
        BK_ATTR_CALL_WAITING, 0                                                                    \
    }
#define TAG                                                                                        \
    {                                                                                              \
        BK_ATTR_TAG, 12                                                                            \
    }
#define CALL_ID                                                                                    \
    {                                                                                              \
        BK_ATTR_CALL_ID, 16                                                                        \
    }
#define BOX                                                                                        \
    {                                                                                              \
        BK_ATTR_BOX, 1                                                                             \
    }
#define USER                                                                                       \
    {                                                                                              \
        BK_ATTR_USER_NAME, 5                                                                       \
    }

static void authentic_nonsense(void **state)
{
    (void)state;
    assert_int_equal(READ_MADE(FLAG, TAG), BK_OK);
    assert_int_equal(READ_MADE(TAG, FLAG), BK_OK);
    assert_int_equal(READ_MADE(TAG, TAG), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, FLAG), BK_E_MALFORMED);
    assert_int_equal(READ_MADE({BK_ATTR_CALL_WAITING, 1}, TAG), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, {BK_ATTR_TAG, 11}), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, {0x7FFF, 0}), BK_E_UNKNOWN_ATTR);
    const struct made unknown[] = {FLAG, {0x7FFF, 0}};
    assert_int_equal(read_made(unknown, 2, "another key"), BK_E_AUTH);
}

/* A request is there as a whole or not at all. */
static void half_a_request_is_none(void **state)
{
    (void)state;
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, BOX), BK_OK);
    assert_int_equal(READ_MADE(USER, BOX, CALL_ID, FLAG, TAG), BK_OK);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, BOX), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, USER), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, USER), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, BOX, USER), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, CALL_ID, BOX), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(TAG, CALL_ID, BOX), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, {BK_ATTR_CALL_ID, 15}, BOX), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, {BK_ATTR_CALL_ID, 17}, BOX), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, {BK_ATTR_BOX, 0}), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, {BK_ATTR_BOX, BK_BOX_MAX_BYTES}), BK_OK);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, {BK_ATTR_BOX, BK_BOX_MAX_BYTES + 1}),
                     BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, BOX, {BK_ATTR_USER_NAME, 4}), BK_E_MALFORMED);
    assert_int_equal(READ_MADE(FLAG, TAG, CALL_ID, BOX, {BK_ATTR_USER_NAME, 0}), BK_E_MALFORMED);
}

/* An answer says whether the request is taken, and nothing else. */
static void an_answer_with_more_is_refused(void **state)
{
    (void)state;
    const struct {
        struct made attr;
        enum bk_err err;
    } cases[] = {
        {{0xFFFF, 0}, BK_OK},
        {CALL_ID, BK_OK},
        {{BK_ATTR_CALL_ID, 15}, BK_E_MALFORMED},
        {{BK_ATTR_CALL_ID, 17}, BK_E_MALFORMED},
        {FLAG, BK_E_UNKNOWN_ATTR},
        {BOX, BK_E_UNKNOWN_ATTR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t buf[128];
        struct bk_slice out = make(buf, sizeof buf, BK_STUN_SUCCESS, NULL, &cases[i].attr, 1);
        assert_int_equal(read_answer(out), cases[i].err);
    }
}

/* Only who has the key makes one; every bit of it counts. */
static void transaction_ids(void **state)
{
    (void)state;
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t other_key[BK_KEY_BYTES] = {7, 1, 5};
    for (unsigned i = 0; i < 16; i++) {
        uint8_t random[4] = {(uint8_t)i, (uint8_t)(i * 37), 3, 4};
        uint8_t id[BK_STUN_TXID_BYTES];
        bk_notify_txid_make(&mac, key_bytes, random, id);
        assert_memory_equal(id, random, sizeof random);
        assert_true(bk_notify_txid_ours(&mac, key_bytes, id));
        assert_false(bk_notify_txid_ours(&mac, other_key, id));
        for (size_t bit = 0; bit < 8 * sizeof id; bit++) {
            id[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_false(bk_notify_txid_ours(&mac, key_bytes, id));
            id[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
}

/* HMAC-SHA-256 of the label and these four bytes, by an encoder that is not ours. */
static void a_transaction_id_that_is_known(void **state)
{
    (void)state;
    static const uint8_t known[BK_STUN_TXID_BYTES] = {0xDE, 0xAD, 0xBE, 0xEF, 0xFE, 0x31,
                                                      0xAB, 0x1B, 0xC6, 0x97, 0x33, 0x87};
    const uint8_t random[4] = {0xDE, 0xAD, 0xBE, 0xEF};
    struct bk_mac_ops mac = bk_mac_sodium();
    uint8_t id[BK_STUN_TXID_BYTES];
    bk_notify_txid_make(&mac, key_bytes, random, id);
    assert_memory_equal(id, known, sizeof known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_form),
        cmocka_unit_test(fast_form),
        cmocka_unit_test(the_user_is_hidden),
        cmocka_unit_test(a_call_id_that_comes_again_tells_nothing_of_the_user),
        cmocka_unit_test(every_request_fits_a_datagram),
        cmocka_unit_test(answer),
        cmocka_unit_test(authentic_nonsense),
        cmocka_unit_test(half_a_request_is_none),
        cmocka_unit_test(an_answer_with_more_is_refused),
        cmocka_unit_test(transaction_ids),
        cmocka_unit_test(a_transaction_id_that_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
