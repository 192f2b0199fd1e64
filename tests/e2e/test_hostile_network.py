"""A hostile network. Somebody on the path between each two of the three (he drops, delays, doubles, replays,
invents, changes, and carries over an address of his own), and somebody elsewhere who sends under any source
address, with everything that he kept from his time on the path.

What the one can do is prevent and delay while he is there; what the other can do is nothing. Times count from the
moment he leaves. Every byte that he saw is searched for secrets at the end."""

import collections
import contextlib
import os
import random
import re
import secrets
import shutil
import socket
import struct
import threading
import time
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, flood, stun, wait_until
from lab.beckon import PASSWORD, SERVICES
from lab.hostile_reflect import Reflection, ipv6_loopback, server_keeps_nothing
from lab.interceptor import ACK, ACTS, RST, SYN, TCP, UDP, Injector, Interceptor, Packet, Stream, attack, drop, pass_on
from lab.peers import Service
from lab.services import PAGE

SEED = int(os.environ.get("BECKON_SEED") or 714)
KEEPALIVE_S = 5
HEALED_S = 2 * KEEPALIVE_S
CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
SERVER_UDP, HOME = (SERVER, 1200), (ROUTER_B, 2000)
HIS = "198.51.100.9"        # an address of his own, where he hears what is sent to it
NOT_HIS = "198.51.100.66"   # one where he does not
OFFLINE, NO_PATH, SERVER_DOWN, LOST = 4, 6, 8, 1
BINDING_MORE_BYTES = 24
MARK = f"mark-{secrets.token_hex(16)}"


@pytest.fixture(scope="module", autouse=True)
def _tell_seed():
    print(f"seed: {SEED}; BECKON_SEED=N takes another")


@pytest.fixture(scope="module")
def field(world):
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    for address in (HIS, NOT_HIS):
        net.wan.address("lo", f"{address}/32")
    insider = world.beckon.enrol_device(2134, ns=net.server)
    # No relay: a direct path that he spoils is seen to be spoilt. What another path is good for then: test_takeover.py.
    world.server.stop()
    world.server.configure(relay="no")
    world.server.start()
    world.device.stop()
    world.device.configure({**SERVICES, "sink": "tcp:127.0.0.1:7001", "blob": "tcp:127.0.0.1:7002"}, keepalive=KEEPALIVE_S)
    world.device.start()
    made = types.SimpleNamespace(world=world, net=net, wan=net.wan, server=world.server, device=world.device, insider=insider,
                                 all_seen=[], rng=random.Random(SEED))
    yield made


@contextlib.contextmanager
def on_path(field, proto, addresses, port=None, handle=pass_on):
    """An interceptor whose catch is kept for the search at the end."""
    with Interceptor(field.wan, proto, addresses, port, handle) as he:
        yield he
    field.all_seen += he.learned()


def row(field, device=2133):
    found = next(d for d in field.server.devices() if d["id"] == device)
    return found["address"] and (found["address"], found["port"])


def ask_anew(field):
    """The caller keeps nothing of calls before, and so asks the server about the device each time (test_repeated_calls.py
    has the others)."""
    shutil.rmtree(field.world.alice.state / "devices", ignore_errors=True)


def ping(field):
    ask_anew(field)
    return field.world.alice.run("ping", *CALLBACK, "2133", "-c", "1", check=False)


def call(field):
    """A whole call, with the page to show for it."""
    ask_anew(field)
    done = field.world.alice.run("connect", *CALLBACK, "2133", "web", input="GET / HTTP/1.0\r\n\r\n", check=False)
    assert done.status == 0 and done.out.endswith(PAGE), done.out + done.err


def is_message(p, method, kind):
    try:
        m = stun.Message(p.payload)
    except stun.Malformed:
        return False
    return (m.method, m.kind) == (method, kind)


def children(field):
    return field.net.device.run(["pgrep", "-P", field.device.process.pid], check=False).out.split()


@contextlib.contextmanager
def dials(field):
    """What the device's side dials meanwhile, as the wide area network sees it: a list of (address, port), filled at
    the end. Connections to the server are told from others by it."""
    found = []
    capture = field.net.capture(field.wan, "to-b", f"src host {ROUTER_B} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn")
    wait_until(lambda: not children(field), 15, "no call is up")
    yield found
    wait_until(lambda: not children(field), 15, "no call is up")
    capture.stop()
    found += [(r["ip.dst"], int(r["tcp.dstport"])) for r in capture.fields(["ip.dst", "tcp.dstport"])]


