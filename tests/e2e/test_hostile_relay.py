"""The relay against those who may use it, and those who may not: alice and mallory have credentials, `stranger` is a machine
with an address of its own. Connect is switched on here, which it is not as installed: it could do most harm.

    alice, mallory, peer, stranger ---- [wan] ---- server (services of its own at two addresses)"""

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
import types

import pytest

from lab import SERVER, ReferenceNetwork, stun, wait_until
from lab.hostile_watch import descriptors
from lab.turn import Client
from test_turn import Place

PORT = 1201
SECOND = "130.74.24.6"  # of the server too
PIPES = 64  # descriptors of pipes that the server keeps for the next pair
CALL = "0123456789abcdef0123456789abcdef.call.invalid"
BAD_REQUEST, UNAUTHENTICATED, FORBIDDEN, MISMATCH, STALE, WRONG, FAILED = 400, 401, 403, 437, 438, 441, 447


def xor_address(host, port):
    mask = struct.pack("!I", stun.COOKIE)
    return b"\0\1" + struct.pack("!H", port ^ stun.COOKIE >> 16) + bytes(
        a ^ b for a, b in zip(socket.inet_aton(host), mask))


class Turn(Client):
    """All that a client may ask. What is asked returns an error code, or 0."""

    answer = None

    def ask(self, method, body=b""):
        self.answer = self._ask(method, body)
        if self.answer.error_code in (UNAUTHENTICATED, STALE) and self.answer.get("NONCE") and not self._nonce:
            self._realm, self._nonce = self.answer.get("REALM"), self.answer.get("NONCE")
            self.answer = self._ask(method, body)
        return self.answer.error_code or 0

    def allocate(self, name=None):
        return self.ask("ALLOCATE", stun.put("REQUESTED-TRANSPORT", bytes([6, 0, 0, 0])) +
                        (stun.put("SERVER-NAME", name.encode()) if name else b""))

    def relayed(self):
        assert self.allocate() == 0
        return self.answer.address("XOR-RELAYED-ADDRESS")

    def permit(self, host):
        return self.ask("CREATE-PERMISSION", stun.put("XOR-PEER-ADDRESS", xor_address(host, 0)))

    def connect(self, host, port):
        return self.ask("TURN-CONNECT", stun.put("XOR-PEER-ADDRESS", xor_address(host, port)))

    def bind(self, number):
        return self.ask("CONNECTION-BIND", stun.put("CONNECTION-ID", number))

    def attempt(self, timeout=20.0):
        """CONNECTION-ID of the next peer that is told; None: none came."""
        self.socket.settimeout(timeout)
        with contextlib.suppress(OSError):
            while True:
                found, self._left = stun.messages(self._left)
                for message in found:
                    if message.method == "CONNECTION-ATTEMPT":
                        return message.get("CONNECTION-ID")
                piece = self.socket.recv(4096)
                if not piece:
                    return None
                self._left += piece
        return None


@pytest.fixture(scope="module")
def field(bindir):
    with ReferenceNetwork(fixed=False) as net:
        net.server.address("lo", f"{SECOND}/32")
        net.wan.ip("route", "add", SECOND, "via", SERVER)
        place = Place(net, bindir, relay_connect="yes")
        place.beckon.enrol_user("mallory")
        place.beckon.enrol_user("eve")
        made = types.SimpleNamespace(place=place, net=net, server=place.server, host=place.host,
                                     peer=net.public_host("peer", "6.6.6.6"), stranger=net.public_host("stranger", "7.7.7.7"),
                                     pid=place.server.process.pid)

        def user(name="alice", ns=None, expires_in=600):
            return Turn(ns or made.host, SERVER, PORT, *place.credentials(name, expires_in))

        made.user = user
        yield made
        assert place.server.process.running()


@pytest.fixture(autouse=True)
def nothing_stays(field):
    before = descriptors(field.pid)
    yield
    wait_until(lambda: descriptors(field.pid) <= before + PIPES, 40, "the server has closed what was opened")


def handshake(ns, name):
    """TLS with the server under that name: the protocol agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["beckon-request/1"])
    with context.wrap_socket(ns.connect(SERVER, PORT, timeout=20), server_hostname=name) as s:
        return s.selected_alpn_protocol()


@pytest.mark.parametrize("name", ("beckon.example", "localhost", "beckon"))
def test_a_user_cannot_have_the_servers_own_connections_led_to_him(field, name):
    """Attack: Allocate with the name that all devices and users call the server by. Expected: they reach the server."""
    with field.user("mallory") as mallory:
        assert mallory.allocate(name) == 0
        assert handshake(field.peer, name) == "beckon-request/1"
        assert mallory.attempt(0.5) is None


def test_the_name_of_anothers_call_stays_his(field):
    """Attack: mallory has seen the server name of alice's call, and claims it too. Expected: who comes is told to alice."""
    with field.user() as alice, field.user("mallory") as mallory:
        assert alice.allocate(CALL) == 0 and mallory.allocate(CALL) == 0
        with contextlib.suppress(OSError):
            handshake(field.peer, CALL)
        assert alice.attempt() is not None
        assert mallory.attempt(0.5) is None


