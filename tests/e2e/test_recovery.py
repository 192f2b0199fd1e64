"""What a fleet lives through: servers killed, routers rebooted and renumbered, agents killed, packets
lost. Everything comes back by itself, and calls that are up go on."""

import os
import signal
import socket
import sqlite3
import ssl
import threading
import time
import types

import pytest

from lab import Beckon, DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, wait_until
from lab import stun

KEEPALIVE_S = 5
# Until something is known that the far end can only learn by the next keepalive or its retry, and some for a busy
# machine; less than two keepalives.
INTERVAL_S = KEEPALIVE_S + 4
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
FORWARD_MAPPED = ("--listen", "0.0.0.0:1601", "--advertise", f"{ROUTER_A}:5001")

AT_ONCE_S = 6

FLEET = 10_000
FLEET_FIRST = 1_000_000
FLEET_CALLED = 50


class Echo:
    """A TCP service on the device's loopback that gives back what it gets."""

    def __init__(self, ns, port):
        self.socket = ns.listen(port, "127.0.0.1", timeout=None)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass


@pytest.fixture(scope="module")
def world(net, bindir):
    net.router_a.inbound_maps += [("tcp", 5000, REQUESTER, 1600), ("tcp", 5001, REQUESTER, 1601)]
    net.router_a.load()
    beckon = Beckon(net, bindir)
    beckon.start_server()
    echo = Echo(net.device, 7777)
    device = beckon.enrol_device(2133, services={"echo": "tcp:127.0.0.1:7777"})
    device.configure(keepalive=KEEPALIVE_S)
    device.start()
    alice = beckon.enrol_user("alice", devices=[2133], pins=[device])
    yield types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, device=device, alice=alice)
    echo.socket.close()


def row(world, device=2133):
    """(address, port) that a device is registered at, or None."""
    found = next(d for d in world.server.devices() if d["id"] == device)
    return found["address"] and (found["address"], found["port"])


def ping(world, **kw):
    return world.alice.run("ping", *MAPPED, 2133, "-c", "1", check=False, **kw)


def assert_callable(world):
    done = ping(world)
    assert done.status == 0 and done.err == "", done.err


