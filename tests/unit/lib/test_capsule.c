/* Capsules: every size of datagram, every cut, what is passed over and what is no capsule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib/capsule.h"

static struct bk_capsules decoder;
static uint8_t stream[2 * 65536 + 64];
static uint8_t data[BK_CAPSULE_UDP_MAX_BYTES];

static size_t put(size_t at, size_t n)
{
    size_t head = bk_capsule_head(n, stream + at);

    assert_in_range(head, 3, BK_CAPSULE_HEAD_BYTES);
    memcpy(stream + at + head, data, n);
    return at + head + n;
}

/* How many datagrams come out of the stream, given in pieces of `piece` bytes; each must be the first `sizes[i]` of data. */
static size_t take_all(size_t total, size_t piece, const size_t *sizes)
{
    size_t found = 0;
    enum bk_err err;

    memset(&decoder, 0, sizeof decoder);
    for (size_t at = 0; at < total; at += piece) {
        size_t n = total - at < piece ? total - at : piece;
        uint8_t *copy = malloc(n); /* a sanitizer sees a byte too many */
        struct bk_slice bytes = bk_slice(copy, n), payload;

        memcpy(copy, stream + at, n);
        while (bk_capsules_take(&decoder, &bytes, &payload, &err)) {
            assert_int_equal(payload.n, sizes[found]);
            assert_memory_equal(payload.p, data, payload.n);
            found++;
        }
        assert_int_equal(err, BK_OK);
        assert_int_equal(bytes.n, 0);
        free(copy);
    }
    return found;
}

static void every_size_and_cut(void **state)
{
    static const size_t sizes[] = {
        1, 0, 62, 63, 64, 1200, 16382, 16383, 16384, BK_CAPSULE_UDP_MAX_BYTES, 1};
    static const size_t pieces[] = {1, 2, 7, 1000, sizeof stream};
    size_t total = 0, n = sizeof sizes / sizeof sizes[0];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7 + 1);
    }
    for (size_t i = 0; i < n; i++) {
        total = put(total, sizes[i]);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        assert_int_equal(take_all(total, pieces[i], sizes), n);
    }
}

/* Other types, other contexts: passed over, whatever their length. */
static void others_are_passed_over(void **state)
{
    static const uint8_t other_type[] = {0x29, 3, 'x', 'y', 'z'};
    static const uint8_t long_type[] = {0xC0, 0, 0, 0, 0xFF, 0, 0, 1, 0};
    static const uint8_t other_context[] = {0, 3, 2, 'x', 'y'};
    static const uint8_t wide_context[] = {0, 3, 0x40, 0, 'a'}; /* context 0 in two bytes */
    static const size_t sizes[] = {5, 1, 5};
    size_t at = 0;

    (void)state;
    memcpy(stream + at, other_type, sizeof other_type);
    at += sizeof other_type;
    at = put(at, 5);
    memcpy(stream + at, long_type, sizeof long_type);
    at += sizeof long_type;
    memcpy(stream + at, other_context, sizeof other_context);
    at += sizeof other_context;
    data[0] = 'a';
    memcpy(stream + at, wide_context, sizeof wide_context);
    at += sizeof wide_context;
    stream[5 + 3] = 'a';
    at = put(at, 5);
    assert_int_equal(take_all(at, 1, sizes), 3);
    assert_int_equal(take_all(at, sizeof stream, sizes), 3);
}

/* A capsule of another type may be longer than anything we hold. */
static void a_huge_capsule_of_another_type(void **state)
{
    static const uint8_t head[] = {0x29, 0x80, 0x10, 0, 0};
    static const uint8_t zeros[4096] = {0};
    struct bk_slice bytes = BK_SLICE_OF(head), payload;
    enum bk_err err;

    (void)state;
    memset(&decoder, 0, sizeof decoder);
    assert_false(bk_capsules_take(&decoder, &bytes, &payload, &err));
    for (size_t i = 0; i < 0x100000 / sizeof zeros; i++) {
        bytes = BK_SLICE_OF(zeros);
        assert_false(bk_capsules_take(&decoder, &bytes, &payload, &err));
        assert_int_equal(err, BK_OK);
    }
    put(0, 9);
    bytes = bk_slice(stream, 3 + 9);
    assert_true(bk_capsules_take(&decoder, &bytes, &payload, &err));
    assert_int_equal(payload.n, 9);
}

static void no_capsules(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t n;
    } rows[] = {
        {{0, 0}, 2},                /* a datagram without a context ID */
        {{0, 1, 0x40}, 3},          /* with half of one */
        {{0, 0x80, 2, 0, 0, 0}, 6}, /* longer than a datagram can be */
        {{0, 0xBF, 0xFF, 0xFF, 0xFF, 0}, 6},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_slice bytes = bk_slice(rows[i].bytes, rows[i].n), payload;
        enum bk_err err;

        memset(&decoder, 0, sizeof decoder);
        assert_false(bk_capsules_take(&decoder, &bytes, &payload, &err));
        assert_int_equal(err, BK_E_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_and_cut),
        cmocka_unit_test(others_are_passed_over),
        cmocka_unit_test(a_huge_capsule_of_another_type),
        cmocka_unit_test(no_capsules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
