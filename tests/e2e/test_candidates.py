"""Every way in which a caller and a device can meet, each where it is the only or the best one, and what is told of
them: the candidates table, the reasons, the drawn page. And a call that finds a better way while it lasts."""

import contextlib
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from lab import nft_rules, wait_until
from lab.peers import Service, echo
from lab.sides import RELAY
from lab.world import World

USAGE, NO_PATH, NO_MAPPING = 2, 6, 7
PATIENCE_S = 40  # for what comes at once where a machine has nothing else to do
ROUNDS_S = 150  # a call looks for a better way at 2, 10, 30, 60 and 120 s
KINDS = {"host", "mapped", "punched", "relayed"}
OUTCOMES = {"won", "not needed", "no connection", "failed", "not gathered", "not tried"}


@pytest.fixture(scope="module")
def world(bindir):
    sides = ["port-preserving", "random-port"]
    with World(bindir, [*sides, "none"], [*sides, "ipv6"], services={"echo": "tcp:127.0.0.1:9004"}) as world:
        yield world


@contextlib.contextmanager
def granting(router):
    router.start_upnp()
    try:
        yield
    finally:
        router.stop_upnp()


def ping(world, requester, device, *options, status=0, count=1):
    user, device = world.users[requester], world.devices[device]
    done = user.run("ping", "--json", "-c", count, *options, device.id, check=False, timeout=60)
    assert done.status == status, done.out + done.err
    got = json.loads(done.out)
    for row in got["candidates"]:
        assert row["side"] in ("ours", "device") and row["kind"] in KINDS and row["outcome"] in OUTCOMES, row
        assert row["outcome"] == "won" or row["reason"], f"no reason: {row}"
        assert 0 <= row["begun_ms"] <= row["ended_ms"], row
        assert ("address" in row) == ("known_ms" in row), row
    return got


def rows(got, side=None, kind=None, outcome=None):
    return [row for row in got["candidates"]
            if side in (None, row["side"]) and kind in (None, row["kind"]) and outcome in (None, row["outcome"])]


def won(got):
    return sorted((row["side"], row["kind"], row["address"]) for row in rows(got, outcome="won"))


# -- each way -------------------------------------------------------------------------------------

def test_relayed_when_nothing_else_works(world):
    """Neither side's port can be foretold, and no router grants anything: by then it is known, too."""
    got = ping(world, "random-port", "random-port", count=3)
    (side, kind, address), = won(got)
    assert (side, kind) == ("ours", "relayed") and got["path"] == f"relayed {address}"
    mapped, = rows(got, "ours", "mapped")
    assert mapped["outcome"] == "not gathered"
    assert all(f"{name}: " in mapped["reason"] for name in ("PCP", "NAT-PMP", "UPnP-IGD"))
    assert {row["side"] for row in rows(got, kind="punched")} == {"ours", "device"}
    assert {row["outcome"] for row in rows(got, kind="punched")} == {"no connection"}


def test_punched_between_routers_that_keep_ports(world):
    got = ping(world, "port-preserving", "port-preserving")
    assert [(side, kind) for side, kind, _ in won(got)] == [("device", "punched"), ("ours", "punched")]
    theirs, ours = [address for _, _, address in won(got)]
    assert theirs.startswith(world.net.devices["port-preserving"].public + ":")
    assert ours.startswith(world.net.requesters["port-preserving"].public + ":")
    assert got["path"] == f"punched {theirs}"


def test_own_router_grants(world):
    side = world.net.requesters["random-port"]
    with granting(side.router):
        got = ping(world, "random-port", "random-port", "--path", "mapped")  # which the request waits for
        (whose, kind, address), = won(got)
        assert (whose, kind) == ("ours", "mapped") and address.startswith(side.public + ":")
        assert nft_rules(side.router.ns, "upnp_prerouting") == []


def test_device_is_dialled_where_its_router_grants(world):
    side = world.net.devices["random-port"]
    with granting(side.router):
        got = ping(world, "random-port", "random-port", "--path", "mapped,punched")
        (whose, kind, address), = won(got)
        assert (whose, kind) == ("device", "mapped") and address.startswith(side.public + ":")
        assert got["path"] == f"mapped {address}"
        wait_until(lambda: side.router.mappings() == [], PATIENCE_S, "the device takes its mapping back")


def test_own_public_address(world):
    side = world.net.requesters["none"]
    got = ping(world, "none", "random-port")
    (whose, kind, address), = won(got)
    assert (whose, kind) == ("ours", "host") and address.startswith(side.address + ":")


