/* How certificates name their holders. Each holder has exactly one text; what is not exactly one of ours is
 * refused. */
#include "seal/subject.h"

#include <string.h>

#include "base/number.h"
#include "base/writer.h"

static const char prefix_server[] = "beckon:server";
static const char prefix_device[] = "beckon:device:";
static const char prefix_user[] = "beckon:user:";

void bk_subject_write(const struct bk_identity *id, char out[BK_SUBJECT_TEXT_BYTES])
{
    struct bk_writer w = bk_writer((uint8_t *)out, BK_SUBJECT_TEXT_BYTES - 1);
    char digits[21];

    switch (id->role) {
    case BK_ROLE_SERVER:
        bk_write_bytes(&w, bk_slice_text(prefix_server));
        break;
    case BK_ROLE_DEVICE:
        bk_number_format(id->equipment_id, digits);
        bk_write_bytes(&w, bk_slice_text(prefix_device));
        bk_write_bytes(&w, bk_slice_text(digits));
        break;
    case BK_ROLE_USER:
        bk_write_bytes(&w, bk_slice_text(prefix_user));
        bk_write_bytes(&w, bk_slice_text(id->name));
        break;
    case BK_ROLE_NONE:
        break;
    }
    out[w.len] = '\0';
}

/* What follows `prefix` in `text`, if it starts so. */
static bool after(struct bk_slice text, const char *prefix, struct bk_slice *rest)
{
    size_t n = strlen(prefix);

    if (text.n < n || memcmp(text.p, prefix, n) != 0) {
        return false;
    }
    *rest = bk_slice(text.p + n, text.n - n);
    return true;
}

enum bk_err bk_subject_read(struct bk_slice text, struct bk_identity *out)
{
    struct bk_slice rest;

    out->role = BK_ROLE_NONE;
    out->equipment_id = 0;
    out->name[0] = '\0';
    if (after(text, prefix_device, &rest)) {
        if (bk_equipment_id_parse(rest, &out->equipment_id) != BK_OK) {
            return BK_E_MALFORMED;
        }
        out->role = BK_ROLE_DEVICE;
        return BK_OK;
    }
    if (after(text, prefix_user, &rest)) {
        if (rest.n == 0 || !bk_slice_to_text(rest, out->name, sizeof out->name)) {
            return BK_E_MALFORMED;
        }
        out->role = BK_ROLE_USER;
        return BK_OK;
    }
    if (bk_slice_equal(text, bk_slice_text(prefix_server))) {
        out->role = BK_ROLE_SERVER;
        return BK_OK;
    }
    return BK_E_MALFORMED;
}
