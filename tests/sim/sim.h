/* A whole Beckon network in one process: cores, NAT routers, a lossy network, a virtual clock.
 *
 * Everything happens by events in the order of their time; nothing here reads a clock or the operating
 * system's generator, so a seed repeats a run exactly. The shells of this folder carry out the cores'
 * actions by scheduling events and never call one core from within another. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/agent/admission.h"
#include "core/agent/call.h"
#include "core/agent/dials.h"
#include "core/agent/lifetime.h"
#include "core/agent/registration.h"
#include "core/agent/renewal.h"
#include "core/requester/requester.h"
#include "core/server/server.h"
#include "seal/box_key.h"
#include "seal/seal.h"

enum {
    SIM_USED_MAX = 32, /* addresses remembered per device */
    SIM_CERT_BYTES = 4 + 8 + 32,
    SIM_SESSIONS_MAX = 256,
};

struct world;
struct device;
struct caller;

/* What an event carries; whoever schedules it says what the fields mean. `bytes` is a copy. */
struct event {
    bk_time at;
    uint64_t seq;
    void (*run)(struct world *w, struct event *e);
    void *who;
    uint64_t arg;
    struct bk_addr addr;
    struct bk_addr to;
    uint32_t tries, every_ms; /* of a simultaneous open */
    size_t n;
    uint8_t *bytes;
};

/* A core's timer: at most one event that matters is pending. */
struct alarm {
    bk_time set; /* BK_TIME_NEVER: none */
};

struct router {
    struct bk_addr public_ip;
    bool keeps_ports;
    uint32_t timeout_s; /* of a UDP mapping, after its last packet either way */
    size_t n;
    struct {
        struct device *device;
        bool second; /* of its second socket */
        uint16_t port;
        bk_time until;
    } * mappings;
    size_t cap;
};

struct sim_call {
    struct world *world;
    struct device *device;
    struct bk_call *core; /* NULL once it has ended */
    struct alarm alarm;
    uint64_t stream; /* 0: none */
    bool fast;       /* its request came with NOTIFY, under this ID */
    uint8_t call_id[BK_CALL_ID_BYTES];
    uint64_t watch;          /* the stream of its WATCH; 0: none */
    bool watched;            /* the server has said yes to it */
    uint64_t watch_pause_ms; /* after the next failure */
    bool cut;                /* ended because the server said no */
    bk_time cut_at;
    struct bk_admission_facts facts;
    bool unproven; /* admitted, and not judged yet */
    bool right;    /* the password, or the key */
    struct bk_addr permitted[4 * BK_CALL_DIALS_MAX];
    size_t n_permitted;
    bool dialling[BK_CALL_LINKS_MAX];    /* by link: a connection is being made */
    uint64_t session[BK_CALL_LINKS_MAX]; /* by link: what came of it; 0: nothing yet */
    bool listening;
    struct bk_addr mapped;    /* at its own router, if it has one (device.maps); else zeroes */
    struct bk_addr reflexive; /* as the server sees its connection */
    bool ended;
    enum bk_call_end end;
    struct sim_call *next;
};

/* What the idle part keeps from call to call. */
struct device_memory {
    struct bk_admission admission;
    struct bk_dials dials;
};

struct device {
    struct world *world;
    uint64_t id;
    uint32_t generation;
    uint16_t epoch; /* of `key` */
    bool granted, revoked, running, dns_down;
    uint64_t certificate_until_s;
    struct bk_renewal renewal;
    struct alarm renewal_alarm;
    uint64_t renewal_stream; /* 0: none under way */
    bool renews_certificate;
    bk_time renewed_at;
    uint32_t n_renewed;
    bool no_clock;
    int64_t clock_off_s;
    uint64_t
        box_made_s; /* 0: its box key is good at any time; else renewals sign one of their time */
    uint16_t inner_port;
    struct router *router;
    uint8_t key[BK_KEY_BYTES];
    uint8_t sign_seed[32];
    struct bk_identity identity;
    uint8_t pin[BK_PIN_BYTES];
    struct bk_box_pair box;
    uint8_t signed_box[BK_BOX_KEY_BYTES];
    uint8_t certificate[SIM_CERT_BYTES];
    bool has_identity; /* made when first needed */
    const char *password;
    struct bk_registration registration;
    struct alarm alarm;
    bool measures; /* how long its NAT keeps mappings: then its intervals grow */
    struct bk_lifetime lifetime;
    struct alarm lifetime_alarm;
    bool udp_blocked;
    bool tunnels;    /* TLS to the server is possible */
    uint64_t tunnel; /* its stream; 0: none */
    uint32_t told_tunnel, n_tunnels;
    struct bk_now started;
    bool maps;      /* its router maps ports for calls */
    bool knows_key; /* of a caller, beside the password */
    uint8_t known_key[BK_KEY_BYTES];
    struct device_memory *memory; /* made when first needed */
    bool up;
    bk_time up_at;
    uint32_t told_registered, told_lost, told_revoked, told_call, told_fast;
    struct bk_addr used[SIM_USED_MAX]; /* public addresses its datagrams really left from */
    size_t n_used;
    struct sim_call *calls;
    uint32_t n_calls;
};

