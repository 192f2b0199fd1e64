"""Callers with keys of their own: `beckon key`, authorized_users, the change to the password, and what each access opens.

    beckon ---- router-a ---- [wan] ---- router-b ---- agent 2133 (web, ssh)
                                |
                              server, agent 2134

Also the certificate of a user, which a call renews in passing, and a pin that is replaced on purpose."""

import configparser
import datetime
import fcntl
import hashlib
import os
import pty
import re
import select
import shutil
import subprocess
import termios
import types

import nacl.signing
import pytest
from cryptography import x509

from lab import REQUESTER, ROUTER_A, SERVER, stun, wait_until
from lab.caller import ACCEPTED, BACK_OFF, NO_SERVICE, REFUSED, Caller, Request, line, reissue
from lab.hostile_watch import children
from lab.services import PAGE

REFUSED_STATUS, SERVER_DOWN, KEY_CHANGED, REVOKED, NO_SERVICE_STATUS = 5, 8, 11, 13, 14
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
GET = "GET / HTTP/1.0\r\n\r\n"
LIMIT_S = 30


@pytest.fixture(scope="module")
def field(world):
    """The world, a second device, and alice's key line."""
    world.net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    world.net.router_a.load()
    other = world.beckon.enrol_device(2134, ns=world.net.server)
    other.start()
    world.server.grant("alice", 2134)
    world.alice.pin(other.uri())
    key = world.alice.run("key").out
    assert re.fullmatch(r"[A-Za-z0-9_-]{43} alice\n", key)
    return types.SimpleNamespace(net=world.net, beckon=world.beckon, server=world.server, device=world.device,
                                 alice=world.alice, other=other, key=key)


@pytest.fixture(autouse=True)
def nobody_known(field):
    """No device knows a key, nor any access but its own password, unless the test says so."""
    kept = {d: (d.state / "agent.conf").read_bytes() for d in (field.device, field.other)}
    yield
    for device, config in kept.items():
        (device.state / "authorized_users").unlink(missing_ok=True)
        (device.state / "agent.conf").write_bytes(config)


def authorize(device, *lines):
    path = device.state / "authorized_users"
    path.write_text("# who may call\n" + "".join(f"{text.rstrip()}\n" for text in lines))
    path.chmod(0o600)


def access(device, name, **settings):
    path = device.state / "agent.conf"
    config = configparser.ConfigParser(interpolation=None)
    config.read(path)
    config[f"access {name}"] = settings
    with open(path, "w", encoding="utf-8") as f:
        config.write(f)


def fetch(field, service="web", password="", device=2133, options=("-v",), **kw):
    """One page; password "" leaves the caller to his key."""
    return field.alice.run("connect", *options, *MAPPED, device, service, input=GET, password=password, check=False, **kw)


def ping(field, password="", device=2133):
    return field.alice.run("ping", "-v", *MAPPED, device, "-c", "1", password=password, check=False)


def audited(device, since, pattern):
    """The device's line about one call."""
    return device.process.wait_line(r"audit call .*" + pattern, LIMIT_S, since)


def served(field, done, by, service="web", since=0):
    assert done.status == 0, done.err
    if service == "web":
        assert done.out.endswith(PAGE)
    audited(field.device, since, rf"by={re.escape(by)} service={service} result=served")


# -- the key ---------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_kept_to_oneself(field):
    assert field.alice.run("key").out == field.key
    assert (field.alice.state / "caller.key").stat().st_mode & 0o7777 == 0o600


def test_login_by_key(field):
    authorize(field.device, field.key.replace("alice", "alice-laptop"))
    since = field.device.process.position()
    done = fetch(field)
    served(field, done, "key:alice-laptop", since=since)
    assert "password" not in done.err


def test_an_unknown_key_and_no_password(field):
    done = fetch(field, options=())
    assert done.status == REFUSED_STATUS
    assert len(done.err.splitlines()) == 1
    assert "does not know our key" in done.err and '"beckon key"' in done.err


