/* The inside of the running server, shared by serve*.c and by nobody else.
 *
 * All goes through bk_serve_feed: an event goes into the core, the core's actions are carried out, and the
 * answers that some of them need (from the store) go in as further events, in order, until none is left.
 * Nothing that carries out an action calls back into the core. */
#ifndef BK_BECKOND_SERVE_PRIVATE_H
#define BK_BECKOND_SERVE_PRIVATE_H

#include <event2/event.h>

#include "base/map.h"
#include "bin/beckond/admin.h"
#include "bin/beckond/authority.h"
#include "bin/beckond/relay.h"
#include "bin/beckond/say.h"
#include "bin/beckond/serve.h"
#include "bin/beckond/serve_workers.h"
#include "core/server/server.h"
#include "net/listener.h"
#include "net/udp.h"
#include "wire/info.h"

enum {
    /* Of these connections, those that stay may take three quarters: watches (one for every call that is up) and
     * registrations over TLS. They must not keep out callers, called devices and those that join. */
    BK_SERVE_STREAMS_MAX = 32768,
    BK_SERVE_DESCRIPTORS_KEPT = 64, /* for what is no connection */
    BK_SERVE_RELAYED_MAX = 8192, /* connections of the relay; a quarter where descriptors are few */
    BK_SERVE_STREAMS_MIN = 64,
    BK_SERVE_CALLS_MAX = 8192,
    BK_SERVE_HANDSHAKES_MAX = 512,
    BK_SERVE_PER_ADDRESS_MAX = 256,   /* a whole office may sit behind one address */
    BK_SERVE_STREAM_IDLE_MS = 120000, /* a caller may be typing a password */
    BK_SERVE_JOIN_IDLE_MS = 20000,    /* whoever has one thing to ask */
    BK_SERVE_WATCH_DEAD_MS = 120000,  /* a watch says nothing; TCP asks whether its device lives */
    BK_SERVE_REPLACED_MAX = 1024,
    BK_SERVE_REPLACED_S = 30, /* a device whose watch is closed asks again within a second or so */
    BK_SERVE_WATCHES_PER_ADDRESS = BK_SERVE_PER_ADDRESS_MAX / 4 * 3,
    /* Agents ask every 90 s at most over TLS; TCP keepalives besides would double what a waiting device costs. */
    BK_SERVE_REGISTER_IDLE_MS = 360000,
    BK_SERVE_LISTENERS = 2,
};

_Static_assert(BK_CONFIG_LISTEN_MAX *BK_UDP_WAYS <= BK_LOCAL_STREAM,
               "the core's number of a local address");

struct bk_serve;

/* An open connection. Its number is the core's name for it: never used twice. */
struct bk_serve_stream {
    struct bk_serve *serve;
    struct bk_conn *conn; /* NULL: free place */
    uint64_t number;
    bool in_core; /* the core knows it */
    bool closing;
    enum bk_server_purpose purpose;
    uint64_t not_after_s;  /* until when the peer's certificate is valid; 0: it has none */
    uint64_t equipment_id; /* a watch's device */
    char watches[BK_NAME_MAX_BYTES + 1]; /* and whose call it watches, once it has asked */
    uint16_t refuse; /* somebody no longer enrolled: the first request gets this code */
};

/* A call that was up when its caller was replaced under the same name: its device asks again, by name, and that
 * name may call; what is asked about may not. */
struct bk_serve_replaced {
    uint64_t equipment_id; /* 0: a free place */
    char user[BK_NAME_MAX_BYTES + 1];
    bk_time until;
};

/* What the core asked of the store, copied. */
struct bk_serve_job {
    struct bk_serve_job *next;
    enum bk_server_action_type type; /* FIND_DEVICE, ENROL or RENEW */
    uint64_t query;
    uint64_t equipment_id;
    struct bk_identity peer; /* RENEW */
    size_t n[3];             /* user, name · token, csr, box key · csr, box key */
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

    struct bk_huge_ahead *chunks; /* of the core's tables */
    struct bk_server *core;
    struct bk_server_out out;
    struct bk_serve_job *first_job, **last_job;
    struct bk_serve_lost { /* jobs for which there was no memory: answered with a refusal */
        enum bk_server_action_type type;
        uint64_t query;
    } lost[BK_SERVER_OUT_ACTIONS];
    size_t n_lost;

    struct bk_serve_workers *workers; /* and the first UDP port */
    struct bk_udp *second_udp[BK_CONFIG_LISTEN_MAX];
    struct bk_serve_local {
        struct bk_serve *serve;
        uint8_t socket; /* the core's "local" is socket * BK_UDP_WAYS + way */
    } locals[BK_CONFIG_LISTEN_MAX];
    struct bk_relay *relay;
    uint32_t max_relayed;
    struct bk_tls_tickets *tickets; /* of all listeners, and through every renewal of tls */
    struct bk_tls *tls[BK_SERVE_LISTENERS];
    struct bk_listener *listeners[BK_SERVE_LISTENERS];

    struct bk_serve_stream
        *streams; /* BK_SERVE_STREAMS_MAX places, of which max_streams are used */
    uint32_t max_streams;
    uint32_t n_watches, max_watches;
    struct bk_map watches_by_address; /* bk_addr_rate_key → how many */
    struct bk_serve_replaced replaced[BK_SERVE_REPLACED_MAX];
    uint32_t n_replaced, next_replaced;
    uint32_t free_hint;
    uint64_t next_number;

    struct bk_say_limit refused_log, store_log, overload_log, sign_log;
};

/* serve_core.c */
void bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event);
/* The core's time has come; also to be called once at the start. */
void bk_serve_tick(struct bk_serve *s);
/* What the store now says of a device or user goes to the core. */
bool bk_serve_device_changed(void *serve, uint64_t equipment_id);
void bk_serve_user_changed(void *serve, struct bk_slice user);
void bk_serve_grants_changed(void *serve, struct bk_slice user);
bool bk_serve_masters_changed(void *serve);
/* Reads master.keys again; on failure, which has been said, the old keys stay. */
bool bk_serve_read_masters(struct bk_serve *s);
/* One event in and its actions out, without the questions that come of it: for serve_jobs.c. */
void bk_serve_input(struct bk_serve *s, const struct bk_server_event *event);

/* serve_jobs.c */
void bk_serve_add_job(struct bk_serve *s, const struct bk_server_action *action);
void bk_serve_do_jobs(struct bk_serve *s);
void bk_serve_free_jobs(struct bk_serve *s);
void bk_serve_store_trouble(struct bk_serve *s);
void bk_serve_raise_exception(struct bk_serve *s, uint64_t equipment_id, uint32_t generation,
                              bool revoked);
void bk_serve_end_user_streams(struct bk_serve *s, struct bk_slice user);

/* serve_peer.c: who is at the other end. What the connection is for, by its protocol name. */
enum bk_server_purpose bk_serve_purpose(const char *alpn);
/* BK_OK, or why that one is not let in; then bk_serve_refuse. */
BK_NODISCARD enum bk_err bk_serve_identify(struct bk_serve *s, const struct bk_tls_peer *peer,
                                           struct bk_identity *who);
/* Closes, or lets the first request be answered with the reason (bk_serve_answer_refused). */
void bk_serve_refuse(struct bk_serve *s, struct bk_serve_stream *stream,
                     const struct bk_tls_peer *peer, enum bk_err err);
void bk_serve_answer_refused(struct bk_serve_stream *stream, struct bk_slice frame);

/* serve_udp.c */
enum beckon_status bk_serve_open_udp(struct bk_serve *s);
/* Ends the workers, too. */
void bk_serve_close_udp(struct bk_serve *s);
/* A datagram, and how it leaves. */
struct bk_serve_departure {
    uint8_t shard, local;
    bool second;
    uint8_t change; /* as in struct bk_server_action */
    struct bk_addr to;
    struct bk_slice bytes;
};
/* Any thread. */
void bk_serve_depart(const struct bk_serve *s, const struct bk_serve_departure *d);
void bk_serve_send_datagram(struct bk_serve *s, const struct bk_server_action *action);
/* enum bk_binding_change: what these sockets can do. */
uint8_t bk_serve_changes(const struct bk_serve *s);
/* Where plain Binding is answered, the usual port of `local` first, as far as `remote` may reach it. */
size_t bk_serve_bindings(const struct bk_serve *s, const struct bk_addr *local,
                         const struct bk_addr *remote, struct bk_addr out[BK_INFO_BINDINGS_MAX]);

/* serve_info.c: what the relay and INFO need of the server */
enum beckon_status bk_serve_open_relay(struct bk_serve *s);
/* For the listeners, which are open before the relay is. */
struct bk_listener_first bk_serve_first(struct bk_serve *s);
void bk_serve_send_info(struct bk_serve *s, const struct bk_server_action *action);

/* serve_watch.c: the share of the connections that stay, watches and registrations. */
BK_NODISCARD enum bk_err bk_serve_watches_init(struct bk_serve *s);
void bk_serve_watches_fini(struct bk_serve *s);
/* False: it would be one too many. */
bool bk_serve_watch_enter(struct bk_serve *s, struct bk_conn *conn);
void bk_serve_watch_leave(struct bk_serve *s, const struct bk_addr *from);
/* What comes on a watch. True: it is about a call of somebody who has been replaced, and has been answered. */
bool bk_serve_watch_asks(struct bk_serve_stream *stream, struct bk_slice message);
/* Whoever had that name has it no more: those calls end when their devices ask again, whoever has it then. */
void bk_serve_watch_replaced(struct bk_serve *s, struct bk_slice user);
/* What the core sends on a connection that may stay: after a success it does. */
void bk_serve_stay(struct bk_serve_stream *stream, struct bk_slice message);

enum beckon_status bk_serve_cannot_bind(const struct bk_addr *addr, const char *what,
                                        enum bk_err err);
/* serve_net.c: says on standard error what fails */
enum beckon_status bk_serve_open_sockets(struct bk_serve *s);
void bk_serve_close_sockets(struct bk_serve *s);
void bk_serve_stream_close(struct bk_serve_stream *stream);
/* The open stream of that number, or NULL. */
struct bk_serve_stream *bk_serve_stream_find(struct bk_serve *s, uint64_t number);
/* Makes the TLS roles of the present authority and puts them in place of the old ones. */
BK_NODISCARD enum bk_err bk_serve_renew_tls(struct bk_serve *s);

#endif