struct caller {
    struct world *world;
    struct bk_requester *core;
    struct alarm alarm;
    struct device *device; /* whom it will call; the ID alone decides */
    uint64_t stream;
    const char *password;
    int64_t clock_off_s;
    bool no_clock;
    bool reachable; /* its candidate leads to it */
    bool silent;    /* if not: packets vanish instead of being refused */
    struct bk_candidate candidate;
    size_t n_candidates; /* 1, or 0: it has none */
    /* Further ways to it, if it has them, and whether they work: simultaneous open, a relay (and world.relays), and back:
     * dialling the device's mapping. */
    bool punches, punched, relays, relayed, dials_back;
    struct bk_addr reflexive, relay;              /* these are so in any case */
    struct bk_addr meets[BK_REQUESTER_DIALS_MAX]; /* whom it tries to meet */
    size_t n_meets;
    size_t n_servers; /* 0 counts as 1; `first_server_gone`: number 0 does not answer */
    bool first_server_gone;
    bool has_key; /* its own, which it signs with */
    uint8_t key_seed[BK_SIGN_SEED_BYTES];
    bool repeats_id; /* its generator fails it: the call ID is `call_id` every time */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* of the newest 217 */
    uint8_t former_call_id[BK_CALL_ID_BYTES];
    uint8_t call_key[BK_KEY_BYTES];
    uint8_t last_box[BK_BOX_MAX_BYTES]; /* as it left in 217, for replays */
    size_t last_box_n;
    bool expecting;
    uint8_t expected[BK_PIN_BYTES];
    bool up, failed, ended; /* `up` stays once it is */
    enum bk_requester_failure failure;
    bk_time began, accepted_at, over_at;
    uint64_t session; /* to which new streams go */
    uint32_t requests, uses, rounds, proven, doubted, gathers;
    struct caller *next;
};

struct stream { /* a TLS connection to the server: a reliable, ordered pipe */
    bool server_open, client_open;
    enum bk_server_purpose purpose;
    struct device *device; /* whose RENEW or WATCH; else NULL */
    struct sim_call *call;
    struct caller *caller;
};

struct session { /* an end-to-end connection */
    struct sim_call *call;
    struct caller *caller;
    size_t index; /* its link there */
    enum bk_candidate_kind kind;
    bool open;   /* on both sides, but for what is on its way */
    bool picked; /* HTTP/2 is on it */
};

struct stats {
    uint64_t steps, datagrams, lost, streams, dials, dials_refused, delivered, audits, calls_ended,
        calls_revoked;
};

struct world {
    uint64_t seed;
    uint64_t rng_state;
    bk_time now;
    uint64_t seq;
    struct event **heap;
    size_t n_events, cap_events;
    uint32_t loss_permille, dup_permille;
    uint32_t delay_ms, jitter_ms;
    bool relays;             /* the server offers one */
    bool lifecycles;         /* devices renew what they have, and watch their calls */
    uint32_t renew_within_s; /* of a hint; 0: as agents do by themselves */
    int64_t server_clock_off_s;

    struct bk_server_config config;
    struct bk_server *server; /* NULL while it is down */
    uint64_t server_life;     /* events for an earlier one are void */
    struct alarm server_alarm;
    struct bk_addr server_addr;
    size_t n_streams;
    struct stream *streams; /* by number - 1 */
    size_t cap_streams;

