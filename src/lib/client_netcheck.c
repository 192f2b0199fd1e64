/* beckon_client_netcheck: the server and what it says of us, the NAT's way with UDP, the routers' port mapping protocols, and a
 * relay, asked side by side; put together when all are over. Nothing that this asks leaves anything behind. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/fail.h"
#include "lib/netcheck_text.h"
#include "lib/netcheck_udp.h"
#include "lib/relayed.h"
#include "net/conn.h"
#include "net/host.h"
#include "net/portmap.h"
#include "net/tls.h"
#include "wire/alpn.h"
#include "wire/info.h"

enum {
    SERVER_MS = 5000,
    UDP_PORT = 1200, /* where the server does not say (it is behind a NAT itself): the usual one */
    SURVEY_PORT = 1, /* no mapping is asked for; the survey wants a port all the same */
};

struct checking {
    struct beckon_client *client;
    struct beckon_netcheck *report;
    unsigned under_way;
    size_t server; /* which of the client's is asked */
    struct bk_resolve *question;
    struct bk_conn *conn;
    struct event *limit;
    uint8_t txid[BK_STUN_TXID_BYTES];
    struct bk_netcheck_udp *udp;
    struct bk_portmap_survey *survey;
    struct bk_relayed *relayed;
    struct event *clear; /* frees `relayed` from the loop's top */
};

static void begun(struct checking *x)
{
    x->under_way++;
}

static void over(struct checking *x)
{
    if (--x->under_way == 0) {
        event_base_loopbreak(x->client->base);
    }
}

static void say(char *out, size_t cap, const char *text)
{
    (void)snprintf(out, cap, "%s", text);
}

/* ---- this host ---- */

static void look_at_host(struct beckon_netcheck *r)
{
    struct bk_host_addr addrs[BK_HOST_ADDRS_MAX];
    size_t n = 0;

    if (bk_host_addresses(addrs, BK_HOST_ADDRS_MAX, &n) != BK_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        enum bk_addr_scope scope = bk_addr_scope(&addrs[i].addr);
        char text[BK_ADDR_TEXT_BYTES];

        if ((scope != BK_SCOPE_GLOBAL && scope != BK_SCOPE_PRIVATE) ||
            r->n_hosts == BECKON_NETCHECK_HOSTS_MAX) {
            continue;
        }
        bk_addr_format_ip(&addrs[i].addr, text);
        say(r->hosts[r->n_hosts], sizeof r->hosts[0], text);
        r->n_hosts++;
        if (scope == BK_SCOPE_GLOBAL) {
            *(bk_addr_is_v4(&addrs[i].addr) ? &r->public_v4 : &r->public_v6) = 1;
        }
    }
}

/* ---- port mapping protocols ---- */

_Static_assert((int)BK_PORTMAP_PROTOCOLS == (int)BECKON_NETCHECK_MAPPINGS, "a row for each");

static void on_survey(void *ctx, const struct bk_portmap_answer answers[BK_PORTMAP_PROTOCOLS])
{
    struct checking *x = ctx;

    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        struct beckon_netcheck_mapping *m = &x->report->mappings[i];
        char text[BK_ADDR_TEXT_BYTES];

        say(m->protocol, sizeof m->protocol, answers[i].protocol);
        m->there = answers[i].there;
        say(m->version, sizeof m->version, answers[i].version);
        if (answers[i].has_address) {
            bk_addr_format_ip(&answers[i].outer, text);
            say(m->outer, sizeof m->outer, text);
        }
        m->pinholes = answers[i].pinholes;
        m->ms = answers[i].ms;
        say(m->reason, sizeof m->reason, answers[i].reason);
    }
    over(x);
}

/* ---- UDP ---- */

static void on_udp(void *ctx, const struct bk_behaviour_result *result, const struct bk_addr *local)
{
    struct checking *x = ctx;
    struct beckon_netcheck *r = x->report;
    char text[BK_ADDR_TEXT_BYTES];

    r->udp = result->udp;
    bk_addr_format(local, text);
    say(r->udp_local, sizeof r->udp_local, text);
    if (result->mapped.port != 0) {
        bk_addr_format(&result->mapped, text);
        say(r->udp_seen, sizeof r->udp_seen, text);
    }
    r->udp_ms = result->round_trip_ms;
    r->port_preserved = result->port_preserved;
    say(r->mapping, sizeof r->mapping, bk_behaviour_text(result->mapping));
    say(r->filtering, sizeof r->filtering, bk_behaviour_text(result->filtering));
    say(r->hairpin, sizeof r->hairpin,
        !result->hairpin_asked ? "unknown"
        : result->hairpin      ? "yes"
                               : "no");
    over(x);
}