def test_connect_reaches_no_service_of_the_servers_own_machine(field):
    """Attack: Connect to what listens on the server's machine, by each of its addresses, and what lies behind private ones.
    Expected: refused, and nothing comes there; a peer elsewhere is reached."""
    with field.net.server.listen(8888, "0.0.0.0", 5.0) as own, field.peer.listen(9000, "6.6.6.6", 5.0) as far:
        own.setblocking(False)
        with field.user("mallory") as mallory:
            mallory.relayed()
            mallory.permit(SECOND)
            for host, port in [(SERVER, 8888), (SECOND, 8888), (SECOND, PORT), (SERVER, PORT), (SERVER, 22), (SECOND, 22),
                               ("127.0.0.1", 8888), ("0.0.0.0", 8888), ("192.168.1.1", 80), ("10.0.0.1", 8888),
                               ("169.254.169.254", 80)]:
                assert mallory.connect(host, port) in (FORBIDDEN, FAILED), (host, port)
                with pytest.raises(BlockingIOError):
                    own.accept()
            assert mallory.permit("6.6.6.6") == 0
            assert mallory.connect("6.6.6.6", 9000) == 0
            far.accept()[0].close()


def test_who_has_no_permission_is_cut_and_not_told_of(field):
    """Attack: a stranger comes to a relayed address. Expected: a reset, before a byte, and the client hears nothing."""
    with field.user() as alice:
        address = alice.relayed()
        assert alice.permit("6.6.6.6") == 0
        for _ in range(20):
            with pytest.raises(ConnectionResetError), field.stranger.connect(*address, timeout=20) as s:
                s.recv(1)
        assert alice.attempt(0.3) is None
        with field.peer.connect(*address, timeout=20):
            assert alice.attempt() is not None


def test_a_peer_is_bound_by_whom_it_is_for(field):
    """Attack: mallory binds alice's peer, by the right number and by guesses. Expected: refused; alice binds it."""
    with field.user() as alice:
        address = alice.relayed()
        assert alice.permit("6.6.6.6") == 0
        with field.peer.connect(*address, timeout=20) as peer:
            number = alice.attempt()
            for guess in (number, *(os.urandom(4) for _ in range(20))):
                with field.user("mallory") as mallory:
                    assert mallory.bind(guess) == BAD_REQUEST
            with field.user() as data:
                assert data.bind(number) == 0
                peer.sendall(b"from the peer")
                data.socket.settimeout(20)
                assert data.socket.recv(100) == b"from the peer"
            with field.user() as again:
                assert again.bind(number) == BAD_REQUEST


def test_anothers_allocation_obeys_its_user_alone(field):
    """Attack: on alice's connection, a request with mallory's own, good credentials. Expected: 441."""
    with field.user() as alice:
        alice.relayed()
        mine = alice.username, alice._password
        alice.username, alice._password = field.place.credentials("mallory")
        assert alice.permit("7.7.7.7") == WRONG
        assert alice.ask("REFRESH", stun.put("LIFETIME", bytes(4))) == WRONG
        alice.username, alice._password = mine
        assert alice.ask("REFRESH", stun.put("LIFETIME", bytes(4))) == 0


def test_what_was_recorded_is_no_use_from_elsewhere(field):
    """Attack: somebody on the path repeats an Allocate, credentials and all, from his own address. Expected: 438."""
    with field.user() as alice:
        alice.relayed()
        with field.user("alice", ns=field.stranger) as thief:
            thief._realm, thief._nonce = alice._realm, alice._nonce
            assert thief._ask("ALLOCATE", stun.put("REQUESTED-TRANSPORT", bytes([6, 0, 0, 0]))).error_code == STALE


def test_a_revoked_users_allocation_ends_whatever_he_sends(field):
    """Attack: eve asks for Refresh without a pause while the operator revokes her. Expected: her allocation ends at
    once, and her credentials, good for the rest of their hour, make no other."""
    with field.user("eve") as eve:
        eve.relayed()
        over = threading.Event()

        def refresh():
            with contextlib.suppress(OSError, ConnectionError):
                while not over.is_set():
                    eve.ask("REFRESH")
                    time.sleep(0.022)  # within what one connection may ask
            over.set()

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        time.sleep(0.3)
        assert not over.is_set()
        field.server.revoke(user="eve")
        ended = over.wait(10)
        over.set()
        thread.join()
        assert ended, "the allocation of a revoked user lives on"
    with field.user("eve") as eve:
        assert eve.allocate() == FORBIDDEN


def test_half_open_connections_shut_nobody_out(field):
    """Attack: 600 connections that begin a message and never end it. Expected: relay and server serve meanwhile, and
    none outlives its time."""
    held = []
    try:
        for i in range(600):
            s = field.stranger.connect(SERVER, PORT, timeout=20)
            s.sendall(b"\0\3\0\10"[:1 + i % 4])
            held.append(s)
        with field.user() as alice:
            assert alice.allocate() == 0
        assert handshake(field.peer, "beckon.example") == "beckon-request/1"
        began = time.monotonic()
        for s in held:
            s.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b""
        assert time.monotonic() - began < 25
    finally:
        for s in held:
            s.close()


def test_nobody_is_answered_with_much_more_than_he_asked(field):
    """What the relay answers to who has no credentials: measured, over TCP, to no spoofed address."""
    with field.stranger.connect(SERVER, PORT, timeout=20) as s:
        request = stun.build("ALLOCATE", "request", b"", os.urandom(12), fingerprint=False)
        s.sendall(request)
        answer = s.recv(4096)
        assert len(request) == 20 and len(answer) <= 100 and stun.Message(answer).error_code == UNAUTHENTICATED
