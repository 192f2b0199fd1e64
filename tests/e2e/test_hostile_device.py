"""A device that joined as it should and then means harm, in its calls and streams to the server: what it answers wrongly, too late,
too often or too much concerns its own callers at most, and it is held to limits. As somebody else it is in
test_hostile_device_identity.py, against those who call it in test_hostile_device_callers.py; all of them live in
lab/hostile_device_world.py."""

import contextlib
import os
import random
import struct
import time

import nacl.public
import pytest

from lab import stun, wait_until
from lab.caller import ACCEPTED, NO_ANSWER, STALE
from lab.hostile_caller import Place
from lab.hostile_device import receive, tell
from lab.hostile_device_world import ID, MAPPED, answered, calls_evil, lookup, others_are_served, populated, ring
from lab.hostile_watch import descriptors

OFFLINE = 480
WATCHES_MAX = 64  # of one device


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _others_are_served(field):
    with others_are_served(field):
        yield


# -- 226 and RESULT ------------------------------------------------------------------------------------


def test_226_answered_never_or_too_late_is_offline_to_its_caller_alone(field):
    with calls_evil(field) as one, calls_evil(field) as two:
        began = {one: time.monotonic()}
        ring(one)
        never, _ = field.evil.take()
        began[two] = time.monotonic()
        ring(two)
        late, offer = field.evil.take()
        for caller in (one, two):
            assert answered(caller) == OFFLINE
            assert 6.5 < time.monotonic() - began[caller] < 9.5
        with contextlib.suppress(OSError):
            field.evil.answer(late, offer)
            late.sendall(field.evil.result(offer))
        assert tell(two.socket, 0.5) == []
        assert receive(never) is None, "its stream stays open"
        never.close()
        late.close()


def test_226_answered_twice_ends_the_stream_and_no_more(field):
    with calls_evil(field) as caller:
        ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        field.evil.answer(s, offer)
        assert receive(s) is None
        assert [m for m in tell(caller.socket, 0.3) if m.method == "CONNECT"] == []
        caller.socket.settimeout(10)
        assert caller.ask(lookup(ID)).kind == "success"
        s.close()


@pytest.mark.parametrize("how", ["error", "other transaction", "garbage", "half a message", "RESULT first", "a request",
                                 "LOOKUP", "RENEW", "WATCH", "hangs up"])
def test_226_answered_wrongly_is_offline_to_its_caller_alone(field, how):
    rng = random.Random(how)
    with calls_evil(field) as caller:
        ring(caller)
        s, offer = field.evil.take()
        if how == "error":
            field.evil.answer(s, offer, "error", stun.put("ERROR-CODE", b"\0\0\4\0"))
        elif how == "other transaction":
            s.sendall(stun.build("CONNECT", "success", b"", os.urandom(12), fingerprint=False))
        elif how == "garbage":
            s.sendall(rng.randbytes(4000))
        elif how == "half a message":
            s.sendall(stun.build("CONNECT", "success", b"", offer.txid, fingerprint=False)[:11])
        elif how == "RESULT first":
            s.sendall(field.evil.result(offer))
        elif how == "a request":
            s.sendall(offer.raw)
        elif how != "hangs up":
            s.sendall(stun.build(how, "request", stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")), os.urandom(12),
                                 fingerprint=False))
        if how in ("hangs up", "error"):
            s.close()
        assert answered(caller) == OFFLINE
        s.close()


def test_results_for_calls_of_others_reach_nobody(field):
    """With everything known about a call to 2133, from a stream of its own that serves another call."""
    with field.friend.caller() as victim, calls_evil(field) as caller:
        request = field.friend.request(victim, "echo", [("4.17.168.99", 6000)])
        assert victim.call(request) == ACCEPTED
        ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        # The victim's call ID, outside and inside; sealed to the reply key of this one.
        s.sendall(field.evil.result(offer, NO_ANSWER, request.call_id))
        assert receive(s) is None, "who speaks of another's call is cut off"
        s.close()
        # What its own device says by now, that nobody answered, is what it can open.
        box = nacl.public.Box(request.reply, nacl.public.PublicKey(victim.box_key))
        for m in tell(victim.socket, 0.5):
            assert m.method != "RESULT" or box.decrypt(m.get("BOX"))
        victim.socket.settimeout(10)
        victim.left = b""
        assert victim.ask(lookup(2133)).kind == "success"  # it is all there, and heard nothing
    # On a stream that serves no call the server does not listen at all.
    with contextlib.suppress(OSError), field.evil.stream() as s:
        s.sendall(field.evil.result(offer, ACCEPTED, request.call_id))
        assert receive(s) is None


