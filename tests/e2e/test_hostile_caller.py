"""A caller with a grant, and with the password or a key of the device, who means harm: scans through the callback, guesses,
floods, stalls, asks for what is not his. Others are served meanwhile, and nothing of it stays.

    beckon ---- router-a ---- [wan: mallory, at 91.7.7.x] ---- router-b ---- agent 2133 (web, echo, blob), neighbour
                                |
                              server"""

import collections
import concurrent.futures
import contextlib
import os
import random
import socket
import sqlite3
import ssl
import struct
import threading
import time
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, hostile_h2 as h2, stun, wait_until
from lab.caller import ACCEPTED, BACK_OFF, NO_ANSWER, REFUSED, Caller
from lab.false_device import DATA, END_STREAM, HEADERS, frame
from lab.hostile_caller import Mallory, ManyCandidates, Place, settle
from lab.hostile_watch import Peak, calls_of, descriptors, meanwhile, median, no_calls, status_kb
from lab.peers import Service, blob, echo
from lab.services import PAGE

MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
GET = "GET / HTTP/1.0\r\n\r\n"
NEIGHBOUR = "192.168.1.77"
CALLS_MAX = 32        # of a device, at a time
SESSION_KB = 32 << 10  # what a call's process may need in all, whatever its caller does
BLOB = 200 << 20


@pytest.fixture(scope="module")
def field(world):
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    settle(net)
    services = Service(echo, net.device, 7777), Service(blob, net.device, 7778)
    silent = net.device.listen(7780, "127.0.0.1")
    silent.listen(2048)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777", "blob": "tcp:127.0.0.1:7778", "closed": "tcp:127.0.0.1:7779",
                            "silent": "tcp:127.0.0.1:7780"}, keepalive=25)  # fixed: it measures nothing meanwhile
    world.device.start()
    mallory = Mallory(world.alice, world.device, Place(net, 66), net.workdir)
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    friend = Mallory(bob, world.device, Place(net, 77), net.workdir, "friend")
    made = types.SimpleNamespace(net=net, beckon=world.beckon, server=world.server, device=world.device, alice=world.alice,
                                 bob=bob, mallory=mallory, friend=friend, server_pid=world.server.process.pid,
                                 device_pid=world.device.process.pid)
    made.sanitized = status_kb(made.server_pid, "VmSize") > 1 << 30
    yield made
    for service in (*services, silent):
        service.close()


@pytest.fixture(autouse=True)
def as_it_was(field):
    """Each test leaves the programs up, the device registered, no call, no connection, and memory as it was."""
    no_calls(field.net.device)
    before = [status_kb(pid, "VmRSS") for pid in (field.server_pid, field.device_pid)]
    idle = descriptors(field.device_pid)
    yield
    no_calls(field.net.device)
    assert field.server.process.running() and field.device.process.running()
    row, = [d for d in field.server.devices() if d["id"] == 2133]
    assert row["address"] and row["last_seen_s"] < 40, row
    wait_until(lambda: descriptors(field.device_pid) == idle, 10, "the agent has closed what it opened")
    grown = [status_kb(pid, "VmRSS") - was for pid, was in zip((field.server_pid, field.device_pid), before)]
    assert max(grown) <= (400 << 10 if field.sanitized else 8 << 10), f"memory grew by {grown} KB"


def beckon_calls(field):
    done = field.alice.run("connect", *MAPPED, 2133, "web", input=GET)
    assert done.out.endswith(PAGE), done.out + done.err


def newest_call(field, before):
    return (calls_of(field.net.device) - before).pop()


@contextlib.contextmanager
def harmed_nobody(field, slowest=3.0):
    """Another one's session goes on meanwhile, round trip after round trip, and he can call anew."""
    with field.friend.call() as other:
        stream, status = other.connect("echo:1")
        assert status == 200

        def round_trip():
            assert other.echoed(stream), "the other one's session has broken"
            time.sleep(0.01)

        with meanwhile(round_trip) as took:
            yield
    assert max(took) < slowest, f"the other one waited {max(took):.2f} s"


