"""Paths, and who would lead calls along others: a server that lies about how it sees its callers and about relays, a caller who
is let in and names addresses while the call is up, strangers at the port that a device opens for a call.

    beckon (alice), printer ---- router-a ---- [wan: mallory and victims, at 91.7.7.x] ---- router-b ---- agent 2133, neighbour
                                                  |
                                           hostile-server"""

import contextlib
import ipaddress
import re
import ssl
import struct
import time
import types

import pytest

from lab import DEVICE, ROUTER_B, SERVER, hostile_h2 as h2, stun, wait_until
from lab.false_device import DATA, END_STREAM, frame
from lab.hostile_caller import NETWORK, Mallory, Place, settle
from lab.hostile_server import Attack, change
from lab.hostile_watch import no_calls
from lab.hostile_world import populated
from test_hostile_relay import xor_address

PRINTER, NEIGHBOUR = "192.168.1.77", "192.168.1.88"
OPEN = 8080
HOST, REFLEXIVE = 1, 3
PUNCH_TRIES = 24
CREDENTIALS = {"USERNAME": b"1900000000:alice", "PASSWORD": b"secret", "LIFETIME": struct.pack("!I", 3600)}


@pytest.fixture(scope="module")
def field(net, bindir):
    for w in populated(net, bindir):
        settle(net)
        printer, neighbour = net.host("printer", net.router_a, PRINTER), net.host("neighbour", net.router_b, NEIGHBOUR)
        for ns, address, beside in ((printer, PRINTER, net.requester), (neighbour, NEIGHBOUR, net.device)):
            wait_until(lambda beside=beside, address=address: beside.reachable(address), 30, f"{address} is there")
        w.caller = Mallory(w.mallory, w.device, Place(net, 66), net.workdir)
        w.printer, w.neighbour = printer, neighbour
        yield w


@pytest.fixture(autouse=True)
def as_it_was(field):
    field.server.attack = Attack()
    no_calls(field.net.device)
    yield
    field.server.attack = Attack()
    no_calls(field.net.device)
    assert field.server.failed == []
    assert field.server.process.running() and field.device.process.running()


class Lie(Attack):
    """Answers INFO, and gives devices their calls, with other attributes."""

    def __init__(self, info=None, call=None):
        self.info, self.call = info or {}, call or {}
        self.told = 0

    def down(self, link, message):
        what = {("INFO", "success"): self.info, ("CONNECT", "request"): self.call}.get((message.method, message.kind))
        if what:
            self.told += 1
            self.server.to_peer(link, change(message, **{name.replace("-", "_"): value for name, value in what.items()}))
        else:
            super().down(link, message)


def ping(field, *options):
    """A call of alice's that comes about by whatever is there."""
    return field.alice.run("ping", "-v", *options, 2133, "-c", "1", check=False, timeout=40)


def relay(host, port):
    return {"RELAY": struct.pack("!H", port) + host.encode(), **CREDENTIALS}


@contextlib.contextmanager
def untouched(*sockets):
    """Nobody connects to any of these meanwhile."""
    for s in sockets:
        s.setblocking(False)
    yield
    for s in sockets:
        with pytest.raises(BlockingIOError):
            s.accept()


def syns(capture):
    rows = capture.fields(["ip.src", "ip.dst", "tcp.dstport"], "tcp.flags.syn == 1 && tcp.flags.ack == 0")
    return [(row["ip.src"], row["ip.dst"], int(row["tcp.dstport"])) for row in rows]


# -- the server's word ---------------------------------------------------------------------------------------------------


def test_a_relay_named_by_a_lying_server_is_sought_at_public_addresses_only(field):
    """Attack: INFO tells of relays that are hosts of the caller's own network, or of his own machine, and services of others.
    Expected: nothing goes there, and the call comes about without."""
    with field.printer.listen(OPEN, PRINTER) as printer, field.net.requester.listen(OPEN, "127.0.0.1") as own, \
            field.net.wan.listen(OPEN, NETWORK.format(9)) as public, field.net.wan.listen(25, NETWORK.format(9)) as mail:
        with untouched(printer, own, mail, public):
            for host, port in ((PRINTER, OPEN), ("127.0.0.1", OPEN), (f"::ffff:{PRINTER}", OPEN), ("192.168.1.1", 80),
                               (NETWORK.format(9), 25)):
                field.server.attack = attack = Lie(relay(host, port))
                done = ping(field)
                assert attack.told >= 1 and done.status == 0, done.err
                no_calls(field.net.device)
        field.server.attack = Lie(relay(NETWORK.format(9), OPEN))
        ping(field)
        public.setblocking(True)
        public.settimeout(20)
        public.accept()[0].close()  # so it would have been seen