def of_one_call(dialled):
    """To the caller once; to the server where datagrams do not do (for 226, or with RESULT), and perhaps to watch the call."""
    assert dialled.count((ROUTER_A, 5000)) == 1
    assert dialled.count((SERVER, 1300)) <= 2 and set(dialled) <= {(SERVER, 1300), (ROUTER_A, 5000)}, dialled


def forget(field):
    """The server is restarted and knows no row; the agent too, so that it tries at once."""
    field.device.stop()
    field.server.stop()
    field.server.start()
    field.device.start(ready=False)


@contextlib.contextmanager
def first_form(field):
    """The server makes devices come for their requests by TLS: meanwhile there is such a connection to be on the path of."""
    config = field.server.state / "beckond.conf"
    before = config.read_text()
    field.server.configure(fast_form="no")
    forget(field)
    field.device.process.wait_line(r"\bready\b", 20)
    try:
        yield
    finally:
        config.write_text(before)
        forget(field)
        field.device.process.wait_line(r"\bready\b", 20)


@pytest.fixture()
def by_tls(field):
    with first_form(field):
        yield


def healed(field, left_at):
    """Registered from home within two keepalives from then on, and callable."""
    wait_until(lambda: row(field) == HOME, HEALED_S - (time.monotonic() - left_at), "the registration is right again")
    call(field)


# -- on the path, device and server, UDP ---------------------------------------------------------------

def _flip_some(field, p):
    return [p.flipped(field.rng.randrange(len(p.payload)), field.rng.randrange(8))]


PREVENTING = {
    "dropped": lambda field, p: [],
    "dropped_on_the_way_back": lambda field, p: [] if p.source == SERVER_UDP else [p],
    "modified": _flip_some,
    "modified_on_the_way_back": lambda field, p: _flip_some(field, p) if p.source == SERVER_UDP else [p],
}


@pytest.mark.parametrize("how", PREVENTING)
def test_onpath_device_server_udp_a_registration_that_is_prevented_is_right_within_two_keepalives(field, how):
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, lambda p: PREVENTING[how](field, p)) as he:
        forget(field)
        wait_until(lambda: len(he.datagrams(SERVER_UDP)) >= 2, 10, "the device tries")
        assert row(field) is None and "revoked" not in field.device.process.output()
        he.leave()
        left = time.monotonic()
    assert field.device.process.running() and field.server.process.running()
    healed(field, left)


def test_onpath_device_server_udp_delayed_doubled_and_reordered_datagrams_do_no_harm(field):
    def late(p):
        return [(field.rng.uniform(0, 0.3), p) for _ in range(3)]

    with dials(field) as dialled, on_path(field, UDP, {ROUTER_B, SERVER}, 1200, late) as he:
        forget(field)
        wait_until(lambda: row(field) == HOME, 10, "registered all the same")
        assert ping(field).status == 0
        assert len(he.seen) >= 6
    of_one_call(dialled)


def test_onpath_device_server_udp_carried_over_his_address_and_home_again_when_he_leaves(field):
    """What any NAT may do. The row is where he really hears; calls go on; and it is over when he is gone."""
    def carry(p):
        if p.destination == SERVER_UDP:
            return [p.but(src=HIS, sport=4000)]
        return [p.but(dst=ROUTER_B, dport=2000)] if p.destination == (HIS, 4000) else []

    with on_path(field, UDP, {ROUTER_B, SERVER, HIS}, 1200, carry) as he:
        forget(field)
        wait_until(lambda: row(field) == (HIS, 4000), 10, "registered over his address")
        call(field)
        he.leave()
        left = time.monotonic()
    healed(field, left)


def test_onpath_device_server_udp_no_row_moves_to_where_he_does_not_hear(field):
    """He lets the device's datagrams leave under another's address; what comes back to that one he does not get."""
    def misname(p):
        return [p.but(src=NOT_HIS)] if p.destination == SERVER_UDP else [p]

    before = row(field)
    victim = field.net.capture(field.wan, "to-s", f"udp and dst host {NOT_HIS}")
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, misname) as he:
        # A keepalive of the run that is registered (another address makes it send one at once), then another run's.
        field.net.device.ip("addr", "add", "192.168.1.99/24", "dev", "eth0")
        wait_until(lambda: he.datagrams(SERVER_UDP), 10, "the device sends a keepalive")
        field.net.device.ip("addr", "del", "192.168.1.99/24", "dev", "eth0")
        field.device.stop()
        sent = len(he.datagrams(SERVER_UDP))
        assert row(field) == before == HOME
        field.device.start(ready=False)
        wait_until(lambda: len(he.datagrams(SERVER_UDP)) >= sent + 2, 10, "the device tries")
        assert row(field) == before
        he.leave()
        left = time.monotonic()
    field.device.process.wait_line("registered", HEALED_S)
    healed(field, left)
    victim.stop()
    got = [int(r["udp.length"]) - 8 for r in victim.fields(["udp.length"], "udp and not icmp")]
    sent = [len(d) for d in he.datagrams(SERVER_UDP)]
    assert got and max(got) <= min(sent) and sum(got) <= sum(sent)


