"""A caller with a grant, and with the password or a key of the device, who means harm: scans through the callback, guesses,
floods, stalls, asks for what is not his. Others are served meanwhile, and nothing of it stays.

    beckon ---- router-a ---- [wan: mallory, at 91.7.7.x] ---- router-b ---- agent 2133 (web, echo, blob), neighbour
                                |
                              server"""

import concurrent.futures
import contextlib
import os
import random
import re
import signal
import socket
import ssl
import struct
import threading
import time
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, hostile_h2 as h2, stun, wait_until
from lab.caller import ACCEPTED, BACK_OFF, BUSY, NO_ANSWER, NO_SERVICE, REFUSED, Caller
from lab.false_device import DATA, END_STREAM, HEADERS, frame
from lab.hostile_caller import NETWORK, Mallory, ManyCandidates, Place, settle
from lab.hostile_watch import Peak, calls_of, descriptors, meanwhile, median, no_calls, status_kb
from lab.peers import Service, blob, echo
from lab.services import PAGE

MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
GET = "GET / HTTP/1.0\r\n\r\n"
NEIGHBOUR = "192.168.1.77"
CALLS_MAX = 32        # of a device, at a time
SESSION_KB = 40 << 10  # what a call's process may need in all, whatever its caller does
BLOB = 200 << 20


@pytest.fixture(scope="module")
def field(world):
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    settle(net)
    services = Service(echo, net.device, 7777), Service(blob, net.device, 7778)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777", "blob": "tcp:127.0.0.1:7778", "closed": "tcp:127.0.0.1:7779"})
    world.device.start()
    mallory = Mallory(world.alice, world.device, Place(net, 66), net.workdir)
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    friend = Mallory(bob, world.device, Place(net, 77), net.workdir, "friend")
    made = types.SimpleNamespace(net=net, beckon=world.beckon, server=world.server, device=world.device, alice=world.alice,
                                 bob=bob, mallory=mallory, friend=friend, server_pid=world.server.process.pid,
                                 device_pid=world.device.process.pid)
    made.sanitized = status_kb(made.server_pid, "VmSize") > 1 << 30
    yield made
    for service in services:
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
    assert [d["id"] for d in field.server.devices()] == [2133]
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


def test_scan_of_forbidden_addresses_in_every_spelling_dials_nothing(field, neighbour):
    """Listeners stand where they would be reached."""
    ns = field.net.device
    for interface in ("all", "default", "lo", "eth0"):
        ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 0)
    ns.sysctl("net.ipv6.conf.eth0.accept_dad", 0)
    for address in ("2001:470:1:2::3/64", "fd00:77::3/64"):
        ns.ip("-6", "addr", "add", address, "dev", "eth0", "nodad")
    ns.ip("-6", "route", "add", "default", "via", "2001:470:1:2::1", "dev", "eth0")
    lists = [[(address, port) for address in FORBIDDEN[i:i + 4] for port in (7777, 443)] for i in range(0, len(FORBIDDEN), 4)]
    try:
        with field.net.capture(ns, "any", "tcp[tcpflags] & tcp-syn != 0 or (ip6 and tcp)") as capture:
            assert {verdicts for verdicts, *_ in scan_all(field, lists)} == {(ACCEPTED, NO_ANSWER)}
        assert dialled(capture) == set()
        assert any(ip == SERVER for ip, _ in dialled(capture, server_too=True)), "the capture saw nothing at all"
    finally:
        ns.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global")
        for interface in ("eth0", "lo", "default", "all"):
            ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
        no_calls(ns)


def test_scan_of_ports_below_1024_and_of_the_servers_dials_nothing(field, neighbour):
    lists = [[(NEIGHBOUR, port) for port in (1, 22, 25, 80, 0, 53, 445, 1023)],
             [(SERVER, 1201), (SERVER, 1300), (f"::ffff:{SERVER}", 1201), (f"64:ff9b::{SERVER}", 1300)]]
    with field.net.capture(field.net.device, "any", "tcp[tcpflags] & tcp-syn != 0") as capture:
        assert {verdicts for verdicts, *_ in scan_all(field, lists)} == {(ACCEPTED, NO_ANSWER)}
    assert dialled(capture) == set()
    rows = capture.fields(["tcp.dstport"], f"tcp.flags.syn == 1 && tcp.flags.ack == 0 && ip.dst == {SERVER}")
    # Its own business with the server: one connection a call.
    assert [r["tcp.dstport"] for r in rows] == ["1300"] * len(lists)


def test_scan_learns_the_same_at_the_same_time_whatever_is_there(field, neighbour):
    """Open, closed, filtered, absent, forbidden: one verdict after one time."""
    kinds = {"open and silent": (NEIGHBOUR, 2001), "open, TLS": (NEIGHBOUR, 2002), "open, hangs up": (NEIGHBOUR, 2003),
             "filtered": (NEIGHBOUR, 2004), "closed": (NEIGHBOUR, 2005), "nobody": ("192.168.1.78", 2001),
             "nobody far away": ("4.17.168.99", 2001), "loopback": ("127.0.0.1", 7777), "own": (DEVICE, 2001),
             "low port": (NEIGHBOUR, 22)}
    rounds = 3
    assert len(kinds) * rounds <= CALLS_MAX
    order = list(kinds) * rounds
    random.Random(3).shuffle(order)
    found = scan_all(field, [[kinds[kind]] for kind in order])
    assert {verdicts for verdicts, *_ in found} == {(ACCEPTED, NO_ANSWER)}
    waits = {kind: median([wait for name, (_, _, wait) in zip(order, found) if name == kind]) for kind in kinds}
    assert 4.9 < min(waits.values()), waits
    assert max(waits.values()) - min(waits.values()) < (1.0 if field.sanitized else 0.3), waits
    assert neighbour.kept, "the open ports were not even reached"


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
    tally, lock, seconds = {}, threading.Lock(), 12.0

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
    assert len(took) >= 2
    # The right password, as soon as the time is over.
    with Caller(field.alice, SERVER, 2133) as caller:
        def right():
            request = ManyCandidates(caller, 2133, service="web").password(field.alice.password)
            return caller.call(request) == ACCEPTED
        wait_until(right, 70, "the right password works again")
