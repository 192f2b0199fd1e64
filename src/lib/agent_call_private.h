/* The inside of the call part, shared by agent_call.c (core, server, beginning and end), agent_dial.c
 * (dials and sessions) and agent_policy.c (what this device must not dial). */
#ifndef BK_LIB_AGENT_CALL_PRIVATE_H
#define BK_LIB_AGENT_CALL_PRIVATE_H

#include "core/agent/call.h"
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

struct bk_call_part {
    const char *state_dir;
    beckon_log log;
    void *ctx;
    struct bk_agent_config config;
    struct bk_box_pair box;
    EVP_PKEY *key;
    X509 *cert, *ca;
    struct event_base *base;
    struct bk_resolver *resolver;
    struct event *timer, *channel_event;
    int channel;
    struct bk_addr server;
    uint64_t started_unix_s; /* the agent's idea of now at HELLO; 0: none */
    struct bk_call *core;
    struct bk_conn *server_conn;
    struct bk_call_dial dials[BK_CANDIDATES_MAX];
    struct bk_serve serve;
    char service[BK_NAME_MAX_BYTES + 1]; /* that the accepted request named; empty: none */
    bool ended;
    enum bk_call_end reason;
    bool busy; /* `out` is being carried out */
    size_t n_later;
    struct bk_call_event later[BK_CALL_LATER_MAX]; /* what happened meanwhile */
    struct bk_call_out out;
};

/* An event about one candidate goes to the core, and what the core wants is carried out: at once, or
 * when what is being carried out now is done. */
void bk_call_part_tell_index(struct bk_call_part *p, enum bk_call_event_type type, size_t index);

/* agent_dial.c */
void bk_call_part_dial(struct bk_call_part *p, size_t index, const struct bk_addr *to);
void bk_call_part_drop(struct bk_call_dial *d);

/* agent_policy.c: what this device must not dial, from what it knows of itself now. */
void bk_call_part_policy(const struct bk_call_part *p, const struct bk_addr *observed,
                         struct bk_policy *policy);

#endif
