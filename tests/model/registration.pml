/* Registration: one device, its server, and an attacker who is on the path while he likes and off it for the rest.
 *
 * Followed: src/core/server/registration.c (proven, fits, apply: SERVER below), src/core/server/nonce.c (a nonce's
 * states), src/core/agent/registration.c (timer, challenged, registered, begin_exchange: Device), docs/protocol.md.
 *
 * Kept: addresses (the device has two and changes between them), the tag's random part and counter, MAC, nonce with what
 * it is bound to, transaction IDs (`cur`: belongs to the exchange that the device is in), restarts of both ends.
 * Left out: other devices, epochs, expiry of rows (it could only repair what must be right without it), answers' times.
 *
 * Counters have no bound: only their order counts, so SEND renumbers those that occur somewhere, keeping the order.
 * A nonce names the row whole, and the row never returns to an earlier state within a nonce's life (each plain keepalive
 * raises the counter, each nonce used raises the mark), so it is kept as alive or dead, and every change kills it.
 * A tick is the life of a nonce: it kills all. With nobody on the path nothing is under way for as long as that.
 *
 * The attacker on the path copies, drops, keeps and sends again, from any source address, what the device sends, and
 * keeps and passes on what the server answers. Off the path he still has what he kept, and any source address. */
#define HOME 0
#define AWAY 1
#define EVIL 2   /* the attacker's own */
#define VICTIM 3 /* somebody's who has nothing to do with it; the attacker does not hear what is sent there */
#define NOWHERE 4

#define OLD 0 /* the tag's random part: before the agent's restart, after it, and one made up */
#define NEW 1
#define FORGED 2

/* A nonce: 0 is none. */
#define EXISTS 1
#define ALIVE 2
#define SPENT 4 /* ghost: something was applied by it */
#define FOR(a) (EXISTS | ALIVE | ((a) << 3))
#ifdef MUTATE_NONCE
#define DIE(n) n = (n & (EXISTS | SPENT))
#else
#define DIE(n) n = 0 /* as good as none */
#endif

#ifndef MOVES
#define MOVES 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif

typedef message {
    bit there;
    bit cur;
    bit used; /* ghost: the server has applied it */
    byte rnd;
    byte ctr;
    byte nonce;
};
typedef reply {
    bit there;
    bit ok; /* else 438, with the nonce */
    bit cur;
    byte nonce;
};

message wire; /* from the device, under way */
byte wire_from;
message kept;
reply back;       /* to the device, under way */
byte evil_nonce;  /* an answer to a message that the attacker made up */
reply noise;      /* to the device, caused or passed on by the attacker */

byte row_addr = NOWHERE, row_rnd, row_ctr;
byte dev_addr = HOME, dev_rnd = OLD, dev_ctr, dev_nonce;
byte moves, server_restarts;
bit on_path, ever_on, lately_on;
bit sent_from[4]; /* ghost: since the last tick */
bit restarted;    /* ghost: the agent has lost its state */

/* What must never come true. */
bit moved_wrongly, stranger_did, replay_did, nonce_twice;

byte verdict; /* of SERVER: 0 silence, 1 success, 2 challenge */
bit plain, late, good;
hidden byte used_bits;

#define SPEND(n, a) if :: (n & ALIVE) && (n >> 3) == a -> n = n | SPENT :: else fi
#define MARK_USED(m, r, c) if :: m.there && m.rnd == r && m.ctr == c -> m.used = 1 :: else fi

#ifdef MUTATE_NONCE
#define NONCE_RIGHT(n, from) (n != 0)
#elif defined(MUTATE_NONCE_ADDRESS)
#define NONCE_RIGHT(n, from) (n & ALIVE)
#else
#define NONCE_RIGHT(n, from) ((n & ALIVE) && (n >> 3) == from)
#endif
#ifdef MUTATE_COUNTER
#define NEWER(c) (c >= row_ctr)
#else
#define NEWER(c) (c > row_ctr)
#endif
#ifdef MUTATE_MAC
#define MAC_RIGHT(mac) 1
#else
#define MAC_RIGHT(mac) mac
#endif

