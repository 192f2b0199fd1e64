"""A hostile caller in the session of a call: floods of HTTP/2 frames, windows that do not open, what never comes to the point, and
streams that are not his. He ends his own session at most, within the memory of one process. As in test_hostile_caller.py
otherwise."""

import contextlib
import random
import time

import pytest

from lab import hostile_h2 as h2, wait_until
from lab.caller import ACCEPTED
from lab.false_device import DATA, END_STREAM, HEADERS, frame
from lab.hostile_caller_world import as_it_was, attacked, beckon_calls, harmed_nobody, populated
from lab.hostile_watch import calls_of, meanwhile

BLOB = 200 << 20


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _as_it_was(field):
    with as_it_was(field):
        yield


# -- HTTP/2 --------------------------------------------------------------------------------------------

ENDS = {"rapid_reset", "made_you_reset", "settings_flood", "ping_flood", "priority_flood", "empty_data", "window_crumbs",
        "unknown_frames", "continuation_flood", "empty_continuations", "header_bomb", "huge_frames", "goaways", "pushes",
        "garbage", "frames_of_any_kind"}


@pytest.mark.parametrize("flood", sorted(ENDS))
def test_h2_flood_by_a_caller_ends_its_own_session_only(field, flood):
    with attacked(field) as (session, stream, pid):
        began = time.monotonic()
        argument = {"rapid_reset": "echo:1", "made_you_reset": "echo:1", "continuation_flood": None,
                    "empty_continuations": None, "header_bomb": None}.get(flood, stream)
        over = session.flood(getattr(h2, flood)(session, argument), 10) or session.ended(8)
        print(f"{flood}: {session.sent} bytes in {time.monotonic() - began:.2f} s")
        assert over, "it goes on"
        session.close()
        wait_until(lambda: pid not in calls_of(field.net.device), 10, "the call is over")


@pytest.mark.parametrize("flood", ["ping_flood", "settings_flood", "rapid_reset"])
def test_h2_flood_whose_answers_are_never_read_ends_the_session(field, flood):
    """CVE-2019-9512, 9514, 9515: what piles up is bounded."""
    with attacked(field) as (session, stream, pid):
        argument = "echo:1" if flood == "rapid_reset" else stream
        session.flood(getattr(h2, flood)(session, argument), 5, read=False)
        wait_until(lambda: pid not in calls_of(field.net.device), 15, "the call is over")


def test_h2_windows_of_zero_hold_back_every_stream_and_little_memory(field):
    """CVE-2019-9517: a hundred streams that want 200 MB each, and not one byte may be sent."""
    with attacked(field, "blob", (h2.INITIAL_WINDOW, 0)) as (session, stream, pid):
        for _ in range(100):
            n = session.open(h2.connect_block("blob:1"))
            session.send(frame(DATA, 0, n, f"7 {BLOB}\n".encode()))
        with meanwhile(lambda: beckon_calls(field)):
            assert session.status(session.next - 2) == 200
            for n in (1, 3, 5):
                session.send(h2.window_update(n, 1))
        wait_until(lambda: pid in calls_of(field.net.device), 1, "nothing has ended it")


def test_h2_an_answer_that_is_never_read_costs_little_memory(field):
    """The largest window, and then nothing is read from the socket at all."""
    with attacked(field, "blob", (h2.INITIAL_WINDOW, 0x7FFFFFFF)) as (session, stream, pid):
        session.send(h2.window_update(0, 0x7FFF0000))
        for _ in range(20):
            n = session.open(h2.connect_block("blob:1"))
            session.send(frame(DATA, 0, n, f"7 {BLOB}\n".encode()), read=False)
        with meanwhile(lambda: beckon_calls(field)) as took:
            wait_until(lambda: len(took) >= 2, 60, "others call")


def test_h2_a_window_beyond_its_bounds_ends_no_more_than_that_session(field):
    with attacked(field) as (session, stream, pid):
        session.send(h2.window_update(0, 0x7FFFFFFF) * 2)
        assert session.ended(10)


