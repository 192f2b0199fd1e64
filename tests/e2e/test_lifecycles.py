"""What happens to identities over the years: master keys change, certificates expire in a drawer, the CA's key is
elsewhere, devices and people are shut out or replaced; and what is taken back ends calls that are up.

    beckon (alice, bob) ---- router-a ---- [wan] ---- router-b ---- agents (2133, ...)
                                             |
                                           server, and another one with its CA elsewhere"""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import sqlite3
import ssl
import statistics
import time
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab import Beckon, REQUESTER, ROUTER_A, SERVER, wait_until
from lab import stun
from lab.beckon import Server
from lab.hostile_watch import meanwhile
from lab.operator import Connection, days_left, reissue
from lab.peers import Service, echo
from lab.process import Timeout, run

FAILED, UNKNOWN_DEVICE, OFFLINE, USED_TOKEN, KEY_CHANGED, REVOKED, BUSY, PENDING = 1, 3, 4, 10, 11, 13, 16, 18
PORTS = {"alice": (1600, 5000), "bob": (1601, 5001)}  # on their machine, and at router-a
ROOM = 72  # of 192 descriptors: three quarters, less what is kept for other things and a quarter for the relay
SECONDS = 20  # "within seconds", on a busy machine: a call is watched from its sixth second on
OTHER = "198.51.100.7"  # the server whose CA is elsewhere


@pytest.fixture(scope="module")
def world(net, bindir):
    """Device 2133 with an echo service; alice and bob may call it."""
    net.router_a.inbound_maps += [("tcp", outside, REQUESTER, inside) for inside, outside in PORTS.values()]
    net.router_a.load()
    beckon = Beckon(net, bindir)
    beckon.start_server()
    service = Service(echo, net.device, 7777)
    world = types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, service=service)
    world.device = enrol(world, 2133, 2000)
    world.device.start()
    for name in PORTS:
        setattr(world, name, beckon.enrol_user(name, devices=[2133], pins=[world.device]))
    yield world
    service.close()


def enrol(world, device, port):
    """A device with the echo service that follows the server's hints at once."""
    party = world.beckon.enrol_device(device, services={"echo": "tcp:127.0.0.1:7777"}, port=port)
    party.configure(keepalive=5, renew_within=1)
    return party


def mapped(name):
    inside, outside = PORTS[name]
    return "--listen", f"0.0.0.0:{inside}", "--advertise", f"{ROUTER_A}:{outside}"


def ping(world, device=2133, name="alice", **kw):
    return getattr(world, name).run("ping", *mapped(name), device, "-c", "1", check=False, **kw)


def assert_callable(world, device=2133):
    done = ping(world, device)
    assert done.status == 0 and done.err == "", done.err


def registered(world, device):
    return any(d["id"] == device and d["address"] for d in world.server.devices())


def epochs(server):
    """Epoch → registered devices ("-": nobody to ask), the current one first."""
    lines = server.run("epoch", "list").out.splitlines()[1:]
    assert lines[0].endswith("current") and not any(line.endswith("current") for line in lines[1:])
    return {int(line.split()[0]): line.split()[1] for line in lines}


# -- the master key -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rotated(world):
    """A new master key, and the old one retired once the device that runs has followed. 2140 is in a drawer meanwhile."""
    drawer = enrol(world, 2140, 2140)
    old, = epochs(world.server)
    pid = world.device.process.pid
    since = world.server.process.position()
    new = int(world.server.run("epoch", "new").out)
    said = world.server.process.wait_line(r"audit renew device=2133 ", 40, since)
    wait_until(lambda: epochs(world.server) == {new: "1", old: "0"}, 40, "the device has the new epoch")
    world.server.run("epoch", "retire", old)
    return types.SimpleNamespace(drawer=drawer, old=old, new=new, pid=pid, said=said)


def test_live_agents_follow_a_new_epoch_and_outlive_the_old(world, rotated):
    assert rotated.new == rotated.old + 1
    assert re.search(r"audit renew device=2133 result=done certificate=\S+ box-key=new$", rotated.said)
    assert epochs(world.server) == {rotated.new: "1"}
    assert_callable(world)
    world.server.stop()
    assert epochs(world.server) == {rotated.new: "-"}
    world.server.start()
    wait_until(lambda: epochs(world.server) == {rotated.new: "1"}, 40, "the device is registered again")
    assert_callable(world)
    assert world.device.process.pid == rotated.pid and world.device.process.running()


