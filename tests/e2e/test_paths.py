"""Where the device calls back to: a mapping made by hand, one that the router grants, the caller's own
public address; and that nothing of a call is left, however it ends."""

import contextlib
import json
import re
import signal
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, conntrack, nft_rules, wait_until
from lab.peers import Service, blob, echo, receive
from lab.services import PAGE

GIB = 1 << 30
ROAMER = "151.101.9.5"
NEIGHBOUR = "192.168.1.12"
MAPPED = ("--path", "mapped")  # no other way is quicker than the router


@pytest.fixture(scope="module")
def services(world):
    running = {"blob": Service(blob, world.net.device, 9001), "echo": Service(echo, world.net.device, 9004)}
    world.device.stop()
    world.device.configure({"blob": "tcp:127.0.0.1:9001", "echo": "tcp:127.0.0.1:9004"})
    world.device.start()
    yield types.SimpleNamespace(**running)
    for service in running.values():
        service.close()


@pytest.fixture
def upnp(world):
    """The router grants mappings by every protocol it has."""
    world.net.router_a.start_upnp()
    yield world.net.router_a
    world.net.router_a.stop_upnp()


@contextlib.contextmanager
def granting(router, **protocols):
    router.start_upnp(**protocols)
    try:
        yield
    finally:
        router.stop_upnp()


def calls(world):
    """PIDs of the device's processes that serve a call."""
    return [pid for pid, name in world.net.device.programs().items() if name == "beckon-agent-call"]


def everything_is_gone(world, timeout=30.0):
    """No process, no socket and no mapping of a call is left anywhere."""
    net = world.net
    wait_until(lambda: net.router_a.mappings() == [] and nft_rules(net.router_a.ns, "upnp_forward") == [], timeout,
               "the router has taken its mappings back")
    assert "beckon" not in net.requester.programs().values()
    assert [s for s in net.requester.sockets("state listening")] == []
    wait_until(lambda: not calls(world), timeout, "the device's call process ends")
    assert set(net.device.programs().values()) <= {"beckon-agent", "sshd", "nginx"}
    agents = [name for name in net.device.programs().values() if name == "beckon-agent"]
    assert len(agents) == 1


def page_through(ns, port):
    return ns.run(["curl", "-sS", "--max-time", "20", f"http://127.0.0.1:{port}/"]).out == PAGE


def callback_flows(world, port):
    return [(f.src, f.dst, f.dport) for f in conntrack(world.net.router_b.ns, "tcp")
            if f.src == DEVICE and f.dport == port and f.state == "ESTABLISHED"]


# -- mappings -------------------------------------------------------------------------------------

@pytest.mark.parametrize("protocols, description", [
    ({"igd": True, "natpmp": False}, "Beckon"),
    ({"igd": False, "natpmp": True}, None),
    ({"igd": True, "natpmp": True}, None),
], ids=["UPnP-IGD", "NAT-PMP", "both"])
def test_the_router_grants_a_mapping(world, protocols, description):
    """It leads to our listener while we run, carries the call, is for a short time, and is taken back."""
    router = world.net.router_a
    with granting(router, **protocols):
        process = world.alice.forward(2133, "8001:web", options=("-v", "--listen", ":1700", *MAPPED))
        process.wait_line("^ready$", 40)
        assert router.mappings() == [(1700, REQUESTER, 1700)]
        process.wait_line(re.escape(f"candidate: mapped {ROUTER_A}:1700"))
        process.wait_line(re.escape(f"path: mapped {ROUTER_A}:1700; the device dialled it from {ROUTER_B}"))
        assert callback_flows(world, 1700) == [(DEVICE, ROUTER_A, 1700)]
        if protocols["igd"]:
            (port, said, left), = router.granted()
            assert port == 1700 and 0 < left <= 120
            assert description in (None, said)
        assert page_through(world.net.requester, 8001)
        assert process.stop(signal.SIGINT) == 0
        everything_is_gone(world)


@pytest.mark.parametrize("protocols", [{"natpmp": False}, {"igd": False}], ids=["UPnP-IGD", "NAT-PMP"])
def test_two_callers_behind_one_router(world, neighbour, protocols):
    """Both ask for the same port: the router gives it to one, and the other takes what it is given."""
    router = world.net.router_a
    with granting(router, **protocols):
        first = world.alice.forward(2133, "8001:web", options=("--listen", ":1700", *MAPPED))
        first.wait_line("^ready$", 40)
        second = neighbour.forward(2133, "8001:web", options=("--listen", ":1700", *MAPPED))
        second.wait_line("^ready$", 40)
        mappings = {(address, inside): outside for outside, address, inside in router.mappings()}
        assert set(mappings) == {(REQUESTER, 1700), (NEIGHBOUR, 1700)}
        assert mappings[REQUESTER, 1700] == 1700
        assert page_through(neighbour.ns, 8001)
        assert second.stop(signal.SIGINT) == 0
        assert router.mappings() == [(1700, REQUESTER, 1700)]
        assert page_through(world.net.requester, 8001)
        assert first.stop(signal.SIGINT) == 0
        everything_is_gone(world)


@pytest.fixture(scope="module")
def neighbour(world):
    ns = world.net.host("neighbour", world.net.router_a, NEIGHBOUR)
    wait_until(lambda: ns.reachable(ROUTER_A), 10, "the neighbour is up")
    return world.beckon.enrol_user("bob", ns=ns, devices=[2133], pins=[world.device])


def test_lease_is_renewed_while_in_use(world):
    """The router's answers are made to say 2 s: the next request comes before they are over."""
    with granting(world.net.router_a, igd=False, pcp=False):
        _renewed_while_in_use(world, world.net.router_a)
    everything_is_gone(world)


