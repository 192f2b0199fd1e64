"""A caller who is let in, and then does what it likes: the whole of a call in Python, up to the HTTP/2 session that the
device holds with it. Lives on the wide area network, under as many addresses as it wants."""

import datetime
import hashlib
import ipaddress
import socket
import ssl
import struct
import types

import nacl.signing
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from . import hostile_h2, stun
from .caller import ACCEPTED, Caller, Request, line
from .network import SERVER

NETWORK = "91.7.7.{}"  # global addresses, all of them the attacker's


def settle(net):
    """Gives the middle of the network the attacker's addresses, once."""
    net.wan.address("lo", NETWORK.format("1") + "/24")


class Place:
    """One of those addresses, as a namespace that a Caller connects from."""

    def __init__(self, net, number):
        self.net = net
        self.address = NETWORK.format(number)

    def connect(self, address, port, timeout=10.0):
        s = self.net.wan._bound(socket.SOCK_STREAM, self.address, 0, timeout)
        try:
            s.connect((address, port))
        except OSError:
            s.close()
            raise
        return s

    def listen(self, port=0):
        return self.net.wan.listen(port, self.address, 10.0)


class ManyCandidates(Request):
    """A request that names any addresses, of either family, as (address, port) or as bytes of an attribute."""

    candidates = ()

    def _one(self, candidate):
        if isinstance(candidate, bytes):
            return stun.put("CANDIDATE", candidate)
        ip = ipaddress.ip_address(candidate[0])
        return stun.put("CANDIDATE", struct.pack("!BBH", 2, 1 if ip.version == 4 else 2, candidate[1]) + ip.packed)

    def text(self):
        return b"".join(b"".join(map(self._one, self.candidates)) if name == "CANDIDATE" and self.candidates
                        else stun.put(name, value) for name, value in self.parts.items())


class Mallory:
    """A user with a grant and a key that the device knows (for one of its accesses, or as its owner)."""

    def __init__(self, user, device, place, folder, name="mallory", access=""):
        self.device = device
        self.place = place
        self.user = types.SimpleNamespace(ns=place, state=user.state)
        self.key = nacl.signing.SigningKey.generate()
        with open(device.state / "authorized_users", "a", encoding="ascii") as f:
            f.write(f"{line(self.key, name)} {access}".rstrip() + "\n")
        self._make_certificate(folder / f"{name}-call.pem")

    def _make_certificate(self, path):
        key = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "call")])
        now = datetime.datetime.now(datetime.timezone.utc)
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=1)).sign(key, None))
        pem = serialization.Encoding.PEM
        path.write_bytes(cert.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                                                    serialization.NoEncryption()))
        self.certificate = path
        self.call_key = hashlib.sha256(key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).digest()

    def caller(self):
        return Caller(self.user, SERVER, self.device.id)

    def request(self, caller, service="echo", candidates=()):
        """Signed, and as it should be but for what it names."""
        request = ManyCandidates(caller, self.device.id, service=service)
        request.candidates = candidates
        request.parts["CALL-KEY"] = self.call_key
        return request.sign(self.key)

    def answer(self, listener):
        """The device on the line: a TLS socket."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate)
        context.set_alpn_protocols(["beckon-call/1"])
        raw, _ = listener.accept()
        raw.settimeout(10)
        return context.wrap_socket(raw, server_side=True)

    def bare_call(self, service="echo"):
        """A call up to the TLS connection that the device opened; it is not picked yet."""
        with self.place.listen() as listener, self.caller() as caller:
            verdict = caller.call(self.request(caller, service, [listener.getsockname()]))
            assert verdict == ACCEPTED, verdict
            return self.answer(listener)

    def call(self, service="echo", *settings):
        """A call that stands."""
        return hostile_h2.Session(self.bare_call(service), True, b"", *settings)
