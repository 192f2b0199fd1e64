/* A BIO over a socket with a large buffer each way: OpenSSL asks for 5 bytes, then a record, and writes record by
 * record, but the kernel is called once for many records. Written bytes leave only by bk_h2_bio_flush. */
#ifndef BK_NET_H2_BIO_H
#define BK_NET_H2_BIO_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "base/slice.h"

enum {
    BK_H2_BIO_IN_BYTES = 128 * 1024,
    BK_H2_BIO_OUT_BYTES = 192 * 1024,
};

struct bk_h2_bio {
    int fd;
    bool eof;
    int error;         /* errno of the socket's failure; 0: none */
    uint64_t received; /* bytes, ever */
    uint64_t sent;
    size_t in_off, in_len;
    size_t out_off, out_len;
    uint8_t in[BK_H2_BIO_IN_BYTES];
    uint8_t out[BK_H2_BIO_OUT_BYTES];
};

/* Puts `b` under `ssl` in place of what SSL_set_fd made; `b` must outlive the SSL. BK_E_NOMEM. */
BK_NODISCARD enum bk_err bk_h2_bio_set(SSL *ssl, struct bk_h2_bio *b);

/* Can `n` bytes more of plain text be encrypted into the buffer for sure? */
bool bk_h2_bio_room(const struct bk_h2_bio *b, size_t n);

/* Gives the kernel what it takes. BK_E_TRUNCATED: some is left, wait until writable; BK_E_IO. */
BK_NODISCARD enum bk_err bk_h2_bio_flush(struct bk_h2_bio *b);

#endif
