/* The inside of a request's box: round trips, and every form that is refused. */
#include "support.h"

#include "seal/caller_key.h"
#include "wire/call_request.h"
#include "wire/connect.h"

static enum bk_err read_request(struct bk_slice bytes)
{
    struct bk_call_request v;
    return bk_call_request_read(bytes, &v);
}

static struct bk_call_request sample(size_t n_candidates, bool has_tag)
{
    struct bk_call_request r;
    memset(&r, 0, sizeof r);
    memset(r.call_id, 0xC1, sizeof r.call_id);
    r.equipment_id = 2133;
    r.unix_s = 1700000000;
    r.has_tag = has_tag;
    r.tag = has_tag ? (struct bk_tag){123, 4} : (struct bk_tag){0, 0};
    r.service = bk_slice_text("ssh");
    r.password = bk_slice_text("1234");
    r.n_candidates = n_candidates;
    for (size_t i = 0; i < n_candidates && i < BK_CANDIDATES_MAX; i++) {
        r.candidates[i].kind = (enum bk_candidate_kind)(BK_CANDIDATE_HOST + i % 4);
        r.candidates[i].addr = bk_addr_v4(4, 17, 168, (uint8_t)i, 5000);
        if (i > 0) {
            r.candidates[i].addr.ip[0] = 0x20; /* IPv6 */
        }
    }
    r.server_ms = has_tag ? 0xABCD : 0;
    memset(r.call_key, 0xCC, sizeof r.call_key);
    memset(r.reply_key, 0xDD, sizeof r.reply_key);
    return r;
}

static const uint8_t seed[BK_SIGN_SEED_BYTES] = {4, 17};
static const uint8_t pin[BK_PIN_BYTES] = {21, 33};

/* The same, of a caller who has a key; signed. */
static struct bk_slice write_signed(uint8_t *buf, size_t cap, size_t n_candidates, bool has_tag)
{
    struct bk_call_request in = sample(n_candidates, has_tag);
    struct bk_slice out;
    uint8_t signature[BK_SIGNATURE_BYTES];
    in.password = BK_SLICE_EMPTY;
    in.has_signature = true;
    bk_caller_key_of(seed, in.caller_key);
    assert_int_equal(bk_call_request_write(buf, cap, &in, &out), BK_OK);
    bk_caller_sign(seed, pin, bk_call_request_to_sign(out), signature);
    bk_call_request_set_signature(buf, out, signature);
    return out;
}

static bool signature_holds(const struct bk_call_request *r)
{
    return r->has_signature &&
           bk_caller_check(r->caller_key, pin, r->signed_text, r->signature) == BK_OK;
}

static void assert_same(const struct bk_call_request *a, const struct bk_call_request *b)
{
    assert_memory_equal(a->call_id, b->call_id, sizeof a->call_id);
    assert_memory_equal(a->call_key, b->call_key, sizeof a->call_key);
    assert_memory_equal(a->reply_key, b->reply_key, sizeof a->reply_key);
    assert_true(a->equipment_id == b->equipment_id && a->unix_s == b->unix_s);
    assert_true(a->has_tag == b->has_tag && a->tag.random == b->tag.random &&
                a->tag.counter == b->tag.counter);
    assert_true(bk_slice_equal(a->service, b->service));
    assert_true(bk_slice_equal(a->password, b->password));
    assert_int_equal(a->server_ms, b->server_ms);
    assert_int_equal(a->n_candidates, b->n_candidates);
    for (size_t i = 0; i < a->n_candidates; i++) {
        assert_int_equal(a->candidates[i].kind, b->candidates[i].kind);
        assert_true(bk_addr_equal(&a->candidates[i].addr, &b->candidates[i].addr));
    }
}

static void round_trips(void **state)
{
    (void)state;
    for (size_t n = 1; n <= BK_CANDIDATES_MAX; n++) {
        struct bk_call_request in = sample(n, n % 2 == 0);
        struct bk_call_request back;
        struct bk_slice out;
        uint8_t whole[BK_CALL_REQUEST_MAX_BYTES];
        assert_int_equal(bk_call_request_write(whole, sizeof whole, &in, &out), BK_OK);
        assert_int_equal(bk_call_request_read(out, &back), BK_OK);
        assert_same(&in, &back);
        for (size_t cut = 0; cut < out.n; cut++) {
            assert_int_not_equal(read_copy(read_request, bk_slice(out.p, cut)), BK_OK);
        }
        REFUSES_SHORT_BUFFERS(out, bk_call_request_write(buf, cap, &in, &ignored));
    }
}

