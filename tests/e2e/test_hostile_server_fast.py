"""A server that lies, in the fast form of the call: the sealed request in NOTIFY, repeated calls that ask nothing. As in
test_hostile_server.py otherwise; it has the keys of every registration, and sends what it likes when it likes. What becomes of
RESULT by datagram, and floods, are in test_hostile_server_fast_results.py.

What must hold: a request is acted on once, in whatever form, however often and around whatever it comes; nothing is dialled
for one that no caller sealed for this device, lately; callers hear one clear word; the calls of others go on."""

import os
import secrets
import time

import nacl.public
import nacl.signing
import pytest

from lab import DEVICE, ROUTER_A, SERVER, stun, wait_until
from lab.caller import REFUSED, STALE
from lab.hostile_fast import Instead, Offer226, answer, comes_to, notification, notify, request, send, settle, status
from lab.hostile_server import Datagrams, Exchange, error, hide_user, rekeyed
from lab.hostile_world import (LIMIT_S, PORTS, REFUSED_STATUS, at_one_time, audited, audited_all, bobs_key, box_pair, candidate_of,
                               children, comes_about, content, dialled, fails, finish, flip, forget, hung_up, mapped, open_call,
                               opened_at, pin_of, populated, promises, registration_key, signed)

FIRST_MINUTE_S = 62  # of a device's run: it takes no request without a tag
SEEN_MAX = 256


@pytest.fixture(scope="module")
def world(net, bindir):
    for w in populated(net, bindir, fast_form="yes"):
        w.up_since = time.monotonic()
        yield w


@pytest.fixture(autouse=True)
def _promises(world):
    with promises(world):
        world.server.attack = Datagrams()
        yield


@pytest.fixture(scope="module")
def recorded(world):
    """NOTIFY of a call of alice's that came about."""
    world.server.attack = seen = Datagrams()
    forget(world.alice)
    marker, since = content(world), world.device.process.position()
    assert world.alice.run("connect", *mapped("alice"), 2133, world.service, input=marker).out == marker
    world.device.process.wait_line("result=served", LIMIT_S, since)
    wait_until(lambda: not children(world.device), LIMIT_S, "the call has ended")
    return seen.said("down", "NOTIFY", "request")[0]


# -- the server as it should be ------------------------------------------------------------------------------------


def test_with_nobody_in_the_middle_calls_come_about_in_the_fast_form(world):
    seen = comes_about(world, Datagrams())
    asked, told = seen.said("down", "NOTIFY", "request")[0], seen.said("up", "NOTIFY", "success")[0]
    assert asked.get("BOX") and asked.get("CALL-ID") == told.get("CALL-ID")
    assert hide_user(registration_key(world.device), asked.txid, asked.get("CALL-ID"), asked.get("USER-NAME")) == b"alice"
    assert seen.said("up", "RESULT", "request") and not seen.find("up", "CONNECT", "success")
    comes_about(world, Datagrams(), name="bob")


# -- said again ----------------------------------------------------------------------------------------------------


def test_a_request_said_again_after_its_call_is_answered_as_it_was_and_not_acted_on(world, recorded):
    key, call_id = registration_key(world.device), recorded.get("CALL-ID")
    with comes_to(world):
        for raw in (recorded.raw, rekeyed(recorded, key, os.urandom(12), USER_NAME=None),
                    rekeyed(recorded, key, BOX=None, CALL_ID=None, USER_NAME=None),
                    rekeyed(recorded, key, os.urandom(12), USER_NAME=None, BOX=request(world)[1])):
            world.server.attack = Datagrams()
            send(world, raw)
            assert answer(world, raw).get("CALL-ID") == call_id