def calls_on_device(world):
    pids = world.net.device.run(["ip", "netns", "pids", world.net.device.name]).out.split()
    comms = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                comms.append(f.read().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return comms.count("beckon-agent-call"[:15])


class OpenCall:
    """`beckon forward` to the echo service with one connection open."""

    def __init__(self, world):
        self.world = world
        self.process = world.alice.forward(2133, "8080:echo", options=FORWARD_MAPPED)
        self.connection = self.connect()
        self.say(self.connection, b"before")

    def connect(self):
        return self.world.net.requester.connect("127.0.0.1", 8080, timeout=30)

    @staticmethod
    def say(connection, words):
        connection.sendall(words)
        got = b""
        while len(got) < len(words):
            data = connection.recv(65536)
            assert data, f"the stream ended after {got!r}"
            got += data
        assert got == words

    def goes_on(self):
        """The same connection, a new one on the same call, and no second call."""
        self.say(self.connection, b"after" * 20000)
        with self.connect() as another:
            self.say(another, b"another")
        assert calls_on_device(self.world) == 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.stop()
        wait_until(lambda: calls_on_device(self.world) == 0, 30, "the call has ended on the device")


# -- the server -----------------------------------------------------------------------------------


def test_server_killed_and_restarted_with_an_open_call(world):
    with OpenCall(world) as call:
        assert world.server.process.kill() == -signal.SIGKILL
        call.goes_on()
        world.server.start()
        call.goes_on()
        wait_until(lambda: row(world), INTERVAL_S, "the device is registered again")
        call.goes_on()
        assert_callable(world)


def test_server_ends_cleanly_with_calls_and_requests_under_way(world):
    """SIGTERM while a call is up, another is being delivered, and an administrator is connected."""
    with OpenCall(world) as call:
        world.net.block('oifname "to-b" meta l4proto udp')
        try:
            waiting = world.alice.start("ping", *MAPPED, 2133, "-c", "1")
            wait_until(lambda: [s for s in world.net.server.sockets("state established") if ":1201" in s], 20,
                       "the request has reached the server")
            with socket.socket(socket.AF_UNIX) as admin:
                admin.connect(os.path.join(world.server.state, "beckond.sock"))
                start = time.monotonic()
                assert world.server.stop() == 0
                assert time.monotonic() - start < AT_ONCE_S
        finally:
            world.net.block_clear()
        assert waiting.wait() == 8  # the server is down
        assert not (world.server.state / "beckond.sock").exists()
        call.goes_on()
        world.server.start()
        wait_until(lambda: row(world), INTERVAL_S, "the device is registered again")
    assert_callable(world)


def binding(world):
    """Whether the server answers plain STUN Binding."""
    with world.net.requester.udp(timeout=3) as s:
        s.sendto(stun.build("BINDING", "request", b"", os.urandom(12), fingerprint=False), (SERVER, 1200))
        try:
            return stun.Message(s.recv(1500)).kind == "success"
        except TimeoutError:
            return False


def test_hangup_reloads_the_server_s_configuration(world):
    path = world.server.state / "beckond.conf"
    good = path.read_text()
    process = world.server.process

    def reload(text, pattern):
        path.write_text(text)
        since = process.position()
        process.send_signal(signal.SIGHUP)
        line = process.wait_line(pattern, since=since)
        assert [said for said in process.lines[since:] if not said.startswith("audit ")] == [line]  # of calls before
        return line

    assert binding(world)
    reload(good + "answer_binding = no\n", "read again")
    assert not binding(world)
    line = reload(good + "answer_binding = yes\nnonsense = 1\n", "beckond.conf")
    assert f"{path}:{len(good.splitlines()) + 2}: " in line and "old configuration" in line
    assert not binding(world)
    path.unlink()
    process.send_signal(signal.SIGHUP)  # not even there: the old one stays, too
    process.wait_line("No such file.*old configuration")
    reload(good, "read again")
    assert binding(world)
    assert_callable(world)


@pytest.mark.parametrize("line", ["fast_form = no", "relay_connect = yes", "max_devices = 7", "workers = 3"])
def test_what_needs_a_restart_is_told_at_a_hangup(world, line):
    path = world.server.state / "beckond.conf"
    good = path.read_text()
    process = world.server.process
    for text, told in ((f"{good}\n{line}\n", 1), (good, 0)):
        path.write_text(text)
        since = process.position()
        process.send_signal(signal.SIGHUP)
        process.wait_line("read again", since=since)
        assert sum("restart" in said for said in process.lines[since:]) == told
    assert_callable(world)


# -- the device's router --------------------------------------------------------------------------


def test_router_rebooted_with_other_ports(world):
    assert row(world) == (ROUTER_B, 2000)
    world.net.router_b.source_maps = [("udp", DEVICE, 2000, SERVER, 3999)]
    world.net.router_b.reboot()
    wait_until(lambda: row(world) == (ROUTER_B, 3999), 2 * INTERVAL_S, "the device has its new port in the table")
    assert_callable(world)


def test_router_renumbered(world):
    world.net.router_b.source_maps = []
    world.net.router_b.renumber("202.204.16.77")
    wait_until(lambda: row(world) == ("202.204.16.77", 2000), 2 * INTERVAL_S, "the table has the new address")
    assert_callable(world)


def test_router_off_for_longer_than_the_agent_waits(world):
    """Several keepalives are lost; it is back within an interval of the line's return, and says both."""
    since = world.device.process.position()
    world.net.router_b.ns.ip("link", "set", "wan0", "down")
    world.device.process.wait_line("does not answer", 60, since=since)
    world.net.router_b.reboot()
    world.device.process.wait_line("registered", INTERVAL_S, since=since)
    assert_callable(world)


def test_device_s_own_address_changes(world):
    ns, before = world.net.device, row(world)

    def move(old, new):
        ns.ip("addr", "del", f"{old}/24", "dev", "eth0")
        ns.address("eth0", f"{new}/24")
        ns.route("default", "192.168.1.1")

    move(DEVICE, "192.168.1.44")
    try:
        # The router keeps the port for the old address for a while, so that the mapping is another.
        wait_until(lambda: row(world) not in (None, before), 2 * INTERVAL_S, "the table has the new mapping")
        assert_callable(world)
    finally:
        move("192.168.1.44", DEVICE)
    wait_until(lambda: row(world) == before, 2 * INTERVAL_S, "the table has the old mapping again")
    assert_callable(world)


# -- the agent ------------------------------------------------------------------------------------


def test_agent_killed_and_restarted(world):
    """Its tag and its memory are lost: it proves itself anew and is not locked out; its calls end."""
    with OpenCall(world) as call:
        assert world.device.process.kill() == -signal.SIGKILL
        with pytest.raises(ConnectionResetError):  # not an end of file: nobody takes this for all there was
            call.connection.recv(1)
        wait_until(lambda: calls_on_device(world) == 0, AT_ONCE_S, "the call has ended with the agent")
    start = time.monotonic()
    world.device.start()
    assert time.monotonic() - start < INTERVAL_S
    assert_callable(world)


def test_agent_ends_cleanly_with_a_call(world):
    with OpenCall(world) as call:
        start = time.monotonic()
        assert world.device.stop() == 0
        assert time.monotonic() - start < AT_ONCE_S
        with pytest.raises(ConnectionResetError):
            call.connection.recv(1)
        wait_until(lambda: calls_on_device(world) == 0, AT_ONCE_S, "the call has ended with the agent")
        assert not [s for s in world.net.device.sockets() if s.startswith("udp")]
    world.device.start()
    assert_callable(world)


def test_a_tenth_of_the_packets_lost(world):
    """In both directions of the device's line, from the agent's start on."""
    world.device.stop()
    world.net.block('iifname "to-b" numgen random mod 100 < 10', name="lost-up")
    world.net.block('oifname "to-b" numgen random mod 100 < 10', name="lost-down")
    try:
        world.device.start()  # waits for "ready"
        # A SYN lost three times in a row takes longer than anybody waits: one in a hundred calls.
        reached = [next((n for n in range(3) if ping(world).status == 0), None) for _ in range(3)]
        assert None not in reached, reached
    finally:
        world.net.block_clear("lost-up")
        world.net.block_clear("lost-down")


# -- a fleet --------------------------------------------------------------------------------------


def enrol_fleet(world):
    """Into the store, as if each had joined; their certificates are never looked at."""
    with sqlite3.connect(world.server.state / "beckond.db", timeout=10) as store:
        store.executemany(
            "INSERT INTO devices(id, generation, key, certificate, box_key) VALUES (?, 1, zeroblob(32), x'00', zeroblob(113))",
            ((FLEET_FIRST + n,) for n in range(FLEET)))
    store.close()
    world.server.grant("alice", "all")


def count_syns(world):
    """TCP connections that anybody tried to open to the server, since the counter was made."""
    out = world.net.server.run(["nft", "list", "table", "inet", "syns"]).out
    return int(out.split("packets ")[1].split()[0])


def seen_lately(world, seconds):
    """How many of the fleet the table holds, heard within that time."""
    return sum(1 for d in world.server.devices()
               if d["id"] >= FLEET_FIRST and d["address"] and d["last_seen_s"] <= seconds)


def request_calls(world, devices):
    """217 for each of these devices, over a few connections, which stay open: the sockets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(world.alice.state / "ca.crt")
    context.load_cert_chain(world.alice.state / "user.crt", world.alice.state / "user.key")
    context.set_alpn_protocols(["beckon-request/1"])
    connections = []
    for first in range(0, len(devices), 10):
        tls = context.wrap_socket(world.net.requester.connect(SERVER, 1201, timeout=10))
        for device in devices[first:first + 10]:
            body = (stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")) + stun.put("CALL-ID", os.urandom(16)) +
                    stun.put("BOX", os.urandom(300)))
            tls.sendall(stun.build("CONNECT", "request", body, os.urandom(12), fingerprint=False))
        connections.append(tls)
    return connections


def test_ten_thousand_devices_return_after_a_killed_server(world, bindir, capsys):
    enrol_fleet(world)
    fleet = world.net.wan.start([bindir / "load-devices", world.server.state, f"{SERVER}:1200", FLEET, FLEET_FIRST,
                                 KEEPALIVE_S], log=world.beckon.workdir / "fleet.log")
    fleet.wait_line(rf"registered {FLEET} ", 60)
    before = world.server.devices()
    assert seen_lately(world, INTERVAL_S) == FLEET
    world.net.server.nft("table inet syns { chain input { type filter hook input priority 0; "
                         "tcp flags & (syn | ack) == syn counter; }; }")
    world.server.process.kill()
    world.server.start()
    start = time.monotonic()
    assert count_syns(world) == 0
    wait_until(lambda: seen_lately(world, INTERVAL_S) == FLEET, INTERVAL_S, "all are registered again")
    took = time.monotonic() - start
    after = world.server.devices()
    places = [[(d["id"], d["address"], d["port"]) for d in rows if d["id"] >= FLEET_FIRST] for rows in (before, after)]
    assert places[0] == places[1]
    wait_until(lambda: row(world), INTERVAL_S, "and so is the real one")
    assert count_syns(world) == 0, "a TLS connection was made"

    called = [FLEET_FIRST + n * (FLEET // FLEET_CALLED) for n in range(FLEET_CALLED)]
    connections = request_calls(world, called)
    fleet.wait_line(rf"registered {FLEET} notified {FLEET_CALLED}$", 20)
    for tls in connections:
        tls.close()
    assert_callable(world)
    with capsys.disabled():
        print(f"\n{FLEET} devices registered again {took:.1f} s after the server (keepalive {KEEPALIVE_S} s)")
