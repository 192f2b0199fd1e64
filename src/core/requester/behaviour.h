/* What the NAT on the way does with UDP, in the words of RFC 4787: asks the server's Binding service from several sockets
 * and compares (RFC 5780, section 4). With one address of the server it tells what can be told with one.
 *
 *   socket MAIN    to every address of the server: is the mapping the same towards all of them?
 *   socket QUIET   to the first address alone, asking for an answer from another one: what may come in unasked?
 *   socket HAIRPIN to the address at which MAIN was seen: does the NAT lead back in what is sent to its own outside?
 *
 * Everything heard here is unauthenticated: it is for people to read, and nothing rests on it. */
#ifndef BK_CORE_REQUESTER_BEHAVIOUR_H
#define BK_CORE_REQUESTER_BEHAVIOUR_H

#include "base/addr.h"
#include "base/clock.h"
#include "base/random.h"
#include "wire/stun.h"

enum {
    BK_BEHAVIOUR_ADDRS_MAX = 4,
    BK_BEHAVIOUR_ASKS_MAX = BK_BEHAVIOUR_ADDRS_MAX + 4,
    BK_BEHAVIOUR_OUT_ACTIONS = BK_BEHAVIOUR_ASKS_MAX + 1,
    BK_BEHAVIOUR_EVERY_MS = 400, /* between tries of one question */
    BK_BEHAVIOUR_TRIES = 5,
};

enum bk_behaviour_socket {
    BK_BEHAVIOUR_MAIN,
    BK_BEHAVIOUR_QUIET,
    BK_BEHAVIOUR_HAIRPIN,
    BK_BEHAVIOUR_SOCKETS,
};

/* RFC 4787, sections 4.1 and 5. */
enum bk_behaviour_kind {
    BK_BEHAVIOUR_UNKNOWN,
    BK_BEHAVIOUR_NO_NAT, /* mapping: the address is the socket's own */
    BK_BEHAVIOUR_ENDPOINT_INDEPENDENT,
    BK_BEHAVIOUR_NOT_PORT_DEPENDENT, /* one of the others in this list; one server address cannot tell which */
    BK_BEHAVIOUR_ADDRESS_DEPENDENT,
    BK_BEHAVIOUR_ADDRESS_AND_PORT_DEPENDENT,
    BK_BEHAVIOUR_NOT_ENDPOINT_INDEPENDENT, /* one of the two above */
};

struct bk_behaviour_result {
    bool udp;               /* the server was heard at all */
    struct bk_addr mapped;  /* as it saw MAIN */
    uint32_t round_trip_ms; /* 0: not known, something got lost */
    bool port_preserved;
    enum bk_behaviour_kind mapping, filtering;
    bool hairpin_asked, hairpin;
};

struct bk_behaviour_config {
    struct bk_random rng;
    /* Where Binding is answered: the usual address first; besides, in any order, the same IP address with another port,
     * another IP address with the usual port, and both other. */
    size_t n_addrs;
    struct bk_addr addrs[BK_BEHAVIOUR_ADDRS_MAX];
    struct bk_addr local; /* of MAIN, as the host has it: its port, and the address it sends from */
};

struct bk_behaviour_event {
    enum { BK_BEHAVIOUR_START, BK_BEHAVIOUR_DATAGRAM } type;
    enum bk_behaviour_socket socket; /* DATAGRAM: where it came in, */
    struct bk_addr from;
    struct bk_slice bytes;
};

struct bk_behaviour_action {
    enum { BK_BEHAVIOUR_SEND, BK_BEHAVIOUR_OVER } type; /* OVER: `result` stands; last */
    enum bk_behaviour_socket socket;
    struct bk_addr to;
    struct bk_slice bytes;
};

struct bk_behaviour_out {
    size_t n;
    struct bk_behaviour_action actions[BK_BEHAVIOUR_OUT_ACTIONS];
    size_t used;
    uint8_t bytes[BK_BEHAVIOUR_OUT_ACTIONS * 32];
};

/* One question: sent until answered, or BK_BEHAVIOUR_TRIES times. */
struct bk_behaviour_ask {
    bool used, answered;
    enum bk_behaviour_socket socket;
    enum bk_behaviour_socket answer_at; /* where the answer comes in */
    struct bk_addr to;
    struct bk_addr answer_from; /* port 0: anybody */
    uint8_t change;             /* CHANGE-REQUEST's flags, 0: none */
    uint8_t txid[BK_STUN_TXID_BYTES];
    unsigned tries;
    bk_time sent_first;
    struct bk_addr mapped; /* its answer */
};

/* Held by value; fields belong to behaviour.c. */
struct bk_behaviour {
    struct bk_behaviour_config config;
    struct bk_behaviour_ask asks[BK_BEHAVIOUR_ASKS_MAX];
    bk_time due;
    bool hairpin_begun, over;
    struct bk_behaviour_result result;
};

void bk_behaviour_init(struct bk_behaviour *b, const struct bk_behaviour_config *config);
/* Both start `out` afresh. */
void bk_behaviour_input(struct bk_behaviour *b, const struct bk_now *now,
                        const struct bk_behaviour_event *event, struct bk_behaviour_out *out);
void bk_behaviour_timer(struct bk_behaviour *b, const struct bk_now *now,
                        struct bk_behaviour_out *out);
bk_time bk_behaviour_deadline(const struct bk_behaviour *b);

#endif
