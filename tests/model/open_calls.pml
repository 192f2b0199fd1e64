/* Calls that are up when grants change: one call, its device, the server, and the operator. The call is between two ends;
 * the server only says, over WATCH, whether the caller may still call.
 *
 * Followed: src/lib/agent_watch.c (Device_...), src/core/server/watch.c (Server_...), src/bin/beckond/cmd_grant.c and
 * admin.c (Operator, Telling: the store changes first, then the server is told, if it runs), serve.c (Events: a server
 * that starts is told things as soon as it takes connections).
 *
 * A user or device that is revoked is to the watch as one without a grant. The network may be gone for a while, and a
 * connection die without a word. A server that does not do this work is outside: to let a call go on is its to decide. */
#define NONE 0
#define ASKED 1   /* the store is being asked */
#define YES 2     /* ... and has said so; the server has not heard it */
#define NO 3
#define GRANTED 4 /* a success is out */
#define REFUSED 5 /* an error is */
#define CLOSED 6  /* by the server, or with it */

#define CHANGES 3
#define CRASHES 2
#define BREAKS 2
#define OVERLOADS 1

bit may = 1;    /* in the store */
bit telling;    /* `beckond grant` or `ungrant` has changed the store and not come back yet */
bit taken_back; /* ghost: `beckond ungrant` has come back */
bit once_out;   /* ghost: there was a moment without a grant */
bit up = 1, reach = 1;
bit deaf;       /* the server runs, but cannot be told */
byte conn;
bit dead;       /* what is sent on it does not arrive */
bit over, lost; /* the call; lost: a device that does not ask again has lost its connection */
byte changes, crashes, breaks, overloads;

inline close_watches()
{
#if defined(MUTATE_CLOSE)
    skip
#elif defined(MUTATE_THINKING) /* only those that were granted */
    conn = (conn == GRANTED -> CLOSED : conn)
#else
    conn = (conn != NONE -> CLOSED : conn)
#endif
}

active proctype Operator()
{
    end:
    do
    :: d_step { changes < CHANGES && !telling ->
        changes++; may = !may; telling = 1; taken_back = 0;
        once_out = once_out || !may }
    od
}

active proctype Telling()
{
    end:
    do
    :: d_step { telling ->
        telling = 0; taken_back = !may;
#ifndef MUTATE_TELL
        if
        :: up && !deaf -> close_watches()
        :: else
        fi
#endif
        }
    od
}

active proctype Server_hears()
{
    end:
    do
    :: d_step { deaf -> deaf = 0 }
    od
}

active proctype Store()
{
    end:
    do
    :: d_step { up && conn == ASKED -> conn = (may -> YES : NO) }
    od
}

active proctype Server_answers()
{
    end:
    do
    :: d_step { up && conn == YES -> conn = GRANTED }
    :: d_step { up && conn == NO -> conn = REFUSED }
    :: d_step { up && conn == ASKED && overloads < OVERLOADS -> overloads++; conn = CLOSED } /* 503 */
    od
}

active proctype Device_asks()
{
    end:
    do
    :: d_step { !over && !lost && conn == NONE && up && reach -> conn = ASKED }
    od
}

inline gone()
{
    conn = NONE; dead = 0;
#ifdef MUTATE_REASK
    lost = 1;
#endif
#ifdef MUTATE_UNREACHABLE /* a call without a server that speaks for it ends */
    over = 1;
#endif
}

active proctype Device_hears()
{
    end:
    do
    :: d_step { !dead && conn == REFUSED -> conn = NONE; over = 1 }
    :: d_step { !dead && conn == CLOSED -> gone() }
#ifndef MUTATE_KEEPALIVE
    :: d_step { dead -> gone() }
#endif
    od
}

active proctype Events()
{
    end:
    do
    :: d_step { up && crashes < CRASHES -> crashes++; up = 0; conn = (conn != NONE -> CLOSED : NONE) }
    :: d_step { up && crashes < CRASHES -> crashes++; up = 0; dead = conn != NONE } /* with its machine */
    :: d_step { !up -> up = 1; conn = (conn != NONE -> CLOSED : NONE);
#ifdef MUTATE_SOCKET
        deaf = 1
#endif
        }
    :: d_step { breaks < BREAKS -> breaks++; dead = conn != NONE }
    :: d_step { reach && breaks < BREAKS -> breaks++; reach = 0; dead = conn != NONE }
    :: d_step { !reach -> reach = 1 }
    od
}

/* Once the caller may not call, for good, and server and device reach each other, his call ends. */
ltl ends_without_a_grant { (<>[] (!may && !telling && up && reach)) -> <> over }
/* When `beckond ungrant` has come back, a server that runs holds no watch of before good. */
ltl no_watch_stays { [] !(taken_back && up && (conn == YES || conn == GRANTED)) }
/* A call whose caller was never without a grant does not end by this, whatever becomes of server and network. */
ltl granted_calls_live { [] (!over || once_out) }
/* Must be reachable: a grant that was given back is good again for a call that went on meanwhile. */
ltl reach_granted_again { [] !(changes == 2 && may && conn == GRANTED && !over) }