/* ---- a relay ---- */

static void relay_over(struct checking *x)
{
    struct timeval now = {0};

    evtimer_add(x->clear, &now);
}

static void on_clear(evutil_socket_t fd, short what, void *ctx)
{
    struct checking *x = ctx;

    (void)fd;
    (void)what;
    bk_relayed_free(x->relayed);
    x->relayed = NULL;
    over(x);
}

static void on_relay_ready(void *ctx, const struct bk_addr *relayed)
{
    struct checking *x = ctx;
    char text[BK_ADDR_TEXT_BYTES];

    bk_addr_format(relayed, text);
    say(x->report->relayed, sizeof x->report->relayed, text);
    relay_over(x);
}

static void on_relay_connected(void *ctx, int fd, const struct bk_addr *peer, bool by_name)
{
    (void)by_name;
    (void)ctx;
    (void)peer;
    close(fd); /* nobody was permitted */
}

static void on_relay_failed(void *ctx, const char *why)
{
    struct checking *x = ctx;

    say(x->report->relay_reason, sizeof x->report->relay_reason, why);
    relay_over(x);
}

static void ask_relay(struct checking *x, const struct bk_info *info)
{
    char host[BK_RELAY_HOST_MAX_BYTES + 1], username[BK_RELAY_USERNAME_MAX_BYTES + 1],
        password[BK_RELAY_PASSWORD_MAX_BYTES + 1];
    struct bk_relayed_config config = {
        .host = host,
        .port = info->n_relays > 0 ? info->relays[0].port : 0,
        .username = username,
        .password = password,
        .v6 = !bk_addr_is_v4(&info->observed),
        .on = {.ctx = x,
               .ready = on_relay_ready,
               .connected = on_relay_connected,
               .failed = on_relay_failed},
    };
    struct bk_slice named;

    if (info->n_relays == 0) {
        return;
    }
    named = info->relays[0].host.n > 0 ? info->relays[0].host
                                       : bk_slice_text(x->client->state.servers[x->server]);
    if (!bk_slice_to_text(named, host, sizeof host) ||
        !bk_slice_to_text(info->username, username, sizeof username) ||
        !bk_slice_to_text(info->password, password, sizeof password)) {
        return;
    }
    (void)snprintf(x->report->relay, sizeof x->report->relay, "%s:%u", host, (unsigned)config.port);
    if (bk_relayed_new(x->client->base, x->client->resolver, &config, &x->relayed) == BK_OK) {
        begun(x);
    } else {
        say(x->report->relay_reason, sizeof x->report->relay_reason, "no memory");
    }
    bk_wipe(password, sizeof password);
}

/* ---- the server ---- */

static void ask_server(struct checking *x);

/* This server is done with; the next, if this one did not answer. */
static void server_over(struct checking *x, const char *why)
{
    bk_conn_free(x->conn);
    x->conn = NULL;
    evtimer_del(x->limit);
    if (!x->report->server && ++x->server < x->client->state.n_servers) {
        ask_server(x);
        return;
    }
    if (!x->report->server) {
        say(x->report->server_reason, sizeof x->report->server_reason, why);
    }
    over(x);
}

/* The NAT's way with UDP, from where Binding is answered. */
static void ask_udp(struct checking *x, const struct bk_info *info)
{
    struct bk_addr usual = bk_conn_remote(x->conn);
    const struct bk_addr *addrs = info->n_bindings > 0 ? info->bindings : &usual;
    size_t n = info->n_bindings > 0 ? info->n_bindings : 1;

    usual.port = UDP_PORT;
    if (bk_netcheck_udp_new(x->client->base, addrs, n, on_udp, x, &x->udp) == BK_OK) {
        begun(x);
    }
}

static void informed(struct checking *x, const struct bk_info *info)
{
    char text[BK_ADDR_TEXT_BYTES];

    x->report->server = 1;
    bk_addr_format(&info->observed, text);
    say(x->report->tcp_seen, sizeof x->report->tcp_seen, text);
    ask_udp(x, info);
    ask_relay(x, info);
}

static void on_message(void *ctx, struct bk_conn *conn, struct bk_slice frame)
{
    struct checking *x = ctx;
    struct bk_stun m;
    struct bk_info info;

    (void)conn;
    if (bk_stun_read(frame, &m) == BK_OK && memcmp(m.txid, x->txid, sizeof x->txid) == 0 &&
        bk_info_answer_read(&m, &info) == BK_OK) {
        informed(x, &info);
        server_over(x, "");
    } else {
        server_over(x, "it does not say how it sees us");
    }
}

