"""beckon forward: one call that carries many connections, whole, in both directions, each for itself;
and nothing left of it at the end, however it ends."""

import contextlib
import signal
import threading
import time
import types

import pytest

from lab import REQUESTER, ROUTER_A, ROUTER_B, conntrack, wait_until
from lab.peers import (Service, ask_blob, blob, cut, digest, echo, expected, greet, in_parallel, line, receive, reset,
                       send)
from lab.services import PAGE

BY_HAND = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
GIB = 1 << 30
MIB = 1 << 20
PORTS = {"blob": 9001, "digest": 9002, "greet": 9003, "echo": 9004, "cut": 9005}


@pytest.fixture(scope="module")
def services(fixed_world, tmp_path_factory):
    """Device 2133 with services whose bytes are known; one of them by a Unix socket, one with nobody there."""
    path = tmp_path_factory.mktemp("unix") / "echo"
    handlers = {"blob": blob, "digest": digest, "greet": greet, "echo": echo, "cut": cut}
    running = {name: Service(handle, fixed_world.net.device, PORTS[name]) for name, handle in handlers.items()}
    running["local"] = Service(echo, path=path)
    targets = {name: f"tcp:127.0.0.1:{port}" for name, port in PORTS.items()}
    device = fixed_world.device
    device.stop()
    device.configure({**targets, "local": f"unix:{path}", "nobody": "tcp:127.0.0.1:9999"})
    device.start()
    yield types.SimpleNamespace(**running)
    for service in running.values():
        service.close()


@pytest.fixture(scope="module")
def forward(fixed_world, services):
    """One forward for all tests that leave it standing."""
    specs = [f"80{i:02}:{name}" for i, name in enumerate(["web", *PORTS, "local", "nobody"])]
    ports = {spec.split(":")[1]: int(spec.split(":")[0]) for spec in specs}
    process = fixed_world.alice.forward(2133, *specs, options=BY_HAND)
    process.wait_line("^ready$", 40)

    def connect(service, timeout=60.0):
        return fixed_world.net.requester.connect("127.0.0.1", ports[service], timeout=timeout)

    yield types.SimpleNamespace(process=process, ports=ports, connect=connect)
    assert process.stop(signal.SIGINT) == 0


def calls(world):
    """PIDs of the device's processes that serve a call."""
    return [pid for pid, name in world.net.device.programs().items() if name == "beckon-agent-call"]


# -- bytes ----------------------------------------------------------------------------------------

@pytest.mark.heavy
def test_a_gigabyte_arrives_whole(forward, services):
    with forward.connect("blob") as s:
        started = time.monotonic()
        got = ask_blob(s, 1, GIB)
        took = time.monotonic() - started
    assert got == (GIB, expected(1, GIB))
    assert services.blob.result() == GIB
    print(f"\n1 GiB through beckon forward: {GIB / 1e6 / took:.0f} MB/s")


def test_a_hundred_connections_at_once(fixed_world, forward, services):
    """Each sends a mebibyte of its own and gets it back; all stand open before the first byte moves,
    and one callback connection carries them."""
    together = threading.Barrier(100)

    def one(seed):
        with forward.connect("echo") as s:
            s.sendall(b"!")
            assert s.recv(1) == b"!"
            together.wait(60)
            if seed == 0:
                callbacks = [f for f in conntrack(fixed_world.net.router_a.ns, "tcp")
                             if f.dport == 5000 and f.state == "ESTABLISHED"]
                accepted = fixed_world.net.requester.sockets("state established sport = :1600")
                assert (len(callbacks), len(accepted)) == (1, 1)
            sender = threading.Thread(target=lambda: (send(s, seed, MIB), s.shutdown(1)), daemon=True)
            sender.start()
            got = receive(s)
            sender.join()
            return got

    got = in_parallel([lambda seed=seed: one(seed) for seed in range(100)])
    assert got == [(MIB, expected(seed, MIB)) for seed in range(100)]
    assert [services.echo.result() for _ in range(100)] == [MIB + 1] * 100


@pytest.mark.parametrize("size", [0, 1, 5 * MIB])
def test_client_ends_first(forward, services, size):
    """The answer depends on all of the question, its end included."""
    with forward.connect("digest") as s:
        send(s, 2, size)
        s.shutdown(1)
        answer = receive_text(s)
    assert answer == f"{size} {expected(2, size)}\n"
    assert services.digest.result() == size


@pytest.mark.parametrize("size", [0, 1, 5 * MIB])
def test_server_ends_first(forward, services, size):
    with forward.connect("greet") as s:
        assert receive(s) == (100_000, expected(7, 100_000))
        send(s, 3, size)
    assert services.greet.result() == (size, expected(3, size))


def test_netcat_ends_first(fixed_world, forward, services):
    done = fixed_world.net.requester.run(["nc", "-N", "127.0.0.1", forward.ports["digest"]], input="a question\n")
    assert done.out.startswith("11 ")
    assert services.digest.result() == 11


def test_reset_is_passed_on_as_reset(forward, services):
    """Nobody takes a broken connection for a finished one: neither at this end nor at the device's."""
    with forward.connect("cut") as s:
        s.sendall(b"!")
        with pytest.raises(ConnectionResetError):
            s.recv(1)
    services.cut.result()
    s = forward.connect("echo")
    s.sendall(b"!")
    assert s.recv(1) == b"!"
    reset(s)
    assert isinstance(services.echo.result(), ConnectionResetError)


