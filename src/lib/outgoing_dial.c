/* How the device's connections come about: it dials our listener or our relayed address, or we dial it, or both at once.
 * Whoever dialled, we are TLS server: the call's server name and the device's key are what counts. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/outgoing_private.h"

static bool choose(void *ctx, const char *server_name, struct bk_tls_call *out)
{
    struct bk_outgoing *c = ctx;

    if (!c->expecting || c->over || strcmp(server_name, c->call_name) != 0) {
        return false;
    }
    out->cert = c->call_cert;
    out->key = c->call_key;
    memcpy(out->peer_pin, c->device_pin, sizeof out->peer_pin);
    return true;
}

/* ---- the listener ---- */

/* What the addresses of a connection are judged by; taken anew each time: networks change. */
static void self_of(const struct bk_outgoing *c, struct bk_arrival_self *out)
{
    struct bk_host_addr hosts[BK_ARRIVAL_HOSTS_MAX];
    size_t n = 0;

    *out = (struct bk_arrival_self){
        .told = c->told, .n_told = c->n_told, .met = c->met, .n_met = c->n_met};
    if (bk_host_addresses(hosts, BK_ARRIVAL_HOSTS_MAX, &n) == BK_OK) {
        for (size_t i = 0; i < n; i++) {
            out->networks[out->n_networks++] = hosts[i].prefix;
        }
    }
    out->n_gateways = bk_host_gateways(out->gateways, BK_ARRIVAL_GATEWAYS_MAX);
}

/* Of the device's addresses that we met halfway, the one that this connection comes from: a router may give it another
 * port than the one that was told. */
static struct bk_addr punched_to(const struct bk_outgoing *c, const struct bk_addr *remote)
{
    struct bk_addr found = *remote;

    for (size_t i = 0; i < c->n_met; i++) {
        if (bk_addr_equal(&c->met[i], remote)) {
            return *remote;
        }
        if (bk_addr_same_ip(&c->met[i], remote)) {
            found = c->met[i];
        }
    }
    return found;
}

/* Connections that come from there are punched, even when no more are tried. */
static void remember_met(struct bk_outgoing *c, const struct bk_addr *addr)
{
    for (size_t i = 0; i < c->n_met; i++) {
        if (bk_addr_equal(&c->met[i], addr)) {
            return;
        }
    }
    if (c->n_met == BK_ARRIVAL_MET_MAX) {
        memmove(c->met, c->met + 1, (BK_ARRIVAL_MET_MAX - 1) * sizeof c->met[0]);
        c->n_met--;
    }
    c->met[c->n_met++] = *addr;
}

static void on_dialled(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_outgoing *c = ctx;
    struct bk_addr local = bk_conn_local(conn), remote = bk_conn_remote(conn);
    struct bk_arrival_self self;
    enum bk_candidate_kind kind;
    struct bk_candidate met = {.kind = BK_CANDIDATE_REFLEXIVE};

    (void)peer;
    self_of(c, &self);
    kind = bk_arrival_kind(&self, &local, &remote);
    if (kind != BK_CANDIDATE_REFLEXIVE) {
        bk_outgoing_arrived(c, conn, kind, bk_arrival_candidate(&self, kind, &local), true);
        return;
    }
    met.addr = punched_to(c, &remote);
    bk_outgoing_arrived(c, conn, kind, &met, false);
}

static void on_early_lost(void *ctx, struct bk_conn *conn)
{
    (void)ctx;
    bk_outgoing_early_lost(conn);
}

static struct bk_slice on_dialled_early(void *ctx, struct bk_conn *conn)
{
    struct bk_outgoing *c = ctx;
    struct bk_addr local = bk_conn_local(conn), remote = bk_conn_remote(conn);
    struct bk_arrival_self self;

    self_of(c, &self);
    return bk_outgoing_begin_early(c, conn, bk_arrival_kind(&self, &local, &remote));
}

static void on_dialled_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)ctx;
    (void)why;
    bk_conn_free(conn);
}

static void on_refused(void *ctx, const struct bk_addr *from, const struct bk_conn_closed *why)
{
    struct bk_outgoing *c = ctx;
    char text[BK_ADDR_TEXT_BYTES];

    if (c->strangers == BK_OUTGOING_STRANGERS_TOLD_MAX) {
        return;
    }
    c->strangers++;
    bk_addr_format(from, text);
    bk_outgoing_say(c, "a connection from %s is not the device: %s", text, why->text);
}

