/* What a failed call means for people: status and one line. */
#ifndef BK_LIB_OUTGOING_TEXT_H
#define BK_LIB_OUTGOING_TEXT_H

#include "beckon/beckon.h"
#include "core/requester/requester.h"

struct bk_outgoing_facts {
    const char *server;      /* its name */
    const char *server_text; /* why it could not be asked */
    const char *why;         /* what of ours could not be had: mappings, a relay */
    const char *state_dir;
    uint64_t equipment_id;
    const uint8_t *pin; /* the key that the device showed */
    bool accepted;      /* the device took the call, by its own word */
    bool expired;       /* it is the box key that does not hold, by its time */
    bool untimely;      /* it is the device's certificate */
};

void bk_outgoing_error(enum bk_requester_failure failure, const struct bk_outgoing_facts *facts,
                       struct beckon_error *error);

#endif
