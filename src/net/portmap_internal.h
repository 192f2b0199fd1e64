/* Between the port mapping's owner side (portmap.c, portmap_survey.c), its threads (portmap_pool.c, portmap_job.c) and
 * the protocols. Nobody else includes it. */
#ifndef BK_NET_PORTMAP_INTERNAL_H
#define BK_NET_PORTMAP_INTERNAL_H

#include <natpmp.h>
#include <pthread.h>

#include <miniupnpc/miniupnpc.h>

#include "net/clock.h"
#include "net/portmap.h"

enum {
    PORTMAP_NONCE_BYTES = 12, /* PCP */
    PORTMAP_PORT = 5351,      /* of routers, for PCP and NAT-PMP */
    PORTMAP_JOBS = 5,
    PORTMAP_ANNOUNCE_PORT = 5350, /* where routers tell that they have started anew */
    PORTMAP_NOBODY = -1,
};

/* What one group wants, one router keeps in one table: in each at most one job asks. */
enum portmap_group {
    PORTMAP_MAPPING,
    PORTMAP_PINHOLES,
    PORTMAP_GROUPS,
};

struct portmap_shared;

/* One mapping or pinhole; its job's thread alone touches it. */
struct portmap_item {
    struct bk_addr local;   /* pinhole: the address; both: the port */
    uint16_t external_port; /* to ask for, at first; then as granted */
    bool held;              /* there is one in the router, perhaps */
    struct bk_addr external;
    uint32_t lease_s;
    uint8_t nonce[PORTMAP_NONCE_BYTES]; /* PCP */
    bool has_nonce;
    char unique_id[16]; /* UPnP pinholes */
    /* Of portmap_job.c. */
    bool used, mapped, doubted, forgotten;
    unsigned doubts;
    bk_time since, next;
};

/* What PCP and NAT-PMP tell of the router's clock: whether it has lost its table since. */
struct portmap_epoch {
    bool known;
    uint32_t server_s;
    bk_time at;
};

/* What one protocol works on, in a thread of its own. */
struct portmap_job {
    struct portmap_shared *shared;
    size_t index;
    /* What is wanted; constant. */
    char *igd_url; /* or NULL */
    struct bk_addr ssdp, gateway, gateway6;
    uint32_t lease_wish_s;
    /* Where it stands. */
    bool there;      /* a router speaks the protocol */
    bool lets_v6_in; /* and has pinholes */
    bool has_outer;
    bool reset;           /* the router has forgotten what it held */
    struct bk_addr outer; /* the router's outer address, as it says, whatever its scope */
    char reason[BK_PORTMAP_REASON_BYTES]; /* why the last step failed */
    const char *version;
    bk_time found_at;
    size_t n_items;
    struct portmap_item items[BK_PORTMAP_PINHOLES_MAX];
    /* The protocols' own. */
    struct portmap_epoch epoch;
    int fd;             /* PCP; -1 */
    unsigned interface; /* to gateway6 */
    struct bk_addr client;
    bool natpmp_open;
    bool urls_held;
    char lan_ip[64];
    natpmp_t natpmp;
    struct UPNPUrls urls;
    struct IGDdatas igd;
};

struct portmap_protocol {
    enum bk_portmap_protocol protocol;
    enum portmap_group group;
    /* Finds the router, and its address where it tells one; false: job->reason says why not. */
    bool (*find)(struct portmap_job *job);
    /* Asks for the item, or renews it where it is held; looks at the address again when renewing. */
    bool (*map)(struct portmap_job *job, struct portmap_item *item);
    void (*unmap)(struct portmap_job *job, struct portmap_item *item);
    void (*leave)(struct portmap_job *job);
};

/* In the order of preference within each group. */
extern const struct portmap_protocol bk_portmap_pcp, bk_portmap_natpmp, bk_portmap_upnp,
    bk_portmap_pcp6, bk_portmap_upnp6;
extern const struct portmap_protocol *const bk_portmap_protocols[PORTMAP_JOBS];