def test_an_observed_address_that_is_a_lie_leads_into_no_network_of_the_device(field):
    """Attack: INFO tells the caller that he is seen at a host beside the device; he puts it into his request in good faith.
    Expected: the device sends nothing there."""
    with field.neighbour.listen(OPEN, NEIGHBOUR) as neighbour, untouched(neighbour):
        field.server.attack = attack = Lie({"XOR-MAPPED-ADDRESS": xor_address(NEIGHBOUR, OPEN)})
        with field.net.capture(field.net.device, "eth0", "tcp") as capture:
            ping(field)
            no_calls(field.net.device)
        assert attack.told >= 1
        assert [s for s in syns(capture) if s[1] == NEIGHBOUR] == []


@pytest.mark.parametrize("port", (OPEN, OPEN + 1), ids=("open", "closed"))
def test_an_observed_address_that_is_a_lie_costs_a_stranger_few_packets_and_gives_no_session(field, port):
    """Attack: each end is told that it is seen at a stranger's, and tells the other so. Expected: each sends that stranger at
    most as many SYNs as one simultaneous open has, they end with the call, and nothing comes of them."""
    callers, devices = (NETWORK.format(9), port), (NETWORK.format(10), port)
    with field.net.wan.listen(OPEN, NETWORK.format(9)) as one, field.net.wan.listen(OPEN, NETWORK.format(10)) as two:
        field.server.attack = attack = Lie({"XOR-MAPPED-ADDRESS": xor_address(*callers)},
                                           {"OBSERVED-ADDRESS": xor_address(*devices)})
        with field.net.capture(field.net.requester, "eth0", "tcp") as near, field.net.capture(field.net.device, "eth0", "tcp") as far:
            done = ping(field)
            no_calls(field.net.device)
        assert attack.told >= 2 and done.status != 0
        for capture, victim in ((near, devices), (far, callers)):
            assert 1 <= len([s for s in syns(capture) if s[1:] == victim]) <= PUNCH_TRIES
        for listener in (one, two):
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    s, _ = listener.accept()
                    with s:
                        s.settimeout(5)
                        first = b""
                        with contextlib.suppress(ConnectionResetError):
                            first = s.recv(4096)
                        assert first[:1] in (b"", b"\x16")  # of a device: a ClientHello; of a caller: nothing
                        assert b"2133" not in first and b"beckon:" not in first


def test_the_devices_observed_address_that_is_a_lie_leads_into_no_network_of_the_caller(field):
    """Attack: the device is told that it is seen at a host beside the caller, and says so. Expected: the caller sends nothing
    there."""
    with field.printer.listen(OPEN, PRINTER) as printer, untouched(printer):
        field.server.attack = attack = Lie(call={"OBSERVED-ADDRESS": xor_address(PRINTER, OPEN)})
        with field.net.capture(field.net.requester, "eth0", "tcp") as capture:
            ping(field)
            no_calls(field.net.device)
        assert attack.told >= 1
        assert [s for s in syns(capture) if s[1] == PRINTER] == []


# -- a caller, while the call is up --------------------------------------------------------------------------------------


def paths(number, candidates):
    body = stun.put("ROUND", struct.pack("!H", number))
    for kind, (address, port) in candidates:
        ip = ipaddress.ip_address(address)
        body += stun.put("CANDIDATE", struct.pack("!BBH", kind, 1 if ip.version == 4 else 2, port) + ip.packed)
    return stun.build("PATHS", "indication", body, struct.pack("!III", 1, 2, number), fingerprint=False)


SCANNED = ["127.0.0.1", "::1", "::ffff:127.0.0.1", DEVICE, f"::ffff:{DEVICE}", ROUTER_B, "192.168.1.1", "192.168.1.255", "0.0.0.0",
           "224.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.2.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"]


