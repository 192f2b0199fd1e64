"""How a device stays registered where the network does not make it easy: keepalives that ask for no answer, UDP blocked
(TLS in its place, and back), a server that is gone while another is there, NATs that forget early or late."""

import re
import shutil
import types

import pytest

from lab import Beckon, DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, wait_until
from lab import beckon as lab_beckon
from lab import stun

KEEPALIVE_S = 5
INTERVAL_S = KEEPALIVE_S + 4  # within the next keepalive, on a busy machine; the one after it would be later
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
SECOND = "130.74.24.6"
UDP = "meta l4proto udp"


@pytest.fixture(scope="module")
def world(net, bindir):
    net.router_a.inbound_maps += [("tcp", 5000, REQUESTER, 1600)]
    net.router_a.load()
    beckon = Beckon(net, bindir)
    beckon.start_server(SERVER, SECOND)
    device = beckon.enrol_device(2133, services={})
    device.configure(keepalive=KEEPALIVE_S, server=f"{SERVER}, {SECOND}")
    alice = beckon.enrol_user("alice", devices=[2133], pins=[device])
    second_ns = net.public_host("second", SECOND)
    return types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, device=device, alice=alice,
                                 second_ns=second_ns)


@pytest.fixture()
def device(world):
    """Runs, and is stopped; the network is whole again."""
    world.device.start()
    yield world.device
    world.net.block_clear()
    world.device.stop()


def row(server, device=2133):
    return next(d for d in server.devices() if d["id"] == device)


def registered(server):
    return wait_until(lambda: row(server)["address"], 60, "the device is in the table")


def ping(world, *words):
    return world.alice.run("ping", *MAPPED, *words, 2133, "-c", "1", check=False)


def assert_callable(world):
    done = ping(world)
    assert done.status == 0, done.err


def said(device, line, timeout=90):
    return device.process.wait_line(line, timeout)


def registers(capture):
    """(time, kind) of every REGISTER that left the device."""
    rows = capture.fields(["frame.time_epoch", "udp.payload"], f"ip.src == {DEVICE} and udp.dstport == 1200")
    messages = [(float(r["frame.time_epoch"]), stun.Message(bytes.fromhex(r["udp.payload"]))) for r in rows]
    return [(at, m.kind) for at, m in messages if m.method == "REGISTER"]


def test_three_of_four_keepalives_are_quiet(world, device):
    with world.net.capture(world.net.device, "eth0", "udp port 1200") as capture:
        wait_until(lambda: len(registers(capture)) >= 8, 90, "eight keepalives")
        capture.stop()
    kinds = "".join(kind[0] for _, kind in registers(capture))
    assert "iiir" in kinds or "riii" in kinds, kinds
    assert "iiii" not in kinds, kinds
    answers = capture.fields(["frame.number"], f"ip.src == {SERVER} and udp.srcport == 1200")
    # The capture may end between the last one and its answer.
    assert kinds.count("r") - kinds.endswith("r") <= len(answers) <= kinds.count("r"), "a quiet keepalive that fits is not answered"


def test_a_restarted_server_is_found_out_by_a_quiet_keepalive(world, device):
    with world.net.capture(world.net.device, "eth0", "udp port 1200") as capture:
        wait_until(lambda: [kind for _, kind in registers(capture)][-1:] == ["indication"], 40, "a quiet keepalive")
        world.server.stop()
        world.server.start()
        wait_until(lambda: row(world.server)["address"], INTERVAL_S, "registered again")
        capture.stop()
    # The indication got an indication, and that led to the request with its nonce.
    indications = [stun.Message(bytes.fromhex(r["udp.payload"])) for r in
                   capture.fields(["udp.payload"], f"ip.src == {SERVER} and udp.srcport == 1200")]
    assert any(m.kind == "indication" and m.method == "REGISTER" and m.get("NONCE") for m in indications)
    assert_callable(world)


