"""STUN messages (RFC 8489) with Beckon's methods and attributes, and the sealed request: a second,
independent reading of the protocol, in Python, for the tests and the demonstration."""

import collections
import hashlib
import hmac
import ipaddress
import struct
import zlib

COOKIE = 0x2112A442
CLASSES = ("request", "indication", "success", "error")
METHODS = {0x001: "BINDING", 0x003: "ALLOCATE", 0x004: "REFRESH", 0x008: "CREATE-PERMISSION", 0x00A: "TURN-CONNECT",
           0x00B: "CONNECTION-BIND", 0x00C: "CONNECTION-ATTEMPT", 0x0C1: "REGISTER", 0x0C2: "NOTIFY", 0x0C3: "LOOKUP", 0x0C4: "CONNECT",
           0x0C5: "RESULT", 0x0C6: "ENROL", 0x0C7: "RENEW", 0x0C8: "WATCH", 0x0C9: "INFO", 0x0CA: "PROBE",
           0x0CB: "PATHS"}
ATTRIBUTES = {
    0x0003: "CHANGE-REQUEST", 0x0006: "USERNAME", 0x0008: "MESSAGE-INTEGRITY", 0x000D: "LIFETIME", 0x0012: "XOR-PEER-ADDRESS",
    0x0014: "REALM", 0x0016: "XOR-RELAYED-ADDRESS", 0x0017: "REQUESTED-ADDRESS-FAMILY", 0x0019: "REQUESTED-TRANSPORT",
    0x0027: "RESPONSE-PORT", 0x002A: "CONNECTION-ID", 0x802B: "RESPONSE-ORIGIN", 0x802C: "OTHER-ADDRESS", 0x4012: "RELAY",
    0x4028: "ROUND-TRIP", 0x4029: "ROUND", 0xC002: "SERVER-NAME",
    0x0009: "ERROR-CODE", 0x0015: "NONCE", 0x001C: "MESSAGE-INTEGRITY-SHA256", 0x0020: "XOR-MAPPED-ADDRESS",
    0x8028: "FINGERPRINT", 0x4001: "EQUIPMENT-ID", 0x4002: "REGISTRATION", 0x4003: "TAG", 0x4004: "CALL-WAITING",
    0x4005: "DEVICE-NAME", 0x4006: "CALL-ID", 0x4007: "BOX", 0x4008: "CERTIFICATE", 0x4009: "CA-CERTIFICATE",
    0x400A: "BOX-KEY", 0x400B: "OBSERVED-ADDRESS", 0x400C: "TIME", 0x400D: "TOKEN", 0x400E: "CERTIFICATE-REQUEST",
    0x400F: "REGISTRATION-KEY", 0x4010: "USER-NAME", 0x4011: "SERVER-PORTS", 0x4020: "SERVICE", 0x4021: "PASSWORD", 0x4022: "CANDIDATE",
    0x4023: "CALL-KEY", 0x4024: "REPLY-KEY", 0x4025: "STATUS", 0x4026: "CALLER-KEY", 0x4027: "SIGNATURE",
    0xC001: "RENEW"}
NUMBERS = {name: number for number, name in ATTRIBUTES.items()}
METHOD_NUMBERS = {name: number for number, name in METHODS.items()}

Attribute = collections.namedtuple("Attribute", "name value offset")
Candidate = collections.namedtuple("Candidate", "kind address port")
CallRequest = collections.namedtuple("CallRequest", "equipment_id password service candidates call_id time")


class Malformed(ValueError):
    pass


