/* Our own addresses in an outgoing call: what this host and its router know (candidates.h), what the server sees of us,
 * and the address that a relay gives us. */
#include <stdio.h>
#include <string.h>

#include "lib/outgoing_private.h"

enum { HTTPS_PORT = 443 };

/* Told to the device, as far as the core likes it. */
static void told(struct bk_outgoing *c, const struct bk_candidate *candidate)
{
    for (size_t i = 0; i < c->n_told; i++) {
        if (c->told[i].kind == candidate->kind &&
            bk_addr_equal(&c->told[i].addr, &candidate->addr)) {
            return;
        }
    }
    if (c->n_told == BK_OUTGOING_TOLD_MAX) { /* of former networks */
        memmove(c->told, c->told + 1, (BK_OUTGOING_TOLD_MAX - 1) * sizeof c->told[0]);
        c->n_told--;
    }
    c->told[c->n_told++] = *candidate;
}

/* One of ours, for the record and the log, once. */
static void note(struct bk_outgoing *c, const struct bk_candidate *candidate)
{
    char line[BK_OUTGOING_PATH_BYTES + 16];

    if (bk_record_find(c->record, true, candidate->kind, &candidate->addr) == NULL) {
        bk_candidate_format(candidate, line, sizeof line);
        bk_outgoing_say(c, "candidate: %s", line);
    }
    (void)bk_record_row(c->record, true, candidate->kind, &candidate->addr, bk_outgoing_us(c));
    told(c, candidate);
}

/* There is no address of that kind. */
static void note_none(struct bk_outgoing *c, enum bk_candidate_kind kind,
                      enum beckon_outcome outcome, const char *why)
{
    struct beckon_candidate *row = bk_record_row(c->record, true, kind, NULL, bk_outgoing_us(c));

    if (row->outcome == outcome && strcmp(row->reason, why) == 0) {
        return; /* it is known */
    }
    bk_record_ended(row, outcome, why, bk_outgoing_us(c));
    bk_outgoing_say(c, "no %s candidate: %s", beckon_path_name(bk_path_of(kind)), why);
}

static void tell_candidate(struct bk_outgoing *c, enum bk_requester_source source,
                           const struct bk_candidate *candidate)
{
    struct bk_requester_event event = {
        .type = BK_REQUESTER_CANDIDATE, .source = source, .candidate = *candidate};

    note(c, candidate);
    bk_outgoing_tell(c, &event);
}

static void tell_gathered(struct bk_outgoing *c, enum bk_requester_source source)
{
    struct bk_requester_event event = {.type = BK_REQUESTER_GATHERED, .source = source};

    bk_outgoing_tell(c, &event);
}

static enum bk_requester_source source_of(enum bk_candidate_kind kind)
{
    return kind == BK_CANDIDATE_HOST ? BK_SOURCE_HOST : BK_SOURCE_MAPPING;
}

static void on_candidate(void *ctx, const struct bk_candidate *candidate)
{
    tell_candidate(ctx, source_of(candidate->kind), candidate);
}

static void on_gathered(void *ctx, enum bk_candidate_kind kind, const char *why)
{
    if (why[0] != '\0') {
        note_none(ctx, kind, BECKON_OUTCOME_NOT_GATHERED, why);
    }
    tell_gathered(ctx, source_of(kind));
}

static void on_note(void *ctx, const char *text)
{
    bk_outgoing_say(ctx, "%s", text);
}

void bk_outgoing_gather(struct bk_outgoing *c)
{
    struct bk_candidates_config config = {
        .listening = c->listening,
        .advertise = c->client->advertise.port != 0 ? &c->client->advertise : NULL,
        .no_host = !bk_outgoing_wants(c, BK_CANDIDATE_HOST),
        .no_mapping = !bk_outgoing_wants(c, BK_CANDIDATE_MAPPED),
        .on = {.ctx = c, .candidate = on_candidate, .gathered = on_gathered, .note = on_note},
    };

    if (c->candidates != NULL) {
        bk_candidates_again(c->candidates);
        return;
    }
    /* How long they were looked for shows from when: their rows begin here. */
    (void)bk_record_row(c->record, true, BK_CANDIDATE_MAPPED, NULL, bk_outgoing_us(c));
    if (bk_candidates_new(c->client->base, &config, &c->candidates) != BK_OK) {
        c->candidates = NULL;
        bk_outgoing_fail(c, BECKON_FAILED, "no memory for finding a callback address");
    }
}

void bk_outgoing_doubt(struct bk_outgoing *c, const struct bk_addr *mapped)
{
    struct beckon_candidate *row = bk_record_find(c->record, true, BK_CANDIDATE_MAPPED, mapped);

    bk_outgoing_say(
        c, "the router renewed a port mapping through which nothing comes; making it anew");
    if (row != NULL) {
        bk_record_ended(row, BECKON_OUTCOME_FAILED,
                        "renewed by the router, but nothing came through", bk_outgoing_us(c));
    }
    if (c->candidates != NULL) {
        bk_candidates_doubt(c->candidates, mapped);
    }
}

void bk_outgoing_observed(struct bk_outgoing *c, const struct bk_info *info)
{
    struct bk_candidate seen = {.kind = BK_CANDIDATE_REFLEXIVE, .addr = info->observed};
    char text[BK_ADDR_TEXT_BYTES];

    bk_addr_format(&info->observed, text);
    if (!bk_outgoing_wants(c, BK_CANDIDATE_REFLEXIVE)) {
        note_none(c, BK_CANDIDATE_REFLEXIVE, BECKON_OUTCOME_NOT_GATHERED, "left out by --path");
    } else if (c->own_port || c->retried_own_port) {
        note_none(c, BK_CANDIDATE_REFLEXIVE, BECKON_OUTCOME_NOT_GATHERED,
                  "the server saw another port than the listener's");
    } else {
        note(c, &seen);
    }
    if (!bk_outgoing_wants(c, BK_CANDIDATE_RELAYED)) {
        note_none(c, BK_CANDIDATE_RELAYED, BECKON_OUTCOME_NOT_GATHERED, "left out by --path");
    } else if (info->n_relays == 0) {
        note_none(c, BK_CANDIDATE_RELAYED, BECKON_OUTCOME_NOT_GATHERED,
                  "no relay offered by the server");
    }
}

/* ---- the relayed address ---- */

static void next_relay(struct bk_outgoing *c);

static void on_relay_ready(void *ctx, const struct bk_addr *relayed)
{
    struct bk_outgoing *c = ctx;
    struct bk_candidate candidate = {.kind = BK_CANDIDATE_RELAYED, .addr = *relayed};

    c->relay.stands = true;
    c->relay.addr = *relayed;
    tell_candidate(c, BK_SOURCE_RELAY, &candidate);
    if (c->relay.relays[c->relay.next - 1].servers && c->relay.https) {
        candidate.addr.port = HTTPS_PORT; /* where the server knows the call by its name */
        tell_candidate(c, BK_SOURCE_RELAY, &candidate);
    }
    tell_gathered(c, BK_SOURCE_RELAY);
}

static void on_relay_connected(void *ctx, int fd, const struct bk_addr *peer, bool by_name)
{
    struct bk_outgoing *c = ctx;
    struct bk_addr where = c->relay.addr;
    char text[BK_ADDR_TEXT_BYTES];

    if (by_name) {
        where.port = HTTPS_PORT;
    }
    bk_addr_format(peer, text);
    bk_outgoing_say(c, "%s has connected to %s", text,
                    by_name ? "the server, by the name of our call" : "our relayed address");
    bk_outgoing_adopt(c, fd, &where);
}

static void on_relay_failed(void *ctx, const char *why)
{
    struct bk_outgoing *c = ctx;
    struct bk_outgoing_relay *r = &c->relay;
    struct beckon_candidate *row;

    (void)snprintf(r->why, sizeof r->why, "relay %.80s: %s", r->relays[r->next - 1].host, why);
    bk_relayed_free(r->relayed); /* `why` may be in it */
    r->relayed = NULL;
    if (!r->stands) {
        next_relay(c);
        return;
    }
    r->stands = false;
    row = bk_record_row(c->record, true, BK_CANDIDATE_RELAYED, &r->addr, bk_outgoing_us(c));
    if (row->outcome == BECKON_OUTCOME_PENDING) {
        bk_record_ended(row, BECKON_OUTCOME_FAILED, r->why, bk_outgoing_us(c));
    }
    bk_outgoing_say(c, "the relayed address is gone: %s", r->why);
}