# -- scanning ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neighbour(field):
    """A machine beside the device: port 2001 takes connections and is silent, 2002 speaks TLS, 2003 hangs up,
    2004 drops packets, the rest are closed."""
    net = field.net
    ns = net.host("neighbour", net.router_b, NEIGHBOUR)
    wait_until(lambda: net.device.reachable(NEIGHBOUR), 10, "the neighbour is there")
    ns.nft("table inet f { chain input { type filter hook input priority 0; tcp dport 2004 drop; }; }")
    listeners = [ns.listen(port, timeout=None) for port in (2001, 2002, 2003)]
    for s in listeners:
        s.listen(256)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(field.mallory.certificate)
    kept = []

    def serve(listener, how):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            kept.append(s)
            threading.Thread(target=how, args=(s,), daemon=True).start()

    def speak(s):
        with contextlib.suppress(OSError):
            s.settimeout(5)
            kept.append(context.wrap_socket(s, server_side=True))

    for listener, how in zip(listeners, (lambda s: None, speak, lambda s: s.close())):
        threading.Thread(target=serve, args=(listener, how), daemon=True).start()
    yield types.SimpleNamespace(ns=ns, kept=kept)
    for s in listeners:
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)
        s.close()


def scan(field, candidates):
    """What the caller gets to know by naming these: verdicts and when each came, counted from 217."""
    with field.mallory.caller() as caller:
        request = field.mallory.request(caller, "web", candidates)
        began = time.monotonic()
        assert caller.ask(request.message()).kind == "success"
        first = caller.result(request)
        told = time.monotonic()
        second = caller.result(request)
        return (first, second), told - began, time.monotonic() - told


def scan_all(field, lists):
    """Each in a call of its own, all at a time."""
    with concurrent.futures.ThreadPoolExecutor(len(lists)) as pool:
        return list(pool.map(lambda c: scan(field, c), lists))


def dialled(capture, server_too=False):
    """Where SYNs went, on whichever interface."""
    rows = capture.fields(["ip.dst", "ipv6.dst", "tcp.dstport"], "tcp.flags.syn == 1 && tcp.flags.ack == 0")
    found = {(r["ip.dst"] or r["ipv6.dst"], int(r["tcp.dstport"])) for r in rows}
    return {f for f in found if server_too or f[0] != SERVER}


FORBIDDEN = [
    # this machine, in all spellings (coturn CVE-2020-26262 among them)
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:7f00:1::1", "2002::",
    "2001:0:7f00:1::1", "::ffff:0:127.0.0.1",
    # its own addresses, in its network and outside, and its gateway
    DEVICE, f"::ffff:{DEVICE}", f"64:ff9b::{DEVICE}", "2002:c0a8:103::1", ROUTER_B, f"::ffff:{ROUTER_B}", "192.168.1.1",
    "::ffff:192.168.1.1", "64:ff9b::c0a8:101", "2001:470:1:2::3", "fd00:77::3",
    # everybody, or nobody in particular
    "192.168.1.255", "192.168.1.0", "::ffff:192.168.1.255", "255.255.255.255", "224.0.0.1", "239.1.2.3", "ff02::1", "ff05::2",
    "169.254.1.1", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "240.0.0.1",
    # other people's private networks
    "10.0.0.1", "172.16.0.1", "100.64.0.1", "192.168.2.1", "fd00:78::1", "::ffff:10.0.0.1",
    # kept for documents and tests
    "192.0.2.1", "198.18.0.1", "203.0.113.9", "2001:db8::1", "100::1", "fec0::1",
]


KINDS = {"open and silent": (NEIGHBOUR, 2001), "open, TLS": (NEIGHBOUR, 2002), "open, hangs up": (NEIGHBOUR, 2003),
         "filtered": (NEIGHBOUR, 2004), "closed": (NEIGHBOUR, 2005), "nobody": ("192.168.1.78", 2001),
         "nobody far away": ("4.17.168.99", 2001), "loopback": ("127.0.0.1", 7777), "own": (DEVICE, 2001),
         "low port": (NEIGHBOUR, 22)}
