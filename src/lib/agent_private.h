/* The inside of the idle part, shared by agent.c (registration, beginning and end), agent_children.c (one process per
 * call), agent_tunneling.c (the process that registers by TLS), agent_lifetime.c (the second socket, which measures the
 * NAT) and agent_renewal.c (the process that renews, and box keys that have had their time). */
#ifndef BK_LIB_AGENT_PRIVATE_H
#define BK_LIB_AGENT_PRIVATE_H

#include "core/agent/admission.h"
#include "core/agent/dials.h"
#include "core/agent/lifetime.h"
#include "core/agent/registration.h"
#include "core/agent/renewal.h"
#include "lib/agent_config.h"
#include "lib/child.h"
#include "lib/files.h"
#include "lib/log_limit.h"
#include "lib/loop.h"
#include "net/host.h"
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
    bool fast; /* the request came with NOTIFY: RESULT goes by UDP, */
    uint8_t call_id[BK_CALL_ID_BYTES];
    struct bk_addr server; /* to the server that called */
    uint32_t results;      /* said so far */
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
    bool wanted; /* at once: box.key or registration.key is damaged, and a renewal brings another */
    bool no_box; /* it is box.key */
};

struct bk_agent_tunnel {
    pid_t pid; /* 0: none, or it is leaving */
    int channel;
    struct event *event; /* on the channel */
    uint16_t port;       /* of the server, that let it through; 0: none yet */
    struct bk_child_leaving leaving;
};

/* The name that is being looked up. */
struct bk_agent_question {
    struct event *event; /* NULL: none */
    pid_t pid;           /* of the process that looks it up; 0: it is an address */
    int channel;         /* to that process */
    struct bk_addr literal;
    struct bk_child_leaving leaving;
};

struct bk_agent_lifetime {
    struct bk_lifetime core;
    struct event *timer; /* follows it; NULL: intervals are fixed, nothing is measured */
    struct bk_udp *udp;  /* the second socket, while it measures */
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
    struct bk_agent_tunnel tunnel;
    struct bk_agent_lifetime lifetime;
    struct bk_addr observed;
    struct bk_agent_server {
        bool known;
        struct bk_addr addr; /* the one in use, or tried last, of those that its name has */
        size_t turn;         /* which that is */
        bool unanswered;     /* no registration stood since that one was taken */
    } servers[BK_AGENT_SERVERS_MAX];
    struct bk_addr further[BK_CHANNEL_SERVERS_MAX]; /* other addresses of the name looked up last */
    size_t n_further;
    uint8_t index; /* of the server in use */
    uint8_t asked; /* of that in `question` */
    bool was_registered;
    bool by_udp;            /* registered, and not through the tunnel */
    uint64_t stored_unix_s; /* what DIR/clock says */
    struct event_base *base;
    struct bk_stop stop;
    struct event *timer;
    struct bk_udp *udp;
    struct bk_agent_question question;
    struct bk_host_watch *watch;
    uint64_t questions;       /* asked by children so far */
    struct bk_log_limit full; /* lines about calls that are not answered */
    struct bk_agent_child children[BK_CHILDREN_MAX];
};

/* agent.c: the registration's deadline may have changed. */
void bk_agent_follow(struct beckon_agent *a);
/* An event for it. */
void bk_agent_tell(struct beckon_agent *a, const struct bk_registration_event *event);

/* The question has its answer: n addresses, or none, and why not. */
void bk_agent_resolved(struct beckon_agent *a, const struct bk_addr *addrs, size_t n,
                       const char *text);

/* agent_helping.c */
/* The system call filter; without it, says so in the log. */
void bk_agent_confine(struct beckon_agent *a);
/* Asks for the addresses of `host`, instead of what was asked before: bk_agent_resolved, from the loop. False: not so. */
bool bk_agent_resolve(struct beckon_agent *a, char *host, uint16_t port);
void bk_agent_resolve_cancel(struct beckon_agent *a); /* the process is waited for by and by */
void bk_agent_resolve_end(struct beckon_agent *a);    /* at once */

/* agent_children.c */
/* For bk_child_leave, where nothing is to be done but to say that the program could not be started. */
void bk_agent_gone(void *agent, int how);
/* Somebody calls; the server's address is all zero if it was the tunnel that told. */
void bk_agent_call(struct beckon_agent *a, const struct bk_registration_action *call);
bool bk_agent_has_room(const struct beckon_agent *a); /* for one call more */
void bk_agent_full(struct beckon_agent *a);           /* somebody calls, and there is none */
/* What became of a RESULT. */
void bk_agent_result_told(struct beckon_agent *a, const struct bk_registration_action *told);
void bk_agent_children_end(struct beckon_agent *a); /* all of them, at once */

/* agent_tunneling.c */
void bk_agent_tunnel_open(struct beckon_agent *a, uint8_t index);
void bk_agent_tunnel_send(struct beckon_agent *a, struct bk_slice bytes);
void bk_agent_tunnel_close(struct beckon_agent *a); /* the process is waited for by and by */
void bk_agent_tunnel_end(struct beckon_agent *a);   /* at once */

/* agent_lifetime.c */
BK_NODISCARD enum bk_err bk_agent_lifetime_begin(struct beckon_agent *a);
void bk_agent_lifetime_end(struct beckon_agent *a);
/* Registered by UDP, also after the network has changed; or not any more. */
void bk_agent_lifetime_registered(struct beckon_agent *a, bool registered);

/* agent_renewal.c */
/* The box keys: damaged ones are replaced by a renewal at once. FAILED: they are not for us to read. */
enum beckon_status bk_agent_renewal_look(struct beckon_agent *a, struct beckon_error *error);
BK_NODISCARD enum bk_err bk_agent_renewal_begin(struct beckon_agent *a);
void bk_agent_renewal_end(struct beckon_agent *a);
/* The core may have changed its mind about when. */
void bk_agent_renewal_follow(struct beckon_agent *a);
/* A call's request was opened by one of our box keys, or by none. */
void bk_agent_renewal_opened(struct beckon_agent *a, bool opened);
/* Destroys a box key that has had its time, wherever it comes from. */
void bk_agent_renewal_prune(struct beckon_agent *a);

#endif
