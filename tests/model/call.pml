/* A call in both its forms: two callers, each with one call, and the device. Between them either a server that is
 * faithful, or one that is the attacker: then it has the whole network too, and is a user with a grant.
 *
 * Followed: src/core/requester/answers.c (verify_device, open_result, stale: Caller), src/core/agent/call.c and
 * src/core/agent/admission.c (Device), registration_notify.c (took), src/lib/agent_dial.c and outgoing_session.c (the two
 * ends' checks of each other: CONNECTED), src/core/server/calls.c, notify.c, delivery.c (Faithful), docs/protocol.md, "What
 * the device checks".
 * Of the fast form: the box goes with the first NOTIFYs of a transaction and the flag alone with the later ones; the device acts
 * on a transaction once, in the form of what came first, and answers the rest as it did that; what came with a box asks the
 * same memory as what came by stream. RESULT is sent until it is answered, or by stream.
 *
 * Boxes and results are perfect: read by whom they are sealed to, made by whom they say. Kept: pin, box key's signature,
 * call IDs (one for each sealing) and the memory for them, time and tag, the agent's restart, password, the caller's
 * signature, call keys, reply keys, server names, the second attempt after "stale", lost datagrams. Left out: back-off and
 * ceilings (they only refuse), policy, services, HTTP/2, a key that is refused and the password then asked for.
 *
 * Settings keep it small:
 *   HOSTILE_CROSSED          two callers with pin and password, a hostile server, one moment
 *   HOSTILE_CROSSED SIGNED   two with keys of their own, the first without a pin; and perhaps an old box key got into the
 *                            attacker's hands, so that he opens what is sealed to the device, and answers for it
 *   HOSTILE_LATE             one caller, his clock right or wrong, a hostile server who makes no boxes of his own, time and
 *                            a restart of the agent
 *   (none)                   a faithful server with two callers, the first form, time
 *   FAST                     a faithful server with one caller, the fast form before the first, time
 * A caller has asked the server for the device's newest tag, or seals with the time alone (where there is one caller).
 *
 * Time goes in units of BK_FRESH_S and ends at HORIZON; the agent starts long before NOON. The device has a clock. */
#if defined(HOSTILE_LATE) || defined(FAST)
#define ALONE 1
#else
#define ALONE 0
#endif
#define FRESH 1
#define REMEMBER (2 * FRESH + 1)
#define NOON 2
#ifdef HOSTILE_CROSSED
#define HORIZON NOON
#elif !defined(HOSTILE_LATE)
#define HORIZON 4
#else
#define HORIZON 5
#endif

/* Keys: those of the callers' calls are 0 and 1. */
#define EVIL 2
#define DEVICE 3
#define BAD 4 /* EVIL's box key under DEVICE's certificate: the signature is wrong */

#define ACCEPTED 0
#define STALE 1
#define REFUSED 2

#define ASKING 0 /* LOOKUP */
#define ASKED 1  /* 217 is out */
#define UP 2
#define FAILED 3

/* Of caller c, attempt a: 2 * c + a, which is the call ID too. What the attacker makes: MADE_UP, under any call ID. */
typedef box {
    bit made;
    bit away; /* sealed to EVIL, and signed for him */
    bit has_tag;
    bit tag_run;
    byte tag_time;
    byte time; /* as the caller's clock has it */
    byte born; /* ghost: when it was made */
};
box boxes[4];
#define MADE_UP 4
#define CALLER_OF(b) ((b) >> 1)

/* How a box comes to the device. */
#define BY_TLS 0    /* 226 */
#define BY_NOTIFY 1 /* the fast form */
#define MOVED 2     /* it was sealed to EVIL, who sealed the text anew, to the device */
#define CHANGED 3   /* the attacker opened it, and took its signature for a text with his own call key */

bool hostile;
byte now = NOON;
byte ahead; /* ghost: the first caller's clock */
bit knows_password;
bit leaked; /* the attacker has a box key of the device's */
bit cut;    /* ghost: the agent went down in the middle of something */

