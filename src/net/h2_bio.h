/* A BIO over a socket for which the kernel is called once for many records: OpenSSL reads ahead, straight into its own
 * buffer, and what it writes, record by record, is gathered here and leaves only by bk_h2_bio_flush. */
#ifndef BK_NET_H2_BIO_H
#define BK_NET_H2_BIO_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_H2_BIO_IN_BYTES = 128 * 1024, /* OpenSSL's buffer */
    BK_H2_BIO_OUT_BYTES = 192 * 1024,
};

struct bk_h2_bio {
    int fd;
    bool eof;
    int error;         /* errno of the socket's failure; 0: none */
    uint64_t received; /* bytes, ever */
    uint64_t sent;
    bool corked; /* the last bytes were given to the kernel as followed by more */
    size_t out_off, out_len;
    uint8_t out[BK_H2_BIO_OUT_BYTES];
};

/* Puts `b` under `ssl` in place of what SSL_set_fd made, and gives `ssl` a buffer to read ahead; it keeps its buffers from
 * now on. `b` must outlive the SSL. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_h2_bio_set(SSL *ssl, struct bk_h2_bio *b);

/* Can `n` bytes more of plain text be encrypted into the buffer for sure? */
bool bk_h2_bio_room(const struct bk_h2_bio *b, size_t n);

/* Gives the kernel what it takes. `more`: it may keep a rest that fills no packet for what comes after: then a flush
 * without must follow, whether anything came or not. BK_E_TRUNCATED: some is left, wait until writable; BK_E_IO. */
BK_NODISCARD enum bk_err bk_h2_bio_flush(struct bk_h2_bio *b, bool more);

#endif
