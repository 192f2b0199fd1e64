/* Counting log lines. Says nothing itself. */
#include "lib/log_limit.h"

bool bk_log_limit_pass(struct bk_log_limit *l, bk_time now, uint64_t *left_out)
{
    *left_out = 0;
    if (l->said == BK_LOG_LIMIT_FIRST && now < l->next) {
        l->left_out++;
        return false;
    }
    if (l->said < BK_LOG_LIMIT_FIRST) {
        l->said++;
    }
    *left_out = l->left_out;
    l->left_out = 0;
    l->next = bk_time_add(now, BK_LOG_LIMIT_EVERY_S * BK_SECOND);
    return true;
}
