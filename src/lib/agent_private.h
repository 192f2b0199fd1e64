/* The inside of the idle part, shared by agent.c (registration, beginning and end), agent_children.c (one process per
 * call) and agent_renewal.c (the process that renews, and box keys that have had their time). */
#ifndef BK_LIB_AGENT_PRIVATE_H
#define BK_LIB_AGENT_PRIVATE_H

#include "core/agent/admission.h"
#include "core/agent/dials.h"
#include "core/agent/registration.h"
#include "core/agent/renewal.h"
#include "lib/agent_config.h"
#include "lib/child.h"
#include "lib/files.h"
#include "lib/loop.h"
#include "net/host.h"
#include "net/resolve.h"
#include "net/udp.h"

enum bk_agent_child_state {
    BK_CHILD_NEW,
    BK_CHILD_WAITING,  /* has asked for admission; others are being checked */
    BK_CHILD_UNPROVEN, /* admitted; its caller's password or key is being checked */
    BK_CHILD_PROVEN,   /* may ask which addresses it may dial */
    BK_CHILD_ANSWERED, /* nothing more is expected of it */
    BK_CHILD_LEAVING,  /* its channel is closed; it is waited for */
};

struct bk_agent_child {
    struct beckon_agent *agent;
    pid_t pid; /* 0: free */
    int channel;
    struct event *event;
    enum bk_agent_child_state state;
    uint64_t asked; /* WAITING: a serial, the lowest is answered first */
    struct bk_admission_facts facts;
    struct bk_child_leaving leaving;
};

struct bk_agent_renewal {
    struct bk_renewal core;
    struct event *timer; /* follows the core's deadline, and prune_at */
    bk_time prune_at; /* when the previous box key has had its time; BK_TIME_NEVER: there is none */
    pid_t pid;        /* of the process that renews; 0: none */
    int channel;      /* its end tells */
    struct event *event; /* on the channel */
    struct bk_child_leaving leaving;
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
    struct bk_dials dials;
    struct bk_agent_renewal renewal;
    struct bk_addr server, observed;
    struct bk_addr servers[BK_CHANNEL_SERVERS_MAX]; /* what its name has: `server` first */
    size_t n_servers;
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
    struct bk_agent_child children[BK_CHILDREN_MAX];
};

/* agent.c: the registration's deadline may have changed. */
void bk_agent_follow(struct beckon_agent *a);

/* agent_children.c */
void bk_agent_call(struct beckon_agent *a);         /* somebody calls */
void bk_agent_children_end(struct beckon_agent *a); /* all of them, at once */

/* agent_renewal.c */
BK_NODISCARD enum bk_err bk_agent_renewal_begin(struct beckon_agent *a);
void bk_agent_renewal_end(struct beckon_agent *a);
/* The core may have changed its mind about when. */
void bk_agent_renewal_follow(struct beckon_agent *a);
/* Destroys a box key that has had its time, wherever it comes from. */
void bk_agent_renewal_prune(struct beckon_agent *a);

#endif