enum beckon_status bk_outgoing_listen(struct bk_outgoing *c, struct beckon_error *error)
{
    struct bk_listener_config config = {
        .conn = {.on = {.ctx = c,
                        .open = on_dialled,
                        .closed = on_dialled_closed,
                        .early = on_dialled_early,
                        .early_lost = on_early_lost}},
        .refused = on_refused,
        .max_total = BK_OUTGOING_CONNECTIONS_MAX,
        .max_handshakes = BK_OUTGOING_CONNECTIONS_MAX,
        .max_per_address = BK_OUTGOING_PER_ADDRESS_MAX,
        .reuse_port = true,
    };
    char text[BK_ADDR_TEXT_BYTES];

    if (bk_tls_new_call_server(BK_ALPN_CALL, choose, c, &c->call_tls) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    config.conn.tls = c->call_tls;
    if (bk_listener_new(c->client->base, &config, &c->listener) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory for the callback listener");
    }
    if (bk_listener_add(c->listener, &c->client->listen, &c->listening) != BK_OK) {
        bk_addr_format(&c->client->listen, text);
        return bk_fail(error, BECKON_FAILED, "cannot listen on %s; give another --listen", text);
    }
    return BECKON_OK;
}

/* ---- what we open ---- */

static struct bk_outgoing_dial *new_dial(struct bk_outgoing *c,
                                         const struct bk_candidate *candidate)
{
    for (size_t i = 0; i < BK_OUTGOING_DIALS_MAX; i++) {
        if (c->dials[i].call == NULL) {
            c->dials[i] = (struct bk_outgoing_dial){.call = c, .candidate = *candidate};
            return &c->dials[i];
        }
    }
    return NULL;
}

static void free_dial(struct bk_outgoing_dial *d)
{
    bk_punch_free(d->punch);
    bk_conn_free(d->conn);
    *d = (struct bk_outgoing_dial){0};
}

static struct beckon_candidate *row_of(struct bk_outgoing *c, const struct bk_candidate *candidate)
{
    return bk_record_row(c->record, false, candidate->kind, &candidate->addr, bk_outgoing_us(c));
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct bk_outgoing_dial *d = ctx;
    struct bk_outgoing *c = d->call;
    struct bk_candidate by = d->candidate;
    struct bk_arrival_self self = {.told = c->told, .n_told = c->n_told};
    const struct bk_candidate *mapped =
        bk_arrival_candidate(&self, BK_CANDIDATE_MAPPED, &c->listening);

    (void)peer;
    d->conn = NULL;
    free_dial(d);
    if (by.kind == BK_CANDIDATE_REFLEXIVE && bk_arrival_meets_mapping(&self)) {
        bk_outgoing_arrived(c, conn, BK_CANDIDATE_MAPPED, mapped, true);
        return;
    }
    bk_outgoing_arrived(c, conn, by.kind, &by, by.kind == BK_CANDIDATE_RELAYED);
}

static struct bk_slice on_early(void *ctx, struct bk_conn *conn)
{
    struct bk_outgoing_dial *d = ctx;