def test_the_current_epoch_is_not_retired(world):
    current = next(iter(epochs(world.server)))
    done = world.server.run("epoch", "retire", current, check=False)
    assert done.status == FAILED and "epoch new" in done.err and len(done.err.splitlines()) == 1


def test_a_device_from_a_drawer_comes_back(world, rotated):
    """A year later its certificate has expired and its epoch is retired."""
    device = rotated.drawer
    age(device, world.server.state / "ca.key", 400, 35)
    since = world.server.process.position()
    device.start()
    world.server.process.wait_line(r"audit renew device=2140 result=done certificate=new", 40, since)
    assert registered(world, 2140)
    assert days_left(device.state / "device.crt") > 300
    world.server.grant("alice", 2140)
    world.alice.pin(device.uri())
    assert_callable(world, 2140)
    device.stop()


def age(device, ca_key, days_from, days_until):
    """As if the device had got its certificate and box key so many days ago, and the former ended so many ago."""
    reissue(device.state / "device.crt", ca_key, days_from, days_until)
    now = int(time.time())
    (device.state / "renewal").write_text(
        f"{now - days_from * 86400} {now - days_until * 86400} {now - days_from * 86400}\n")


@pytest.fixture
def expired(world):
    """Certificates of a device and of a user that ended yesterday."""
    device = enrol(world, 2141, 2141)
    carol = world.beckon.enrol_user("carol")
    for party, name in ((device, "device"), (carol, "user")):
        reissue(party.state / f"{name}.crt", world.server.state / "ca.key", 366, 1)
    return types.SimpleNamespace(device=device, carol=carol)


def test_an_expired_certificate_is_good_for_renew_alone(world, expired):
    def ask(party, name, port, alpn, method, body=b""):
        try:
            with Connection(party.ns, party.state, name, SERVER, port, alpn) as connection:
                return connection.ask(method, body)
        except (OSError, EOFError):
            return None

    lookup = stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big"))
    who = stun.put("USER-NAME", b"alice")
    assert ask(expired.device, "device", 1300, "beckon-watch/1", "WATCH", who) is None
    assert ask(expired.device, "device", 1300, "beckon-agent/1", "WATCH", who) is None
    assert ask(expired.carol, "user", 1201, "beckon-request/1", "LOOKUP", lookup) is None
    assert ask(expired.carol, "user", 1201, "beckon-renew/1", "RENEW") is None  # people join again
    assert ask(expired.carol, "user", 1201, "beckon-renew/1", "LOOKUP", lookup) is None
    for port in (1201, 1300):
        answer = ask(expired.device, "device", port, "beckon-renew/1", "RENEW")
        assert answer.kind == "success" and answer.get("REGISTRATION-KEY") and not answer.get("CERTIFICATE")
        assert ask(expired.device, "device", port, "beckon-renew/1", "WATCH", who).kind == "error"
    world.server.revoke(device=2141)
    assert ask(expired.device, "device", 1300, "beckon-renew/1", "RENEW").error_code == 403


# -- calls that are up ----------------------------------------------------------------------------


