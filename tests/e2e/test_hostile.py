"""Hostile input from everywhere: garbage, truncated, oversized, changed, replayed and spoofed datagrams and
streams, against the server, the device and a caller's callback port, while calls go on.

Over 100,000 pieces are generated, from fixed seeds and a fresh one that a failure prints
(BECKON_SEED=N repeats it). Datagrams are sent no faster than they are read, so each is really looked at."""

import collections
import contextlib
import datetime
import os
import random
import re
import secrets
import socket
import ssl
import struct
import threading
import time
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, flood, pcap, stun, wait_until
from lab.hostile_watch import descriptors
from lab.services import PAGE

SEEDS = (1, 20211124, int(os.environ.get("BECKON_SEED") or secrets.randbits(32)))
SERVER_DATAGRAMS = 18000  # for each seed
DEVICE_DATAGRAMS = 16000
STREAMS = 500             # for each seed and port
CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
MANY = "198.51.100.{}"    # addresses of the attacker's own
UDP = (SERVER, 1200)
BINDING_MORE_BYTES = 24
MEMORY_BYTES = 4 << 20


@pytest.fixture(scope="module", autouse=True)
def _tell_seeds():
    print(f"seeds: {SEEDS}; the last is fresh, BECKON_SEED={SEEDS[-1]} repeats it")


@pytest.fixture(scope="module")
def field(world):
    """The world, an attacker on the wide area network, an insider with keys, and messages of a real call."""
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    net.wan.address("lo", MANY.format("0") + "/24")
    insider = world.beckon.enrol_device(2134, ns=net.server)
    seen = net.capture(net.server, "eth0", "port 1200 or port 1201 or port 1300")
    world.device.stop()
    world.device.configure(keepalive=25)  # fixed: it measures nothing meanwhile, and has no second socket
    world.device.start()
    call(world)
    seen.wait_for("stun.type == 0x0382")
    seen.stop()
    messages = [d for d in pcap.datagrams(seen.path)]
    hellos = [s for s in pcap.streams(seen.path) if s[:1] == b"\x16" and s[5:6] == b"\x01"]
    assert hellos and messages
    row, = [d for d in world.server.devices() if d["id"] == 2133]
    pid = world.server.process.pid
    made = types.SimpleNamespace(
        world=world, net=net, insider=insider, server_pid=pid, device_pid=world.device.process.pid,
        mapped=(row["address"], row["port"]), hellos=[h[:5 + struct.unpack_from("!H", h, 3)[0]] for h in hellos],
        up=[d.data for d in messages if d.dport == 1200], down=[d.data for d in messages if d.sport == 1200],
        sanitized=sum(end - start for start, end in mappings(pid)) > 1 << 40)
    # What many connections at one time take, the allocator keeps for the next ones: that is no growth.
    idle = descriptors(pid)
    for port in (1201, 1300):
        crowd = Slow(made, SERVER, port)
        crowd.begin()
        for s in crowd.sockets:
            s.close()
    wait_until(lambda: descriptors(pid) == idle, 10, "the crowd has left")
    return made


def call(world):
    """A call from its beginning to its end, by the usual means."""
    done = world.alice.run("connect", *CALLBACK, "2133", "web", input="GET / HTTP/1.0\r\n\r\n")
    assert done.out.endswith(PAGE), done.out + done.err


