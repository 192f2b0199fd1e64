/* The inside of the call part, shared by agent_call.c (core, beginning and end), agent_call_server.c (connections to
 * the server), agent_call_ask.c (what the idle part and the state directory are asked), agent_call_paths.c (the port of
 * its own, and where that can be reached), agent_call_session.c (what may end a call before its time), agent_dial.c
 * (dials, and what comes in), agent_session.c (sessions) and agent_policy.c (what this device must not dial). */
#ifndef BK_LIB_AGENT_CALL_PRIVATE_H
#define BK_LIB_AGENT_CALL_PRIVATE_H

#include "core/agent/call.h"
#include "lib/agent_watch.h"
#include "lib/box_keys.h"
#include "lib/certs.h"
#include "lib/channel.h"
#include "lib/control.h"
#include "lib/serve.h"
#include "lib/sessions.h"
#include "net/host.h"
#include "net/listener.h"
#include "net/portmap.h"
#include "net/punch.h"

enum {
    BK_CALL_LATER_MAX = 2 * BK_CALL_LINKS_MAX,
    BK_CALL_TRYING_MS = BK_CALL_NO_ANSWER_MS, /* for TCP and TLS of a link */
};

struct bk_call_part;

/* One link of the core's: connecting, or a session. All NULL: free. */
struct bk_call_way {
    struct bk_call_part *part;
    size_t index;
    struct bk_conn *conn;
    struct bk_punch *punch;
    struct bk_h2 *h2;
    bool used;        /* the caller speaks HTTP/2 on it */
    bool asked_alive; /* a pong is due */
    bool asked;       /* see lib/pulse.h */
    bk_time asked_at;
    struct bk_control *control;          /* the control stream, if it has one, */
    struct bk_h2_stream *control_stream; /* not finished yet */
};

/* Why a call was ended from this side. */
enum bk_call_cut {
    BK_CALL_NOT_CUT,
    BK_CALL_REVOKED, /* the server says that the caller may no longer call */
    BK_CALL_EXPIRED, /* his access has */
};

struct bk_call_part {
    const char *state_dir;
    beckon_log log;
    void *ctx;
    struct bk_agent_config config;
    struct bk_box_keys box;
    struct bk_credentials own;
    struct event_base *base;
    struct bk_resolver *resolver;
    struct event *timer, *channel_event;
    int channel;
    struct bk_addr server;                          /* the one in use, */
    struct bk_addr servers[BK_CHANNEL_SERVERS_MAX]; /* and all that its name is known to have */
    size_t n_servers;
    struct bk_sessions *sessions; /* TLS sessions with servers; may be NULL */
    uint16_t agent_port;          /* the server's, for our TLS */
    uint64_t told_unix_s;         /* bk_registration_latest_s, when the idle part told; 0: none */
    bk_time told_at;
    struct bk_call *core;
    struct bk_conn *server_conn;
    struct bk_conn *learner; /* asks the server how it sees our port */
    size_t n_results;        /* given to the idle part */
    struct bk_call_way ways[BK_CALL_LINKS_MAX];
    struct bk_tls *call_tls; /* for all of these; once the request is open */
    int port_fd;             /* holds the port of our own; -1: there is none */
    uint16_t port;
    uint16_t
        meeting_port; /* where we are met halfway: at first the same, in each round a new one */
    struct bk_listener *listener;
    struct bk_host_watch *host_watch;
    struct bk_portmap *portmap;
    size_t n_hosts; /* global addresses of ours, told to the core */
    size_t n_mapped;
    struct bk_addr
        mapped[BK_CALL_OWN_MAPPED_MAX]; /* the mapping and pinholes, as told to the core */
    struct bk_addr observed;            /* by the server, of the registration */
    struct event *pongs;                /* when they must be here */
    struct event *pulse;                /* while there are several sessions */
    enum bk_candidate_kind path;        /* of the session first picked; 0: none */
    size_t asked[BK_CANDIDATES_MAX];    /* DIALS: the candidates, in the order asked */
    size_t n_asked;
    struct bk_serve serve;
    struct bk_agent_watch *watch;
    char user[BK_NAME_MAX_BYTES + 1]; /* whom the server named; empty: nobody */
    struct event *expiry;
    enum bk_call_cut cut;
    char service[BK_NAME_MAX_BYTES + 1]; /* that the accepted request named; empty: none */
    bool ended;
    enum bk_call_end reason;
    bool busy; /* `out` is being carried out */
    size_t n_later;
    struct bk_call_event later[BK_CALL_LATER_MAX]; /* what happened meanwhile */
    struct bk_call_out out;
};