class Call:
    """One connection to the echo service through a call of that person, known to work."""

    def __init__(self, world, name, port, device=2133):
        self.name = name
        self.forward = getattr(world, name).forward(device, f"{port}:echo", options=mapped(name))
        self.forward.wait_line("^ready$", 40)
        self.socket = world.net.requester.connect("127.0.0.1", port, timeout=30)
        assert self.up()

    def up(self):
        self.socket.sendall(b"x")
        return self.socket.recv(1) == b"x"

    def ended_within(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.socket.close()
        self.forward.stop(signal.SIGINT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def bobs(world):
    """A call that nothing below is about: it must live on."""
    with Call(world, "bob", 8101) as call:
        yield call
        assert call.up()


def watches(world, count):
    """That so many calls are watched, as the server's sockets show."""
    wait_until(lambda: len(world.net.server.sockets("state established sport = :1300")) >= count, 40,
               f"{count} calls are watched")


def test_ungrant_ends_an_open_call_within_seconds(world, bobs):
    with Call(world, "alice", 8100) as call:
        watches(world, 2)
        since = world.server.process.position()
        world.server.ungrant("alice", 2133)
        assert call.ended_within(SECONDS)
        world.server.process.wait_line(
            r"audit call-end device=2133 user=alice from=\S+ result=revoked ms=\d+$", SECONDS, since)
    world.server.grant("alice", 2133)
    assert_callable(world)


def test_revoking_a_user_ends_an_open_call_within_seconds(world, bobs):
    dave = world.beckon.enrol_user("dave", devices=[2133], pins=[world.device])
    world.dave = dave
    PORTS["dave"] = PORTS["alice"]
    with Call(world, "dave", 8102) as call:
        watches(world, 2)
        world.server.revoke(user="dave")
        assert call.ended_within(SECONDS)
    assert ping(world, name="dave").status == REVOKED


def test_revoking_a_device_ends_its_open_call_within_seconds(world, bobs):
    device = enrol(world, 2142, 2142)
    device.start()
    world.server.grant("alice", 2142)
    world.alice.pin(device.uri())
    with Call(world, "alice", 8103, 2142) as call:
        watches(world, 2)
        world.server.revoke(device=2142)
        assert call.ended_within(SECONDS)
    device.stop()


def test_a_call_outlives_a_server_restart_and_a_grant(world, bobs):
    with Call(world, "alice", 8104) as call:
        watches(world, 2)
        world.server.stop()
        assert call.up() and bobs.up()
        world.server.start()
        watches(world, 2)
        world.server.grant("alice", 2133)  # the devices with calls of hers ask again
        watches(world, 2)
        # A watch says nothing for as long as its call lasts; TCP asks whether its device is still there.
        wait_until(lambda: [s for s in world.net.server.sockets("state established sport = :1300", ("-o",))
                            if "keepalive" in s][1:], 20, "TCP asks on both")
        assert call.up()
        since = world.server.process.position()
    world.server.process.wait_line(r"audit call-end device=2133 user=alice from=\S+ result=ended ms=\d+$",
                                   SECONDS, since)


def test_a_grant_taken_back_while_the_server_is_down_ends_the_call_after_its_restart(world, bobs):
    with Call(world, "alice", 8105) as call:
        watches(world, 2)
        world.server.stop()
        world.server.ungrant("alice", 2133)
        assert call.up()
        world.server.start()
        assert call.ended_within(3 * SECONDS)
    world.server.grant("alice", 2133)
    wait_until(lambda: registered(world, 2133), 40, "the device is registered again")


def test_watches_leave_room_for_callers_and_devices(net, bindir, tmp_path):
    """A server with few descriptors, and a device that takes all the watches it can get."""
    beckon = Beckon(net, bindir, tmp_path)
    host = net.public_host("narrow", "198.51.101.7")
    beckon.server = server = Server(beckon, "server", host)
    server.run("init", "--host", "198.51.101.7")
    server.process = host.start(["prlimit", "--nofile=192:192", *server._argv("beckond", ("run",))], env=server.env())
    server.process.wait_line("^ready$")
    greedy = beckon.enrol_device(2133)
    alice = beckon.enrol_user("alice", devices=[2133])
    taken = [Connection(net.device, greedy.state, "device", "198.51.101.7", 1300, "beckon-watch/1") for _ in range(ROOM + 5)]

    def refused():
        """Those that the server has closed since: at once, or a moment later on a busy machine."""
        readable, _, _ = select.select([connection.socket for connection in taken], [], [], 0)
        for connection in [c for c in taken if c.socket in readable]:
            connection.socket.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):  # a ticket
                assert connection.receive() is None
                taken.remove(connection)
                connection.close()
        return len(taken) <= ROOM

    wait_until(refused, 20, "what is too much is closed")
    with pytest.raises(Timeout):
        wait_until(lambda: refused() and len(taken) < ROOM, 1)
    server.process.wait_line("as many connections that stay are open as there is room for", 20)
    with Connection(net.requester, alice.state, "user", "198.51.101.7", 1201, "beckon-request/1") as connection:
        assert lookup(connection, 2133)[0][0] == "success"
    with Connection(net.device, greedy.state, "device", "198.51.101.7", 1300, "beckon-renew/1") as connection:
        assert connection.ask("RENEW").kind == "success"
    taken.pop().close()
    with Connection(net.device, greedy.state, "device", "198.51.101.7", 1300, "beckon-watch/1") as connection:
        assert connection.ask("WATCH", stun.put("USER-NAME", b"alice")).kind == "success"
    for connection in taken:
        connection.close()
    assert server.stop() == 0


# -- replacement ----------------------------------------------------------------------------------


def test_a_device_is_replaced_under_its_id(world):
    """Its call ends, it registers no more, nobody takes one for the other; the grants are the successor's."""
    old = enrol(world, 2143, 2143)
    old.start()
    world.server.grant("alice", 2143)
    world.alice.pin(old.uri())
    with Call(world, "alice", 8106, 2143) as call:
        watches(world, 1)
        kept = world.beckon.workdir / "old-2143"
        shutil.move(old.state, kept)  # the successor's state takes its place in the laboratory
        new = enrol(world, 2143, 2144)
        assert call.ended_within(SECONDS)
    old.stop()
    new.start()
    assert ping(world, 2143).status == KEY_CHANGED
    world.alice.run("pin", "--replace", new.uri())
    assert_callable(world, 2143)
    with Connection(old.ns, kept, "device", SERVER, 1300, "beckon-renew/1") as connection:
        assert connection.ask("RENEW").error_code == 403
    row = next(d for d in world.server.devices() if d["id"] == 2143)
    old.process = old.ns.start([world.beckon.bin / "beckon-agent", "run", "--state", kept], env=old.env(), log=old.log)
    with pytest.raises(AssertionError):
        old.process.wait_line(r"\bready\b", 7)
    assert next(d for d in world.server.devices() if d["id"] == 2143)["port"] == row["port"]
    old.stop()
    new.stop()


def test_a_person_is_replaced_under_the_same_name(world):
    erin = world.beckon.enrol_user("erin", devices=[2133], pins=[world.device])
    world.erin, PORTS["erin"] = erin, PORTS["alice"]
    kept = world.beckon.workdir / "old-erin"
    with Call(world, "erin", 8107) as call:
        watches(world, 1)
        shutil.copytree(erin.state, kept)
        shutil.rmtree(erin.state)
        since = world.server.process.position()
        world.beckon.enrol_user("erin", pins=[world.device])
        assert call.ended_within(SECONDS)  # it is the predecessor's
        world.server.process.wait_line(r"audit call-end device=2133 user=erin from=\S+ result=revoked ", SECONDS, since)
    with Call(world, "erin", 8108) as call:  # grants stay
        watches(world, 1)
        world.server.grant("erin", 2133)
        watches(world, 1)
        assert call.up()
    erin.state = kept
    assert ping(world, name="erin").status == REVOKED


# -- a CA elsewhere -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def away(net, bindir, tmp_path_factory):
    """A second server, on a public host of its own, with its CA in another directory."""
    host = net.public_host("away", OTHER)
    beckon = Beckon(net, bindir, tmp_path_factory.mktemp("away"))
    beckon.server = Server(beckon, "server", host)
    ca = beckon.workdir / "ca"
    beckon.server.run("init", "--host", OTHER, "--external-ca", ca)
    beckon.server.start()
    return types.SimpleNamespace(beckon=beckon, server=beckon.server, ca=ca, net=net)


def start_join(away, program, state, token, ns):
    env = away.server.env()
    return ns.start([away.beckon.bin / program, "join", "--state", state, token], env=env)


def sign(away, *words, state=None):
    return run([away.beckon.bin / "beckond", "sign", "--state", state or away.server.state, "--ca", away.ca, *words],
               env=away.server.env())


def test_joining_waits_for_a_signature(away):
    assert not (away.server.state / "ca.key").exists()
    assert (away.ca / "ca.key").stat().st_mode & 0o777 == 0o600
    state = away.beckon.workdir / "device"
    token = away.server.token(device=2133)
    since = away.server.process.position()
    join = start_join(away, "beckon-agent", state, token, away.net.device)
    said = join.wait_line("beckond sign")
    assert said.startswith("beckon-agent: ")
    away.server.process.wait_line(r"beckon:device:2133 waits for a certificate", 20, since)
    # Interrupted, it ends with a status of its own, and goes on later; another device cannot have the token.
    assert join.stop(signal.SIGINT) == PENDING
    other = away.net.device.run([away.beckon.bin / "beckon-agent", "join", "--state", away.beckon.workdir / "other", token],
                                env=away.server.env(), check=False)
    assert other.status == USED_TOKEN
    join = start_join(away, "beckon-agent", state, token, away.net.device)
    join.wait_line("beckond sign", 10)
    waiting = sign(away, "--list").out
    assert re.fullmatch(r"device-2133 [A-Za-z0-9_-]{43}\n", waiting)
    assert join.running()
    assert sign(away).out == waiting
    assert sign(away).out == ""
    assert join.wait(40) == 0
    uri = away.net.device.run([away.beckon.bin / "beckon-agent", "uri", "--state", state], env=away.server.env()).out
    assert uri.split()[0].endswith("#" + waiting.split()[1])
    assert list((away.server.state / "requests").iterdir()) == []


def test_requests_can_be_carried_to_the_ca_and_back(away):
    """Nothing but DIR/requests; what is no request of ours is named and passed over."""
    state = away.beckon.workdir / "user"
    join = start_join(away, "beckon", state, away.server.token(user="alice"), away.net.requester)
    join.wait_line("beckond sign", 10)
    requests = away.server.state / "requests"
    carried = away.beckon.workdir / "carried"
    shutil.copytree(requests, carried / "requests")
    (carried / "requests/server.req").write_bytes((requests / "user-alice.req").read_bytes())
    done = run([away.beckon.bin / "beckond", "sign", "--state", carried, "--ca", away.ca], env=away.server.env(), check=False)
    assert done.status == FAILED and "server.req" in done.err and len(done.err.splitlines()) == 1
    assert done.out.startswith("user-alice ")
    assert not (carried / "requests/server.crt").exists()
    # Somebody else's certificate under that name is not taken.
    away.server.token(user="mallory")
    (requests / "user-alice.crt").write_bytes((away.ca / "ca.crt").read_bytes())
    since = away.server.process.position()
    away.server.process.wait_line("does not answer the request", 30, since)
    assert join.running()
    shutil.copy(carried / "requests/user-alice.crt", requests)
    assert join.wait(40) == 0
    assert list(requests.iterdir()) == []


def test_a_renewal_waits_for_a_signature_too(away):
    """Everything else of it is done; the certificate comes with a later one."""
    state = away.beckon.workdir / "renewing"
    join = start_join(away, "beckon-agent", state, away.server.token(device=2150), away.net.device)
    join.wait_line("beckond sign", 10)
    sign(away)
    assert join.wait(40) == 0
    reissue(state / "device.crt", away.ca / "ca.key", 200, -165)  # past half of its life
    # The server goes by the certificate that it has itself: that one too must be as old.
    give_store(away, 2150, state / "device.crt")
    renew = [away.beckon.bin / "beckon-agent-call", "renew", "--certificate", "--state", state]
    since = away.server.process.position()
    assert away.net.device.run(renew, env=away.server.env()).status == 0
    away.server.process.wait_line("audit renew device=2150 result=done certificate=pending box-key=new", 20, since)
    assert days_left(state / "device.crt") < 170
    assert sign(away).out.startswith("device-2150 ")
    since = away.server.process.position()
    assert away.net.device.run(renew, env=away.server.env()).status == 0
    away.server.process.wait_line("audit renew device=2150 result=done certificate=new box-key=new", 20, since)
    assert days_left(state / "device.crt") > 300


def give_store(away, device, certificate):
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
    with sqlite3.connect(away.server.state / "beckond.db") as db:
        db.execute("UPDATE devices SET certificate = ? WHERE id = ?", (der, device))


# -- who asks for what is not his -----------------------------------------------------------------


def lookup(connection, device):
    """The answer's kind and code, and how long it took in microseconds."""
    start = time.perf_counter()
    answer = connection.ask("LOOKUP", stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")))
    took = (time.perf_counter() - start) * 1e6
    return (answer.kind, answer.error_code, len(answer.raw)), took


def set_requests(world, per_second):
    """The server's limit on one user's requests, changed while it runs."""
    conf = world.server.state / "beckond.conf"
    text = re.sub(r"(?m)^(# )?requests_per_second = \d+$", f"requests_per_second = {per_second}", conf.read_text())
    assert f"requests_per_second = {per_second}" in text
    conf.write_text(text)
    since = world.server.process.position()
    world.server.process.send_signal(signal.SIGHUP)
    world.server.process.wait_line("configuration has been read", 20, since)


def test_missing_ungranted_and_unenrolled_devices_take_the_same_time(world, capsys):
    """The statements are compared in tests/unit/beckond/test_alike.c; here the medians are shown."""
    enrol(world, 2145, 2145)
    world.server.token(device=2146)
    world.server.grant("alice", 2146)
    kinds = {"missing": 2999, "ungranted": 2145, "not enrolled": 2146}
    times = {kind: [] for kind in kinds}
    set_requests(world, 0)
    try:
        with Connection(world.net.requester, world.alice.state, "user", SERVER, 1201, "beckon-request/1") as connection:
            for _ in range(300):
                for kind, device in kinds.items():
                    seen, took = lookup(connection, device)
                    assert seen[:2] == ("error", 404)
                    times[kind].append(took)
            assert len({lookup(connection, device)[0] for device in kinds.values()}) == 1
    finally:
        set_requests(world, 20)
    medians = {kind: statistics.median(t) for kind, t in times.items()}
    with capsys.disabled():
        print("\n  median of 300 LOOKUPs, microseconds: " + ", ".join(f"{k} {m:.0f}" for k, m in medians.items()))
    assert max(medians.values()) < 2 * min(medians.values())  # of a network's delay: far apart would be a bug


def test_one_user_cannot_ask_without_end(world):
    set_requests(world, 1)
    try:
        with Connection(world.net.requester, world.bob.state, "user", SERVER, 1201, "beckon-request/1") as connection:
            began = time.monotonic()
            codes = [lookup(connection, 2133)[0][1] for _ in range(15)]
            took = time.monotonic() - began
            assert codes[0] is None and 10 <= codes.count(None) <= min(12 + took, 14), (codes, took)
            with meanwhile(lambda: lookup(connection, 2133)):  # so that nothing is left for his call
                assert ping(world, name="bob").status == BUSY
        assert_callable(world)  # alice has a limit of her own
    finally:
        set_requests(world, 20)


# -- privileges -----------------------------------------------------------------------------------


@pytest.mark.own_threads
def test_the_server_drops_root(net, bindir, tmp_path):
    os.chmod(tmp_path, 0o755)
    for folder in tmp_path.parents[:3]:
        os.chmod(folder, folder.stat().st_mode | 0o011)
    beckon = Beckon(net, bindir, tmp_path)
    beckon.server = server = Server(beckon, "server", net.requester)
    server.run("init", "--host", REQUESTER)
    conf = server.state / "beckond.conf"
    conf.write_text(conf.read_text().replace("# user =", "user = nobody") + "workers = 3\n")
    refused = server.run("run", check=False)
    assert refused.status == FAILED and "chown" in refused.err and len(refused.err.splitlines()) == 1
    run(["chown", "-R", "nobody:", server.state])
    process = server.start()
    nobody = int(run(["id", "-u", "nobody"]).out)
    threads = list(pathlib.Path(f"/proc/{process.pid}/task").iterdir())
    # The workers too, and who makes the table's chunks ready: rights are each thread's own.
    assert len(threads) == 5
    for thread in threads:
        status = dict(line.split(":\t", 1) for line in (thread / "status").read_text(encoding="ascii").splitlines()
                      if ":\t" in line)
        assert [int(uid) for uid in status["Uid"].split()] == [nobody] * 4
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
        assert int(status["CapEff"], 16) == 0
    # Commands by root leave the state readable for it.
    server.run("epoch", "new")
    assert server.token(user="alice")
    assert epochs(server) == {2: "0", 1: "0"}
    since = process.position()
    process.send_signal(signal.SIGHUP)
    process.wait_line("configuration has been read", 20, since)
    assert not [line for line in process.lines[since:] if "stay" in line]
    assert server.stop() == 0
