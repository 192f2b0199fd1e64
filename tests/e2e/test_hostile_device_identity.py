"""A device that would be somebody else: in what it has certified, in whom it asks about, in what it registers, and after it was
stolen and another enrolled in its place. As in test_hostile_device.py otherwise."""

import contextlib
import os
import random
import struct
import time
import types

import nacl.public
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from lab import SERVER, flood, stun
from lab.caller import Caller, Request, pin_of
from lab.false_device import signed_box_key
from lab.hostile_caller import Place
from lab.hostile_device import HostileDevice, receive
from lab.hostile_device_world import ID, answered, calls_evil, others_are_served, populated


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture(autouse=True)
def _others_are_served(field):
    with others_are_served(field):
        yield


# -- being somebody else -------------------------------------------------------------------------------


def request_for(key, subject="beckon:device:2133"):
    """PKCS#10, DER, that claims to be 2133's."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    return (x509.CertificateSigningRequestBuilder().subject_name(name)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject)]), False)
            .sign(key, None).public_bytes(serialization.Encoding.DER))


def load_key(party):
    return serialization.load_pem_private_key((party.state / "device.key").read_bytes(), None)


def renew(field, body):
    with field.evil.stream("beckon-renew/1") as s:
        return field.evil.ask(s, "RENEW", body)


def test_renew_with_the_request_of_another_is_refused(field):
    stranger = ed25519.Ed25519PrivateKey.generate()
    for key in (stranger, load_key(field.device)):
        answer = renew(field, stun.put("CERTIFICATE-REQUEST", request_for(key)))
        assert answer.kind == "error" and answer.error_code == 400
    bent = bytearray(request_for(load_key(field.evil.party)))
    bent[-1] ^= 1
    assert renew(field, stun.put("CERTIFICATE-REQUEST", bytes(bent))).error_code == 400


def test_renew_under_the_name_of_another_gives_ones_own(field):
    """What the request says of itself is nobody's word: key and ID are those of the connection."""
    answer = renew(field, stun.put("CERTIFICATE-REQUEST", request_for(load_key(field.evil.party))))
    assert answer.kind == "success"
    made = x509.load_der_x509_certificate(answer.get("CERTIFICATE"))
    uris = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert uris.get_values_for_type(x509.UniformResourceIdentifier) == [f"beckon:device:{ID}"]
    assert answer.get("REGISTRATION-KEY") == field.evil.key
    answer = renew(field, stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big"))
                   + stun.put("CERTIFICATE-REQUEST", request_for(load_key(field.evil.party))))
    assert answer.kind == "error" or answer.get("REGISTRATION-KEY") == field.evil.key


def test_renew_with_a_box_key_of_anothers_hand_is_refused(field):
    """Signed by another device, by nobody, ended, or for ever."""
    seed = load_key(field.evil.party).private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                                    serialization.NoEncryption())
    other = load_key(field.device).private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                                 serialization.NoEncryption())
    public, now = os.urandom(32), int(time.time())
    with field.friend.caller() as before:
        pass
    assert renew(field, stun.put("BOX-KEY", signed_box_key(other, public, now, now + 86400))).error_code == 400
    assert renew(field, stun.put("BOX-KEY", os.urandom(113))).error_code == 400
    assert renew(field, stun.put("BOX-KEY", signed_box_key(seed, public, now, now + 86400)[:-1])).error_code == 400
    with field.friend.caller() as after, calls_evil(field) as mine:
        assert after.box_key == before.box_key
        assert mine.box_key == bytes(nacl.public.PrivateKey(field.evil.box_secret).public_key)


def watch(field, name, stranger=None):
    with field.evil.stream("beckon-watch/1") as s:
        began = time.monotonic()
        answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", name), b"twelve bytes")
        return answer, time.monotonic() - began


def test_watch_tells_a_device_who_may_call_it_and_nothing_else_of_anybody(field):
    """Users that there are and that there are not, revoked, or granted elsewhere: alike, at the same time."""
    field.beckon.enrol_user("carol")
    field.beckon.enrol_user("gone", devices=[ID])
    field.server.revoke(user="gone")
    assert watch(field, b"alice")[0].kind == "success"
    took, answers = {}, set()
    names = [b"bob", b"carol", b"gone", b"nobody", b"no-one-of-that-name", b"zz"]
    # Asked again where the machine was too busy to tell: that makes an answer later, never earlier.
    for n in range(70):
        for name in names:
            answer, seconds = watch(field, name)
            answers.add(answer.raw)
            took[name] = min(seconds, took.get(name, seconds))
        alike = max(took.values()) - min(took.values()) < (0.2 if field.sanitized else 0.03)
        if n >= 6 and alike:
            break
    assert len(answers) == 1 and stun.Message(answers.pop()).error_code == 404
    assert alike, took
    for name in (b"", b"Alice", b"alice\0", b"a" * 64, b"2140", b"al ice", b"alice\n"):
        answer, _ = watch(field, name)
        assert answer is None or answer.kind == "error", name


