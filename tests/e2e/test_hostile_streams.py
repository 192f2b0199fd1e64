"""Hostile streams: bare bytes, changed handshakes, and right ones with anything inside, against the server's ports and a caller's
callback port, while calls go on; and who is heard where, with which certificate. As in test_hostile.py otherwise."""

import contextlib
import datetime
import random
import re
import socket
import ssl
import struct
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab import ROUTER_A, ROUTER_B, SERVER, flood, stun, wait_until
from lab.hostile_input import (CALLBACK, MEMORY_BYTES, SEEDS, STREAMS, Slow, call, calls_go_on, certificate, in_background,
                               lookup_and_connect, nothing_kept, populated, reach, tls)
from lab.services import PAGE


@pytest.fixture(scope="module")
def field(world):
    return populated(world)


# -- streams -------------------------------------------------------------------------------------------

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
        rng, sent = random.Random(SEEDS[-1]), 0
        slow.begin()
        end = time.monotonic() + 1.5
        while time.monotonic() < end or sent < 20:
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
    print(f"{sent} strangers")
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
    until = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(seconds=6)
    context = tls(short_lived(field.world.server.state, field.world.alice, tmp_path / "short.crt", until),
                  "beckon-request/1")
    raw = reach(field.net.wan, random.Random(SEEDS[0]), SERVER, 1201)
    with context.wrap_socket(raw, server_hostname=SERVER) as s:
        assert lookup_answered(s)
        wait_until(lambda: not lookup_answered(s), 20, "the stream of an expired certificate ends")
        assert datetime.datetime.utcnow() > until
