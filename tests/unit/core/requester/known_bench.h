/* A call by what is known of the device from an earlier one, and the questions that it may come to after all. */
#ifndef BK_TESTS_REQUESTER_KNOWN_BENCH_H
#define BK_TESTS_REQUESTER_KNOWN_BENCH_H

#include "core/requester/bench.h"

/* What the last call would have kept: certificate and box key as LOOKUP tells them, at own_address. */
static inline void begin_known(struct bench *b)
{
    struct bk_requester_known *known = &b->config.known;
    begin(b);
    b->box_until_s = b->now.unix_s + BK_REQUESTER_KNOWN_S;
    sign_box_key(b);
    memcpy(known->certificate, "DER", 3);
    known->certificate_n = 3;
    memcpy(known->box_key, b->signed_key, sizeof known->box_key);
    known->came_to = own_address(7); /* another port: that of another call */
}

static inline void begin_known_with_key(struct bench *b)
{
    begin_known(b);
    b->config.have_key = true;
    memset(b->config.key_seed, 0x5E, sizeof b->config.key_seed);
}

static inline void server_opens(struct bench *b)
{
    input(b, (struct bk_requester_event){.type = BK_REQUESTER_SERVER_OPEN, .ms = 30});
}

static inline bool asks(const struct bench *b, uint16_t method)
{
    struct bk_stun m;
    for (size_t i = 0; i < b->out.n; i++) {
        if (b->out.actions[i].type == BK_REQUESTER_SEND_SERVER &&
            bk_stun_read(b->out.actions[i].bytes, &m) == BK_OK && m.method == method) {
            return true;
        }
    }
    return false;
}

static inline void reach_called(struct bench *b)
{
    begin_known_with_key(b);
    start(b);
    candidates(b, 1);
    server_opens(b);
    take_any_request(b);
}

/* LOOKUP and INFO, which have just been asked. */
static inline void take_questions(struct bench *b)
{
    struct bk_stun m = sent(b, BK_METHOD_LOOKUP);
    memcpy(b->txid, m.txid, sizeof b->txid);
    take_info(b);
}

/* LOOKUP and INFO have just been asked after all; what they lead to. */
static inline void asked_anew(struct bench *b)
{
    take_questions(b);
    assert_null(find(b, BK_REQUESTER_FAILED));
    answer_info(b, NULL);
    answer_lookup(b);
    take_any_request(b); /* under another call ID: it looks */
    assert_true(b->request.has_tag);
}

#endif