LOW = [(NEIGHBOUR, port) for port in (1, 22, 25, 80, 0, 53, 445, 1023)]
WEB = ("127.0.0.1", 80)
SERVERS = [(SERVER, 1201), (SERVER, 1300), (f"::ffff:{SERVER}", 1201), (f"64:ff9b::{SERVER}", 1300)]


@pytest.fixture(scope="module")
def scanned(field, neighbour):
    """All of the above named by calls at one time: what was dialled, and what each call learned and when. The device has
    IPv6 too, with an address of either kind and a default route, and a service listens on all of its addresses."""
    ns = field.net.device
    for interface in ("all", "default", "lo", "eth0"):
        ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 0)
    for address in ("2001:470:1:2::3/64", "fd00:77::3/64"):
        ns.ip("-6", "addr", "add", address, "dev", "eth0", "nodad")
    ns.ip("-6", "route", "add", "default", "via", "2001:470:1:2::1", "dev", "eth0")
    lists = [[(address, 7777) for address in FORBIDDEN[i:i + 8]] for i in range(0, len(FORBIDDEN), 8)] + [LOW, SERVERS]
    order = [kind for kind in KINDS for _ in range(2)]
    random.Random(3).shuffle(order)
    no_calls(ns)
    assert len(lists) + len(order) <= CALLS_MAX
    try:
        with field.net.capture(ns, "any", "tcp[tcpflags] & tcp-syn != 0 or ip6") as capture:
            found = scan_all(field, lists + [[KINDS[kind]] for kind in order])
    finally:
        ns.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global")
        for interface in ("eth0", "lo", "default", "all"):
            ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
    no_calls(ns)
    waits = {kind: [wait for name, (_, _, wait) in zip(order, found[len(lists):]) if name == kind] for kind in KINDS}
    return types.SimpleNamespace(capture=capture, dialled=dialled(capture), verdicts={verdicts for verdicts, *_ in found},
                                 waits=waits, calls=len(found), reached=list(neighbour.kept))


def test_scan_of_forbidden_addresses_in_every_spelling_dials_nothing(scanned):
    """What was dialled of all that was named is what may be: the neighbour, and one where there is nobody. And the service
    that this caller may use, which nobody's box names an address of, for his first stream."""
    assert {ip for ip, _ in scanned.dialled - {WEB}} - {"192.168.1.78"} == {NEIGHBOUR, "4.17.168.99"}


def test_scan_of_ports_below_1024_and_of_the_servers_dials_nothing(scanned):
    assert {port for ip, port in scanned.dialled if ip == NEIGHBOUR} == {2001, 2002, 2003, 2004, 2005}
    rows = scanned.capture.fields(["tcp.dstport"], f"tcp.flags.syn == 1 && tcp.flags.ack == 0 && ip.dst == {SERVER}")
    # Its own business with the server: a connection where RESULT got no answer by UDP, on a busy machine.
    assert {r["tcp.dstport"] for r in rows} <= {"1300"} and len(rows) <= scanned.calls


def test_scan_learns_the_same_at_the_same_time_whatever_is_there(field, scanned):
    """Open, closed, filtered, absent, forbidden: one verdict after one time."""
    assert scanned.verdicts == {(ACCEPTED, NO_ANSWER)}
    waits = {kind: median(values) for kind, values in scanned.waits.items()}
    # As this busy machine tells time; what it would be otherwise lies seconds away.
    assert 4.5 < min(waits.values()), waits
    assert max(waits.values()) - min(waits.values()) < (1.2 if field.sanitized else 0.6), waits
    assert scanned.reached, "the open ports were not even reached"


def test_scan_by_more_than_eight_candidates_is_refused_unseen(field, neighbour):
    with field.net.capture(field.net.device, "any", "tcp[tcpflags] & tcp-syn != 0") as capture:
        since = field.device.process.position()
        with field.mallory.caller() as caller:
            request = field.mallory.request(caller, "web", [(NEIGHBOUR, 2010 + i) for i in range(9)])
            assert caller.ask(request.message()).kind == "success"
            field.device.process.wait_line(r"audit call user=alice by=- service=- result=bad-request$", 10, since)
    assert dialled(capture) == set()


