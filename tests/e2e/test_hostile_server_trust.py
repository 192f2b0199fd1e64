"""A server that lies about who is who: what it answers to those who join and renew, where it says that devices are, and what
comes of it when a caller has no pin. As in test_hostile_server.py otherwise; first contact without the pin is the exception
that docs/security.md makes, and is shown to be no more than that."""

import base64
import contextlib
import re
import secrets
import struct
import threading

import nacl.public
import pytest

from lab import ROUTER_A, SERVER, stun
from lab.caller import reissue
from lab.false_device import FalseDevice, certificate, der, dial
from lab.hostile_server import Attack, Recorder, change, success
from lab.hostile_world import (KEY_CHANGED, LIMIT_S, NO_PATH, REFUSED_STATUS, FailWith, Lookup, attempt, audited, bobs_key,
                                comes_about, dialled, fails, no_dial, own_request, pin_of, populated, promises,
                                refused_by_device, registration_key, true_answer)


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


# -- joining and renewing ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_ca(world):
    """The state directory of another server altogether."""
    state = world.beckon.workdir / "other-ca"
    world.net.server.run([world.beckon.bin / "beckond", "init", "--state", state, "--host", SERVER])
    return state


def asked_key(message):
    from cryptography import x509
    return x509.load_der_x509_csr(message.get("CERTIFICATE-REQUEST")).public_key()


class Certify(Recorder):
    """Answers ENROL or RENEW with other attributes, which it makes knowing the key that it was asked for."""

    def __init__(self, method, make):
        super().__init__()
        self.method, self.make, self.key = method, make, None

    def up(self, link, message):
        if message.method == self.method and message.get("CERTIFICATE-REQUEST"):
            self.key = asked_key(message)
        super().up(link, message)

    def down(self, link, message):
        if message.method == self.method and message.kind == "success":
            message = stun.Message(change(message, **self.make(self.key)))
        super().down(link, message)


def false_certificates(world, liar, other_ca, subject, another):
    """name → what takes the asked key and gives the attributes."""
    ours = world.server.state
    return {"for another key": lambda key: {"CERTIFICATE": der(liar.pem)},
            "for another holder": lambda key: {"CERTIFICATE": der(certificate(ours, another, key))},
            "for another role": lambda key: {"CERTIFICATE": der(certificate(ours, "beckon:server", key))},
            "by another CA": lambda key: {"CERTIFICATE": der(certificate(other_ca, subject, key))},
            "none at all": lambda key: {"CERTIFICATE": b"nothing"}}


FALSE_CERTIFICATES = ["for another key", "for another holder", "for another role", "by another CA", "none at all"]


def renew(world):
    return world.device.ns.run([world.beckon.bin / "beckon-agent-call", "renew", "--certificate", "--state", world.device.state],
                               env=world.device.env(), check=False)


@pytest.mark.parametrize("which", FALSE_CERTIFICATES)
def test_renew_with_a_certificate_that_is_not_ours_changes_nothing(world, liar, other_ca, which):
    kept = {name: (world.device.state / name).read_bytes() for name in ("device.crt", "registration.key", "agent.conf")}
    make = false_certificates(world, liar, other_ca, "beckon:device:2133", "beckon:device:2134")[which]
    attack = world.server.attack = Certify("RENEW", make)
    done = renew(world)
    assert done.status != 0 and len(done.err.splitlines()) == 1, done
    assert attack.key is not None
    assert {name: (world.device.state / name).read_bytes() for name in kept} == kept
    comes_about(world, Attack())


@pytest.mark.parametrize("code", [400, 403, 410, 503])
def test_a_false_error_to_renew_changes_nothing(world, code):
    kept = (world.device.state / "device.crt").read_bytes(), registration_key(world.device)
    world.server.attack = FailWith("RENEW", code, role="device")
    assert renew(world).status != 0
    assert ((world.device.state / "device.crt").read_bytes(), registration_key(world.device)) == kept
    comes_about(world, Attack())


def test_renew_without_a_certificate_leaves_the_one_there_is(world):
    kept = (world.device.state / "device.crt").read_bytes()
    world.server.attack = Certify("RENEW", lambda key: {"CERTIFICATE": None})
    renew(world)
    assert (world.device.state / "device.crt").read_bytes() == kept
    comes_about(world, Attack())


def test_a_false_registration_key_costs_reachability_until_the_next_renewal_and_no_more(world):
    """The key is the server's to give. The device's identity, its pin and its box keys stay what they are."""
    pin = pin_of(world.device)
    world.server.attack = Certify("RENEW", lambda key: {"REGISTRATION_KEY": bytes(32), "CERTIFICATE": None})
    renew(world)
    assert registration_key(world.device) == bytes(32) and pin_of(world.device) == pin
    world.server.attack = Attack()
    assert renew(world).status == 0
    assert registration_key(world.device) != bytes(32)
    world.device.stop()
    world.device.start()
    world.since = 0
    comes_about(world)


