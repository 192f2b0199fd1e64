/* The running server's life: put together, turned by events and signals, taken apart. */
#include "bin/beckond/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bin/beckond/cmd.h"
#include "bin/beckond/hmac_openssl.h"
#include "bin/beckond/requests.h"
#include "bin/beckond/serve_private.h"
#include "bin/beckond/state.h"
#include "bin/common/ready.h"
#include "net/clock.h"
#include "net/huge_ahead.h"
#include "net/privileges.h"
#include "net/sandbox.h"
#include "seal/seal.h"

/* ---- signals ---- */

static void on_stop(evutil_socket_t sig, short what, void *ctx)
{
    struct bk_serve *s = ctx;

    (void)sig;
    (void)what;
    (void)event_base_loopbreak(s->base);
}

static bool needs_restart(const struct bk_config *a, const struct bk_config *b)
{
    bool same_listen = a->n_listen == b->n_listen;

    for (size_t i = 0; same_listen && i < a->n_listen; i++) {
        same_listen = bk_addr_equal(&a->listen[i], &b->listen[i]);
    }
    return !same_listen || a->udp_port != b->udp_port || a->second_udp_port != b->second_udp_port ||
           a->request_port != b->request_port || a->agent_port != b->agent_port ||
           a->max_devices != b->max_devices || a->workers != b->workers ||
           a->fast_form != b->fast_form || a->relay_connect != b->relay_connect ||
           strcmp(a->user, b->user) != 0;
}

/* What may change while the server runs. */
static void take_config(struct bk_serve *s, const struct bk_config *fresh)
{
    if (needs_restart(&s->config, fresh)) {
        bk_say("changed addresses, ports, max_devices, workers, fast_form, relay_connect and user "
               "take effect with a restart");
    }
    s->config.answer_binding = fresh->answer_binding;
    s->config.binding_per_second = fresh->binding_per_second;
    memcpy(s->config.host, fresh->host, sizeof fresh->host);
    s->config.requests_per_second = fresh->requests_per_second;
    bk_server_set_binding(s->core, fresh->answer_binding, fresh->binding_per_second);
    bk_server_set_requests(s->core, fresh->requests_per_second);
    bk_relay_reload(s->relay, fresh);
    bk_say("the configuration has been read again");
}

static void reload_config(struct bk_serve *s)
{
    const char *file = s->config_file;
    char path[BK_STATE_PATH_BYTES];
    char why[BK_CONFIG_WHY_BYTES] = "out of memory";
    struct bk_config *fresh = malloc(sizeof *fresh);
    enum bk_err err = fresh == NULL ? BK_E_NOMEM : BK_OK;

    if (err == BK_OK && file == NULL) {
        err = bk_state_path(s->dir, BK_STATE_CONFIG, path); /* it was short enough at the start */
        file = path;
    }
    if (err == BK_OK) {
        err = bk_config_load(file, fresh, why);
    }
    if (err == BK_OK) {
        take_config(s, fresh);
    } else {
        bk_say("%s; the old configuration stays in force", why);
    }
    free(fresh);
}

static void reload_certificates(struct bk_serve *s)
{
    struct bk_authority old = s->authority;
    const char *which = "";
    enum bk_err err = bk_authority_load(s->dir, bk_clock_now().unix_s, &s->authority, &which);

    if (err == BK_OK) {
        err = bk_serve_renew_tls(s);
        if (err != BK_OK) {
            bk_authority_fini(&s->authority);
        }
    }
    if (err != BK_OK) {
        s->authority = old;
        bk_say("%s: %s; the certificates stay as they were", which, bk_err_text(err));
        return;
    }
    bk_authority_fini(&old);
}

static void on_reload(evutil_socket_t sig, short what, void *ctx)
{
    struct bk_serve *s = ctx;

    (void)sig;
    (void)what;
    reload_certificates(s);
    (void)bk_serve_read_masters(s);
    reload_config(s);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    bk_serve_tick(ctx);
}

/* ---- putting together ---- */