    size_t n_routers;
    struct router *routers[8];
    size_t n_devices, cap_devices;
    struct device **devices;
    struct caller *callers;
    size_t n_sessions;
    struct session sessions[SIM_SESSIONS_MAX];

    struct stats stats;
    uint32_t failures;
};

/* world.c */
extern bool sim_first_form; /* run.c: the server knows no other */
struct world *world_new(uint64_t seed);
void world_free(struct world *w);
void world_run(struct world *w, uint64_t for_ns);
bool world_step(struct world *w, bk_time until);
struct bk_now world_time(const struct world *w, int64_t off_s, bool no_clock);
struct event *world_after(struct world *w, uint64_t ns, void (*run)(struct world *, struct event *),
                          void *who, struct bk_slice bytes);
void world_alarm(struct world *w, struct alarm *alarm, bk_time deadline,
                 void (*run)(struct world *, struct event *), void *who);
bool world_alarm_rings(struct world *w, struct alarm *alarm, const struct event *e);
struct bk_random world_random(struct world *w);
uint64_t world_draw(struct world *w, uint64_t bound);
void world_check(struct world *w, bool good, const char *what, const char *file, int line);
#define CHECK(w, good) world_check((w), (good), #good, __FILE__, __LINE__)

/* net.c */
struct router *router_add(struct world *w, struct bk_addr public_ip, bool keeps_ports);
void router_reboot(struct router *r);
void net_from_device(struct world *w, struct device *d, const struct bk_addr *to,
                     struct bk_slice bytes);
void net_from_second(struct world *w, struct device *d, const struct bk_addr *to,
                     struct bk_slice bytes);
/* Any source may be claimed. */
void net_inject(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                struct bk_slice bytes);

/* server.c */
void server_start(struct world *w);
void server_stop(struct world *w);
void server_datagram(struct world *w, const struct bk_addr *from, struct bk_slice bytes);
void server_revoke(struct world *w, struct device *d);
/* In the store and in the running server: alice may call it, or no more. */
void server_grant(struct world *w, struct device *d, bool granted);
/* Other epochs than w->config has, which must be set anew by then; also after a restart. */
void server_rekey(struct world *w);
uint64_t stream_open(struct world *w, struct sim_call *call, struct caller *caller);
/* RENEW (`call` NULL) or WATCH of a device; what comes is told to device_stream_event. */
uint64_t stream_open_for(struct world *w, struct device *d, enum bk_server_purpose purpose,
                         struct sim_call *call);
void stream_send(struct world *w, uint64_t number, struct bk_slice bytes);
void stream_close(struct world *w, uint64_t number);
bool server_has(struct world *w, const struct device *d);
/* Whoever sits in the server: sees what its connections bring and what the core says and closes, and takes it (true),
 * or lets it pass. What he says and has the core hear instead is below. NULL: nobody. */
enum sim_moment {
    SIM_UP,     /* a message came */
    SIM_DOWN,   /* the core sends one */
    SIM_OPENED, /* a connection stands; the core hears of it next, whatever he says */
    SIM_CLOSES, /* the core closes one */
};
extern bool (*sim_hostile)(struct world *w, enum sim_moment moment, uint64_t stream,
                           struct bk_slice bytes);
void server_says(struct world *w, uint64_t number, struct bk_slice bytes);
void server_hears(struct world *w, uint64_t number, struct bk_slice bytes);
void server_hangs_up(struct world *w, uint64_t number);
extern void (*sim_tap)(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                       struct bk_slice bytes); /* sees every datagram that leaves; may be NULL */
/* Whoever sits on the path: takes a datagram (true), or lets it pass. NULL: nobody. */
extern bool (*sim_path)(struct world *w, const struct bk_addr *from, const struct bk_addr *to,
                        struct bk_slice bytes);

