"""Who is let in to what on a device, and where a caller may have it dial: [access NAME] and [callback] of agent.conf,
limits on dialling, box keys that are replaced under calls, and the user and system calls that the agent is left with.

    beckon ---- router-a ---- [wan] ---- router-b ---- agent 2133 (web, echo)
                                |
                              server"""

import configparser
import copy
import datetime
import ipaddress
import os
import pwd
import shutil
import signal
import struct
import time
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, SERVER, stun, wait_until
from lab.caller import ACCEPTED, NO_SERVICE, REFUSED, Caller, Request
from lab.peers import Service, echo
from lab.services import PAGE

USAGE, REFUSED_STATUS, NO_SERVICE_STATUS = 2, 5, 14
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
GET = "GET / HTTP/1.0\r\n\r\n"
NOBODY = "4.17.168.77"  # on router-a's side of the wan; no such machine
ELSEWHERE = "130.74.23.77"
CALLS = 28  # a device has 32 at a time
KEPT_S = 600  # how long a replaced box key is good for


@pytest.fixture(scope="module")
def field(world):
    """The world, and an echo service on the device."""
    world.net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    world.net.router_a.load()
    service = Service(echo, world.net.device, 7777)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777"})
    world.device.start()
    yield types.SimpleNamespace(net=world.net, beckon=world.beckon, server=world.server, device=world.device,
                                alice=world.alice)
    service.close()


@pytest.fixture(autouse=True)
def as_it_was(field):
    """The device's configuration, read anew for every call."""
    kept = (field.device.state / "agent.conf").read_bytes()
    yield
    (field.device.state / "agent.conf").write_bytes(kept)
    for path in field.device.state.glob("password.*"):
        path.unlink()


def section(device, name, **settings):
    path = device.state / "agent.conf"
    config = configparser.ConfigParser(interpolation=None)
    config.read(path)
    config[name] = settings
    with open(path, "w", encoding="utf-8") as f:
        config.write(f)


def in_seconds(seconds):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def connect(field, service, password):
    return field.alice.run("connect", *MAPPED, 2133, service, input=GET, password=password, check=False)


def audited(field, since, pattern, timeout=30):
    return field.device.process.wait_line(r"audit call " + pattern, timeout, since)


def verdict(field, password, service="web"):
    with Caller(field.alice, SERVER, 2133) as caller:
        return caller.call(Request(caller, 2133, service=service).password(password))


# -- accesses -------------------------------------------------------------------------------------


def test_a_password_is_for_an_access_that_there_is(field):
    done = field.device.run("passwd", "--access", "lodger", input="room", check=False)
    assert done.status == USAGE and "has no [access lodger]" in done.err and len(done.err.splitlines()) == 1
    assert not (field.device.state / "password.lodger").exists()


def test_several_passwords_each_with_its_services(field):
    section(field.device, "access lodger", services="web", expires="2099-12-31")
    section(field.device, "access cat", services="echo, ssh")
    section(field.device, "access owner", services="web")
    for name in ("lodger", "cat"):
        field.device.run("passwd", "--access", name, input=f"{name}'s own")
    assert (field.device.state / "password.cat").stat().st_mode & 0o7777 == 0o600
    for password, by, service, status in [("lodger's own", "password:lodger", "web", 0),
                                          ("lodger's own", "password:lodger", "echo", NO_SERVICE_STATUS),
                                          ("cat's own", "password:cat", "web", NO_SERVICE_STATUS),
                                          ("cat's own", "password:cat", "echo", 0),
                                          (field.alice.password, "password:owner", "web", 0),
                                          (field.alice.password, "password:owner", "ssh", NO_SERVICE_STATUS),
                                          ("nobody's", "-", "web", REFUSED_STATUS)]:
        since = field.device.process.position()
        done = connect(field, service, password)
        assert done.status == status, (by, service, done.err)
        assert status != 0 or (done.out.endswith(PAGE) if service == "web" else done.out.startswith("GET /"))
        what = {0: rf"service={service} result=served path=\w+", NO_SERVICE_STATUS: r"service=\S+ result=no-service",
                REFUSED_STATUS: "service=- result=refused"}[status]
        audited(field, since, f"user=alice by={by} {what}$")


def test_a_service_outside_the_access_is_refused_per_stream(field):
    """The call was for one service, the stream is for another."""
    section(field.device, "access lodger", services="web")
    field.device.run("passwd", "--access", "lodger", input="room")
    process = field.alice.start("forward", *MAPPED, 2133, "8080:web", "8081:echo", password="room", log=None)
    try:
        wait_until(lambda: field.net.requester.listening(8081), 15, "forward listens")
        since = field.device.process.position()
        with pytest.raises(ConnectionResetError):
            with field.net.requester.connect("127.0.0.1", 8081, timeout=10) as s:
                s.recv(1)
        field.device.process.wait_line(r"alice \(password:lodger\) asked for service echo, which is not open", 20, since)
        page = field.net.requester.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:8080/"]).out
        assert page == PAGE  # on the same session
    finally:
        process.stop(signal.SIGINT)


