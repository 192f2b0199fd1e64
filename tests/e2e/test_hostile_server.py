"""A server that lies, against callers and devices as they are, in what it answers: to LOOKUP, to WATCH, with errors that are none,
and with what is no message. It is beckond with somebody in the middle of it (lab/hostile_server.py): it reads, swaps, repeats,
delays, reorders and forges, and has the CA's key for any certificate. Everybody and everything is in lab/hostile_world.py;
what must hold after each test, whatever it tried, in promises() there: no password, service name or content in anything that
the server read; no connection of the device's but to its server and to where the caller said; no session but those of the
callers.

What it does with requests is in test_hostile_server_requests.py, with their results and with those who wait for them in
test_hostile_server_results.py, with identities, and at first contact, in test_hostile_server_trust.py."""

import secrets
import time

import pytest

from lab import stun, wait_until
from lab.false_device import FalseDevice, signed_box_key
from lab.hostile_server import Attack, Recorder, change, error, success
from lab.hostile_world import (BUSY, FAILED, KEY_CHANGED, LIMIT_S, NO_PATH, OFFLINE, REVOKED, UNKNOWN, FailWith, Lookup, Watch217,
                               attempt, audited, comes_about, fails, finish, no_dial, open_call, open_seed, populated, promises,
                               said, true_answer)


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


# -- the server as it should be ------------------------------------------------------------------------------------


def test_with_nobody_in_the_middle_calls_come_about(world):
    seen = comes_about(world, Recorder())
    assert seen.find("up", "CONNECT", "request", "user") and seen.find("up", "RESULT", "indication", "device")
    comes_about(world, name="bob")
    assert said(world, world.since, "by=key:bob .*result=served")


# -- LOOKUP --------------------------------------------------------------------------------------------------------


def test_lookup_with_another_devices_certificate(world):
    other = true_answer(world, 2134)
    fails(world, Lookup(CERTIFICATE=other["CERTIFICATE"], BOX_KEY=other["BOX_KEY"]), KEY_CHANGED, "does not verify")


def test_lookup_with_another_devices_whole_answer(world):
    fails(world, Lookup(**true_answer(world, 2134)), KEY_CHANGED, "does not verify")


def test_lookup_with_another_equipment_id(world):
    fails(world, Lookup(EQUIPMENT_ID=(2134).to_bytes(8, "big")), KEY_CHANGED, "does not verify")


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_lookup_with_the_servers_own_key_certified_by_the_true_ca(world, liar, name):
    """For the right ID: the pin tells. Nothing is sealed, nothing is signed."""
    attack = Watch217(**liar.answer())
    fails(world, attack, KEY_CHANGED, "key", name=name)
    assert attack.requests == []


def box_keys(world, liar):
    """Box keys that a lying server might offer: name → value."""
    now, month = int(time.time()), 30 * 86400
    true = true_answer(world, 2133)["BOX_KEY"]
    own = bytes(liar.box.public_key)
    seed = open_seed(world.device)
    return {"the server's own, signed by itself": liar.box_key,
            "the server's own under the true signature": true[:1] + own + true[33:],
            "the server's own, unsigned": liar.box_key[:49] + bytes(64),
            "another device's": true_answer(world, 2134)["BOX_KEY"],
            "the true one, said to live longer": true[:41] + (now + 10 * month).to_bytes(8, "big") + true[49:],
            "one of long ago": signed_box_key(seed, own, now - 3 * month, now - 2 * month),
            "one that is yet to come": signed_box_key(seed, own, now + month, now + 2 * month),
            "half": true[:60], "none": None}


@pytest.mark.parametrize("which", ["the server's own, signed by itself", "the server's own under the true signature",
                                   "the server's own, unsigned", "another device's", "the true one, said to live longer",
                                   "one of long ago", "one that is yet to come", "half", "none"])
def test_lookup_with_another_box_key_is_not_sealed_to(world, liar, which):
    attack = Watch217(BOX_KEY=box_keys(world, liar)[which])
    fails(world, attack, FAILED if which == "none" else KEY_CHANGED,
          "expired box key" if which.startswith("one ") else "" if which == "none" else "does not verify")
    assert attack.requests == []


class Named(Watch217):
    """Says which device a name means."""

    def __init__(self, device, **answer):
        super().__init__(**answer)
        self.device = device
        self.asked = []

    def up(self, link, message):
        if message.method == "LOOKUP":
            self.asked.append(message)
            if message.get("DEVICE-NAME"):
                message = stun.Message(change(message, DEVICE_NAME=None, EQUIPMENT_ID=self.device.to_bytes(8, "big")))
        super().up(link, message)


def test_another_device_for_a_name(world):
    """At first use the name is asked about, though its device be pinned; afterwards it stays with its device."""
    attack = Named(2134)
    fails(world, attack, KEY_CHANGED, "only the server says that lamp is device 2134", device="lamp")
    assert attack.requests == []
    known = world.alice.state / "known_devices"
    kept = known.read_text()
    known.write_text(kept + "lamp 2133\n")
    try:
        attack = Named(2134, **true_answer(world, 2134))
        fails(world, attack, KEY_CHANGED, "does not verify", device="lamp")
        assert attack.asked[0].equipment_id == 2133 and attack.requests == []
    finally:
        known.write_text(kept)