def test_a_box_key_that_was_renewed_is_not_needed_for_the_call_after(world):
    """Renewed behind the running agent's back: callers get the new one, calls come about."""
    before = true_answer(world, 2133)["BOX_KEY"]
    world.server.attack = Attack()
    assert renew(world).status == 0
    assert true_answer(world, 2133)["BOX_KEY"] != before
    comes_about(world)


def test_an_old_signed_box_key_opens_nothing_new(world):
    """The one before, replayed by the server: for ten minutes the device still opens what is sealed to it, and asks
    for the password as ever."""
    before = true_answer(world, 2133)["BOX_KEY"]
    assert renew(world).status == 0
    comes_about(world, Lookup(BOX_KEY=before))
    fails(world, Lookup(BOX_KEY=before), REFUSED_STATUS, password=f"wrong-{secrets.token_hex(8)}")


@pytest.mark.parametrize("which", FALSE_CERTIFICATES)
def test_renew_of_a_user_with_a_certificate_that_is_not_his_changes_nothing(world, liar, other_ca, which):
    """In passing, before a call; the call comes about with the one there is."""
    path = world.alice.state / "user.crt"
    kept = path.read_bytes()
    try:
        old = reissue(world.server.state, path, -48, 1)  # past its half
        make = false_certificates(world, liar, other_ca, "beckon:user:alice", "beckon:user:mallory")[which]
        attack = comes_about(world, Certify("RENEW", make))
        assert attack.key is not None and path.read_bytes() == old
    finally:
        path.write_bytes(kept)


def test_false_server_ports_in_renew_change_nothing(world):
    kept = (world.device.state / "agent.conf").read_bytes()
    world.server.attack = Certify("RENEW", lambda key: {"SERVER_PORTS": struct.pack("!4H", 9, 9, 9, 0)})
    assert renew(world).status == 0
    assert (world.device.state / "agent.conf").read_bytes() == kept
    comes_about(world, Attack())


def join(world, program, state, **who):
    token = world.server.token(**who)
    return world.net.requester.run([world.beckon.bin / program, "join", "--state", state, token], env=world.alice.env(),
                                   check=False)


@pytest.mark.parametrize("which", FALSE_CERTIFICATES + ["by another CA, which it names"])
@pytest.mark.parametrize("program", ["beckon-agent", "beckon"])
def test_enrol_with_a_certificate_that_is_not_ours_joins_nobody(world, liar, other_ca, program, which, tmp_path):
    device = program == "beckon-agent"
    number = secrets.randbelow(10 ** 6) + 10000
    who, another = f"beckon:user:u{number}", "beckon:user:alice"
    if device:
        who, another = f"beckon:device:{number}", "beckon:device:2134"
    makers = false_certificates(world, liar, other_ca, who, another)
    from_ca = {"CA_CERTIFICATE": der((other_ca / "ca.crt").read_bytes())}
    makers["by another CA, which it names"] = lambda key: {**makers["by another CA"](key), **from_ca}
    attack = world.server.attack = Certify("ENROL", makers[which])
    done = join(world, program, tmp_path / "s", **({"device": number} if device else {"user": f"u{number}"}))
    assert attack.key is not None
    assert done.status != 0 and len(done.err.splitlines()) == 1, done
    assert not (tmp_path / "s" / ("agent.conf" if device else "beckon.conf")).exists()


# -- lies about addresses ------------------------------------------------------------------------------------------


class FalseMapped(Recorder):
    """Tells the device that it is seen from somewhere else."""

    def __init__(self, key, address):
        super().__init__()
        self.key, self.address = key, bytes(map(int, address.split(".")))

    def datagram_down(self, local, peer, raw):
        message = stun.Message(raw)
        if message.method == "REGISTER" and message.kind == "success" and message.integrity_valid(self.key):
            mask = stun.COOKIE.to_bytes(4, "big")
            where = b"\0\1" + (2000 ^ stun.COOKIE >> 16).to_bytes(2, "big") + bytes(a ^ b for a, b in zip(self.address, mask))
            body = b"".join(stun.put(a.name, where if a.name == "XOR-MAPPED-ADDRESS" else a.value)
                            for a in message.attributes if a.name not in ("MESSAGE-INTEGRITY-SHA256", "FINGERPRINT"))
            raw = stun.build("REGISTER", "success", body, message.txid, self.key)
        super().datagram_down(local, peer, raw)


def test_a_false_mapped_address_makes_the_device_refuse_that_address_and_no_more(world):
    """The caller's, as if it were the device's own: not dialled, "no answer"."""
    attack = world.server.attack = FalseMapped(registration_key(world.device), ROUTER_A)
    world.device.stop()
    world.device.start()
    world.device.process.wait_line(f"the server sees {re.escape(ROUTER_A)}:2000")
    world.since = 0
    with no_dial(world):
        fails(world, attack, NO_PATH)
    world.server.attack = Attack()
    world.device.stop()
    world.device.start()
    world.since = 0
    comes_about(world)