def test_results_without_end_reach_its_own_caller_at_most(field):
    """Five thousand, of the greatest size that a box may have; then one too large."""
    with calls_evil(field) as caller:
        request = ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        one = stun.build("RESULT", "indication", stun.put("CALL-ID", request.call_id) + stun.put("BOX", bytes(1024)),
                         os.urandom(12), fingerprint=False)
        s.settimeout(3)
        with contextlib.suppress(OSError):
            for _ in range(50):
                s.sendall(one * 100)
        got = tell(caller.socket, 0.5)
        assert {m.method for m in got} <= {"RESULT"}
        s.close()
    with calls_evil(field) as caller:
        request = ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        s.sendall(stun.build("RESULT", "indication", stun.put("CALL-ID", request.call_id) + stun.put("BOX", bytes(1028)),
                             os.urandom(12), fingerprint=False))
        assert receive(s) is None
        assert tell(caller.socket, 0.3) == []
        s.close()


def test_stale_without_end_is_believed_once(field):
    """A device that sends its callers round and round: `beckon` asks twice in all."""
    process = field.alice.start("connect", *MAPPED, ID, "web", log=None)
    offers = []
    for _ in range(2):
        s, offer = field.evil.take()
        offers.append(offer)
        field.evil.answer(s, offer)
        s.sendall(field.evil.result(offer, STALE))
        s.close()
    assert process.wait(15) != 0
    assert offers[0].get("CALL-ID") != offers[1].get("CALL-ID")
    assert len(process.output().splitlines()) <= 4, process.output()


# -- streams and messages ------------------------------------------------------------------------------


def test_streams_by_the_hundred_are_held_to_their_limits(field):
    """Agent streams without a call are closed, watches are 64, renewals that ask nothing have 20 s; from five addresses."""
    idle, held, watching = descriptors(field.server_pid), [], 0
    try:
        for n in range(150):
            place = Place(field.net, 90 + n % 5)
            for alpn in ("beckon-agent/1", "beckon-watch/1", "beckon-renew/1"):
                with contextlib.suppress(OSError):
                    s = field.evil.stream(alpn, place=place)
                    held.append(s)
                    if alpn == "beckon-watch/1":  # at once: one that asks nothing is soon closed
                        answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", b"alice"))
                        watching += answer is not None and answer.kind == "success"
        assert watching == WATCHES_MAX
        # Besides, the watches of the other calls: a device waits 3 s for a caller who left without a word.
        wait_until(lambda: descriptors(field.server_pid) - idle <= WATCHES_MAX + 150 + 20, 10, "the rest are closed")
    finally:
        for s in held:
            s.close()


def test_streams_with_huge_and_slow_messages_end(field):
    """Greater than any message; begun and not finished; questions of other roles."""
    ways = {"beckon-agent/1": [], "beckon-renew/1": [], "beckon-watch/1": []}
    huge = struct.pack("!HHI12s", 0x00C7, 0xFFFC, stun.COOKIE, bytes(12))
    slow = []
    for alpn in ways:
        with contextlib.suppress(OSError), field.evil.stream(alpn) as s:
            s.sendall(huge)
            assert receive(s) is None
        for method in ("LOOKUP", "CONNECT", "ENROL", "REGISTER", "BINDING", "NOTIFY", "WATCH", "RENEW"):
            if method == alpn[7:-2].upper():
                continue
            with field.evil.stream(alpn) as s:
                answer = field.evil.ask(s, method, stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")))
                assert answer is None or answer.kind == "error", (alpn, method)
        if alpn != "beckon-agent/1":
            s = field.evil.stream(alpn, timeout=15)
            s.sendall(stun.build("RENEW", "request", bytes(100), os.urandom(12), fingerprint=False)[:30])
            slow.append(s)
    began = time.monotonic()
    for s in slow:
        assert receive(s) is None
        s.close()
    assert 3 < time.monotonic() - began < 9
