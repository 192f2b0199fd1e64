/* A port mapping as its owner sees it: what the threads report becomes results, told in the event loop alone.
 * Invariant: for the mapping and each pinhole first one result, then only what is new. */
#include "net/portmap.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/portmap_internal.h"

enum {
    SLOTS = 1 + BK_PORTMAP_PINHOLES_MAX, /* the mapping, then the pinholes */
};

/* What was told of one of them. */
struct slot {
    bool wanted, told, over;
    bool mapped;
    size_t job; /* mapped: who told it, and which of its words that was */
    unsigned seq;
    struct bk_addr local, external;
};

struct bk_portmap {
    struct portmap_pool pool;
    bk_portmap_fn *cb;
    void *ctx;
    bool out_of_time;
    struct slot slots[SLOTS];
};

/* What stands in the reports about a slot. */
struct view {
    const struct portmap_report_item *won; /* NULL: not mapped */
    size_t job;
    bool decided; /* if it is not mapped, it will not be either */
    struct portmap_report reports[PORTMAP_JOBS];
};

static enum portmap_group group_of(size_t slot)
{
    return slot == 0 ? PORTMAP_MAPPING : PORTMAP_PINHOLES;
}

static size_t item_of(size_t slot)
{
    return slot == 0 ? 0 : slot - 1;
}

static void look(struct bk_portmap *p, size_t slot, struct view *v)
{
    bool all_over = true;
    v->won = NULL;
    v->job = PORTMAP_JOBS;
    pthread_mutex_lock(&p->pool.shared->lock);
    memcpy(v->reports, p->pool.shared->reports, sizeof v->reports);
    pthread_mutex_unlock(&p->pool.shared->lock);
    for (size_t i = 0; i < PORTMAP_JOBS; i++) {
        const struct portmap_report_item *item = &v->reports[i].items[item_of(slot)];
        enum portmap_state state = v->reports[i].state;
        if (bk_portmap_protocols[i]->group != group_of(slot)) {
            continue;
        }
        all_over = all_over && (state == PORTMAP_OVER || state == PORTMAP_UNASKED);
        if (item->mapped || (item->tried && v->won == NULL)) {
            v->job = i;
            v->won = item->mapped ? item : NULL;
        }
    }
    v->decided = all_over || v->job != PORTMAP_JOBS;
}

/* Is there something to tell? */
static bool is_news(const struct bk_portmap *p, size_t slot, const struct view *v)
{
    const struct slot *s = &p->slots[slot];
    if (!s->wanted || s->over) {
        return false;
    }
    if (!s->told) {
        return v->won != NULL || v->decided || p->out_of_time;
    }
    return s->mapped != (v->won != NULL) || v->job != s->job ||
           (v->job != PORTMAP_JOBS && v->reports[v->job].items[item_of(slot)].seq != s->seq);
}

static void take_flags(struct bk_portmap *p, size_t slot, size_t job)
{
    struct portmap_shared *sh = p->pool.shared;
    pthread_mutex_lock(&sh->lock);
    sh->reports[job].items[item_of(slot)].remade = false;
    pthread_mutex_unlock(&sh->lock);
}

static void fill_reasons(struct view *v, size_t slot, struct bk_portmap_result *result)
{
    for (size_t k = 0; k < BK_PORTMAP_PROTOCOLS; k++) {
        result->reasons[k] = "";
    }
    for (size_t i = 0; i < PORTMAP_JOBS && v->won == NULL; i++) {
        struct portmap_report *r = &v->reports[i];
        if (bk_portmap_protocols[i]->group != group_of(slot) || r->state == PORTMAP_UNASKED) {
            continue;
        }
        if (r->reason[0] == '\0') {
            (void)snprintf(r->reason, sizeof r->reason, "no answer in time");
        }
        result->reasons[bk_portmap_protocols[i]->protocol] = r->reason;
    }
}

static bool settled(const struct bk_portmap *p)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (p->slots[i].wanted && !p->slots[i].told) {
            return false;
        }
    }
    return true;
}

static bool group_over(const struct bk_portmap *p, enum portmap_group group)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (group_of(i) == group && p->slots[i].wanted && !p->slots[i].over) {
            return false;
        }
    }
    return true;
}

