/* The idle part of the agent: one UDP socket, one timer, and a child per call. Carries out what
 * core/agent/registration.h asks for and answers the children's questions from core/agent/admission.h.
 * Links neither OpenSSL nor nghttp2. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/agent/admission.h"
#include "core/agent/registration.h"
#include "lib/agent_config.h"
#include "lib/child.h"
#include "lib/fail.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "net/host.h"
#include "net/resolve.h"
#include "net/udp.h"

enum {
    STORE_TIME_EVERY_S = 86400,
};

struct child {
    struct beckon_agent *agent;
    pid_t pid; /* 0: free */
    int channel;
    struct event *event;
    enum {
        CHILD_NEW,
        CHILD_WAITING,  /* has asked for admission; others are being checked */
        CHILD_UNPROVEN, /* admitted; its caller's password is being checked */
        CHILD_ANSWERED, /* nothing more is expected of it */
    } state;
    uint64_t asked; /* WAITING: a serial, the lowest is answered first */
    struct bk_admission_facts facts;
};

struct beckon_agent {
    char state_dir[BK_PATH_BYTES];
    char config_file[BK_PATH_BYTES]; /* empty: the default */
    char call_program[BK_PATH_BYTES];
    beckon_log log;
    void (*registered)(void *ctx);
    void *ctx;
    struct bk_agent_config config;
    struct bk_registration registration;
    struct bk_admission admission;
    struct bk_addr server, observed;
    size_t turn;     /* which of the server's addresses is in use */
    bool unanswered; /* no registration stood since that one was taken */
    bool was_registered;
    uint64_t stored_unix_s; /* what DIR/clock says */
    struct event_base *base;
    struct bk_stop stop;
    struct event *timer;
    struct bk_udp *udp;
    struct bk_resolver *resolver;
    struct bk_resolve *question;
    struct bk_host_watch *watch;
    uint64_t questions; /* asked by children so far */
    struct child children[BK_CHILDREN_MAX];
};

static void child_end(struct child *child)
{
    struct beckon_agent *a = child->agent;
    int how;

    if (child->state == CHILD_UNPROVEN) {
        bk_admission_abandoned(&a->admission);
    }
    event_free(child->event);
    close(child->channel);
    how = bk_child_reap(child->pid);
    if (how == BK_CHILD_NOT_STARTED) {
        bk_log(a->log, a->ctx, 0, "%s cannot be started; install the package again",
               a->call_program);
    } else if (how < 0 && how != -SIGTERM && how != -SIGINT && how != -SIGHUP) {
        bk_log(a->log, a->ctx, 0, "a call's process was ended by signal %d", -how);
    }
    *child = (struct child){0};
}

static void child_admit(struct child *child)
{
    struct beckon_agent *a = child->agent;
    struct bk_now now = bk_now_sample();
    struct bk_channel_message answer = {
        .type = BK_CHANNEL_VERDICT,
        .verdict = bk_admission_check(&a->admission, &now, &a->registration, &child->facts),
        .tag = a->registration.tag,
        .unix_s = bk_registration_unix_s(&a->registration, &now),
    };

    child->state = answer.verdict == BK_ADMITTED ? CHILD_UNPROVEN : CHILD_ANSWERED;
    if (bk_channel_send(child->channel, &answer) != BK_OK) {
        child_end(child);
    }
}

/* The children that wait for admission, oldest first, as long as there is room. */
static void answer_waiting(struct beckon_agent *a)
{
    while (bk_admission_has_room(&a->admission)) {
        struct child *oldest = NULL;

        for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
            struct child *child = &a->children[i];

            if (child->pid != 0 && child->state == CHILD_WAITING &&
                (oldest == NULL || child->asked < oldest->asked)) {
                oldest = child;
            }
        }
        if (oldest == NULL) {
            return;
        }
        child_admit(oldest);
    }
}

