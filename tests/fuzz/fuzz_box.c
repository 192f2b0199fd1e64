/* Any bytes as the inside of a box. What is accepted is written, read and written again to the same
 * bytes, and fits the box it came in. */
#include <string.h>

#include "fuzz.h"
#include "seal/caller_key.h"
#include "wire/call_request.h"
#include "wire/call_result.h"

static void as_request(struct bk_slice plain)
{
    struct bk_call_request v;
    struct bk_slice once;
    struct bk_slice twice;
    uint8_t first[BK_CALL_REQUEST_MAX_BYTES];
    uint8_t second[BK_CALL_REQUEST_MAX_BYTES];
    if (bk_call_request_read(plain, &v) != BK_OK) {
        require(v.n_candidates == 0 && v.password.n == 0);
        return;
    }
    if (v.has_signature) {
        require(v.password.n == 0 && v.signed_text.p == plain.p);
        require(v.signed_text.n == plain.n - 4 - BK_SIGNATURE_BYTES);
        require(memcmp(plain.p + plain.n - BK_SIGNATURE_BYTES, v.signature, sizeof v.signature) ==
                0);
        (void)!bk_caller_check(v.caller_key, v.call_key, v.signed_text, v.signature);
    } else {
        require(v.signed_text.n == 0);
    }
    require(v.n_candidates >= 1 && v.n_candidates <= BK_CANDIDATES_MAX);
    require(bk_call_request_write(first, sizeof first, &v, &once) == BK_OK);
    require(bk_call_request_read(once, &v) == BK_OK);
    require(bk_call_request_write(second, sizeof second, &v, &twice) == BK_OK);
    require(bk_slice_equal(once, twice));
    if (v.has_signature) {
        bk_call_request_set_signature(second, twice, v.signature);
        require(bk_slice_equal(once, twice) && bk_call_request_to_sign(twice).n == v.signed_text.n);
    }
}

static void as_result(struct bk_slice plain)
{
    struct bk_call_result v;
    struct bk_slice once;
    struct bk_slice twice;
    uint8_t first[BK_CALL_RESULT_MAX_BYTES];
    uint8_t second[BK_CALL_RESULT_MAX_BYTES];
    if (bk_call_result_read(plain, &v) != BK_OK) {
        return;
    }
    require(bk_call_result_write(first, sizeof first, &v, &once) == BK_OK);
    require(bk_call_result_read(once, &v) == BK_OK);
    require(bk_call_result_write(second, sizeof second, &v, &twice) == BK_OK);
    require(bk_slice_equal(once, twice));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    require(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    as_request(bk_slice(copy, size));
    as_result(bk_slice(copy, size));
    free(copy);
    return 0;
}
