"""A server that lies, in what it does with requests: those of callers, which it swaps, keeps, alters and delivers elsewhere, and
those of its own making. As in test_hostile_server.py otherwise."""

import threading
import types

import nacl.public
import nacl.signing
import pytest

from lab import SERVER, stun, wait_until
from lab.caller import REFUSED
from lab.hostile_server import Attack, Recorder, change
from lab.hostile_world import (LIMIT_S, OFFLINE, REFUSED_STATUS, Offer, at_one_time, attempt, audited, bobs_key, box_pair, children,
                               comes_about, content, flip, mapped, no_dial, opened_at, own_request, pin_of, populated, promises,
                               refused_by_device, said, sealed, signed, verdict)


@pytest.fixture(scope="module")
def world(net, bindir):
    yield from populated(net, bindir)


@pytest.fixture(autouse=True)
def _promises(world):
    with promises(world):
        yield


# -- 226 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(world):
    """A call of alice's that came about, as the server saw it."""
    world.server.attack = seen = Recorder()
    marker = content(world)
    assert world.alice.run("connect", *mapped("alice"), 2133, world.service, input=marker).out == marker
    offer = seen.find("down", "CONNECT", "request", "device")[-1]
    result = seen.find("up", "RESULT", "indication", "device")[-1]
    wait_until(lambda: not children(world.device), LIMIT_S, "the call has ended")
    return types.SimpleNamespace(offer=offer, result=result, call_id=offer.get("CALL-ID"), box=offer.get("BOX"))


def test_the_request_of_one_call_under_the_name_of_another(world, recorded):
    refused_by_device(world, lambda m: change(m, BOX=recorded.box), "bad-request")


def test_the_request_of_one_call_delivered_in_another(world, recorded):
    attack = refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "repeated")
    assert [m.method for m in attack.answers] == ["CONNECT"]  # not even a RESULT


class Swap(Offer):
    """Holds the requests of two callers until both are there, and exchanges their boxes."""

    def __init__(self, whole):
        super().__init__(None)
        self.whole, self.held, self.sent = whole, [], []
        self.both = threading.Event()

    def up(self, link, message):
        if link.role == "user" and message.method == "CONNECT":
            self.held.append((link, message))
            if len(self.held) == 2:
                self.both.set()
                for one, request in self.held:
                    self.server.to_core(one, request.raw)
        else:
            super().up(link, message)

    def down(self, link, message):
        if link.role == "device" and message.method == "CONNECT":
            theirs, = [m for _, m in self.held if m.get("CALL-ID") != message.get("CALL-ID")]
            also = {"CALL_ID": theirs.get("CALL-ID")} if self.whole else {}
            message = stun.Message(change(message, BOX=theirs.get("BOX"), **also))
        Recorder.down(self, link, message)


def test_the_boxes_of_two_calls_exchanged(world):
    with no_dial(world):
        alice, bob = at_one_time(world, Swap(False), ("alice", None), ("bob", ""))
        assert (alice.status, bob.status) == (OFFLINE, OFFLINE)
        wait_until(lambda: len(said(world, world.since, "by=- .*result=bad-request")) == 2, LIMIT_S, "both are refused")


class SwapUsers(Recorder):
    """Tells the device that somebody else calls, and keeps to it."""

    def down(self, link, message):
        if link.role == "device" and message.method == "CONNECT":
            message = stun.Message(change(message, USER_NAME=b"root"))
        super().down(link, message)

    def up(self, link, message):
        if message.method == "WATCH":
            message = stun.Message(change(message, USER_NAME=b"bob"))
        super().up(link, message)


def test_another_name_for_the_caller_is_a_note_and_opens_nothing(world):
    comes_about(world, SwapUsers(), name="bob")
    audited(world, r"user=root by=key:bob .*result=served")


def test_a_request_of_before_the_agents_restart(world, recorded):
    world.device.stop()
    world.device.start()
    world.since = 0
    attack = refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "stale")
    assert [m.method for m in attack.answers] == ["CONNECT", "RESULT"]


