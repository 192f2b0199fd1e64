"""A hostile caller with many of everything: calls beyond what there may be, messages to the server's port without end or too slow,
thousands of calls at once. Others are served in order meanwhile. As in test_hostile_caller.py otherwise."""

import collections
import concurrent.futures
import contextlib
import os
import sqlite3
import struct
import threading
import time
import types

import pytest

from lab import SERVER, hostile_h2 as h2, stun, wait_until
from lab.caller import ACCEPTED, Caller
from lab.hostile_caller import Mallory, Place
from lab.hostile_caller_world import CALLS_MAX, as_it_was, beckon_calls, populated
from lab.hostile_watch import calls_of, closed_again, meanwhile, median, no_calls, settled, status_kb
from lab.peers import Service, echo


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _as_it_was(field):
    with as_it_was(field):
        yield


# -- as many calls as there may be ----------------------------------------------------------------------


def test_a_call_beyond_the_limit_is_put_through_when_another_ends(field):
    """The device does not answer while it has no room; the server asks again, and the call waits for that."""
    with contextlib.ExitStack() as stack:
        up = [stack.enter_context(field.friend.call()) for _ in range(CALLS_MAX)]
        assert len(calls_of(field.net.device)) == CALLS_MAX
        listener, caller = stack.enter_context(field.friend.place.listen()), stack.enter_context(field.friend.caller())
        ends = threading.Timer(1.0, up[0].leave)  # with a word: else the device waits some seconds for him to come back
        began = time.monotonic()
        ends.start()
        verdict = caller.call(field.friend.request(caller, "echo", [listener.getsockname()]))
        took = time.monotonic() - began
        print(f"put through after {took:.1f} s")
        assert verdict == ACCEPTED and 1.0 < took < 7.0
        with h2.Session(field.friend.answer(listener)) as session:
            assert session.connect("echo:1")[1] == 200
        ends.join()


# -- the server's ports --------------------------------------------------------------------------------


def lookup(more=b""):
    return stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) + more, os.urandom(12),
                      fingerprint=False)


@contextlib.contextmanager
def server_serves(field, slowest=4.0):
    """Whole calls of another user, one after the other, while something goes on at the server; and its memory."""
    idle = settled(field.server_pid)

    def one():
        with field.friend.call() as session:
            assert session.connect("echo:1")[1] == 200
            session.leave()
        time.sleep(0.15)  # a device dials one address eight times a second

    with meanwhile(one) as took:
        yield took
    assert max(took) < slowest, took
    closed_again([field.server_pid], [idle])


def test_stream_oversize_messages_of_a_user_end_his_connection(field):
    """The greatest message is read; what claims to be greater is cut off by its head."""
    with server_serves(field):
        with field.mallory.caller() as caller:
            room = 16384 - len(lookup()) - 4
            answer = caller.ask(lookup(stun.put(0xC0FF, bytes(room))))
            assert answer.kind == "success"
            caller.socket.sendall(lookup(stun.put(0xC0FF, bytes(room + 4)))[:20])
            assert caller.receive() is None
        with field.mallory.caller() as caller:
            caller.socket.sendall(struct.pack("!HHI12s", 0x00C3, 0xFFFC, stun.COOKIE, bytes(12)))
            assert caller.receive() is None


def test_stream_answers_that_are_never_read_end_his_connection(field):
    """Questions without end, and the window shut: what waits for him is bounded, and so is how long."""
    before = status_kb(field.server_pid, "VmHWM")
    with server_serves(field):
        with field.mallory.caller() as caller:
            s = h2.Session.__new__(h2.Session)
            s.socket, s.over, s.why, s.sent, s.buffer = caller.socket, False, None, 0, bytearray()
            caller.socket.setblocking(False)
            question = lookup()
            sent = 0
            end = time.monotonic() + 12
            while not s.over and time.monotonic() < end:
                sent += s.send(question * 500, 1, read=False)
            assert s.over, f"it took {sent} bytes of questions"
    grown = status_kb(field.server_pid, "VmHWM") - before
    assert grown < (400 << 10 if field.sanitized else 16 << 10), f"{grown} KB more at the worst"


@pytest.mark.heavy
def test_stream_messages_byte_by_byte_in_many_connections_of_a_user_hold_up_nobody(field):
    """Each message has its five seconds."""
    with server_serves(field):
        callers = [field.mallory.caller() for _ in range(60)]
        message, began, alive = lookup(stun.put(0xC0FF, bytes(400))), time.monotonic(), set(callers)
        for byte in message:
            if len(alive) < 60 or time.monotonic() - began > 7.0:
                break
            for caller in list(alive):
                try:
                    caller.socket.send(bytes([byte]))
                except OSError:
                    alive.discard(caller)
            time.sleep(0.2)
        assert len(alive) < 60, "more than five seconds for one message"
        for caller in callers:
            caller.socket.settimeout(10)
            with contextlib.suppress(OSError):
                assert caller.receive() is None
            caller.close()


# -- thousands of calls --------------------------------------------------------------------------------

