"""TLS sessions that are resumed: a ticket is worth no more than the certificate it was given for is worth now, and what
programs keep is theirs alone.

    beckon (alice, bob, carol) ---- router-a ---- [wan] ---- router-b ---- agents
                                                    |
                                                  server"""

import os
import ssl
import stat
import time
import types

import pytest

from lab import SERVER, Beckon, stun, wait_until
from lab.caller import reissue

RESUMED = "tls.handshake.type == 2 && tls.handshake.extension.type == 41"  # a ServerHello that takes up a session
OK, FORBIDDEN, NOT_FOUND, REVOKED = None, 403, 404, 441


class Client:
    """Connections of one certificate under one protocol name, each offering the session of another."""

    def __init__(self, party, name, port, alpn):
        self.party = party
        self.port = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(party.state / "ca.crt")
        self.take_certificate(party, name)
        self.context.set_alpn_protocols([alpn])

    def take_certificate(self, party, name):
        self.context.load_cert_chain(party.state / f"{name}.crt", party.state / f"{name}.key")

    def ask(self, method, body=b"", session=None):
        """Code of the answer (None: success; "closed"), whether the session was taken up, and the new session."""
        try:
            raw = self.party.ns.connect(SERVER, self.port, timeout=10)
            with self.context.wrap_socket(raw, server_hostname=SERVER, session=session) as s:
                s.sendall(stun.build(method, "request", body, os.urandom(12), fingerprint=False))
                left = b""
                while True:
                    found, left = stun.messages(left)
                    if found:
                        answer = found[0]
                        code = None if answer.kind == "success" else answer.error_code
                        return code, s.session_reused, s.session
                    piece = s.recv(65536)
                    if not piece:
                        return "closed", s.session_reused, s.session
                    left += piece
        except (ssl.SSLError, ConnectionError):
            return "closed", False, None


@pytest.fixture(scope="module")
def world(net, bindir):
    beckon = Beckon(net, bindir)
    beckon.start_server()
    device = beckon.enrol_device(2133, services={})
    device.configure(keepalive=5)
    device.start()
    users = {name: beckon.enrol_user(name, devices=[2133], pins=[device]) for name in ("alice", "bob", "carol", "dave")}
    return types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, device=device, **users)