def test_scan_by_many_calls_is_held_to_the_dials_that_there_are(field, neighbour):
    """A right caller, 28 calls, 224 machines: no more than burst and rate allow, and a port scan of one is slower still."""
    far = [[(f"4.17.{160 + i}.{9 + k}", 6000) for k in range(8)] for i in range(28)]
    with field.net.capture(field.net.device, "eth0", "tcp[tcpflags] & tcp-syn != 0 and dst net 4.17.0.0/16") as capture:
        began = time.monotonic()
        assert {verdicts for verdicts, *_ in scan_all(field, far)} == {(ACCEPTED, NO_ANSWER)}
        took = time.monotonic() - began
    # 64 targets are remembered; a further one is refused as long as none of them is done with.
    assert 32 <= len(dialled(capture)) <= min(128 + 16 * (took + 1), 223), took


# -- guessing ------------------------------------------------------------------------------------------


def guesses(field, caller_of, seconds, tally, lock):
    """Wrong passwords, one connection each, until the time is up."""
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            with caller_of() as caller:
                for _ in range(20):
                    if time.monotonic() >= end:
                        break
                    n += 1
                    request = ManyCandidates(caller, 2133, service="web").password(f"guess {n}")
                    answer = caller.ask(request.message())
                    with lock:
                        tally["sent"] = tally.get("sent", 0) + 1
                        if answer.kind != "success":
                            tally[answer.error_code] = tally.get(answer.error_code, 0) + 1
                            continue
                    caller.socket.settimeout(9)
                    verdict = caller.result(request)
                    with lock:
                        tally[verdict] = tally.get(verdict, 0) + 1
        except (OSError, AssertionError):
            with lock:
                tally["broken"] = tally.get("broken", 0) + 1


@pytest.mark.heavy
def test_password_guesses_are_bounded_and_a_key_gets_through_meanwhile(field):
    """From three users, sixteen connections, as fast as it goes: what is really looked at is what the back-off allows."""
    carol = field.beckon.enrol_user("carol", devices=[2133])
    dave = field.beckon.enrol_user("dave", devices=[2133])
    users = [field.alice, carol, dave]
    tally, lock, seconds = {}, threading.Lock(), 6.0

    def caller_of(number):
        user = types.SimpleNamespace(ns=Place(field.net, 100 + number), state=users[number % 3].state)
        return lambda: Caller(user, SERVER, 2133)

    def a_call_by_key():
        with field.friend.call() as session:
            stream, status = session.connect("echo:1")
            assert status == 200 and session.echoed(stream)
        time.sleep(0.2)

    no_calls(field.net.device)
    with meanwhile(a_call_by_key) as took:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: guesses(field, caller_of(n), seconds, tally, lock), range(16)))
        spent = time.monotonic() - began
    print(f"guesses: {tally} in {spent:.1f} s; calls by key meanwhile: {sorted(took)}")
    assert tally.get(ACCEPTED, 0) == 0
    # Five at once, then one each after 1, 2, 4, 8, ... s.
    allowed = 5 + sum(1 for k in range(8) if 2 ** (k + 1) - 1 <= spent + 1)
    assert 5 <= tally[REFUSED] <= allowed, tally
    assert tally.get(BACK_OFF, 0) > tally[REFUSED], tally
    assert len(took) >= 2 and max(took) < 6.0 and median(took) < 2.0, took
    # The right password, as soon as the time is over.
    with Caller(field.alice, SERVER, 2133) as caller:
        def right():
            time.sleep(0.2)  # the server takes 20 requests a second of one user, and the guesses have used up his reserve
            request = ManyCandidates(caller, 2133, service="web").password(field.alice.password)
            return caller.call(request) == ACCEPTED
        wait_until(right, 70, "the right password works again")


# -- HTTP/2 --------------------------------------------------------------------------------------------

ENDS = {"rapid_reset", "made_you_reset", "settings_flood", "ping_flood", "priority_flood", "empty_data", "window_crumbs",
        "unknown_frames", "continuation_flood", "empty_continuations", "header_bomb", "huge_frames", "goaways", "pushes",
        "garbage", "frames_of_any_kind"}


@contextlib.contextmanager
def attacked(field, service="echo", *settings):
    """A session of mallory's with a stream to `service` in it, its process watched; others are served meanwhile, the
    process keeps to its memory, and the idle part does not even notice."""
    with harmed_nobody(field):
        before = calls_of(field.net.device)
        idle = status_kb(field.device_pid, "VmRSS")
        with field.mallory.call(service, *settings) as session:
            stream, status = session.connect(f"{service}:1")
            assert status == 200
            pid = newest_call(field, before)
            peak = Peak(pid)
            yield session, stream, pid
        used = peak.stop()
        print(f"call process: at most {used} KB")
        assert used < (800 << 10 if field.sanitized else SESSION_KB), f"the call's process took {used} KB"
        assert status_kb(field.device_pid, "VmRSS") - idle < 4096 or field.sanitized


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
            wait_until(lambda: len(took) >= 2, 20, "others call")


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
            wait_until(lambda: len(took) >= 1, 20, "others call")


@pytest.mark.heavy
def test_h2_calls_that_never_come_to_the_point_end_by_their_limits(field):
    """TCP and then silence; half a handshake's answer; TLS and no HTTP/2; half a preface: none is kept longer than the ten
    seconds that a caller has to pick."""
    with harmed_nobody(field), contextlib.ExitStack() as held:
        began = time.monotonic()
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
        ours = calls_of(field.net.device) - others
        assert len(ours) == 3
        wait_until(lambda: len(calls_of(field.net.device)) == 1, 20, "all but the other one's have ended")
        assert time.monotonic() - began < 16


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


# -- as many calls as there may be ----------------------------------------------------------------------


def test_a_call_beyond_the_limit_is_put_through_when_another_ends(field):
    """The device does not answer while it has no room; the server asks again, and the call waits for that."""
    with contextlib.ExitStack() as stack:
        up = [stack.enter_context(field.friend.call()) for _ in range(CALLS_MAX)]
        assert len(calls_of(field.net.device)) == CALLS_MAX
        ends = threading.Timer(1.0, up[0].socket.close)
        ends.start()
        began = time.monotonic()
        with field.friend.call() as session:
            assert session.connect("echo:1")[1] == 200
        assert 1.0 < time.monotonic() - began < 7.0
        ends.join()


# -- the server's ports --------------------------------------------------------------------------------


def lookup(more=b""):
    return stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) + more, os.urandom(12),
                      fingerprint=False)


@contextlib.contextmanager
def server_serves(field, slowest=4.0):
    """Whole calls of another user, one after the other, while something goes on at the server; and its memory."""
    idle = descriptors(field.server_pid)

    def one():
        with field.friend.call() as session:
            assert session.connect("echo:1")[1] == 200
        time.sleep(0.15)  # a device dials one address eight times a second

    with meanwhile(one) as took:
        yield took
    assert max(took) < slowest, took
    wait_until(lambda: descriptors(field.server_pid) == idle, 20, "the server has closed what was opened")


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
        message, began, alive = lookup(), time.monotonic(), set(callers)
        for byte in message:
            if time.monotonic() - began > 5.5:
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
    idle, before = descriptors(field.server_pid), status_kb(field.server_pid, "VmRSS")
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
    wait_until(lambda: descriptors(field.server_pid) == idle, 20, "the server has closed what was opened")
    assert status_kb(field.server_pid, "VmRSS") - before < (400 << 10 if field.sanitized else 12 << 10)
    beckon_calls(field)


@pytest.mark.heavy
def test_thousands_of_calls_to_one_device_are_answered_in_order_and_others_are_served(field, crowd):
    in_order(field, crowd, [2133], {200, 480, 503})


@pytest.mark.heavy
def test_thousands_of_calls_to_many_devices_are_answered_in_order_and_others_are_served(field, crowd):
    # They take what comes with NOTIFY (200), and nothing comes of it.
    in_order(field, crowd, [FLEET_FIRST + n for n in range(FLEET)], {200, 480, 503})
