/* A call in its first form: two callers who hold the device's pin and know its password, each with one call, and the
 * device. Between them either a server that is faithful, or one that is the attacker: then it has the whole network too,
 * and is a user with a grant.
 *
 * Followed: src/core/requester/answers.c (verify_device, open_result, stale: Caller), src/core/agent/call.c and
 * src/core/agent/admission.c (Device), src/lib/agent_dial.c and outgoing_session.c (the two ends' checks of each other:
 * CONNECTED), src/core/server/calls.c, notify.c, delivery.c (Faithful), docs/protocol.md, "What the device checks".
 *
 * Boxes and results are perfect: read by whom they are sealed to, made by whom they say. Kept: pin, box key's signature,
 * call IDs and the memory for them, time and tag, the agent's restart, password, call keys, reply keys, the second
 * attempt after "stale", lost notifications. Left out: back-off and ceilings (they only refuse), policy, services, HTTP/2.
 *
 * Three settings keep it small: HOSTILE_CROSSED (two callers, a hostile server, one moment), HOSTILE_LATE (one caller,
 * a hostile server, time and a restart of the agent), and without either the faithful server (both callers, time).
 * CLOCKS_AGREE: no caller's clock is ahead of the device's by more than BK_FRESH_S.
 *
 * Time goes in units of BK_FRESH_S and ends at HORIZON; the agent starts long before NOON. The device has a clock.
 * The fast form would be one more way for a box to reach Device: another sender on `push`, from NOTIFY. */
#define FRESH 1
#define REMEMBER (2 * FRESH + 1)
#define NOON 2
#ifdef HOSTILE_CROSSED
#define HORIZON NOON
#elif !defined(HOSTILE_LATE)
#define HORIZON 4
#else
#define HORIZON 6
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

typedef box {
    bit made;
    bit has_tag;
    bit tag_run;
    byte tag_time;
    byte time; /* as the caller's clock has it */
    byte born; /* ghost: when it was made */
};
box boxes[4]; /* of caller c, attempt a: 2 * c + a; 4 is what the attacker makes */
#define MADE_UP 4

bool hostile;
byte now = NOON;
bit knows_password;
bit cut; /* ghost: the agent went down in the middle of something */

/* the device: its idle part, and what its call processes are about */
bit agent_run;
byte until[2];     /* a call ID is remembered; 0: it is not */
bit dialling[3];   /* for whom: by call key */
bit admitted[4];   /* ghost: the box was */
bit admitted_run[4];

/* RESULTs that were said, by reply key, with the call ID in it; of "stale" the last one for each */
typedef said { bit status[3]; };
said told[3];
bit stale_run[2];
byte stale_time[2];

byte state[2];
bit retried[2], accepted[2], served[2];

/* What must never come true. */
bit dialled_for_evil, stale_admitted, twice, wrong_peer_for_caller, wrong_peer_for_device, wrong_result;

chan lookup[2] = [0] of { byte, byte, bit, byte } /* certificate's key, box key, the tag: agent_run, time */
chan push = [0] of { byte, byte }                 /* 226: box, call ID outside */
chan result[2] = [0] of { byte, byte, byte, byte } /* by whom, reply key, call ID, status */
chan refused[2] = [0] of { bit }                  /* the server's own error */
chan tls[2] = [0] of { byte }                     /* somebody, with this key, at the caller's port */

#ifdef MUTATE_PIN
#define PIN_RIGHT(key) 1
#else
#define PIN_RIGHT(key) (key == DEVICE)
#endif
#ifdef MUTATE_BOX_KEY
#define BOX_KEY_RIGHT(key) 1
#else
#define BOX_KEY_RIGHT(key) (key != BAD)
#endif
#ifdef MUTATE_SESSION_PIN
#define PEER_RIGHT(key) 1
#else
#define PEER_RIGHT(key) (key == DEVICE)
#endif
#ifdef MUTATE_CALL_KEY
#define CALL_KEY_RIGHT(shown, inside) 1
#else
#define CALL_KEY_RIGHT(shown, inside) (shown == inside)
#endif
#ifdef MUTATE_RESULT /* neither who sealed it, nor to which key, nor for which call */
#define RESULT_RIGHT(who, reply_key, id, caller) 1
#else
#define RESULT_RIGHT(who, reply_key, id, caller) (who == DEVICE && reply_key == caller && id == caller)
#endif