/* bk_server_on_register. `honest`: it comes by the path and not from the attacker's hands. */
inline server(its_rnd, its_ctr, its_nonce, was_used, its_mac, from, honest)
{
    verdict = 0;
    plain = row_addr == from && row_rnd == its_rnd && NEWER(its_ctr);
    late = row_addr != NOWHERE && row_rnd == its_rnd && its_ctr < row_ctr;
    good = !plain && !late && NONCE_RIGHT(its_nonce, from);
    if
    :: !MAC_RIGHT(its_mac) -> skip
#ifdef MUTATE_STICKY /* a row stays where it is */
    :: MAC_RIGHT(its_mac) && row_addr != NOWHERE && row_addr != from -> skip
#endif
#ifdef MUTATE_LOCKOUT /* who has lost its tag is not believed */
    :: MAC_RIGHT(its_mac) && row_addr == from && row_rnd != its_rnd -> skip
#endif
    :: else ->
        if
        :: plain || good ->
            moved_wrongly = moved_wrongly || (row_addr != from && !sent_from[from] && !lately_on);
            stranger_did = stranger_did || (!honest && !ever_on);
            replay_did = replay_did || was_used;
            nonce_twice = nonce_twice || (good && (its_nonce & SPENT));
            if
            :: good ->
                SPEND(wire.nonce, from); SPEND(kept.nonce, from);
                SPEND(dev_nonce, from); SPEND(back.nonce, from); SPEND(noise.nonce, from)
            :: else
            fi;
            row_addr = from; row_rnd = its_rnd; row_ctr = its_ctr;
            MARK_USED(wire, its_rnd, its_ctr); MARK_USED(kept, its_rnd, its_ctr);
#ifndef MUTATE_NONCE_ROW
            kill_nonces();
#endif
            verdict = 1
        :: else -> verdict = 2
        fi
    fi
}

inline kill_nonces()
{
    DIE(wire.nonce); DIE(kept.nonce); DIE(dev_nonce); DIE(evil_nonce);
    DIE(back.nonce); DIE(noise.nonce)
}

/* ---- the device ---- */

#define BIT(present, c) ((present) -> (1 << (c)) : 0)
#define BELOW(c) (used_bits & ((1 << (c)) - 1))
#define COUNT(b) (((b) & 1) + (((b) >> 1) & 1) + (((b) >> 2) & 1) + (((b) >> 3) & 1) + \
                  (((b) >> 4) & 1) + (((b) >> 5) & 1) + (((b) >> 6) & 1))
#define MINE(m) (m.there && m.rnd == dev_rnd)
#define RENUMBER(present, c) if :: present -> c = COUNT(BELOW(c)) :: else fi

inline send()
{
    /* Renumber the counters of this run; the device's own is the highest. */
    wire.there = 0;
    used_bits = 1 << dev_ctr;
    used_bits = used_bits | BIT(row_addr != NOWHERE && row_rnd == dev_rnd, row_ctr);
    used_bits = used_bits | BIT(MINE(kept), kept.ctr);
    RENUMBER(row_addr != NOWHERE && row_rnd == dev_rnd, row_ctr);
    RENUMBER(MINE(kept), kept.ctr);
    RENUMBER(true, dev_ctr);
    dev_ctr++;
    wire.there = 1; wire.cur = 1; wire.used = 0;
    wire.rnd = dev_rnd; wire.ctr = dev_ctr; wire.nonce = dev_nonce;
    wire_from = dev_addr;
    sent_from[dev_addr] = 1
}

/* A new transaction ID: what belongs to the one before is no answer any more. */
inline new_exchange()
{
    wire.cur = 0; kept.cur = 0;
    clear(back); clear(noise)
}
inline clear(m) { m.there = 0; m.ok = 0; m.cur = 0; m.nonce = 0 }
inline clear_message(m) { m.there = 0; m.cur = 0; m.used = 0; m.rnd = 0; m.ctr = 0; m.nonce = 0 }

inline hear(m)
{
    if
    :: m.cur && m.ok -> dev_nonce = 0; new_exchange() /* a keepalive later */
    :: m.cur && !m.ok -> dev_nonce = m.nonce; new_exchange(); send()
    :: else -> clear(m)
    fi
}

active proctype Device()
{
    do
    :: d_step { back.there -> hear(back) }
    :: d_step { !back.there && noise.there -> hear(noise) }
    /* Due: the message before, or what came of it, is gone. */
    :: d_step { !wire.there && !back.there && !noise.there -> send() }
    :: d_step { !wire.there && !back.there && !noise.there -> dev_nonce = 0; new_exchange(); send() }
    od
}

