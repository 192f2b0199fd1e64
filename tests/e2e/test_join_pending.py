"""Joining where the CA's key is kept elsewhere: the join waits for the operator, can be interrupted, and goes on."""

import contextlib
import os
import pwd
import signal
import sqlite3
import ssl
import types

import pytest

from lab import Beckon, REQUESTER, ROUTER_A, SERVER
from lab.beckon import Device, Server, User
from lab.caller import reissue
from lab.process import Timeout

PENDING, BAD_TOKEN = 18, 9
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")


@pytest.fixture(scope="module")
def office(net, bindir):
    """A server whose CA lies in another directory."""
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    beckon = Beckon(net, bindir)
    ca = beckon.workdir / "ca"
    beckon.server.run("init", "--host", SERVER, "--external-ca", ca)
    assert not (beckon.server.state / "ca.key").exists()
    beckon.server.start()
    return types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, ca=ca)


def sign(office):
    return office.server.run("sign", "--ca", office.ca).out


def joining(party, program, token):
    return party.ns.start(party._argv(program, ("join", token)), env=party.env())


def waits(process):
    process.wait_line("the operator has yet to sign")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_goes_on_later(office, number):
    name = f"user{number.value}"
    user = office.beckon._party(User, f"user-{name}", office.net.requester)
    token = office.server.token(user=name)
    process = joining(user, "beckon", token)
    waits(process)
    assert len(process.output().splitlines()) == 1
    key = (user.state / "user.key").read_bytes()
    process.send_signal(number)
    assert process.wait(10) == PENDING
    assert not (user.state / "beckon.conf").exists()
    again = joining(user, "beckon", token)
    waits(again)
    assert name in sign(office)
    assert again.wait(30) == 0, again.output()
    assert len(again.output().splitlines()) == 1
    assert (user.state / "user.key").read_bytes() == key
    assert sorted(os.listdir(user.state)) == ["beckon.conf", "ca.crt", "user.crt", "user.key"]


def test_a_device_and_a_user_who_waited_can_call(office):
    device = office.beckon._party(Device, "device-2133", office.net.device)
    alice = office.beckon._party(User, "user-alice", office.net.requester)
    both = [joining(device, "beckon-agent", office.server.token(device=2133)),
            joining(alice, "beckon", office.server.token(user="alice"))]
    for process in both:
        waits(process)
    said = sign(office)
    assert "2133" in said and "alice" in said
    for process in both:
        assert process.wait(30) == 0, process.output()
    device.set_password(alice.password)
    device.configure({}, port=2000)
    device.start()
    office.server.grant("alice", 2133)
    alice.pin(device.uri())
    done = alice.run("ping", *MAPPED, 2133, "-c", "1")
    assert done.status == 0, done.err

    # Her certificate grows old: calls go on while the next one waits to be signed, and then it is taken.
    path = alice.state / "user.crt"
    old = reissue(office.ca, path, -48, 1)
    for file in (office.server.state / "requests").glob("user-alice.*"):
        file.unlink()
    with contextlib.closing(sqlite3.connect(office.server.state / "beckond.db")) as db, db:
        db.execute("UPDATE users SET certificate = ? WHERE name = 'alice'", (ssl.PEM_cert_to_DER_cert(old.decode()),))
    done = alice.run("ping", "-v", *MAPPED, 2133, "-c", "1")
    assert "the operator has yet to sign our new certificate" in done.err
    assert path.read_bytes() == old
    assert "alice" in sign(office)
    done = alice.run("ping", "-v", *MAPPED, 2133, "-c", "1")
    assert "our certificate was renewed" in done.err
    assert path.read_bytes() != old


def test_a_token_that_expires_meanwhile_ends_the_wait(office):
    user = office.beckon._party(User, "user-late", office.net.requester)
    process = joining(user, "beckon", office.server.run("token", "create", "--user", "late", "--expires", "12s").out.strip())
    waits(process)
    assert process.wait(40) == BAD_TOKEN, process.output()
    assert len(process.output().splitlines()) == 2


def test_it_waits_through_a_restart_of_the_server(office):
    """Who signs is a person and takes hours."""
    user = office.beckon._party(User, "user-erin", office.net.requester)
    process = joining(user, "beckon", office.server.token(user="erin"))
    waits(process)
    office.server.stop()
    try:
        with pytest.raises(Timeout):
            process.wait(8)  # longer than from one try to the next
    finally:
        office.server.start()
    assert "erin" in sign(office)
    assert process.wait(30) == 0, process.output()
    assert len(process.output().splitlines()) == 1


def test_a_server_that_may_not_write_its_requests_does_not_start(office):
    """Else everybody who joins would hear that it has too much to do."""
    other = Server(office.beckon, "server-other", office.net.requester)
    other.run("init", "--host", REQUESTER, "--external-ca", office.ca)
    user = pwd.getpwnam("nobody")
    for path in (other.state, *other.state.iterdir()):
        if path.name != "requests":
            os.chown(path, user.pw_uid, user.pw_gid)
    office.beckon.workdir.chmod(0o711)
    with (other.state / "beckond.conf").open("a") as conf:
        conf.write("user = nobody\n")
    done = other.run("run", check=False)
    assert done.status == 1 and "chown -R" in done.err and len(done.err.splitlines()) == 1