def test_false_server_ports_open_the_servers_own_ports_to_callers_and_no_more(world):
    """A device that was told other ports when it joined dials 130.74.23.6:1201 where a caller with the password asks
    for it; one that knows them does not. Nothing is served there."""
    world.server.attack = Certify("ENROL", lambda key: {"SERVER_PORTS": struct.pack("!4H", 1200, 9, 1300, 0)})
    told = world.beckon.enrol_device(2135, password=world.password, services={world.service: "tcp:127.0.0.1:7777"}, port=2035)
    world.server.attack = Attack()
    told.start()
    world.server.grant("alice", 2135)
    world.alice.pin(told.uri())
    before = dialled(world)
    ends = []

    def ask(device, port):
        ends.append(world.alice.run("ping", "--listen", f"0.0.0.0:{port}", "--advertise", f"{SERVER}:1201", device, "-c", "1",
                                    check=False).status)

    threads = [threading.Thread(target=ask, args=each) for each in ((2133, 1610), (2135, 1611))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.stop()
    assert ends == [NO_PATH] * 2
    after = dialled(world)
    assert after == {"callers": before["callers"], "elsewhere": before["elsewhere"] + 1}
    world.allowed = 2  # this one, and where it joined


# -- first contact without the pin ---------------------------------------------------------------------------------


class Middle(Recorder):
    """Shows a device of its own, opens what is sealed to it, and holds the session with the caller itself."""

    def __init__(self, world, liar):
        super().__init__()
        self.world, self.liar = world, liar
        self.request = self.plain = self.session = None
        self.done = threading.Event()

    def down(self, link, message):
        if message.method == "LOOKUP" and message.kind == "success":
            message = stun.Message(change(message, **self.liar.answer()))
        super().down(link, message)

    def up(self, link, message):
        if link.role != "user" or message.method != "CONNECT":
            super().up(link, message)
            return
        self.request, self.plain = self.liar.open(message.get("BOX"))
        self.server.to_peer(link, success(message))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        candidate, = [c for c in self.request.candidates if c.address == ROUTER_A]
        self.session = dial(self.world.net.server, candidate.address, candidate.port,
                            self.liar.files(self.world.beckon.workdir / "liar"), self.request.call_id)
        if self.session is not None:
            self.session.serve()
        self.done.set()


@contextlib.contextmanager
def unpinned(user):
    """Knows no device, and forgets what it comes to know."""
    known = user.state / "known_devices"
    kept = known.read_text() if known.exists() else ""
    known.write_text("")
    try:
        yield known
    finally:
        known.write_text(kept)


def text_of(pin):
    return base64.urlsafe_b64encode(pin).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["eve", "bob"])
def test_at_first_contact_the_false_fingerprint_is_shown_and_nothing_sent_before_a_yes(world, liar, name):
    attack = Middle(world, liar)
    with unpinned(getattr(world, name)):
        fails(world, attack, KEY_CHANGED, text_of(liar.pin), name=name)
        assert text_of(pin_of(world.device)) != text_of(liar.pin)
    assert attack.request is None


def test_at_first_contact_a_yes_lets_the_server_read_the_password_and_stand_in_the_middle(world, liar):
    attack = world.server.attack = Middle(world, liar)
    with unpinned(world.eve) as known, no_dial(world):
        done = attempt(world, "eve", options=("--accept-new",))
        assert done.status == 0, done.err
        world.good -= 1  # by nobody's device
        assert attack.done.wait(LIMIT_S)
        assert attack.request.password == world.password and attack.request.service == world.service
        assert attack.session.copied.decode() == done.out and b"CONNECT" in attack.session.asked
        # The true device had no part in it. From now on she is told: the true server is the one that is refused.
        assert text_of(liar.pin) in known.read_text()
        fails(world, Attack(), KEY_CHANGED, name="eve")
        # With the true pin from the device itself, the lie is told as one, and nothing is sealed.
        known.write_text("")
        world.eve.pin(world.device.uri())
        fails(world, second := Middle(world, liar), KEY_CHANGED, name="eve")
        assert second.request is None
        known.write_text("")
    # What it has is the password: good for whoever has a grant, until it is changed.
    comes_about(world, Attack(), name="mallory", password=attack.request.password)
    audited(world, "user=mallory by=password:owner .*result=served")


def test_at_first_contact_with_a_key_there_is_nothing_that_opens_the_true_device(world, liar):
    """The caller speaks with the false device, and what he signed for it is no good at the true one."""
    attack = world.server.attack = Middle(world, liar)
    with unpinned(world.bob):
        done = attempt(world, "bob", options=("--accept-new",))
        assert done.status == 0, done.err
        world.good -= 1
        assert attack.done.wait(LIMIT_S)
    parts = {a.name: a.value for a in stun.attributes(attack.plain)}
    assert parts["CALLER-KEY"] == bobs_key(world) and "PASSWORD" not in parts
    secret = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes()))
    call_id, box = parts["CALL-ID"], nacl.public.SealedBox(secret.public_key).encrypt(attack.plain)
    refused_by_device(world, own_request(world, call_id, box), "refused")
    comes_about(world, Attack(), name="bob")
