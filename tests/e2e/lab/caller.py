"""A caller written down a second time, in Python: everything up to the RESULT, with each step open to be done wrong.

It has a user's certificate (the state directory of `beckon`), asks the server with LOOKUP, seals a request
by password or by a key of its own, sends it, and opens the device's answers. It takes no calls."""

import base64
import datetime
import hashlib
import ipaddress
import os
import secrets
import ssl
import struct
import time

import nacl.public
import nacl.signing
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import stun

ACCEPTED, STALE, REFUSED, BACK_OFF, NO_SERVICE, NO_ANSWER, BUSY = range(7)
CONTEXT = b"beckon caller signature 1\0"


def pin_of(certificate):
    """SHA-256 of its SubjectPublicKeyInfo."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)).digest()


def line(key, name):
    """A signing key as a line of authorized_users."""
    return base64.urlsafe_b64encode(bytes(key.verify_key)).rstrip(b"=").decode() + f" {name}"


def reissue(ca, path, begin, end):
    """The certificate in `path` as its server's CA (in the folder `ca`) would have made it, but valid from `begin` to
    `end` hours from now; put in its place and returned."""
    key = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
    old = x509.load_pem_x509_certificate(path.read_bytes())
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer).public_key(old.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(hours=begin))
               .not_valid_after(now + datetime.timedelta(hours=end)))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(key, None).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(made)
    return made


class Request:
    """The inside of a box, attribute by attribute; change `parts` before it is sealed."""

    def __init__(self, caller, device, service="web", candidate=("198.51.100.77", 5999)):
        self.call_id = secrets.token_bytes(16)
        self.reply = nacl.public.PrivateKey.generate()
        self.caller = caller
        self.device = device
        where = struct.pack("!BBH", 2, 1, candidate[1]) + ipaddress.ip_address(candidate[0]).packed
        self.parts = {"CALL-ID": self.call_id, "EQUIPMENT-ID": device.to_bytes(8, "big"),
                      "TIME": int(time.time()).to_bytes(8, "big"), "TAG": caller.tag, "SERVICE": service.encode(),
                      "CANDIDATE": where, "CALL-KEY": secrets.token_bytes(32), "REPLY-KEY": bytes(self.reply.public_key)}

    def text(self):
        return b"".join(stun.put(name, value) for name, value in self.parts.items())

    def password(self, password):
        self.parts["PASSWORD"] = password.encode()
        return self

    def sign(self, key, pin=None, context=CONTEXT, as_key=None):
        """By `key`, for the device with that pin (the one that LOOKUP showed), in the name of `as_key` (or of itself)."""
        self.parts["CALLER-KEY"] = bytes((as_key or key).verify_key)
        self.parts["SIGNATURE"] = key.sign(context + (pin or self.caller.pin) + self.text()).signature
        return self

    def message(self):
        box = nacl.public.SealedBox(nacl.public.PublicKey(self.caller.box_key)).encrypt(self.text())
        return stun.build("CONNECT", "request",
                          stun.put("EQUIPMENT-ID", self.device.to_bytes(8, "big")) +
                          stun.put("CALL-ID", self.parts["CALL-ID"]) + stun.put("BOX", box), os.urandom(12), fingerprint=False)


class Caller:
    """One connection of a user to the server, and what LOOKUP said of one device."""

    def __init__(self, user, server, device, port=1201):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(user.state / "ca.crt")
        context.load_cert_chain(user.state / "user.crt", user.state / "user.key")
        context.set_alpn_protocols(["beckon-request/1"])
        self.socket = context.wrap_socket(user.ns.connect(server, port, timeout=15), server_hostname=server)
        self.left = b""
        self.device = device
        answer = self.ask(stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")),
                                     os.urandom(12), fingerprint=False))
        assert answer.kind == "success", answer.error_code
        self.tag = answer.get("TAG")
        self.pin = pin_of(answer.get("CERTIFICATE"))
        self.box_key = answer.get("BOX-KEY")[1:33]

    def receive(self):
        """The next message; None when the server has closed."""
        while True:
            found, left = stun.messages(self.left)
            if found:
                self.left = self.left[len(found[0].raw):]
                return found[0]
            piece = self.socket.recv(65536)
            if not piece:
                return None
            self.left = left + piece

    def ask(self, message):
        """The answer to a request; what else comes before it is passed over."""
        self.socket.sendall(message)
        while True:
            answer = self.receive()
            assert answer is not None, "the server closed the connection"
            if answer.txid == message[8:20] and answer.kind in ("success", "error"):
                return answer

    def result(self, request):
        """The device's verdict on a request that was delivered."""
        while True:
            message = self.receive()
            assert message is not None, "the server closed the connection"
            if message.method == "RESULT" and message.get("CALL-ID") == request.parts["CALL-ID"]:
                box = nacl.public.Box(request.reply, nacl.public.PublicKey(self.box_key))
                inside = {a.name: a.value for a in stun.attributes(box.decrypt(message.get("BOX")))}
                assert inside["CALL-ID"] == request.parts["CALL-ID"]
                return int.from_bytes(inside["STATUS"], "big")

    def call(self, request):
        """A request there, its verdict back."""
        answer = self.ask(request.message())
        assert answer.kind == "success", answer.error_code
        return self.result(request)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