def test_h2_bytes_one_at_a_time_are_put_together(field):
    """Slow, and no fault of anybody's."""
    with attacked(field) as (session, stream, pid):
        for byte in frame(DATA, 0, stream, b"slow as can be"):
            session.send(bytes([byte]))
            time.sleep(0.01)
        assert session.wait(lambda k, f, s, p: k == DATA and s == stream)[3].startswith(b"s")


def test_h2_half_a_frame_keeps_a_session_only_as_long_as_it_answers(field):
    """Begun and never finished; the streams beside it are not held up, for nothing else can come on that session."""
    with attacked(field) as (session, stream, pid):
        session.send(frame(DATA, 0, stream, b"x" * 1000)[:500])
        with meanwhile(lambda: beckon_calls(field)) as took:
            wait_until(lambda: len(took) >= 1, 60, "others call")


@pytest.mark.heavy
def test_h2_calls_that_never_come_to_the_point_end_by_their_limits(field):
    """TCP and then silence; half a handshake's answer; TLS and no HTTP/2; half a preface: none is kept longer than the ten
    seconds that a caller has to pick."""
    with harmed_nobody(field), contextlib.ExitStack() as held:
        for rubbish in (b"", b"\x16\x03\x03\x40\x00\x02", b"HTTP/1.1 200 OK\r\n\r\n"):
            listener = held.enter_context(field.mallory.place.listen())
            caller = held.enter_context(field.mallory.caller())
            assert caller.call(field.mallory.request(caller, "echo", [listener.getsockname()])) == ACCEPTED
            s = held.enter_context(listener.accept()[0])
            s.sendall(rubbish)
        others = calls_of(field.net.device)
        for begun in (b"", h2.PREFACE[:10], h2.PREFACE + b"\0\0"):
            s = held.enter_context(field.mallory.bare_call())
            s.sendall(begun)
        began = time.monotonic()  # the last of them
        ours = calls_of(field.net.device) - others
        assert len(ours) == 3
        wait_until(lambda: len(calls_of(field.net.device)) == 1, 20, "all but the other one's have ended")
        assert time.monotonic() - began < 14


def test_h2_as_many_streams_as_there_may_be_and_no_more(field):
    """1024 that a service takes and never serves; the next one ends the session, and nobody else's."""
    with attacked(field) as (session, stream, pid):
        block = h2.connect_block("silent:1")
        for first in range(0, 1023, 93):
            n = session.next
            session.next += 2 * 93
            session.send(b"".join(h2.headers(n + 2 * i, block) for i in range(93)))
        answers = {}
        while len(answers) < 1023:
            got = session.take(15)
            assert got is not None, f"{len(answers)} streams were answered"
            if got[0] in (HEADERS, h2.RST_STREAM):
                answers[got[2]] = got[3][:1]
        assert set(answers.values()) == {b"\x88"}
        assert session.echoed(stream)
        session.open(block)
        assert session.ended(10)


# -- streams that are not his --------------------------------------------------------------------------

ODD = ["", ":", ":1", "1", "echo", "echo:", "echo:2", "echo:01", "echo:1:1", "echo:+1", "echo: 1", " echo:1", "echo:1 ", "ECHO:1",
       "Echo:1", "echo%3A1", "%65cho:1", "user@echo:1", "echo@web:1", "echo:1@web:1", "[echo]:1", "echo.:1", "./echo:1",
       "../echo:1", "echo/:1", "echo#:1", "echo?:1", "127.0.0.1:7777", "localhost:7777", "[::1]:7777", "0.0.0.0:7777",
       "::ffff:127.0.0.1:1", "tcp:127.0.0.1:7777", "unix:/run/x:1", "ecᴴo:1", "eсho:1", "echo:1,web:1", "echo:1;web:1",
       "e" * 63 + ":1", "e" * 127, "e" * 5000 + ":1", "*:1", "-:1", "owner:1", "echo:65537", "echo:4294967297", "nothing:1"]
BROKEN = [b"echo\0:1", b"echo:1\0", b"echo:1\r\n", b"echo\xff:1", b"\techo:1", b"echo:1\x7f", b"e\0cho:1"]


