"""What an operator meets in a year: a server restored from a backup, files cut short by a power cut, directories of
another user's. Whatever can mend itself does; the rest is said in one line, and what the line advises helps."""

import re
import shutil
import signal
import sqlite3
import time
import types

import pytest

from lab import Beckon, Namespace, wait_until
from lab.hostile_watch import opened
from test_errors import BAD_CONFIG, FAILED, REFUSED, failed
from test_errors_local import run, without_override

NEVER_BY_ITSELF_S = 3
OPENS_MEANWHILE_S = 8  # within that after a request that did not open, one does


@pytest.fixture(scope="module")
def world(bindir, tmp_path_factory):
    """A server that runs, a device that does not yet, and a user, on one machine. The device is quick to renew."""
    with Namespace("machine") as ns:
        net = types.SimpleNamespace(server=ns, device=ns, requester=ns, workdir=tmp_path_factory.mktemp("machine"))
        beckon = Beckon(net, bindir)
        beckon.start_server("127.0.0.1")
        device = beckon.enrol_device(2133)
        device.configure(renew_within=1)
        user = beckon.enrol_user("alice", devices=[2133], pins=[device])
        yield types.SimpleNamespace(ns=ns, beckon=beckon, server=beckon.server, device=device, user=user,
                                    programs={"beckon": user, "beckon-agent": device, "beckond": beckon.server, "beckon-agent-call": device})


@pytest.fixture
def device(world):
    """The device, which ends with the test and has its files as before."""
    kept = world.beckon.workdir / "kept"
    shutil.copytree(world.device.state, kept)
    yield world.device
    if world.device.process and world.device.process.running():
        assert world.device.stop() == 0
    shutil.rmtree(world.device.state)
    kept.rename(world.device.state)
    conf = (world.device.state / "agent.conf").read_bytes()
    (world.device.state / "agent.conf").unlink()
    world.device.join(world.server.token(device=2133))  # with the same key
    (world.device.state / "agent.conf").write_bytes(conf)


def wrong_password(world, **kw):
    """A call that the device refuses once it has opened the request: no path between the two is needed for that."""
    return world.user.run("ping", "--listen", "127.0.0.1:5000", "--advertise", "127.0.0.1:5000", "2133", password="wrong",
                          check=False, **kw)


def backup(server, to):
    """As the manual says, of a server that runs."""
    shutil.copytree(server.state, to, ignore=shutil.ignore_patterns("beckond.db*", "beckond.sock"))
    with sqlite3.connect(server.state / "beckond.db") as db, sqlite3.connect(to / "beckond.db") as copy:
        db.backup(copy)


def restore(server, copy):
    assert server.stop() == 0
    shutil.rmtree(server.state)
    shutil.copytree(copy, server.state)
    server.start()


# -- a server restored from a backup ---------------------------------------------------------------


def test_devices_that_renewed_since_the_backup_are_called_again(world, device, tmp_path):
    """The store knows a box key that the device has destroyed: the first call fails, and has it renewed."""
    backup(world.server, tmp_path / "backup")
    for _ in range(2):  # of the replaced ones the last is still good, for ten minutes
        assert run(world, "beckon-agent-call", "renew", "--state", device.state).status == 0
    restore(world.server, tmp_path / "backup")
    agent = device.start()
    failing = world.user.start("ping", "--listen", "127.0.0.1:5000", "--advertise", "127.0.0.1:5000", "2133")
    agent.wait_line("result=bad-request")
    agent.wait_line("renewed", 4)
    failing.stop()
    failed(wrong_password(world), REFUSED, "password")


def test_a_request_that_opens_brings_no_renewal(world, device):
    agent = device.start()
    failed(wrong_password(world), REFUSED, "password")
    time.sleep(NEVER_BY_ITSELF_S)
    assert "renewed" not in agent.output()


def test_a_request_that_opens_after_one_that_did_not_takes_the_renewal_back(world, device):
    """The one was no caller's, or of another time."""
    earlier = (device.state / "box.key").read_bytes()
    for _ in range(2):
        assert run(world, "beckon-agent-call", "renew", "--state", device.state).status == 0
    newest = (device.state / "box.key").read_bytes()
    device.configure(renew_within=OPENS_MEANWHILE_S)
    agent = device.start()
    (device.state / "box.key").write_bytes(earlier)
    failing = world.user.start("ping", "--listen", "127.0.0.1:5000", "--advertise", "127.0.0.1:5000", "2133")
    agent.wait_line("result=bad-request")
    began = time.monotonic()
    failing.stop()
    (device.state / "box.key").write_bytes(newest)
    failed(wrong_password(world), REFUSED, "password")
    assert time.monotonic() - began < OPENS_MEANWHILE_S, "a renewal may be due before the request that opens"
    time.sleep(began + 2 * OPENS_MEANWHILE_S + 1 - time.monotonic())
    assert "renewed" not in agent.output()


