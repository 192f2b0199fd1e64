/* The idle part's renewals: when core/agent/renewal.h says so, the call program is started to carry one out (it has
 * TLS), and what it left in the state directory is read again. Box keys that were replaced are destroyed from here,
 * whatever else happens. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "lib/agent_private.h"
#include "lib/agent_state.h"
#include "lib/box_keys.h"
#include "lib/fail.h"
#include "lib/random_kernel.h"

enum {
    RENEWAL_LIMIT_MS =
        60000, /* looking up, connecting and answering have shorter ones of their own */
    PRUNE_AGAIN_S = 60,
};

void bk_agent_renewal_follow(struct beckon_agent *a)
{
    struct bk_now now = bk_now_sample();

    bk_timer_follow(a->renewal.timer, &now,
                    bk_time_min(bk_renewal_deadline(&a->renewal.core), a->renewal.prune_at));
}

void bk_agent_renewal_opened(struct beckon_agent *a, bool opened)
{
    struct bk_now now = bk_now_sample();

    if (opened) {
        bk_renewal_opened(&a->renewal.core);
    } else {
        bk_renewal_unopened(&a->renewal.core, &now);
    }
    bk_agent_renewal_follow(a);
}

void bk_agent_renewal_prune(struct beckon_agent *a)
{
    struct bk_agent_renewal *r = &a->renewal;
    struct bk_now now = bk_now_sample();
    uint64_t unix_s = bk_registration_unix_s(&a->registration, &now);
    bool waited = r->prune_at != BK_TIME_NEVER && r->prune_at <= now.mono;
    bool left;

    if (r->pid != 0 || r->no_box) { /* a renewal writes it, and sees to the rest when it is done */
        r->prune_at = BK_TIME_NEVER;
        return;
    }
    if (bk_box_keys_prune(a->state_dir, unix_s, waited, &left) != BK_OK) {
        bk_log(a->log, a->ctx, 1, "%s/box.key: an old key could not be destroyed yet",
               a->state_dir);
    }
    if (!left) {
        r->prune_at = BK_TIME_NEVER;
    } else if (waited) {
        r->prune_at = bk_time_add(now.mono, PRUNE_AGAIN_S * BK_SECOND);
    } else if (r->prune_at == BK_TIME_NEVER) {
        r->prune_at = bk_time_add(now.mono, BK_RENEWAL_BOX_KEPT_S * BK_SECOND);
    }
}

/* The registration key may be of a new epoch now. */
static bool reload(struct beckon_agent *a, const struct bk_now *now)
{
    const struct bk_registration_config *old = &a->registration.config;
    struct bk_registration_secret secret;
    struct beckon_error error;

    if (bk_registration_secret_read(a->state_dir, &secret, &error) != BECKON_OK) {
        bk_log(a->log, a->ctx, 0, "%s", error.text);
        return false;
    }
    if (secret.generation != old->generation || secret.epoch != old->epoch ||
        !bk_equal_const_time(secret.key, old->key, sizeof secret.key)) {
        bk_registration_rekey(&a->registration, now, secret.generation, secret.epoch, secret.key);
    }
    bk_wipe(&secret, sizeof secret);
    return true;
}

static void ended(struct beckon_agent *a, int how)
{
    struct bk_now now = bk_now_sample();
    struct bk_renewal_facts facts;
    bool renewed = how == BECKON_OK && reload(a, &now);

    if (renewed) {
        facts = bk_renewal_facts_read(a->state_dir);
        a->renewal.wanted = a->renewal.no_box = false;
        bk_log(a->log, a->ctx, 1, "renewed");
    } else if (how == BECKON_REVOKED) {
        bk_log(a->log, a->ctx, 0, "this device is revoked or replaced: nothing is renewed");
    } else if (how != BECKON_OK) {
        bk_log(a->log, a->ctx, 1, "not renewed; trying again later");
    }
    bk_renewal_ended(&a->renewal.core, &now, renewed ? &facts : NULL);
    bk_agent_renewal_prune(a);
    bk_agent_renewal_follow(a);
    bk_agent_follow(a);
}

static void on_gone(void *ctx, int how)
{
    struct beckon_agent *a = ctx;

    a->renewal.pid = 0;
    ended(a, how);
}

/* The process has ended, or has had its time. */
static void on_end(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_agent_renewal *r = &a->renewal;
    char byte;

    if ((what & EV_TIMEOUT) != 0) {
        kill(r->pid, SIGKILL);
    } else if (read((int)fd, &byte, sizeof byte) > 0) {
        return; /* it has nothing to say; its end is what we wait for */
    }
    event_free(r->event);
    r->event = NULL;
    close(r->channel);
    if (bk_child_leave(&r->leaving, a->base, r->pid, on_gone, a) != BK_OK) {
        on_gone(a, bk_child_reap(r->pid));
    }
}