def test_slow_reader_holds_up_nobody(forward, services):
    with forward.connect("blob") as slow:
        slow.sendall(f"4 {64 * MIB}\n".encode())
        assert slow.recv(1)
        with forward.connect("blob") as quick:
            assert ask_blob(quick, 5, 4 * MIB) == (4 * MIB, expected(5, 4 * MIB))
        rest, _ = receive(slow)
        assert rest == 64 * MIB - 1
    assert [services.blob.result() for _ in range(2)] == [4 * MIB, 64 * MIB]


# -- services -------------------------------------------------------------------------------------

def test_page_of_the_web_server(fixed_world, forward):
    page = fixed_world.net.requester.run(["curl", "-sS", f"http://127.0.0.1:{forward.ports['web']}/"])
    assert page.out == PAGE


def test_unix_target(forward, services):
    with forward.connect("local") as s:
        send(s, 6, MIB // 2)
        s.shutdown(1)
        assert receive(s) == (MIB // 2, expected(6, MIB // 2))
    assert services.local.result() == MIB // 2


def test_service_that_is_down_harms_no_other(forward, services):
    """Its connection is cut, with one line that says why; those beside it go on."""
    with forward.connect("echo") as beside:
        beside.sendall(b"before")
        assert beside.recv(10) == b"before"
        since = forward.process.position()
        with pytest.raises(ConnectionResetError), forward.connect("nobody") as s:
            s.recv(1)
        forward.process.wait_line("nobody", since=since)
        beside.sendall(b"after")
        assert beside.recv(10) == b"after"
    assert services.echo.result() == len("beforeafter")


# -- a call that is lost --------------------------------------------------------------------------

def use(forward):
    with forward.connect("echo", timeout=40) as s:
        s.sendall(b"x")
        return s.recv(1) == b"x"


def test_next_connection_calls_again_when_the_devices_end_dies(fixed_world, forward, services):
    with forward.connect("echo") as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        first, = calls(fixed_world)
        since = forward.process.position()
        fixed_world.net.device.run(["kill", "-KILL", first])
        with pytest.raises(ConnectionResetError):
            s.recv(1)
    forward.process.wait_line("calls again", since=since)
    assert use(forward)
    second, = calls(fixed_world)
    assert second != first
    drain(services.echo)


def test_next_connection_calls_again_when_the_path_is_cut(fixed_world, forward, services):
    """A router that lost its tables answers every packet of the connection with RST."""
    net = fixed_world.net
    with forward.connect("echo") as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        first, = calls(fixed_world)
        since = forward.process.position()
        net.wan.nft(f"table inet cut {{ chain forward {{ type filter hook forward priority 0; "
                    f"ip saddr {ROUTER_B} tcp dport 5000 reject with tcp reset; "
                    f"ip saddr {ROUTER_A} tcp sport 5000 reject with tcp reset; }}; }}")
        try:
            with pytest.raises(ConnectionResetError):
                s.sendall(b"x")
                s.recv(1)
            forward.process.wait_line("calls again", since=since)
            # It has nothing to say when the cut comes late, and asks for a sign of life after 30 s.
            wait_until(lambda: first not in calls(fixed_world), 60, "the device's end of the cut call ends")
        finally:
            net.wan.nft("delete table inet cut")
    assert use(forward)
    drain(services.echo)


def test_next_connection_calls_again_when_the_agent_is_restarted(fixed_world, forward, services):
    assert use(forward)
    since = forward.process.position()
    assert fixed_world.device.stop() == 0
    assert calls(fixed_world) == []
    forward.process.wait_line("calls again", since=since)
    try:
        with pytest.raises(ConnectionResetError):  # offline: this connection's misfortune, not the forward's end
            use(forward)
        with pytest.raises(ConnectionResetError), forward.connect("echo") as s:
            s.recv(1)  # nor an end of file, where nothing was sent
        forward.process.wait_line("offline", since=since)
    finally:
        fixed_world.device.start()
    assert use(forward)
    drain(services.echo)


def test_connections_that_come_before_the_call_stands_wait_for_it(fixed_world, services):
    """And the device's log says who called, what for, and how it went."""
    since = fixed_world.device.process.position()
    process = fixed_world.alice.forward(2133, "8200:echo", options=("--listen", ":1601", "--advertise", f"{ROUTER_A}:5001"))

    def one():
        with fixed_world.net.requester.connect("127.0.0.1", 8200, timeout=60) as s:
            s.sendall(b"early")
            return s.recv(10)

    router = fixed_world.net.router_a
    router.inbound_maps.append(("tcp", 5001, REQUESTER, 1601))
    try:
        router.load()
        assert in_parallel([one] * 50) == [b"early"] * 50
        assert process.stop(signal.SIGINT) == 0
        fixed_world.device.process.wait_line("audit call user=alice by=password:owner service=echo result=served", since=since)
    finally:
        router.inbound_maps.pop()
        router.load()
    drain(services.echo)


def receive_text(s):
    got = line(s)
    assert s.recv(1) == b""
    return got + "\n"


def drain(service):
    """Results of connections whose end is not this test's matter."""
    wait_until(service.idle, 30, "the service's connections end")
    while not service.results.empty():
        service.results.get()