def lookup(client, session=None, device=2133):
    return client.ask("LOOKUP", stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")), session)


def caller(party):
    return Client(party, "user", 1201, "beckon-request/1")


def first(client, ask=lookup):
    """A session from a full handshake, which a second connection takes up."""
    code, reused, session = ask(client)
    assert code is OK and not reused and session.has_ticket
    code, reused, session = ask(client, session)
    assert code is OK and reused and session.has_ticket
    return session


def same_as_full(client, session, code, ask=lookup):
    """What the server says to somebody whose session it takes up, or not, is what it says to him otherwise."""
    assert ask(client)[0] == code
    assert ask(client, session)[0] == code


# -- what is checked again ------------------------------------------------------------------------


def test_whose_grant_is_taken_back(world):
    client = caller(world.bob)
    session = first(client)
    world.server.ungrant("bob", 2133)
    same_as_full(client, session, NOT_FOUND)
    world.server.grant("bob", 2133)
    assert lookup(client, session)[:2] == (OK, True)


def test_who_has_been_revoked(world):
    client = caller(world.bob)
    session = first(client)
    world.server.revoke(user="bob")
    code, reused, _ = lookup(client, session)
    assert code not in (OK, "closed") and reused  # taken up, and told what a full handshake is told
    same_as_full(client, session, code)


def test_a_device_that_has_been_revoked(world):
    device = world.beckon.enrol_device(2150, services={}, port=2150)
    client = Client(device, "device", 1300, "beckon-watch/1")
    world.server.grant("alice", 2150)

    def watch(client, session=None):
        return client.ask("WATCH", stun.put("USER-NAME", b"alice"), session)

    session = first(client, watch)
    world.server.revoke(device=2150)
    code, reused, _ = watch(client, session)
    assert code not in (OK, "closed") and reused
    same_as_full(client, session, code, watch)


def test_who_was_replaced_under_the_same_name(world):
    client = caller(world.carol)
    session = first(client)
    world.carol.state.rename(world.carol.state.with_name("carol-before"))
    again = world.beckon.enrol_user("carol")
    code, reused, _ = lookup(client, session)
    assert code not in (OK, "closed") and reused
    same_as_full(client, session, code)
    assert lookup(caller(again))[0] is OK


def test_whose_certificate_has_expired_since(world):
    reissue(world.server.state, world.dave.state / "user.crt", -1, 10 / 3600)
    until = time.monotonic() + 11
    client = caller(world.dave)
    session = first(client)
    time.sleep(max(0, until - time.monotonic()))  # that of a clock, which no event tells
    same_as_full(client, session, "closed")


def test_a_ticket_is_its_own_peers(world):
    """Whoever offers it is who it was given to, whatever other certificate he has: a session is proven by its secret."""
    client = caller(world.alice)
    session = first(client)
    client.take_certificate(world.dave, "user")  # which has expired by now
    assert lookup(client, session)[:2] == (OK, True)
    assert lookup(client)[0] == "closed"


def test_a_ticket_is_for_its_protocol(world):
    client = caller(world.alice)
    session = first(client)
    client.context.set_alpn_protocols(["beckon-renew/1"])
    assert client.ask("RENEW", b"", session)[0] == "closed"
    assert not client.ask("RENEW")[1]
    client.context.set_alpn_protocols(["beckon-request/1"])
    assert lookup(client, session)[:2] == (OK, True)


def test_who_renews_proves_the_key(world):
    client = Client(world.alice, "user", 1201, "beckon-renew/1")
    _, reused, session = client.ask("RENEW")
    assert not reused and (session is None or not session.has_ticket)


def test_a_server_started_anew_knows_no_ticket(world):
    client = caller(world.alice)
    session = first(client)
    world.server.stop()
    world.server.start()
    code, reused, session = lookup(client, session)
    assert code is OK and not reused
    assert lookup(client, session)[:2] == (OK, True)


# -- the programs ---------------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_second_call_resumes(world):
    wait_until(lambda: any(d["id"] == 2133 and d["address"] for d in world.server.devices()), 60, "the device is there")
    with world.net.capture(world.net.server, "eth0", "tcp port 1201") as capture:
        for _ in range(2):
            done = world.alice.run("ping", 2133, "-c", "1", check=False)
            assert done.status == 0, done.err
        capture.wait_for(RESUMED + " && tcp.srcport == 1201")
    assert mode(world.alice.state / "sessions") == 0o600


def test_a_bad_file_costs_a_round_trip_and_no_more(world):
    path = world.alice.state / "sessions"
    for content, rights in ((b"\0" * 50000, 0o600), (os.urandom(5000), 0o600), (b"", 0o666), (b"x" * 10, 0o644)):
        path.write_bytes(content)
        path.chmod(rights)
        done = world.alice.run("ping", 2133, "-c", "1", check=False)
        assert done.status == 0 and not done.err, done.err
        assert mode(path) == 0o600
    path.unlink()
    path.mkdir()
    assert world.alice.run("ping", 2133, "-c", "1", check=False).status == 0
    path.rmdir()


def test_the_first_bytes_travel_with_the_syn(world):
    """Where the server's system is set to it (net.ipv4.tcp_fastopen); the first connection fetches the cookie."""
    world.net.server.run(["sysctl", "-qw", "net.ipv4.tcp_fastopen=3"])
    with world.net.capture(world.net.server, "eth0", "tcp dst port 1201") as capture:
        for _ in range(3):
            done = world.alice.run("ping", 2133, "-c", "1", check=False)
            assert done.status == 0, done.err
        capture.wait_for("tcp.flags.syn == 1 && tcp.len > 0")