def forgeries(field, request, old):
    """Answers to a REGISTER as somebody makes them who sees it and has not the key."""
    asked = stun.Message(request.payload)
    random_key = field.rng.randbytes(32)

    def error(code):
        return stun.put("ERROR-CODE", struct.pack("!HBB", 0, code // 100, code % 100))

    where = stun.put("XOR-MAPPED-ADDRESS", struct.pack("!BBH", 0, 1, 4000 ^ 0x2112) + socket.inet_aton(HIS)) \
        + stun.put("TIME", (4102444800).to_bytes(8, "big"))
    nonce = stun.put("NONCE", b"abcdefghijklmnopqrst")
    for key in (None, random_key):
        for kind, body in (("error", error(403)), ("error", error(438) + nonce), ("success", where)):
            yield stun.build("REGISTER", kind, body, asked.txid, key)
            yield stun.build("REGISTER", kind, body, asked.txid, key, 32, False)
    for answer in old:  # right once, under another transaction ID
        m = stun.Message(answer)
        yield answer[:8] + asked.txid + answer[20:]
        keep = b"".join(stun.put(a.name, a.value) for a in m.attributes if a.name != "FINGERPRINT")
        yield stun.build("REGISTER", m.kind, keep, asked.txid)  # its FINGERPRINT mended


def test_onpath_device_server_udp_forged_answers_before_the_true_one_are_not_believed(field):
    """403 (revoked), 438 (another nonce), success (another address), without integrity, under another key, with the
    integrity of an older answer; and that the server's port is unreachable. All arrive before the true answer."""
    old, forged, injector = [], 0, Injector(field.wan)

    def first(p):
        nonlocal forged
        if p.source == SERVER_UDP:
            old.append(p.payload)
            return [(0.1, p)]
        back = Packet(UDP, SERVER_UDP, p.source)
        made = [back.but(payload=data) for data in forgeries(field, p, old)]
        forged += len(made)
        injector.unreachable(SERVER, p)
        injector.unreachable(SERVER, p, code=1)
        return made + [p]

    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, first):
        forget(field)
        said = field.device.process.wait_line("registered; the server sees", 10)
        assert f"{ROUTER_B}:2000" in said and row(field) == HOME
        call(field)
    injector.close()
    assert forged >= 24
    said = field.device.process.output()
    assert "revoked" not in said and HIS not in said and "does not answer" not in said, said


@pytest.fixture(scope="module", params=["fast", "first"])
def woken(field, request):
    """He changes every NOTIFY in many ways and keeps the true ones back; the call fails. Later he sends those, again
    and again; then those of a call that came about. Of each form of the call."""
    with first_form(field) if request.param == "first" else contextlib.nullcontext():
        return wake(field, request.param)


def wake(field, form):
    kept = []
    facts = types.SimpleNamespace(form=form)

    def spoil(p):
        if not is_message(p, "NOTIFY", "request"):
            return [p]
        kept.append(p)
        return [p.flipped(at) for at in range(len(p.payload))]

    wait_until(lambda: row(field) == HOME, HEALED_S, "registered")
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, spoil):
        with dials(field) as facts.by_modified:
            facts.status = ping(field).status
        injector = Injector(field.wan)
        with dials(field) as facts.by_kept:
            injector.send(kept[0])
            wait_until(lambda: children(field), 5, "it wakes")
        queue = flood.Queue(field.device.process.pid, 2000)
        with dials(field) as facts.by_replayed:
            for _ in range(300):
                for p in kept:
                    injector.send(p)
                queue.drain()
    facts.kept = kept
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200) as he:
        call(field)
        facts.true = [p for p in he.seen if is_message(p, "NOTIFY", "request")]
    with dials(field) as facts.by_old:
        for _ in range(300):
            for p in facts.true:
                injector.send(p)
            queue.drain()
    injector.close()
    return facts


def test_onpath_a_modified_notify_starts_no_call_and_the_caller_hears_offline(woken):
    assert len(woken.kept) >= 3
    assert woken.status == OFFLINE and woken.by_modified == []


def test_onpath_a_notify_kept_back_wakes_the_device_once_to_ask_its_server_and_no_more(woken):
    assert len({p.payload[8:20] for p in woken.kept}) == 1
    # In the fast form it has nothing to ask: it calls back the one address in the box, where nobody listens any more.
    assert woken.by_kept == [(ROUTER_A, 5000) if woken.form == "fast" else (SERVER, 1300)]


