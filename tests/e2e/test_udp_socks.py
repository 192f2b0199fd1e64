"""UDP services through a call, and the SOCKS5 port: what they carry, and what they refuse."""

import os
import re
import signal
import socket
import struct
import threading

import pytest

from lab import wait_until
from lab.services import PAGE

ECHO = 9007
FORWARD = 5007


class UdpEcho:
    """Answers every datagram with itself, and knows who sent which."""

    def __init__(self, ns, port):
        self.peers = {}
        self._socket = ns.udp("127.0.0.1", port, timeout=0.2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                data, peer = self._socket.recvfrom(65536)
            except OSError:
                continue
            self.peers[data] = peer
            self._socket.sendto(data, peer)

    def close(self):
        self._stop.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def echo(world):
    """Device 2133 with a UDP service besides."""
    server = UdpEcho(world.net.device, ECHO)
    world.device.stop()
    world.device.configure({"ssh": "tcp:127.0.0.1:22", "web": "tcp:127.0.0.1:80", "echo": f"udp:127.0.0.1:{ECHO}",
                            "nobody": "udp:127.0.0.1:9999"})
    world.device.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def forward(world, echo):
    process = world.alice.start("forward", "--udp", f"{FORWARD}:echo", "--udp", f"{FORWARD + 1}:nobody",
                                2133, "8080:web")
    process.wait_line("^ready$", 60)
    yield process
    assert process.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def socks(world, echo):
    process = world.alice.start("socks", 2133, "1080")
    process.wait_line("^ready$", 60)
    yield process
    assert process.stop(signal.SIGINT) == 0


def exchange(s, payload, port=FORWARD, tries=5):
    """UDP may lose: a few tries. Answers to what was said before, which come late, are passed over."""
    for _ in range(tries):
        s.sendto(payload, ("127.0.0.1", port))
        try:
            while (got := s.recv(65536)) != payload:
                pass
            return got
        except TimeoutError:
            continue
    raise AssertionError(f"no answer to {len(payload)} bytes")


def test_datagrams_of_all_sizes(world, forward):
    s = world.net.requester.udp("127.0.0.1", timeout=3.0)
    for n in (1, 0, 63, 64, 512, 1200, 1472, 9000, 65507):
        payload = os.urandom(n)
        assert exchange(s, payload) == payload, n
    s.close()


def test_each_sender_has_a_flow_of_its_own(world, forward, echo):
    senders = [world.net.requester.udp("127.0.0.1", timeout=3.0) for _ in range(20)]
    first, again = [b"first %d" % i for i in range(20)], [b"again %d" % i for i in range(20)]
    for words in (first, again):
        for s, payload in zip(senders, words):
            assert exchange(s, payload) == payload
    assert len({echo.peers[payload] for payload in first}) == len(senders)
    assert [echo.peers[payload] for payload in first] == [echo.peers[payload] for payload in again]
    for s in senders:
        s.close()


def test_a_udp_service_that_nobody_serves_breaks_nothing(world, forward):
    s = world.net.requester.udp("127.0.0.1", timeout=0.3)
    for _ in range(3):
        s.sendto(b"anybody?", ("127.0.0.1", FORWARD + 1))
    with pytest.raises(OSError):
        s.recv(100)
    s.close()
    assert PAGE in world.net.requester.run(["curl", "-sS", "http://127.0.0.1:8080/"]).out


def test_tcp_streams_do_not_reach_udp_services_nor_the_other_way_round(world, echo):
    done = world.alice.run("connect", 2133, "echo", check=False, timeout=30)
    assert done.status == 14
    process = world.alice.start("forward", "--udp", "5017:web", 2133)
    process.wait_line("^ready$", 60)
    s = world.net.requester.udp("127.0.0.1", timeout=1.0)
    s.sendto(b"GET / HTTP/1.0\r\n\r\n", ("127.0.0.1", 5017))
    with pytest.raises(OSError):
        s.recv(100)
    s.close()
    wait_until(lambda: "no service" in process.output(), 20, "the refusal is said")
    assert process.stop(signal.SIGINT) == 0


def test_a_flood_of_datagrams_is_dropped_not_kept(world, forward):
    """What the path cannot take is lost, the rest arrives, and later datagrams are not behind it."""
    s = world.net.requester.udp("127.0.0.1", timeout=2.0)
    for i in range(3000):
        s.sendto(struct.pack("!I", i) + bytes(1196), ("127.0.0.1", FORWARD))
    got = 0
    try:
        while True:
            s.recv(2048)
            got += 1
    except TimeoutError:
        pass
    assert got > 0
    assert exchange(s, b"after the flood") == b"after the flood"
    s.close()


# -- SOCKS ----------------------------------------------------------------------------------------

def negotiate(world, request, greeting=b"\x05\x01\x00", port=1080):
    s = world.net.requester.connect("127.0.0.1", port, timeout=30.0)
    s.sendall(greeting)
    choice = s.recv(2)
    if choice == b"\x05\x00":
        s.sendall(request)
        return s, s.recv(10)
    return s, choice


def to_name(name, command=1):
    return bytes([5, command, 0, 3, len(name)]) + name + b"\x00\x50"


def test_curl_by_socks(world, socks):
    done = world.net.requester.run(["curl", "-sS", "--max-time", "20", "--socks5-hostname", "127.0.0.1:1080", "http://web/"])
    assert done.out == PAGE


def test_ssh_banner_by_socks(world, socks):
    s, reply = negotiate(world, to_name(b"ssh"))
    assert reply[:2] == b"\x05\x00"
    assert s.recv(100).startswith(b"SSH-2.0-")
    s.close()


def test_socks_tells_what_it_does_not_do(world, socks):
    cases = {
        to_name(b"no-such-service"): 2,
        to_name(b"echo"): 2,  # a UDP service
        to_name(b"web", command=2): 7,
        to_name(b"web", command=3): 7,
        b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50": 8,
        to_name(b"WEB!"): 4,
    }
    for request, code in cases.items():
        s, reply = negotiate(world, request)
        assert reply[:2] == bytes([5, code]), request
        assert s.recv(10) == b""
        s.close()
    s, choice = negotiate(world, b"", greeting=b"\x05\x01\x02")
    assert choice == b"\x05\xff"
    s.close()


def test_socks_many_at_once(world, socks):
    connections = [world.net.requester.connect("127.0.0.1", 1080, timeout=60.0) for _ in range(40)]
    for s in connections:
        s.sendall(b"\x05\x01\x00" + to_name(b"web") + b"GET / HTTP/1.0\r\n\r\n")
    for s in connections:
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        assert data.startswith(b"\x05\x00\x05\x00") and data.endswith(PAGE.encode())
        s.close()


def test_socks_usage(world):
    for words in (("socks",), ("socks", 2133, "1080", "more"), ("socks", 2133, "nonsense"), ("forward", "--udp", "x", 2133),
                  ("forward", 2133)):
        done = world.alice.run(*words, check=False)
        assert done.status == 2 and len(done.err.strip().splitlines()) == 1, (words, done.err)
