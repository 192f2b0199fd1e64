"""A caller with a grant, and with the password or a key of the device, who means harm: he scans through the callback, and guesses.
Others are served meanwhile, and nothing of it stays. What he does in the session of a call is in test_hostile_caller_h2.py, what
he does with many at a time in test_hostile_caller_many.py; all of them live in lab/hostile_caller_world.py. Here there is a
neighbour in the device's network, too."""

import concurrent.futures
import contextlib
import random
import socket
import ssl
import threading
import time
import types

import pytest

from lab import DEVICE, ROUTER_B, SERVER, wait_until
from lab.caller import ACCEPTED, BACK_OFF, NO_ANSWER, REFUSED, Caller
from lab.hostile_caller import ManyCandidates, Place
from lab.hostile_caller_world import CALLS_MAX, as_it_was, populated
from lab.hostile_watch import meanwhile, median, no_calls

NEIGHBOUR = "192.168.1.77"


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _as_it_was(field):
    with as_it_was(field):
        yield


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


def scan_kinds(field, lists=()):
    """Twice each of what may be there, in no order that means anything, and others beside: the kinds, and what was found."""
    order = [kind for kind in KINDS for _ in range(2)]
    random.Random(3).shuffle(order)
    no_calls(field.net.device)
    assert len(lists) + len(order) <= CALLS_MAX
    return order, scan_all(field, [[KINDS[kind]] for kind in order] + [*lists])


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
    try:
        with field.net.capture(ns, "any", "tcp[tcpflags] & tcp-syn != 0 or ip6") as capture:
            order, found = scan_kinds(field, lists)
    finally:
        ns.ip("-6", "addr", "flush", "dev", "eth0", "scope", "global")
        for interface in ("eth0", "lo", "default", "all"):
            ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
    no_calls(ns)
    waits = {kind: [wait for name, (_, _, wait) in zip(order, found) if name == kind] for kind in KINDS}
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
    # As this busy machine tells time, asked again where it was too busy; what it would be otherwise lies seconds away.
    for _ in range(4):
        waits = {kind: median(values) for kind, values in scanned.waits.items()}
        alike = 4.5 < min(waits.values()) and max(waits.values()) - min(waits.values()) < (1.2 if field.sanitized else 0.6)
        if alike:
            break
        order, found = scan_kinds(field)
        assert {verdicts for verdicts, *_ in found} == {(ACCEPTED, NO_ANSWER)}
        for kind, (_, _, wait) in zip(order, found):
            scanned.waits[kind].append(wait)
    assert alike, waits
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
    for _ in range(3):
        with field.net.capture(field.net.device, "eth0", "tcp[tcpflags] & tcp-syn != 0 and dst net 4.17.0.0/16") as capture:
            assert {verdicts for verdicts, *_ in scan_all(field, far)} == {(ACCEPTED, NO_ANSWER)}
        first = {}
        for r in capture.fields(["ip.dst", "frame.time_epoch"]):
            first.setdefault(r["ip.dst"], float(r["frame.time_epoch"]))
        took = max(first.values()) - min(first.values())
        allowed = 128 + 16 * (took + 1)
        print(f"{len(first)} dialled in {took:.2f} s")
        # 64 targets are remembered; a further one is refused as long as none of them is done with.
        assert 32 <= len(first) <= allowed, took
        if allowed < 224:  # else the machine was so busy that all of them might have been
            break
        no_calls(field.net.device)
    assert len(first) < 224


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
