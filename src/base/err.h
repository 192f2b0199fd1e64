/* Error codes shared by every layer below the public interface.
 *
 * A function that can fail returns `enum bk_err`, hands its results through pointers and is marked
 * BK_NODISCARD; each header says which of these codes it returns. Zero is success. */
#ifndef BK_BASE_ERR_H
#define BK_BASE_ERR_H

#define BK_NODISCARD __attribute__((warn_unused_result))

enum bk_err {
    BK_OK = 0,
    BK_E_TRUNCATED = -1,    /* the input ends before the thing does; on a stream: read more */
    BK_E_MALFORMED = -2,    /* the input is not what it claims to be */
    BK_E_RANGE = -3,        /* a value outside what is allowed */
    BK_E_NOSPACE = -4,      /* the output buffer or a bounded table is full */
    BK_E_NOMEM = -5,        /* an allocation failed */
    BK_E_NOTFOUND = -6,     /* no such row, attribute, file, name */
    BK_E_EXISTS = -7,       /* there already, and not to be overwritten */
    BK_E_AUTH = -8,         /* a MAC, signature, seal, certificate or password is wrong */
    BK_E_UNKNOWN_ATTR = -9, /* an attribute that must be understood and is not */
    BK_E_EXPIRED = -10,     /* once valid, no longer */
    BK_E_IO = -11,          /* the operating system refused; errno tells */
    BK_E_CLOSED = -12,      /* the peer ended the connection */
    BK_E_TIMEOUT = -13,
    BK_E_STATE = -14, /* not possible in this state */
};

/* A short lower-case phrase for a code, for logs; never NULL. */
const char *bk_err_text(enum bk_err err);

#endif