def test_a_request_delivered_to_another_device(world, recorded):
    refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "bad-request", device=2134)
    refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id,
                                              EQUIPMENT_ID=(2133).to_bytes(8, "big")), "bad-request", device=2134)


@pytest.mark.parametrize("what,at", [("CALL-ID", 0), ("CALL-ID", 15), ("BOX", 0), ("BOX", 31), ("BOX", 32), ("BOX", 48),
                                     ("BOX", 100), ("BOX", -1), ("BOX", None)])
def test_a_request_with_a_byte_changed_on_its_way(world, what, at):
    def make(message):
        value = message.get(what)
        return change(message, **{what.replace("-", "_"): value[:-1] if at is None else flip(value, at)})

    refused_by_device(world, make, "bad-request", name="alice")


# -- requests of the server's own ----------------------------------------------------------------------------------


def listener(world):
    """Somewhere that the server would have the device connect to."""
    return world.net.server.listen(9999, SERVER, timeout=0.2)


def test_a_request_of_the_servers_own_with_a_guessed_password(world):
    call_id, _, box, reply = sealed(world, PASSWORD=b"guessed")
    with listener(world) as s:
        attack = refused_by_device(world, own_request(world, call_id, box), "refused")
        with pytest.raises(TimeoutError):
            s.accept()
    assert verdict(world, attack, reply) == REFUSED
    comes_about(world, Attack())  # the caller's own password is as good as before


def test_a_request_of_the_servers_own_without_a_password(world):
    for parts, result in (({}, "bad-request"), ({"PASSWORD": b""}, "refused")):
        call_id, _, box, _ = sealed(world, **parts)
        refused_by_device(world, own_request(world, call_id, box), result)


def test_a_request_of_the_servers_own_in_the_name_of_a_callers_key(world):
    key = nacl.signing.SigningKey.generate()
    call_id, box, reply = signed(world, key, pin_of(world.device), as_key=bobs_key(world))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def test_a_request_of_the_servers_own_by_a_key_of_its_own(world):
    call_id, box, reply = signed(world, nacl.signing.SigningKey.generate(), pin_of(world.device))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def test_a_signature_from_a_call_to_another_device(world):
    """bob calls the operator's own 2134 first, who hands his box to the server: text and signature, sealed to 2133."""
    seen = Recorder()
    world.server.attack = seen
    assert attempt(world, name="bob", device=2134).status == REFUSED_STATUS  # 2134 does not know him
    request = seen.find("up", "CONNECT", "request", "user")[0]
    text = opened_at(world.other, request.get("BOX"))
    parts = {a.name: a.value for a in stun.attributes(text)}
    assert parts["CALLER-KEY"] == bobs_key(world) and parts["SERVICE"] == world.service.encode()
    for device in (2134, 2133):
        again = b"".join(stun.put(a.name, device.to_bytes(8, "big") if a.name == "EQUIPMENT-ID" else a.value)
                         for a in stun.attributes(text))
        box = nacl.public.SealedBox(box_pair(world.device).public_key).encrypt(again)
        # For 2134 it says itself; renamed, the signature is over something else: another device's pin, another text.
        refused_by_device(world, own_request(world, parts["CALL-ID"], box), "bad-request" if device == 2134 else "refused")
    comes_about(world, Attack(), name="bob")


def test_a_signature_from_another_request_of_the_same_caller(world):
    """The newest that the server could have: read at the operator's own device, put under a text for 2133."""
    seen = Recorder()
    world.server.attack = seen
    attempt(world, name="bob", device=2134)
    theirs = {a.name: a.value for a in stun.attributes(
        opened_at(world.other, seen.find("up", "CONNECT", "request", "user")[0].get("BOX")))}
    call_id, _, box, reply = sealed(world, CALLER_KEY=theirs["CALLER-KEY"], SIGNATURE=theirs["SIGNATURE"])
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED
