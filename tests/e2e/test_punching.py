"""Simultaneous opens where they are hard: a network that comes back while tries are under way, and long lines."""

import time

import pytest

from lab.sides import line_program
from lab.world import World

KIND = "port-preserving"
ENDS = "ip saddr {0} ip daddr {1}"


@pytest.fixture(scope="module")
def world(bindir):
    with World(bindir, [KIND], [KIND], services={"echo": "tcp:127.0.0.1:9004"}, lines=line_program(bindir)) as world:
        yield world


@pytest.mark.parametrize("one_way_s", [0, 2], ids=["at-once", "one-way-first"])
def test_round_after_an_outage_punches(world, one_way_s):
    """What is sent directly is lost for 8 s after the call is relayed, and comes back as a round's tries end, or one way
    first, in their midst. What those leave behind in the kernels must not stand in the way of the next round."""
    net, user, device = world.net, world.users[KIND], world.devices[KIND]
    ends = (net.requesters[KIND].public, net.devices[KIND].public)
    blocks = {"there": ENDS.format(*ends), "back": ENDS.format(*reversed(ends))}
    for name, match in blocks.items():
        net.block(match, name=name)
    process = user.forward(device.id, "8001:echo", options=("-v",), timeout=20)
    try:
        process.wait_line("path: relayed ", 30)
        time.sleep(8 - one_way_s)
        net.block_clear("there")
        time.sleep(one_way_s)
        net.block_clear("back")
        process.wait_line("path: punched ", 20)  # a round begins 10 s after the first path, the next one 20 s later
        assert process.stop() == 0
    finally:
        process.kill()
        for name in blocks:
            net.block_clear(name)
    world.wait_no_call(KIND)


@pytest.mark.parametrize("slow", [("requester",), ("requester", "device")], ids=["one-end", "both-ends"])
def test_long_lines(world, slow):
    """A way of 200 ms at one end, or at both: each try needs longer than 250 ms to stand."""
    lines = [world.side(role, KIND).line for role in slow]
    for line in lines:
        line.set(delay_ms=200)
    try:
        tries = [world.call(KIND, KIND, "-v") for _ in range(3)]
    finally:
        for line in lines:
            line.set()
    assert [t.path for t in tries] == ["punched"] * 3, tries
    assert all(t.ms < 14000 for t in tries), tries
    world.wait_no_call(KIND, 20)
