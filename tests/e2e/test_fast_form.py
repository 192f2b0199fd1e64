"""The fast form of a call, on the wire: the request comes with NOTIFY, what the device makes of it goes back by UDP, and the
device speaks TLS with the server only where something is missing; and what happens where datagrams get lost."""

import collections
import concurrent.futures
import json
import shutil
import stat
import time

import pytest

from lab import ROUTER_A, ROUTER_B, SERVER, stun, wait_until
from lab.pcap import timed_packets

BY_HAND = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
AGENT_PORT = 1300
WATCH_AFTER_S = 5
RESULT_GIVEN_UP_S = 3
SAID_AGAIN_S = 0.2  # at the earliest, for want of an answer


class Wire:
    """What a call brought about on the server's cable."""

    def __init__(self, world):
        self._world = world
        self._capture = world.net.capture(world.net.server, "eth0", f"udp port 1200 or tcp port {AGENT_PORT}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._capture.stop()

    def messages(self, method):
        """All of that method by UDP, in order; once what is said again, word by word, because a busy machine has not answered
        in time. Nothing is said twice before it is."""
        return [m for _, m in self.timed(method)]

    def timed(self, method):
        """The same, each with the second it was said at."""
        first, said = {}, collections.Counter()
        for at, m in self._read():
            if m.method == method:
                assert m.raw not in first or m.kind != "request" or at - first[m.raw] > SAID_AGAIN_S, "said again at once"
                first.setdefault(m.raw, at)
                said[m.kind, m.txid] += 1
        assert all(said["request", txid] >= n for (kind, txid), n in said.items() if kind == "success"), "answered more than asked"
        return [(at, stun.Message(raw)) for raw, at in first.items()]

    def every(self, method):
        """All, those that are said again too."""
        return [m for _, m in self._read() if m.method == method]

    def _read(self):
        self._capture.stop()
        for at, ip in timed_packets(self._capture.path):
            if ip[9] == 17:
                yield at, stun.Message(ip[(ip[0] & 15) * 4 + 8:int.from_bytes(ip[2:4], "big")])

    def connections(self):
        """When connections from anywhere to the server's port for agents began."""
        path = self._capture.stop().path
        began = {}
        for at, ip in timed_packets(path):
            tcp = ip[(ip[0] & 15) * 4:]
            if ip[9] == 6 and tcp[2:4] == AGENT_PORT.to_bytes(2, "big") and tcp[13] & 0x12 == 0x02:
                began.setdefault((ip[12:16], tcp[:8]), at)  # not those that the kernel sends again
        return sorted(began.values())

    def wait_finished(self, count):
        """Waits until so many connections to that port have their answer of the server's, TLS and all."""
        self._capture.wait_for(f"tcp.dstport == {AGENT_PORT} and tcp.flags.syn == 1", count, WATCH_AFTER_S + 20)
        self._capture.wait_for(f"tcp.srcport == {AGENT_PORT} and tls.app_data", 2 * count)

    def raw(self):
        return self._capture.stop().raw()

    def resumed(self):
        """How many TLS handshakes with that port took up a session of before."""
        self._capture.stop()
        hellos = self._capture.fields(["tls.handshake.extension.type"],
                                      f"tls.handshake.type == 2 and tcp.srcport == {AGENT_PORT}")
        return sum("41" in hello["tls.handshake.extension.type"].split(",") for hello in hellos)


def ping(world, *words, **kw):
    """Of a caller who has never called that device before."""
    shutil.rmtree(world.alice.state / "devices", ignore_errors=True)
    return world.alice.run("ping", *BY_HAND, 2133, "-c", "1", "--json", *words, **kw)


def calls(world):
    return [name for name in world.net.device.programs().values() if name == "beckon-agent-call"]


def no_call(world):
    """The device has said all."""
    wait_until(lambda: not calls(world), 30, "the device's call processes end")


@pytest.fixture(autouse=True)
def nothing_is_left(fixed_world):
    yield
    fixed_world.net.block_clear()
    no_call(fixed_world)


@pytest.fixture()
def wire(fixed_world):
    with Wire(fixed_world) as w:
        yield w


def test_a_short_call_is_three_datagrams_and_no_tls_of_the_device(fixed_world, wire):
    assert json.loads(ping(fixed_world).out)["path"]
    no_call(fixed_world)
    asked, answered = wire.messages("NOTIFY")
    assert (asked.kind, answered.kind) == ("request", "success")
    assert asked.get("BOX") and asked.get("CALL-ID") == answered.get("CALL-ID")
    assert len(asked.get("USER-NAME")) == 5 and b"alice" not in asked.raw  # for the device alone
    said, heard = wire.messages("RESULT")
    assert (said.kind, heard.kind) == ("request", "success")
    assert said.get("CALL-ID") == asked.get("CALL-ID") and said.equipment_id == 2133
    assert said.get("MESSAGE-INTEGRITY-SHA256") and said.fingerprint_valid() and heard.fingerprint_valid()
    assert len(asked.raw) + 28 <= 1280 and len(answered.raw) < len(asked.raw) and len(heard.raw) < len(said.raw)
    assert not wire.connections()  # nor is an address asked for to meet at: the caller's router changes the port, so he has none


def test_no_secret_is_to_be_seen(fixed_world, wire):
    ping(fixed_world)
    assert fixed_world.alice.password.encode() not in wire.raw()


def test_what_the_caller_is_refused_comes_by_datagram(fixed_world, wire):
    done = ping(fixed_world, password="wrong", check=False)
    assert done.status != 0
    no_call(fixed_world)
    assert [m.kind for m in wire.messages("RESULT")] == ["request", "success"]
    assert not wire.connections()


def test_a_longer_call_is_watched_over(fixed_world):
    """From five seconds on; and the next one's connection takes up the TLS session of the first."""
    state = fixed_world.device.state / "sessions"
    for resumed in (0, 1):
        if not resumed:
            state.unlink(missing_ok=True)
        with Wire(fixed_world) as wire:
            forward = fixed_world.alice.forward(2133, "8080:web", options=BY_HAND)
            up = time.time()
            wire.wait_finished(1)
            forward.stop()
            no_call(fixed_world)
            began, = wire.connections()
            (accepted, _), *_ = wire.timed("RESULT")
            # It is up after ACCEPTED and before `up`; a busy machine is a little late.
            assert began - accepted > WATCH_AFTER_S - 0.5 and began - up < WATCH_AFTER_S + 4
            assert wire.resumed() == resumed
        assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_where_both_ends_must_meet_the_device_asks_for_its_address(fixed_world, wire):
    """Nobody can be dialled: one connection to the server, made at once, tells the device where it is seen."""
    done = fixed_world.alice.run("ping", 2133, "-c", "1", "--json")
    assert json.loads(done.out)["path"]
    no_call(fixed_world)
    assert [m.kind for m in wire.messages("NOTIFY")] == ["request", "success"]
    assert wire.messages("NOTIFY")[0].get("BOX")
    assert len(wire.connections()) == 1


# -- lost datagrams -------------------------------------------------------------------------------

def test_a_result_that_udp_does_not_bring_comes_by_tls(fixed_world, wire):
    fixed_world.net.block(f"ip saddr {ROUTER_B} udp dport 1200 udp length > 120")
    began = time.time()
    done = ping(fixed_world, password="wrong", check=False)
    took = time.time() - began
    assert done.status != 0 and "password" in done.err
    assert RESULT_GIVEN_UP_S < took < RESULT_GIVEN_UP_S + 15
    assert not wire.messages("RESULT") and len(wire.connections()) == 1


def test_a_call_needs_no_result_where_the_device_gets_through(fixed_world, wire):
    fixed_world.net.block(f"ip saddr {ROUTER_B} udp dport 1200 udp length > 120")
    ping(fixed_world)
    assert not wire.connections()


def test_where_the_box_is_too_large_for_the_way_it_is_come_for(fixed_world, wire):
    fixed_world.net.block(f"ip saddr {SERVER} udp sport 1200 udp length > 250")
    ping(fixed_world)
    no_call(fixed_world)
    asked = [m for m in wire.every("NOTIFY") if m.kind == "request"]
    with_box = [m.get("BOX") is not None for m in asked]
    assert with_box[:3] == [True, True, False] and not any(with_box[2:])
    assert len({m.txid for m in asked}) == 1
    said = {m.get("CALL-ID") for m in wire.messages("RESULT")}  # of calls before, perhaps
    assert asked[0].get("CALL-ID") not in said and len(wire.connections()) == 1


def test_lost_answers_make_one_call(fixed_world, wire):
    """The device has the request and works on it; that it has, and what came of it, is told late."""
    net = fixed_world.net
    # To NOTIFY the first two answers, and RESULT as it is said at 0, 0.25 and 0.5 s: what comes at 1 s is heard.
    net.block(f"ip saddr {ROUTER_B} udp dport 1200 udp length <= 120 numgen inc mod 1000 < 2", "answers")
    net.block(f"ip saddr {ROUTER_B} udp dport 1200 udp length > 120 numgen inc mod 1000 < 3", "results")
    try:
        assert "password" in ping(fixed_world, password="wrong", check=False).err
    finally:
        net.block_clear("answers")
        net.block_clear("results")
    no_call(fixed_world)
    requests, said = ([m for m in wire.every(method) if m.kind == "request"] for method in ("NOTIFY", "RESULT"))
    assert len(requests) > 1 and len({m.txid for m in requests}) == 1
    assert said and {m.get("CALL-ID") for m in said} == {requests[0].get("CALL-ID")}
    assert not wire.connections()


def test_calls_at_the_same_time(fixed_world, wire):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = [pool.submit(fixed_world.alice.run, "ping", "--listen", ":0", 2133, "-c", "1") for _ in range(4)]
        assert all(d.result().status == 0 for d in done)
    requests = [m for m in wire.messages("NOTIFY") if m.kind == "request"]
    assert len({m.get("CALL-ID") for m in requests}) == 4


# -- the first form, where that is wanted -----------------------------------------------------------

def test_a_server_can_be_told_to_use_the_first_form(fixed_world):
    server, device = fixed_world.server, fixed_world.device
    config = server.state / "beckond.conf"
    before = config.read_text()

    def restart():
        device.stop()
        server.stop()
        server.start()
        device.start()

    server.configure(fast_form="no")
    restart()
    try:
        with Wire(fixed_world) as wire:
            ping(fixed_world)
            assert [m.kind for m in wire.messages("NOTIFY")] == ["request", "success"]
            assert all(m.get("BOX") is None and m.get("CALL-ID") is None for m in wire.messages("NOTIFY"))
            assert not wire.messages("RESULT") and len(wire.connections()) == 1
    finally:
        config.write_text(before)
        restart()