/* agent_call.c: an event goes to the core, and what the core wants is carried out: at once, or when what is being
 * carried out now is done. Such events borrow no bytes. */
void bk_call_part_tell(struct bk_call_part *p, const struct bk_call_event *event);
void bk_call_part_tell_index(struct bk_call_part *p, enum bk_call_event_type type, size_t index);
/* Seconds since 1970, the later of the host's clock and what the idle part told: it ends an access, and judges the
 * server's certificate. 0: neither is known. `ctx` is the part. */
uint64_t bk_call_part_unix_s(void *ctx);

/* agent_call_server.c */
/* For 226, from the port of our own; or from any port, for RESULT alone. */
void bk_call_part_connect_server(struct bk_call_part *p, bool result);
void bk_call_part_close_server(struct bk_call_part *p, bool abort);
/* A TLS client of the server's port for agents; NULL: no memory. */
struct bk_tls *bk_call_part_server_tls(struct bk_call_part *p, const char *alpn);
/* `move`: of another port, at which we are met from now on. */
void bk_call_part_learn(struct bk_call_part *p, bool move);
void bk_call_part_learned(struct bk_call_part *p); /* no more questions */

/* agent_call_ask.c */
void bk_call_part_ask_admission(struct bk_call_part *p, const struct bk_admission_facts *facts);
void bk_call_part_check_caller(struct bk_call_part *p, const struct bk_call_action *action);
void bk_call_part_ask_dials(struct bk_call_part *p, uint32_t dials);
/* RESULT by UDP, which is the idle part's. */
void bk_call_part_send_result(struct bk_call_part *p, const struct bk_call_action *action);
/* An answer of the idle part; false for one that was not to come. */
bool bk_call_part_answered(struct bk_call_part *p, const struct bk_channel_message *message);

/* agent_call_paths.c */
void bk_call_part_take_port(struct bk_call_part *p);
/* True: connections to the server leave by a port of our own, `local`: that at which we can be met. */
bool bk_call_part_own_port(const struct bk_call_part *p, struct bk_addr *local);
void bk_call_part_tell_hosts(struct bk_call_part *p);
void bk_call_part_watch_host(struct bk_call_part *p);
void bk_call_part_map(struct bk_call_part *p);
void bk_call_part_give_back(struct bk_call_part *p); /* the mapping, the listener and the port */

/* agent_call_session.c: from the first pick on, the call ends with the access or at the server's word. */
void bk_call_part_guard(struct bk_call_part *p);
void bk_call_part_unguard(struct bk_call_part *p);

/* agent_dial.c */
void bk_call_part_dial(struct bk_call_part *p, size_t index, const struct bk_addr *to);
void bk_call_part_punch(struct bk_call_part *p, const struct bk_call_action *action);
void bk_call_part_listen(struct bk_call_part *p);
/* From now on we are met at another port. */
void bk_call_part_move(struct bk_call_part *p);
void bk_call_part_drop(struct bk_call_way *way); /* whatever it is, at once */

/* agent_session.c */
/* Takes `ssl`. False: no memory; the way is free. */
BK_NODISCARD bool bk_call_part_session(struct bk_call_way *way, SSL *ssl);
void bk_call_part_end_session(struct bk_call_way *way); /* at once, without a word */
void bk_call_part_ping(struct bk_call_part *p);
void bk_call_part_send_paths(struct bk_call_part *p, size_t index, struct bk_slice bytes);

/* agent_policy.c: what this device must not dial, from what it knows of itself now. */
void bk_call_part_policy(const struct bk_call_part *p, struct bk_policy *policy);

#endif