/* device.c */
struct device *device_add(struct world *w, struct router *router, uint64_t id);
struct device *device_find(struct world *w, uint64_t id);
void device_identify(struct device *d);
void device_start(struct device *d); /* also again: the state of before is lost */
void device_stop(struct device *d);
void device_rings(struct device *d); /* its registration may be due at another time by now */
void device_datagram(struct device *d, const struct bk_addr *from, struct bk_slice bytes);
void call_stream_event(struct sim_call *c, enum bk_call_event_type type, struct bk_slice bytes);
void call_event(struct sim_call *c, struct bk_call_event event);
uint32_t device_calls_open(const struct device *d);

/* registering.c: what its registration wants beside datagrams: the tunnel, and measurements by the second socket */
void device_tell(struct device *d, const struct bk_registration_event *event); /* device.c */
void registering_start(struct device *d);
void registering_registered(struct device *d, bool by_udp);
void second_datagram(struct device *d, const struct bk_addr *from, struct bk_slice bytes);
void tunnel_open(struct device *d);
void tunnel_close(struct device *d);
void tunnel_event(struct device *d, unsigned what, struct bk_slice bytes);

/* renewals.c: what a device renews, and the watches of its calls */
/* From now on its box keys have their time, and the one of now is of `made_s`. */
void renewal_sign_box(struct device *d, uint64_t made_s);
void renewal_start(struct device *d);
void renewal_registered(struct device *d, bool registered);
void renewal_hint(struct device *d);
void watch_start(struct sim_call *c);
void watch_end(struct sim_call *c);
/* `what`: 0 opened, 1 a message, 2 closed. */
void device_stream_event(struct device *d, struct sim_call *call, uint64_t stream, unsigned what,
                         struct bk_slice bytes);

/* caller.c */
struct caller *caller_add(struct world *w, struct device *d);
void caller_start(struct caller *c);
void caller_hang_up(struct caller *c);
void caller_input(struct caller *c, struct bk_requester_event event);
/* Whose address it is, and of which kind; NULL: nobody's. */
struct caller *caller_at(struct world *w, const struct bk_addr *addr, enum bk_candidate_kind *kind);
struct caller *caller_of(struct world *w, const uint8_t call_id[BK_CALL_ID_BYTES]);

/* links.c: connections between calls and callers, and what goes over them. The device's numbers are links. */
void link_dial(struct sim_call *c, size_t link, const struct bk_addr *to);
void link_punch(struct sim_call *c, const struct bk_call_action *a);
void link_close(struct sim_call *c, size_t link); /* whatever its state */
void link_say(struct sim_call *c, size_t link, struct bk_slice paths);
void caller_dials(struct caller *c, const struct bk_addr *to);
void session_pick(struct world *w, uint64_t session);
void session_close(struct world *w, uint64_t session); /* by the caller; the device hears of it */
void session_say(struct world *w, uint64_t session, struct bk_slice paths);
void session_cut(struct world *w, uint64_t session); /* both sides find out that it is lost */
/* All sessions of a kind; returns how many there were. */
uint32_t sessions_cut(struct world *w, enum bk_candidate_kind kind);

/* scene.c */
/* 2133 behind a router that keeps ports, registered for a while. */
struct device *scene_device(struct world *w);
/* A server and devices without NAT, started one after another and registered. */
void scene_populate(struct world *w, uint64_t first_id, size_t n);
struct caller *scene_call(struct world *w, struct device *d);
/* With a wrong password. */
struct caller *scene_guess(struct world *w, struct device *d);
/* Until the call is up or has failed, or took so long: then false. */
bool scene_run_to_end(struct world *w, const struct caller *c, uint64_t at_most_s);
/* Checked: the call comes to its end, one way or the other, and so soon after it began. Then to which. */
void scene_expect_end(struct world *w, const struct caller *c, uint64_t within_s);
void scene_expect_up(struct world *w, const struct caller *c, uint64_t within_s);
void scene_expect_failure(struct world *w, const struct caller *c,
                          enum bk_requester_failure failure, uint64_t within_s);
/* Calls it, and hangs up. */
bool scene_is_reached(struct world *w, struct device *d);
/* After so long nothing of any call is left on either side or at the server. */
void scene_all_quiet(struct world *w, uint64_t after_s);

/* run.c */
struct scenario {
    const char *name;
    void (*run)(struct world *w);
    unsigned seeds;
};
int sim_main(int argc, char **argv, const struct scenario *scenarios, size_t n);

#endif