def test_an_unknown_key_then_the_password_under_another_call_id(field):
    shutil.rmtree(field.alice.state / "devices", ignore_errors=True)
    capture = field.net.capture(field.net.requester, "eth0", "tcp port 1201 or tcp port 1600")
    terminal, inside = pty.openpty()
    wait_until(lambda: not children(field.device), LIMIT_S, "no call is up")
    since = field.device.process.position()
    process = subprocess.Popen(
        field.net.requester.argv(field.alice._argv("beckon", ("ping", "-v", *MAPPED, 2133, "-c", "1"))),
        env=field.alice.env(), stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(inside, termios.TIOCSCTTY, 0))
    os.close(inside)
    try:
        shown = b""
        while b"Password of device 2133: " not in shown:
            assert select.select([terminal], [], [], LIMIT_S)[0], shown
            shown += os.read(terminal, 4096)
        assert b"does not take our own key" in shown
        os.write(terminal, field.alice.password.encode() + b"\n")
        while select.select([terminal], [], [], LIMIT_S)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            shown += piece
        assert process.wait(LIMIT_S) == 0, shown
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(terminal)
    audited(field.device, since, r"by=- .*result=refused")
    audited(field.device, since, r"by=password:owner .*result=served")
    # Both requests were sealed anew, and the device dialled under the name of the second.
    capture.stop()
    calls = [m for m in requests_in(capture, field) if m.method == "CONNECT" and m.kind == "request"]
    assert len(calls) == 2
    assert len({m.get("CALL-ID") for m in calls}) == 2
    names = {r["tls.handshake.extensions_server_name"]
             for r in capture.fields(["tls.handshake.extensions_server_name"],
                                     "tls.handshake.type == 1 and tcp.dstport == 1600")}
    assert names == {call_name(calls[1].get("CALL-ID"))}


def requests_in(capture, field):
    """What went to the server in all its connections, opened."""
    sent = {}
    for record in capture.tls_records("tcp.port == 1201", field.beckon.keylog()):
        sent.setdefault((record.stream, record.src), b"")
        sent[record.stream, record.src] += record.data
    return [m for data in sent.values() for m in stun.messages(data)[0]]


def call_name(call_id):
    return hashlib.sha256(b"beckon call name 1" + call_id).digest()[:16].hex() + ".call.invalid"


def test_known_on_another_device_only(field):
    authorize(field.other, field.key)
    assert fetch(field).status == REFUSED_STATUS
    since = field.other.process.position()
    done = ping(field, device=2134)
    assert done.status == 0, done.err
    audited(field.other, since, r"by=key:alice ")


def test_a_password_that_is_given_comes_first(field):
    authorize(field.device, field.key)
    since = field.device.process.position()
    served(field, fetch(field, password=field.alice.password), "password:owner", since=since)
    done = fetch(field, password="wrong")
    assert done.status == REFUSED_STATUS and "refused the password" in done.err


def test_wrong_passwords_do_not_hold_up_a_key(field):
    authorize(field.device, field.key)
    while "too many wrong passwords" not in fetch(field, password="wrong").err:
        pass
    since = field.device.process.position()
    served(field, fetch(field), "key:alice", since=since)
    wait_until(lambda: fetch(field, password=field.alice.password).status == 0, 90, "the password is taken again")


def test_first_contact_is_confirmed_with_a_key_too(field):
    authorize(field.device, field.key)
    known = field.alice.state / "known_devices"
    kept = known.read_text()
    known.write_text("")
    try:
        done = fetch(field, options=())
        assert done.status == KEY_CHANGED and "is not pinned and shows key" in done.err
        assert fetch(field, options=("--accept-new",)).status == 0
        assert known.read_text() in kept
    finally:
        known.write_text(kept)


# -- what an access opens --------------------------------------------------------------------------


def test_services_of_an_access(field):
    access(field.device, "guest", services="web")
    authorize(field.device, field.key.rstrip() + " guest")
    since = field.device.process.position()
    served(field, fetch(field), "key:alice", since=since)
    done = fetch(field, service="ssh", options=())
    assert done.status == NO_SERVICE_STATUS, done.err
    assert len(done.err.splitlines()) == 1


def test_services_of_an_access_hold_for_every_stream(field):
    access(field.device, "guest", services="web")
    authorize(field.device, field.key.rstrip() + " guest")
    process = field.alice.start("forward", *MAPPED, 2133, "8080:web", "2222:ssh", password="", log=None)
    try:
        wait_until(lambda: field.net.requester.listening(2222), 15, "forward listens")
        page = field.net.requester.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:8080/"]).out
        assert page == PAGE
        with pytest.raises(ConnectionResetError):  # while it is made, or a moment later
            with field.net.requester.connect("127.0.0.1", 2222, timeout=10) as s:
                s.recv(64)
        wait_until(lambda: 'offers no service "ssh"' in process.output(), 20, "forward says why")
        assert field.net.requester.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:8080/"]).out == PAGE
    finally:
        process.stop()


