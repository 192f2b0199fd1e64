/* A session that begins before its connection is proven: what it has to say first is made into h->plain, for TLS to send
 * with its own flight, and stays there until the session is attached, in case TLS could not send it.
 * Invariant: while EARLY there is no SSL, nothing is encrypted, and no callback is made. */
#include "net/h2_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum bk_err bk_h2_new_early(struct event_base *base, const struct bk_h2_config *config,
                            struct bk_h2 **out)
{
    assert(!config->server);
    return bk_h2_make(base, config, out);
}

struct bk_slice bk_h2_early(struct bk_h2 *h)
{
    assert(h->phase == H2_EARLY);
    if (!h->early_made) {
        h->early_made = true;
        h->busy++;
        int err = nghttp2_session_send(h->ng);
        h->busy--;
        h->early_failed = err != 0 && err != NGHTTP2_ERR_WOULDBLOCK;
    }
    return h->early_failed ? BK_SLICE_EMPTY : bk_slice(h->plain, h->plain_n);
}

enum bk_err bk_h2_attach(struct bk_h2 *h, SSL *ssl, bool sent)
{
    assert(h->phase == H2_EARLY);
    int fd = SSL_get_fd(ssl);
    if (fd < 0 || h->early_failed) {
        SSL_free(ssl);
        if (fd >= 0) {
            close(fd);
        }
        return fd < 0 ? BK_E_IO : BK_E_NOMEM;
    }
    assert(!sent || h->early_made);
    if (sent) {
        h->plain_n = 0;
    }
    enum bk_err err = bk_h2_take_ssl(h, ssl, fd);
    if (err == BK_OK) {
        bk_h2_want_turn(h);
    }
    return err;
}
