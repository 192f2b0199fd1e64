"""Every kind of network does what its name says, shown with plain sockets: translation, filtering, port mapping,
pinholes, hairpin, lines; and two hosts that punch by hand succeed just where they should."""

import os
import pathlib
import socket
import struct
import sys
import threading
import time

import pytest

from lab import behaviour
from lab.false_router import FalseRouter
from lab.interceptor import SO_RCVBUFFORCE
from lab.punch import punch
from lab.sides import (HOST, KINDS, PAIR_KINDS, RELAY, SERVER, SERVER6, SERVER6_SECOND, SERVER_NAME, SERVER_SECOND, SidesNetwork,
                       line_program)
from lab.turn import PORT, SECRET, Coturn

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tools/matrix"))
from cells import punchable  # noqa: E402  what the matrix holds the programs to

OPEN = ("none", "all", True)
PRESERVING = ("endpoint-independent", "address and port", True)
RANDOM = ("address and port", "address and port", False)
BEHAVIOUR = {
    "none": OPEN,
    "port-preserving": PRESERVING,
    "random-port": RANDOM,
    "symmetric": RANDOM,
    "ei-ei": ("endpoint-independent", "endpoint-independent", False),
    "ei-ad": ("endpoint-independent", "address", False),
    "ei-apd": ("endpoint-independent", "address and port", False),
    "cgn": ("endpoint-independent", "address and port", False),
    "udp-blocked": PRESERVING,
    "ipv6": ("none", "address and port", True),
}


@pytest.fixture(scope="module")
def sides():
    with SidesNetwork(KINDS, KINDS, PAIR_KINDS) as network:
        network.assert_sealed()
        yield network
        network.assert_sealed()


