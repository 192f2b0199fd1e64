"""coturn, in a namespace of its own, as it is run beside a server that hands out credentials for it; and a TURN client
for TCP allocations (RFC 6062), as far as asking for one."""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time

from . import stun
from .process import wait_until
from .sides import RELAY, RELAY6, RELAY_NAME

SECRET = "a-secret-between-server-and-relay"
PORT = 3478


def coturn_settings(secret=SECRET):
    """What beckond.conf says of it."""
    return {"external_relay": f"{RELAY_NAME}:{PORT}", "external_relay_secret": secret}


class Coturn:
    """Ready when constructed. `more`: further words of its command line."""

    def __init__(self, ns, secret=SECRET, more=()):
        self.ns = ns
        self._argv = ["turnserver", "-n", "--listening-port", PORT, "--listening-ip", RELAY, "--listening-ip", RELAY6,
                      "--relay-ip", RELAY, "--relay-ip", RELAY6, "--min-port", 50000, "--max-port", 59999,
                      "--use-auth-secret", f"--static-auth-secret={secret}", "--realm", RELAY_NAME, "--fingerprint",
                      "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout", "--simple-log", "--no-software-attribute",
                      "--pidfile", f"/tmp/{ns.name}-turnserver.pid", *more]
        self.process = None
        self.start()

    def start(self):
        self.process = self.ns.start(self._argv)
        wait_until(self._answers, 30, "coturn answers Binding")

    def stop(self):
        self.process.stop()

    def _answers(self):
        """Over TCP, as it will be used; it accepts a moment before it is ready."""
        try:
            with self.ns.connect(RELAY, PORT, timeout=0.5) as s:
                s.sendall(stun.build("BINDING", "request", b"", os.urandom(12), fingerprint=False))
                return bool(s.recv(100))
        except (OSError, socket.timeout):
            return False


def credentials(secret, expires_in=600, name="laboratory"):
    """(username, password) by the convention of time-limited credentials."""
    username = f"{int(time.time()) + expires_in}:{name}"
    return username, base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()


class Client:
    """One control connection to a relay."""

    def __init__(self, ns, address, port, username, password):
        self.username, self._password = username, password
        self._realm = self._nonce = None
        self._left = b""
        self.socket = ns.connect(address, port, timeout=10)

    def _ask(self, method, body):
        if self._nonce:
            key = hashlib.md5(f"{self.username}:{self._realm.decode()}:{self._password}".encode()).digest()
            body += (stun.put("USERNAME", self.username.encode()) + stun.put("REALM", self._realm) +
                     stun.put("NONCE", self._nonce))
            txid = os.urandom(12)
            covered = bytearray(stun.build(method, "request", body, txid, fingerprint=False))
            struct.pack_into("!H", covered, 2, len(body) + 24)
            body += stun.put("MESSAGE-INTEGRITY", hmac.new(key, bytes(covered), hashlib.sha1).digest())
        else:
            txid = os.urandom(12)
        self.socket.sendall(stun.build(method, "request", body, txid, fingerprint=False))
        while True:
            found, self._left = stun.messages(self._left)
            for answer in found:
                if answer.txid == txid:
                    return answer
            piece = self.socket.recv(4096)
            if not piece:
                raise ConnectionError("the relay closed the connection")
            self._left += piece

    def allocate(self):
        """The error code, or 0."""
        transport = stun.put("REQUESTED-TRANSPORT", bytes([6, 0, 0, 0]))
        answer = self._ask("ALLOCATE", transport)
        if answer.error_code == 401 and answer.get("NONCE"):
            self._realm, self._nonce = answer.get("REALM"), answer.get("NONCE")
            answer = self._ask("ALLOCATE", transport)
        return answer.error_code or 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def allocates(ns, address, port, username, password):
    """What the relay answers to somebody with these credentials: an error code, or 0."""
    with Client(ns, address, port, username, password) as client:
        return client.allocate()
