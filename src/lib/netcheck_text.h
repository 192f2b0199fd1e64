/* What was found out, in words: those of RFC 4787, and what each means for a call. */
#ifndef BK_LIB_NETCHECK_TEXT_H
#define BK_LIB_NETCHECK_TEXT_H

#include "beckon/beckon.h"
#include "core/requester/behaviour.h"

const char *bk_behaviour_text(enum bk_behaviour_kind kind);

/* How a caller here can be met, best first: the advice lines of `report`, from all else in it. */
void bk_netcheck_advise(struct beckon_netcheck *report);

#endif
