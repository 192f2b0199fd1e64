/* What a script of fuzz_server.c consists of: each of these takes from the input what it needs, hands the core its event, and
 * says what that may bring about. */
#ifndef TESTS_FUZZ_SERVER_EVENTS_H
#define TESTS_FUZZ_SERVER_EVENTS_H

#include "server_checks.h"

/* server_datagrams.c */
void on_register(struct world *w);
void on_replay(struct world *w);
void on_keepalive(struct world *w);
void on_probe(struct world *w);
void on_second_port(struct world *w);
void on_raw_datagram(struct world *w);
/* A request or quiet keepalive with any interval, by datagram or by a stream of registration. */
struct bk_slice write_keepalive(struct world *w, size_t i, uint8_t how, size_t at, uint8_t local,
                                struct licence *l);
/* From place `at`. */
void send_datagram(struct world *w, struct bk_slice bytes, size_t at, uint8_t local,
                   struct licence *l);
void new_txid(struct world *w, uint8_t txid[BK_STUN_TXID_BYTES]);

/* server_streams.c */
void on_open(struct world *w);
void on_closed(struct world *w);
void on_message(struct world *w);
void on_stream_extra(struct world *w);

/* server_store.c: what it answers, and what the operator changes */
void on_answer(struct world *w);
void on_exception(struct world *w);
void on_grants_changed(struct world *w);
void on_masters(struct world *w);
void on_user_revoked(struct world *w);
/* To that question; one of the kind that is asked. */
void answer(struct world *w, const struct query *q, uint8_t how);

/* server_fast.c */
void on_notify_answer(struct world *w);
void on_result(struct world *w);

#endif