def servers(kind):
    return (SERVER6, SERVER6_SECOND) if kind == "ipv6" else (SERVER, SERVER_SECOND)


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_is_translated_and_filtered_as_the_kind_says(sides, kind):
    assert behaviour.tcp(sides, sides.requesters[kind], *servers(kind)) == BEHAVIOUR[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_udp_is_translated_and_filtered_as_the_kind_says(sides, kind):
    expected = None if kind == "udp-blocked" else BEHAVIOUR[kind]
    assert behaviour.udp(sides, sides.devices[kind], *servers(kind)) == expected


def test_a_public_address_has_both_families(sides):
    assert behaviour.tcp(sides, sides.requesters["none"], SERVER6, SERVER6_SECOND) == OPEN


def test_an_ipv6_lan_has_no_ipv4(sides):
    with pytest.raises(OSError):
        sides.devices["ipv6"].host.connect(SERVER, 1)


def test_names_of_the_laboratory_resolve(sides):
    for side, address in ((sides.requesters["ei-ei"], SERVER), (sides.devices["ipv6"], SERVER6)):
        assert address in side.host.run(["getent", "ahosts", SERVER_NAME]).out


@pytest.mark.parametrize("a, b", [
    ("port-preserving", "ei-apd"), ("port-preserving", "port-preserving"), ("ei-ei", "ei-ad"), ("cgn", "cgn"), ("symmetric", "ei-ei"),
    ("ei-ad", "random-port"), ("udp-blocked", "ei-apd"), ("ipv6", "ipv6"), ("symmetric", "port-preserving"),
    ("random-port", "symmetric"), ("ei-apd", "symmetric")])
def test_holes_can_be_punched_where_the_matrix_says(sides, a, b):
    assert punch(sides, sides.requesters[a], sides.devices[b], servers(a)[0]) == punchable(a, b)


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_hairpin(sides, kind):
    """A host reaches its neighbour's outside address only where the router turns packets round."""
    a, b = sides.pairs[kind]
    with sides.server.listen(3700, SERVER) as server, b.host.listen(5600, shared=True) as inside, \
            b.host.connect(SERVER, 3700, source_port=5600, shared=True):
        accepted, seen = server.accept()
        with accepted:
            try:
                a.host.connect(*seen, timeout=3).close()
                assert inside.accept()[1][0] == b.public
                reached = True
            except OSError:
                reached = False
    assert reached == (kind == "same-lan-hairpin")
    with b.host.listen(5601), a.host.connect(b.address, 5601):
        pass  # the LAN itself is open


# -- port mapping ---------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def home():
    """One ordinary home, one IPv6 home and one behind a carrier, whose routers grant nothing yet."""
    with SidesNetwork(["port-preserving", "ipv6", "cgn"]) as network:
        yield network


@pytest.fixture
def router(home):
    yield home.requesters["port-preserving"].router
    home.requesters["port-preserving"].router.stop_upnp()


NONE_S = 0.5  # for an answer that is not to come


def pcp(ns, router, inside, lifetime=60, own=HOST["requester"], timeout=10):
    """RFC 6887 MAP for TCP: (version of the answer, result, outside port), or None without an answer."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    address = socket.inet_pton(family, own)
    address = address if len(address) == 16 else bytes(10) + b"\xff\xff" + address
    message = (struct.pack("!BBHI", 2, 1, 0, lifetime) + address + os.urandom(12) + bytes([6, 0, 0, 0]) +
               struct.pack("!HH", inside, inside) + (bytes(16) if ":" in own else bytes(10) + b"\xff\xff" + bytes(4)))
    with ns.udp(own, timeout=timeout) as s:
        s.connect((router, 5351))
        try:
            s.send(message)
            answer = s.recv(200)
        except (TimeoutError, ConnectionRefusedError):
            return None
    return answer[0], answer[3], struct.unpack("!H", answer[42:44])[0] if len(answer) >= 44 else None


def natpmp(ns, inside, timeout=10):
    """RFC 6886 for TCP: (version, result, outside port), or None."""
    with ns.udp(timeout=timeout) as s:
        s.connect(("192.168.1.1", 5351))
        try:
            s.send(struct.pack("!BBHHHI", 0, 2, 0, inside, inside, 60))
            answer = s.recv(200)
        except (TimeoutError, ConnectionRefusedError):
            return None
    return answer[0], struct.unpack("!H", answer[2:4])[0], struct.unpack("!H", answer[10:12])[0] if len(answer) == 16 else None


def igd(ns, *words):
    """Whether miniupnpc's client finds a router and is granted what it asks."""
    return ns.run(["upnpc", "-m", "eth0", *words], check=False, timeout=30).out


def comes_through(net, side, outside, inside):
    with side.host.listen(inside) as listener:
        try:
            net.server.connect(side.public, outside, timeout=1.5).close()
            listener.accept()[0].close()
            return True
        except OSError:
            return False


@pytest.mark.parametrize("protocol", ["pcp", "natpmp", "igd"])
def test_miniupnpd_with_one_protocol_alone(home, router, protocol):
    side = home.requesters["port-preserving"]
    router.start_upnp(igd=protocol == "igd", natpmp=protocol == "natpmp", pcp=protocol == "pcp")
    by_pcp = pcp(side.host, "192.168.1.1", 1700, timeout=10 if protocol == "pcp" else NONE_S)
    by_natpmp = natpmp(side.host, 1701, timeout=10 if protocol == "natpmp" else NONE_S)
    assert by_pcp == ((2, 0, 1700) if protocol == "pcp" else None)
    assert by_natpmp == ((0, 0, 1701) if protocol == "natpmp" else None)
    if protocol == "igd":
        assert "is redirected" in igd(side.host, "-a", side.address, "1702", "1702", "tcp", "60")
    else:
        assert not router.ns.listening(36895) and not router.ns.listening(1900, udp=True)
    assert [comes_through(home, side, port, port) for port in (1700, 1701, 1702)] == [protocol == p for p in ("pcp", "natpmp", "igd")]


def test_behind_a_carrier_the_home_router_says_so(home):
    side = home.requesters["cgn"]
    side.router.start_upnp()
    try:
        assert natpmp(side.host, 1701)[1] != 0
        assert pcp(side.host, "192.168.1.1", 1700)[1] != 0
    finally:
        side.router.stop_upnp()


def test_pinholes_in_an_ipv6_firewall(home):
    """By PCP over IPv6, and by UPnP-IGDv2 over IPv6."""
    side = home.requesters["ipv6"]
    side.router.start_upnp(ipv6=True)
    inside = side.address6.rsplit("::", 1)[0] + "::1"

    def open_to(port):
        with side.host.listen(port, "::"):
            try:
                home.server.connect(side.address6, port, timeout=1.5).close()
                return True
            except OSError:
                return False

    try:
        assert not open_to(1800)
        assert pcp(side.host, inside, 1800, own=side.address6) == (2, 0, 1800)
        assert open_to(1800) and not open_to(1801)
        said = igd(side.host, "-6", "-A", "", "0", side.address6, "1801", "tcp", "600")
        assert open_to(1801), said
    finally:
        side.router.stop_upnp()
    assert not open_to(1800)


# -- a router that misbehaves ---------------------------------------------------------------------

def test_false_router_grants_like_a_true_one(home, router):
    side = home.requesters["port-preserving"]
    with FalseRouter(router) as false:
        assert pcp(side.host, "192.168.1.1", 1700) == (2, 0, 1700)
        assert natpmp(side.host, 1701) == (0, 0, 1701)
        assert "is redirected" in igd(side.host, "-a", side.address, "1702", "1702", "tcp", "60")
        assert {p for p, *_ in false.asked} == {"pcp", "natpmp", "igd"}
        assert [comes_through(home, side, port, port) for port in (1700, 1701, 1702)] == [True] * 3
        pcp(side.host, "192.168.1.1", 1700, lifetime=0)
        assert not comes_through(home, side, 1700, 1700)
    assert not comes_through(home, side, 1701, 1701)


def test_false_router_lies_when_it_renews(home, router):
    side = home.requesters["port-preserving"]
    with FalseRouter(router, lies=True):
        for comes in (True, False):
            assert natpmp(side.host, 1703) == (0, 0, 1703)
            assert comes_through(home, side, 1703, 1703) == comes


def test_false_router_misbehaves_as_told(home, router):
    side = home.requesters["port-preserving"]
    with FalseRouter(router, answer="refuse", delay_s=0.3) as false:
        start = time.monotonic()
        assert natpmp(side.host, 1704)[1] == 2 and time.monotonic() - start > 0.3
        false.delay_s = 0
        assert pcp(side.host, "192.168.1.1", 1704)[1] == 2
        assert "failed" in igd(side.host, "-a", side.address, "1704", "1704", "tcp", "60")
        false.answer = "silent"
        assert natpmp(side.host, 1704, timeout=NONE_S) is None
        false.answer, false.forwards = "grant", False
        assert natpmp(side.host, 1704) == (0, 0, 1704)
        assert not comes_through(home, side, 1704, 1704)


# -- lines and the relay --------------------------------------------------------------------------

@pytest.fixture(scope="module")
def lined(bindir):
    with SidesNetwork(["port-preserving"], ["ei-ei"], lines=line_program(bindir)) as network:
        network.assert_sealed()
        yield network


def round_trips(side, count=20):
    """Seconds of each that came back, of datagrams sent one after another to an echo at the server."""
    took = []
    with side.host.udp(timeout=5) as s:
        for n in range(count):
            start = time.monotonic()
            s.sendto(bytes([n]), (SERVER, 3900))
            try:
                while s.recv(10) != bytes([n]):
                    pass
                took.append(time.monotonic() - start)
            except TimeoutError:
                pass
    return took


@pytest.fixture
def echo(lined):
    with lined.server.udp(SERVER, 3900, timeout=None) as s:
        def serve():
            while True:
                try:
                    data, sender = s.recvfrom(100)
                except OSError:
                    return
                if sender is None:
                    return  # shut down
                s.sendto(data, sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        thread.join(5)


def test_a_line_delays_each_way(lined, echo):
    """The quickest shows what the line adds: the others also how busy this machine is."""
    side = lined.requesters["port-preserving"]
    assert min(round_trips(side)) < 0.05
    side.line.set(delay_ms=100)
    took = round_trips(side, 10)
    assert len(took) == 10 and 0.2 <= min(took) < 0.3
    side.line.set()


def arrivals(net, side, count=400):
    """The numbers of datagrams sent in a row, as they arrived at the server."""
    got = []
    with net.server.udp(SERVER, 3901, timeout=2) as server, side.host.udp() as s:
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # nothing is lost here
        for n in range(count):
            s.sendto(struct.pack("!H", n), (SERVER, 3901))
        try:
            while True:
                got.append(struct.unpack("!H", server.recv(10))[0])
        except TimeoutError:
            return got


def test_a_line_loses_doubles_and_reorders(lined):
    side = lined.requesters["port-preserving"]
    try:
        assert arrivals(lined, side) == list(range(400))
        side.line.set(loss=20)
        assert 270 < len(arrivals(lined, side)) < 370
        side.line.set(duplicate=20)
        assert 430 < len(arrivals(lined, side)) < 540
        side.line.set(reorder=10)
        got = arrivals(lined, side)
        assert sorted(got) == list(range(400)) and got != sorted(got)
    finally:
        side.line.set()


def test_a_line_carries_tcp_at_speed(lined):
    side = lined.requesters["port-preserving"]
    with lined.server.listen(3902, SERVER, timeout=20) as listener, side.host.connect(SERVER, 3902, timeout=20) as a:
        b, _ = listener.accept()
        b.settimeout(20)
        sender = threading.Thread(target=lambda: (a.sendall(bytes(8 << 20)), a.shutdown(socket.SHUT_WR)))
        start = time.monotonic()
        sender.start()
        total = 0
        while piece := b.recv(1 << 20):
            total += len(piece)
        sender.join()
        assert total == 8 << 20 and time.monotonic() - start < 20
        b.close()


def test_coturn_takes_credentials_made_with_the_secret(home, tmp_path):
    """Its own client tool allocates over TCP, and is refused with another secret."""
    coturn = Coturn(home.relay)
    try:
        def allocates(secret):
            done = home.server.run(["turnutils_uclient", "-t", "-T", "-n", "1", "-m", "1", "-c", "-y", "-e", RELAY, "-r", "3480",
                                    "-W", secret, "-u", "someone", "-p", PORT, RELAY], check=False, timeout=60)
            return done.out + done.err

        assert "Cannot complete Allocation" in allocates("another")
        said = allocates(SECRET)
        assert "Cannot complete" not in said and "tot_recv_msgs=2" in said, said  # of two, one each
    finally:
        coturn.stop()