def test_a_call_ends_when_its_access_expires(field):
    section(field.device, "access lodger", services="echo", expires=in_seconds(15))  # the call is up by then
    field.device.run("passwd", "--access", "lodger", input="room")
    since = field.device.process.position()
    process = field.alice.start("forward", *MAPPED, 2133, "8080:echo", password="room", log=None)
    try:
        wait_until(lambda: field.net.requester.listening(8080), 15, "forward listens")
        with field.net.requester.connect("127.0.0.1", 8080, timeout=30) as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"  # it stood, and then:
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
        audited(field, since, "user=alice by=password:lodger service=echo result=expired path=mapped$")
    finally:
        process.kill()
    assert verdict(field, "room", "echo") == REFUSED
    assert verdict(field, field.alice.password, "echo") == ACCEPTED


def test_a_wrong_line_of_agent_conf_is_named(field):
    """Whoever may call cannot while nobody knows what was meant."""
    section(field.device, "access lodger", services="wbe")
    since = field.device.process.position()
    done = connect(field, "web", field.alice.password)
    assert done.status != 0
    field.device.process.wait_line(r'agent\.conf:\d+: "services" in \[access lodger\]: names a service', 10, since)


# -- where callers may have it dial ---------------------------------------------------------------


class ManyCandidates(Request):
    """A request that names several addresses."""

    candidates = ()

    def text(self):
        many = b"".join(stun.put("CANDIDATE", struct.pack("!BBH", 2, 1, port) + ipaddress.ip_address(ip).packed)
                        for ip, port in self.candidates)
        return b"".join(many if name == "CANDIDATE" else stun.put(name, value) for name, value in self.parts.items())


def syns(capture):
    """Where the device sent SYNs to, the server aside."""
    rows = capture.fields(["ip.dst", "tcp.dstport"],
                          f"tcp.flags.syn == 1 && tcp.flags.ack == 0 && ip.src == {DEVICE} && ip.dst != {SERVER}")
    return {(row["ip.dst"], int(row["tcp.dstport"])) for row in rows}


def dialled(field, *candidates):
    """What the device dials of `candidates`, and the time from ACCEPTED to the verdict that there is no path: not less than
    the one, not more than the other of two, for the caller and the log are each read a moment late."""
    capture = field.net.capture(field.net.device, "eth0", "tcp")
    since = field.device.process.position()
    with Caller(field.alice, SERVER, 2133) as caller:
        request = ManyCandidates(caller, 2133).password(field.alice.password)
        request.candidates = candidates
        asked = time.monotonic()
        assert caller.call(request) == ACCEPTED
        accepted = time.monotonic()
        audited(field, since, "user=alice by=password:owner service=web result=no-answer$")
        ended = time.monotonic()
    capture.stop()
    return syns(capture), (ended - accepted, ended - asked)


@pytest.mark.parametrize("settings, expected", [
    ({}, {NOBODY, ELSEWHERE}),
    ({"deny": "4.17.168.64/26"}, {ELSEWHERE}),
    ({"allow": "4.17.168.0/24"}, {NOBODY}),
    ({"allow": "4.17.168.0/24, 130.74.23.0/24", "deny": "130.74.0.0/16"}, {NOBODY}),
    ({"deny": "0.0.0.0/0"}, set()),
])
def test_callback_lists(field, settings, expected):
    if settings:
        section(field.device, "callback", **settings)
    got, (least, most) = dialled(field, (NOBODY, 5999), (ELSEWHERE, 5999))
    assert {ip for ip, _ in got} == expected
    assert least < 14 and most > 8  # whatever the cause


def test_dials_are_limited_by_target_over_all_calls(field):
    """Calls of a caller who is let in, eight ports each, all of one machine; more than a slow machine's rate would allow."""
    capture = field.net.capture(field.net.device, "eth0", f"tcp and dst host {NOBODY}")
    since = field.device.process.position()
    began = time.monotonic()
    with Caller(field.alice, SERVER, 2133) as one, Caller(field.alice, SERVER, 2133) as other:  # a connection has 16 at a time
        for i in range(CALLS):
            caller = (one, other)[i % 2]
            request = ManyCandidates(caller, 2133).password(field.alice.password)
            request.candidates = [(NOBODY, 6000 + 8 * i + k) for k in range(8)]
            assert caller.call(request) == ACCEPTED  # and nothing else is learned
        took = time.monotonic() - began
        field.device.process.wait_line("addresses are not dialled: too many dials of late", 20, since)
        done = connect(field, "web", field.alice.password)  # another target: the device still calls back
        assert done.status == 0, done.err
        wait_until(lambda: sum("result=no-answer" in said for said in field.device.process.lines[since:]) >= CALLS, 40,
                   "all calls are over")
    capture.stop()
    ports = syns(capture)
    assert 64 <= len(ports) <= 64 + 8 * (took + 1)
    assert len(ports) < 8 * CALLS
    wait_until(lambda: "beckon-agent-call" not in field.net.device.programs().values(), 30, "no call is left")


# -- box keys -------------------------------------------------------------------------------------