@pytest.mark.parametrize("tag", ["another", "none", "an old one"])
def test_a_false_tag_costs_a_round_at_most(world, tag):
    """The device says STALE, and with it, sealed, the true one."""
    old = true_answer(world, 2133)["TAG"]
    false = {"another": secrets.token_bytes(12), "none": None, "an old one": old[:8] + bytes(4)}[tag]
    attack = Watch217(TAG=false, **({"OBSERVED_ADDRESS": None} if tag == "none" else {}))
    comes_about(world, attack)
    ids = [m.get("CALL-ID") for m in attack.requests]
    assert len(ids) == len(set(ids)) == 2


def test_a_false_observed_address_in_lookup_changes_nothing(world):
    comes_about(world, Lookup(OBSERVED_ADDRESS=b"\0\1" + secrets.token_bytes(6)))


# -- errors that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["LOOKUP", "CONNECT"])
@pytest.mark.parametrize("code,status", [(400, FAILED), (403, REVOKED), (404, UNKNOWN), (410, REVOKED), (480, OFFLINE),
                                         (503, BUSY), (499, FAILED)])
def test_a_false_error_is_told_as_it_is_and_discloses_nothing(world, method, code, status):
    with no_dial(world):
        fails(world, FailWith(method, code), status)


# -- WATCH ---------------------------------------------------------------------------------------------------------


class Watch(Recorder):
    """Says something of its own to WATCH, or nothing (None)."""

    def __init__(self, make):
        super().__init__()
        self.make, self.asked = make, []

    def up(self, link, message):
        if message.method != "WATCH":
            super().up(link, message)
            return
        self.asked.append(link)
        answer = self.make(message)
        if answer:
            self.server.to_peer(link, answer)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_false_no_to_watch_ends_the_call_and_nothing_else(world, code):
    attack = world.server.attack = Watch(lambda m: error(m, code))
    pid = world.device.process.pid
    with open_call(world) as call:
        assert call.process.wait(LIMIT_S) != 0
    audited(world, "user=alice .*result=revoked")
    assert len(attack.asked) == 1
    assert world.device.process.pid == pid
    comes_about(world, Attack())


@pytest.mark.parametrize("make", [lambda m: None, lambda m: error(m, 503), lambda m: error(m, 400),
                                  lambda m: success(m)[:8] + bytes(12), lambda m: change(m, USER_NAME=b"x" * 63)],
                         ids=["nothing", "busy", "bad request", "another transaction", "its own question"])
def test_a_call_outlives_whatever_else_is_said_to_watch(world, make):
    attack = world.server.attack = Watch(make)
    with open_call(world) as call:
        call.through()
        wait_until(lambda: attack.asked, LIMIT_S, "the device asks")
        call.through()
        world.server.hang_up(attack.asked[0])
        wait_until(lambda: not attack.asked[0].open, LIMIT_S, "the connection is closed")
        call.through()
        finish(world, call)


# -- what is no message --------------------------------------------------------------------------------------------


class Garbage(Recorder):
    """Answers a method to callers, or the device's connection, with anything."""

    def __init__(self, role, method, make):
        super().__init__()
        self.role, self.method, self.make = role, method, make

    def down(self, link, message):
        if link.role == self.role and message.method == self.method:
            for raw in self.make(message):
                self.server.to_peer(link, raw)
        else:
            super().down(link, message)


GARBAGE = {
    "noise": lambda m: [secrets.token_bytes(300)],
    "a header that never ends": lambda m: [m.raw[:2] + b"\xff\xfc" + m.raw[4:]],
    "nothing inside": lambda m: [stun.build(m.method_number, m.kind, b"", m.txid, fingerprint=False)],
    "what must be understood and cannot": lambda m: [
        stun.build(m.method_number, m.kind, m.raw[20:] + stun.put(0x4999, b"?"), m.txid, fingerprint=False)],
    "half": lambda m: [stun.build(m.method_number, m.kind, m.raw[20:20 + (len(m.raw) - 20) // 8 * 4], m.txid, fingerprint=False)],
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_to_a_caller_ends_his_call_and_discloses_nothing(world, what):
    with no_dial(world):
        world.server.attack = attack = Garbage("user", "LOOKUP", GARBAGE[what])
        done = attempt(world)
        assert done.status != 0 and done.out == "" and len(done.err.splitlines()) == 1
        assert attack.find("up", "CONNECT", "request", "user") == []


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_to_a_device_ends_that_connection_and_nothing_else(world, what):
    with no_dial(world):
        world.server.attack = attack = Garbage("device", "CONNECT", GARBAGE[what])
        pid = world.device.process.pid
        done = attempt(world)
        assert done.status in (OFFLINE, NO_PATH) and done.out == ""
        assert attack.find("up", "RESULT", "indication", "device") == []
    assert world.device.process.pid == pid
    comes_about(world, Attack())