static void on_channel(evutil_socket_t fd, short what, void *ctx)
{
    struct child *child = ctx;
    struct beckon_agent *a = child->agent;
    struct bk_channel_message message;
    struct bk_now now = bk_now_sample();
    enum bk_err err = bk_channel_receive((int)fd, &message);

    (void)what;
    if (err == BK_E_TRUNCATED) {
        return;
    }
    if (err == BK_OK && message.type == BK_CHANNEL_ADMIT && child->state == CHILD_NEW) {
        child->state = CHILD_WAITING;
        child->asked = a->questions++;
        child->facts = message.facts;
    } else if (err == BK_OK && message.type == BK_CHANNEL_PASSWORD &&
               child->state == CHILD_UNPROVEN) {
        child->state = CHILD_ANSWERED;
        bk_admission_password(&a->admission, &now, message.right);
    } else {
        child_end(child);
    }
    answer_waiting(a);
}

/* Fills a free slot; false leaves nothing behind. */
static bool child_begin(struct beckon_agent *a, struct child *child)
{
    struct bk_channel_message hello = {
        .type = BK_CHANNEL_HELLO, .server = a->server, .observed = a->observed};
    struct bk_now now = bk_now_sample();
    char state[] = "--state", config[] = "--config";
    char *argv[] = {a->call_program, state, a->state_dir, NULL, NULL, NULL};

    hello.unix_s = bk_registration_unix_s(&a->registration, &now);
    if (a->config_file[0] != '\0') {
        argv[3] = config;
        argv[4] = a->config_file;
    }
    if (bk_child_start(argv, &child->pid, &child->channel) != BK_OK) {
        child->pid = 0;
        return false;
    }
    child->agent = a;
    child->event = event_new(a->base, child->channel, EV_READ | EV_PERSIST, on_channel, child);
    if (child->event == NULL || event_add(child->event, NULL) != 0 ||
        bk_channel_send(child->channel, &hello) != BK_OK) {
        if (child->event != NULL) {
            event_free(child->event);
        }
        close(child->channel);
        (void)bk_child_reap(child->pid);
        *child = (struct child){0};
        return false;
    }
    return true;
}

static void start_call(struct beckon_agent *a)
{
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        if (a->children[i].pid != 0) {
            continue;
        }
        if (!child_begin(a, &a->children[i])) {
            bk_log(a->log, a->ctx, 0, "cannot start %s: %s", a->call_program, strerror(errno));
        }
        return;
    }
    bk_log(a->log, a->ctx, 0, "%d calls are up; one more is not answered", BK_CHILDREN_MAX);
}

static void carry_out(struct beckon_agent *a, const struct bk_registration_out *out);

static void tell(struct beckon_agent *a, enum bk_registration_event_type type,
                 const struct bk_addr *addr, struct bk_slice bytes)
{
    struct bk_registration_event event = {.type = type, .bytes = bytes};
    struct bk_registration_out out;
    struct bk_now now = bk_now_sample();

    if (addr != NULL) {
        event.addr = *addr;
    }
    bk_registration_input(&a->registration, &now, &event, &out);
    carry_out(a, &out);
}

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct beckon_agent *a = ctx;

    a->question = NULL;
    if (err != BK_OK || n == 0) {
        bk_log(a->log, a->ctx, 0, "server %s: %s", a->config.server, text);
        tell(a, BK_REGISTRATION_UNRESOLVED, NULL, BK_SLICE_EMPTY);
        return;
    }
    if (a->unanswered) {
        a->turn++; /* a name with several addresses: the next one may be better */
    }
    a->unanswered = true;
    a->server = addrs[a->turn % n];
    tell(a, BK_REGISTRATION_RESOLVED, &a->server, BK_SLICE_EMPTY);
}

static void resolve(struct beckon_agent *a)
{
    if (a->question == NULL &&
        bk_resolve_start(a->resolver, a->config.server, a->config.server_udp_port, on_resolved, a,
                         &a->question) != BK_OK) {
        a->question = NULL;
        tell(a, BK_REGISTRATION_UNRESOLVED, NULL, BK_SLICE_EMPTY);
    }
}