def test_paths_inside_a_call_scan_nothing(field):
    """Attack: a caller with a key names forbidden addresses in every spelling, low ports and the server's, round after round,
    by every kind. Expected: nothing is dialled but what may be, and the answer tells where the device is, and no more."""
    number = 0
    with field.caller.call(field.service) as session, field.net.capture(field.net.device, "any", "tcp or ip6") as capture:
        control, status = session.connect("_paths:1")
        assert status == 200
        rounds = [[(kind, (a, OPEN)) for a in SCANNED[i:i + 8]] for i in (0, 8) for kind in (HOST, REFLEXIVE)]
        rounds += [[(HOST, (NEIGHBOUR, port)) for port in (0, 1, 22, 80, 1023)] + [(HOST, (SERVER, p)) for p in (1201, 1300)]]
        rounds += [[(HOST, (NEIGHBOUR, OPEN))]]
        for candidates in rounds:
            number += 1
            time.sleep(1.05)
            session.send(frame(DATA, 0, control, paths(number, candidates)))
            got = session.wait(lambda k, f, s, p: k == DATA and s == control, 20)
            assert got is not None, f"round {number} was not answered"
            answer = stun.Message(got[3])
            assert answer.method == "PATHS" and int.from_bytes(answer.get("ROUND"), "big") == number
            assert {a.name for a in answer.attributes} <= {"ROUND", "ROUND-TRIP", "CANDIDATE"}
        stream, status = session.connect(f"{field.service}:1")
        assert status == 200 and session.echoed(stream)
        time.sleep(0.3)
    seen = {(to, port) for _, to, port in syns(capture)} - {(SERVER, 1300)}
    assert seen - {("127.0.0.1", 7777)} == {(NEIGHBOUR, OPEN)}


def test_a_flood_of_paths_ends_the_control_stream_alone(field):
    """Attack: hundreds of PATHS at once, to addresses that may be dialled. Expected: one round at most is begun in a second,
    the control stream ends, and the call goes on."""
    with field.caller.call(field.service) as session, field.net.capture(field.net.device, "eth0", "tcp") as capture:
        stream, status = session.connect(f"{field.service}:1")
        assert status == 200
        control, status = session.connect("_paths:1")
        assert status == 200
        for number in range(1, 301):
            session.send(frame(DATA, 0, control, paths(number, [(HOST, (NEIGHBOUR, OPEN + number))])))
        ended = session.wait(lambda k, f, s, p: s == control and (k == h2.RST_STREAM or f & END_STREAM), 20)
        assert ended is not None, "the control stream stays open"
        assert session.echoed(stream)
    assert len({port for _, to, port in syns(capture) if to == NEIGHBOUR}) <= 3


# -- strangers at the device's port --------------------------------------------------------------------------------------


def ports(field):
    """TCP ports that call processes of the device listen on."""
    found = set()
    for text in field.net.device.sockets():
        if "beckon-agent-ca" in text and "LISTEN" in text:
            found.add(int(re.search(r":(\d+)\s", text).group(1)))
    return found


def test_a_stranger_at_the_devices_port_learns_nothing_and_keeps_nobody_out(field):
    """Attack: others in the device's network come to the port that it opens for a call, silent, with garbage, as a false
    caller, by the dozen. Expected: no certificate, no name, no session; the call goes on, another one comes about, and after
    the calls nothing listens."""
    assert ports(field) == set()
    with field.caller.call(field.service) as session:
        stream, status = session.connect(f"{field.service}:1")
        assert status == 200
        port, = ports(field)
        with field.neighbour.connect(DEVICE, port, timeout=20) as s:
            first = s.recv(4096)
            assert first[:1] == b"\x16" and b"2133" not in first and b"beckon:" not in first and b"mallory" not in first
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while s.recv(4096):
                    pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(field.caller.certificate)  # ours, but of no call: each call of `beckon` has its own
        context.verify_mode = ssl.CERT_NONE
        held = []
        for _ in range(40):
            with contextlib.suppress(OSError):
                held.append(field.neighbour.connect(DEVICE, port, timeout=5))
        assert session.echoed(stream)
        with field.caller.call(field.service) as other:
            another, status = other.connect(f"{field.service}:1")
            assert status == 200 and other.echoed(another)
        assert session.echoed(stream)
        for s in held:
            s.close()
    no_calls(field.net.device)
    assert ports(field) == set()


def test_a_false_caller_at_the_devices_port_sees_no_certificate_of_its(field):
    """Attack: a stranger answers the device's ClientHello as TLS server, with a key of his own. Expected: the device hangs up
    before it has shown who it is."""
    false = Mallory(field.mallory, types.SimpleNamespace(state=field.net.workdir, id=2133), None, field.net.workdir, "false")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(false.certificate)
    context.load_verify_locations(field.server.state / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["beckon-call/1"])
    with field.caller.call(field.service) as session:
        stream, status = session.connect(f"{field.service}:1")
        port, = ports(field)
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(into, out, server_side=True)
        with field.neighbour.connect(DEVICE, port, timeout=20) as s, pytest.raises((ssl.SSLError, OSError)):
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                s.sendall(out.read())
                piece = s.recv(4096)
                if not piece:
                    raise OSError("hung up")
                into.write(piece)
        assert status == 200 and session.echoed(stream)
