/* The inside of the call part, shared by agent_call.c (core, beginning and end), agent_call_server.c (the connection to
 * the server), agent_call_ask.c (what the idle part and the state directory are asked), agent_call_session.c (what may end
 * a session before its time), agent_dial.c (dials and sessions) and agent_policy.c (what this device must not dial). */
#ifndef BK_LIB_AGENT_CALL_PRIVATE_H
#define BK_LIB_AGENT_CALL_PRIVATE_H

#include "core/agent/call.h"
#include "lib/agent_watch.h"
#include "lib/box_keys.h"
#include "lib/certs.h"
#include "lib/channel.h"
#include "lib/serve.h"
#include "net/conn.h"

enum {
    BK_CALL_LATER_MAX = 2 * BK_CANDIDATES_MAX,
};

struct bk_call_part;

/* One candidate: connecting, or a session that stands. */
struct bk_call_dial {
    struct bk_call_part *part;
    size_t index;
    struct bk_conn *conn;
    struct bk_h2 *h2;
    bool picked;
};

/* Why a session was ended from this side. */
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
    uint64_t told_unix_s; /* the idle part's idea of the time when it last told; 0: none */
    bk_time told_at;
    struct bk_call *core;
    struct bk_conn *server_conn;
    struct bk_call_dial dials[BK_CANDIDATES_MAX];
    size_t asked[BK_CANDIDATES_MAX]; /* DIALS: the candidates, in the order asked */
    size_t n_asked;
    struct bk_serve serve;
    struct bk_agent_watch *watch;
    char user[BK_NAME_MAX_BYTES + 1]; /* whom the server named; empty: nobody */
    size_t picked; /* the candidate whose session this is, once `expiry` is there */
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
/* Seconds since 1970, by the host's clock or else by what the idle part told; 0: neither. `ctx` is the part. */
uint64_t bk_call_part_unix_s(void *ctx);

/* agent_call_server.c */
void bk_call_part_connect_server(struct bk_call_part *p);

/* agent_call_ask.c */
void bk_call_part_ask_admission(struct bk_call_part *p, const struct bk_admission_facts *facts);
void bk_call_part_check_caller(struct bk_call_part *p, const struct bk_call_action *action);
void bk_call_part_ask_dials(struct bk_call_part *p, uint32_t dials);
/* An answer of the idle part; false for one that was not to come. */
bool bk_call_part_answered(struct bk_call_part *p, const struct bk_channel_message *message);

/* agent_call_session.c: from the pick on, the session ends with the access or at the server's word. */
void bk_call_part_guard(struct bk_call_part *p, size_t index);
void bk_call_part_unguard(struct bk_call_part *p);

/* agent_dial.c */
void bk_call_part_dial(struct bk_call_part *p, size_t index, const struct bk_addr *to);
void bk_call_part_drop(struct bk_call_dial *d);

/* agent_policy.c: what this device must not dial, from what it knows of itself now. */
void bk_call_part_policy(const struct bk_call_part *p, const struct bk_addr *observed,
                         struct bk_policy *policy);

#endif
