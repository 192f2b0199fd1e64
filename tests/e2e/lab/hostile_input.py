"""The world that hostile input meets: the populated network, an attacker on the wide area network under addresses of his own, an
insider with keys (device 2134), and messages of a real call. What each test must leave as it was is in nothing_kept().

Everything generated is from fixed seeds and a fresh one that a failure prints (BECKON_SEED=N repeats it)."""

import contextlib
import os
import secrets
import socket
import ssl
import struct
import threading
import time
import types

from . import pcap, stun
from .hostile_watch import children, closed_again, sanitized, settled
from .network import REQUESTER, ROUTER_A, SERVER
from .process import wait_until
from .services import PAGE


SEEDS = (1, 20211124, int(os.environ.get("BECKON_SEED") or secrets.randbits(32)))
STREAMS = 500             # for each seed and port
CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
MANY = "198.51.100.{}"    # addresses of the attacker's own
UDP = (SERVER, 1200)
MEMORY_BYTES = 4 << 20


def populated(world):
    """What a test has in its hands."""
    print(f"seeds: {SEEDS}; the last is fresh, BECKON_SEED={SEEDS[-1]} repeats it")
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
    seen.wait_for("stun.type == 0x0382", timeout=20)
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
        sanitized=sanitized(pid))
    # What many connections at one time take, the allocator keeps for the next ones: that is no growth.
    idle = settled(pid)
    for port in (1201, 1300):
        crowd = Slow(made, SERVER, port)
        crowd.begin()
        for s in crowd.sockets:
            s.close()
    closed_again([pid], [idle])
    return made


def call(world):
    """A call from its beginning to its end, by the usual means."""
    done = world.alice.run("connect", *CALLBACK, "2133", "web", input="GET / HTTP/1.0\r\n\r\n")
    assert done.out.endswith(PAGE), done.out + done.err


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rows(world):
    return sorted((d["id"], d["address"], d["port"]) for d in world.server.devices())


@contextlib.contextmanager
def nothing_kept(field, growth=MEMORY_BYTES):
    """Table, descriptors, memory, logs and processes are afterwards as they were before."""
    world, pids = field.world, (field.server_pid, field.device_pid)
    wait_until(lambda: not children(world.device), 15, "no call is up")
    before = rows(world), [settled(pid) for pid in pids], [resident(pid) for pid in pids]
    logged = [p.process.position() for p in (world.server, world.device)]
    yield
    wait_until(lambda: not children(world.device), 15, "all calls ended")
    closed_again(pids, before[1], 25)
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


def tls(certificate=None, alpn="beckon-join/1", version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.maximum_version = version
    if certificate:
        context.load_cert_chain(certificate[0], certificate[1])
    context.set_alpn_protocols([alpn])
    return context


def reach(ns, rng, address, port):
    s = ns._bound(socket.SOCK_STREAM, MANY.format(rng.randint(1, 254)), 0, 10.0)
    s.connect((address, port))
    return s


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