def mappings(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return [[int(n, 16) for n in line.split()[0].split("-")] for line in maps]


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(ns, pid):
    return ns.run(["pgrep", "-P", pid], check=False).out.split()


def rows(world):
    return sorted((d["id"], d["address"], d["port"]) for d in world.server.devices())


@contextlib.contextmanager
def nothing_kept(field, growth=MEMORY_BYTES):
    """Table, descriptors, memory, logs and processes are afterwards as they were before."""
    world, pids = field.world, (field.server_pid, field.device_pid)
    wait_until(lambda: not children(field.net.device, field.device_pid), 15, "no call is up")
    before = rows(world), [descriptors(pid) for pid in pids], [resident(pid) for pid in pids]
    logged = [p.process.position() for p in (world.server, world.device)]
    yield
    wait_until(lambda: not children(field.net.device, field.device_pid), 15, "all calls ended")
    wait_until(lambda: [descriptors(pid) for pid in pids] == before[1], 25, "no connection is left")
    assert world.server.process.running() and world.device.process.running()
    assert rows(world) == before[0]
    # A sanitizer keeps what was freed for a while.
    allowed = 400 << 20 if field.sanitized else growth
    grown = [resident(pid) - was for pid, was in zip(pids, before[2])]
    assert max(grown) <= allowed, f"memory grew by {grown} bytes"
    said = [p.process.position() - was for p, was in zip((world.server, world.device), logged)]
    assert max(said) <= 400, f"lines of log: {said}"


@contextlib.contextmanager
def in_background(work):
    """Runs `work` in a thread; what it raises comes out at the end. Yields whether it still runs."""
    failed = []

    def run():
        try:
            work()
        except BaseException as e:  # noqa: B902 (handed on)
            failed.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread.is_alive
    finally:
        thread.join(120)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def calls_go_on(field, running):
    """Calls one after the other while something runs, and at least one, and one afterwards; with pauses, for a user may
    ask the server 20 times a second, and each call asks three times."""
    made = 0
    while running() or made == 0:
        call(field.world)
        made += 1
        time.sleep(0.2)
    call(field.world)
    return made + 1


# -- datagrams -----------------------------------------------------------------------------------------

def anywhere(rng):
    """A public address, as a spoofer would take it."""
    return f"{rng.choice((8, 23, 45, 77, 91, 203, 212))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randint(1, 254)}", \
        rng.randint(1, 65535)


def insiders_register(rng, secret):
    """Right in everything but the address that it pretends to come from."""
    body = stun.put("EQUIPMENT-ID", (2134).to_bytes(8, "big")) + stun.put("REGISTRATION", secret[:6] + b"\0\0") \
        + stun.put("TAG", rng.randbytes(12))
    if rng.random() < 0.5:
        body += stun.put("NONCE", b"A" * 20)
    return stun.build("REGISTER", "request", body, rng.randbytes(12), secret[6:38])


def against_server(field, seed, count):
    """(source, payload) one by one."""
    rng = random.Random(seed)
    secret = (field.insider.state / "registration.key").read_bytes()
    for _ in range(count):
        where = rng.random()
        source = field.mapped if where < 0.2 else anywhere(rng)
        what = rng.random()
        if what < 0.03:
            yield source, insiders_register(rng, secret)
        elif what < 0.05:
            yield source, stun.build("BINDING", "request", b"", rng.randbytes(12), fingerprint=rng.random() < 0.5)
        else:
            yield source, flood.spoil(rng, field.up + field.down)


def against_device(field, seed, count):
    """Half of it from the server's own address and port; the rest cannot pass the router, or can in the LAN."""
    rng = random.Random(seed)
    for _ in range(count):
        source = UDP if rng.random() < 0.8 else (SERVER, rng.randint(1, 65535))
        yield source, flood.spoil(rng, field.down + field.up)


def send_all(ns, pid, port, destination, generated):
    queue, sender = flood.Queue(pid, port), flood.RawSender(ns)
    lost = queue.dropped()
    for n, (source, payload) in enumerate(generated):
        sender.send(source, destination, payload)
        if n % 64 == 63:
            queue.drain()
    queue.drain()
    sender.close()
    assert queue.dropped() == lost, "not all was read"


def answers(capture, own):
    """Every datagram from `own` (address, port) beside the request it answers, found by source, method and
    transaction ID: [(bytes asked, bytes answered, method, kind)]. What has no request stands with None. Of
    several under one ID the largest counts, once."""
    assert capture.stop().lost() == 0
    own = socket.inet_aton(own[0]), own[1]
    asked, found = collections.defaultdict(list), []
    for d in pcap.datagrams(capture.path):
        if (d.dst, d.dport) == own:
            with contextlib.suppress(stun.Malformed):
                message = stun.Message(d.data)
                if message.kind == "request":
                    asked[d.src, d.sport, message.method, message.txid].append(len(d.data))
        elif (d.src, d.sport) == own:
            message = stun.Message(d.data)
            waiting = asked[d.dst, d.dport, message.method, message.txid]
            waiting.sort()
            found.append((waiting.pop() if waiting else None, len(d.data), message.method, message.kind))
    return found


def test_datagrams_against_the_server(field):
    """No state, no crash, no larger answer; and calls meanwhile."""
    capture = field.net.capture(field.net.server, "eth0", "udp port 1200", snap=2048)
    with nothing_kept(field):
        def work():
            for seed in SEEDS:
                send_all(field.net.wan, field.server_pid, 1200, UDP, against_server(field, seed, SERVER_DATAGRAMS))

        with in_background(work) as running:
            assert calls_go_on(field, running) >= 2
    found = answers(capture, UDP)
    unasked = {(method, kind) for asked, _, method, kind in found if asked is None}
    assert unasked <= {("NOTIFY", "request")}  # the calls'
    replies = [(asked, size, method) for asked, size, method, _ in found if asked is not None]
    assert {method for *_, method in replies} - {"RESULT"} == {"REGISTER", "BINDING"}  # RESULT: the calls'
    for asked, size, method in replies:
        assert size <= asked + (BINDING_MORE_BYTES if method == "BINDING" else 0), (asked, size, method)
    assert len(replies) > 200, "the insider's and the Binding requests were not even read"


def test_oversized_datagrams(field):
    """In fragments, up to the largest that UDP has."""
    rng = random.Random(SEEDS[-1])
    with nothing_kept(field), field.net.wan.udp() as s:
        queue = flood.Queue(field.server_pid, 1200)
        for size in [1473, 1500, 2000, 4096, 9000, 65507] * 20:
            head = rng.choice((b"", struct.pack("!HHI", 0x0301, (size - 20) & 0xFFFC, stun.COOKIE), field.up[0]))
            s.sendto(head + rng.randbytes(size - len(head)), UDP)
            queue.drain()
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(100)
    call(field.world)


def test_datagrams_against_the_device(field):
    """As the server, through the router's open mapping: nothing is believed, nothing is dialled."""
    device = field.net.capture(field.net.device, "eth0", "udp port 2000", snap=2048)
    dialled = field.net.capture(field.net.wan, "to-b", "tcp[tcpflags] == tcp-syn")
    with nothing_kept(field):
        for seed in SEEDS:
            send_all(field.net.wan, field.device_pid, 2000, field.mapped, against_device(field, seed, DEVICE_DATAGRAMS))
        # Duplicates of a NOTIFY that had its time are answered, and start nothing.
        assert not children(field.net.device, field.device_pid)
    found = answers(device, (DEVICE, 2000))
    assert dialled.stop().fields(["frame.number"]) == []
    assert {(method, kind) for asked, _, method, kind in found if asked is None} <= {("REGISTER", "request")}
    replies = [(asked, size, kind) for asked, size, method, kind in found if method == "NOTIFY"]
    assert replies and all(kind == "success" and size <= asked for asked, size, kind in replies), replies
    call(field.world)


def test_neighbours_of_the_device(field):
    """From within its LAN, under any address, the server's too."""
    with field.net.host("intruder", field.net.router_b, "192.168.1.66") as intruder:
        intruder.sysctl("net.ipv4.conf.all.rp_filter", 0)
        wait_until(lambda: intruder.reachable(DEVICE), 5, "the intruder's link is up")
        rng = random.Random(SEEDS[-1])
        with nothing_kept(field):
            send_all(intruder, field.device_pid, 2000, (DEVICE, 2000),
                     ((rng.choice((UDP, ("192.168.1.1", 1200), ("192.168.1.66", 5), anywhere(rng))),
                       flood.spoil(rng, field.down)) for _ in range(4000)))
        call(field.world)
    field.net.namespaces.remove(intruder)


def test_the_rows_of_others_cannot_be_moved(field):
    """Replayed and rightly signed REGISTERs of other sources leave the row where it is."""
    sender, queue = flood.RawSender(field.net.wan), flood.Queue(field.server_pid, 1200)
    registers = [m for m in field.up if stun.Message(m).method == "REGISTER" and stun.Message(m).kind == "request"]
    before = rows(field.world)
    rng = random.Random(SEEDS[0])
    for _ in range(500):
        sender.send(anywhere(rng), UDP, rng.choice(registers))
        queue.drain()
    sender.close()
    assert rows(field.world) == before
    call(field.world)


# -- streams -------------------------------------------------------------------------------------------

def tls(certificate=None, alpn="beckon-join/1", version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.maximum_version = version
    if certificate:
        context.load_cert_chain(certificate[0], certificate[1])
    context.set_alpn_protocols([alpn])
    return context


def frames(rng, seeds):
    """What is sent inside TLS: a few messages, good and bad."""
    data = b""
    for _ in range(rng.randint(1, 4)):
        data += flood.spoil(rng, seeds) if rng.random() < 0.7 else flood.looks_right(rng)
        if rng.random() < 0.1:
            data += struct.pack("!HHI", 0x00C4, rng.choice((0xFFFC, 0x4000, 7)), stun.COOKIE)
            data += rng.randbytes(rng.randrange(40000))
    return data


def bare(rng, hellos):
    """What is sent without TLS."""
    how = rng.randrange(7)
    hello = rng.choice(hellos)
    if how == 0:
        return rng.randbytes(rng.randrange(3000))
    if how == 1:
        return hello[:rng.randrange(len(hello))]
    if how in (2, 3):
        return flood.flip(rng, hello, 20)
    if how == 4:
        return hello + rng.randbytes(rng.randint(1, 2000))
    if how == 5:  # a record of the greatest length, or of none, of any type
        return bytes((rng.randrange(20, 26), 3, rng.randrange(5))) + struct.pack("!H", rng.choice((0, 1, 16384, 65535))) \
            + rng.randbytes(rng.randrange(2000))
    return rng.choice((b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 1000, hello * 3))


def leave(rng, s):
    """The end: read what comes, just close, or reset."""
    how = rng.randrange(4)
    with contextlib.suppress(OSError):
        if how == 0:
            s.shutdown(socket.SHUT_WR)
            s.settimeout(10)
            while s.recv(4096):
                pass
        elif how == 1:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def reach(ns, rng, address, port):
    s = ns._bound(socket.SOCK_STREAM, MANY.format(rng.randint(1, 254)), 0, 10.0)
    s.connect((address, port))
    return s


def one_stream(field, rng, context, address, port, seeds):
    raw = reach(field.net.wan, rng, address, port)
    if context is None:
        with contextlib.suppress(OSError):
            raw.sendall(bare(rng, field.hellos))
        leave(rng, raw)
        return
    try:
        s = context.wrap_socket(raw, server_hostname=rng.choice((SERVER, "x" * 60 + ".call.invalid")))
    except OSError:  # refused: as good an answer as any
        raw.close()
        return
    with contextlib.suppress(OSError):
        s.sendall(frames(rng, seeds))
    leave(rng, s)


def lookup_and_connect(device):
    """217 and what goes before it, as a granted user sends them; the box is none."""
    who = stun.put("EQUIPMENT-ID", device.to_bytes(8, "big"))
    call_id = stun.put("CALL-ID", b"sixteen bytes...")
    return [stun.build("LOOKUP", "request", who, b"lookup......", fingerprint=False),
            stun.build("CONNECT", "request", who + call_id + stun.put("BOX", b"sealed" * 40), b"connect.....",
                       fingerprint=False),
            stun.build("RESULT", "indication", call_id + stun.put("BOX", b"sealed" * 20), b"result......",
                       fingerprint=False),
            stun.build("ENROL", "request", stun.put("TOKEN", b"t" * 16) + stun.put("CERTIFICATE-REQUEST", b"\x30\x03\2\1\0"),
                       b"enrol.......", fingerprint=False)]


def certificate(party, name):
    return party.state / f"{name}.crt", party.state / f"{name}.key"


@pytest.mark.parametrize("port", (1201, 1300))
def test_streams_against_the_server(field, port):
    """Bare bytes, changed handshakes, and right ones with anything inside, with and without a certificate."""
    alice, insider = certificate(field.world.alice, "user"), certificate(field.insider, "device")
    contexts = [tls(), tls(alice, "beckon-request/1"), tls(insider, "beckon-agent/1"), tls(None, "beckon-request/1"),
                tls(alice, "beckon-agent/1"), tls(insider, "beckon-request/1"), tls(None, "h2"),
                tls(None, "beckon-join/1", ssl.TLSVersion.TLSv1_2)]
    # Not the called device's ID: those requests would reach it, see below.
    seeds = lookup_and_connect(2134)
    slow = Slow(field, SERVER, port)
    # Some 1,800 connections: were the memory of each kept, it would be twice that.
    with nothing_kept(field, 3 * MEMORY_BYTES):
        slow.begin()

        def work():
            for seed in SEEDS:
                rng = random.Random(seed)
                for n in range(STREAMS):
                    context = rng.choice(contexts) if n % 4 == 0 else None
                    one_stream(field, rng, context, SERVER, port, seeds)

        with in_background(work) as running:
            assert calls_go_on(field, running) >= 2
        slow.all_ended()


class Slow:
    """Connections from one address that never get to the point: more of them than one address may have."""

    COUNT = 300

    def __init__(self, field, address, port, source="7", count=COUNT):
        self.net, self.to, self.source, self.count = field.net, (address, port), MANY.format(source), count
        self.hello = field.hellos[0]
        self.sockets = []

    def begin(self):
        for n in range(self.count):
            s = self.net.wan._bound(socket.SOCK_STREAM, self.source, 0, 20.0)
            s.connect(self.to)
            with contextlib.suppress(OSError):
                s.sendall((b"", b"\x16", self.hello[:100], self.hello[:-1])[n % 4])
            self.sockets.append(s)

    def all_ended(self):
        """By the server, in its own time; this end only waits."""
        for s in self.sockets:
            with contextlib.suppress(ConnectionError):
                while s.recv(4096):
                    pass
            s.close()


def test_slow_frames_within_tls(field):
    """A frame begun and never finished, in many connections at once."""
    with nothing_kept(field):
        rng, context, held = random.Random(SEEDS[1]), tls(), []
        for n in range(100):
            s = context.wrap_socket(reach(field.net.wan, rng, SERVER, (1201, 1300)[n % 2]), server_hostname=SERVER)
            s.sendall(lookup_and_connect(2134)[3][:rng.randint(1, 40)])
            held.append(s)
        call(field.world)
        for s in held:
            s.settimeout(20)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert s.recv(1000) == b""
            s.close()


def test_boxes_that_are_none_reach_the_device_and_nothing_comes_of_it(field):
    """What a granted user can do to the device: rubbish that claims to be sealed. It dials nobody but its server."""
    dialled = field.net.capture(field.net.wan, "to-b", f"tcp[tcpflags] == tcp-syn and not dst host {SERVER}")
    context = tls(certificate(field.world.alice, "user"), "beckon-request/1")
    with nothing_kept(field):
        rng = random.Random(SEEDS[-1])
        for _ in range(8):
            body = stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) + stun.put("CALL-ID", rng.randbytes(16)) \
                + stun.put("BOX", rng.randbytes(rng.randint(1, 1024)))
            with context.wrap_socket(reach(field.net.wan, rng, SERVER, 1201), server_hostname=SERVER) as s:
                s.sendall(stun.build("CONNECT", "request", body, rng.randbytes(12), fingerprint=False))
                answer = stun.messages(s.recv(2000))[0][0]
                assert (answer.method, answer.kind) in {("CONNECT", "success"), ("CONNECT", "error")}
    dialled.stop()
    assert dialled.fields(["frame.number"]) == []
    call(field.world)


def test_streams_against_the_callback_port(field):
    """Strangers at the address that a caller waits on, before the device comes: they neither get in nor keep it out."""
    field.net.block(f"ip saddr {ROUTER_B} tcp dport 5000")
    slow = Slow(field, ROUTER_A, 5000, count=100)
    insider = tls(certificate(field.insider, "device"), "beckon-call/1")
    contexts = [tls(None, "beckon-call/1"), insider, tls(certificate(field.world.alice, "user"), "beckon-call/1"), tls()]
    try:
        process = field.world.alice.start("connect", "-v", *CALLBACK, "2133", "web", stdin=-1)
        process.wait_line("accepts us")
        rng, end, sent = random.Random(SEEDS[-1]), time.monotonic() + 1.5, 0
        slow.begin()
        while time.monotonic() < end:
            context = rng.choice(contexts) if sent % 4 == 0 else None
            one_stream(field, rng, context, ROUTER_A, 5000, field.up)
            sent += 1
    finally:
        field.net.block_clear()
    process.wait_line("the device is connected", 10)
    process.stdin.write(b"GET / HTTP/1.0\r\n\r\n")
    process.stdin.close()
    assert process.wait(10) == 0
    assert PAGE.strip() in process.output()
    assert sent >= 20
    assert len(process.output().splitlines()) < 100
    for s in slow.sockets:
        s.close()


def is_unknown_name(field, name):
    """Dials the callback port by that server name; true if it is refused for it, before anything is shown."""
    context = tls(certificate(field.insider, "device"), "beckon-call/1")
    with reach(field.net.wan, random.Random(SEEDS[0]), ROUTER_A, 5000) as raw:
        try:
            context.wrap_socket(raw, server_hostname=name).close()
        except ssl.SSLError as refusal:
            return "UNRECOGNIZED_NAME" in refusal.reason
    return False


def is_refused_by_that_name(field, name):
    """Dials the callback port by the right server name, as an insider, as the caller himself, and with no certificate:
    true if no handshake is brought to its end, and none gets a byte."""
    for who in (certificate(field.insider, "device"), certificate(field.world.alice, "user"), None):
        with reach(field.net.wan, random.Random(SEEDS[0]), ROUTER_A, 5000) as raw, \
                contextlib.suppress(ssl.SSLError, ConnectionError):
            with tls(who, "beckon-call/1").wrap_socket(raw, server_hostname=name) as s:
                s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                s.recv(100)  # TLS 1.3: only now a client hears what became of its certificate
                return False
    return True


def test_the_callback_port_answers_to_the_name_of_its_call_only(field):
    """Which is on the wire only when the device dials. Who reads it there is refused for what he is: further
    connections of the device's own may come by it as long as the call lasts, and nobody else's are any."""
    names = field.net.capture(field.net.wan, "to-a", f"tcp and src host {ROUTER_B} and dst port 5000")
    field.net.block(f"ip saddr {ROUTER_B} tcp dport 5000")
    try:
        process = field.world.alice.start("connect", "-v", *CALLBACK, "2133", "web", stdin=-1)
        process.wait_line("accepts us")
        assert is_unknown_name(field, None)
        assert is_unknown_name(field, "0" * 32 + ".call.invalid")
    finally:
        field.net.block_clear()
    process.wait_line("the device is connected", 10)
    name, = wait_until(lambda: set(re.findall(rb"[0-9a-f]+\.call\.invalid", names.raw())), what="the name of the call")
    assert is_refused_by_that_name(field, name.decode())
    names.stop()
    process.stdin.write(b"GET / HTTP/1.0\r\n\r\n")
    process.stdin.close()
    assert process.wait(10) == 0
    assert PAGE.strip() in process.output()


def lookup_answered(s):
    """Whether a LOOKUP on that stream is still answered, be it with an error."""
    try:
        s.sendall(lookup_and_connect(2134)[0])
        return s.recv(2000) != b""
    except (ConnectionError, ssl.SSLError):
        return False


def test_a_role_is_spoken_for_by_its_own_certificate_only(field):
    """Each protocol on its own port, and with the certificate of its own role."""
    alice, insider = certificate(field.world.alice, "user"), certificate(field.insider, "device")

    def answered(who, alpn, port):
        raw = reach(field.net.wan, random.Random(SEEDS[0]), SERVER, port)
        with tls(who, alpn).wrap_socket(raw, server_hostname=SERVER) as s:
            return lookup_answered(s)

    assert answered(alice, "beckon-request/1", 1201)
    assert not answered(alice, "beckon-agent/1", 1300)
    assert not answered(insider, "beckon-agent/1", 1300)
    assert not answered(insider, "beckon-request/1", 1201)
    assert not answered(None, "beckon-request/1", 1201)
    for alpn, port in (("beckon-request/1", 1300), ("beckon-agent/1", 1201), ("h2", 1201)):
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            answered(alice, alpn, port)


def test_a_user_who_is_revoked_loses_the_stream_that_is_open(field):
    bob = field.world.beckon.enrol_user("bob")
    context = tls(certificate(bob, "user"), "beckon-request/1")
    raw = reach(field.net.wan, random.Random(SEEDS[0]), SERVER, 1201)
    with context.wrap_socket(raw, server_hostname=SERVER) as s:
        assert lookup_answered(s)
        field.world.server.revoke(user="bob")
        assert s.recv(100) == b""


def short_lived(ca, user, path, until):
    """A certificate like the user's own, by the same CA, that ends then."""
    own = x509.load_pem_x509_certificate((user.state / "user.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
    builder = x509.CertificateBuilder().subject_name(own.subject).issuer_name(authority.subject) \
        .public_key(own.public_key()).serial_number(x509.random_serial_number()) \
        .not_valid_before(own.not_valid_before).not_valid_after(until)
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    path.write_bytes(builder.sign(signer, None).public_bytes(serialization.Encoding.PEM))
    return path, user.state / "user.key"


def test_a_certificate_that_ends_meanwhile_ends_its_stream(field, tmp_path):
    until = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(seconds=4)
    context = tls(short_lived(field.world.server.state, field.world.alice, tmp_path / "short.crt", until),
                  "beckon-request/1")
    raw = reach(field.net.wan, random.Random(SEEDS[0]), SERVER, 1201)
    with context.wrap_socket(raw, server_hostname=SERVER) as s:
        assert lookup_answered(s)
        wait_until(lambda: not lookup_answered(s), 15, "the stream of an expired certificate ends")
        assert datetime.datetime.utcnow() > until


# -- the sum -------------------------------------------------------------------------------------------

def test_there_were_enough():
    assert len(SEEDS) * (SERVER_DATAGRAMS + DEVICE_DATAGRAMS + 2 * STREAMS) >= 100000
