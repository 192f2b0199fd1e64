"""A server that lies, in what it says to those who wait for a call: to callers of what a device has said, at their callback
port in its place, to devices that somebody calls. As in test_hostile_server.py otherwise."""

import os
import secrets

import pytest

from lab import ROUTER_A, stun, wait_until
from lab.false_device import FalseDevice, dial
from lab.hostile_server import Attack, Recorder, change
from lab.hostile_world import (LIMIT_S, NO_PATH, PORTS, REFUSED_STATUS, at_one_time, attempt, children, comes_about, fails,
                               false_results, finish, open_call, populated, promises, registration_key)


@pytest.fixture(scope="module")
def world(net, bindir):
    yield from populated(net, bindir)


@pytest.fixture(autouse=True)
def _promises(world):
    with promises(world):
        yield


@pytest.fixture(scope="module")
def liar(world):
    """The operator's false 2133, with a certificate by the true CA."""
    return FalseDevice(world.server.state)


# -- RESULT --------------------------------------------------------------------------------------------------------


class FalseResults(Recorder):
    """Says all of them to the caller, before the device has the request and after."""

    def say(self, link, call_id):
        for result in false_results(call_id):
            self.server.to_peer(link, result)

    def up(self, link, message):
        if link.role == "user" and message.method == "CONNECT":
            self.call_id = message.get("CALL-ID")
            self.say(link, self.call_id)
        super().up(link, message)

    def down(self, link, message):
        super().down(link, message)
        if link.role == "user" and message.method == "CONNECT":
            self.say(link, self.call_id)


def test_forged_results_are_dropped_and_the_call_comes_about(world):
    comes_about(world, FalseResults())


def test_forged_results_do_not_hide_the_true_one(world):
    fails(world, FalseResults(), REFUSED_STATUS, "refused the password", password=f"wrong-{secrets.token_hex(8)}")


class Replay(Recorder):
    """Says an earlier call's result once more in each: under its own call ID, and under this one's."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def down(self, link, message):
        super().down(link, message)
        if link.role == "user" and message.method == "CONNECT" and message.kind == "success":
            asked = self.find("up", "CONNECT", "request", "user")[-1].get("CALL-ID")
            self.server.to_peer(link, self.result.raw)
            self.server.to_peer(link, change(self.result, CALL_ID=asked))


def test_accepted_of_an_earlier_call_is_not_believed(world):
    seen = comes_about(world, Recorder())
    accepted = seen.find("up", "RESULT", "indication", "device")[-1]
    world.server.attack = Replay(accepted)
    done = attempt(world, options=("-v",), password=f"wrong-{secrets.token_hex(8)}")
    assert done.status == REFUSED_STATUS and "the device accepts us" not in done.err


def test_refused_of_an_earlier_call_is_not_believed(world):
    seen = fails(world, Recorder(), REFUSED_STATUS, password=f"wrong-{secrets.token_hex(8)}")
    comes_about(world, Replay(seen.find("up", "RESULT", "indication", "device")[-1]))


class SwapResults(Recorder):
    """Gives the results of two callers to the wrong one first, under either name; then to the right ones."""

    def __init__(self):
        super().__init__()
        self.held = []

    def down(self, link, message):
        if message.method != "RESULT":
            super().down(link, message)
            return
        self.held.append((link, message))
        if len(self.held) == 2:
            (one, ones), (other, others) = self.held
            for link, right, wrong in ((one, ones, others), (other, others, ones)):
                self.server.to_peer(link, wrong.raw)
                self.server.to_peer(link, change(wrong, CALL_ID=right.get("CALL-ID")))
                self.server.to_peer(link, change(right, BOX=wrong.get("BOX")))
                self.server.to_peer(link, right.raw)


def test_the_results_of_two_calls_exchanged(world):
    alice, eve = at_one_time(world, SwapResults(), ("alice", None), ("mallory", f"wrong-{secrets.token_hex(8)}"))
    assert (alice.status, eve.status) == (0, REFUSED_STATUS), (alice, eve)


class Silence(Recorder):
    """Does not tell callers what they are told by this method."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def down(self, link, message):
        if link.role != "user" or message.method != self.method:
            super().down(link, message)