/* One in a private network may have its relay there, too. */
static bool server_is_public(const struct bk_outgoing *c)
{
    return c->n_server_addrs > 0 && bk_addr_scope(&c->server_addrs[0]) == BK_SCOPE_GLOBAL;
}

/* The next of the relays, until one gives an address. */
static void next_relay(struct bk_outgoing *c)
{
    struct bk_outgoing_relay *r = &c->relay;
    struct bk_relayed_config config = {
        .username = r->username,
        .password = r->password,
        .v6 = r->v6,
        .permits = r->permits,
        .n_permits = r->n_permits,
        .on = {.ctx = c,
               .ready = on_relay_ready,
               .connected = on_relay_connected,
               .failed = on_relay_failed},
    };

    while (r->next < r->n) {
        config.host = r->relays[r->next].host;
        config.port = r->relays[r->next].port;
        config.named_by_server = !r->relays[r->next].servers && server_is_public(c);
        config.server_name =
            r->relays[r->next].servers && c->call_name[0] != '\0' ? c->call_name : NULL;
        r->next++;
        if (bk_relayed_new(c->client->base, c->client->resolver, &config, &r->relayed) == BK_OK) {
            return;
        }
        r->relayed = NULL;
        (void)snprintf(r->why, sizeof r->why, "no memory for a relay");
    }
    note_none(c, BK_CANDIDATE_RELAYED, BECKON_OUTCOME_FAILED, r->why);
    tell_gathered(c, BK_SOURCE_RELAY);
}

static void take_relays(struct bk_outgoing *c, const struct bk_info *info)
{
    struct bk_outgoing_relay *r = &c->relay;
    const char *server = c->client->state.servers[c->server_index];

    r->n = r->next = 0;
    r->https = false;
    for (size_t i = 0; i < info->n_relays && i < BK_INFO_RELAYS_MAX; i++) {
        struct bk_slice host = info->relays[i].host;

        if (bk_slice_to_text(host.n > 0 ? host : bk_slice_text(server), r->relays[r->n].host,
                             sizeof r->relays[r->n].host)) {
            r->relays[r->n].port = info->relays[i].port;
            r->relays[r->n].servers = host.n == 0;
            r->https = r->https || (host.n == 0 && info->relays[i].port == HTTPS_PORT);
            r->n++;
        }
    }
    if (!bk_slice_to_text(info->username, r->username, sizeof r->username) ||
        !bk_slice_to_text(info->password, r->password, sizeof r->password)) {
        r->n = 0;
    }
}

void bk_outgoing_gather_relay(struct bk_outgoing *c, const struct bk_info *info,
                              const struct bk_addr *peer)
{
    struct bk_outgoing_relay *r = &c->relay;

    if (!bk_outgoing_wants(c, BK_CANDIDATE_RELAYED)) {
        tell_gathered(c, BK_SOURCE_RELAY);
        return;
    }
    bk_relayed_free(r->relayed); /* the former one, of another network */
    r->relayed = NULL;
    r->stands = false;
    r->v6 = !bk_addr_is_v4(peer);
    r->permits[0] = *peer;
    r->n_permits = 1;
    (void)snprintf(r->why, sizeof r->why, "the server tells no relay that can be used");
    (void)bk_record_row(c->record, true, BK_CANDIDATE_RELAYED, NULL, bk_outgoing_us(c));
    take_relays(c, info);
    next_relay(c);
}

void bk_outgoing_permit(struct bk_outgoing *c, const struct bk_addr *peer)
{
    struct bk_outgoing_relay *r = &c->relay;

    if (r->n_permits < BK_RELAYED_PERMITS_MAX) {
        r->permits[r->n_permits++] = *peer;
    }
    if (r->relayed != NULL) {
        bk_relayed_permit(r->relayed, peer);
    }
}

/* A relay of somebody else's knows no names. */
void bk_outgoing_name_call(struct bk_outgoing *c)
{
    struct bk_outgoing_relay *r = &c->relay;

    if (r->relayed != NULL && r->relays[r->next - 1].servers) {
        bk_relayed_name(r->relayed, c->call_name);
    }
}

void bk_outgoing_free_gathered(struct bk_outgoing *c)
{
    bk_relayed_free(c->relay.relayed);
    bk_candidates_free(c->candidates);
}