static void the_largest_fits_its_box(void **state)
{
    (void)state;
    static const char name[] = "a23456789012345678901234567890123456789012345678901234567890123";
    uint8_t password[BK_PASSWORD_MAX_BYTES + 1] = {0};
    uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_slice out;
    struct bk_call_request in = sample(BK_CANDIDATES_MAX, true);
    in.candidates[0].addr.ip[0] = 0x20;
    in.service = text(name);
    in.password = bk_slice(password, BK_PASSWORD_MAX_BYTES);
    assert_int_equal(in.service.n, BK_NAME_MAX_BYTES);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_OK);
    assert_true(BK_CALL_REQUEST_MAX_BYTES + BK_SEAL_OVERHEAD_BYTES <= BK_BOX_MAX_BYTES);
    struct bk_call_request back;
    assert_int_equal(bk_call_request_read(out, &back), BK_OK);
    assert_same(&in, &back);
    in.has_signature = true;
    in.password = BK_SLICE_EMPTY;
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_OK);
    assert_true(bk_call_request_to_sign(out).n <= BK_CALLER_TEXT_MAX_BYTES);
    in.has_signature = false;
    in.password = bk_slice(password, BK_PASSWORD_MAX_BYTES + 1);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
}

static void out_of_range(void **state)
{
    (void)state;
    uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_slice out;
    struct bk_call_request in = sample(0, false);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = sample(BK_CANDIDATES_MAX + 1, false);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = sample(1, false);
    in.equipment_id = 0;
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = sample(1, false);
    in.service = text("no such/name");
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = sample(1, false);
    in.candidates[0].kind = (enum bk_candidate_kind)(BK_CANDIDATE_RELAYED + 1);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
    in = sample(1, false);
    in.has_signature = true; /* and a password */
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_E_RANGE);
}

/* A good box with one attribute more. */
static enum bk_err read_with(uint16_t type, const void *value, size_t n, size_t n_candidates)
{
    uint8_t buf[2048];
    struct bk_slice good;
    struct bk_call_request in = sample(n_candidates, false);
    assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &good), BK_OK);
    struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
    s.w.len = good.n;
    bk_stun_put(&s, type, bk_slice(value, n));
    assert_int_equal(s.w.err, BK_OK);
    return read_copy(read_request, bk_writer_bytes(&s.w));
}

static void every_field_once(void **state)
{
    (void)state;
    const uint8_t bytes[32] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9};
    assert_int_equal(read_with(BK_ATTR_CALL_ID, bytes, 16, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_EQUIPMENT_ID, bytes, 8, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_TIME, bytes, 8, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_SERVICE, "web", 3, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_CALL_KEY, bytes, 32, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_REPLY_KEY, bytes, 32, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_PASSWORD, "x", 1, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_TAG, bytes, 12, 1), BK_OK); /* there was none */
    assert_int_equal(read_with(BK_ATTR_TAG, bytes, 11, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_ROUND_TRIP, bytes, 2, 1), BK_OK); /* nor this */
    assert_int_equal(read_with(BK_ATTR_ROUND_TRIP, bytes, 3, 1), BK_E_MALFORMED);
}

static void candidates(void **state)
{
    (void)state;
    const uint8_t good[] = {2, 1, 0x13, 0x88, 4, 17, 168, 2};
    const uint8_t kind[] = {5, 1, 0x13, 0x88, 4, 17, 168, 2};
    const uint8_t none[] = {0, 1, 0x13, 0x88, 4, 17, 168, 2};
    const uint8_t family[] = {2, 3, 0x13, 0x88, 4, 17, 168, 2};
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, good, 8, 7), BK_OK);
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, good, 8, 8), BK_E_MALFORMED); /* the ninth */
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, good, 7, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, good, 0, 1), BK_E_MALFORMED);
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, family, 8, 1), BK_E_MALFORMED);
    /* Kinds that are not known may have any form, and count among the eight. */
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, kind, 8, 7), BK_OK);
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, none, 1, 7), BK_OK);
    assert_int_equal(read_with(BK_ATTR_CANDIDATE, kind, 8, 8), BK_E_MALFORMED);
}

