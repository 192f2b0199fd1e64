/* The socket BIO. Does no TLS and no HTTP/2. Invariant: out_off + out_len stays within `out`; bytes leave in the order they
 * came; what is received is OpenSSL's at once. */
#include "net/h2_bio.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

enum {
    RECORD_BYTES = 16 * 1024,
    RECORD_OVERHEAD_BYTES = 64, /* header 5, type 1, tag 16, and some to spare */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct bk_h2_bio *b = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (n <= 0) {
        return 0;
    }
    if (b->out_off > 0 && (size_t)n > sizeof b->out - b->out_off - b->out_len) {
        memmove(b->out, b->out + b->out_off, b->out_len);
        b->out_off = 0;
    }
    if ((size_t)n > sizeof b->out - b->out_off - b->out_len) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(b->out + b->out_off + b->out_len, bytes, (size_t)n);
    b->out_len += (size_t)n;
    return n;
}

static int bio_read(BIO *bio, char *buf, int n)
{
    struct bk_h2_bio *b = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    while (n > 0 && !b->eof && b->error == 0) {
        ssize_t got = recv(b->fd, buf, (size_t)n, MSG_DONTWAIT);
        if (got > 0) {
            b->received += (uint64_t)got;
            return (int)got;
        }
        if (got == 0) {
            b->eof = true;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            BIO_set_retry_read(bio);
            return -1;
        } else if (errno != EINTR) {
            b->error = errno;
        }
    }
    return n > 0 && b->error != 0 ? -1 : 0;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)num;
    (void)ptr;
    struct bk_h2_bio *b = BIO_get_data(bio);
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1; /* the session flushes once a turn */
    case BIO_CTRL_EOF:
        return b->eof;
    case BIO_CTRL_WPENDING:
        return (long)b->out_len;
    default:
        return 0;
    }
}

static void make_method(void)
{
    int type = BIO_get_new_index();
    method = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "socket, buffered");
    if (method != NULL) {
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
}

enum bk_err bk_h2_bio_set(SSL *ssl, struct bk_h2_bio *b)
{
    (void)pthread_once(&once, make_method);
    BIO *bio = method == NULL ? NULL : BIO_new(method);
    if (bio == NULL) {
        return BK_E_NOMEM;
    }
    BIO_set_data(bio, b);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    /* Buffers that are made for each record anew cost as much as a copy. Those of the handshake are too small. */
    (void)SSL_clear_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_free_buffers(ssl);
    SSL_set_default_read_buffer_len(ssl, BK_H2_BIO_IN_BYTES);
    SSL_set_read_ahead(ssl, 1);
    return SSL_alloc_buffers(ssl) == 1 ? BK_OK : BK_E_NOMEM;
}

bool bk_h2_bio_room(const struct bk_h2_bio *b, size_t n)
{
    size_t records = n / RECORD_BYTES + 1;
    size_t need = n + records * RECORD_OVERHEAD_BYTES;
    return need <= sizeof b->out - b->out_len;
}

/* Has the kernel send what it kept for more. */
static void uncork(struct bk_h2_bio *b)
{
    int on = 1;
    b->corked = false;
    (void)setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* in tests it is no TCP */
}

enum bk_err bk_h2_bio_flush(struct bk_h2_bio *b, bool more)
{
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    while (b->out_len > 0) {
        ssize_t n = send(b->fd, b->out + b->out_off, b->out_len, flags);
        if (n >= 0) {
            b->out_off += (size_t)n;
            b->out_len -= (size_t)n;
            b->sent += (uint64_t)n;
            b->corked = more;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return BK_E_TRUNCATED;
        } else if (errno != EINTR) {
            b->error = errno;
            return BK_E_IO;
        }
    }
    b->out_off = 0;
    if (b->corked && !more) {
        uncork(b);
    }
    return BK_OK;
}