/* ---- the caller ---- */

/* bk_requester_send_request. Sealed to another key than the device's it is open to who has that. */
inline seal(b, box_key, b_has_tag, b_run, b_tag_time, b_time)
{
    if
    :: box_key == DEVICE ->
        boxes[b].made = 1; boxes[b].born = now; boxes[b].time = b_time;
        boxes[b].has_tag = b_has_tag; boxes[b].tag_run = b_run; boxes[b].tag_time = b_tag_time
    :: else -> knows_password = 1
    fi
}

proctype Caller(byte me; byte skew)
{
    byte cert, key, who, reply_key, id, status, tag_time;
    bit tag_run, x;

    atomic {
        lookup[me]?cert, key, tag_run, tag_time;
        if
        :: !PIN_RIGHT(cert) || !BOX_KEY_RIGHT(key) -> state[me] = FAILED
        :: else ->
#ifdef LOOKUP_TAGS_NOT_USED
            seal(2 * me, key, 0, 0, 0, now + skew);
#else
            seal(2 * me, key, 1, tag_run, tag_time, now + skew);
#endif
            state[me] = ASKED
        fi;
        cert = 0; tag_run = 0; tag_time = 0; key = 0
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
            wrong_result = wrong_result || who != DEVICE || reply_key != me || id != me;
            if
            :: status == ACCEPTED -> accepted[me] = 1
            :: status == REFUSED -> state[me] = FAILED
            :: status == STALE && (accepted[me] || (hostile && me == 1)) -> skip /* the second caller asks once */
#ifndef MUTATE_RETRY
            :: status == STALE && !accepted[me] && !(hostile && me == 1) && !retried[me] ->
                retried[me] = 1;
                seal(2 * me + 1, DEVICE, 1, stale_run[me], stale_time[me], stale_time[me])
            :: status == STALE && !accepted[me] && !(hostile && me == 1) && retried[me] -> state[me] = FAILED
#else
            :: status == STALE && !accepted[me] && !(hostile && me == 1) -> state[me] = FAILED
#endif
            fi
        fi;
        who = 0; reply_key = 0; id = 0; status = 0 }
    od
}

/* A connection from whoever has `key` at the caller's port (TLS: it requires the device's certificate). */
inline connected(caller, key)
{
    if
    :: state[caller] == ASKED && !served[caller] && PEER_RIGHT(key) ->
        served[caller] = 1;
        wrong_peer_for_caller = wrong_peer_for_caller || key != DEVICE
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
    d_step { state[me] == ASKED && (hostile || (done[me] && !dialling[me] && !served[me])) -> state[me] = FAILED }
}

/* ---- the device ---- */

#define AHEAD(t) (t > now + FRESH)
#define TIME_FRESH(t) (t + FRESH >= now && !AHEAD(t))
#ifdef MUTATE_RESTART
#define THIS_RUN(r) 1
#else
#define THIS_RUN(r) (r == agent_run)
#endif
#define TAG_FRESH(b) (boxes[b].has_tag && THIS_RUN(boxes[b].tag_run) && boxes[b].tag_time <= now && \
    boxes[b].tag_time + FRESH >= now)
#ifdef MUTATE_FRESH
#define IS_FRESH(b) 1
#elif defined(MUTATE_EITHER)
#define IS_FRESH(b) (!AHEAD(boxes[b].time) && (TIME_FRESH(boxes[b].time) || TAG_FRESH(b)))
#else
#define IS_FRESH(b) (TIME_FRESH(boxes[b].time) && TAG_FRESH(b))
#endif
#ifdef MUTATE_CALL_ID
#define REMEMBERED(id) 0
#else
#define REMEMBERED(id) (until[id] > now)
#endif
#ifdef MUTATE_PASSWORD
#define PASSWORD_RIGHT 1
#else
#define PASSWORD_RIGHT (knows_password)
#endif

inline admit(id)
{
#ifdef MUTATE_MEMORY
    until[id] = now + FRESH
#else
    until[id] = now + REMEMBER
#endif
}

#define say(reply_key, id, what) told[reply_key].status[what] = 1

