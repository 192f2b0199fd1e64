/* Revocation and re-enrolment: a device ID, its first holder, who turns into a thief, its second, and the operator.
 *
 * Followed: src/core/server/exceptions.c (GOOD), enrol.c (apply_exception, bk_server_on_enrolled: told),
 * registration.c (Holder: REGISTER), streams.c and delivery.c (Holder: stream), calls.c; src/bin/beckond/
 * store_people.c (bk_store_admit: ADMITTED), serve.c (set_up: exceptions are loaded before it serves, and after it can be
 * told). Calls that are up are in open_calls.pml.
 *
 * The store changes first (another process may do it), then the running server is told; the two are steps of their own.
 * Generation and key are one here: 1 is the first holder's, 2 the second's. Nobody has a key that is not his. */
byte store_generation = 1;
bool store_revoked;
byte lowest;
bool core_revoked;
bool to_tell; /* the store has news that the server has not heard */

byte row;    /* generation of the row; 0: none */
byte stream; /* whose stream is open; 0: none */
byte calls;  /* 0 none, 1 waiting, 2 offered on the stream */
bool shut;   /* ghost: `beckond revoke` has come back */
bool replaced; /* ghost: the second holder has its certificate */
bool restarted;
bool starting; /* the server can be told, and will hear once it has loaded the exceptions */
byte revocations;
bool row_of_outsider, call_to_outsider; /* what must never come true */

#ifdef MUTATE_REVOKED
#define OUT_NOW false
#else
#define OUT_NOW core_revoked
#endif
#ifdef MUTATE_GENERATION
#define GOOD(g) (!OUT_NOW)
#else
#define GOOD(g) (!OUT_NOW && g >= lowest)
#endif
#ifdef MUTATE_KEY
#define ADMITTED(g) (!store_revoked)
#else
#define ADMITTED(g) (!store_revoked && store_generation == g)
#endif
/* Who is out for good: it was said, and not taken back. */
#define OUTSIDER(g) (shut || (replaced && g == 1))

inline apply_exception()
{
#ifndef MUTATE_ROW
    if :: row != 0 && !GOOD(row) -> row = 0 :: else fi;
#endif
#ifndef MUTATE_STREAMS
    stream = 0;
#endif
#ifndef MUTATE_CALLS
    calls = 0
#else
    skip
#endif
}

active proctype Operator()
{
    do
    :: true -> skip /* nothing need be done */
    :: d_step { revocations < 2 && !to_tell -> revocations++; store_revoked = true; to_tell = true }
    :: d_step { !replaced && !starting && revocations < 2 -> /* a token for the same ID, and ENROL: one step of the server */
        store_generation = 2; store_revoked = false;
#ifndef MUTATE_RAISE
        lowest = 2; core_revoked = false;
        apply_exception();
#endif
        shut = false; replaced = true }
    od
}

/* bk_serve_device_changed: as the store has it now. */
active proctype Admin()
{
    do
#ifdef MUTATE_SOCKET /* loaded, but not to be told yet: for `beckond revoke` it does not run */
    :: d_step { to_tell && starting -> to_tell = false; shut = store_revoked }
#endif
    :: d_step { to_tell && !starting ->
        to_tell = false;
        if
        :: lowest != (store_generation > 1 || store_revoked -> store_generation : 0) || core_revoked != store_revoked ->
            lowest = store_generation; core_revoked = store_revoked;
            apply_exception()
        :: else
        fi;
        shut = store_revoked }
    od
}

inline load()
{
#ifdef MUTATE_LOADING
    lowest = 0; core_revoked = false
#else
    lowest = store_generation; core_revoked = store_revoked
#endif
}

active proctype Server()
{
    do
    :: d_step { !restarted -> restarted = true; starting = true;
        row = 0; stream = 0; calls = 0;
#ifdef MUTATE_SOCKET
        load()
#endif
        }
    :: true -> skip /* it need not be restarted */
    /* 217: the store is asked, and the exceptions (lookup.c). */
    :: d_step { !starting && calls == 0 && !store_revoked && !OUT_NOW -> calls = 1 }
    od
}

active proctype Loading()
{
    do
    :: d_step { starting -> starting = false;
#ifndef MUTATE_SOCKET
        load()
#endif
        }
    od
}

active proctype Caller_gives_up()
{
    do
    :: d_step { calls != 0 -> calls = 0 }
    od
}

/* REGISTER with the nonce, from wherever; a stream with its certificate; the call that waits, offered on it. */
proctype Registration(byte g)
{
    (g == 1 || replaced);
    do
    :: d_step { !starting && GOOD(g) && row != g ->
        row = g;
        row_of_outsider = row_of_outsider || OUTSIDER(g) }
    od
}

proctype Holder(byte g)
{
    (g == 1 || replaced);
    do
    :: d_step { !starting && stream == 0 && calls == 1 && ADMITTED(g) && !OUT_NOW -> stream = g }
    :: d_step { stream == g && calls == 1 ->
        calls = 2;
        call_to_outsider = call_to_outsider || OUTSIDER(g) }
    :: d_step { stream == g -> stream = 0 }
    od
}

init { atomic { run Registration(1); run Registration(2); run Holder(1); run Holder(2) } }

/* After `beckond revoke` nobody, after a re-enrolment the old holder never, is registered. */
ltl no_registration { [] !row_of_outsider }
ltl no_row_stays { [] !(shut && row != 0) && [] !(replaced && row == 1) }
/* ... or given a request, over streams from before included. */
ltl no_delivery { [] !call_to_outsider }
ltl no_stream_stays { [] !(shut && stream != 0) && [] !(replaced && stream == 1) }
/* What waited for a device that is shut out does not wait on. */
ltl calls_end { [] !(shut && calls != 0) }
/* Must be reachable: the second holder is registered and is given a call. */
ltl reach_successor { [] !(row == 2 && stream == 2 && calls == 2) }
/* The second holder, once in and not revoked, is registered in the end. */
ltl successor_registers { (<>[] (replaced && !store_revoked && !to_tell)) -> <> (row == 2) }