/* the device: its idle part, and what its call processes are about */
bit agent_run;
byte began; /* this run, by the time that it holds boxes without a tag against; the first did long ago */
byte until[4];    /* a call ID is remembered; 0: it is not */
bit took[4];      /* of the idle part: by NOTIFY, in the fast form */
bit dialling[4];  /* for which box */
bit dialling_evil, dialling_named; /* for MADE_UP; for CHANGED, in the caller's name */
bit admitted[4];  /* ghost: the box was */

/* RESULTs that were said about which box; of "stale" the last one for each caller */
typedef said { bit status[3]; };
said told[4];
bit stale_run[2];
byte stale_time[2];

byte state[2];
byte peer[2]; /* whom LOOKUP showed and the caller took */
bit retried[2], accepted[2], served[2];
#define CURRENT(c) (2 * (c) + retried[c])

/* What must never come true. */
bit dialled_for_evil, stale_admitted, twice, wrong_peer_for_caller, wrong_peer_for_device, wrong_result, old_session;

chan lookup[2] = [0] of { byte, byte, bit, byte } /* certificate's key, box key, the tag: agent_run, time */
chan push = [0] of { byte, byte, byte }           /* box, call ID outside, how it comes */
chan result[2] = [0] of { byte, byte, byte, byte } /* by whom, reply key, call ID, status */
chan refused[2] = [0] of { bit }                  /* the server's own error */

#ifdef SIGNED
#define HAS_PIN(c) (c == 1)
#else
#define HAS_PIN(c) 1
#endif
#ifdef MUTATE_PIN
#define PIN_RIGHT(c, key) 1
#else
#define PIN_RIGHT(c, key) (!HAS_PIN(c) || key == DEVICE)
#endif
#ifdef MUTATE_BOX_KEY
#define BOX_KEY_RIGHT(key) 1
#else
#define BOX_KEY_RIGHT(key) (key != BAD)
#endif
#ifdef MUTATE_SESSION_PIN
#define PEER_RIGHT(c, key) 1
#else
#define PEER_RIGHT(c, key) (key == peer[c])
#endif
#ifdef MUTATE_SERVER_NAME
#define NAME_RIGHT(c, id) 1
#else
#define NAME_RIGHT(c, id) (id == CURRENT(c))
#endif
#ifdef MUTATE_CALL_KEY
#define CALL_KEY_RIGHT(shown, inside) 1
#else
#define CALL_KEY_RIGHT(shown, inside) (shown == inside)
#endif
#ifdef MUTATE_RESULT /* neither who sealed it, nor to which key */
#define RESULT_RIGHT(who, reply_key, id, c) (id == CURRENT(c))
#elif defined(MUTATE_RESULT_ID)
#define RESULT_RIGHT(who, reply_key, id, c) (who == peer[c] && reply_key == c)
#else
#define RESULT_RIGHT(who, reply_key, id, c) (who == peer[c] && reply_key == c && id == CURRENT(c))
#endif

/* ---- the caller ---- */

/* bk_requester_send_request. Sealed to another key than the device's it is open to who has that. */
inline seal(b, box_key, b_has_tag, b_run, b_tag_time, b_time)
{
    boxes[b].made = 1; boxes[b].born = now; boxes[b].time = b_time; boxes[b].away = box_key != DEVICE;
    boxes[b].has_tag = b_has_tag; boxes[b].tag_run = b_run; boxes[b].tag_time = b_tag_time;
#ifndef SIGNED
    knows_password = knows_password || box_key != DEVICE
#endif
}

#define AGAIN(c) (!accepted[c] && !(hostile && c == 1)) /* the second caller asks once */