def _renewed_while_in_use(world, upnp):
    upnp.ns.nft("table inet short { chain output { type filter hook output priority 0; "
                "oifname lan0 udp sport 5351 @th,72,8 130 @th,160,32 set 2 udp checksum set 0; }; }")
    try:
        process = world.alice.forward(2133, "8001:web", options=MAPPED)
        process.wait_line("^ready$", 40)
        asked = "NAT-PMP port mapping request : [1-9].* lifetime=120s"
        since = 0
        for _ in range(3):
            upnp.upnp.wait_line(asked, 20, since=since)
            since = upnp.upnp.position()
        assert len(upnp.mappings()) == 1
        assert page_through(world.net.requester, 8001)
        assert process.stop() == 0
        assert upnp.mappings() == []
    finally:
        upnp.ns.nft("delete table inet short")


def test_mapping_ends_with_a_command_that_ends_by_itself(world, upnp):
    assert world.alice.run("ping", "-c", 1, 2133).status == 0
    everything_is_gone(world)


def test_mapping_ends_with_a_call_that_fails(world, upnp):
    assert world.alice.run("connect", 2133, "ssh", password="wrong", check=False).status == 5
    everything_is_gone(world)


def test_several_calls_at_once(world, upnp):
    """Each has a listener, a mapping and a process of its own on the device; none takes another's call."""
    processes = [world.alice.start("ping", "-c", 1, "--json", 2133) for _ in range(8)]
    assert [p.wait(60) for p in processes] == [0] * 8
    paths = {json.loads(p.output())["path"] for p in processes}
    assert len(paths) == 8
    everything_is_gone(world)


def test_mapping_made_by_hand(world, upnp):
    """--listen and --advertise say all: the router is not asked, though it would grant."""
    router = world.net.router_a
    router.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    router.load()
    try:
        process = world.alice.forward(2133, "8001:web", options=("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000"))
        process.wait_line("^ready$", 40)
        assert router.mappings() == []
        assert callback_flows(world, 5000) == [(DEVICE, ROUTER_A, 5000)]
        assert page_through(world.net.requester, 8001)
        assert process.stop(signal.SIGINT) == 0
    finally:
        router.inbound_maps.clear()
        router.load()
    everything_is_gone(world)


def test_own_public_address(world):
    """A caller on the open network needs no mapping and asks for none."""
    ns = world.net.public_host("roamer", ROAMER)
    carol = world.beckon.enrol_user("carol", ns=ns, devices=[2133], pins=[world.device])
    process = carol.forward(2133, "8001:web", options=("-v", "--listen", ":1700"))
    process.wait_line("^ready$", 40)
    process.wait_line(re.escape(f"candidate: host {ROAMER}:1700"))
    process.wait_line(re.escape(f"path: host {ROAMER}:1700; the device dialled it from {ROUTER_B}"))
    assert callback_flows(world, 1700) == [(DEVICE, ROAMER, 1700)]
    assert page_through(ns, 8001)
    assert process.stop(signal.SIGINT) == 0
    wait_until(lambda: not calls(world), 30, "the device's call process ends")
    assert ns.sockets("state listening") == []


# -- the end --------------------------------------------------------------------------------------

def asked(service):
    """What became of the one connection on which something was said: devices connect ahead to what a call names."""
    while isinstance(result := service.result(), EOFError) and result.args == (b"",):
        pass
    return result


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "mid-transfer"])
def test_interrupted_leaves_nothing(world, services, upnp, number, busy):
    net = world.net
    process = world.alice.forward(2133, "8101:blob", options=MAPPED)
    process.wait_line("^ready$", 40)
    assert len(upnp.mappings()) == 1 and len(calls(world)) == 1
    with contextlib.ExitStack() as stack:
        if busy:
            s = stack.enter_context(net.requester.connect("127.0.0.1", 8101, timeout=20))
            s.sendall(f"8 {GIB}\n".encode())
            assert s.recv(1)
        process.send_signal(number)
        assert process.wait(20) == 0
        if busy:
            with pytest.raises(ConnectionResetError):
                receive(s)
            assert isinstance(asked(services.blob), OSError)
    everything_is_gone(world)


def test_interrupted_before_the_call_stands(world, upnp):
    """The server's notifications are lost; the interrupt comes while an answer is waited for."""
    net = world.net
    net.block("udp sport 1200")
    try:
        process = world.alice.start("forward", "-v", *MAPPED, 2133, "8102:web")
        process.wait_line("sealed request is out", 15)
        assert len(upnp.mappings()) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        net.block_clear()
    everything_is_gone(world)


def test_interrupted_while_the_router_is_asked(world, upnp):
    """Of what was asked for and not yet granted nothing is left either."""
    net = world.net
    upnp.ns.nft("table inet mute { chain output { type filter hook output priority 0; oifname lan0 drop; }; }")
    try:
        process = world.alice.start("forward", "-v", 2133, "8102:web")
        process.wait_line("device's certificate and key are right", 15)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        upnp.ns.nft("delete table inet mute")
    everything_is_gone(world)


def test_killed_leaves_nothing_at_the_device(world, services, upnp):
    """Nobody can tidy up after SIGKILL: the device's end notices, and the mapping runs out by itself."""
    net = world.net
    process = world.alice.forward(2133, "8103:echo", options=MAPPED)
    process.wait_line("^ready$", 40)
    with net.requester.connect("127.0.0.1", 8103, timeout=40) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        process.kill()
        assert s.recv(1) == b""
    wait_until(lambda: not calls(world), 30, "the device's call process ends")
    wait_until(services.echo.idle, 30, "the service's connection ends")
    (_, _, left), = upnp.granted()
    assert 0 < left <= 120