/* Keeps the server's time for the next start, at most once a day: flash wears out. */
static void store_time(struct beckon_agent *a)
{
    uint64_t unix_s = bk_registration_server_unix_s(&a->registration);

    if (unix_s < a->stored_unix_s + STORE_TIME_EVERY_S) {
        return;
    }
    a->stored_unix_s = unix_s;
    if (bk_stored_time_write(a->state_dir, unix_s) != BK_OK) {
        bk_log(a->log, a->ctx, 1, "%s/clock cannot be written: %s", a->state_dir, strerror(errno));
    }
}

static void registered(struct beckon_agent *a, const struct bk_addr *observed)
{
    char text[BK_ADDR_TEXT_BYTES];

    a->observed = *observed;
    a->unanswered = false;
    bk_addr_format(observed, text);
    bk_log(a->log, a->ctx, 1, "registered; the server sees %s", text);
    if (!a->was_registered && a->registered != NULL) {
        a->registered(a->ctx);
    }
    a->was_registered = true;
}

static void carry_out(struct beckon_agent *a, const struct bk_registration_out *out)
{
    struct bk_now now = bk_now_sample();

    bk_timer_follow(a->timer, &now, bk_registration_deadline(&a->registration));
    store_time(a);
    for (size_t i = 0; i < out->n; i++) {
        const struct bk_registration_action *action = &out->actions[i];

        switch (action->type) {
        case BK_REGISTRATION_SEND:
            (void)bk_udp_send(a->udp, &action->addr, action->bytes); /* lost: the core retries */
            break;
        case BK_REGISTRATION_RESOLVE:
            resolve(a);
            break;
        case BK_REGISTRATION_REGISTERED:
            registered(a, &action->addr);
            break;
        case BK_REGISTRATION_LOST:
            bk_log(a->log, a->ctx, 0, "the server does not answer; trying on");
            break;
        case BK_REGISTRATION_REVOKED:
            bk_log(a->log, a->ctx, 0,
                   "the server has revoked this device; join again with a new token");
            break;
        case BK_REGISTRATION_CALL:
            start_call(a);
            break;
        }
    }
}

static void on_datagram(void *ctx, const struct bk_addr *from, struct bk_slice bytes)
{
    tell(ctx, BK_REGISTRATION_DATAGRAM, from, bytes);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_registration_out out;
    struct bk_now now = bk_now_sample();

    (void)fd;
    (void)what;
    bk_registration_timer(&a->registration, &now, &out);
    carry_out(a, &out);
}

static void on_network(void *ctx)
{
    tell(ctx, BK_REGISTRATION_NETWORK_CHANGED, NULL, BK_SLICE_EMPTY);
}

static bool copy_path(char out[BK_PATH_BYTES], const char *path)
{
    size_t n = path == NULL ? 0 : strlen(path);

    if (n >= BK_PATH_BYTES) {
        return false;
    }
    memcpy(out, path == NULL ? "" : path, n + 1);
    return true;
}

/* Configuration, registration key and cores. */
static enum beckon_status load(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_registration_secret state;
    struct bk_registration_config config = {.rng = bk_random_system(), .mac = bk_mac_sodium()};
    enum beckon_status status = bk_agent_config_read(
        a->state_dir, a->config_file[0] != '\0' ? a->config_file : NULL, &a->config, error);

    if (status == BECKON_OK) {
        status = bk_registration_secret_read(a->state_dir, &state, error);
    }
    if (status != BECKON_OK) {
        return status;
    }
    config.equipment_id = a->config.equipment_id;
    config.generation = state.generation;
    config.epoch = state.epoch;
    config.keepalive_s = a->config.keepalive_s;
    a->stored_unix_s = bk_stored_time_read(a->state_dir);
    config.newest_unix_s = a->stored_unix_s;
    memcpy(config.key, state.key, sizeof config.key);
    bk_registration_init(&a->registration, &config);
    bk_admission_init(&a->admission);
    bk_wipe(&state, sizeof state);
    bk_wipe(&config, sizeof config);
    return BECKON_OK;
}