def test_an_access_with_a_password_of_its_own(field):
    access(field.device, "guest", services="web")
    field.device.run("passwd", "--access", "guest", input="a guest's password")
    since = field.device.process.position()
    served(field, fetch(field, password="a guest's password"), "password:guest", since=since)
    assert fetch(field, service="ssh", password="a guest's password").status == NO_SERVICE_STATUS
    served(field, fetch(field, password=field.alice.password), "password:owner", since=since)


def test_an_access_that_has_expired(field):
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    access(field.device, "guest", expires=yesterday.strftime("%Y-%m-%d"))
    authorize(field.device, field.key.rstrip() + " guest")
    assert fetch(field).status == REFUSED_STATUS
    access(field.device, "guest", expires=(yesterday + datetime.timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert fetch(field).status == 0


# -- signatures, by an encoder that is not ours ----------------------------------------------------


@pytest.fixture
def signer(field):
    """Another key, authorized on 2133 as "pat"."""
    key = nacl.signing.SigningKey.generate()
    authorize(field.device, line(key, "pat"))
    return key


def test_a_signature_made_elsewhere_is_taken(field, signer):
    since = field.device.process.position()
    with Caller(field.alice, SERVER, 2133) as caller:
        assert caller.call(Request(caller, 2133).sign(signer)) == ACCEPTED
    audited(field.device, since, r"user=alice by=key:pat service=\S+ result=no-answer")


@pytest.mark.parametrize("how", ["other device", "other context", "other text", "other key", "shortened"])
def test_a_signature_is_good_for_one_device_and_one_box(field, signer, how):
    stranger = nacl.signing.SigningKey.generate()
    with Caller(field.alice, SERVER, 2134) as elsewhere, Caller(field.alice, SERVER, 2133) as caller:
        request = Request(caller, 2133)
        if how == "other device":
            request.sign(signer, pin=elsewhere.pin)
        elif how == "other context":
            request.sign(signer, context=b"beckon box key v1\0")
        elif how == "other text":
            request.sign(signer)
            request.parts["SERVICE"] = b"ssh"
        elif how == "other key":  # in pat's name
            request.sign(stranger, as_key=signer)
        else:
            request.sign(signer)
            request.parts["SIGNATURE"] = request.parts["SIGNATURE"][:32] + bytes(32)
        since = field.device.process.position()
        answer = caller.ask(request.message())
        assert answer.kind == "success"
        audited(field.device, since, r"by=- .*result=refused")
        # The right one still gets in: forged tries in its name do not lock it out.
        assert caller.call(Request(caller, 2133).sign(signer)) == ACCEPTED


def test_a_replayed_request_is_dropped(field, signer):
    """The same box, and another box under the same call ID, by whoever carries them. In the fast form the device's idle part
    knows the call ID again, and nothing is to be seen of it; else its call part says so."""
    wait_until(lambda: not children(field.device), LIMIT_S, "no call is up")
    with Caller(field.alice, SERVER, 2133) as caller:
        request = Request(caller, 2133).sign(signer)
        since = field.device.process.position()
        assert caller.call(request) == ACCEPTED
        audited(field.device, since, r"result=no-answer")
        twin = Request(caller, 2133, service="ssh")
        twin.parts["CALL-ID"] = request.call_id
    wait_until(lambda: not children(field.device), LIMIT_S, "that call is over")
    since = field.device.process.position()
    for again in (request, twin.sign(signer)):
        with Caller(field.alice, SERVER, 2133) as second:
            answer = second.ask(again.message())
            assert answer.kind == "success", answer.error_code
    # Nothing is dialled for either, and the next one is like any other.
    with Caller(field.alice, SERVER, 2133) as caller:
        assert caller.call(Request(caller, 2133).sign(signer)) == ACCEPTED
        audited(field.device, since, r"result=no-answer")
    wait_until(lambda: not children(field.device), LIMIT_S, "that call is over, and what the two began")
    results = re.findall(r"audit call .* result=(\S+)", "\n".join(field.device.process.lines[since:]))
    assert results.count("no-answer") == 1 and set(results) <= {"no-answer", "repeated"}, results


def test_both_proofs_at_once_are_none(field, signer):
    with Caller(field.alice, SERVER, 2133) as caller:
        request = Request(caller, 2133).password(field.alice.password).sign(signer)
        since = field.device.process.position()
        assert caller.ask(request.message()).kind == "success"
        audited(field.device, since, r"by=- .*result=bad-request")


def test_a_key_has_a_back_off_of_its_own(field, signer):
    stranger = nacl.signing.SigningKey.generate()
    with Caller(field.alice, SERVER, 2133) as caller:
        said = [caller.call(Request(caller, 2133).sign(stranger)) for _ in range(6)]
        assert said[:5] == [REFUSED] * 5 and said[5] in (BACK_OFF, REFUSED)
        assert caller.call(Request(caller, 2133).sign(signer)) == ACCEPTED
        assert caller.call(Request(caller, 2133, service="none").sign(signer)) == NO_SERVICE
    assert fetch(field, password=field.alice.password).status == 0


# -- the user's certificate ------------------------------------------------------------------------


def make_certificate(field, begin, end):
    return reissue(field.server.state, field.alice.state / "user.crt", begin, end)


@pytest.fixture
def kept_certificate(field):
    path = field.alice.state / "user.crt"
    kept = path.read_bytes()
    yield path
    path.write_bytes(kept)


def days_left(path):
    return (x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after - datetime.datetime.utcnow()).days


def test_a_certificate_is_renewed_in_passing(field, kept_certificate):
    made = make_certificate(field, -48, 1)
    done = ping(field, password=field.alice.password)
    assert done.status == 0, done.err
    assert "our certificate was renewed" in done.err
    assert kept_certificate.read_bytes() != made
    assert days_left(kept_certificate) > 300
    again = ping(field, password=field.alice.password)
    assert again.status == 0 and "renewed" not in again.err


def test_a_certificate_that_has_expired(field, kept_certificate):
    """Only devices come back from a drawer; a person joins again."""
    made = make_certificate(field, -48, -1)
    done = field.alice.run("ping", *MAPPED, 2133, check=False)
    assert done.status == REVOKED
    assert "our certificate has expired" in done.err and "join again" in done.err
    assert len(done.err.splitlines()) == 1
    assert kept_certificate.read_bytes() == made


def test_a_young_certificate_is_left_alone(field, kept_certificate):
    made = make_certificate(field, -1, 2)
    assert "renewed" not in ping(field, password=field.alice.password).err
    assert kept_certificate.read_bytes() == made


def test_failing_to_renew_is_a_line_at_most(field, kept_certificate):
    made = make_certificate(field, -48, 1)
    conf = field.alice.state / "beckon.conf"
    kept = conf.read_text()
    try:
        conf.write_text(re.sub(r"port = \d+", "port = 9", kept))
        done = ping(field, password=field.alice.password)
        assert done.status == SERVER_DOWN  # of the call itself, whose server is not there
        assert "past half of its life and was not renewed" in done.err
        done = field.alice.run("ping", *MAPPED, 2133, check=False)
        assert done.status == SERVER_DOWN and len(done.err.splitlines()) == 1
    finally:
        conf.write_text(kept)
    assert kept_certificate.read_bytes() == made


# -- pins ------------------------------------------------------------------------------------------


def test_a_device_that_was_replaced(field):
    """Another key under the same ID: refused with the way out, which is taken on purpose only."""
    field.other.stop()
    shutil.rmtree(field.other.state)
    field.other.join(field.server.token(device=2134))
    field.other.set_password(field.alice.password)
    field.other.configure({}, port=2000)
    field.other.start()
    done = field.alice.run("ping", *MAPPED, 2134, check=False)
    assert done.status == KEY_CHANGED
    assert "beckon pin --replace URI" in done.err and "known_devices" in done.err
    refused = field.alice.run("pin", field.other.uri(), check=False)
    assert refused.status == KEY_CHANGED
    assert field.alice.run("ping", *MAPPED, 2134, check=False).status == KEY_CHANGED
    assert field.alice.run("pin", "--replace", field.other.uri()).out == ""
    done = ping(field, device=2134, password=field.alice.password)
    assert done.status == 0, done.err
    lines = (field.alice.state / "known_devices").read_text().splitlines()
    assert len([text for text in lines if text.startswith("2134 ")]) == 1
