"""A server that lies, against callers and devices as they are, in what it carries. It is beckond with somebody in the middle
of it (lab/hostile_server.py): it reads, swaps, repeats, delays, reorders and forges, and has the CA's key for any certificate.
Everybody and everything is in lab/hostile_world.py; what must hold after each test, whatever it tried, in promises() there:
no password, service name or content in anything that the server read; no connection of the device's but to its server and
to where the caller said; no session but those of the callers.

What it does with identities, and at first contact, is in test_hostile_server_trust.py."""

import os
import secrets
import threading
import time
import types

import nacl.public
import nacl.signing
import pytest

from lab import ROUTER_A, SERVER, stun, wait_until
from lab.caller import CONTEXT, REFUSED
from lab.false_device import FalseDevice, dial, signed_box_key
from lab.hostile_server import Attack, Recorder, change, error, success
from lab.hostile_world import (BUSY, FAILED, KEY_CHANGED, LIMIT_S, NO_PATH, OFFLINE, PORTS, REFUSED_STATUS, REVOKED, UNKNOWN,
                                FailWith, Lookup, Offer, Watch217, attempt, audited, bobs_key, children, comes_about, content,
                                fails, finish, mapped, no_dial, open_call, open_seed, own_request, pin_of, populated,
                                promises, refused_by_device, registration_key, said, sealed, true_answer, verdict)


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


def at_one_time(world, attack, *callers):
    """The same moment's calls by several people: (name, password) each; their ends in order."""
    world.server.attack = attack
    ended = {}

    def one(name, password):
        ended[name] = attempt(world, name=name, password=password)

    threads = [threading.Thread(target=one, args=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[name] for name, _ in callers]


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


def flip(value, at):
    at %= len(value)
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


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


def signed(world, key, pin, as_key=None, **parts):
    """The server's own request, signed by `key` in the name of another."""
    call_id, text, _, reply = sealed(world, CALLER_KEY=as_key or bytes(key.verify_key), **parts)
    text += stun.put("SIGNATURE", key.sign(CONTEXT + pin + text).signature)
    secret = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes()))
    return call_id, nacl.public.SealedBox(secret.public_key).encrypt(text), reply


def test_a_request_of_the_servers_own_in_the_name_of_a_callers_key(world):
    key = nacl.signing.SigningKey.generate()
    call_id, box, reply = signed(world, key, pin_of(world.device), as_key=bobs_key(world))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def test_a_request_of_the_servers_own_by_a_key_of_its_own(world):
    call_id, box, reply = signed(world, nacl.signing.SigningKey.generate(), pin_of(world.device))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def opened_at(device, box):
    secret = nacl.public.PrivateKey(stun.box_secret((device.state / "box.key").read_bytes()))
    return nacl.public.SealedBox(secret).decrypt(box)


def test_a_signature_from_a_call_to_another_device(world):
    """bob calls the operator's own 2134 first, who hands his box to the server: text and signature, sealed to 2133."""
    seen = Recorder()
    world.server.attack = seen
    assert attempt(world, name="bob", device=2134).status == REFUSED_STATUS  # 2134 does not know him
    request = seen.find("up", "CONNECT", "request", "user")[0]
    text = opened_at(world.other, request.get("BOX"))
    parts = {a.name: a.value for a in stun.attributes(text)}
    assert parts["CALLER-KEY"] == bobs_key(world) and parts["SERVICE"] == world.service.encode()
    secret = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes()))
    for device in (2134, 2133):
        again = b"".join(stun.put(a.name, device.to_bytes(8, "big") if a.name == "EQUIPMENT-ID" else a.value)
                         for a in stun.attributes(text))
        box = nacl.public.SealedBox(secret.public_key).encrypt(again)
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


# -- RESULT --------------------------------------------------------------------------------------------------------


def false_results(call_id):
    """What a server could say that a device had said, without any key of the call's."""
    for status in range(7):
        text = stun.put("CALL-ID", call_id) + stun.put("STATUS", status.to_bytes(2, "big")) \
            + stun.put("TAG", secrets.token_bytes(12)) + stun.put("TIME", int(time.time()).to_bytes(8, "big"))
        key, reply = nacl.public.PrivateKey.generate(), nacl.public.PrivateKey.generate()
        for box in (nacl.public.Box(key, reply.public_key).encrypt(text), secrets.token_bytes(len(text) + 40), text):
            yield stun.build("RESULT", "indication", stun.put("CALL-ID", call_id) + stun.put("BOX", box), os.urandom(12),
                             fingerprint=False)


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
        answer = self.make(message)
        if answer:
            self.server.to_peer(link, answer)
        self.asked.append(link)


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
