/* The survey: every protocol's job looks for its router and goes no further, so that nothing is left behind. */
#include <stdlib.h>
#include <string.h>

#include "net/portmap_internal.h"

struct bk_portmap_survey {
    struct portmap_pool pool;
    bk_portmap_survey_fn *cb;
    void *ctx;
    bool told;
    bk_time began;
};

static void fill(const struct bk_portmap_survey *s, const struct portmap_report *r,
                 struct bk_portmap_answer *a)
{
    a->asked = r->state != PORTMAP_UNASKED;
    a->there = r->there;
    a->has_address = r->has_outer;
    a->outer = r->outer;
    a->pinholes = r->lets_v6_in;
    a->version = r->version;
    a->reason = r->reason;
    if (r->there && r->found_at > s->began) {
        a->ms = (unsigned)((r->found_at - s->began) / BK_MS);
    }
    if (a->asked && !r->there && r->reason[0] == '\0') {
        a->reason = "no answer in time";
    }
}

static void on_changed(void *ctx, bool out_of_time)
{
    struct bk_portmap_survey *s = ctx;
    struct portmap_report reports[PORTMAP_JOBS];
    struct bk_portmap_answer answers[BK_PORTMAP_PROTOCOLS] = {0};
    bool all_over = true;
    pthread_mutex_lock(&s->pool.shared->lock);
    memcpy(reports, s->pool.shared->reports, sizeof reports);
    pthread_mutex_unlock(&s->pool.shared->lock);
    for (size_t i = 0; i < PORTMAP_JOBS; i++) {
        struct bk_portmap_answer *a = &answers[bk_portmap_protocols[i]->protocol];
        enum portmap_state state = reports[i].state;
        all_over = all_over && (state == PORTMAP_OVER || state == PORTMAP_UNASKED);
        if (bk_portmap_protocols[i]->group == PORTMAP_MAPPING) {
            a->protocol = bk_portmap_name(bk_portmap_protocols[i]->protocol);
            fill(s, &reports[i], a);
        } else {
            a->pinholes = a->pinholes || reports[i].lets_v6_in;
        }
    }
    if (!s->told && (all_over || out_of_time)) {
        s->told = true;
        s->cb(s->ctx, answers);
    }
}

enum bk_err bk_portmap_survey_new(struct event_base *base, const struct bk_portmap_options *options,
                                  bk_portmap_survey_fn *cb, void *ctx,
                                  struct bk_portmap_survey **out)
{
    *out = NULL;
    struct bk_portmap_survey *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return BK_E_NOMEM;
    }
    s->cb = cb;
    s->ctx = ctx;
    s->began = bk_clock_mono();
    enum bk_err err = bk_portmap_pool_init(&s->pool, base, options, true, on_changed, s);
    if (err != BK_OK) {
        free(s);
        return err;
    }
    *out = s;
    return BK_OK;
}

void bk_portmap_survey_free(struct bk_portmap_survey *s)
{
    if (s != NULL) {
        bk_portmap_pool_fini(&s->pool);
        free(s);
    }
}