def test_watch_is_not_for_a_call_to_another_device(field):
    """It says which user, not which device: that is the one whose certificate was shown."""
    with field.evil.stream("beckon-watch/1") as s:
        answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", b"bob") + stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")))
        assert answer is None or answer.kind == "error"


def test_registers_under_thousands_of_forged_ids_leave_no_row_and_are_not_answered(field):
    """With its own right key: other IDs, other generations of itself, other epochs, its own numbers bent."""
    rng, queue = random.Random(11), flood.Queue(field.server_pid, 1200)
    evil = field.evil
    with field.net.wan.udp(evil.place.address, 0, 0.5) as s:
        for n in range(6000):
            how = n % 4
            if how == 0:
                message = evil.register_message(device=rng.choice((1, 2133, 2134, 2139, rng.randrange(1, 1 << 63))))
            elif how == 1:
                message = evil.register_message(registration=struct.pack("!IHH", rng.randrange(2, 1 << 32), 1, 0))
            elif how == 2:
                other_epoch = struct.pack("!HH", rng.randrange(2, 65536), 0)
                message = evil.register_message(registration=evil.registration[:4] + other_epoch)
            else:
                message = evil.register_message(device=2133, key=rng.randbytes(32))
            s.sendto(message, (SERVER, 1200))
            if n % 64 == 63:
                queue.drain()
        queue.drain()
        with pytest.raises(TimeoutError):
            s.recv(2000)
    assert sorted(d["id"] for d in field.server.devices() if d["address"]) == [2133, ID]


def test_stolen_device_is_neither_its_successor_nor_another(field):
    """2141 is stolen with all its keys; another is enrolled in its place."""
    party = field.beckon.enrol_device(2141, ns=field.net.server)
    field.server.grant("alice", 2141)
    stolen = HostileDevice(party, field.net, 41)
    assert stolen.register().kind == "success"
    fresh = field.beckon.workdir / "successor"
    token = field.server.token(device=2141)
    new = type(party)(field.beckon, "successor", field.net.server)
    new.state, new.id = fresh, 2141
    new.join(token)
    successor = HostileDevice(new, field.net, 42)
    assert successor.registration != stolen.registration and successor.key != stolen.key
    assert successor.register().kind == "success"
    # By datagrams, also with the successor's generation; by streams of each kind.
    answer = stolen.register()
    assert (answer.kind, answer.error_code) == ("error", 403)
    row, = [d for d in field.server.devices() if d["id"] == 2141]
    assert row["address"] == successor.place.address
    with stolen.net.wan.udp(stolen.place.address, 0, 0.4) as s:
        s.sendto(stolen.register_message(registration=successor.registration), (SERVER, 1200))
        with pytest.raises(TimeoutError):
            s.recv(2000)
    for alpn, method, body in (("beckon-renew/1", "RENEW", stun.put("CERTIFICATE-REQUEST", request_for(load_key(party)))),
                               ("beckon-watch/1", "WATCH", stun.put("USER-NAME", b"alice"))):
        with stolen.stream(alpn) as s:
            assert stolen.ask(s, method, body).error_code == 403
    # A call to 2141 is its successor's alone.
    with Caller(types.SimpleNamespace(ns=Place(field.net, 81), state=field.alice.state), SERVER, 2141) as caller:
        assert caller.pin == pin_of(x509.load_pem_x509_certificate((fresh / "device.crt").read_bytes())
                                    .public_bytes(serialization.Encoding.DER))
        caller.socket.sendall(Request(caller, 2141).password("whatever").message())
        successor.heed()
        with contextlib.suppress(OSError), stolen.stream() as s:
            assert receive(s) is None, "the request went to who was replaced"
        with successor.stream() as s:
            offer = receive(s)
            successor.answer(s, offer)
            assert answered(caller) == 200
            with pytest.raises(Exception, match="(?i)decrypt"):
                stolen.opened(offer)
            assert successor.opened(offer)[0].password == "whatever"
    stolen.close()
    successor.close()
    field.server.revoke(device=2141)
