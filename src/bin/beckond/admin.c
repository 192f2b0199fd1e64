/* The admin socket. Reads the location table and passes words on; changes nothing itself. Whoever is slow
 * costs one place of few, for a limited time. */
#include "bin/beckond/admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/state.h"
#include "bin/beckond/unix_path.h"
#include "net/clock.h"
#include "wire/attrs.h"

enum {
    ROWS_A_TURN = 512, /* so that a long table does not hold up the datagrams */
};

struct client {
    struct bk_admin *admin;
    struct bufferevent *bev; /* NULL: free place */
    bool walking;            /* the table is being written out */
    bool ending;             /* closes when all is written */
    uint64_t cursor;
};

struct bk_admin {
    struct bk_admin_config config;
    struct evconnlistener *listener;
    struct client clients[BK_ADMIN_CLIENTS_MAX];
};

static void drop(struct client *c)
{
    bufferevent_free(c->bev);
    c->bev = NULL;
}

static void answer(struct client *c, const char *line)
{
    (void)evbuffer_add_printf(bufferevent_get_output(c->bev), "%s\n", line);
}

static void end(struct client *c)
{
    answer(c, BK_ADMIN_END);
    c->walking = false;
    c->ending = true;
}

static void refuse(struct client *c, const char *line)
{
    answer(c, line);
    c->ending = true;
}

/* Whether a change has been taken over. */
static void confirm(struct client *c, bool done)
{
    if (done) {
        end(c);
    } else {
        refuse(c, "error: not taken over");
    }
}

/* Writes some more rows; the write callback comes again when they are gone. */
static void walk(struct client *c)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    bk_time now = bk_clock_mono();

    for (int i = 0; i < ROWS_A_TURN; i++) {
        struct bk_server_row row;
        char id[21], addr[BK_ADDR_TEXT_BYTES];
        uint64_t age;
        if (!bk_server_next(c->admin->config.core, &c->cursor, &row)) {
            end(c);
            return;
        }
        bk_number_format(row.equipment_id, id);
        bk_addr_format(&row.addr, addr);
        age = bk_time_left(row.last_seen, now) / BK_SECOND;
        (void)evbuffer_add_printf(out, "%s %s %llu %u\n", id, addr, (unsigned long long)age,
                                  row.epoch);
    }
}

/* The word after `name` and a space, if the line begins so. */
static bool request(struct bk_slice line, const char *name, struct bk_slice *word)
{
    size_t n = strlen(name);

    if (line.n < n + 2 || memcmp(line.p, name, n) != 0 || line.p[n] != ' ') {
        return false;
    }
    *word = bk_slice(line.p + n + 1, line.n - n - 1);
    return true;
}

static void serve_line(struct client *c, struct bk_slice line)
{
    const struct bk_admin_config *config = &c->admin->config;
    struct bk_slice word;
    uint64_t id;

    /* One request a connection; from here on only writing can take too long. */
    (void)bufferevent_disable(c->bev, EV_READ);
    if (bk_slice_equal(line, bk_slice_text(BK_ADMIN_DEVICES))) {
        c->walking = true;
        c->cursor = 0;
        walk(c);
    } else if (request(line, BK_ADMIN_DEVICE_CHANGED, &word) &&
               bk_equipment_id_parse(word, &id) == BK_OK) {
        confirm(c, config->device_changed(config->ctx, id));
    } else if (request(line, BK_ADMIN_USER_CHANGED, &word) && bk_name_valid(word)) {
        config->user_changed(config->ctx, word);
        end(c);
    } else if (request(line, BK_ADMIN_GRANTS_CHANGED, &word) && bk_name_valid(word)) {
        config->grants_changed(config->ctx, word);
        end(c);
    } else if (bk_slice_equal(line, bk_slice_text(BK_ADMIN_MASTERS_CHANGED))) {
        confirm(c, config->masters_changed(config->ctx));
    } else {
        refuse(c, "error: not understood");
    }
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    struct client *c = ctx;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t n = 0;
    char *line;

    line = evbuffer_readln(in, &n, EVBUFFER_EOL_LF);
    if (line != NULL) {
        serve_line(c, bk_slice(line, n));
        free(line);
    } else if (evbuffer_get_length(in) > BK_ADMIN_LINE_MAX_BYTES) {
        drop(c);
    }
}

/* All that was queued has been written. */
static void on_written(struct bufferevent *bev, void *ctx)
{
    struct client *c = ctx;

    (void)bev;
    if (c->walking) {
        walk(c);
    } else if (c->ending) {
        drop(c);
    }
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct client *c = ctx;

    (void)bev;
    (void)what; /* whatever it is, there is nobody left to answer */
    drop(c);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
                      int len, void *ctx)
{
    const struct timeval timeout = {.tv_sec = BK_ADMIN_TIMEOUT_S};
    struct bk_admin *a = ctx;

    (void)sa;
    (void)len;
    for (size_t i = 0; i < BK_ADMIN_CLIENTS_MAX; i++) {
        struct client *c = &a->clients[i];
        if (c->bev != NULL) {
            continue;
        }
        *c = (struct client){.admin = a};
        c->bev =
            bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
        if (c->bev == NULL) {
            break;
        }
        bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
        (void)bufferevent_set_timeouts(c->bev, &timeout, &timeout);
        (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
        return;
    }
    (void)close(fd);
}

enum bk_err bk_admin_new(struct event_base *base, const struct bk_admin_config *config,
                         struct bk_admin **out)
{
    const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    struct sockaddr_un addr;
    struct bk_admin *a;
    int fd;
    enum bk_err err = bk_unix_path(config->dir, config->dir_fd, &addr);

    if (err != BK_OK) {
        return err;
    }
    if (unlinkat(config->dir_fd, BK_STATE_SOCKET, 0) != 0 && errno != ENOENT) {
        return BK_E_IO;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return BK_E_IO;
    }
    /* The directory's mode keeps others out until chmod has said the same of the socket. */
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0 ||
        fchmodat(config->dir_fd, BK_STATE_SOCKET, 0600, 0) != 0) {
        (void)close(fd);
        return BK_E_IO;
    }
    a = calloc(1, sizeof *a);
    if (a != NULL) {
        a->config = *config;
        a->listener = evconnlistener_new(base, on_accept, a, flags, BK_ADMIN_CLIENTS_MAX, fd);
    }
    if (a == NULL || a->listener == NULL) {
        (void)close(fd);
        free(a);
        return BK_E_NOMEM;
    }
    *out = a;
    return BK_OK;
}

void bk_admin_free(struct bk_admin *a)
{
    if (a == NULL) {
        return;
    }
    for (size_t i = 0; i < BK_ADMIN_CLIENTS_MAX; i++) {
        if (a->clients[i].bev != NULL) {
            drop(&a->clients[i]);
        }
    }
    evconnlistener_free(a->listener);
    (void)unlinkat(a->config.dir_fd, BK_STATE_SOCKET, 0);
    free(a);
}