def test_a_rebooted_router_is_found_out_by_the_next_keepalive(world, device):
    with world.net.capture(world.net.device, "eth0", "udp port 1200") as capture:
        wait_until(lambda: [kind for _, kind in registers(capture)][-1:] == ["indication"], 40, "a quiet keepalive")
        before = row(world.server)["port"]
        blocker = world.net.router_b.ns.udp(ROUTER_B, before)  # the port is another flow's from now on
        try:
            world.net.router_b.ns.nft(f"table ip moved {{ chain post {{ type nat hook postrouting priority srcnat - 1; "
                                      f"udp dport 1200 masquerade to :40000-40999; }}; }}")
            world.net.router_b.ns.run(["conntrack", "-F"], check=False)
            wait_until(lambda: row(world.server)["port"] not in (before, None), INTERVAL_S, "registered elsewhere")
        finally:
            world.net.router_b.ns.nft("table ip moved {}; delete table ip moved")
            blocker.close()
    said(device, rf"the server sees {re.escape(ROUTER_B)}:4\d{{4}}")
    assert_callable(world)


def test_udp_blocked_from_the_start(world):
    world.net.block(UDP)
    try:
        world.device.start()  # ready: registered, whatever way
        said(world.device, "registered.* over TLS")
        registered(world.server)
        assert_callable(world)
        world.net.block_clear()
        said(world.device, rf"registered at {re.escape(SERVER)}; the server sees {re.escape(ROUTER_B)}")
        wait_until(lambda: "tunnel" not in programs(world), 20, "the tunnel's process is gone")
        assert_callable(world)
    finally:
        world.net.block_clear()
        world.device.stop()


def programs(world):
    out = world.net.device.run(["sh", "-c", "for p in $(ip netns pids $(ip netns identify)); do "
                                            "tr '\\0' ' ' < /proc/$p/cmdline; echo; done"], check=False).out
    return out


def test_udp_blocked_later_and_a_tunnel_that_breaks(world, device):
    registered(world.server)
    world.net.block(UDP)
    said(device, "registered.* over TLS")
    assert_callable(world)
    # The connection of the tunnel dies; UDP is still blocked: another is made.
    world.net.router_b.ns.run(["conntrack", "-F"], check=False)
    world.net.device.run(["ss", "-K", "dport", "=", "1300"], check=False)
    wait_until(lambda: device.process.output().count("over TLS;") >= 2, 90, "registered over TLS again")
    assert_callable(world)


def test_another_server_while_the_first_is_gone(world):
    second = lab_beckon.Server(world.beckon, "second", world.second_ns)
    world.server.stop()
    shutil.copytree(world.server.state, second.state)
    second.start()
    try:
        world.device.start()
        said(world.device, rf"registered at {re.escape(SECOND)}; the server sees")
        registered(second)
    finally:
        world.device.stop()
        second.stop()
        world.server.start()


def test_the_first_server_stops_while_a_second_is_there(world):
    second = lab_beckon.Server(world.beckon, "second", world.second_ns)
    if not second.state.exists():
        shutil.copytree(world.server.state, second.state)
    second.start()
    try:
        world.device.start()
        said(world.device, rf"registered at {re.escape(SERVER)}; the server sees")
        world.server.stop()
        said(world.device, rf"registered at {re.escape(SECOND)}; the server sees")
        registered(second)
    finally:
        world.device.stop()
        second.stop()
        world.server.start()


def test_the_interval_grows_to_what_the_nat_keeps(world):
    """Linux keeps an answered flow for 120 s; after the first 40 s of silence that it survived intervals grow."""
    text = (world.device.state / "agent.conf").read_text()
    world.device.configure(server=SERVER)
    try:
        (world.device.state / "agent.conf").write_text(
            re.sub(r"(?m)^keepalive = .*\n", "", (world.device.state / "agent.conf").read_text()))
        world.device.start()
        with world.net.capture(world.net.wan, "to-s", "udp port 1200") as capture:
            said(world.device, r"the NAT keeps silent mappings for 40 s; a keepalive every 36 s", 150)
            capture.stop()
        payloads = [stun.Message(bytes.fromhex(r["udp.payload"])) for r in capture.fields(["udp.payload"], "udp")]
        assert sum(m.method_number == 0x0CA for m in payloads) == 2, "PROBE and its echo, once"
        # Requests: the capture may end, as the interval is told, between the last one and its answer.
        assert sum(m.method == "BINDING" and m.kind == "request" for m in payloads) in (2, 3, 4)
    finally:
        world.device.stop()
        (world.device.state / "agent.conf").write_text(text)