/* 226 to RESULT and the first SYN. The call ID outside must be that inside. */
proctype Device()
{
    byte b, id;
    end:
    do
    :: atomic { push?b, id ->
        if
        :: b == MADE_UP -> /* by the attacker, with any call ID, a good time, and what he knows of the password */
            if
            :: REMEMBERED(id) -> skip
            :: else ->
                admit(id);
                if
                :: PASSWORD_RIGHT -> say(EVIL, id, ACCEPTED); dialling[EVIL] = 1; dialled_for_evil = 1
                :: else -> say(EVIL, id, REFUSED)
                fi
            fi
        :: b != MADE_UP && b / 2 != id -> skip
        :: else ->
            if
            :: REMEMBERED(id) -> skip
            :: !REMEMBERED(id) && !IS_FRESH(b) ->
                say(id, id, STALE); stale_run[id] = agent_run; stale_time[id] = now
            :: else ->
                /* Who made a box that lies up to FRESH ahead can be sure of it for twice that. */
                stale_admitted = stale_admitted || now > boxes[b].born + 2 * FRESH;
                admit(id);
                /* A caller who is told "stale" by a restarted agent asks again himself: no box twice, and no
                 * second one in the same run, nor the first after the second. */
                twice = twice || admitted[b] || (b % 2 == 0 && admitted[2 * id + 1]) ||
                        (b % 2 == 1 && admitted[2 * id] && admitted_run[2 * id] == agent_run);
                admitted[b] = 1; admitted_run[b] = agent_run;
                say(id, id, ACCEPTED);
                dialling[id] = 1
            fi
        fi;
        b = 0; id = 0 }
    :: d_step { !agent_run && now > NOON -> /* restarted: what it remembers and does is gone */
        agent_run = 1; until[0] = 0; until[1] = 0;
        cut = cut || dialling[0] || dialling[1] || (state[0] == ASKED && told[0].status[STALE]) ||
              (state[1] == ASKED && told[1].status[STALE]);
        dialling[0] = 0; dialling[1] = 0; dialling[2] = 0 }
    od
}

/* The device's connection for `inside` reaches who shows the key `shown`: TLS stands if both sides are content. */
inline dialled(inside, shown)
{
    dialling[inside] = 0;
    if
    :: CALL_KEY_RIGHT(shown, inside) ->
        wrong_peer_for_device = wrong_peer_for_device || shown != inside;
        if
        :: shown != EVIL -> connected(shown, DEVICE)
        :: else
        fi
    :: else
    fi
}

/* ---- time ---- */

proctype Clock()
{
    end:
    do
    :: d_step { now < HORIZON && (hostile || (state[0] != ASKED && state[1] != ASKED)) ->
        /* A caller waits for less than half a minute. */
        if :: state[0] == ASKED && boxes[0].born < now -> state[0] = FAILED :: else fi;
        if :: state[1] == ASKED && boxes[2].born < now -> state[1] = FAILED :: else fi;
        now++;
        if :: until[0] <= now -> until[0] = 0 :: else fi;
        if :: until[1] <= now -> until[1] = 0 :: else fi }
    od
}

/* ---- the server that does its work ---- */

#ifdef MUTATE_RETRANSMIT
#define NOTIFIES 1
#else
#define NOTIFIES 7
#endif
byte losses; /* datagrams that the network loses */

/* One call: 217, 205 until it is answered or the time is up, 226 on the stream that the device opens, RESULT back. */
proctype Faithful(byte me)
{
    byte attempt, sent;
    lookup[me]!DEVICE, DEVICE, agent_run, now;
again:
    (state[me] >= UP || boxes[2 * me + attempt].made);
    sent = 0;
    do
    :: state[me] >= UP -> goto over
    :: state[me] < UP && sent == NOTIFIES -> if :: refused[me]!0 :: state[me] >= UP fi; goto over
    :: state[me] < UP && sent < NOTIFIES -> sent++;
        if
        :: losses < 2 -> losses++
        :: push!2 * me + attempt, me -> break
        fi
    od;
    if
    :: told[me].status[ACCEPTED] -> if :: result[me]!DEVICE, me, me, ACCEPTED :: state[me] >= UP fi
    :: !told[me].status[ACCEPTED] && told[me].status[STALE] ->
        if :: result[me]!DEVICE, me, me, STALE :: state[me] >= UP fi;
        if
        :: state[me] == ASKED && attempt == 0 && retried[me] -> attempt = 1; goto again
        :: else
        fi
    :: else
    fi;
over:
    done[me] = 1
}

