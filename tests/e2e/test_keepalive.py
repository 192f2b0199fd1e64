"""What a waiting device sends and receives a day. CI watches some cycles at a short interval and extrapolates; `make
keepalive` waits for the real ones, with NATs of 30, 120 and 300 s."""

import pytest

from lab import wait_until
from lab.keepalive import DAY_S, UDP_HEADERS, Packet, at_interval, cost, udp_packets
from lab.world import World

KEEPALIVE_S = 5
CYCLES = 2
REQUEST, ANSWER, QUIET = (88 + UDP_HEADERS, 72 + UDP_HEADERS, 88 + UDP_HEADERS)


@pytest.fixture(scope="module")
def captured(bindir):
    """Some cycles of a device with a fixed, short interval, and how many times its mapping changed."""
    with World(bindir, [], ["port-preserving"], agent={"keepalive": KEEPALIVE_S}) as world:
        device = world.devices["port-preserving"]
        capture = world.net.capture(world.net.devices["port-preserving"].router.ns, "lan0", "udp port 1200")
        place = world.server.devices()

        def enough():
            try:
                return cost(udp_packets(capture.path, world.net.devices["port-preserving"].address)).cycles >= CYCLES
            except ValueError:
                return False

        wait_until(enough, CYCLES * 5 * KEEPALIVE_S + 100, f"{CYCLES} cycles")
        capture.stop()
        assert [(d["address"], d["port"]) for d in world.server.devices()] == [(d["address"], d["port"]) for d in place]
        assert device.process.running()
        yield udp_packets(capture.path, world.net.devices["port-preserving"].address)


def synthetic(interval, cycles, quiet=3, twice=False):
    """Packets of a device as it should be, at exact times."""
    found, at = [], 1000.0
    for _ in range(cycles):
        for _ in range(2 if twice else 1):
            found += [Packet(at, True, REQUEST, "REGISTER", "request"), Packet(at + 0.02, False, ANSWER, "REGISTER", "success")]
            at += 3 if twice else 0
        at += interval - (6 if twice else 0)
        for _ in range(quiet):
            found.append(Packet(at, True, QUIET, "REGISTER", "indication"))
            at += interval
    return found


def test_the_arithmetic():
    """Against a day of packets that were counted one by one."""
    for interval, quiet, twice in ((25, 3, False), (100, 3, True), (240, 3, True), (25, 7, False)):
        days = 20  # and then divided, so that the last, unfinished cycle counts for little
        packets = synthetic(interval, int(days * DAY_S / interval / (quiet + 1)) + 1, quiet, twice)
        counted = sum(p.size for p in packets if p.time < 1000 + days * DAY_S) / days
        assert abs(cost(packets[:200]).bytes_a_day - counted) < 0.01 * counted


def test_measuring_is_counted_once_a_day():
    packets = synthetic(25, 20)
    probes = [Packet(1001.0, True, 124, "PROBE", "indication"), Packet(1001.1, False, 76, "PROBE", "indication")]
    assert cost(packets + probes).bytes_a_day == cost(packets).bytes_a_day + 200


def test_too_short_a_capture_is_no_day():
    with pytest.raises(ValueError):
        cost(synthetic(25, 1))


def test_keepalives_are_as_small_and_as_quiet_as_promised(captured):
    """Three of four unanswered, none larger than the request."""
    sent = [p for p in captured if p.up and p.method == "REGISTER"]
    assert {p.size for p in sent} <= {REQUEST, QUIET, REQUEST + 24}
    assert all(p.size <= ANSWER for p in captured if not p.up and p.kind == "success")
    quiet = [p for p in sent if p.kind == "indication"]
    answered = [p for p in sent if p.kind == "request"]
    steady = [p for p in sent if p.time >= quiet[0].time]
    assert len([p for p in steady if p.kind == "indication"]) >= 2 * len([p for p in steady if p.kind == "request"])
    assert len([p for p in captured if not p.up]) <= len(answered)


def test_a_day_of_an_ordinary_nat_is_below_a_megabyte(captured):
    """The cycles seen, at the 25 s that every NAT allows, and at what a NAT of 300 s does."""
    found = cost(captured)
    assert 0.8 * KEEPALIVE_S <= found.interval_s <= 1.05 * KEEPALIVE_S
    ordinary = at_interval(found, KEEPALIVE_S, 25)
    assert 300_000 < ordinary < 1_000_000, ordinary
    assert at_interval(found, KEEPALIVE_S, 240) < 200_000