/* Loop, socket, timer. */
static enum beckon_status open_loop(struct beckon_agent *a, struct beckon_error *error)
{
    struct bk_addr any = {.port = a->config.port};
    struct bk_udp_callbacks on = {.ctx = a, .received = on_datagram};

    a->base = event_base_new();
    if (a->base == NULL || bk_stop_init(&a->stop, a->base) != BK_OK ||
        bk_resolver_new(a->base, &a->resolver) != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "no memory or descriptors for the event loop");
    }
    a->timer = evtimer_new(a->base, on_timer, a);
    if (a->timer == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory for the event loop");
    }
    if (bk_udp_new(a->base, &any, false, true, &on, &a->udp) != BK_OK) {
        return bk_fail(error, BECKON_FAILED,
                       "UDP port %u: %s; set another \"port\" under [agent] in agent.conf",
                       (unsigned)a->config.port, strerror(errno));
    }
    if (bk_host_watch_new(a->base, on_network, a, &a->watch) != BK_OK) {
        a->watch = NULL; /* without it, a changed network is noticed at the next keepalive */
    }
    return BECKON_OK;
}

enum beckon_status beckon_agent_new(const struct beckon_agent_options *options,
                                    struct beckon_agent **out, struct beckon_error *error)
{
    struct beckon_agent *a;
    enum beckon_status status;

    *out = NULL;
    if (options->state_dir == NULL || options->call_program == NULL) {
        return bk_fail(error, BECKON_USAGE, "state_dir and call_program must be given");
    }
    if (bk_seal_init() != BK_OK) {
        return bk_fail(error, BECKON_FAILED, "libsodium cannot be used on this machine");
    }
    a = calloc(1, sizeof *a);
    if (a == NULL) {
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    a->stop.fd = -1;
    a->log = options->log;
    a->registered = options->registered;
    a->ctx = options->ctx;
    if (!copy_path(a->state_dir, options->state_dir) ||
        !copy_path(a->config_file, options->config_file) ||
        !copy_path(a->call_program, options->call_program)) {
        status = bk_fail(error, BECKON_USAGE, "a path is longer than %d bytes", BK_PATH_BYTES - 1);
    } else {
        status = load(a, error);
    }
    if (status == BECKON_OK) {
        status = open_loop(a, error);
    }
    if (status != BECKON_OK) {
        beckon_agent_free(a);
        return status;
    }
    *out = a;
    return BECKON_OK;
}

enum beckon_status beckon_agent_run(struct beckon_agent *a, struct beckon_error *error)
{
    tell(a, BK_REGISTRATION_START, NULL, BK_SLICE_EMPTY);
    if (event_base_dispatch(a->base) < 0) {
        return bk_fail(error, BECKON_FAILED, "the event loop failed");
    }
    return BECKON_OK;
}

void beckon_agent_stop(struct beckon_agent *a)
{
    bk_stop_raise(&a->stop);
}

void beckon_agent_free(struct beckon_agent *a)
{
    if (a == NULL) {
        return;
    }
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        if (a->children[i].pid != 0) {
            child_end(&a->children[i]);
        }
    }
    if (a->question != NULL) {
        bk_resolve_cancel(a->question);
    }
    bk_host_watch_free(a->watch);
    bk_udp_free(a->udp);
    bk_resolver_free(a->resolver);
    if (a->timer != NULL) {
        event_free(a->timer);
    }
    bk_stop_fini(&a->stop);
    if (a->base != NULL) {
        event_base_free(a->base);
    }
    bk_wipe(&a->registration, sizeof a->registration);
    free(a);
}
