/* The inside of the running server, shared by serve*.c and by nobody else.
 *
 * All goes through bk_serve_feed: an event goes into the core, the core's actions are carried out, and the
 * answers that some of them need (from the store) go in as further events, in order, until none is left.
 * Nothing that carries out an action calls back into the core. */
#ifndef BK_BECKOND_SERVE_PRIVATE_H
#define BK_BECKOND_SERVE_PRIVATE_H

#include <event2/event.h>

#include "bin/beckond/admin.h"
#include "bin/beckond/authority.h"
#include "bin/beckond/say.h"
#include "bin/beckond/serve.h"
#include "core/server/server.h"
#include "net/listener.h"
#include "net/udp.h"

enum {
    BK_SERVE_STREAMS_MAX = 8192,
    BK_SERVE_CALLS_MAX = 8192,
    BK_SERVE_HANDSHAKES_MAX = 512,
    BK_SERVE_PER_ADDRESS_MAX = 256,   /* a whole office may sit behind one address */
    BK_SERVE_STREAM_IDLE_MS = 120000, /* a caller may be typing a password */
    BK_SERVE_JOIN_IDLE_MS = 20000,
    BK_SERVE_LISTENERS = 2,
};

_Static_assert(BK_CONFIG_LISTEN_MAX *BK_UDP_WAYS <= UINT8_MAX + 1,
               "the core's number of a local address");

struct bk_serve;

/* An open connection. Its number is the core's name for it: never used twice. */
struct bk_serve_stream {
    struct bk_serve *serve;
    struct bk_conn *conn; /* NULL: free place */
    uint64_t number;
    bool in_core; /* the core knows it */
    bool closing;
    uint64_t not_after_s; /* until when the peer's certificate is valid; 0: it has none */
    uint16_t refuse;      /* a user no longer enrolled: its first request gets this code */
};

/* What the core asked of the store, copied. */
struct bk_serve_job {
    struct bk_serve_job *next;
    enum bk_server_action_type type; /* FIND_DEVICE or ENROL */
    uint64_t query;
    uint64_t equipment_id;
    size_t n[3]; /* user, name · token, csr, box key */
    uint8_t bytes[];
};

struct bk_serve {
    const char *dir;
    const char *config_file;
    int dir_fd; /* locked: one server a directory */
    struct bk_config config;
    struct bk_store *store;
    struct bk_authority authority;

    struct event_base *base;
    struct event *timer;
    bk_time timer_at; /* BK_TIME_NEVER: not set */
    struct event *on_term, *on_int, *on_hup;
    struct bk_admin *admin;

    struct bk_server *core;
    struct bk_server_out out;
    struct bk_serve_job *first_job, **last_job;
    struct bk_serve_lost { /* jobs for which there was no memory: answered with a refusal */
        enum bk_server_action_type type;
        uint64_t query;
    } lost[BK_SERVER_OUT_ACTIONS];
    size_t n_lost;

    struct bk_udp *udp[BK_CONFIG_LISTEN_MAX];
    struct bk_serve_local {
        struct bk_serve *serve;
        uint8_t socket; /* the core's "local" is socket * BK_UDP_WAYS + way */
    } locals[BK_CONFIG_LISTEN_MAX];
    struct bk_tls *tls[BK_SERVE_LISTENERS];
    struct bk_listener *listeners[BK_SERVE_LISTENERS];

    struct bk_serve_stream *streams; /* BK_SERVE_STREAMS_MAX */
    uint32_t free_hint;
    uint64_t next_number;

    struct bk_say_limit refused_log, store_log, overload_log;
};

struct bk_now bk_serve_now(void);

/* serve_core.c */
void bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
/* The core's time has come; also to be called once at the start. */
void bk_serve_tick(struct bk_serve *s);
void bk_serve_free_jobs(struct bk_serve *s);
/* What the store now says of a device or user goes to the core. */
void bk_serve_device_changed(void *serve, uint64_t equipment_id);
void bk_serve_user_changed(void *serve, struct bk_slice user);

/* serve_net.c: says on standard error what fails */
enum beckon_status bk_serve_open_sockets(struct bk_serve *s);
void bk_serve_close_sockets(struct bk_serve *s);
/* The open stream of that number, or NULL. */
struct bk_serve_stream *bk_serve_stream_find(struct bk_serve *s, uint64_t number);
/* Makes the TLS roles of the present authority and puts them in place of the old ones. */
BK_NODISCARD enum bk_err bk_serve_renew_tls(struct bk_serve *s);

#endif