    return bk_outgoing_begin_early(d->call, conn, d->candidate.kind);
}

/* It came to nothing. */
static void failed(struct bk_outgoing_dial *d, const char *why)
{
    struct bk_outgoing *c = d->call;
    struct bk_candidate to = d->candidate;
    char line[BK_OUTGOING_PATH_BYTES + 16];

    free_dial(d);
    bk_candidate_format(&to, line, sizeof line);
    bk_outgoing_say(c, "%s %s: %s", to.kind == BK_CANDIDATE_RELAYED ? "by our" : "the device's",
                    line, why);
    if (to.kind != BK_CANDIDATE_RELAYED && row_of(c, &to)->outcome == BECKON_OUTCOME_PENDING) {
        bk_record_ended(row_of(c, &to), BECKON_OUTCOME_FAILED, why, bk_outgoing_us(c));
    }
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    struct bk_outgoing_dial *d = ctx;

    d->conn = NULL;
    failed(d, why->text);
    bk_conn_free(conn);
}

static void on_punch_over(void *ctx, uint32_t tries, const char *why)
{
    char text[BK_TLS_TEXT_BYTES + 40];

    (void)snprintf(text, sizeof text, "%u tries: %s", (unsigned)tries, why);
    failed(ctx, text);
}

static struct bk_conn_config config_of(struct bk_outgoing_dial *d)
{
    return (struct bk_conn_config){
        .tls = d->call->call_tls,
        .on = {.ctx = d,
               .open = on_open,
               .closed = on_closed,
               .early = on_early,
               .early_lost = on_early_lost},
    };
}

/* A place for it, and its row begun; NULL: it is not to be tried. */
static struct bk_outgoing_dial *begin(struct bk_outgoing *c, const struct bk_candidate *candidate,
                                      const char *how)
{
    struct beckon_candidate *row = row_of(c, candidate);
    struct bk_outgoing_dial *d = NULL;
    char line[BK_OUTGOING_PATH_BYTES + 16];

    bk_candidate_format(candidate, line, sizeof line);
    if (!bk_outgoing_wants(c, candidate->kind)) {
        bk_record_ended(row, BECKON_OUTCOME_NOT_TRIED, "left out by --path", bk_outgoing_us(c));
    } else {
        d = new_dial(c, candidate);
    }
    if (d != NULL) {
        bk_outgoing_say(c, "%s the device's %s", how, line);
        if (row->outcome != BECKON_OUTCOME_WON) { /* again, in a later round */
            row->outcome = BECKON_OUTCOME_PENDING;
        }
    }
    return d;
}

void bk_outgoing_dial(struct bk_outgoing *c, const struct bk_candidate *candidate)
{
    struct bk_outgoing_dial *d = begin(c, candidate, "dialling");
    struct bk_conn_config config;

    if (d == NULL) {
        return;
    }
    config = config_of(d);
    if (bk_conn_connect(c->client->base, &config, &candidate->addr, 1, NULL, &d->conn) != BK_OK) {
        d->conn = NULL;
        failed(d, "no memory for a connection");
    }
}

void bk_outgoing_punch(struct bk_outgoing *c, const struct bk_requester_action *action)
{
    const struct bk_candidate *candidate = &action->candidate;
    struct bk_punch_config config = {.local = c->listening,
                                     .peer = candidate->addr,
                                     .tries = action->tries,
                                     .every_ms = action->every_ms,
                                     .over = on_punch_over};
    struct bk_outgoing_dial *d;

    for (size_t i = 0; i < BK_OUTGOING_DIALS_MAX; i++) { /* the same way at one time only once */
        if (c->dials[i].call != NULL && c->dials[i].punch != NULL &&
            bk_addr_equal(&c->dials[i].candidate.addr, &candidate->addr)) {
            free_dial(&c->dials[i]);
        }
    }
    d = begin(c, candidate, "simultaneous open with");
    if (d == NULL) {
        return;
    }
    remember_met(c, &candidate->addr);
    config.conn = config_of(d);
    if (bk_punch_new(c->client->base, &config, &d->punch) != BK_OK) {
        d->punch = NULL;
        failed(d, "no memory for a connection");
    }
}

void bk_outgoing_adopt(struct bk_outgoing *c, int fd, const struct bk_addr *relayed)
{
    struct bk_candidate candidate = {.kind = BK_CANDIDATE_RELAYED, .addr = *relayed};
    struct bk_outgoing_dial *d = new_dial(c, &candidate);
    struct bk_conn_config config;

    if (d == NULL) {
        close(fd);
        return;
    }
    config = config_of(d);
    if (bk_conn_adopt(c->client->base, &config, fd, &d->conn) != BK_OK) {
        d->conn = NULL;
        failed(d, "no memory for a connection");
    }
}

void bk_outgoing_stop_dials(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_DIALS_MAX; i++) {
        if (c->dials[i].call != NULL && c->dials[i].candidate.kind != BK_CANDIDATE_RELAYED) {
            free_dial(&c->dials[i]);
        }
    }
}

void bk_outgoing_free_dials(struct bk_outgoing *c)
{
    for (size_t i = 0; i < BK_OUTGOING_DIALS_MAX; i++) {
        if (c->dials[i].call != NULL) {
            free_dial(&c->dials[i]);
        }
    }
}