/* The one word about it: what follows from a wrong clock looks like many other things. */
static void tell_clock(const struct beckon_agent *a, uint64_t host_s, uint64_t unix_s)
{
    if (host_s != 0 && host_s != unix_s) {
        bk_log(a->log, a->ctx, 0,
               "this host's clock is %llu hours %s the server's: set it; what is renewed goes by "
               "the server's",
               (unsigned long long)(host_s > unix_s ? host_s - unix_s : unix_s - host_s) / 3600,
               host_s > unix_s ? "ahead of" : "behind");
    }
}

static void start(struct beckon_agent *a, bool certificate, uint64_t unix_s)
{
    struct bk_agent_renewal *r = &a->renewal;
    char renew[] = "renew", state[] = "--state", config[] = "--config", wanted[] = "--certificate";
    char time[] = "--time", seconds[21];
    char *argv[10] = {a->call_program, renew, state, a->state_dir};
    struct timeval limit = {.tv_sec = RENEWAL_LIMIT_MS / 1000};
    size_t n = 4;

    if (a->registration.told_unix_s != 0) { /* else it finds out the best that is known */
        bk_number_format(unix_s, seconds);
        argv[n++] = time;
        argv[n++] = seconds;
    }
    if (certificate) {
        argv[n++] = wanted;
    }
    if (a->config_file[0] != '\0') {
        argv[n++] = config;
        argv[n++] = a->config_file;
    }
    if (bk_child_start(argv, &r->pid, &r->channel) != BK_OK) {
        r->pid = 0;
        ended(a, BECKON_FAILED);
        return;
    }
    r->prune_at = BK_TIME_NEVER; /* counts from the key that this one replaces */
    r->event = event_new(a->base, r->channel, EV_READ | EV_PERSIST, on_end, a);
    if (r->event == NULL || event_add(r->event, &limit) != 0) {
        kill(r->pid, SIGKILL);
        if (r->event != NULL) {
            event_free(r->event);
            r->event = NULL;
        }
        close(r->channel);
        on_gone(a, bk_child_reap(r->pid));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_now now = bk_now_sample();
    uint64_t unix_s;
    bool certificate;

    (void)fd;
    (void)what;
    if (a->renewal.prune_at <= now.mono) {
        bk_agent_renewal_prune(a);
    }
    unix_s = bk_registration_calendar_s(&a->registration, &now);
    if (bk_renewal_due(&a->renewal.core, &now, unix_s, &certificate)) {
        tell_clock(a, now.unix_s, unix_s);
        start(a, certificate, unix_s);
    }
    bk_agent_renewal_follow(a);
}

enum beckon_status bk_agent_renewal_look(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_box_keys keys;
    enum beckon_status status = bk_box_keys_read(a->state_dir, &keys, error);

    bk_wipe(&keys, sizeof keys);
    if (status == BECKON_BAD_CONFIG || status == BECKON_NOT_JOINED) {
        bk_log(a->log, a->ctx, 0, "%s", error->text);
        a->renewal.wanted = a->renewal.no_box = true;
        status = BECKON_OK;
    }
    return status;
}

enum bk_err bk_agent_renewal_begin(struct beckon_agent *a)
{
    struct bk_renewal_config config = {.rng = bk_random_kernel(),
                                       .spread_s = a->config.renew_within_s};
    struct bk_renewal_facts facts = bk_renewal_facts_read(a->state_dir);
    struct bk_now now = bk_now_sample();

    if (a->renewal.wanted) {
        facts.box_made_s = 0;
    }
    a->renewal.timer = evtimer_new(a->base, on_timer, a);
    if (a->renewal.timer == NULL) {
        return BK_E_NOMEM;
    }
    a->renewal.prune_at = BK_TIME_NEVER;
    bk_renewal_init(&a->renewal.core, &now, &config, &facts);
    bk_agent_renewal_prune(a);
    bk_agent_renewal_follow(a);
    return BK_OK;
}

void bk_agent_renewal_end(struct beckon_agent *a)
{
    struct bk_agent_renewal *r = &a->renewal;

    if (r->event !=
        NULL) { /* it goes on, and writes what it gets: any moment is a good one to be cut off */
        event_free(r->event);
        close(r->channel);
        kill(r->pid, SIGTERM);
        (void)bk_child_reap(r->pid);
    }
    bk_child_leave_now(&r->leaving);
    if (r->timer != NULL) {
        event_free(r->timer);
    }
}
