"""A server that lies, in the fast form of the call: what the device says to a request by datagram, and what callers hear of it; and
floods of requests. As in test_hostile_server_fast.py otherwise."""

import contextlib
import os
import secrets
import time

import nacl.pwhash
import pytest

from lab import stun, wait_until
from lab.hostile_fast import notification, request, send
from lab.hostile_server import Datagrams, ExchangeResults, Unheard, hide_user, rekeyed
from lab.hostile_watch import settled
from lab.hostile_world import (LIMIT_S, NO_PATH, OFFLINE, REFUSED_STATUS, at_one_time, attempt, children, comes_about, dialled,
                               fails, false_results, finish, flip, forget, open_call, populated, promises, registration_key,
                               said)

CHILDREN_MAX = 32
GUESSES_FREE = 4   # wrong passwords in a row before the back-off starts
HASH_PASSES = 75   # of Argon2id, where 2 are usual


@pytest.fixture(scope="module")
def world(net, bindir):
    yield from populated(net, bindir, fast_form="yes")


@pytest.fixture(autouse=True)
def _promises(world):
    with promises(world):
        world.server.attack = Datagrams()
        yield


# -- what the caller hears, and that others go on --------------------------------------------------------------------


class EachHisOwn(Datagrams):
    """alice's box is altered, mallory's tag, and what the device says of bob's call is kept back."""

    def __init__(self, key):
        super().__init__()
        self.key, self.bobs = key, None

    def carry(self, way, local, peer, message):
        name, made = self.name_of(message) if way == "down" and message.get("BOX") else None, message.raw
        if name == b"bob":
            self.bobs = message.get("CALL-ID")
        if name == b"alice":
            made = rekeyed(message, self.key, BOX=flip(message.get("BOX"), 60))
        elif name == b"mallory" or (way == "down" and message.method == "NOTIFY" and name is None):
            made = rekeyed(message, self.key, TAG=flip(message.get("TAG"), 0))
        if not (way == "up" and message.method == "RESULT" and message.get("CALL-ID") == self.bobs):
            super().carry(way, local, peer, stun.Message(made))

    def name_of(self, message):
        return hide_user(self.key, message.txid, message.get("CALL-ID"), message.get("USER-NAME"))


def test_who_is_lied_about_hears_one_clear_word_and_others_are_served(world):
    attack = EachHisOwn(registration_key(world.device))
    alice, mallory, bob = at_one_time(world, attack, ("alice", None), ("mallory", None), ("bob", ""))
    assert (alice.status, mallory.status, bob.status) == (NO_PATH, OFFLINE, 0), (alice, mallory, bob)
    assert [len(done.err.splitlines()) for done in (alice, mallory)] == [1, 1]


# -- RESULT and success --------------------------------------------------------------------------------------------


class FalseWords(Datagrams):
    """Before the device has the request, and again before its own RESULT: forged answers and results to the core, under the key
    of the device and of another, and to the caller; and results of calls before."""

    def __init__(self, world, earlier):
        super().__init__()
        self.world, self.earlier, self.count, self.early = world, earlier, 0, []

    def results(self, call_id, epoch):
        """As the device, and as another one, would say them: with what is none, and what is of another call."""
        for device, box in ((self.world.device, secrets.token_bytes(120)), (self.world.device, self.earlier.get("BOX")),
                            (self.world.other, self.earlier.get("BOX"))):
            yield rekeyed(self.earlier, registration_key(device), os.urandom(12), CALL_ID=call_id, BOX=box,
                          EQUIPMENT_ID=device.id.to_bytes(8, "big"))

    def carry(self, way, local, peer, message):
        if way == "down" and message.get("BOX"):
            self.count += 1
            if self.count == 1:  # the device does not get it yet
                for key, call_id in ((registration_key(self.world.device), os.urandom(16)),
                                     (registration_key(self.world.other), message.get("CALL-ID"))):
                    self.server.datagram_to_core(local, peer, stun.build("NOTIFY", "success", stun.put("CALL-ID", call_id),
                                                                         message.txid, key))
                return
            self.early = self.find("down", "CONNECT", "success", "user")
        if way == "up" and message.method == "RESULT" and message.kind == "request":
            for raw in self.results(message.get("CALL-ID"), message.get("REGISTRATION")):
                self.server.datagram_to_core(local, peer, raw)
            link, = [link for link, w, m in self.messages if w == "up" and m.get("CALL-ID") == message.get("CALL-ID")][:1]
            for raw in false_results(message.get("CALL-ID")):
                self.server.to_peer(link, raw)
        super().carry(way, local, peer, message)


def test_forged_and_old_results_are_believed_by_nobody(world):
    seen = comes_about(world, Datagrams())
    accepted = seen.said("up", "RESULT", "request")[0]
    fails(world, attack := FalseWords(world, accepted), REFUSED_STATUS, "refused the password",
          password=f"wrong-{secrets.token_hex(8)}")
    assert attack.count >= 2 and attack.early == []
    refused = attack.said("up", "RESULT", "request")[0]
    attack = comes_about(world, FalseWords(world, refused))
    assert attack.count >= 2 and attack.early == []