# -- restricted -----------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["punched", "relayed"])
def test_only_what_is_asked_for(world, path):
    got = ping(world, "port-preserving", "port-preserving", "--path", path)
    assert got["path"].startswith(path + " ")
    left_out = {row["kind"] for row in got["candidates"] if row.get("reason") == "left out by --path"}
    assert left_out >= KINDS - {path} - {"mapped"} and path not in left_out


def test_no_way_and_why(world):
    """One line names what could not be had, and the table what came of the rest."""
    got = ping(world, "random-port", "random-port", "--path", "mapped,punched", status=NO_PATH)
    assert "UPnP-IGD: " in got["error"] and "left out by --path" in got["error"] and got["status"] == "no-path"
    assert "path" not in got and "up" not in got["phases_ms"] and not rows(got, outcome="won")
    got = ping(world, "random-port", "random-port", "--path", "mapped", status=NO_MAPPING)
    assert {row["outcome"] for row in got["candidates"]} == {"not gathered"}


@pytest.mark.parametrize("words", ["", "relay", "host,", ",host", "host mapped", "HOST", "host,host,x"])
def test_no_such_path(world, words):
    user = world.users["none"]
    done = user.run("ping", f"--path={words}", 2101, check=False)
    assert done.status == USAGE and "--path" in done.err


# -- told -----------------------------------------------------------------------------------------

def test_told_as_it_happens(world):
    user = world.users["random-port"]
    said = user.run("ping", "-v", "-c", 3, world.devices["random-port"].id)
    lines = [line.removeprefix("beckon: ") for line in said.err.splitlines()]
    timed = [line for line in lines if re.match(r" *\d+\.\d ms  ", line)]
    times = [float(line.split()[0]) for line in timed]
    assert times == sorted(times)
    for what in (r"candidate: host 192\.168\.1\.11:\d+", r"candidate: punched \S+", r"candidate: relayed \S+",
                 "no mapped candidate: PCP: ", r"simultaneous open with the device's punched \S+",
                 r"path: relayed \S+; the device came by the relay"):
        assert any(re.search(what, line) for line in timed), f"{what}: {said.err}"
    summary = [line for line in lines if line.startswith("summary: ")]
    assert len(summary) >= 5 and summary == lines[-len(summary):]
    assert sum(": won (" in line for line in summary) == 1
    table = said.out[said.out.index("candidates:\n"):].splitlines()[1:]
    assert len(table) == len(summary)
    assert sum(re.match(r"  (ours|device) +(host|mapped|punched|relayed) .*\|[ =]{40}\|", line) is not None
               for line in table) == len(table)


def page_of(user, *words, status=0):
    path = user.state / "page.html"
    assert user.run("ping", "--html", path, "-c", 3, *words, check=False, timeout=60).status == status
    text = path.read_text(encoding="utf-8")
    path.unlink()
    assert text.startswith("<!DOCTYPE html>") and "<script" not in text and "http" not in text
    return ElementTree.fromstring(text), text


def test_drawn(world):
    """Well-formed, by itself, with a bar for every phase and a row for every candidate."""
    page, text = page_of(world.users["random-port"], world.devices["random-port"].id)
    assert len(page.findall(".//svg/g")) >= 4 + 4 and len(page.findall(".//svg//rect")) >= 4 + 3
    table = [["".join(cell.itertext()) for cell in row] for row in page.findall(".//tbody/tr")]
    assert [row[:2] for row in table if row[3] == "won"] == [["ours", "relayed"]]
    assert any("UPnP-IGD: " in row[6] for row in table)


def test_failure_is_drawn_too(world):
    page, text = page_of(world.users["random-port"], "--path", "mapped,punched", world.devices["random-port"].id,
                         status=NO_PATH)
    assert "The call failed: no-path" in text and len(page.findall(".//tbody/tr")) >= 4


def test_page_that_cannot_be_written(world):
    done = world.users["none"].run("ping", "--html", "/nowhere/page.html", "-c", 1, world.devices["random-port"].id,
                                   check=False)
    assert done.status == 1 and "--html /nowhere/page.html: No such file" in done.err and "path: host" in done.out


# -- a better way, later --------------------------------------------------------------------------