static enum beckon_status no_memory(void)
{
    bk_say("out of memory; free some and start again");
    return BECKON_FAILED;
}

/* The lock is the directory's own: it ends with this process, whatever happens to it. */
static enum beckon_status lock_directory(struct bk_serve *s)
{
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        bk_say("%s: %s; make it with beckond init", s->dir, strerror(errno));
        return BECKON_FAILED;
    }
    if (flock(s->dir_fd, LOCK_EX | LOCK_NB) != 0) {
        bk_say("another beckond runs on %s; stop it first", s->dir);
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

/* Shards are filled alike, so each wants its next chunk at about the same time; and one may want it for its index. */
static enum beckon_status make_chunks(struct bk_serve *s)
{
    unsigned n = bk_serve_workers_shards(s->workers) + 1;

    return bk_huge_ahead_new(BK_REGISTRAR_CHUNK_BYTES, n, &s->chunks) == BK_OK ? BECKON_OK
                                                                               : no_memory();
}

static enum beckon_status start_chunks(struct bk_serve *s)
{
    return bk_huge_ahead_start(s->chunks) == BK_OK ? BECKON_OK : no_memory();
}

static enum beckon_status make_core(struct bk_serve *s)
{
    struct bk_server_config config = {
        .alloc = bk_alloc_libc(),
        .chunks = bk_huge_ahead_alloc(s->chunks),
        .shards = bk_serve_workers_shards(s->workers),
        .lock = bk_serve_workers_lock(s->workers),
        .fast_form = s->config.fast_form,
        .rng = bk_random_system(),
        .mac = bk_mac_openssl(),
        .max_devices = s->config.max_devices,
        .max_streams = s->max_streams,
        .max_calls = BK_SERVE_CALLS_MAX,
        .answer_binding = s->config.answer_binding,
        .binding_per_s = s->config.binding_per_second,
        .changes = bk_serve_changes(s),
        .requests_per_s = s->config.requests_per_second,
        .ports = {.udp = s->config.udp_port,
                  .request = s->config.request_port,
                  .agent = s->config.agent_port},
    };
    struct bk_now now = bk_clock_now();
    enum bk_err err = bk_state_master_load(s->dir, config.master, &config.n_master);

    if (err != BK_OK) {
        bk_say("%s in %s: %s; restore it from a backup, or put that of a new beckond init in its "
               "place: devices then fetch new keys by themselves",
               BK_STATE_MASTER_KEYS, s->dir, bk_err_text(err));
        return err == BK_E_MALFORMED ? BECKON_BAD_CONFIG : BECKON_FAILED;
    }
    err = bk_server_new(&config, &now, &s->core);
    bk_wipe(config.master, sizeof config.master);
    return err == BK_OK ? BECKON_OK : no_memory();
}

/* The output of an exception has nothing to carry out before anybody is served. */
static void load_exception(void *ctx, uint64_t equipment_id, uint32_t lowest, bool revoked)
{
    struct bk_serve *s = ctx;
    struct bk_server_event event = {.type = BK_SERVER_EXCEPTION};
    struct bk_now now = bk_clock_now();

    event.exception.equipment_id = equipment_id;
    event.exception.lowest_generation = lowest;
    event.exception.revoked = revoked;
    bk_server_input(s->core, &now, &event, &s->out);
}

static enum beckon_status check_store(struct bk_serve *s)
{
    if (bk_store_check(s->store) != BK_OK) {
        bk_say("%s in %s is damaged (%s); restore it from a backup", BK_STATE_STORE, s->dir,
               bk_store_why(s->store));
        return BECKON_BAD_CONFIG;
    }
    return BECKON_OK;
}

/* What the core keeps of what commands change. Only once they can tell of a change: one from before the admin
 * socket was there is in what is read here. */
static enum beckon_status load_changes(struct bk_serve *s)
{
    if (bk_store_exceptions(s->store, load_exception, s) != BK_OK) {
        return bk_cmd_store_failed(s->store);
    }
    return bk_serve_read_masters(s) ? BECKON_OK : BECKON_FAILED;
}

static enum beckon_status load_authority(struct bk_serve *s)
{
    const char *which = "";
    enum bk_err err = bk_authority_load(s->dir, bk_clock_now().unix_s, &s->authority, &which);

    if (err == BK_OK) {
        return BECKON_OK;
    }
    if (err == BK_E_EXPIRED) {
        bk_say("%s in %s has expired or is not valid yet by this host's clock; is the clock right?",
               which, s->dir);
        return BECKON_FAILED;
    }
    if (err == BK_E_NOTFOUND && strcmp(which, BK_STATE_CA_KEY) == 0) {
        bk_say("%s in %s: %s; restore it from a backup, or, if the CA is elsewhere, make %s there "
               "(mkdir -m 700)",
               which, s->dir, bk_err_text(err), BK_STATE_REQUESTS);
        return BECKON_FAILED;
    }
    bk_say("%s in %s: %s; restore it from a backup", which, s->dir, bk_err_text(err));
    return err == BK_E_MALFORMED || err == BK_E_AUTH ? BECKON_BAD_CONFIG : BECKON_FAILED;
}

static enum beckon_status make_events(struct bk_serve *s)
{
    s->base = event_base_new();
    if (s->base == NULL) {
        return no_memory();
    }
    s->timer = event_new(s->base, -1, 0, on_timer, s);
    s->on_term = evsignal_new(s->base, SIGTERM, on_stop, s);
    s->on_int = evsignal_new(s->base, SIGINT, on_stop, s);
    s->on_hup = evsignal_new(s->base, SIGHUP, on_reload, s);
    if (s->timer == NULL || s->on_term == NULL || s->on_int == NULL || s->on_hup == NULL ||
        event_add(s->on_term, NULL) != 0 || event_add(s->on_int, NULL) != 0 ||
        event_add(s->on_hup, NULL) != 0) {
        return no_memory();
    }
    return BECKON_OK;
}

static enum beckon_status open_admin(struct bk_serve *s)
{
    const struct bk_admin_config config = {
        .dir = s->dir,
        .dir_fd = s->dir_fd,
        .core = s->core,
        .ctx = s,
        .device_changed = bk_serve_device_changed,
        .user_changed = bk_serve_user_changed,
        .grants_changed = bk_serve_grants_changed,
        .masters_changed = bk_serve_masters_changed,
    };
    enum bk_err err = bk_admin_new(s->base, &config, &s->admin);

    if (err != BK_OK) {
        bk_say("%s in %s: %s; the directory must be writable", BK_STATE_SOCKET, s->dir,
               err == BK_E_IO ? strerror(errno) : bk_err_text(err));
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

/* As many connections as there are descriptors for. */
static enum beckon_status make_room(struct bk_serve *s)
{
    struct rlimit limit;

    s->max_streams = BK_SERVE_STREAMS_MAX;
    s->max_relayed = BK_SERVE_RELAYED_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < BK_SERVE_STREAMS_MAX + BK_SERVE_RELAYED_MAX + BK_SERVE_DESCRIPTORS_KEPT) {
        uint32_t room = limit.rlim_cur < BK_SERVE_STREAMS_MIN + BK_SERVE_DESCRIPTORS_KEPT
                            ? BK_SERVE_STREAMS_MIN
                            : (uint32_t)limit.rlim_cur - BK_SERVE_DESCRIPTORS_KEPT;
        if (room / 4 < s->max_relayed) {
            s->max_relayed = room / 4;
        }
        room -= s->config.relay ? s->max_relayed : 0;
        s->max_streams = room < s->max_streams ? room : s->max_streams;
    }
    s->streams = calloc(BK_SERVE_STREAMS_MAX, sizeof *s->streams);
    if (s->streams == NULL || bk_serve_watches_init(s) != BK_OK) {
        return no_memory();
    }
    return BECKON_OK;
}

/* What SQLite and a reload open later must be open to the user that we are then; errno tells. */
static bool may_use(const char *dir, const char *name, int how)
{
    char path[BK_STATE_PATH_BYTES];

    if (name != NULL && bk_state_path(dir, name, path) != BK_OK) {
        errno = ENAMETOOLONG;
        return false;
    }
    return faccessat(AT_FDCWD, name == NULL ? dir : path, how, AT_EACCESS) == 0;
}

/* From here on with no more rights than the work needs. */
static enum beckon_status drop_privileges(struct bk_serve *s)
{
    char why[BK_PRIVILEGES_WHY_BYTES];

    if (bk_privileges_drop(s->config.user, why, sizeof why) != BK_OK) {
        bk_say("%s", why);
        return BECKON_FAILED;
    }
    if (!may_use(s->dir, NULL, R_OK | W_OK | X_OK) ||
        !may_use(s->dir, BK_STATE_STORE, R_OK | W_OK) ||
        !may_use(s->dir, BK_STATE_MASTER_KEYS, R_OK) ||
        (bk_requests_used(s->dir) && !may_use(s->dir, BK_STATE_REQUESTS, R_OK | W_OK | X_OK))) {
        bk_say("%s: %s; it must be within reach of the user that beckond runs as, and belong to it "
               "(chown -R)",
               s->dir, strerror(errno));
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

static void enter_sandbox(void)
{
    char why[BK_SANDBOX_WHY_BYTES];

    if (bk_sandbox_server(why, sizeof why) != BK_OK) {
        bk_say("%s", why);
    }
}

static enum beckon_status set_up(struct bk_serve *s)
{
    static enum beckon_status (*const steps[])(struct bk_serve * s) = {
        lock_directory,
        make_room,
        load_authority,
        make_events,
        bk_serve_open_sockets,
        make_chunks,
        make_core,
        check_store,
        drop_privileges,
        start_chunks,
        bk_serve_open_relay,
        open_admin,
        load_changes,
        bk_serve_workers_start,
    };
    enum beckon_status status = BECKON_OK;

    for (size_t i = 0; status == BECKON_OK && i < sizeof steps / sizeof steps[0]; i++) {
        status = steps[i](s);
    }
    if (status == BECKON_OK) {
        enter_sandbox();
    }
    return status;
}

static void free_event(struct event *e)
{
    if (e != NULL) {
        event_free(e);
    }
}

static void take_apart(struct bk_serve *s)
{
    bk_admin_free(s->admin);
    bk_serve_close_sockets(s);
    bk_relay_free(s->relay);
    free_event(s->timer);
    free_event(s->on_term);
    free_event(s->on_int);
    free_event(s->on_hup);
    if (s->base != NULL) {
        event_base_free(s->base);
    }
    bk_serve_free_jobs(s);
    bk_serve_watches_fini(s);
    bk_server_free(s->core);
    bk_huge_ahead_free(s->chunks);
    bk_authority_fini(&s->authority);
    free(s->streams);
    if (s->dir_fd >= 0) {
        (void)close(s->dir_fd);
    }
    free(s);
}

enum beckon_status bk_serve(const struct bk_serve_start *start)
{
    struct bk_serve *s = calloc(1, sizeof *s);
    enum beckon_status status;

    if (s == NULL) {
        return no_memory();
    }
    s->dir = start->dir;
    s->config_file = start->config_file;
    s->config = *start->config;
    s->store = start->store;
    s->dir_fd = -1;
    s->timer_at = BK_TIME_NEVER;
    s->last_job = &s->first_job;
    status = set_up(s);
    if (status == BECKON_OK) {
        bk_serve_tick(s);
        bk_serve_workers_go(s->workers);
        if (bk_ready_tell() != BK_OK) {
            bk_say("nobody could be told that the server is ready; it serves all the same");
        }
        if (event_base_dispatch(s->base) < 0) {
            bk_say("the event loop failed; start beckond again");
            status = BECKON_FAILED;
        }
    }
    take_apart(s);
    return status;
}