def test_it_is_repeated_where_the_idle_part_has_forgotten_it_and_by_the_first_form(world, recorded):
    call_id, box = secrets.token_bytes(16), secrets.token_bytes(80)
    with comes_to(world, "bad-request", "repeated"):
        for _ in range(SEEN_MAX // 64 + 1):
            for _ in range(64):
                send(world, notification(world, CALL_ID=call_id, BOX=box))
            notify(world, call_id, box)
        settle(world, recorded)  # taken: the idle part does not know it any more
    world.server.attack = attack = Offer226(recorded.get("CALL-ID"), recorded.get("BOX"))
    with comes_to(world, "repeated"):
        send(world, notification(world))
    hung_up(world)
    assert [m.method for _, _, m in attack.messages] == ["CONNECT"]  # not even a RESULT
    assert not attack.said("up", "RESULT", "request")


def test_a_request_said_again_in_every_form_while_its_call_is_up(world):
    world.server.attack = attack = Offer226()
    forget(world.alice)
    with open_call(world) as call:
        call.through()
        first = attack.said("down", "NOTIFY", "request")[0]
        attack.call_id, attack.box = first.get("CALL-ID"), first.get("BOX")
        with_one = dialled(world)
        for raw in (first.raw, rekeyed(first, registration_key(world.device), os.urandom(12), USER_NAME=None), notification(world)):
            send(world, raw)
        audited(world, "result=repeated")
        wait_until(lambda: len(children(world.device)) == 1, LIMIT_S, "only the call is up")
        call.through()
        assert dialled(world) == with_one and len(children(world.device)) == 1
        finish(world, call)
    assert len(audited_all(world, 2)) == 2


def test_a_request_held_back_is_acted_on_once_in_whatever_forms_it_comes(world):
    """And what the caller says is dialled as far as the device's policy goes, not to its own network's router, itself, ports
    of the server, or what passes for these."""
    call_id, box, _ = request(world)
    forbidden = [("127.0.0.1", 7777), ("192.168.1.1", 8080), (DEVICE, 7777), (SERVER, 1201), (SERVER, 1300),
                 ("169.254.1.1", 8080), ("239.255.255.250", 1900), ("192.168.1.77", 22)]
    world.server.attack = attack = Offer226(call_id, box)
    with comes_to(world, "no-answer", "no-answer", "repeated", dials=1):
        notify(world, *request(world, forbidden)[:2])
        for _ in range(10):
            assert notify(world, call_id, box).get("CALL-ID") == call_id
        send(world, notification(world))
    hung_up(world)
    assert attack.find("up", "CONNECT", "success", "device")


# -- swapped and altered -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 31, 32, 48, 100, -1, None])
def test_a_request_with_a_byte_changed_on_its_way_leads_to_nothing(world, at):
    call_id, box, _ = request(world)
    with comes_to(world, *["bad-request"] * (1 if at is None else 2)):
        notify(world, call_id, box[:-1] if at is None else flip(box, at))
        if at is not None:
            notify(world, flip(call_id, at % 16), box)
    assert not world.server.attack.said("up", "RESULT", "request")


def test_the_requests_of_two_calls_exchanged_and_given_to_another_device(world):
    (one, ones, _), (other, others, _) = request(world), request(world)
    with comes_to(world, "bad-request", "bad-request"):
        notify(world, one, others)
        notify(world, other, ones)
    third, box, _ = request(world, EQUIPMENT_ID=(2134).to_bytes(8, "big"))
    with comes_to(world, "bad-request"):
        notify(world, third, box)
    fourth, box, _ = request(world)
    with comes_to(world, "bad-request", device=world.other):
        notify(world, fourth, box, world.other)
    assert not world.server.attack.said("up", "RESULT", "request")


def test_two_whole_requests_under_each_others_transaction_ids_are_each_acted_on_once(world):
    attack = Exchange(registration_key(world.device))
    alice, bob = at_one_time(world, attack, ("alice", None), ("bob", ""))
    assert (alice.status, bob.status) == (0, 0), (alice, bob)
    assert len(attack.first) == 2


def test_another_name_for_the_caller_is_a_note_and_opens_nothing(world):
    key = registration_key(world.device)
    comes_about(world, Instead(lambda m: [rekeyed(m, key, USER_NAME=hide_user(key, m.txid, m.get("CALL-ID"), b"root"))]),
                name="bob")
    audited(world, "user=root by=key:bob .*result=served")


def test_what_is_no_such_notification_is_neither_answered_nor_acted_on(world, recorded):
    """Wrong, half, too long, under other keys; each around a request that would be good."""
    call_id, box, _ = request(world)
    tag = world.server.registered[2133][2]
    whole = {"CALL_ID": call_id, "BOX": box}
    wrong = [{"TAG": flip(tag, 0)}, {"TAG": tag[:8] + b"\xff\xff\xff\xfe"}, {"TAG": tag[:8]}, {"TAG": None},
             {"CALL_WAITING": None}, {"CALL_WAITING": b"\0"}, {"BOX": None}, {"CALL_ID": None},
             {"CALL_ID": call_id[:15]}, {"CALL_ID": call_id + b"\0"}, {"BOX": b""}, {"BOX": box + bytes(1025 - len(box))},
             {"BOX": box + bytes(1300 - len(box))}, {"USER_NAME": b""}, {"USER_NAME": secrets.token_bytes(16)},
             {"USER_NAME": secrets.token_bytes(64)}, {"CALL_ID": None, "BOX": None, "USER_NAME": b"alice"},
             {"more": stun.put(0x4999, b"?")}, {"key": registration_key(world.other)}, {"key": bytes(32)},
             {"kind": "indication"}, {"kind": "success"}, {"kind": "error"}]
    raws = [notification(world, **{**whole, **each}) for each in wrong]
    good = notification(world, **whole)
    raws += [good[:n] for n in (1, 19, 20, 60, len(good) - 8, len(good) - 1)] + [good + bytes(4), flip(good, -1)]
    raws += [rekeyed(stun.Message(good), registration_key(world.device))[:-24] + bytes(24)]
    with comes_to(world):
        for raw in raws:
            send(world, raw)
        settle(world, recorded)
    assert len(world.server.attack.said("up", "NOTIFY", "success")) == 1
    assert not world.server.attack.said("up", "RESULT", "request")


# -- flag and box --------------------------------------------------------------------------------------------------


def flag(message, key, txid=None):
    return rekeyed(message, key, txid, CALL_ID=None, BOX=None, USER_NAME=None)


def test_the_flag_and_then_the_request_is_one_call_of_the_first_form(world):
    key = registration_key(world.device)
    attack = comes_about(world, Instead(lambda m: [flag(m, key), m.raw, m.raw]))
    told = attack.said("up", "NOTIFY", "success")
    assert len(told) >= 3 and [m.get("CALL-ID") for m in told] == [None] * len(told)
    assert len(attack.find("up", "CONNECT", "success", "device")) == 1
    assert len(audited_all(world, 1)) == 1


def test_the_request_and_then_the_flag_is_one_call_of_the_fast_form(world):
    key = registration_key(world.device)
    attack = comes_about(world, Instead(lambda m: [m.raw, flag(m, key), m.raw]))
    told = attack.said("up", "NOTIFY", "success")
    assert len(told) >= 3 and None not in [m.get("CALL-ID") for m in told]
    assert len(audited_all(world, 1)) == 1
    hung_up(world)
    assert not attack.find("up", "CONNECT", "success", "device")


class BothForms(Offer226):
    """Flag and request under transaction IDs of their own: the device is given the same by either way."""

    def __init__(self, key):
        super().__init__()
        self.key = key

    def carry(self, way, local, peer, message):
        if way == "down" and message.get("BOX") and self.box is None:
            self.call_id, self.box = message.get("CALL-ID"), message.get("BOX")
            self.server.datagram_to_peer(local, peer, flag(message, self.key, os.urandom(12)))
        super().carry(way, local, peer, message)


def test_one_request_by_both_forms_at_once_is_acted_on_once(world):
    comes_about(world, BothForms(registration_key(world.device)))
    audited(world, "result=repeated")
    assert len(audited_all(world, 2)) == 2


# -- requests of the server's own ----------------------------------------------------------------------------------


def test_requests_of_the_servers_own_have_nothing_dialled_in_the_devices_network_or_elsewhere(world):
    where = [(SERVER, 9999), ("192.168.1.77", 8080), ("192.168.1.1", 80), ("127.0.0.1", 7777), (ROUTER_A, PORTS["alice"][1])]
    parts = {"CANDIDATE": [candidate_of(*each) for each in where], "TAG": world.server.registered[2133][2]}
    own, pin = nacl.signing.SigningKey.generate(), pin_of(world.device)
    made = [request(world, where, PASSWORD=b"guessed"), signed(world, own, pin, **parts),
            signed(world, own, pin, as_key=bobs_key(world), **parts)]
    with comes_to(world, "refused", "refused", "refused", "bad-request"):
        for call_id, box, _ in made:
            notify(world, call_id, box)
        notify(world, *request(world, where, PASSWORD=None)[:2])
        assert [status(world, call_id, reply) for call_id, _, reply in made] == [REFUSED] * 3
    comes_about(world)  # the caller's own password is as good as before


def test_a_signature_from_a_call_to_another_device(world):
    """bob calls the operator's own 2134 first, whose box is opened, and sealed to 2133, as it is and renamed."""
    seen = Datagrams()
    fails(world, seen, REFUSED_STATUS, name="bob", device=2134)  # it does not know him
    text = opened_at(world.other, seen.said("down", "NOTIFY", "request")[0].get("BOX"))
    for device, result in ((2134, "bad-request"), (2133, "refused")):
        # Under another call ID the first time: a call is opened once.
        parts = [(a.name, device.to_bytes(8, "big") if a.name == "EQUIPMENT-ID" else
                  secrets.token_bytes(16) if a.name == "CALL-ID" and device == 2134 else a.value) for a in stun.attributes(text)]
        box = nacl.public.SealedBox(box_pair(world.device).public_key).encrypt(b"".join(stun.put(*each) for each in parts))
        with comes_to(world, result):
            notify(world, dict(parts)["CALL-ID"], box)
    comes_about(world, name="bob")


def test_a_request_that_is_not_of_now_is_stale(world):
    tag = world.server.registered[2133][2]
    made = ({"TAG": flip(tag, 0)}, {"TAG": tag[:8] + b"\xff\xff\xff\xfe"}, {"TIME": -130}, {"TIME": 130},
            {"TAG": None, "TIME": -40}, {"TAG": None, "TIME": 40})
    with comes_to(world, *["stale"] * len(made)):
        for parts in made:
            at = {"TIME": (int(time.time()) + parts["TIME"]).to_bytes(8, "big")} if "TIME" in parts else {}
            call_id, box, reply = request(world, **{**parts, **at})
            notify(world, call_id, box)
            assert status(world, call_id, reply) == STALE


# -- repeated calls, and the agent's restart -----------------------------------------------------------------------


class HoldFirst(Datagrams):
    """Says to a caller's first request that there is no such device, keeps it until he has made another, and delivers both."""

    def __init__(self, world):
        super().__init__()
        self.world, self.held = world, None

    def up(self, link, message):
        if link.role == "user" and message.method == "CONNECT" and self.held is None:
            self.held = message
            self.server.to_peer(link, error(message, 404))
        else:
            super().up(link, message)

    def carry(self, way, local, peer, message):
        if way == "down" and message.get("BOX"):
            send(self.world, notification(self.world, CALL_ID=self.held.get("CALL-ID"), BOX=self.held.get("BOX")))
        super().carry(way, local, peer, message)


def test_of_two_requests_of_a_repeated_call_the_given_up_one_leads_to_no_session(world):
    wait_until(lambda: time.monotonic() - world.up_since > FIRST_MINUTE_S, FIRST_MINUTE_S + 5, "the device's first minute")
    comes_about(world, Datagrams())
    before = dialled(world)["callers"]
    attack = comes_about(world, HoldFirst(world), again=True)
    assert len(attack.find("up", "LOOKUP", "request", "user")) == len(attack.find("up", "CONNECT", "request", "user")) == 1
    audited(world, "result=no-answer")
    assert dialled(world)["callers"] == before + 2


def test_nothing_of_before_the_agents_restart_is_acted_on(world, recorded):
    """What it took, what it has not seen, with a tag and without."""
    untouched = [request(world), request(world, TAG=None)]
    as_it_was = [recorded.raw, notification(world, CALL_ID=untouched[0][0], BOX=untouched[0][1])]
    world.device.stop()
    world.device.start()
    world.since = 0
    with comes_to(world, "stale", "stale", "stale"):
        for raw in as_it_was:
            send(world, raw)
        for call_id, box in [(recorded.get("CALL-ID"), recorded.get("BOX")), *[each[:2] for each in untouched]]:
            notify(world, call_id, box)
        assert [status(world, call_id, reply) for call_id, _, reply in untouched] == [STALE] * 2
    assert all(not world.server.attack.said("up", "NOTIFY", "success", raw[8:20]) for raw in as_it_was)
    comes_about(world)