FLEET_FIRST, FLEET = 50001, 400


@pytest.fixture(scope="module")
def crowd(field, bindir):
    """Four users who may call everybody, 400 registered devices that answer NOTIFY and no more, a second real one."""
    users = [field.beckon.enrol_user(f"guest{n}") for n in range(4)]
    for user in users:
        field.server.grant(user.label.removeprefix("user-"), "all")
    with contextlib.closing(sqlite3.connect(field.server.state / "beckond.db", timeout=10)) as store, store:
        store.executemany("INSERT INTO devices(id, generation, key, certificate, box_key) VALUES "
                          "(?, 1, zeroblob(32), x'00', zeroblob(113))", ((FLEET_FIRST + n,) for n in range(FLEET)))
    fleet = field.net.wan.start([bindir / "load-devices", field.server.state, f"{SERVER}:1200", FLEET, FLEET_FIRST, 25],
                                log=field.beckon.workdir / "fleet.log")
    fleet.wait_line(rf"registered {FLEET} ", 30)
    ns = field.net.host("second", field.net.router_b, "192.168.1.4")
    wait_until(lambda: ns.reachable(SERVER), 10, "the second device's line is up")
    second = field.beckon.enrol_device(2134, ns=ns, port=2001, services={"echo": "tcp:127.0.0.1:7777"})
    service = Service(echo, ns, 7777)
    second.start()
    field.server.grant("bob", 2134)
    friend = Mallory(field.bob, second, Place(field.net, 78), field.net.workdir, "friend-of-2134")
    yield types.SimpleNamespace(users=users, friend=friend, ns=ns)
    second.stop()
    fleet.stop()
    service.close()


def ring(device):
    """217, with a box that is none."""
    body = stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")) + stun.put("CALL-ID", os.urandom(16)) \
        + stun.put("BOX", os.urandom(300))
    return stun.build("CONNECT", "request", body, os.urandom(12), fingerprint=False)


def ring_all(field, users, devices, each, connections=8):
    """Calls without end by each user, over some connections each; {(user, code): number}, and for how long."""
    tally, lock = collections.Counter(), threading.Lock()
    callers = [Caller(types.SimpleNamespace(ns=Place(field.net, 120 + n), state=users[n % len(users)].state), SERVER, 2133)
               for n in range(len(users) * connections)]
    began = time.monotonic()

    def one(n):
        with callers[n] as caller:
            caller.socket.settimeout(15)
            caller.socket.sendall(b"".join(ring(devices[(n + i) % len(devices)]) for i in range(each // connections)))
            for _ in range(each // connections):
                while (answer := caller.receive()) is not None and answer.kind not in ("success", "error"):
                    pass
                assert answer is not None, "the server hung up on a user who only asked a lot"
                with lock:
                    tally[n % len(users), answer.error_code or 200] += 1

    with concurrent.futures.ThreadPoolExecutor(len(users) * connections) as pool:
        list(pool.map(one, range(len(users) * connections)))
    return tally, time.monotonic() - began


def in_order(field, crowd, devices, codes):
    each = 1000
    idle, before = settled(field.server_pid), status_kb(field.server_pid, "VmRSS")
    most = 0

    def another_call():
        nonlocal most
        with crowd.friend.call() as session:
            stream, status = session.connect("echo:1")
            assert status == 200 and session.echoed(stream)
        most = max(most, len(calls_of(field.net.device)))
        time.sleep(0.05)

    with meanwhile(another_call) as took:
        tally, spent = ring_all(field, crowd.users, devices, each)
    print(f"{sum(tally.values())} calls in {spent:.1f} s: {dict(tally)}; another's calls meanwhile: "
          f"{len(took)}, {median(took):.2f} s, at most {max(took):.2f} s; call processes: at most {most}")
    assert sum(tally.values()) == each * len(crowd.users)
    assert {code for _, code in tally} <= codes
    for n in range(len(crowd.users)):
        let_in = sum(count for (user, code), count in tally.items() if user == n and code != 503)
        assert 0 < let_in <= 200 + 20 * (spent + 1), (n, tally)
    assert len(took) >= 2 and median(took) < 2.0 and max(took) < 8.0, took
    assert most <= CALLS_MAX + 2  # counted while one goes and another comes
    no_calls(field.net.device)
    closed_again([field.server_pid], [idle])
    assert status_kb(field.server_pid, "VmRSS") - before < (400 << 10 if field.sanitized else 12 << 10)
    beckon_calls(field)


@pytest.mark.heavy
def test_thousands_of_calls_to_one_device_are_answered_in_order_and_others_are_served(field, crowd):
    in_order(field, crowd, [2133], {200, 480, 503})


@pytest.mark.heavy
def test_thousands_of_calls_to_many_devices_are_answered_in_order_and_others_are_served(field, crowd):
    # They take what comes with NOTIFY (200), and nothing comes of it.
    in_order(field, crowd, [FLEET_FIRST + n for n in range(FLEET)], {200, 480, 503})
