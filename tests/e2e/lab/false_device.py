"""What somebody with the CA's key can make: a device that is none, down to the session that it holds with a caller who
believes it. Keys, certificates, box keys and boxes, and a small HTTP/2 server (RFC 9113) over TLS that says
yes to every CONNECT, sends back what it is sent, and keeps a copy."""

import datetime
import hashlib
import os
import ssl
import struct
import time

import nacl.public
import nacl.signing
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from . import stun

BOX_KEY_CONTEXT = b"beckon box key v1\0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def call_name(call_id):
    return hashlib.sha256(b"beckon call name 1" + call_id).digest()[:16].hex() + ".call.invalid"


def certificate(ca, subject, public_key):
    """PEM; by the CA in the folder `ca`, for the holder ("beckon:device:2133") of a raw Ed25519 key, or of another."""
    key = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes())
    model = x509.load_pem_x509_certificate((ca / "server.crt").read_bytes())
    now = datetime.datetime.now(datetime.timezone.utc)
    if isinstance(public_key, bytes):
        public_key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(issuer.subject).public_key(public_key)
               .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
               .not_valid_after(now + datetime.timedelta(days=300))
               .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject)]), False))
    for extension in model.extensions:
        if isinstance(extension.value, (x509.BasicConstraints, x509.KeyUsage, x509.AuthorityKeyIdentifier)):
            builder = builder.add_extension(extension.value, extension.critical)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    return builder.add_extension(usage, False).sign(key, None).public_bytes(serialization.Encoding.PEM)


def der(pem):
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def signed_box_key(signer, public, made, until):
    """BOX-KEY: by a raw Ed25519 seed."""
    text = b"\1" + public + struct.pack("!QQ", made, until)
    return text + nacl.signing.SigningKey(signer).sign(BOX_KEY_CONTEXT + text).signature


class FalseDevice:
    """Keys of one's own, and the CA's word that they are some device's."""

    def __init__(self, ca, device=2133, subject=None):
        self.seed = os.urandom(32)
        self.key = nacl.signing.SigningKey(self.seed)
        self.pem = certificate(ca, subject or f"beckon:device:{device}", bytes(self.key.verify_key))
        self.box = nacl.public.PrivateKey.generate()
        now = int(time.time())
        self.box_key = signed_box_key(self.seed, bytes(self.box.public_key), now - 60, now + 30 * 86400)
        spki = self.key.verify_key.encode()
        public = ed25519.Ed25519PublicKey.from_public_bytes(spki)
        self.pin = hashlib.sha256(public.public_bytes(serialization.Encoding.DER,
                                                      serialization.PublicFormat.SubjectPublicKeyInfo)).digest()

    def answer(self):
        """What to say to LOOKUP."""
        return {"CERTIFICATE": der(self.pem), "BOX_KEY": self.box_key}

    def open(self, sealed):
        """The inside of a box for it: (as read, as bytes)."""
        plain = nacl.public.SealedBox(self.box).decrypt(bytes(sealed))
        return stun.read_call_request(plain), plain

    def files(self, folder):
        """Certificate and key as files."""
        folder.mkdir(exist_ok=True)
        key = ed25519.Ed25519PrivateKey.from_private_bytes(self.seed).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "device.crt").write_bytes(self.pem)
        (folder / "device.key").write_bytes(key)
        return folder / "device.crt", folder / "device.key"


def dial(ns, address, port, files, call_id, timeout=5.0):
    """TLS to a caller's callback port as a device does it; the socket, or None where it is refused. TLS 1.3 tells a
    client after its own end of the handshake, so the first answer is waited for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*files)
    context.set_alpn_protocols(["beckon-call/1"])
    raw = None
    try:
        raw = ns.connect(address, port, timeout=timeout)
        s = context.wrap_socket(raw, server_hostname=call_name(call_id))
        s.sendall(frame(SETTINGS, 0, 0))
        first = s.recv(len(PREFACE))
    except OSError:  # refused: no port, reset, or an alert
        if raw is not None:
            raw.close()
        return None
    if not first:
        s.close()
        return None
    s.settimeout(timeout)
    return Session(s, first)


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


class Session:
    """The device's end of a call."""

    def __init__(self, s, begun):
        self.socket = s
        self.buffer = begun
        self.copied = b""
        self.asked = b""

    def _exactly(self, n):
        while len(self.buffer) < n:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self.buffer += piece
        got, self.buffer = self.buffer[:n], self.buffer[n:]
        return got

    def serve(self):
        """Until the caller has gone; what it sent."""
        try:
            assert self._exactly(len(PREFACE)) == PREFACE
            while True:
                head = self._exactly(9)
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                self._one(kind, flags, int.from_bytes(head[5:9], "big"), self._exactly(length))
        except (EOFError, OSError):
            self.socket.close()
        return self.copied

    def _one(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == HEADERS:
            self.asked += payload
            self.socket.sendall(frame(HEADERS, END_HEADERS, stream, b"\x88"))  # :status 200
        elif kind == DATA:
            self.copied += payload
            self.socket.sendall(frame(DATA, flags & END_STREAM, stream, payload))
