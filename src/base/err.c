/* Words for error codes. Only for logs: nothing may decide by them. */
#include "base/err.h"

const char *bk_err_text(enum bk_err err)
{
    switch (err) {
    case BK_OK:
        return "success";
    case BK_E_TRUNCATED:
        return "truncated";
    case BK_E_MALFORMED:
        return "malformed";
    case BK_E_RANGE:
        return "out of range";
    case BK_E_NOSPACE:
        return "no space left";
    case BK_E_NOMEM:
        return "out of memory";
    case BK_E_NOTFOUND:
        return "not found";
    case BK_E_EXISTS:
        return "exists already";
    case BK_E_AUTH:
        return "not authentic";
    case BK_E_UNKNOWN_ATTR:
        return "unknown attribute";
    case BK_E_EXPIRED:
        return "expired";
    case BK_E_IO:
        return "refused by the operating system";
    case BK_E_CLOSED:
        return "closed by the peer";
    case BK_E_TIMEOUT:
        return "timed out";
    case BK_E_STATE:
        return "not possible in this state";
    }
    return "unknown error";
}