static void on_open(void *ctx, struct bk_conn *conn, const struct bk_tls_peer *peer)
{
    struct checking *x = ctx;
    struct bk_random rng = bk_random_system();
    struct bk_addr local = bk_conn_local(conn);
    char text[BK_ADDR_TEXT_BYTES];
    uint8_t buf[64];
    struct bk_slice bytes;

    (void)peer;
    bk_addr_format(&local, text);
    say(x->report->tcp_local, sizeof x->report->tcp_local, text);
    x->report->server_ms = bk_conn_round_trip_ms(conn);
    rng.fill(rng.ctx, x->txid, sizeof x->txid);
    if (bk_info_write(buf, sizeof buf, x->txid, &bytes) != BK_OK ||
        bk_conn_send(conn, bytes) != BK_OK) {
        server_over(x, "it cannot be asked");
    }
}

static void on_closed(void *ctx, struct bk_conn *conn, const struct bk_conn_closed *why)
{
    (void)conn;
    server_over(ctx, why->text);
}

static void on_limit(evutil_socket_t fd, short what, void *ctx)
{
    struct checking *x = ctx;

    (void)fd;
    (void)what;
    if (x->question != NULL) {
        bk_resolve_cancel(x->question);
        x->question = NULL;
    }
    server_over(x, "no answer in time");
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct checking *x = ctx;
    const struct bk_client_state *state = &x->client->state;
    struct bk_tls_client client = {.cert = state->own.cert,
                                   .key = state->own.key,
                                   .ca = state->own.ca,
                                   .host = state->servers[x->server],
                                   .peer_uri = "beckon:server",
                                   .alpn = BK_ALPN_REQUEST};
    struct bk_conn_config config = {
        .frame = bk_stun_frame,
        .on = {.ctx = x, .open = on_open, .message = on_message, .closed = on_closed},
        .limits = {.frame_max_bytes = BK_STUN_STREAM_MAX_BYTES},
    };

    x->question = NULL;
    if (err != BK_OK) {
        server_over(x, text);
        return;
    }
    if (bk_tls_new_client(&client, &config.tls) != BK_OK ||
        bk_conn_connect(x->client->base, &config, addrs, n, NULL, &x->conn) != BK_OK) {
        x->conn = NULL;
        server_over(x, "no memory for a connection");
    }
    bk_tls_free(config.tls);
}

static void ask_server(struct checking *x)
{
    const struct bk_client_state *state = &x->client->state;
    struct timeval limit = {.tv_sec = SERVER_MS / 1000};

    say(x->report->server_name, sizeof x->report->server_name, state->servers[x->server]);
    evtimer_add(x->limit, &limit);
    if (bk_resolve_start(x->client->resolver, state->servers[x->server], state->port, on_resolved,
                         x, &x->question) != BK_OK) {
        x->question = NULL;
        server_over(x, "its name cannot be looked up");
    }
}

/* ---- all of it ---- */

static enum beckon_status begin(struct checking *x, struct beckon_error *error)
{
    struct bk_portmap_options options = {.local_port = SURVEY_PORT};

    x->limit = evtimer_new(x->client->base, on_limit, x);
    x->clear = evtimer_new(x->client->base, on_clear, x);
    if (x->limit == NULL || x->clear == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    begun(x);
    if (bk_portmap_survey_new(x->client->base, &options, on_survey, x, &x->survey) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory or threads for asking the router");
    }
    begun(x);
    ask_server(x);
    return BECKON_OK;
}

static void end(struct checking *x)
{
    if (x->question != NULL) {
        bk_resolve_cancel(x->question);
    }
    bk_conn_free(x->conn);
    bk_netcheck_udp_free(x->udp);
    bk_portmap_survey_free(x->survey);
    bk_relayed_free(x->relayed);
    if (x->limit != NULL) {
        event_free(x->limit);
    }
    if (x->clear != NULL) {
        event_free(x->clear);
    }
}

enum beckon_status beckon_client_netcheck(struct beckon_client *client, struct beckon_netcheck *out,
                                          struct beckon_error *error)
{
    struct checking x = {.client = client, .report = out};
    enum beckon_status status;

    memset(out, 0, sizeof *out);
    look_at_host(out);
    status = begin(&x, error);
    if (status == BECKON_OK) {
        event_base_dispatch(client->base);
        if (x.under_way > 0) {
            status = bk_fail(error, BECKON_INTERRUPTED, "interrupted");
        }
    }
    end(&x);
    bk_netcheck_advise(out);
    return status;
}