def test_relayed_call_moves_to_a_direct_path_and_back(world):
    """What is open stays where it is; new connections take the better way, and the relay again when that is cut."""
    net = world.net
    ends = [net.requesters["port-preserving"].public, net.devices["port-preserving"].public]
    between = "ip saddr {0} ip daddr {1}"
    user, device = world.users["port-preserving"], world.devices["port-preserving"]
    with contextlib.ExitStack() as stack:
        for i, (a, b) in enumerate((ends, ends[::-1])):
            net.block(between.format(a, b), name=f"direct{i}")
            stack.callback(net.block_clear, f"direct{i}")
        stack.callback(net.block_clear, "cut")
        stack.enter_context(contextlib.closing(Service(echo, device.ns, 9004)))
        process = stack.enter_context(user.forward(device.id, "8001:echo", options=("-v",), timeout=PATIENCE_S))
        process.wait_line("^ready$", PATIENCE_S)
        process.wait_line("path: relayed ", PATIENCE_S)

        def connect():
            return stack.enter_context(user.ns.connect("127.0.0.1", 8001, timeout=PATIENCE_S))

        def answers(s, word):
            s.sendall(word)
            got = b""
            while len(got) < len(word):
                piece = s.recv(100)
                assert piece, "the connection ended"
                got += piece
            assert got == word

        first = connect()
        answers(first, b"by the relay")
        for i in range(2):
            net.block_clear(f"direct{i}")
        process.wait_line("path: punched ", ROUNDS_S)
        second = connect()
        answers(second, b"directly")
        answers(first, b"still by the relay")
        since = process.position()
        net.wan.nft("table inet cut { chain forward { type filter hook forward priority 0; "
                    f"{between.format(*ends)} meta l4proto tcp reject with tcp reset; }}; }}")
        with pytest.raises(ConnectionError):
            answers(second, b"into the void")
        process.wait_line("going on by another", PATIENCE_S, since=since)
        third = connect()
        answers(third, b"by the relay again")
        answers(first, b"as if nothing had been")
        assert process.stop() == 0
    world.wait_no_call("port-preserving", PATIENCE_S)


def test_another_address_of_ours(world):
    """Every connection of before is dead and cannot say so: the call ends with a reason long before TCP would, and the
    next connection calls anew."""
    side, device = world.net.requesters["port-preserving"], world.devices["port-preserving"]
    service = Service(echo, device.ns, 9004)
    user = world.users["port-preserving"]

    def move(old, new):
        side.host.ip("addr", "del", f"{old}/24", "dev", "eth0")
        side.host.address("eth0", f"{new}/24")
        side.host.route("default", side.router.lan)
        wait_until(lambda: side.host.reachable(side.router.lan), 10, "the host is on its new address")

    moved = False
    process = user.forward(device.id, "8001:echo", options=("-v",), timeout=PATIENCE_S)
    try:
        process.wait_line("^ready$", PATIENCE_S)
        with user.ns.connect("127.0.0.1", 8001, timeout=PATIENCE_S) as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
            moved = True
            move(side.address, "192.168.1.12")
            process.wait_line("the network has changed", PATIENCE_S)
            with pytest.raises(ConnectionError):
                s.recv(1)
        process.wait_line("does not answer since the network changed; the next connection calls again", PATIENCE_S)
        with user.ns.connect("127.0.0.1", 8001, timeout=PATIENCE_S) as s:
            s.sendall(b"y")
            assert s.recv(1) == b"y"
        assert process.stop() == 0
    finally:
        process.stop()
        if moved:
            move("192.168.1.12", side.address)
        service.close()


# -- one family only ---------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["port-preserving", "ipv6"])
def test_a_device_does_not_try_what_it_has_no_route_to(world, kind):
    """The server's name has addresses of both families, the device's host has one of them: it is ready at once."""
    device = world.devices[kind]
    device.stop()
    process = device.start(ready=False)
    line = process.wait_line(r"registered; the server sees|the server does not answer", PATIENCE_S)
    ready = process.wait_line(r"\bready\b", PATIENCE_S)
    assert "does not answer" not in line and ready


# -- several servers ------------------------------------------------------------------------------

def test_the_next_server_is_asked(world):
    """The first of the list is a machine without a server."""
    user = world.users["none"]
    path = user.state / "beckon.conf"
    before = path.read_text()
    try:
        path.write_text(re.sub(r"(?m)^server = (.*)$", rf"server = {RELAY}, \1", before))
        said = user.run("ping", "-v", "-c", 1, world.devices["random-port"].id)
        assert f"asking server {RELAY}" in said.err and f"server {RELAY}: " in said.err
        assert "path: host " in said.out
        path.write_text(re.sub(r"(?m)^server = .*$", f"server = {RELAY}, {RELAY}", before))
        assert user.run("ping", "-c", 1, world.devices["random-port"].id, check=False).status == 8
    finally:
        path.write_text(before)