def test_a_backup_brings_back_whom_it_knows(world, tmp_path):
    """The manual says so, and what to do: a user revoked since is one again."""
    bob = world.beckon.enrol_user("bob")
    backup(world.server, tmp_path / "backup")
    world.server.revoke(user="bob")
    assert bob.run("ping", "2133", check=False).status == 13
    restore(world.server, tmp_path / "backup")
    assert bob.run("ping", "2133", check=False).status == 3


# -- a command that is stopped and goes on, as by ^Z and fg ----------------------------------------------------------


STOPPED, WAITS = "T", "S"


def has_asked(command):
    return any(end.startswith("socket:") for end in opened(command.pid)) and command.state() == WAITS


def test_a_command_that_waits_for_the_server_goes_on_waiting(world):
    server, number = world.server.process, world.device.id
    server.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: server.state() == STOPPED, 10, "the server does nothing")
        command = world.ns.start(world.server._argv("beckond", ("devices",)), env=world.server.env())
        wait_until(lambda: has_asked(command), 10, "it has asked")
        for _ in range(3):
            command.send_signal(signal.SIGSTOP)
            wait_until(lambda: command.state() == STOPPED, 10, "it was stopped")
            command.send_signal(signal.SIGCONT)
            wait_until(lambda: command.state() == WAITS, 10, "it goes on")
    finally:
        server.send_signal(signal.SIGCONT)
    assert command.wait() == 0 and str(number) in command.output(), command.output()


# -- files cut short -------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "half", "gone"])
@pytest.mark.parametrize("name", ["box.key", "registration.key"])
def test_a_damaged_key_is_fetched_anew(world, device, name, damage):
    path = device.state / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2] if damage == "half" else b"")
    agent = device.start(ready=False)
    agent.wait_line(rf"{name} is (damaged|not there); ")
    agent.wait_line("renewed", 4)
    agent.wait_line(r"\bready\b", 4)
    failed(wrong_password(world), REFUSED, "password")


@pytest.mark.parametrize("name", ["device.key", "device.crt", "ca.crt"])
def test_a_damaged_identity_is_told_at_the_start_and_joins_anew(world, device, name):
    """Not "ready" first, and then no call comes through."""
    before = device.uri()
    path = device.state / name
    path.write_bytes(path.read_bytes()[:-20])
    failed(run(world, "beckon-agent", "run", "--state", device.state), BAD_CONFIG, path, "move agent.conf away and join")
    (device.state / "agent.conf").rename(device.state / "agent.conf.before")
    token = world.server.token(device=2133)
    if name == "device.key":
        failed(run(world, "beckon-agent", "join", "--state", device.state, token), FAILED, path, "remove it and join")
        path.unlink()
    assert device.join(token).status == 0
    assert (device.uri() == before) == (name != "device.key")
    device.configure(port=2000)
    device.start()


@pytest.mark.parametrize("name", ["user.crt", "user.key"])
def test_a_user_joins_anew_and_keeps_the_pins(world, tmp_path, name):
    state = tmp_path / "state"
    shutil.copytree(world.user.state, state)
    path = state / name
    path.write_bytes(b"")
    line = failed(run(world, "beckon", "ping", "--state", state, "2133"), BAD_CONFIG, path)
    told = re.search(r"; remove it and (\S+), and join again with a new token", line)
    path.unlink()
    (state / "beckon.conf").unlink()
    assert told.group(1) == str(state / "beckon.conf")
    assert run(world, "beckon", "join", "--state", state, world.server.token(user="carl")).status == 0
    assert (state / "known_devices").read_bytes() == (world.user.state / "known_devices").read_bytes()


def test_what_is_joined_says_how_to_join_anew(world, device):
    token = world.server.token(device=2133)
    failed(run(world, "beckon-agent", "join", "--state", device.state, token), FAILED, "move agent.conf away")


# -- owners, modes, space --------------------------------------------------------------------------


def test_files_of_another_user(world, device):
    for name in ("device.key", "box.key", "registration.key", "agent.conf"):
        path = device.state / name
        mode = path.stat().st_mode
        world.ns.run(["chown", "nobody:", path])
        path.chmod(0o600)
        failed(without_override(world, "beckon-agent", "run", "--state", device.state), FAILED, path, "check its owner and mode")
        world.ns.run(["chown", "root:", path])
        path.chmod(mode)
    state = world.server.state
    state.chmod(0)
    try:
        line = failed(without_override(world, "beckond", "devices", "--state", state), FAILED, "Permission denied", "writable")
        assert "init" not in line
    finally:
        state.chmod(0o700)


@pytest.mark.parametrize("program, words", [("beckon", ["key"]), ("beckon-agent", ["uri"])])
def test_what_cannot_be_printed_is_not_done(world, program, words):
    argv = [world.beckon.bin / program, *words, "--state", world.programs[program].state]
    done = world.ns.run(["sh", "-c", 'exec "$@" >/dev/full', "sh", *argv], env=world.user.env(), check=False)
    failed(done, FAILED, "standard output cannot be written")
