/* One question to the server over a TLS connection made for it, and one answer: what joining and renewing
 * share. Runs a loop of its own until it is settled. */
#ifndef BK_LIB_EXCHANGE_H
#define BK_LIB_EXCHANGE_H

#include "beckon/beckon.h"
#include "net/tls.h"
#include "wire/stun.h"

struct bk_exchange {
    const char *host;
    uint16_t port;
    struct bk_tls *tls;      /* borrowed */
    struct bk_slice request; /* one whole message */
    enum bk_method method;   /* of request and answer */
    int stop_fd;             /* once readable, the exchange is given up (INTERRUPTED); -1: none */
    void *ctx;
    /* The connection stands; before the request is sent. May be NULL. False: FAILED. */
    bool (*open)(void *ctx, SSL *ssl);
    /* A success, and an error with its code (0: malformed). Both fill `error` unless they return OK. */
    enum beckon_status (*success)(void *ctx, const struct bk_stun *m, struct beckon_error *error);
    enum beckon_status (*refused)(void *ctx, uint16_t code, struct beckon_error *error);
};

/* What `success` or `refused` returned; SERVER_DOWN, INTERRUPTED, FAILED. The server has 8 s to answer. */
enum beckon_status bk_exchange_run(const struct bk_exchange *exchange, struct beckon_error *error);

#endif
