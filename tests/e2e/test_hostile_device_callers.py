"""A device that means harm against whoever calls it: floods of HTTP/2 frames, nonsense, windows that do not open, connections
without end. It ends its own session at most; `beckon` lives, keeps to its memory, and says little. As in test_hostile_device.py
otherwise."""

import contextlib
import signal
import ssl
import time

import pytest

from lab import REQUESTER, ROUTER_A, hostile_h2 as h2, wait_until
from lab.false_device import DATA, GOAWAY, HEADERS, RST_STREAM, SETTINGS, call_name, dial, frame
from lab.hostile_caller import Place
from lab.hostile_device_world import ID, MAPPED, others_are_served, populated
from lab.hostile_watch import Peak

PORT = 8080
OTHER = ("--listen", "0.0.0.0:1601", "--advertise", f"{ROUTER_A}:5001")
CONTROL = 1           # a caller's first stream: paths are told on it
BECKON_KB = 48 << 10  # what `beckon` may need, whatever the device does


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _others_are_served(field):
    with others_are_served(field):
        yield


# -- against its callers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forward(field):
    """`beckon forward` to the hostile device, which starts with a call that is answered, and ended."""
    process = field.alice.start("forward", *MAPPED, ID, f"{PORT}:echo", log=None)
    with field.evil.meet():
        wait_until(lambda: field.net.requester.listening(PORT) or not process.running(), 10, "forward listens")
    process.wait_line("the next connection calls again")
    yield process
    assert process.running(), process.output()
    process.stop(signal.SIGINT)


@contextlib.contextmanager
def met(field, forward, *settings, open=True):
    """A connection to the forwarded port, the call that comes of it, and the stream in it. The program lives, keeps to its
    memory, and says little."""
    for _ in range(3):
        since = forward.position()
        local = field.net.requester.connect("127.0.0.1", PORT, timeout=15)
        local.sendall(b"to whom it may concern")
        try:
            session = field.evil.meet(*settings)
            break
        except TimeoutError:  # that connection still found the call of before, on its way out
            local.close()
    peak = Peak(forward.pid)
    stream = session.wait(lambda k, f, s, p: k == HEADERS and s != CONTROL)[2]
    if open:
        session.send(h2.headers(stream, b"\x88"))
    with contextlib.closing(local), session:
        yield session, stream, local
    used = peak.stop()
    print(f"beckon: at most {used} KB; it said: {forward.lines[since:]}")
    assert forward.running(), forward.output()
    assert used < (800 << 10 if field.sanitized else BECKON_KB), f"beckon took {used} KB"
    assert forward.position() - since < 12, forward.lines[since:]


FLOODS = ["settings_flood", "ping_flood", "priority_flood", "empty_data", "window_crumbs", "unknown_frames", "continuation_flood",
          "empty_continuations", "header_bomb", "huge_frames", "goaways", "pushes", "garbage", "frames_of_any_kind"]


@pytest.mark.parametrize("name", FLOODS)
def test_h2_flood_by_a_device_ends_its_own_session_only(field, forward, name):
    with met(field, forward) as (session, stream, local):
        began = time.monotonic()
        over = session.flood(getattr(h2, name)(session, stream), 10) or session.ended(8)
        print(f"{name}: {session.sent} bytes in {time.monotonic() - began:.2f} s")
        assert over, "it goes on"


@pytest.mark.parametrize("name", ["ping_flood", "settings_flood"])
def test_h2_flood_by_a_device_that_reads_nothing_ends_its_session(field, forward, name):
    with met(field, forward) as (session, stream, local):
        since = forward.position()
        session.flood(getattr(h2, name)(session, stream), 5, read=False)
        forward.wait_line("calls again", 15, since)


def test_h2_answers_without_end_end_the_session(field, forward):
    """Informational answers to one CONNECT (1xx), again and again."""
    with met(field, forward, open=False) as (session, stream, local):
        early = h2.headers(stream, h2.literal(":status", "103")) * 500
        over = session.flood(iter(lambda: early, None), 10) or session.ended(8)
        assert over, "it goes on"


def test_h2_data_beyond_the_window_ends_its_stream(field, forward):
    """Sixty megabytes that were not asked for, while the local reader takes nothing."""
    with met(field, forward) as (session, stream, local):
        piece = b"".join(frame(DATA, 0, stream, bytes(16000)) for _ in range(4))
        session.flood((piece for _ in range(1000)), 10)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := local.recv(1 << 20):
                taken += len(piece)
        assert taken < 24 << 20  # what was in windows and sockets


def test_h2_a_device_that_takes_nothing_holds_back_its_user(field, forward):
    """No window at all: what the local program sends waits in that program, not in ours."""
    with met(field, forward, (h2.INITIAL_WINDOW, 0)) as (session, stream, local):
        local.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            for _ in range(200):
                local.sendall(bytes(1 << 20))
                sent += 1 << 20
        assert sent < 16 << 20
        assert field.net.requester.listening(PORT)


