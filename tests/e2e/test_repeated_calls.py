"""A device that has been called before is called without a question to the server; and what becomes of that when what is
known of it is damaged or out of date, or when the server takes its chance."""

import base64
import stat
import time

import nacl.public
import pytest
from cryptography.hazmat.primitives import serialization

from lab import wait_until
from lab.false_device import signed_box_key
from lab.hostile_server import Recorder, error
from lab.hostile_world import KEY_CHANGED, UNKNOWN, attempt, comes_about, fails, forget, pin_of, populated, promises

BOX_AT, BOX_BYTES = 19, 113
FIRST_MINUTE_S = 62  # of a device's run: it takes no request without the tag that LOOKUP tells


@pytest.fixture(scope="module")
def world(net, bindir):
    for w in populated(net, bindir, fast_form="yes"):
        w.up_since = time.monotonic()
        yield w


@pytest.fixture(autouse=True)
def _promises(world):
    with promises(world):
        yield


def settle(world):
    """No sooner can be waited for: the device's clock has to run."""
    wait_until(lambda: time.monotonic() - world.up_since > FIRST_MINUTE_S, FIRST_MINUTE_S + 5, "the device's first minute")


def pin_text(device):
    return base64.urlsafe_b64encode(pin_of(device)).decode().rstrip("=")


def known(world, name="alice"):
    return getattr(world, name).state / "devices" / "2133"


def call(world, name="alice", attack=None, **kw):
    """One that comes about; the methods of the caller's requests, in order."""
    record = world.server.attack = attack or Recorder()
    comes_about(world, name=name, again=True, **kw)
    return [m.method for link, way, m in record.messages
            if way == "up" and link.role == "user" and m.kind == "request"]


@pytest.fixture()
def called(world):
    """alice has called, and has what she needs for another call."""
    settle(world)
    forget(world.alice)
    assert sorted(call(world)) == ["CONNECT", "INFO", "LOOKUP"]
    assert stat.S_IMODE(known(world).stat().st_mode) == 0o600
    assert stat.S_IMODE(known(world).parent.stat().st_mode) == 0o700


def test_in_the_first_minute_a_request_is_made_twice_and_nothing_asked(world):
    forget(world.alice)
    call(world)
    if time.monotonic() - world.up_since < FIRST_MINUTE_S - 10:
        assert call(world) == ["CONNECT", "CONNECT"]


def test_a_second_call_asks_nothing(world, called):
    assert call(world) == ["CONNECT"]
    forget(world.bob)
    call(world, "bob")  # by a key
    assert call(world, "bob") == ["CONNECT"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "unreadable"])
def test_what_is_damaged_is_asked_for_and_mended(world, called, damage):
    path, good = known(world), known(world).read_bytes()
    if damage == "cut":
        path.write_bytes(good[:80])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        path.write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    else:
        path.unlink()
        path.mkdir()
    try:
        assert sorted(call(world)) == ["CONNECT", "INFO", "LOOKUP"]
    finally:
        if damage == "unreadable":
            path.rmdir()
    if damage != "unreadable":
        assert path.read_bytes() == good
        assert call(world) == ["CONNECT"]


def test_an_address_that_is_not_ours_any_more_is_not_relied_on(world, called):
    path, good = known(world), known(world).read_bytes()
    path.write_bytes(good[:16] + bytes([good[16] ^ 1]) + good[17:])
    assert sorted(call(world)) == ["CONNECT", "INFO", "LOOKUP"]
    assert path.read_bytes() == good


def test_another_pin_is_told_as_ever(world, called):
    """The file says what the device's key was; the pin says what it must be."""
    pins = world.alice.state / "known_devices"
    kept = pins.read_text()
    pins.write_text(kept.replace(pin_text(world.device), pin_text(world.other)))
    assert pins.read_text() != kept
    try:
        done = attempt(world, again=True)
        assert done.status == KEY_CHANGED and done.out == ""
    finally:
        pins.write_text(kept)


class OnceUnknown(Recorder):
    """Does not know the device, the first time that it is to be told of a call."""

    def __init__(self, times=1):
        super().__init__()
        self.left = times

    def up(self, link, message):
        if message.method == "CONNECT" and link.role == "user" and message.kind == "request" and self.left:
            self.left -= 1
            self.messages.append((link, "up", message))
            self.server.to_peer(link, error(message, 404))
        else:
            super().up(link, message)


def test_a_device_that_is_said_to_be_unknown_is_asked_for_once(world, called):
    assert sorted(call(world, attack=OnceUnknown())) == ["CONNECT", "CONNECT", "INFO", "LOOKUP"]
    fails(world, OnceUnknown(2), UNKNOWN, again=True)


def test_a_request_that_the_device_cannot_open_is_made_anew(world, called):
    """Sealed to a box key of its own that it has destroyed: it says nothing, and the server has another by now."""
    path, good = known(world), known(world).read_bytes()
    key = serialization.load_pem_private_key((world.device.state / "device.key").read_bytes(), None)
    seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public, now = bytes(nacl.public.PrivateKey.generate().public_key), int(time.time())
    path.write_bytes(good[:BOX_AT] + signed_box_key(seed, public, now - 3600, now + 86400) + good[BOX_AT + BOX_BYTES:])
    began = time.monotonic()
    assert sorted(call(world)) == ["CONNECT", "CONNECT", "INFO", "LOOKUP", "LOOKUP"]
    assert 1.5 < time.monotonic() - began < 9
    assert path.read_bytes() == good
    assert call(world) == ["CONNECT"]
