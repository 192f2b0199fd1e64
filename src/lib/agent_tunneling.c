/* The idle part's side of the tunnel: starts the process that holds a TLS connection to the server (lib/agent_tunnel.c),
 * and tells core/agent/registration.h what comes of it. At most one at a time. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/agent_private.h"
#include "lib/fail.h"
#include "lib/tunnel_channel.h"

void bk_agent_tunnel_close(struct beckon_agent *a)
{
    struct bk_agent_tunnel *t = &a->tunnel;
    pid_t pid = t->pid;

    if (pid == 0) {
        return;
    }
    t->pid = 0;
    t->port = 0;
    event_free(t->event);
    t->event = NULL;
    close(t->channel);
    if (bk_child_leave(&t->leaving, a->base, pid, bk_agent_gone, a) != BK_OK) {
        bk_agent_gone(a, bk_child_reap(pid));
    }
}

static void tell(struct beckon_agent *a, enum bk_registration_event_type type)
{
    struct bk_registration_event event = {.type = type};

    bk_agent_tell(a, &event);
}

static void gone(struct beckon_agent *a)
{
    bk_agent_tunnel_close(a);
    tell(a, BK_REGISTRATION_TUNNEL_DOWN);
}

static void on_channel(evutil_socket_t fd, short what, void *ctx)
{
    struct beckon_agent *a = ctx;
    struct bk_registration_event datagram = {
        .type = BK_REGISTRATION_DATAGRAM, .tunnel = true, .full = !bk_agent_has_room(a)};
    struct bk_tunnel_message message;
    enum bk_err err = bk_tunnel_receive((int)fd, &message);

    (void)what;
    if (err == BK_E_TRUNCATED) {
        return;
    }
    if (err == BK_OK && message.type == BK_TUNNEL_UP && a->tunnel.port == 0 && message.port != 0) {
        a->tunnel.port = message.port;
        tell(a, BK_REGISTRATION_TUNNEL_UP);
    } else if (err == BK_OK && message.type == BK_TUNNEL_MESSAGE && a->tunnel.port != 0) {
        datagram.bytes = message.bytes;
        bk_agent_tell(a, &datagram);
    } else {
        if (err == BK_OK && message.type == BK_TUNNEL_DOWN) {
            bk_log(a->log, a->ctx, 1, "registering over TLS: %.*s", (int)message.bytes.n,
                   (const char *)message.bytes.p);
        }
        gone(a);
    }
}

void bk_agent_tunnel_send(struct beckon_agent *a, struct bk_slice bytes)
{
    struct bk_tunnel_message message = {.type = BK_TUNNEL_MESSAGE, .bytes = bytes};

    if (a->tunnel.pid != 0) {
        enum bk_err err = bk_tunnel_send(a->tunnel.channel, &message);

        (void)err; /* its end is told by the channel, and what is lost is missed by the core */
    }
}

static bool start(struct beckon_agent *a, uint8_t index)
{
    struct bk_agent_tunnel *t = &a->tunnel;
    char tunnel[] = "tunnel", state[] = "--state", config[] = "--config";
    char *argv[7] = {a->call_program, tunnel, state, a->state_dir};
    struct bk_now now = bk_now_sample();
    struct bk_tunnel_message hello = {
        .type = BK_TUNNEL_HELLO,
        .index = index,
        .unix_s = bk_registration_calendar_s(&a->registration, &now),
    };

    if (hello.unix_s == 0) {
        hello.unix_s = a->stored_unix_s;
    }
    if (a->config_file[0] != '\0') {
        argv[4] = config;
        argv[5] = a->config_file;
    }
    bk_child_leave_now(&t->leaving);
    if (bk_child_start(argv, &t->pid, &t->channel) != BK_OK) {
        t->pid = 0;
        return false;
    }
    t->event = event_new(a->base, t->channel, EV_READ | EV_PERSIST, on_channel, a);
    if (t->event == NULL || event_add(t->event, NULL) != 0 ||
        bk_tunnel_send(t->channel, &hello) != BK_OK) {
        if (t->event != NULL) {
            event_free(t->event);
            t->event = NULL;
        }
        close(t->channel);
        (void)bk_child_reap(t->pid);
        t->pid = 0;
        return false;
    }
    return true;
}

void bk_agent_tunnel_open(struct beckon_agent *a, uint8_t index)
{
    bk_agent_tunnel_close(a);
    bk_log(a->log, a->ctx, 1, "UDP is not answered; trying TLS");
    if (!start(a, index)) {
        bk_log(a->log, a->ctx, 0, "cannot start %s: %s", a->call_program, strerror(errno));
        tell(a, BK_REGISTRATION_TUNNEL_DOWN);
    }
}

void bk_agent_tunnel_end(struct beckon_agent *a)
{
    bk_agent_tunnel_close(a);
    bk_child_leave_now(&a->tunnel.leaving);
}
