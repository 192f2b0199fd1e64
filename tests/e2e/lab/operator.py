"""What an operator, or somebody who holds the CA's key, can do beside the programs: certificates of any age, and
connections to the server under any protocol name."""

import datetime
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import stun


def _read_key(path):
    return serialization.load_pem_private_key(path.read_bytes(), None)


def reissue(certificate, ca_key, days_from, days_until):
    """The certificate in that file once more, for the same key and holder, valid from so many days ago to so many."""
    old = x509.load_pem_x509_certificate(certificate.read_bytes())
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer)
               .public_key(old.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(days=days_from))
               .not_valid_after(now - datetime.timedelta(days=days_until)))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    new = builder.sign(_read_key(ca_key), None)
    certificate.write_bytes(new.public_bytes(serialization.Encoding.PEM))


def days_left(certificate):
    """How long the certificate in that file is still valid."""
    until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after
    return (until - datetime.datetime.utcnow()).days


class Connection:
    """TLS to the server with the certificate NAME.crt of a state directory (None: without), under a protocol name."""

    def __init__(self, ns, state, name, server, port, alpn):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(state / "ca.crt")
        if name:
            context.load_cert_chain(state / f"{name}.crt", state / f"{name}.key")
        context.set_alpn_protocols([alpn])
        self.socket = context.wrap_socket(ns.connect(server, port, timeout=10), server_hostname=server)
        self.left = b""

    def ask(self, method, body=b""):
        """The answer, or None: the server closed the connection, or refused it."""
        try:
            self.socket.sendall(stun.build(method, "request", body, os.urandom(12), fingerprint=False))
            return self.receive()
        except (ssl.SSLError, ConnectionError):
            return None

    def receive(self):
        while True:
            found, self.left = stun.messages(self.left)
            if found:
                return found[0]
            piece = self.socket.recv(65536)
            if not piece:
                return None
            self.left += piece

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