/* Last thing its caller does: the callback may free p. */
static void tell(struct bk_portmap *p, size_t slot, struct view *v)
{
    struct slot *s = &p->slots[slot];
    struct bk_portmap_result result = {.pinhole = slot != 0, .local = s->local};
    bool first = !s->told;
    s->told = true;
    s->over = first && v->won == NULL;
    s->mapped = v->won != NULL;
    s->job = v->job;
    if (v->job != PORTMAP_JOBS) {
        const struct portmap_report_item *item = &v->reports[v->job].items[item_of(slot)];
        s->seq = item->seq;
        result.remade = item->remade && !first;
        take_flags(p, slot, v->job);
    }
    if (v->won != NULL) {
        bool same = bk_addr_equal(&s->external, &v->won->external);
        s->external = v->won->external;
        result.mapped = true;
        result.renewed = v->won->renewed && !first && same && !result.remade;
        result.external = v->won->external;
        result.protocol = bk_portmap_name(bk_portmap_protocols[v->job]->protocol);
        result.lease_s = v->won->lease_s;
    }
    fill_reasons(v, slot, &result);
    result.settled = settled(p);
    if (s->over && group_over(p, group_of(slot))) {
        bk_portmap_pool_stop(&p->pool, group_of(slot)); /* what came now would be nobody's */
    }
    p->cb(p->ctx, &result);
}

/* One result at a time; the loop comes back for the next. */
static void on_changed(void *ctx, bool out_of_time)
{
    struct bk_portmap *p = ctx;
    struct view v;
    p->out_of_time = p->out_of_time || out_of_time;
    for (size_t i = 0; i < SLOTS; i++) {
        look(p, i, &v);
        if (is_news(p, i, &v)) {
            event_active(p->pool.ev_notify, EV_READ, 0);
            tell(p, i, &v);
            return;
        }
    }
}

enum bk_err bk_portmap_new(struct event_base *base, const struct bk_portmap_options *options,
                           bk_portmap_fn *cb, void *ctx, struct bk_portmap **out)
{
    assert(options->local_port != 0);
    *out = NULL;
    struct bk_portmap *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return BK_E_NOMEM;
    }
    p->cb = cb;
    p->ctx = ctx;
    p->slots[0].wanted = !options->no_mapping;
    for (size_t i = 1; i < SLOTS && i <= options->n_pinholes; i++) {
        p->slots[i].wanted = true;
        p->slots[i].local = options->pinholes[i - 1];
        p->slots[i].local.port = options->local_port;
    }
    enum bk_err err = bk_portmap_pool_init(&p->pool, base, options, false, on_changed, p);
    if (err != BK_OK) {
        free(p);
        return err;
    }
    *out = p;
    return BK_OK;
}

void bk_portmap_doubt(struct bk_portmap *p, const struct bk_addr *external)
{
    struct portmap_shared *sh = p->pool.shared;
    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *s = &p->slots[i];
        if (s->mapped && bk_addr_equal(&s->external, external)) {
            pthread_mutex_lock(&sh->lock);
            sh->reports[s->job].items[item_of(i)].doubt = true;
            pthread_cond_broadcast(&sh->changed);
            pthread_mutex_unlock(&sh->lock);
        }
    }
}

void bk_portmap_free(struct bk_portmap *p)
{
    if (p != NULL) {
        bk_portmap_pool_fini(&p->pool);
        free(p);
    }
}

const char *bk_portmap_name(enum bk_portmap_protocol protocol)
{
    static const char *const names[BK_PORTMAP_PROTOCOLS] = {"PCP", "NAT-PMP", "UPnP-IGD"};
    return names[protocol];
}

void bk_portmap_reasons(const struct bk_portmap_result *result, char *out, size_t cap)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < BK_PORTMAP_PROTOCOLS; i++) {
        if (result->reasons[i] == NULL || result->reasons[i][0] == '\0' || at >= cap) {
            continue;
        }
        int n = snprintf(out + at, cap - at, "%s%s: %s", at == 0 ? "" : "; ",
                         bk_portmap_name((enum bk_portmap_protocol)i), result->reasons[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}
