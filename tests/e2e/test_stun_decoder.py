"""The laboratory's own decoder, against vectors and against a sealed box made here."""

import struct

import pytest
from nacl.public import PrivateKey, SealedBox

from lab import stun

# RFC 5769, 2.2: a Binding response with XOR-MAPPED-ADDRESS 192.0.2.1:32853 and a valid FINGERPRINT.
RFC5769_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96")
TXID = bytes(range(12))


def test_rfc5769_response():
    m = stun.Message(RFC5769_RESPONSE)
    assert (m.method, m.kind) == ("BINDING", "success")
    assert m.address("XOR-MAPPED-ADDRESS") == ("192.0.2.1", 32853)
    assert m.fingerprint_valid()


def test_every_changed_byte_is_seen_by_the_fingerprint():
    for i in range(20, len(RFC5769_RESPONSE)):
        changed = bytearray(RFC5769_RESPONSE)
        changed[i] ^= 1
        try:
            assert not stun.Message(bytes(changed)).fingerprint_valid(), i
        except stun.Malformed:
            pass


@pytest.mark.parametrize("method", ["REGISTER", "NOTIFY", "LOOKUP", "CONNECT", "RESULT", "ENROL"])
@pytest.mark.parametrize("kind", stun.CLASSES)
def test_built_messages_read_back(method, kind):
    key = b"k" * 32
    raw = stun.build(method, kind, stun.put("EQUIPMENT-ID", struct.pack("!Q", 2133)), TXID, key)
    m = stun.Message(raw)
    assert (m.method, m.kind, m.equipment_id, m.txid) == (method, kind, 2133, TXID)
    assert m.fingerprint_valid() and m.integrity_valid(key) and not m.integrity_valid(b"x" * 32)
    assert len(m.get("MESSAGE-INTEGRITY-SHA256")) == 16


def test_truncations_are_refused():
    for n in range(len(RFC5769_RESPONSE)):
        with pytest.raises(stun.Malformed):
            stun.Message(RFC5769_RESPONSE[:n])


def test_stream_is_cut_into_messages():
    one = stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", bytes(8)), TXID, fingerprint=False)
    two = stun.build("CONNECT", "request", stun.put("BOX", b"abcde"), TXID, fingerprint=False)
    found, rest = stun.messages(one + two + two[:30])
    assert [m.method for m in found] == ["LOOKUP", "CONNECT"]
    assert found[1].get("BOX") == b"abcde"
    assert rest == two[:30]


def test_error_code():
    raw = stun.build("REGISTER", "error", stun.put("ERROR-CODE", bytes((0, 0, 4, 38))), TXID)
    assert stun.Message(raw).error_code == 438


def test_box_opens_to_its_contents():
    secret = PrivateKey.generate()
    plain = b"".join((
        stun.put("CALL-ID", b"c" * 16), stun.put("EQUIPMENT-ID", struct.pack("!Q", 2133)),
        stun.put("TIME", struct.pack("!Q", 1700000000)), stun.put("SERVICE", b"ssh"),
        stun.put("CANDIDATE", bytes((2, 1)) + struct.pack("!H", 5000) + bytes((4, 17, 168, 2))),
        stun.put("CANDIDATE", bytes((1, 2)) + struct.pack("!H", 1600) + bytes(15) + b"\x01"),
        stun.put("CALL-KEY", bytes(32)), stun.put("REPLY-KEY", bytes(32)), stun.put("PASSWORD", b"open sesame")))
    sealed = SealedBox(secret.public_key).encrypt(plain)
    request = stun.open_box(sealed, bytes(2) + bytes(secret.public_key) + bytes(secret))
    assert request.equipment_id == 2133
    assert request.password == "open sesame"
    assert request.service == "ssh"
    assert request.candidates == [(2, "4.17.168.2", 5000), (1, "::1", 1600)]
    assert request.call_id == b"c" * 16