proctype Caller(byte me; byte skew)
{
    byte cert, key, who, reply_key, id, status, tag_time;
    bit tag_run, has_tag, x;

    atomic {
        lookup[me]?cert, key, tag_run, tag_time;
        if
        :: has_tag = 1
        :: ALONE -> has_tag = 0; tag_run = 0; tag_time = 0
        fi;
        if
        :: !PIN_RIGHT(me, cert) || !BOX_KEY_RIGHT(key) -> state[me] = FAILED
        :: else ->
            seal(2 * me, key, has_tag, tag_run, tag_time, now + skew);
            peer[me] = cert;
            state[me] = ASKED
        fi;
        cert = 0; tag_run = 0; tag_time = 0; key = 0; has_tag = 0
    }
    do
    :: state[me] >= UP -> break
    :: d_step { state[me] == ASKED && served[me] -> state[me] = UP }
    :: atomic { refused[me]?x -> state[me] = (state[me] == ASKED -> FAILED : state[me]) }
    :: atomic { result[me]?who, reply_key, id, status ->
        if
        :: state[me] >= UP -> skip
        :: state[me] == ASKED && !RESULT_RIGHT(who, reply_key, id, me) -> skip
        :: else ->
            wrong_result = wrong_result || who != peer[me] || reply_key != me || id != CURRENT(me);
            if
            :: status == ACCEPTED -> accepted[me] = 1
            :: status == REFUSED -> state[me] = FAILED
            :: status == STALE && !AGAIN(me) -> skip
#ifndef MUTATE_RETRY
            :: status == STALE && AGAIN(me) && !retried[me] ->
                retried[me] = 1;
                seal(2 * me + 1, (peer[me] == DEVICE -> DEVICE : EVIL), 1, stale_run[me], stale_time[me], stale_time[me])
            :: status == STALE && AGAIN(me) && retried[me] -> state[me] = FAILED
#else
            :: status == STALE && AGAIN(me) -> state[me] = FAILED
#endif
            fi
        fi;
        who = 0; reply_key = 0; id = 0; status = 0 }
    od
}

/* A connection from whoever has `key` at the caller's port, for call ID `id` (TLS: it requires the device's certificate). */
inline connected(c, key, id)
{
    if
    :: state[c] == ASKED && !served[c] && PEER_RIGHT(c, key) && NAME_RIGHT(c, id) ->
        served[c] = 1;
        old_session = old_session || id != CURRENT(c);
        wrong_peer_for_caller = wrong_peer_for_caller || key != peer[c] || (HAS_PIN(c) && key != DEVICE)
    :: else
    fi
}

/* Deadlines. A faithful server and a device that lives are quicker. */
bit done[2]; /* the faithful server has no more to say about the call */
proctype Deadline(byte me)
{
    end:
#ifdef MUTATE_DEADLINE
    false;
#endif
    d_step { state[me] == ASKED &&
             (hostile || (done[me] && !dialling[2 * me] && !dialling[2 * me + 1] && !served[me])) -> state[me] = FAILED }
}

/* ---- the device ---- */

#define TIME_FRESH(t) (t + FRESH >= now && t <= now + FRESH)
#ifdef MUTATE_RESTART
#define THIS_RUN(r) 1
#else
#define THIS_RUN(r) (r == agent_run)
#endif
#define TAG_FRESH(b) (THIS_RUN(boxes[b].tag_run) && boxes[b].tag_time <= now && \
    boxes[b].tag_time + FRESH >= now)
/* A box without a tag: by the time of this run, and only if it was sealed well after this run began; by more than what
 * an earlier one may have let pass ahead of the time. */
#define AFTER (2 * FRESH)
#ifdef MUTATE_AFTER
#define ALONE_FRESH(b) TIME_FRESH(boxes[b].time)
#else
#define ALONE_FRESH(b) (TIME_FRESH(boxes[b].time) && boxes[b].time >= began + AFTER)
#endif
#ifdef MUTATE_FRESH
#define IS_FRESH(b) 1
#elif defined(MUTATE_TAG)
#define IS_FRESH(b) TIME_FRESH(boxes[b].time)
#elif defined(MUTATE_EITHER)
#define IS_FRESH(b) (TIME_FRESH(boxes[b].time) || (TAG_FRESH(b) && boxes[b].time <= now + FRESH))
#else
#define IS_FRESH(b) (boxes[b].has_tag -> TIME_FRESH(boxes[b].time) && TAG_FRESH(b) : ALONE_FRESH(b))
#endif
#ifdef MUTATE_CALL_ID
#define REMEMBERED(id, how) 0
#elif defined(MUTATE_FAST_MEMORY) /* NOTIFY's transaction ID for it: the server draws that */
#define REMEMBERED(id, how) (how != BY_NOTIFY && until[id] > now)
#else
#define REMEMBERED(id, how) (until[id] > now)
#endif
/* What the attacker shows of himself: a password that he knows, or his own key. */
#if defined(MUTATE_PASSWORD) || defined(MUTATE_AUTHORIZED)
#define PROVEN 1
#else
#define PROVEN (knows_password)
#endif
/* The signature is for this device, and of this text. */
#ifdef MUTATE_SIGNED_DEVICE
#define FOR_US(b) 1
#else
#define FOR_US(b) (!boxes[b].away)
#endif
#ifdef MUTATE_SIGNED_BOX
#define SIGNATURE_RIGHT(b, how) (FOR_US(b))
#else
#define SIGNATURE_RIGHT(b, how) (FOR_US(b) && how != CHANGED)
#endif

