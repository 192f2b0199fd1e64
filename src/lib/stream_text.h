/* Streams in words: the authority that names a service, and what the end of a stream means. */
#ifndef BK_LIB_STREAM_TEXT_H
#define BK_LIB_STREAM_TEXT_H

#include "beckon/beckon.h"
#include "net/h2.h"
#include "wire/attrs.h"

enum {
    BK_AUTHORITY_BYTES = BK_NAME_MAX_BYTES + 3,
};

/* "NAME:1"; `service` is a valid name. */
void bk_authority(const char *service, char out[BK_AUTHORITY_BYTES]);

/* OK for a clean end, else status and line. */
enum beckon_status bk_stream_error(const struct bk_h2_outcome *outcome, const char *service,
                                   struct beckon_error *error);

#endif