class Message:
    """One whole message, with what is at hand to check it."""

    def __init__(self, raw):
        if len(raw) < 20:
            raise Malformed("shorter than a header")
        kind, length, cookie, self.txid = struct.unpack("!HHI12s", raw[:20])
        if kind & 0xC000 or cookie != COOKIE or length % 4 or len(raw) != 20 + length:
            raise Malformed("no STUN header, or another length")
        self.raw = bytes(raw)
        self.method_number = (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80)
        self.method = METHODS.get(self.method_number, hex(self.method_number))
        self.kind = CLASSES[(kind >> 4 & 1) | (kind >> 7 & 2)]
        self.attributes = attributes(raw[20:], base=20)

    def get(self, name):
        """The first attribute's value, or None."""
        return next((a.value for a in self.attributes if a.name == name), None)

    @property
    def equipment_id(self):
        value = self.get("EQUIPMENT-ID")
        return None if value is None else int.from_bytes(value, "big")

    @property
    def error_code(self):
        value = self.get("ERROR-CODE")
        return None if value is None else (value[2] & 7) * 100 + value[3]

    def address(self, name):
        """(address, port) of an attribute in the manner of XOR-MAPPED-ADDRESS."""
        value = self.get(name)
        port = int.from_bytes(value[2:4], "big") ^ COOKIE >> 16
        mask = struct.pack("!I", COOKIE) + self.txid
        return str(ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask)))), port

    def fingerprint_valid(self):
        last = self.attributes[-1] if self.attributes else None
        if last is None or last.name != "FINGERPRINT":
            return False
        crc = zlib.crc32(self.raw[:last.offset]) ^ 0x5354554E
        return last.value == struct.pack("!I", crc)

    def integrity_valid(self, key):
        """MESSAGE-INTEGRITY-SHA256, at whatever length it has."""
        found = next((a for a in self.attributes if a.name == "MESSAGE-INTEGRITY-SHA256"), None)
        if found is None:
            return False
        covered = bytearray(self.raw[:found.offset])
        struct.pack_into("!H", covered, 2, found.offset + 4 + len(found.value) - 20)
        whole = hmac.new(key, bytes(covered), hashlib.sha256).digest()
        return hmac.compare_digest(whole[:len(found.value)], found.value)


def attributes(data, base=0):
    """An attribute list; `offset` counts from `base`."""
    found, pos = [], 0
    while pos < len(data):
        if len(data) - pos < 4:
            raise Malformed("half an attribute header")
        number, length = struct.unpack_from("!HH", data, pos)
        if len(data) - pos - 4 < length:
            raise Malformed("attribute longer than its message")
        found.append(Attribute(ATTRIBUTES.get(number, hex(number)), bytes(data[pos + 4:pos + 4 + length]), base + pos))
        pos += 4 + (length + 3) // 4 * 4
    return found


def messages(data):
    """The messages of a stream, in order, and what is left of a last, unfinished one."""
    found, pos = [], 0
    while len(data) - pos >= 20:
        total = 20 + int.from_bytes(data[pos + 2:pos + 4], "big")
        if len(data) - pos < total:
            break
        found.append(Message(data[pos:pos + total]))
        pos += total
    return found, data[pos:]


def put(number, value):
    """One attribute, padded."""
    if isinstance(number, str):
        number = NUMBERS[number]
    return struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


def build(method, kind, body, txid, key=None, mac_bytes=16, fingerprint=True):
    """A message of raw attribute bytes; with integrity when there is a key, and FINGERPRINT."""
    if isinstance(method, str):
        method = METHOD_NUMBERS[method]
    cls = CLASSES.index(kind)
    first = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2 | (cls & 1) << 4 | (cls & 2) << 7

    def header(length):
        return struct.pack("!HHI12s", first, length, COOKIE, txid)

    if key is not None:
        mac = hmac.new(key, header(len(body) + 4 + mac_bytes) + body, hashlib.sha256).digest()
        body += put("MESSAGE-INTEGRITY-SHA256", mac[:mac_bytes])
    if fingerprint:
        crc = zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E
        body += put("FINGERPRINT", struct.pack("!I", crc))
    return header(len(body)) + body


def box_secret(key_file):
    """The current secret key in a device's box.key: version, flags, public key, secret key; others follow."""
    return bytes(key_file[34:66])


def open_box(sealed, key_file):
    """The call request in a BOX, with the device's box.key."""
    # Only the demonstration and the tests of the box need libsodium.
    from nacl.public import PrivateKey, SealedBox
    return read_call_request(SealedBox(PrivateKey(box_secret(key_file))).decrypt(bytes(sealed)))


def read_call_request(plain):
    """The attribute list inside a BOX."""
    one, candidates = {}, []
    for a in attributes(plain):
        if a.name == "CANDIDATE":
            kind, family, port = struct.unpack_from("!BBH", a.value)  # as MAPPED-ADDRESS, the kind in its unused byte
            address = a.value[4:8] if family == 1 else a.value[4:20]
            candidates.append(Candidate(kind, str(ipaddress.ip_address(address)), port))
        else:
            one.setdefault(a.name, a.value)
    return CallRequest(int.from_bytes(one["EQUIPMENT-ID"], "big"), one.get("PASSWORD", b"").decode(), one["SERVICE"].decode(),
                       candidates, one["CALL-ID"], int.from_bytes(one["TIME"], "big"))
