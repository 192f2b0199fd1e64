/* The inside of the registration core: registration.c (events and timers, servers), registration_ask.c (REGISTER and its
 * answers, keepalives), registration_tunnel.c (the way over TLS), registration_notify.c (calls, and the tags they
 * bear), registration_result.c (RESULT by UDP), registration_time.c (the time that servers tell). */
#ifndef BK_CORE_AGENT_REGISTRATION_PRIVATE_H
#define BK_CORE_AGENT_REGISTRATION_PRIVATE_H

#include "core/agent/registration.h"

enum {
    BK_AGENT_UNANSWERED_MAX =
        3, /* then the name is resolved again and the registration counts as lost */
    BK_AGENT_DATAGRAM_BYTES = 256, /* all that we send is smaller, but for RESULT */
};

static inline struct bk_slice bk_registration_key_of(const struct bk_registration *r)
{
    return bk_slice(r->config.key, sizeof r->config.key);
}

/* registration.c */
struct bk_registration_action *bk_registration_add(struct bk_registration_out *out,
                                                   enum bk_registration_action_type type);
/* Room for one datagram, and the sending of what was written there. `to` NULL: through the tunnel. */
uint8_t *bk_registration_room(struct bk_registration_out *out);
void bk_registration_add_send(const struct bk_addr *to, struct bk_slice bytes,
                              struct bk_registration_out *out);
/* This server does not answer, by neither way: the next one's turn, if there is another and this one has had its own. */
void bk_registration_fail_over(struct bk_registration *r, bk_time now,
                               struct bk_registration_out *out);
/* A new turn, with the address of server `index` yet to be asked for. */
void bk_registration_turn_to(struct bk_registration *r, uint8_t index);
void bk_registration_ask_for_address(struct bk_registration *r, bk_time now,
                                     struct bk_registration_out *out);

/* registration_ask.c */
void bk_registration_draw_tag(struct bk_registration *r);
/* What to wait for an answer after the newest send. */
uint64_t bk_registration_retry_delay(const struct bk_registration *r,
                                     const struct bk_registration_exchange *x);
void bk_registration_send(struct bk_registration *r, struct bk_registration_exchange *x,
                          bk_time now, struct bk_registration_out *out);
/* A new exchange: answers to older ones are no longer listened to. */
void bk_registration_begin(struct bk_registration *r, struct bk_registration_exchange *x,
                           bk_time now, struct bk_registration_out *out);
/* The next keepalive, of whichever kind it is to be. */
void bk_registration_keep_alive(struct bk_registration *r, bk_time now,
                                struct bk_registration_out *out);
/* Intervals are short again, and all answered. */
void bk_registration_fall_back(struct bk_registration *r);
void bk_registration_kept(struct bk_registration *r, bk_time now, uint32_t kept_s);
void bk_registration_answered(struct bk_registration *r, const struct bk_now *now,
                              const struct bk_stun *m, struct bk_registration_exchange *x,
                              struct bk_registration_out *out);
void bk_registration_quiet_challenged(struct bk_registration *r, bk_time now,
                                      const struct bk_stun *m, struct bk_registration_out *out);

/* registration_tunnel.c */
/* Opens one if it is time for it. */
void bk_registration_tunnel_wanted(struct bk_registration *r, bk_time now,
                                   struct bk_registration_out *out);
void bk_registration_tunnel_close(struct bk_registration *r, struct bk_registration_out *out);
void bk_registration_tunnel_up(struct bk_registration *r, bk_time now,
                               struct bk_registration_out *out);
void bk_registration_tunnel_down(struct bk_registration *r, bk_time now,
                                 struct bk_registration_out *out);
void bk_registration_tunnel_due(struct bk_registration *r, bk_time now,
                                struct bk_registration_out *out);
/* A REGISTER through it was answered: it is the way now. */
void bk_registration_tunnel_taken(struct bk_registration *r, bk_time now);
/* UDP, tried beside it, is not answered. */
void bk_registration_trial_ended(struct bk_registration *r, bk_time now);

/* registration_notify.c */
void bk_registration_raise_counter(struct bk_registration *r, bk_time now);
/* From server `index` at `from`, or through the tunnel (NULL); `full`: no call part can be started. */
void bk_registration_notified(struct bk_registration *r, bk_time now, const struct bk_stun *m,
                              const struct bk_addr *from, uint8_t index, bool full,
                              struct bk_registration_out *out);

/* registration_result.c */
void bk_registration_result(struct bk_registration *r, bk_time now,
                            const struct bk_registration_event *event,
                            struct bk_registration_out *out);
void bk_registration_result_answered(struct bk_registration *r, const struct bk_stun *m,
                                     const struct bk_addr *from, struct bk_registration_out *out);
/* Those that are due, as many as there is room for. */
void bk_registration_results_due(struct bk_registration *r, bk_time now,
                                 struct bk_registration_out *out);
bk_time bk_registration_results_deadline(const struct bk_registration *r);

/* registration_time.c */
void bk_registration_take_time(struct bk_registration *r, bk_time now, uint64_t unix_s);

#endif