def renew(field):
    argv = [field.beckon.bin / "beckon-agent-call", "renew", "--state", field.device.state]
    return field.net.device.run(argv, env=field.device.env())


def box_flags(field):
    """1: a next key, 2: a previous one."""
    return (field.device.state / "box.key").read_bytes()[1]


def test_box_keys_are_replaced_under_calls(field):
    process = field.alice.forward(2133, "8080:echo", options=MAPPED)
    try:
        with field.net.requester.connect("127.0.0.1", 8080, timeout=20) as s, \
                Caller(field.alice, SERVER, 2133) as before:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
            old_secret = (field.device.state / "box.key").read_bytes()[34:66]
            renew(field)
            assert box_flags(field) == 2
            with Caller(field.alice, SERVER, 2133) as after:
                assert after.box_key != before.box_key and after.pin == before.pin
                assert after.call(Request(after, 2133).password(field.alice.password)) == ACCEPTED
            # Sealed to the key of before, under way for a while:
            assert before.call(Request(before, 2133).password(field.alice.password)) == ACCEPTED
            assert old_secret in (field.device.state / "box.key").read_bytes()

            # Ten minutes later, by the file; the next call is the next opportunity.
            path = field.device.state / "box.key"
            content = path.read_bytes()
            replaced, = struct.unpack("!Q", content[-8:])
            assert abs(replaced - time.time()) < 60
            path.write_bytes(content[:-8] + struct.pack("!Q", replaced - KEPT_S))
            since = field.device.process.position()
            assert before.ask(Request(before, 2133).password(field.alice.password).message()).kind == "success"
            audited(field, since, "user=alice by=- service=- result=bad-request$")
            assert box_flags(field) == 0 and old_secret not in path.read_bytes()
            s.sendall(b"y")
            assert s.recv(1) == b"y"
    finally:
        process.stop(signal.SIGINT)
    assert verdict(field, field.alice.password) == ACCEPTED


def test_an_old_box_key_is_destroyed_at_the_start(field):
    renew(field)
    assert box_flags(field) == 2
    path = field.device.state / "box.key"
    content = path.read_bytes()
    path.write_bytes(content[:-8] + struct.pack("!Q", int(time.time()) - KEPT_S))
    field.device.stop()
    field.device.start()
    assert box_flags(field) == 0
    assert verdict(field, field.alice.password) == ACCEPTED


def test_a_crash_before_the_answer_is_written_leaves_a_device_that_works(field):
    """The server has the new key, and the device only as its next one."""
    path = field.device.state / "box.key"
    renew(field)
    content = path.read_bytes()
    current, previous, none = content[2:66], content[130:194], bytes(64)
    path.write_bytes(bytes([2, 1]) + previous + current + none + bytes(8))
    assert verdict(field, field.alice.password) == ACCEPTED
    renew(field)  # the same key once more, and now to its end
    after = path.read_bytes()
    assert after[1] == 2 and after[2:66] == current and after[130:194] == previous
    assert verdict(field, field.alice.password) == ACCEPTED


# -- what the agent is left with ------------------------------------------------------------------


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_the_agent_is_no_longer_root(field):
    """Port 900 is root's to give; calls, renewals and all the rest are done by the user of the configuration."""
    user = pwd.getpwnam("nobody")
    device = field.beckon.enrol_device(2150, ns=field.net.server, port=900)
    section(device, "service echo", target="tcp:127.0.0.1:7778")
    device.configure(user=user.pw_name)
    field.server.grant("alice", 2150)
    field.alice.pin(device.uri())
    for path in (device.state, *device.state.iterdir()):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    field.beckon.workdir.chmod(0o711)
    device.lab = copy.copy(field.beckon)  # with programs where everybody may start them
    device.lab.bin = field.beckon.workdir / "programs"
    device.lab.bin.mkdir()
    for program in ("beckon-agent", "beckon-agent-call"):
        shutil.copy2(field.beckon.bin / program, device.lab.bin)
    service = Service(echo, field.net.server, 7778)
    device.start()
    process = field.alice.forward(2150, "8090:echo", options=MAPPED)
    try:
        with field.net.requester.connect("127.0.0.1", 8090, timeout=20) as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
            calls = [pid for pid, name in field.net.server.programs().items() if name == "beckon-agent-call"]
            assert len(calls) == 1
            for pid in (device.process.pid, *calls):
                status = status_of(pid)
                assert status["Uid"].split() == [str(user.pw_uid)] * 4
                assert status["Gid"].split() == [str(user.pw_gid)] * 4
                assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
                assert int(status["CapEff"], 16) == 0
        assert os.stat(device.state / "clock").st_uid == user.pw_uid
    finally:
        process.stop(signal.SIGINT)
        device.stop()
        service.close()


def test_a_user_that_there_is_not(field):
    field.device.stop()
    field.device.configure(user="no-such-user")
    done = field.device.run("run", check=False)
    assert done.status == 1 and "no-such-user" in done.err and len(done.err.splitlines()) == 1
    field.device.configure(user="root")
    field.device.start()
