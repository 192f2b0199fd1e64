"""Port mapping with true and false routers, at the caller's end and at the device's: each protocol alone, answers that are
wrong, slow or refusals, leases without end, and renewals that are granted and not kept. The other end is always
behind a translator that lets nothing in, so that the path tells whether the mapping was used."""

import signal

import pytest

from lab import wait_until
from lab.false_router import FalseRouter
from lab.peers import Service, echo
from lab.world import World

PROTOCOLS = ("pcp", "natpmp", "igd")
ENDS = {"requester": ("port-preserving", "symmetric"), "device": ("symmetric", "port-preserving")}
CALL_MAX_S = 25


@pytest.fixture(scope="module")
def world(bindir):
    kinds = ["port-preserving", "symmetric"]
    with World(bindir, kinds, kinds, services={"echo": "tcp:127.0.0.1:9004"}) as w:
        services = [Service(echo, device.ns, 9004) for device in w.devices.values()]
        yield w
        for service in services:
            service.close()


@pytest.fixture(autouse=True)
def _nothing_left(world):
    world.running = []
    yield
    for process in world.running:
        process.stop(signal.SIGINT)
    for device in world.devices:
        world.wait_no_call(device, 30)


@pytest.fixture(params=list(ENDS))
def end(request, world):
    return End(world, request.param)


class End:
    """One end's router grants mappings, or does as it likes; calls go from and to there."""

    def __init__(self, world, role):
        self.world = world
        self.role = role
        self.requester, self.device = ENDS[role]
        self.router = world.side(role, "port-preserving").router

    def call(self, *options):
        found = self.world.call(self.requester, self.device, *options)
        self.world.wait_no_call(self.device, 40)
        return found

    def forward(self, *options):
        process = self.world.users[self.requester].forward(self.world.devices[self.device].id, "8004:echo",
                                                           options=("-v", *options), timeout=30)
        self.world.running.append(process)
        process.wait_line(r"\bpath: ", 30)
        return process

    def comes_by_a_mapping(self):
        """At once, or, where a busy router has let the caller wait, soon after it was relayed."""
        process = self.forward()
        process.wait_line(r"\bpath: (mapped|punched) ", 60)
        self.still_works()
        self.stop(process)

    def still_works(self):
        with self.world.users[self.requester].ns.connect("127.0.0.1", 8004, timeout=20) as s:
            s.sendall(b"still there")
            assert s.recv(100) == b"still there"

    def stop(self, process):
        process.stop(signal.SIGINT)
        self.world.wait_no_call(self.device, 40)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_alone(end, protocol):
    """miniupnpd; the call goes by the mapping, and none is left when it is over."""
    end.router.start_upnp(igd=protocol == "igd", natpmp=protocol == "natpmp", pcp=protocol == "pcp")
    try:
        process = end.forward()
        # A port mapped to itself is the observed address too: who came to it first says how the path is called.
        process.wait_line(r"\bpath: (mapped|punched) ", 60)
        (outside, inside, _), = end.router.mappings()
        assert outside and inside == end.world.side(end.role, "port-preserving").address
        end.still_works()
        end.stop(process)
        wait_until(lambda: end.router.mappings() == [], 30, "the mapping is taken back")
    finally:
        end.router.stop_upnp()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_of_a_false_router_alone(end, protocol):
    with FalseRouter(end.router, [protocol]) as router:
        end.comes_by_a_mapping()
        wait_until(lambda: router.granted == {}, 30, "the mapping is taken back")
        assert {p for p, *_ in router.asked} == {protocol}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("answer", ["refuse", "silent", "short", "garbage", "address"])
def test_answers_that_are_of_no_use(end, protocol, answer):
    """The call is made all the same, by the relay, and soon."""
    with FalseRouter(end.router, [protocol], answer=answer, forwards=False) as router:
        found = end.call()
        assert found.path == "relayed" and found.ms < CALL_MAX_S * 1000, found


@pytest.mark.parametrize("protocol", ["pcp", "natpmp"])
def test_answers_to_somebody_else(end, protocol):
    with FalseRouter(end.router, [protocol], answer="nonce", forwards=False):
        assert end.call().path == "relayed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_router_of_two_seconds(end, protocol):
    """Whoever does not want to wait is relayed first; the mapping is used once it is there."""
    with FalseRouter(end.router, [protocol], delay_s=2) as router:
        process = end.forward()
        process.wait_line(r"\bpath: (mapped|punched) ", 60)
        end.still_works()
        end.stop(process)
        wait_until(lambda: router.granted == {}, 30, "the mapping is taken back")


def test_grants_that_are_not_kept(end):
    """Said to be mapped, and nothing comes through."""
    with FalseRouter(end.router, forwards=False):
        assert end.call().path == "relayed"


def test_leases_without_end_are_taken_back(end):
    """A router that knows no other."""
    with FalseRouter(end.router, ["igd"], permanent_only=True) as router:
        end.comes_by_a_mapping()
        wait_until(lambda: router.granted == {}, 30, "the mapping is taken back")
        assert ("igd", "AddPortMapping") in {(p, what) for p, what, *_ in router.asked}


@pytest.mark.parametrize("protocol", ["pcp", "natpmp"])
def test_a_renewal_that_lies(world, protocol):
    """Granted again, and forwarded no more: found out by a dial from the device, deleted, and made anew."""
    end = End(world, "requester")
    with FalseRouter(end.router, [protocol], lies=True, lease_s=20, shift=100) as router:
        process = end.forward()
        process.wait_line(r"\bpath: mapped ", 60)
        wait_until(lambda: end.router.inbound_maps == [], 40, "the renewal that lies")
        wait_until(lambda: router.said(protocol, "unmap") > 0, 90, "the dead mapping is deleted")
        wait_until(lambda: len(end.router.inbound_maps) == 1, 40, "and made anew")
        end.still_works()
        end.stop(process)
        wait_until(lambda: router.granted == {}, 30, "the mapping is taken back")


def test_a_renewal_that_is_kept_is_left_alone(world):
    end = End(world, "requester")
    with FalseRouter(end.router, ["natpmp"], lease_s=10, shift=100) as router:
        process = end.forward()
        process.wait_line(r"\bpath: mapped ", 60)
        wait_until(lambda: router.said("natpmp", "map") >= 4, 60, "three renewals")
        assert router.said("natpmp", "unmap") == 0 and len(end.router.inbound_maps) == 1
        end.still_works()
        end.stop(process)
