"""The least time that a call can take: the messages that must wait for one another, each as many one-way trips as it
makes between two parties (caller, server, device). A trip crosses two access links. Nothing else is counted: no computing,
no queues, no service; but for a call with a password the Argon2id that the device must do before it dials.

TCP is two trips (SYN there, SYN-ACK back; the ACK goes with the first bytes), none where TCP Fast Open carries the first
bytes in the SYN. TLS 1.3 is two more (ClientHello there, the server's flight back); the client's Finished goes with its
first message. A ticket saves no trip without 0-RTT, which Beckon does not use; it saves certificates and signatures."""

import collections

Step = collections.namedtuple("Step", "text trips")

_TLS = (Step("ClientHello there, the server's flight back", 2),)
_TCP = (Step("TCP: SYN there, SYN-ACK back", 2),)
_DIAL = (
    Step("TCP, the device to the caller: SYN there, SYN-ACK back", 2),
    Step("ClientHello of the device", 1),
    Step("the caller's flight, SETTINGS and CONNECT with it", 1),
    Step("the device's Finished, 200 and the service's first byte with it", 1),
)


def steps(form, cached, fast_open=False):
    """`form`: "first" or "fast"; `cached`: certificate and box key are known, and a candidate that needs no server's
    word; `fast_open`: to the server, in both directions of use."""
    tcp = () if fast_open else _TCP
    ask = () if cached else (Step("Finished with LOOKUP and INFO there, their answers back", 2),)
    last = Step("Finished and 217 to the server" if cached else "217 to the server", 1)
    if form == "fast":
        deliver = (Step("NOTIFY with the box to the device", 1),)
    else:
        deliver = (Step("NOTIFY to the device", 1), *tcp, *_TLS,
                   Step("the device's Finished there, 226 back", 2))
    return (*tcp, *_TLS, *ask, last, *deliver, *_DIAL)


def trips(*args, **kw):
    return sum(step.trips for step in steps(*args, **kw))


def bound_ms(trip_ms, *args, argon2_ms=0.0, **kw):
    return trips(*args, **kw) * trip_ms + argon2_ms


# What others need for the same, on paper: the service's first byte at somebody who opens a connection to it.
FRP_STEPS = (
    Step("TCP, the caller to frps: SYN there, SYN-ACK back", 2),
    Step("ACK: frps accepts", 1),
    Step("frps asks frpc over its standing connection for a stream", 1),
    Step("frpc opens one (mux), frps says what it is for", 2),
    Step("the service's first byte to frps", 1),
    Step("and on to the caller", 1),
)


def text(form, cached, fast_open, trip_ms):
    """The bound, written out: a line a step with the time at its end."""
    lines, at = [], 0
    for step in steps(form, cached, fast_open):
        at += step.trips
        lines.append(f"{at * trip_ms:7.0f} ms  {step.text}")
    return "\n".join(lines)
