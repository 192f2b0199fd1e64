"""A hostile network, from elsewhere: somebody who sends under any source address, with everything that he kept from his time on
the path. He can do nothing: no registration moves or ends, no stream ends, nobody is sent more bytes than were sent in his name.
As in test_hostile_network.py otherwise."""

import contextlib
import random
import re
import socket
import threading
import time

import pytest

from lab import DEVICE, ROUTER_A, ROUTER_B, SERVER, flood, stun, wait_until
from lab.hostile_network_world import (CALLBACK, HIS, HOME, KEEPALIVE_S, NOT_HIS, SEED, SERVER_UDP, call, dials, he_said, kept,
                                       of_one_call, on_path, ping, populated, row)
from lab.hostile_reflect import Reflection, ipv6_loopback, server_keeps_nothing
from lab.interceptor import ACK, RST, SYN, TCP, UDP, Injector, Packet
from lab.peers import Service

BINDING_MORE_BYTES = 24
LEAST = 2000  # datagrams of a flood


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


# -- elsewhere, under any source address ---------------------------------------------------------------

@pytest.fixture(scope="module")
def loot(field):
    return kept(field)


def some_source(field):
    rng = field.rng
    return rng.choice((HOME, HOME, (ROUTER_B, rng.randint(1024, 65535)), SERVER_UDP, (ROUTER_A, 2000), (HIS, 1200),
                       (DEVICE, 2000), ("127.0.0.1", 1200),
                       (f"{rng.randint(1, 223)}.{rng.randrange(256)}.7.9", rng.randint(1, 65535))))


def spoof(field, loot, seconds, running):
    """All of it, from everywhere, to server and device; no faster than it is read; thousands at least. Returns how many."""
    sender = Injector(field.wan)
    queues = flood.Queue(field.server.process.pid, 1200), flood.Queue(field.device.process.pid, 2000)
    end, sent = time.monotonic() + seconds, 0
    messages = loot.up + loot.down
    while time.monotonic() < end or running() or sent <= LEAST:
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
            while time.monotonic() - began < seconds or len(looked) <= 5:
                looked.append(row(field))
            assert ping(field).status == 0
        finally:
            busy.clear()
            thread.join()
    took = time.monotonic() - began
    assert set(looked) == {HOME}
    of_one_call(dialled)  # nobody else woke it
    assert not [line for line in field.device.process.lines[since:] if re.search("registered|revoked|does not answer", line)]
    register.stop()
    sent = {r["stun.id"] for r in register.fields(["stun.id"], "stun.type == 0x0281")}  # one that is sent again is the same one
    print(f"{count[0]} datagrams in {took:.1f} s; the device sent {len(sent)} REGISTERs")
    assert count[0] > LEAST and 0 < len(sent) <= took / KEEPALIVE_S * 1.2 + 2
    call(field)


def test_offpath_resets_and_data_without_the_right_numbers_do_not_end_streams(field):
    """Blind: he knows addresses and ports, and not where the sequence numbers stand. A session goes on."""
    service = Service(lambda s: [s.sendall(s.recv(100)) for _ in range(2)], field.net.device, 7001)
    with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000) as he:
        forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
        with field.net.requester.connect("127.0.0.1", 8080, timeout=10) as s:
            s.sendall(b"before")
            assert s.recv(100) == b"before"
            begun = {flow for p in he.seen if p.flags & SYN for flow in (p.flow, p.destination + p.source)}
            ends = {p.flow: p for p in he.seen if p.flow in begun}  # what is left over of earlier connections is not meant
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
        wait_until(lambda: len(capture.fields(["frame.number"])) >= sent, 20, "all were answered")
    field.net.block_clear("silent")
    injector.close()
    capture.stop()
    rows = capture.fields(["tcp.flags", "tcp.len"])
    flags = {int(r["tcp.flags"], 16) & 0xFF for r in rows}
    assert {int(r["tcp.len"]) for r in rows} == {0}
    assert flags <= {SYN | ACK, RST, RST | ACK}, flags
    print(f"{sent} segments spoofed, {len(rows)} answers of the kernel, no byte of data")