inline admit(id)
{
#ifdef MUTATE_MEMORY
    until[id] = now + FRESH
#else
    until[id] = now + REMEMBER
#endif
}

/* The box to RESULT and the first SYN. */
proctype Device()
{
    byte b, id, how;
    end:
    do
    :: atomic { push?b, id, how ->
        if
        :: b == MADE_UP -> /* by the attacker, with any call ID, a good time, and what he knows of the password */
            if
            :: REMEMBERED(id, how) -> skip
            :: else ->
                admit(id);
                if
                :: PROVEN -> dialling_evil = 1; dialled_for_evil = 1
                :: else -> skip
                fi
            fi
        :: b != MADE_UP && !SIGNATURE_RIGHT(b, how) -> skip
        :: b != MADE_UP && SIGNATURE_RIGHT(b, how) && how == CHANGED -> dialling_named = 1; dialled_for_evil = 1
        :: else ->
            if
            :: REMEMBERED(b, how) -> skip
            :: !REMEMBERED(b, how) && !IS_FRESH(b) ->
                told[b].status[STALE] = 1;
                stale_run[CALLER_OF(b)] = agent_run; stale_time[CALLER_OF(b)] = now
            :: else ->
                stale_admitted = stale_admitted || now > boxes[b].born + FRESH + (b == 0 -> ahead : 0);
                admit(b);
                twice = twice || admitted[b];
                admitted[b] = 1;
                dialled_for_evil = dialled_for_evil || boxes[b].away;
                told[b].status[ACCEPTED] = 1;
                dialling[b] = 1
            fi
        fi;
        b = 0; id = 0; how = 0 }
    :: d_step { !agent_run && now > NOON -> /* restarted: what it remembers and does is gone */
        agent_run = 1; began = (ALONE -> now : 0); took[0] = 0; took[1] = 0; took[2] = 0; took[3] = 0; until[0] = 0; until[1] = 0; until[2] = 0; until[3] = 0;
        cut = cut || dialling[0] || dialling[1] || dialling[2] || dialling[3] ||
              (state[0] == ASKED && (told[0].status[STALE] || told[1].status[STALE])) ||
              (state[1] == ASKED && (told[2].status[STALE] || told[3].status[STALE]));
        dialling[0] = 0; dialling[1] = 0; dialling[2] = 0; dialling[3] = 0; dialling_evil = 0 }
    od
}

/* The device's connection for box `b` reaches who shows the key `shown`: TLS stands if both sides are content. */
inline dialled(b, shown)
{
    dialling[b] = 0;
    if
    :: CALL_KEY_RIGHT(shown, CALLER_OF(b)) ->
        wrong_peer_for_device = wrong_peer_for_device || shown != CALLER_OF(b);
        if
        :: shown != EVIL -> connected(shown, DEVICE, b)
        :: else
        fi
    :: else
    fi
}

/* ---- time ---- */

#define FORGET(id) if :: until[id] <= now -> until[id] = 0 :: else fi

proctype Clock()
{
    end:
    do
    :: d_step { now < HORIZON && (hostile || (state[0] != ASKED && state[1] != ASKED)) ->
        /* A caller waits for less than half a minute. */
        if :: state[0] == ASKED && boxes[0].born < now -> state[0] = FAILED :: else fi;
        if :: state[1] == ASKED && boxes[2].born < now -> state[1] = FAILED :: else fi;
        now++;
        FORGET(0); FORGET(1); FORGET(2); FORGET(3) }
    od
}

/* ---- the server that does its work ---- */

