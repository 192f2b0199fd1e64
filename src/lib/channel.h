/* What the idle part and a call's process say to each other over their socket pair (SOCK_SEQPACKET,
 * one message a packet).
 *
 *   idle → call   HELLO    server's addresses, observed address, time;  once, first
 *                          in the fast form the request
 *   call → idle   ADMIT    call ID, time, tag, the caller's key        at most once
 *   idle → call   VERDICT  verdict, current tag, the agent's clock
 *   call → idle   PROOF    the password or key is right, or wrong      at most once, if admitted
 *   call → idle   DIALS    addresses that are to be dialled            after a right one, one question at a time
 *   idle → call   PERMIT   which of them the limits on dialling let pass
 *   call → idle   RESULT   sealed, for the server, by UDP              in the fast form
 *   idle → call   TOLD     the server has it, or does not answer       each RESULT, in any order
 *
 * Either side's end of the socket ends the other: a call does not outlive its agent. */
#ifndef BK_LIB_CHANNEL_H
#define BK_LIB_CHANNEL_H

#include "base/addr.h"
#include "core/agent/admission.h"
#include "wire/connect.h"

enum {
    BK_CHANNEL_DIALS_MAX = 8,
    BK_CHANNEL_SERVERS_MAX = 4,
    BK_CHANNEL_RESULTS_MAX = 32, /* RESULTs of one call; more are not sent */
    BK_CHANNEL_MAX_BYTES = 1280,
};

enum bk_channel_type {
    BK_CHANNEL_HELLO = 1,
    BK_CHANNEL_ADMIT = 2,
    BK_CHANNEL_VERDICT = 3,
    BK_CHANNEL_PROOF = 4,
    BK_CHANNEL_DIALS = 5,
    BK_CHANNEL_PERMIT = 6,
    BK_CHANNEL_RESULT = 7,
    BK_CHANNEL_TOLD = 8,
};

struct bk_channel_message {
    enum bk_channel_type type;
    size_t n_servers;                               /* HELLO: 1 to BK_CHANNEL_SERVERS_MAX, */
    struct bk_addr servers[BK_CHANNEL_SERVERS_MAX]; /* the one in use first */
    struct bk_addr observed;                        /* HELLO */
    uint8_t
        server_index; /* HELLO: which of agent.conf's servers called, below BK_AGENT_SERVERS_MAX */
    uint16_t agent_port; /* HELLO: its port that lets our TLS through; 0: as agent.conf says */
    struct bk_admission_facts facts;   /* ADMIT */
    enum bk_admission_verdict verdict; /* VERDICT */
    struct bk_tag tag;                 /* VERDICT */
    uint64_t unix_s; /* HELLO: the latest; VERDICT: for freshness; 0: no clock is trusted */
    bool right;      /* PROOF */
    size_t n_dials;  /* DIALS: 1 to BK_CHANNEL_DIALS_MAX */
    struct bk_addr dials[BK_CHANNEL_DIALS_MAX];
    uint32_t permitted;                /* PERMIT: bit i for dials[i] */
    bool fast;                         /* HELLO: the following are there */
    uint8_t call_id[BK_CALL_ID_BYTES]; /* HELLO */
    char user[BK_NAME_MAX_BYTES + 1];  /* HELLO; may be empty */
    size_t box_n;                      /* HELLO, RESULT: 1 to BK_BOX_MAX_BYTES */
    uint8_t box[BK_BOX_MAX_BYTES];
    uint8_t number; /* RESULT, TOLD: the call part's choice */
    bool good;      /* TOLD: the server has it */
};

/* BK_E_IO, BK_E_CLOSED. The socket's buffer always has room for the few messages of a call. */
BK_NODISCARD enum bk_err bk_channel_send(int fd, const struct bk_channel_message *in);
/* BK_E_CLOSED at the end, BK_E_MALFORMED, BK_E_TRUNCATED when there is nothing now (non-blocking). */
BK_NODISCARD enum bk_err bk_channel_receive(int fd, struct bk_channel_message *out);

#endif