proctype Network()
{
    end:
    do
    :: d_step { !hostile && dialling[0] -> dialled(0, 0) }
    :: d_step { !hostile && dialling[1] -> dialled(1, 1) }
    od
}

/* ---- the server that is the attacker ---- */

/* LOOKUP: his own device, his own box key, any tag that the agent has sent or will send. */
#define LIE_ABOUT(c) \
    :: lookup[c]!EVIL, EVIL, 0, 0 \
    :: lookup[c]!DEVICE, BAD, 0, 0 \
    :: lookup[c]!DEVICE, DEVICE, agent_run, NOON \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now + FRESH \
    :: lookup[c]!DEVICE, DEVICE, agent_run, now + REMEMBER
/* 226: any box, as often as he likes, and one that he made under any call ID. */
#define DELIVER(c) \
    :: boxes[2 * c].made -> push!2 * c, c \
    :: boxes[2 * c + 1].made -> push!2 * c + 1, c \
    :: push!MADE_UP, c
/* RESULT: any that was said, to anybody, or one that he made. (An error of his own is a deadline that comes early.) */
#define REPORT(c, what) \
    :: told[0].status[what] -> result[c]!DEVICE, 0, 0, what \
    :: told[1].status[what] -> result[c]!DEVICE, 1, 1, what \
    :: told[EVIL].status[what] -> result[c]!DEVICE, EVIL, c, what \
    :: result[c]!EVIL, c, c, what
/* The callback: he dials the caller himself, and leads the device where he likes. */
#define DIAL(c) \
    :: d_step { state[c] == ASKED && !served[c] -> connected(c, EVIL) } \
    :: d_step { dialling[c] -> dialled(c, 0) } \
    :: d_step { dialling[c] -> dialled(c, 1) } \
    :: d_step { dialling[c] -> dialled(c, EVIL) }

proctype Hostile()
{
    end:
    do
    LIE_ABOUT(0)
    :: lookup[1]!DEVICE, DEVICE, agent_run, now
    DELIVER(0)
    DELIVER(1)
    REPORT(0, ACCEPTED)
    REPORT(0, STALE)
    REPORT(0, REFUSED)
    REPORT(1, ACCEPTED)
    REPORT(1, STALE)
    REPORT(1, REFUSED)
    DIAL(0)
    DIAL(1)
    od
}

init {
    byte skew;
    atomic {
#if defined(HOSTILE_CROSSED) || defined(HOSTILE_LATE)
        hostile = true;
#endif
#if defined(HOSTILE_LATE) && !defined(CLOCKS_AGREE)
        /* The first caller's clock is right, a little ahead, or wrong. */
        if :: skew = 0 :: skew = FRESH :: skew = 3 * FRESH fi;
#elif !defined(HOSTILE_CROSSED)
        if :: skew = 0 :: skew = FRESH fi;
#endif
#ifndef HOSTILE_LATE
#if !defined(HOSTILE_CROSSED)
        if :: true :: skew = 3 * FRESH fi;
#endif
        run Caller(1, 0); run Deadline(1);
#else
        state[1] = FAILED;
#endif
        run Device(); run Clock(); run Caller(0, skew); run Deadline(0);
        if
        :: hostile -> run Hostile()
        :: else -> run Faithful(0); run Faithful(1); run Network()
        fi;
        skew = 0
    }
}

/* Nothing is dialled but for a box of a caller who knows the password. */
ltl dials_for_real_callers { [] !dialled_for_evil }
ltl fresh_only { [] !stale_admitted }
/* One call ID is admitted once, restarts included. */
ltl admitted_once { [] !twice }
/* Whom a caller with the pin has a session with is the device; whom the device has one with made the box. */
ltl caller_meets_the_device { [] !wrong_peer_for_caller }
ltl device_meets_the_caller { [] !wrong_peer_for_device }
ltl password_stays { [] !knows_password }
ltl results_of_this_call_only { [] !wrong_result }
/* Whatever the server does: a call ends, with a session or a failure that is told. */
ltl ends { [] ((state[0] == ASKED -> <> (state[0] >= UP)) && (state[1] == ASKED -> <> (state[1] >= UP))) }
/* With a faithful server, some datagrams lost, and a device that is not cut off: in a session. Wrong clocks included. */
ltl comes_about { (<> cut) || <> (state[0] == UP && state[1] == UP) }
/* Must be reachable. */
ltl reach_session_through_the_attacker { [] !(hostile && state[0] == UP) }