/* The candidates of kinds that are not known are passed over, the others taken; one of them must be there. */
static void candidates_of_later_kinds(void **state)
{
    (void)state;
    for (size_t known = 0; known <= 3;
         known++) { /* the one of the three that is, if there is one */
        struct bk_call_request in = sample(3, false);
        struct bk_call_request back;
        struct bk_slice out;
        struct bk_stun_attr attr;
        uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
        assert_int_equal(bk_call_request_write(buf, sizeof buf, &in, &out), BK_OK);
        struct bk_reader r = bk_reader(out);
        size_t at = 0;
        while (bk_attr_next(&r, &attr)) {
            if (attr.type == BK_ATTR_CANDIDATE && at++ != known) {
                buf[attr.value.p - out.p] = 9;
            }
        }
        enum bk_err err = bk_call_request_read(out, &back);
        assert_int_equal(err, known == 3 ? BK_E_MALFORMED : BK_OK);
        assert_int_equal(back.n_candidates, known == 3 ? 0 : 1);
        if (known < 3) {
            assert_int_equal(back.candidates[0].kind, in.candidates[known].kind);
            assert_true(bk_addr_equal(&back.candidates[0].addr, &in.candidates[known].addr));
        }
    }
}

static void signed_round_trips(void **state)
{
    (void)state;
    for (size_t n = 1; n <= BK_CANDIDATES_MAX; n++) {
        uint8_t whole[BK_CALL_REQUEST_MAX_BYTES];
        struct bk_slice out = write_signed(whole, sizeof whole, n, n % 2 == 0);
        struct bk_call_request back;
        struct bk_call_request in = sample(n, n % 2 == 0);
        assert_int_equal(bk_call_request_read(out, &back), BK_OK);
        assert_true(signature_holds(&back));
        assert_ptr_equal(back.signed_text.p, out.p);
        assert_int_equal(back.signed_text.n, out.n - 4 - BK_SIGNATURE_BYTES);
        in.password = BK_SLICE_EMPTY;
        assert_same(&in, &back);
        for (size_t cut = 0; cut < out.n; cut++) {
            assert_int_not_equal(read_copy(read_request, bk_slice(out.p, cut)), BK_OK);
        }
        in.has_signature = true;
        REFUSES_SHORT_BUFFERS(out, bk_call_request_write(buf, cap, &in, &ignored));
    }
}