#ifdef FAST
#define BOXES 2
#ifdef MUTATE_FALLBACK
#define NOTIFIES BOXES
#else
#define NOTIFIES 5
#endif
#else
#define BOXES 0
#ifdef MUTATE_RETRANSMIT
#define NOTIFIES 1
#else
#define NOTIFIES 4
#endif
#endif
byte losses; /* datagrams that the network loses */
bit hole;    /* ... and all that are large */

/* One call: 217, 205 until it is answered or the time is up, 226 on the stream that the device opens, RESULT back. */
proctype Faithful(byte me)
{
    byte b, sent;
    b = 2 * me;
    lookup[me]!DEVICE, DEVICE, agent_run, now;
again:
    (state[me] >= UP || boxes[b].made);
    sent = 0;
    do
    :: state[me] >= UP -> goto over
    :: else ->
        if
        :: sent == NOTIFIES -> if :: refused[me]!0 :: state[me] >= UP fi; goto over
        :: sent < NOTIFIES -> sent++;
            if
            :: losses < 2 -> losses++
            :: sent <= BOXES && hole
            /* The idle part: what a transaction was the first time it is each time. */
            :: sent > BOXES && !took[b] -> push!b, b, BY_TLS; break /* 226 on the stream that it opens */
            :: (sent <= BOXES && !hole) || took[b] ->
                if
                :: took[b]
                :: !took[b] -> push!b, b, BY_NOTIFY; took[b] = 1
                fi;
                if
                :: break
                :: losses < 2 -> losses++ /* the answer */
                fi
            fi
        fi
    od;
    if
#ifdef MUTATE_RESULT_AGAIN
    :: losses < 2 -> losses++
#endif
    :: told[b].status[ACCEPTED] -> if :: result[me]!DEVICE, me, b, ACCEPTED :: state[me] >= UP fi
    :: !told[b].status[ACCEPTED] && told[b].status[STALE] ->
        if :: result[me]!DEVICE, me, b, STALE :: state[me] >= UP fi;
        if
        :: state[me] == ASKED && b == 2 * me && retried[me] -> b++; goto again
        :: else
        fi
    :: !told[b].status[ACCEPTED] && !told[b].status[STALE]
    fi;
over:
    took[b] = 0;
    done[me] = 1
}

proctype Network()
{
    end:
    do
    :: d_step { dialling[0] -> dialled(0, 0) }
    :: d_step { dialling[1] -> dialled(1, 0) }
    :: d_step { dialling[2] -> dialled(2, 1) }
    :: d_step { dialling[3] -> dialled(3, 1) }
    od
}

/* ---- the server that is the attacker ---- */

/* LOOKUP: his own device, his own box key, any tag that the agent has sent or will send. */
#define LIE_ABOUT(c) \
    :: lookup[c]!EVIL, EVIL, agent_run, NOON \
    :: lookup[c]!DEVICE, BAD, 0, 0 \
    :: lookup[c]!DEVICE, DEVICE, agent_run, NOON \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now + FRESH \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now + REMEMBER
/* Any box, in either form, as often as he likes, and one that he made under the call ID of another. */
#define DELIVER(b) \
    :: boxes[b].made && !boxes[b].away -> push!b, b, BY_TLS \
    :: boxes[b].made && !boxes[b].away -> push!b, b, BY_NOTIFY
#define REWORK(b) \
    :: boxes[b].made && boxes[b].away -> push!b, b, MOVED \
    :: boxes[b].made && (boxes[b].away || leaked) -> push!b, b, CHANGED
/* RESULT: any that was said, to anybody, or one that he made: the device says to him what he wants to hear. (An error of
 * his own is a deadline that comes early.) */
#define REPORT(c, what) \
    :: told[0].status[what] -> result[c]!DEVICE, 0, 0, what \
    :: told[1].status[what] -> result[c]!DEVICE, 0, 1, what \
    :: told[2].status[what] -> result[c]!DEVICE, 1, 2, what \
    :: told[3].status[what] -> result[c]!DEVICE, 1, 3, what \
    :: result[c]!DEVICE, EVIL, CURRENT(c), what \
    :: result[c]!EVIL, c, CURRENT(c), what