def test_the_results_of_two_calls_exchanged(world):
    attack = ExchangeResults(registration_key(world.device))
    alice, mallory = at_one_time(world, attack, ("alice", None), ("mallory", f"wrong-{secrets.token_hex(8)}"))
    assert (alice.status, mallory.status) == (0, REFUSED_STATUS), (alice, mallory)
    assert len(attack.first) == 2


class FalseReceipts(Datagrams):
    """RESULT does not reach the core; the device is told that it did, but not as its server would."""

    def __init__(self, world):
        super().__init__()
        self.keys = registration_key(world.device), registration_key(world.other)

    def carry(self, way, local, peer, message):
        if way == "up" and message.method == "RESULT":
            key, others = self.keys
            for raw in (stun.build("RESULT", "success", b"", message.txid, others),
                        stun.build("RESULT", "success", b"", os.urandom(12), key),
                        stun.build("RESULT", "error", b"", message.txid, key),
                        stun.build("NOTIFY", "success", b"", message.txid, key), message.raw):
                self.server.datagram_to_peer(local, peer, raw)
        else:
            super().carry(way, local, peer, message)


def test_a_result_that_was_not_received_goes_by_tls(world):
    began = time.monotonic()
    attack = fails(world, FalseReceipts(world), REFUSED_STATUS, password=f"wrong-{secrets.token_hex(8)}")
    assert len(attack.said("up", "RESULT", "request")) == 5 and time.monotonic() - began > 2.5
    assert len(attack.find("up", "RESULT", "indication", "device")) == 1


# -- floods --------------------------------------------------------------------------------------------------------


def open_files(device):
    return len(os.listdir(f"/proc/{device.process.pid}/fd"))


def test_a_flood_of_boxes_is_worked_off_in_bounds_and_calls_go_on(world):
    settled(world.device.process.pid)
    before, most = open_files(world.device), 0
    forget(world.alice)
    with open_call(world) as call:
        call.through()
        dials = dialled(world)
        boxes = [secrets.token_bytes(n) for n in (1, 47, 48, 200, 1024)]
        flood = [os.urandom(12) for _ in range(400)]
        for i, txid in enumerate(flood):
            send(world, notification(world, txid=txid, CALL_ID=os.urandom(16), BOX=boxes[i % len(boxes)]))
            if i % 40 == 39:
                most = max(most, len(children(world.device)))
        call.through()
        assert dialled(world) == dials and most <= CHILDREN_MAX
        comes_about(world, name="bob")
        finish(world, call)
    wait_until(lambda: not children(world.device), LIMIT_S, "all calls have ended")

    def answered():  # bob's own, which the server said again while the flood was worked off, may be answered twice
        return len({m.txid for m in world.server.attack.said("up", "NOTIFY", "success")}.intersection(flood))

    wait_until(lambda: len(said(world, world.since, "result=bad-request")) == answered() > 0, LIMIT_S,
               "one call for each that was answered")
    wait_until(lambda: open_files(world.device) <= before, LIMIT_S, "the agent has closed what it opened")


@contextlib.contextmanager
def slowly_checked(world):
    """The device's password takes a sixth of a second of a processor to check: all that comes at one time is there before the first
    of it is judged, and only the bound on guesses under way keeps them from being let in together."""
    path = world.device.state / "password"
    kept = path.read_bytes()
    path.write_bytes(nacl.pwhash.argon2id.str(world.password.encode(), opslimit=HASH_PASSES, memlimit=8 << 20))
    try:
        yield
    finally:
        path.write_bytes(kept)


def test_a_flood_of_guesses_is_a_few_and_keys_get_through(world):
    world.server.attack = attack = Unheard()
    made = [request(world, PASSWORD=secrets.token_bytes(8).hex().encode())[:2] for _ in range(80)]
    before, most = dialled(world), 0
    with slowly_checked(world):
        began = time.monotonic()
        for n, (call_id, box) in enumerate(made):
            send(world, notification(world, CALL_ID=call_id, BOX=box))
            if n % 20 == 19:
                most = max(most, len(children(world.device)))
        wait_until(lambda: len(said(world, world.since, "audit")) or len(children(world.device)) == CHILDREN_MAX, LIMIT_S, "a flood")
        assert max(most, len(children(world.device))) <= CHILDREN_MAX and dialled(world) == before
        attack.let.set()
        world.server.attack = Datagrams()
        bobs = attempt(world, name="bob")
        wait_until(lambda: not children(world.device), LIMIT_S, "all calls have ended")
        spent = time.monotonic() - began
    # Five at once, then one each after 1, 2, 4, 8, ... s.
    allowed = GUESSES_FREE + 1 + sum(1 for k in range(8) if 2 ** (k + 1) - 1 <= spent + 1)
    # A machine that is busy with other things has them wait for longer than a call does.
    refused, put_off = (len(said(world, world.since, f"result=({words})")) for words in ("refused", "back-off|busy"))
    print(f"{refused} guesses were looked at in {spent:.1f} s, {put_off} put off")
    assert 1 <= refused <= allowed < put_off, (refused, put_off, spent)
    assert bobs.status == 0, bobs.err
    wait_until(lambda: attempt(world).status == 0, 2 * LIMIT_S, "the back-off is over")


