"""beckond's relay to a client that knows nothing of Beckon: coturn's turnutils_uclient, where it speaks RFC 6062.

  -T                 active: Allocate, CreatePermission, Connect to another client's relayed address, which hears
                     ConnectionAttempt; both ConnectionBind. Needs relay_connect = yes.
  -P -L ADDRESS      passive: a plain TCP connection of its own, from ADDRESS, comes to the relayed address.
  -t                 TCP to the relay, UDP beyond it (RFC 5766): refused, 442.

(-S, TLS to the relay, speaks no ALPN of ours. -y, -c are implied by -T.)"""

import base64
import hashlib
import hmac
import os
import re
import time

import pytest

from lab import SERVER, Beckon, ReferenceNetwork, stun, wait_until

HOST = "5.5.5.5"
PORTS = (1201, 1300)  # requests, agents


class Place:
    """A server, alice, who may use its relay, and a machine with a public address."""

    def __init__(self, net, bindir, **settings):
        self.net = net
        self.beckon = Beckon(net, bindir)
        self.beckon.start_server(**settings)
        self.beckon.enrol_user("alice")
        self.server = self.beckon.server
        self.host = net.public_host("client", HOST)
        self.secret = (self.server.state / "relay.secret").read_bytes()

    def credentials(self, name="alice", expires_in=600):
        user = f"{int(time.time()) + expires_in}:{name}"
        return user, base64.b64encode(hmac.new(self.secret, user.encode(), hashlib.sha1).digest()).decode()

    def uclient(self, *options, user=None, password=None, port=PORTS[0]):
        name, word = self.credentials()
        argv = ["timeout", 50, "turnutils_uclient", "-v", *options, "-u", user or name, "-w", password or word,
                "-p", port, SERVER]
        return self.host.run(argv, check=False)

    def audit(self, seen):
        """The relay's lines after the first `seen` of them, as dictionaries."""
        lines = re.findall(r"audit relay (.*)", self.server.process.output())
        return [dict(word.split("=", 1) for word in line.split()) for line in lines[seen:]]

    def carried(self, seen, count):
        """Those of the connections that were made, once there are so many: the server tells of each when it has ended."""
        def found():
            return [row for row in self.audit(seen) if row["connections"] == "1"]

        wait_until(lambda: len(found()) >= count, 20, f"{count} lines of the relay")
        return found()

    def told_all(self):
        """The number of the relay's lines, when nothing is left of what the client had there."""
        wait_until(lambda: not [s for s in self.net.server.sockets("state connected") if f"{HOST}:" in s], 20, "the client has gone")
        count = -1
        while count != (count := len(self.audit(0))):  # what is said last is read a moment later
            time.sleep(0.3)
        return count


def _place(bindir, **settings):
    with ReferenceNetwork(fixed=False) as net:
        yield Place(net, bindir, **settings)


@pytest.fixture(scope="module")
def place(bindir):
    yield from _place(bindir, relay_connect="yes")


@pytest.fixture(scope="module")
def usual(bindir):
    """As it is installed."""
    yield from _place(bindir)


@pytest.mark.parametrize("port", PORTS)
def test_coturns_client_connects_through_the_relay(place, port):
    seen = place.told_all()
    got = place.uclient("-T", "-n", 5, port=port)
    assert got.status == 0, got
    assert "2 connections are completed" in got.out
    assert "tot_send_msgs=10, tot_recv_msgs=10" in got.out
    assert "Total lost packets 0 (" in got.out
    carried = place.carried(seen, 2)
    assert len(carried) == 2
    for row in carried:
        assert (row["user"], row["result"], row["in"], row["out"]) == ("alice", "ended", "500", "500")


def test_passive_works_as_installed_and_active_does_not(usual):
    seen = usual.told_all()
    got = usual.uclient("-P", "-L", HOST, "-n", 5)
    assert got.status == 0, got
    assert "TCP data network connected" in got.out
    assert [(row["in"], row["out"]) for row in usual.carried(seen, 1)] == [("500", "500")]
    got = usual.uclient("-T", "-n", 2)
    assert got.status != 0
    assert "error 403 (forbidden)" in got.out


@pytest.mark.parametrize("what, code", (("password", 401), ("expired", 401), ("stranger", 403), ("name", 401)))
def test_credentials_that_are_not_good(usual, what, code):
    user, password = {
        "password": lambda: (usual.credentials()[0], "wrong"),
        "expired": lambda: usual.credentials(expires_in=-1),
        "stranger": lambda: usual.credentials("mallory"),  # made with the secret, and enrolled nowhere
        "name": lambda: ("alice", usual.credentials()[1]),
    }[what]()
    seen = usual.told_all()
    got = usual.uclient("-P", "-L", HOST, "-n", 1, user=user, password=password)
    assert got.status != 0
    assert f"error {code}" in got.out or code == 401  # on 401 the tool tries again until its time is over
    assert "Received relay addr" not in got.out
    usual.told_all()
    assert usual.audit(seen) == []


def test_datagrams_are_not_relayed(usual):
    got = usual.uclient("-t", "-y", "-n", 1)
    assert got.status != 0
    assert "error 442" in got.out


@pytest.mark.parametrize("port", PORTS)
def test_binding_over_tcp(usual, port):
    with usual.host.connect(SERVER, port, timeout=5) as s:
        for _ in range(2):
            request = stun.build("BINDING", "request", b"", os.urandom(12), fingerprint=False)
            for byte in request:  # in the smallest pieces
                s.sendall(bytes([byte]))
            answer = stun.Message(s.recv(200))
            assert answer.method == "BINDING"
            assert answer.txid == request[8:20]
            assert answer.address("XOR-MAPPED-ADDRESS") == s.getsockname()
