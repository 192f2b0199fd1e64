"""A direct session that is lost as soon as it stands, while the relayed one is still on its way: what was begun by then
waits for that one, and goes on by it."""

import shutil

import pytest

from lab import REQUESTER, ROUTER_A, ROUTER_B, SERVER
from lab.interceptor import TCP, Interceptor, attack
from lab.services import PAGE

CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
AGENT_PORT = 1300
LATE_S = 0.8  # each packet of the device's to the relay: it is there after more than two seconds, and within five


@pytest.fixture
def lost_and_late(world):
    """The first HTTP/2 of a caller on the direct path is answered by the end of the connection, in both directions."""
    net = world.net
    shutil.rmtree(world.alice.state / "devices", ignore_errors=True)  # repeated calls ask for no relay
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()

    def late(p):
        return [(LATE_S, p)] if p.src == ROUTER_B and p.dport != AGENT_PORT else [p]

    cut = attack("cut", 5000, False, 2)
    with Interceptor(net.wan, TCP, {ROUTER_A, ROUTER_B}, 5000, cut), \
            Interceptor(net.wan, TCP, {ROUTER_B, SERVER}, None, late):
        yield cut
    net.router_a.inbound_maps.clear()
    net.router_a.load()


def test_a_ping_goes_to_the_session_that_comes_next(world, lost_and_late):
    done = world.alice.run("ping", "-v", *CALLBACK, "-c", "1", "2133")
    assert lost_and_late.done
    assert done.out.count("round trip") == 1 and "path: relayed" in done.out
    lost, other = done.err.index("is lost"), done.err.index("connected: relayed")
    assert lost < other, "the relayed one was there already"


def test_a_connection_made_meanwhile_waits_for_the_session_that_comes_next(world, lost_and_late):
    forward = world.alice.forward(2133, "8001:web", options=("-v", *CALLBACK))
    forward.wait_line("is lost")
    assert world.net.requester.run(["curl", "-sS", "--max-time", "40", "http://127.0.0.1:8001/"]).out == PAGE
    said = forward.output()
    assert "path: relayed" in said
    assert said.index("is lost") < said.index("connected: relayed"), "the relayed one was there already"
    assert forward.stop() == 0