def test_authorities_of_odd_form_are_no_service(field):
    """None of them is joined to anything; the session lives on, but where HTTP/2 itself is broken."""
    with attacked(field) as (session, stream, pid):
        for authority in ODD:
            _, status = session.connect(authority.encode())
            assert status in (404, 400, 0, "reset"), (authority, status)
        assert session.echoed(stream)
        for authority in BROKEN:
            _, status = session.connect(authority)
            assert status not in (200, None), (authority, status)
        assert session.echoed(stream)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "PRI", "connect", "CONNECT ", ""])
def test_methods_other_than_connect_reach_no_service(field, method):
    with attacked(field) as (session, stream, pid):
        for block in (h2.connect_block("echo:1", method=method),
                      h2.connect_block("echo:1", (":scheme", "https"), (":path", "/"), method=method)):
            status = session.status(session.open(block))
            assert status not in (200, None), status
        assert session.echoed(stream)


def test_connects_that_break_the_rules_reach_no_service(field):
    with attacked(field) as (session, stream, pid):
        name = h2.literal
        for block in (name(":method", "CONNECT"), name(":authority", "echo:1"), b"",
                      h2.connect_block("echo:1") * 2,
                      h2.connect_block("echo:1", (":authority", "web:1")),
                      h2.connect_block("echo:1", (":protocol", "websocket"), (":scheme", "https"), (":path", "/")),
                      h2.connect_block("echo:1", (":path", "/")), h2.connect_block("echo:1", (":scheme", "http")),
                      name("x", "y") + h2.connect_block("echo:1"), h2.connect_block("echo:1", ("Upper", "case")),
                      h2.connect_block("echo:1", ("transfer-encoding", "chunked"))):
            status = session.status(session.open(block))
            assert status not in (200, None), (block, status)
        assert session.echoed(stream)


def test_a_service_that_nobody_named_when_calling_is_still_asked_for_each_stream(field):
    """The key is for every service of this device; what is none, or does not answer, ends only its stream."""
    with attacked(field) as (session, stream, pid):
        assert session.connect("web:1")[1] == 200
        assert session.connect("nothing:1")[1] == 404
        assert session.connect("closed:1")[1] == 0
        assert session.echoed(stream)


def test_data_of_two_streams_does_not_cross(field):
    """Interleaved byte by byte, ended, reset, sent to streams that are none: each gets its own."""
    with attacked(field) as (session, one, pid):
        two, status = session.connect("echo:1")
        assert status == 200
        rng = random.Random(5)
        sent = {one: b"", two: b""}
        for _ in range(600):
            s = rng.choice((one, two))
            piece = bytes([65 + (s == two)]) * rng.randint(1, 40)
            sent[s] += piece
            session.send(frame(DATA, 0, s, piece))
        got = {one: b"", two: b""}
        while any(len(got[s]) < len(sent[s]) for s in got):
            f = session.wait(lambda k, fl, s, p: k == DATA)
            assert f is not None
            got[f[2]] += f[3]
        assert got == sent
        session.send(h2.rst(two) + frame(DATA, 0, two, b"after the end") + frame(DATA, 0, one, b"C"))
        assert session.wait(lambda k, fl, s, p: k == DATA)[2:] == (one, b"C")
        session.send(frame(DATA, END_STREAM, one, b"D") + frame(DATA, 0, one, b"beyond"))
        while (last := session.take(10)) is not None:
            assert last[0] != DATA or last[2:] in ((one, b"D"), (one, b""))


def test_two_callers_do_not_meet(field):
    """Two sessions at one time, the same stream numbers in both: each hears itself."""
    with field.mallory.call() as a, field.friend.call() as b:
        for session in (a, b):
            assert session.connect("echo:1") == (1, 200)
        for i in range(50):
            a.send(frame(DATA, 0, 1, b"of a %d." % i))
            assert b.echoed(1, b"of b %d." % i)
        got = b""
        while not got.endswith(b"of a 49."):
            got += a.wait(lambda k, f, s, p: k == DATA)[3]
        assert got == b"".join(b"of a %d." % i for i in range(50))