/* Whatever bit is bent, padding included: it is no request any more, or its signature does not hold. */
static void every_bit_is_signed(void **state)
{
    (void)state;
    uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_slice out = write_signed(buf, sizeof buf, 3, true);
    struct bk_call_request back;
    int readable = 0;
    for (size_t bit = 0; bit < 8 * out.n; bit++) {
        buf[bit / 8] ^= (uint8_t)(1U << bit % 8);
        bool read = bk_call_request_read(out, &back) == BK_OK;
        assert_false(read && signature_holds(&back));
        readable += read;
        buf[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(readable >
                8 * (16 + 8 + 12 + 3 * 32 + 64)); /* it was not the form that refused all */
    assert_int_equal(bk_call_request_read(out, &back), BK_OK);
    assert_true(signature_holds(&back));
}

/* Nothing stands behind the signature, not even what may be ignored. */
static void the_signature_is_last(void **state)
{
    (void)state;
    static const uint8_t zeros[BK_SIGNATURE_BYTES] = {0};
    static const struct {
        uint16_t type;
        size_t n;
    } more[] = {{0xC000, 0},
                {0x7FFF, 0},
                {BK_ATTR_TAG, 12},
                {BK_ATTR_CANDIDATE, 8},
                {BK_ATTR_PASSWORD, 4},
                {BK_ATTR_CALLER_KEY, BK_KEY_BYTES},
                {BK_ATTR_SIGNATURE, BK_SIGNATURE_BYTES}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
        struct bk_slice out = write_signed(buf, sizeof buf, 1, false);
        struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
        s.w.len = out.n;
        bk_stun_put(&s, more[i].type, bk_slice(zeros, more[i].n));
        assert_int_equal(read_copy(read_request, bk_writer_bytes(&s.w)), BK_E_MALFORMED);
    }
}

/* A password, or key and signature: every other choice of the three is no request. */
static void password_or_key(void **state)
{
    (void)state;
    for (unsigned what = 0; what < 8; what++) {
        for (int odd = -1; odd <= 1; odd++) { /* the length of the last of them */
            uint8_t buf[BK_CALL_REQUEST_MAX_BYTES];
            static const uint8_t zeros[BK_SIGNATURE_BYTES + 1] = {0};
            struct bk_slice out = write_signed(buf, sizeof buf, 1, true);
            struct bk_stun_writer s = {bk_writer(buf, sizeof buf)};
            s.w.len = out.n - 4 - BK_SIGNATURE_BYTES - 4 - BK_KEY_BYTES;
            if ((what & 1) != 0) {
                bk_stun_put(&s, BK_ATTR_PASSWORD, text("1234"));
            }
            if ((what & 2) != 0) {
                bk_stun_put(&s, BK_ATTR_CALLER_KEY,
                            bk_slice(zeros, (size_t)(BK_KEY_BYTES + (what < 4 ? odd : 0))));
            }
            if ((what & 4) != 0) {
                bk_stun_put(&s, BK_ATTR_SIGNATURE,
                            bk_slice(zeros, (size_t)(BK_SIGNATURE_BYTES + odd)));
            }
            bool good = what == 1 || (what == 6 && odd == 0);
            assert_int_equal(read_copy(read_request, bk_writer_bytes(&s.w)),
                             good ? BK_OK : BK_E_MALFORMED);
        }
    }
}

static void unknown_attributes(void **state)
{
    (void)state;
    assert_int_equal(read_with(0x7FFF, "", 0, 1), BK_E_UNKNOWN_ATTR);
    assert_int_equal(read_with(BK_ATTR_MESSAGE_INTEGRITY, "", 0, 1), BK_E_UNKNOWN_ATTR);
    assert_int_equal(read_with(0xFFFF, "later", 5, 1), BK_OK);
}

/* Each attribute of a box left out in turn; TAG and ROUND-TRIP alone may be. */
static void leave_each_out(struct bk_slice out, int n_attributes)
{
    const uint8_t *whole = out.p;
    struct bk_reader r = bk_reader(out);
    struct bk_stun_attr attr;
    size_t start = 0;
    int accepted = 0;
    int seen = 0;
    while (bk_attr_next(&r, &attr)) {
        size_t end = out.n - r.left.n;
        uint8_t without[BK_CALL_REQUEST_MAX_BYTES];
        memcpy(without, whole, start);
        memcpy(without + start, whole + end, out.n - end);
        enum bk_err err = read_copy(read_request, bk_slice(without, out.n - (end - start)));
        bool may_miss = attr.type == BK_ATTR_TAG || attr.type == BK_ATTR_ROUND_TRIP;
        assert_int_equal(err, may_miss ? BK_OK : BK_E_MALFORMED);
        accepted += err == BK_OK;
        seen++;
        start = end;
    }
    assert_int_equal(accepted, 2);
    assert_int_equal(seen, n_attributes);
}

static void every_field_is_needed(void **state)
{
    (void)state;
    uint8_t whole[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_slice out;
    struct bk_call_request in = sample(1, true);
    assert_int_equal(bk_call_request_write(whole, sizeof whole, &in, &out), BK_OK);
    leave_each_out(out, 10);
    leave_each_out(write_signed(whole, sizeof whole, 1, true), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(the_largest_fits_its_box),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(every_field_once),
        cmocka_unit_test(candidates),
        cmocka_unit_test(candidates_of_later_kinds),
        cmocka_unit_test(signed_round_trips),
        cmocka_unit_test(every_bit_is_signed),
        cmocka_unit_test(the_signature_is_last),
        cmocka_unit_test(password_or_key),
        cmocka_unit_test(unknown_attributes),
        cmocka_unit_test(every_field_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