bool bk_portmap_stopping(struct portmap_job *job);
void bk_portmap_say(struct portmap_job *job, const char *reason);
/* The router's outer address: kept if it can be reached from anywhere; false and a reason else. */
bool bk_portmap_take_address(struct portmap_job *job, const struct bk_addr *addr);
/* Sets job->reset where the router's clock does not fit what it said before (RFC 6887, 8.5). */
void bk_portmap_take_epoch(struct portmap_job *job, uint32_t server_s);
uint16_t bk_portmap_random_port(void);
void bk_portmap_random(uint8_t *out, size_t n);

/* The IGD's description by `url`, in portmap_upnp.c. */
bool bk_portmap_igd_find(struct portmap_job *job);
void bk_portmap_igd_leave(struct portmap_job *job);
void bk_portmap_igd_say_error(struct portmap_job *job, int error);

/* portmap_ssdp.c: looks for gateways until `until`. One URL each time, none twice; false: none (any more). */
struct portmap_ssdp;
struct portmap_ssdp *bk_portmap_ssdp_new(struct portmap_job *job); /* NULL: job->reason */
bool bk_portmap_ssdp_next(struct portmap_ssdp *s, bk_time until, char *url, size_t cap);
void bk_portmap_ssdp_free(struct portmap_ssdp *s);

/* ---- Between the threads and the owner ---- */

enum portmap_state {
    PORTMAP_UNASKED,
    PORTMAP_LOOKING,
    PORTMAP_FOUND,   /* waits for the right to ask */
    PORTMAP_HOLDING, /* has it */
    PORTMAP_OVER,    /* nothing more will come, its thread only has to return */
};

/* What a job has told of an item, under the lock. */
struct portmap_report_item {
    bool tried; /* the router was asked for it */
    bool mapped;
    bool renewed, remade; /* since the owner looked last */
    unsigned seq;         /* counts what was told */
    bool doubt;           /* the owner's word, for the job */
    struct bk_addr external;
    uint32_t lease_s;
};

struct portmap_report {
    enum portmap_state state;
    struct portmap_report_item items[BK_PORTMAP_PINHOLES_MAX];
    /* For the survey. */
    bool there, has_outer, lets_v6_in;
    struct bk_addr outer;
    const char *version;
    bk_time found_at;
    char reason[BK_PORTMAP_REASON_BYTES];
};

struct portmap_shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    bool survey; /* find, and no more */
    bool stop[PORTMAP_GROUPS];
    bool hurry[PORTMAP_GROUPS]; /* the router may have started anew: renew now */
    int holder[PORTMAP_GROUPS];
    int notify_fd;
    struct portmap_report reports[PORTMAP_JOBS];
    struct portmap_job jobs[PORTMAP_JOBS];
};

/* portmap_job.c: a job's thread, from finding to giving back. */
void bk_portmap_job_run(struct portmap_job *job);

/* After each report, and with `out_of_time` after BK_PORTMAP_WAIT_MS; in the loop. */
typedef void portmap_changed_fn(void *ctx, bool out_of_time);

/* portmap_pool.c: the threads, as the owner holds them. */
struct portmap_pool {
    struct portmap_shared *shared;
    struct event *ev_notify, *ev_wait;
    int announce_fd; /* -1: none */
    struct event *ev_announce;
    struct bk_addr gateway; /* whose announcements count; all zero: the default one's */
    bk_time hurried_at;
    portmap_changed_fn *changed;
    void *ctx;
    bool running[PORTMAP_JOBS];
    pthread_t threads[PORTMAP_JOBS];
};
/* On failure there is nothing to `fini`. BK_E_NOMEM, BK_E_IO */
BK_NODISCARD enum bk_err bk_portmap_pool_init(struct portmap_pool *pool, struct event_base *base,
                                              const struct bk_portmap_options *options, bool survey,
                                              portmap_changed_fn *changed, void *ctx);
/* portmap_announce.c: renews everything at once when the router says that it has started anew. Without, where the port
 * cannot be had: it is noticed at the next renewal. */
void bk_portmap_announce_init(struct portmap_pool *pool, struct event_base *base);
void bk_portmap_announce_fini(struct portmap_pool *pool);
void bk_portmap_pool_fini(struct portmap_pool *pool);
void bk_portmap_pool_stop(struct portmap_pool *pool, enum portmap_group group);

#endif