def test_onpath_replayed_notifies_start_no_call(woken):
    assert woken.true and woken.by_replayed == [] and woken.by_old == []


# -- on the path, streams ------------------------------------------------------------------------------

# Which data segment: of the requester 1 is its hello, 2 the rest of the handshake with LOOKUP, 3 CONNECT; of the server
# 1 its part of the handshake, 2 the answer to LOOKUP, 3 to CONNECT and the device's result.
REQUESTER_SERVER = [(act, to, n) for act in ACTS for to, n in ((True, 1), (True, 3), (False, 1), (False, 2))
                    if act != "drop" or n == 1 and to]


@pytest.mark.parametrize("act,to_server,number", REQUESTER_SERVER)
def test_onpath_requester_server_tls_any_interference_is_a_clear_error(field, act, to_server, number):
    """Always the same status: the server cannot be reached, or is not the one. No call comes of it."""
    with on_path(field, TCP, {ROUTER_A, SERVER}, 1201, attack(act, 1201, to_server, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == SERVER_DOWN and SERVER in done.err and "round trip" not in done.out, done
    assert len(done.err.strip().splitlines()) == 1


def test_onpath_requester_server_tls_is_good_again_once_he_has_left(field):
    call(field)


# Of the device: 1 its hello, 2 the rest of the handshake, 3 its answer to 226; of the server 1 its part of the handshake,
# 2 has 226. A device whose handshake fails costs the caller the whole wait (7 s): one such case.
DEVICE_SERVER = [("modify", True, 2), *((act, False, 2) for act in ("modify", "reset", "cut", "inject", "replay"))]


@pytest.mark.parametrize("act,to_server,number", DEVICE_SERVER)
def test_onpath_device_server_tls_any_interference_is_offline_to_the_caller(field, by_tls, act, to_server, number):
    """The device dials its server and nobody else, stays registered, and takes the next call."""
    with dials(field) as dialled, on_path(field, TCP, {ROUTER_B, SERVER}, 1300, attack(act, 1300, to_server, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == OFFLINE and "round trip" not in done.out, done
    assert set(dialled) == {(SERVER, 1300)}
    assert row(field) == HOME


def test_onpath_device_server_tls_a_changed_answer_to_226_leads_the_device_to_its_caller_at_most(field, by_tls):
    """It has the request then, and the caller has given up: it dials the address in the box, once, and nobody takes it."""
    with dials(field) as dialled, on_path(field, TCP, {ROUTER_B, SERVER}, 1300, attack("modify", 1300, True, 3)) as he:
        done = ping(field)
    assert he.handle.done and done.status == OFFLINE, done
    assert sorted(set(dialled)) == [(SERVER, 1300), (ROUTER_A, 5000)] and dialled.count((ROUTER_A, 5000)) == 1
    assert "result=served" not in field.device.process.lines[-1]


def test_onpath_device_server_tls_is_good_again_once_he_has_left(field):
    call(field)


def test_onpath_whole_client_streams_replayed_to_the_server_do_nothing(field, by_tls):
    """A recorded call, said again word by word to both ports: no call, no wake-up, no answer but of the handshake."""
    with on_path(field, TCP, {ROUTER_A, ROUTER_B, SERVER}) as he:
        call(field)
    said = {port: he_said(he, port) for port in (1201, 1300)}
    since = field.server.process.position()
    with dials(field) as dialled:
        for port, streams in said.items():
            assert streams
            for data in streams * 3:
                with field.wan.connect(SERVER, port) as s:
                    s.settimeout(10)
                    with contextlib.suppress(ConnectionError):
                        s.sendall(data)
                        while s.recv(4096):
                            pass
    assert dialled == []
    assert not [line for line in field.server.process.lines[since:] if "audit" in line]
    call(field)


def he_said(he, port):
    """The streams towards that port."""
    flows = collections.defaultdict(dict)
    for p in he.seen:
        if p.dport == port and p.payload:
            flows[p.flow].setdefault(p.seq, p.payload)
    return [b"".join(d for _, d in sorted(f.items())) for f in flows.values()]


# Of the device (TLS client): 1 its hello, 2 the rest of the handshake; of the requester 1 its part of the handshake, 2 the first
# of HTTP/2. Before the session stands the caller waits for another connection in vain (9 s): one such case.
DEVICE_REQUESTER = {("modify", True, 2): NO_PATH,
                    **{(act, to, 3 if to else 2): LOST for act in ("reset", "cut", "modify", "inject", "replay")
                       for to in (True, False) if (act, to) != ("reset", True)}}


@pytest.mark.parametrize("act,to_requester,number", DEVICE_REQUESTER)
def test_onpath_device_requester_any_interference_is_a_clear_error(field, act, to_requester, number):
    with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000, attack(act, 5000, to_requester, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == DEVICE_REQUESTER[act, to_requester, number], done
    assert len(done.err.strip().splitlines()) == 1


def test_onpath_device_requester_the_devices_side_of_all_of_them_has_ended_too(field):
    wait_until(lambda: not children(field), 15, "no process of a call is left")
    call(field)


SIZE = 3 << 20


def counted(n):
    """Bytes that are all different from place to place."""
    return b"".join(struct.pack("!I", i * 2654435761 % (1 << 32)) for i in range(n // 4))


def take(s):
    """(what came, whether its end was said): nothing that comes after a gap, nothing changed."""
    data = bytearray()
    try:
        while piece := s.recv(1 << 16):
            data += piece
    except OSError:
        return bytes(data), False
    return bytes(data), True


@pytest.mark.parametrize("direction", ("to_the_service", "from_the_service"))
@pytest.mark.parametrize("act", ("modify", "inject", "replay", "cut", "reset"))
def test_onpath_end_to_end_nothing_wrong_reaches_service_or_caller(field, act, direction):
    """In the middle of 3 MiB: what arrives is a beginning of what was sent, and its end is not taken for one."""
    content = counted(SIZE)
    upward = direction == "to_the_service"

    def serve(s):
        if upward:
            return take(s)
        with contextlib.suppress(OSError):
            s.sendall(content)
            s.shutdown(socket.SHUT_WR)
            take(s)

    def choose(p, n):
        return (p.sport == 5000) == upward and n > 60 and len(p.payload) >= 1000

    service = Service(serve, field.net.device, 7001)
    try:
        with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000, Stream(choose, ACTS[act])) as he:
            forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
            with field.net.requester.connect("127.0.0.1", 8080, timeout=20) as s:
                if upward:
                    with contextlib.suppress(OSError):
                        s.sendall(content)
                        s.shutdown(socket.SHUT_WR)
                        take(s)
                    got, whole = service.result()
                else:
                    got, whole = take(s)
            forward.stop()
        assert he.handle.done, "it did not come to that"
        assert content.startswith(got) and len(got) < SIZE, f"{len(got)} bytes, wrong ones among them"
        assert not whole, "the cut was taken for the end"
    finally:
        service.close()


def test_onpath_end_to_end_what_he_drops_for_a_while_arrives_when_he_has_left(field):
    content = counted(SIZE)
    service = Service(take, field.net.device, 7001)
    try:
        with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000) as he:
            forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
            with field.net.requester.connect("127.0.0.1", 8080, timeout=20) as s:
                s.sendall(content[:100_000])
                he.handle = drop
                seen = len(he.seen)
                thread = threading.Thread(target=s.sendall, args=(content[100_000:],))
                thread.start()
                wait_until(lambda: len(he.seen) > seen, 10, "some of it is dropped")
                he.leave()
                thread.join()
                s.shutdown(socket.SHUT_WR)
                assert service.result() == (content, True)
            forward.stop()
    finally:
        service.close()


# -- elsewhere, under any source address ---------------------------------------------------------------

@pytest.fixture(scope="module")
def loot(field):
    """What he kept of his time on the path: some lives of the agent, a call, a prevented registration."""
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200) as he:
        for _ in range(3):
            field.device.process.kill()
            field.device.start()
        call(field)
        he.handle = drop  # REGISTERs that the server never saw
        field.device.stop()
        field.device.start(ready=False)
        unseen = len(he.seen)
        wait_until(lambda: len(he.seen) >= unseen + 3, 10, "it tries")
    field.device.process.wait_line("registered", HEALED_S)
    kinds = {(m.method, m.kind) for m in map(stun.Message, he.datagrams())}
    assert {("REGISTER", "request"), ("REGISTER", "success"), ("REGISTER", "error"), ("NOTIFY", "request"),
            ("NOTIFY", "success")} <= kinds
    return types.SimpleNamespace(up=he.datagrams(SERVER_UDP), down=he.datagrams(HOME))


def some_source(field):
    rng = field.rng
    return rng.choice((HOME, HOME, (ROUTER_B, rng.randint(1024, 65535)), SERVER_UDP, (ROUTER_A, 2000), (HIS, 1200),
                       (DEVICE, 2000), ("127.0.0.1", 1200),
                       (f"{rng.randint(1, 223)}.{rng.randrange(256)}.7.9", rng.randint(1, 65535))))


def spoof(field, loot, seconds, running):
    """All of it, from everywhere, to server and device; no faster than it is read. Returns how many."""
    sender = Injector(field.wan)
    queues = flood.Queue(field.server.process.pid, 1200), flood.Queue(field.device.process.pid, 2000)
    end, sent = time.monotonic() + seconds, 0
    messages = loot.up + loot.down
    while time.monotonic() < end or running():
        for _ in range(32):
            at = some_source(field)
            data = field.rng.choice(messages if field.rng.random() < 0.8 else [flood.spoil(field.rng, messages)])
            with contextlib.suppress(OSError):
                sender.send(Packet(UDP, at, SERVER_UDP, data))
                sender.send(Packet(UDP, SERVER_UDP, HOME, field.rng.choice(messages)))
            sent += 2
        for queue in queues:
            queue.drain()
    sender.close()
    return sent


def test_offpath_replays_and_forgeries_from_any_source_neither_move_nor_end_a_registration(field, loot):
    """For longer than a keepalive, at thousands a second. Calls come about; the device sends no more than it would."""
    since = field.device.process.position()
    register = field.net.capture(field.wan, "to-b", f"udp and src host {ROUTER_B} and src port 2000", snap=200)
    seconds, began = KEEPALIVE_S + 1, time.monotonic()
    looked = []
    count = []
    busy = threading.Event()
    busy.set()
    thread = threading.Thread(target=lambda: count.append(spoof(field, loot, seconds, busy.is_set)))
    with dials(field) as dialled:
        thread.start()
        try:
            while time.monotonic() - began < seconds:
                looked.append(row(field))
            assert ping(field).status == 0
        finally:
            busy.clear()
            thread.join()
    took = time.monotonic() - began
    assert set(looked) == {HOME} and len(looked) > 5
    of_one_call(dialled)  # nobody else woke it
    assert not [line for line in field.device.process.lines[since:] if re.search("registered|revoked|does not answer", line)]
    register.stop()
    sent = register.fields(["frame.number"], "stun.type == 0x0281")
    print(f"{count[0]} datagrams in {took:.1f} s; the device sent {len(sent)} REGISTERs")
    assert count[0] > 2000 and len(sent) <= took / KEEPALIVE_S * 1.2 + 2
    call(field)


def test_offpath_resets_and_data_without_the_right_numbers_do_not_end_streams(field):
    """Blind: he knows addresses and ports, and not where the sequence numbers stand. A session goes on."""
    service = Service(lambda s: [s.sendall(s.recv(100)) for _ in range(2)], field.net.device, 7001)
    with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000) as he:
        forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
        with field.net.requester.connect("127.0.0.1", 8080, timeout=10) as s:
            s.sendall(b"before")
            assert s.recv(100) == b"before"
            ends = {(p.source, p.destination): p for p in he.seen}
            he.leave()
            injector = Injector(field.wan)
            for _ in range(300):
                for p in ends.values():
                    # Outside of any window: those inside are 1 in 2^16, and are what an on-path attacker does.
                    far = (p.seq + (1 << 30) + field.rng.randrange(1 << 31)) % (1 << 32)
                    injector.send(p.but(seq=far, payload=b"", flags=RST | ACK))
                    injector.send(p.but(seq=far, payload=field.rng.randbytes(100)))
                    injector.send(p.but(seq=far, payload=b"", flags=SYN))
                    injector.unreachable(p.dst, p.but(seq=far))
            injector.close()
            s.sendall(b"after")
            assert s.recv(100) == b"after"
        assert len(ends) == 2
        forward.stop()
    service.close()


def test_offpath_floods_on_the_callback_port_and_the_devices_port_while_a_call_comes_about(field, loot):
    """SYNs and datagrams under any source address, the device's and the server's among them, thousands a second."""
    stop, sent = threading.Event(), [0]

    def flood_both():
        injector = Injector(field.wan)
        rng = random.Random(SEED)
        sources = [ROUTER_B, SERVER, HIS, NOT_HIS]
        while not stop.is_set():
            for _ in range(16):
                src = rng.choice(sources) if rng.random() < 0.3 else f"198.51.100.{rng.randint(100, 250)}"
                at = (src, rng.randint(1024, 65535))
                injector.send(Packet(TCP, at, (ROUTER_A, 5000), seq=rng.randrange(1 << 32), flags=SYN))
                injector.send(Packet(TCP, at, (ROUTER_A, 5000), rng.randbytes(50), rng.randrange(1 << 32), 1, ACK))
                injector.send(Packet(UDP, at, (ROUTER_A, 5000), rng.choice(loot.down)))
                injector.send(Packet(UDP, SERVER_UDP, HOME, rng.choice(loot.down + loot.up)))
                sent[0] += 4
            time.sleep(0.002)
        injector.close()

    thread = threading.Thread(target=flood_both)
    thread.start()
    try:
        wait_until(lambda: sent[0] > 1000, 10)
        with dials(field) as dialled:
            done = ping(field)
    finally:
        stop.set()
        thread.join()
    assert done.status == 0, done.err
    of_one_call(dialled)
    print(f"{sent[0]} packets; {done.out.strip().splitlines()[-1]}")


# -- amplification ---------------------------------------------------------------------------------------

def registers(field, secret, generation=None, epoch=None, nonce=b"", known=2134):
    """REGISTERs right in all but where they come from, each with a tag of its own."""
    who = (generation or secret[:4]) + (epoch or secret[4:6])
    for _ in range(8):
        body = stun.put("EQUIPMENT-ID", known.to_bytes(8, "big")) + stun.put("REGISTRATION", who + b"\0\0") \
            + stun.put("TAG", field.rng.randbytes(12)) + (stun.put("NONCE", nonce) if nonce else b"")
        yield stun.build("REGISTER", "request", body, field.rng.randbytes(12), secret[6:38])


@pytest.fixture(scope="module")
def reflection(field, loot):
    """Every kind of datagram that this file can think of, and the table of what came back."""
    rng, r = field.rng, Reflection(field.wan, SERVER_UDP)
    insider = (field.insider.state / "registration.key").read_bytes()
    gone = field.world.beckon.enrol_device(2135, ns=field.net.server)
    revoked = (gone.state / "registration.key").read_bytes()
    field.server.revoke(device=2135)

    # By name, so that the sweep over numbers passes it over: its rate limit wants fewer to an address.
    binding = "BINDING"

    def made(kinds, body=b"", key=None, fingerprint=True, methods=range(0x1000)):
        return (stun.build(m, kind, body, rng.randbytes(12), key, 16, fingerprint)
                for m in methods for kind in kinds if m != 1)

    every = stun.CLASSES
    with server_keeps_nothing(field.server):
        r.binding = [r.measure("Binding, bare", made(["request"], fingerprint=False, methods=[binding]), 5),
                     r.measure("Binding with FINGERPRINT", made(["request"], methods=[binding]), 5),
                     r.measure("Binding with other clients' attributes", made(
                         ["request"], stun.put(0x8022, b"client 1.0"), methods=[binding]), 5)]
        r.measure("Binding with attributes that must be understood", made(
            ["request"], stun.put(0x0006, b"user") + stun.put(0x0014, b"realm"), methods=[binding] * 4), 5)
        r.measure("Binding, 1200 bytes", made(["request"], stun.put(0x8022, bytes(1168)), methods=[binding] * 4), 5)
        r.measure("Binding, other classes", made(every[1:], methods=[binding]), 5)
        r.measure("methods 0x000-0xFFF, all classes, empty", made(every, fingerprint=False))
        r.measure("methods 0x000-0xFFF, all classes, FINGERPRINT", made(every))
        r.measure("methods 0x000-0xFFF, all classes, like REGISTER", made(every, loot.up[0][20:64], b"k" * 32))
        r.measure("REGISTER, right, another address", registers(field, insider))
        r.measure("REGISTER, right, a nonce of nobody", registers(field, insider, nonce=b"abcdefghijklmnopqrst"))
        r.measure("REGISTER of a revoked device", registers(field, revoked, known=2135))
        r.measure("REGISTER, unknown epoch", registers(field, insider, epoch=b"\x77\x77"))
        r.measure("REGISTER, other generation", registers(field, insider, generation=b"\0\0\0\x09"))
        r.measure("REGISTER, wrong key", registers(field, insider[:6] + b"x" * 32))
        r.measure("REGISTER, unknown device", registers(field, insider, known=999))
        r.measure("replays of a device's", loot.up)
        r.measure("replays of the server's own", loot.down)
        r.measure("any of these, spoiled", (p for p in (flood.spoil(rng, loot.up + loot.down) for _ in range(4000))
                                            if p[:2] != b"\0\1"))  # no Binding: those have lines of their own
        r.measure("noise of every length up to 1472", (rng.randbytes(n) for n in range(1473)))
        r.measure("oversized attributes", (
            stun.build(m, "request", stun.put(a, bytes(n)), rng.randbytes(12), b"k" * 32)
            for m in stun.METHODS if m != 1 for a in (0x8022, 0x0006, 0x4007, 0x0015) for n in (200, 700, 1400)))
    print(r.table())
    return r


def test_amplification_no_datagram_of_any_method_class_or_size_is_answered_with_more_bytes(reflection):
    """bytes out <= bytes in for each label and each message, plain Binding apart."""
    for r in reflection.rows:
        if not r.label.startswith("Binding"):
            assert r.bytes_out <= r.bytes_in and r.largest[1] <= r.largest[0], r
    answered = {r.label for r in reflection.rows if r.bytes_out and not r.label.startswith("Binding")}
    assert {"REGISTER, right, another address", "REGISTER of a revoked device"} <= answered  # it did read them


def test_amplification_of_plain_binding_is_at_most_24_bytes(field, reflection):
    for found in reflection.binding:
        assert found and all(0 < out <= len(asked) + BINDING_MORE_BYTES for asked, out in found)
    with ipv6_loopback(field.net.server), field.net.server.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        request = stun.build("BINDING", "request", b"", b"twelve bytes", fingerprint=False)
        wait_until(lambda: sent_to(s, request, ("::1", 1200)), 5, "::1 is up")
        answer = s.recv(2000)
    assert len(answer) == 44 == len(request) + BINDING_MORE_BYTES


def sent_to(s, data, where):
    with contextlib.suppress(OSError):
        return s.sendto(data, where)


def test_amplification_before_a_tcp_handshake_only_the_kernel_answers_and_only_with_syn_ack(field):
    """A spoofed SYN, with a ClientHello in it too, and data without a handshake. Until the three-way handshake has proved
    the address nothing of ours is sent: what is, is the kernel's SYN-ACK (repeated a few times, by its own settings) or RST."""
    with on_path(field, TCP, {ROUTER_A, SERVER}, 1201) as he:
        assert ping(field).status == 0
    hello = he_said(he, 1201)[0][:517]
    capture = field.net.capture(field.wan, "to-s", f"tcp and src host {SERVER} and dst net 198.51.100.0/24")
    injector = Injector(field.wan)
    sent = 0
    with server_keeps_nothing(field.server):
        # The addresses are nobody's: no RST of theirs ends it early.
        field.net.block(f"ip daddr {{ {HIS}, {NOT_HIS} }}", "silent")
        for port in (1201, 1300):
            for n in range(100):
                at = f"198.51.100.{field.rng.randint(100, 250)}", 10000 + n
                seq = field.rng.randrange(1 << 32)
                for packet in (Packet(TCP, at, (SERVER, port), seq=seq, flags=SYN),
                               Packet(TCP, (at[0], at[1] + 1000), (SERVER, port), hello, seq, flags=SYN),
                               Packet(TCP, (at[0], at[1] + 2000), (SERVER, port), hello, seq, 7, ACK)):
                    injector.send(packet)
                    sent += 1
        wait_until(lambda: len(capture.fields(["frame.number"])) >= sent, 5, "all were answered")
    field.net.block_clear("silent")
    injector.close()
    capture.stop()
    rows = capture.fields(["tcp.flags", "tcp.len"])
    flags = {int(r["tcp.flags"], 16) & 0xFF for r in rows}
    assert {int(r["tcp.len"]) for r in rows} == {0}
    assert flags <= {SYN | ACK, RST, RST | ACK}, flags
    print(f"{sent} segments spoofed, {len(rows)} answers of the kernel, no byte of data")


# -- the search ------------------------------------------------------------------------------------------

def test_onpath_he_learns_no_secret(field):
    """On all three paths at once during a call with marks both ways; and in all that any test of this file let him see."""
    (field.world.nginx.root / "mark.txt").write_text(MARK)
    with on_path(field, UDP, {ROUTER_B, SERVER}), on_path(field, TCP, {ROUTER_A, ROUTER_B, SERVER}):
        wait_until(lambda: row(field) == HOME, HEALED_S)
        done = field.world.alice.run("connect", *CALLBACK, "2133", "web",
                                     input=f"GET /mark.txt HTTP/1.0\r\nX-Mark: {MARK[::-1]}\r\n\r\n")
        assert done.out.endswith(MARK)
        field.device.process.kill()
        field.device.start()
    seen = b"\n".join(field.all_seen)
    assert stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) in seen and b"\x16\x03\x01" in seen
    key = (field.device.state / "registration.key").read_bytes()[6:38]
    box = stun.box_secret((field.device.state / "box.key").read_bytes())
    for secret in (PASSWORD.encode(), MARK.encode(), MARK[::-1].encode(), PAGE.encode(), b"This is device", b"GET /", key, box,
                   counted(SIZE)[:64]):
        assert secret not in seen, secret
