/* Simultaneous open on a grid of instants. At any time one try is under way: a connection that only dials is thrown away
 * at the next instant; one whose TCP stands, or is about to, is left alone until TLS has judged it. */
#include "net/punch.h"

#include <assert.h>
#include <stdlib.h>

#include <event2/event_struct.h>

#include "net/clock.h"

struct bk_punch {
    struct event_base *base;
    struct bk_punch_config config;
    struct event instant;
    bk_time next;         /* the grid: never moved by a late wake-up */
    bk_time began;        /* the present try */
    uint32_t tries;       /* instants, whether something was begun at them or not */
    struct bk_conn *conn; /* the present try */
    bool done;            /* `open` or `over` has been told */
};

static void arm(struct bk_punch *p)
{
    uint64_t left_ms = (bk_time_left(bk_clock_mono(), p->next) + BK_MS - 1) / BK_MS;
    struct timeval tv = bk_timeval_ms((uint32_t)left_ms);
    (void)event_add(&p->instant, &tv);
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_punch *p = ctx;
    void (*open)(void *, struct bk_conn *, const struct bk_tls_peer *) = p->config.conn.on.open;
    void *owner = p->config.conn.on.ctx;
    (void)event_del(&p->instant);
    p->conn = NULL;
    p->done = true;
    bk_conn_set_ctx(conn, owner);
    open(owner, conn, peer); /* p may be gone */
}

/* Refused, reset, not the other side after all: the next instant tries again. */
static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_punch *p = ctx;
    p->conn = NULL;
    if (p->tries >= p->config.tries && !p->done) {
        p->done = true;
        (void)event_del(&p->instant);
        if (p->config.over != NULL) {
            p->config.over(p->config.conn.on.ctx, p->tries, why->text); /* p may be gone */
        }
    }
    bk_conn_free(conn);
}

static struct bk_slice on_early(void *ctx, struct bk_conn *conn)
{
    const struct bk_conn_callbacks *on = &((struct bk_punch *)ctx)->config.conn.on;
    return on->early(on->ctx, conn);
}

static void on_early_lost(void *ctx, struct bk_conn *conn)
{
    const struct bk_conn_callbacks *on = &((struct bk_punch *)ctx)->config.conn.on;
    if (on->early_lost != NULL) {
        on->early_lost(on->ctx, conn);
    }
}

static void begin_try(struct bk_punch *p)
{
    struct bk_conn_config conn = p->config.conn;
    conn.reuse_port = true;
    conn.on.ctx = p;
    conn.on.open = on_open;
    conn.on.closed = on_closed;
    if (conn.on.early != NULL) {
        conn.on.early = on_early;
        conn.on.early_lost = on_early_lost;
    }
    p->tries++;
    p->began = bk_clock_mono();
    if (bk_conn_connect(p->base, &conn, &p->config.peer, 1, &p->config.local, &p->conn) != BK_OK) {
        p->conn = NULL; /* no memory now: perhaps at the next instant */
    }
}

static void give_up(struct bk_punch *p)
{
    bk_conn_free(p->conn);
    p->conn = NULL;
    p->done = true;
    if (p->config.over != NULL) {
        p->config.over(p->config.conn.on.ctx, p->tries, "no answer");
    }
}

/* Another dial in its place would only begin anew what is nearly there. */
static bool nearly_there(const struct bk_punch *p, bk_time now)
{
    return p->conn != NULL &&
           (bk_conn_borrow_ssl(p->conn) != NULL ||
            (now < bk_time_add(p->began, BK_PUNCH_CROSSED_MS * BK_MS) && bk_conn_crossed(p->conn)));
}

static void on_instant(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct bk_punch *p = ctx;
    bk_time now = bk_clock_mono();
    do { /* instants that were slept through are past */
        p->next = bk_time_add(p->next, p->config.every_ms * BK_MS);
    } while (p->next <= now);
    if (nearly_there(p, now)) {
        /* It counts: a SYN that comes after the other side's last would be taken by its listener, and the answer, with
         * another sequence number than its last dial, thrown away by its router, for as long as that remembers the dial. */
        p->tries += p->tries < p->config.tries;
        arm(p);
        return;
    }
    if (p->tries >= p->config.tries) {
        give_up(p); /* p may be gone */
        return;
    }
    bk_conn_free(p->conn);
    p->conn = NULL;
    begin_try(p);
    arm(p);
}

enum bk_err bk_punch_new(struct event_base *base, const struct bk_punch_config *config,
                         struct bk_punch **out)
{
    assert(config->tries > 0 && config->conn.on.open != NULL);
    struct bk_punch *p = calloc(1, sizeof *p);
    *out = NULL;
    if (p == NULL) {
        return BK_E_NOMEM;
    }
    p->base = base;
    p->config = *config;
    p->config.every_ms = config->every_ms != 0 ? config->every_ms : BK_PUNCH_EVERY_MS;
    p->next = bk_time_add(bk_clock_mono(), config->first_ms * BK_MS);
    evtimer_assign(&p->instant, base, on_instant, p);
    arm(p);
    *out = p;
    return BK_OK;
}

uint32_t bk_punch_tries(const struct bk_punch *p)
{
    return p->tries;
}

void bk_punch_free(struct bk_punch *p)
{
    if (p == NULL) {
        return;
    }
    (void)event_del(&p->instant);
    bk_conn_free(p->conn);
    free(p);
}