/* The host gets another address; the agent is started anew; so is the server. */
active proctype Events()
{
    do
    :: d_step { moves < MOVES -> moves++; dev_addr = 1 - dev_addr }
    :: d_step { !restarted -> restarted = 1; dev_rnd = NEW; dev_ctr = 0; dev_nonce = 0; new_exchange() }
    :: d_step { server_restarts < RESTARTS -> server_restarts++; row_addr = NOWHERE; row_rnd = 0; row_ctr = 0; kill_nonces() }
    :: d_step { on_path || (!wire.there && !back.there && !noise.there) ->
#ifndef MUTATE_NONCE_TIME
        kill_nonces();
#endif
        dev_nonce = 0;
        sent_from[HOME] = 0; sent_from[AWAY] = 0;
        lately_on = on_path }
    od
}

/* ---- the network ---- */

inline answer(to, m, is_cur)
{
    m.there = 1; m.ok = verdict == 1; m.cur = is_cur;
    m.nonce = (verdict == 2 -> FOR(to) : 0)
}

active proctype Path()
{
    do
    :: d_step { wire.there && !back.there ->
        server(wire.rnd, wire.ctr, wire.nonce, wire.used, 1, wire_from, 1);
        if
        :: verdict != 0 && dev_addr == wire_from && wire.cur -> answer(wire_from, back, 1)
        :: else
        fi;
        clear_message(wire); wire_from = 0 }
    od
}

inline copy_message(to)
{
    to.there = 1; to.cur = wire.cur; to.used = wire.used;
    to.rnd = wire.rnd; to.ctr = wire.ctr; to.nonce = wire.nonce
}

/* What the server says to it goes to `from`: the device hears it if it is there; if not, the attacker may pass it on, if
 * he is there or on the path. Answers outside the device's exchange say nothing to anybody. (That an answer may be held
 * back is in the freedom of `noise` and `back` to wait.) */
inline replay(m, from)
{
    server(m.rnd, m.ctr, m.nonce, m.used, 1, from, 0);
    if
    :: verdict != 0 && m.cur && !noise.there && (dev_addr == from || from == EVIL || (on_path && from != VICTIM)) ->
        answer(from, noise, 1)
    :: else
    fi
}

inline forge(from)
{
    server(FORGED, 1, evil_nonce, 0, 0, from, 0);
    if
    :: verdict == 2 && from == EVIL -> evil_nonce = FOR(EVIL)
    :: else
    fi
}

active proctype Attacker()
{
    do
    :: d_step { on_path -> on_path = 0 }
    :: d_step { !on_path -> on_path = 1; ever_on = 1; lately_on = 1 }
    :: d_step { on_path && wire.there -> copy_message(kept) }
    :: d_step { on_path && wire.there -> clear_message(wire); wire_from = 0 }
    :: d_step { on_path && back.there -> clear(back) }
    :: d_step { kept.there -> replay(kept, HOME) }
    :: d_step { kept.there -> replay(kept, AWAY) }
    :: d_step { kept.there -> replay(kept, EVIL) }
    :: d_step { kept.there -> replay(kept, VICTIM) }
    :: d_step { true -> forge(HOME) }
    :: d_step { true -> forge(EVIL) }
    od
}

#define right (row_addr == dev_addr && row_rnd == dev_rnd)

/* A row moves only to where the device lately sent from, or while somebody is, or lately was, on the path. */
ltl moves_only_with_the_device { [] !moved_wrongly }
/* Who never was on the path changes nothing, whatever source addresses he writes. */
ltl strangers_do_nothing { [] !stranger_did }
/* What was applied once is never applied again, nor does it refresh. */
ltl replays_do_nothing { [] !replay_did }
/* Nobody is registered at an address where he does not hear the server. */
ltl moves_only_where_it_was_asked { [] (row_addr != VICTIM) }
ltl nonce_works_once { [] !nonce_twice }
/* Once the attacker is off the path for good the row becomes right, and stays so. */
ltl heals { (<>[] !on_path) -> (<>[] right) }
/* An agent that lost its state registers again. */
ltl lost_state_is_not_locked_out { (<>[] !on_path) -> [] (restarted -> <> right) }
/* Must be reachable: a man on the path can carry a device's datagrams over his own address. */
ltl reach_displaced { [] (row_addr != EVIL) }
