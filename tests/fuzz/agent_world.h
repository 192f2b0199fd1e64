/* What fuzz_agent.c (the script, registration, renewal, time) and agent_calls.c (admission and calls) share. */
#ifndef TESTS_FUZZ_AGENT_WORLD_H
#define TESTS_FUZZ_AGENT_WORLD_H

#include "core/agent/call.h"
#include "core/agent/dials.h"
#include "core/agent/renewal.h"
#include "feed.h"
#include "seal/caller_key.h"

enum {
    ID = 2133,
    CALLS = 6,  /* more than guesses are free */
    TXIDS = 32, /* fewer than the agent remembers */
    TAGS = 8,
    BOXES = 512,
    KEYS = 3, /* of callers; the device knows the first */
};

struct call {
    struct bk_call *core; /* NULL: none */
    bool fast;            /* its request was there from the start */
    bool asked, waiting, admitted, checking, right, ended, server_closed;
    uint32_t untold; /* RESULTs that the idle part has, by their numbers */
    bool unproven;   /* admitted, and its password or key not judged yet */
    struct bk_admission_facts facts;
    uint8_t text[BK_CALL_REQUEST_MAX_BYTES];
    struct bk_call_request said; /* by the caller, in the newest 226; borrows from `text` */
    bool wrongly_signed;
    uint64_t services; /* that he may use */
    size_t n_peer;     /* his candidates: of the box, or of the newest PATHS that was heard */
    struct bk_candidate peer[BK_CANDIDATES_MAX];
    uint32_t unanswered;    /* of the candidates in ASK_DIALS */
    uint32_t permitted;     /* by the limits; those tried are taken out */
    struct bk_paths newest; /* said by him, heard or not */
    bool listens, mapped, met, up;
    bk_time learns_again;
    struct {
        struct bk_addr addr;
        uint32_t redials_left;
    } dialled[BK_CALL_DIALS_MAX]; /* by link */
};

struct world {
    struct feed f;
    struct feed_memory memory;
    uint64_t seed;
    struct bk_now now;
    struct bk_addr server;
    struct bk_registration registration;
    struct bk_admission admission;
    struct bk_dials dials;
    struct bk_renewal renewal;
    uint8_t seeds[KEYS][BK_SIGN_SEED_BYTES];
    uint8_t keys[KEYS][BK_KEY_BYTES];
    struct bk_registration_config config;
    struct bk_call_config call_config;
    uint8_t txid[2][BK_STUN_TXID_BYTES]; /* of the newest REGISTER, by UDP and by the tunnel */
    struct bk_tag tags[TAGS];            /* newest sent, a ring */
    size_t n_tags;
    bool called[TXIDS];
    size_t results;                          /* said, and not told yet what became of them */
    uint8_t result_txid[BK_STUN_TXID_BYTES]; /* of the newest that was sent */
    struct call calls[CALLS];
    struct bk_admission_facts admitted[BOXES];
    size_t n_admitted;
};

struct bk_addr agent_address(size_t i);

/* agent_calls.c */
void agent_call_begins(struct world *w);
void agent_call_event(struct world *w);
void agent_calls_settle(struct world *w); /* a call that is over makes room for another */
void agent_calls_timer(struct world *w);

#endif