@pytest.mark.parametrize("method", ["CONNECT", "RESULT"])
def test_an_answer_kept_from_the_caller_does_not_keep_the_device_from_him(world, method):
    comes_about(world, Silence(method))


def test_a_refusal_kept_from_the_caller_is_no_answer_to_him(world):
    fails(world, Silence("RESULT"), NO_PATH, password=f"wrong-{secrets.token_hex(8)}")
    comes_about(world, Attack())


class ResultFirst(Recorder):
    """The result comes before the word that the device has the request."""

    def __init__(self):
        super().__init__()
        self.held = None

    def down(self, link, message):
        if link.role == "user" and message.method == "CONNECT":
            self.held = message
            return
        super().down(link, message)
        if link.role == "user" and message.method == "RESULT":
            super().down(link, self.held)


def test_answers_in_another_order(world):
    comes_about(world, ResultFirst())
    fails(world, ResultFirst(), REFUSED_STATUS, password=f"wrong-{secrets.token_hex(8)}")


# -- the server at the caller's callback port ----------------------------------------------------------------------


def impostors(world, liar):
    """Whose certificate and key the server has: its false 2133, its own device, itself, and a user."""
    return [liar.files(world.beckon.workdir / "liar"), (world.other.state / "device.crt", world.other.state / "device.key"),
            (world.server.state / "server.crt", world.server.state / "server.key"),
            (world.mallory.state / "user.crt", world.mallory.state / "user.key")]


class Dialler(Recorder):
    """Calls the caller back itself as soon as it has the call ID, before anybody else can."""

    def __init__(self, world, liar):
        super().__init__()
        self.world, self.liar, self.sessions = world, liar, None

    def up(self, link, message):
        if link.role == "user" and message.method == "CONNECT":
            self.call_id = message.get("CALL-ID")
            self.sessions = self.dial()
        super().up(link, message)

    def dial(self):
        return [dial(self.world.net.server, ROUTER_A, PORTS["alice"][1], files, self.call_id)
                for files in impostors(self.world, self.liar)]


def test_the_server_calls_back_before_the_device(world, liar):
    attack = comes_about(world, Dialler(world, liar))
    assert attack.sessions == [None] * 4


def test_the_server_calls_back_after_the_device(world, liar):
    attack = world.server.attack = Dialler(world, liar)
    with open_call(world) as call:
        call.through()
        assert attack.dial() == [None] * 4
        call.through()
        finish(world, call)


# -- NOTIFY --------------------------------------------------------------------------------------------------------


class Hold(Recorder):
    """Keeps the device's connections open and says nothing on them."""

    def ends(self, link):
        pass


def current_tag(world):
    """As the device's newest REGISTER has it, and where it came from."""
    def newest():
        for local, peer, raw in reversed(list(world.server.heard)):
            message = stun.Message(raw)
            if message.method == "REGISTER" and message.equipment_id == 2133:
                return local, peer, message.get("TAG")
        return None

    return wait_until(newest, LIMIT_S, "the device registers")


def test_a_storm_of_notifies_opens_a_bounded_number_of_calls(world):
    local, peer, tag = current_tag(world)
    world.server.attack = attack = Hold()
    body = stun.put("CALL-WAITING", b"") + stun.put("TAG", tag)
    most = 0
    for _ in range(15):
        for _ in range(20):
            world.server.datagram_to_peer(local, peer, stun.build("NOTIFY", "request", body, os.urandom(12),
                                                                  registration_key(world.device)))
        most = max(most, len(children(world.device)))
    wait_until(lambda: len(children(world.device)) == 32, LIMIT_S, "as many as there may be")
    assert most <= 32
    for link in list(world.server.links.values()):
        if link.role == "device" and link.purpose == "plain" and link.open:
            world.server.hang_up(link)
    world.server.attack = Attack()
    wait_until(lambda: not children(world.device), LIMIT_S, "all have ended")
    assert attack.find("up", "CONNECT", "success") == []
    comes_about(world)
