"""Hostile datagrams from everywhere: garbage, truncated, oversized, changed, replayed and spoofed, against the server and the
device, while calls go on. Streams are in test_hostile_streams.py; what both meet is in lab/hostile_input.py.

Over 100,000 pieces are generated, from fixed seeds and a fresh one that a failure prints
(BECKON_SEED=N repeats it). Datagrams are sent no faster than they are read, so each is really looked at."""

import collections
import contextlib
import random
import socket
import struct

import pytest

from lab import DEVICE, SERVER, flood, pcap, stun, wait_until
from lab.hostile_input import SEEDS, STREAMS, UDP, call, calls_go_on, in_background, nothing_kept, populated, rows
from lab.hostile_watch import children

SERVER_DATAGRAMS = 18000  # for each seed
DEVICE_DATAGRAMS = 16000
BINDING_MORE_BYTES = 24


@pytest.fixture(scope="module")
def field(world):
    return populated(world)


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
        assert not children(field.world.device)
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


# -- the sum -------------------------------------------------------------------------------------------

def test_there_were_enough():
    assert len(SEEDS) * (SERVER_DATAGRAMS + DEVICE_DATAGRAMS + 2 * STREAMS) >= 100000