#define FORGE(c) \
    :: leaked -> result[c]!DEVICE, c, CURRENT(c), STALE \
    :: leaked -> result[c]!DEVICE, c, CURRENT(c), ACCEPTED
/* The callback: he dials the caller himself, and leads the device where he likes. */
#define DIAL(c) \
    :: d_step { state[c] == ASKED && !served[c] -> connected(c, EVIL, CURRENT(c)) }
#define LEAD(b) \
    :: d_step { dialling[b] -> dialled(b, 0) } \
    :: d_step { dialling[b] -> dialled(b, 1) } \
    :: d_step { dialling[b] -> dialled(b, EVIL) }

proctype Hostile()
{
    end:
    do
    LIE_ABOUT(0)
    DELIVER(0)
    DELIVER(1)
    REPORT(0, ACCEPTED)
    REPORT(0, STALE)
    REPORT(0, REFUSED)
    DIAL(0)
    LEAD(0)
    LEAD(1)
#ifndef HOSTILE_LATE
    :: push!MADE_UP, 0, BY_TLS
    :: lookup[1]!DEVICE, DEVICE, agent_run, now
    DELIVER(2)
    REPORT(1, ACCEPTED)
    REPORT(1, STALE)
    REPORT(1, REFUSED)
    DIAL(1)
    LEAD(2)
    :: push!MADE_UP, 2, BY_TLS
#endif
#ifdef SIGNED
    REWORK(0)
    REWORK(1)
    REWORK(2)
    FORGE(0)
    FORGE(1)
    :: d_step { dialling_named -> dialling_named = 0; wrong_peer_for_device = 1 } /* his own key is in that box */
#endif
    od
}

init {
    byte skew;
    atomic {
#if defined(HOSTILE_CROSSED) || defined(HOSTILE_LATE)
        hostile = true;
#endif
#ifdef SIGNED
        if :: leaked = 1 :: true fi;
#endif
#ifndef HOSTILE_CROSSED
        /* The first caller's clock is right, a little ahead, or wrong. */
        if :: true :: skew = FRESH :: skew = 2 * FRESH fi;
#endif
#ifdef FAST
        if :: hole = 1 :: true fi;
#endif
        ahead = skew;
        if
        :: ALONE -> state[1] = UP
        :: !ALONE -> run Caller(1, 0); run Deadline(1)
        fi;
        run Device(); run Clock(); run Caller(0, skew); run Deadline(0);
        if
        :: hostile -> run Hostile()
        :: !hostile && ALONE -> run Faithful(0); run Network()
        :: !hostile && !ALONE -> run Faithful(0); run Faithful(1); run Network()
        fi;
        skew = 0
    }
}

/* Nothing is dialled but for a box that a caller whom the device knows made for it, as he made it. */
ltl dials_for_real_callers { [] !dialled_for_evil }
/* Nothing is acted on later than two minutes after it was made, as the caller's clock had it. */
ltl fresh_only { [] !stale_admitted }
/* What was sealed once is admitted once, in whatever form it comes, restarts included. */
ltl admitted_once { [] !twice }
/* Whom a caller has a session with is who was shown to him, and with a pin the device; whom the device has one with made
 * the box. */
ltl caller_meets_the_device { [] !wrong_peer_for_caller }
ltl device_meets_the_caller { [] !wrong_peer_for_device }
/* A request that was given up for another one leads to no session. */
ltl session_of_the_last_request { [] !old_session }
ltl password_stays { [] !knows_password }
ltl results_of_this_call_only { [] !wrong_result }
/* Whatever the server does: a call ends, with a session or a failure that is told. */
ltl ends { [] ((state[0] == ASKED -> <> (state[0] >= UP)) && (state[1] == ASKED -> <> (state[1] >= UP))) }
/* With a faithful server, some datagrams lost, and a device that is not cut off: in a session. Wrong clocks included. */
ltl comes_about { (<> cut) || <> (state[0] == UP && state[1] == UP) }
/* Must be reachable. */
ltl reach_session_through_the_attacker { [] !(hostile && state[0] == UP) }
/* ... with the attacker, by who has no pin and took him for the device. */
ltl reach_session_with_the_attacker { [] !(state[0] == UP && peer[0] == EVIL) }