@pytest.mark.parametrize("what", ["an answer to no stream", "data of no stream", "status of letters", "no status", "two heads",
                                  "window beyond bounds", "half a frame", "ends"])
def test_h2_nonsense_of_a_device_is_the_end_of_that_session_at_most(field, forward, what):
    with met(field, forward, open=False) as (session, stream, local):
        ok = h2.headers(stream, b"\x88")
        session.send({"an answer to no stream": h2.headers(stream + 100, b"\x88"),
                      "data of no stream": frame(DATA, 0, stream + 100, b"x"),
                      "status of letters": h2.headers(stream, h2.literal(":status", "abc")),
                      "no status": h2.headers(stream, h2.literal("x", "y")),
                      "two heads": ok + ok,
                      "window beyond bounds": ok + h2.window_update(0, 0x7FFFFFFF) * 2,
                      "half a frame": ok + frame(DATA, 0, stream, bytes(1000))[:500],
                      "ends": b""}[what])
        if what in ("half a frame", "ends"):
            session.close()
        with contextlib.suppress(ConnectionError):
            local.settimeout(10)
            if what == "two heads":  # the second is none of a CONNECT's, and the stream's end at most
                local.settimeout(1)
            with contextlib.suppress(TimeoutError):
                got = local.recv(1000)
                while what == "half a frame" and got:  # what has come of it may have been passed on
                    assert not any(got)
                    got = local.recv(1000)
                assert got == b"", what


def test_h2_authorities_and_streams_that_a_device_opens_are_none(field, forward):
    """A device asks nothing of its caller: HEADERS of its own are no CONNECT to anything."""
    with met(field, forward) as (session, stream, local):
        session.send(h2.headers(2, h2.connect_block("127.0.0.1:8080")))
        got = session.wait(lambda k, f, s, p: k in (RST_STREAM, 7) or k == HEADERS and s == 2, 10)
        assert got is None or got[0] != HEADERS


def test_connections_without_end_to_the_callback_port_keep_to_their_limits(field):
    """Accepted, and then a hundred connections that say nothing, or a byte at a time: the caller gives up in time."""
    process = field.alice.start("connect", *OTHER, ID, "web", log=None)
    s, offer = field.evil.take()
    field.evil.answer(s, offer)
    s.sendall(field.evil.result(offer))
    request, _ = field.evil.opened(offer)
    peak, began, held = Peak(process.pid), time.monotonic(), []
    for n in range(100):
        with contextlib.suppress(OSError):
            c = Place(field.net, 100 + n % 20).connect(ROUTER_A, 5001, 2.0)
            c.sendall(b"\x16\x03\x01\x40\x00"[:n % 6])
            held.append(c)
    assert process.wait(20) != 0
    assert time.monotonic() - began < 15
    assert peak.stop() < (800 << 10 if field.sanitized else BECKON_KB)
    for c in (*held, s):
        c.close()


def half_open(field, address, port, call_id):
    """A device's connection of which the caller has its first message and no more; what finishes it, and its session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*field.evil.files)
    context.set_alpn_protocols(["beckon-call/1"])
    raw = field.net.requester.connect(address, port)
    raw.settimeout(5)
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(theirs, ours, server_hostname=call_name(call_id))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    raw.sendall(ours.read())
    first = raw.recv(65536)  # its flight, and what it says with it
    assert first

    def finish():
        theirs.write(first)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:  # it came in more than one piece
                theirs.write(raw.recv(65536))
        tls.write(frame(SETTINGS, 0, 0))
        raw.sendall(ours.read())

    return raw, finish


def test_a_connection_that_was_to_be_used_and_comes_late_leaves_the_stream_alone(field):
    """The caller has sent CONNECT with its flight, the device finishes that handshake when another session is long in use: a
    better one by its kind, so it is taken, and what was opened on it first is not the stream that the user has."""
    process = field.alice.start("connect", "-v", "--listen", "0.0.0.0:1601", ID, "echo", stdin=-1, log=None)
    s, offer = field.evil.take()
    with s:
        field.evil.answer(s, offer)
        s.sendall(field.evil.result(offer))
        request, _ = field.evil.opened(offer)
        process.wait_line("the device accepts us")
        raw, finish = half_open(field, REQUESTER, 1601, request.call_id)
        used = dial(field.net.wan, ROUTER_A, 5001, field.evil.files, request.call_id)
    session = h2.Session(used.socket, False, used.buffer)
    stream = session.wait(lambda k, f, s, p: k == HEADERS and s != CONTROL)[2]
    session.send(h2.headers(stream, b"\x88") + frame(DATA, 0, stream, b"before\n"))
    process.wait_line("^before$")
    with raw:
        finish()
        process.wait_line(r"path: host")
        session.send(frame(DATA, 0, stream, b"and after\n"))
        process.wait_line("^and after$", 5)
        assert session.wait(lambda k, f, s, p: k == GOAWAY, 1) is None, "the call is being ended"
    assert process.running(), process.output()
    session.close()
    assert process.wait() == 1
