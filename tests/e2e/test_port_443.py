"""Networks that let out nothing but TCP to port 443, as some hotels, firms and schools have them: the device's, the caller's,
both. The server has both its TCP ports there, and its relay with them."""

import contextlib
import json
import os
import signal
import ssl

import pytest

from lab import wait_until
from lab.peers import Service, ask_blob, blob, digest, echo, expected, in_parallel, line, send
from lab.sides import SERVER
from lab.world import World

MIB = 1 << 20
SERVICES = {"blob": "tcp:127.0.0.1:9001", "digest": "tcp:127.0.0.1:9002", "echo": "tcp:127.0.0.1:9003"}
HANDLERS = {"blob": blob, "digest": digest, "echo": echo}
PORTS = {"blob": 8001, "digest": 8002}
PATH = r"\bpath: relayed "
ALICE, BOB = "port-preserving", "random-port"     # callers, by their networks
STRICT, ORDINARY = "port-preserving", "random-port"  # devices, likewise
CALLS = 5


def let_out_443_only(side):
    """Its router lets nothing else out: no UDP, and TCP to no other port."""
    side.router.ns.nft("table inet only443 { chain forward { type filter hook forward priority -10; policy accept; "
                       'iifname "lan0" ct direction original tcp dport != 443 counter drop; '
                       'iifname "lan0" ct direction original meta l4proto != tcp counter drop; }; }')
    side.flush()  # what was let out before is not let out any more


@pytest.fixture(scope="module")
def world(bindir):
    with contextlib.ExitStack() as stack:
        w = stack.enter_context(World(bindir, [ALICE, BOB], [STRICT, ORDINARY], services=SERVICES,
                                      settings={"request_port": 443, "agent_port": 443},
                                      before_start=lambda w: let_out_443_only(w.side("device", STRICT))))
        for device in w.devices.values():
            for number, handle in enumerate(HANDLERS.values(), 9001):
                stack.callback(Service(handle, device.ns, number).close)
        yield w


@pytest.fixture
def strict_callers(world):
    sides = [world.side("requester", kind) for kind in (ALICE, BOB)]
    for side in sides:
        let_out_443_only(side)
    yield
    for side in sides:
        side.router.ns.nft("delete table inet only443")


def transfers(world, device):
    """A megabyte each way at once, on one call that is relayed."""
    user = world.users[ALICE]
    process = user.forward(world.devices[device].id, *(f"{port}:{name}" for name, port in PORTS.items()),
                           options=("-v",), timeout=30)
    process.wait_line(PATH, 30)

    def connect(name):
        s = user.ns.connect("127.0.0.1", PORTS[name], timeout=30)
        s.settimeout(30)
        return s

    def down():
        with connect("blob") as s:
            assert ask_blob(s, 21, MIB) == (MIB, expected(21, MIB))

    def up():
        with connect("digest") as s:
            send(s, 22, MIB)
            s.shutdown(1)
            assert line(s) == f"{MIB} {expected(22, MIB)}"

    in_parallel([down, up])
    said = process.output()
    assert process.stop(signal.SIGINT) == 0
    world.wait_no_call(device)
    return said


def test_the_device_is_registered_over_443(world):
    world.devices[STRICT].process.wait_line("registered.* over TLS")
    assert next(d for d in world.server.devices() if d["id"] == world.devices[STRICT].id)["address"]


def test_a_device_that_gets_out_by_443_only(world):
    assert f"path: relayed {SERVER}:443; " in transfers(world, STRICT)


def test_a_caller_who_gets_out_by_443_only(world, strict_callers):
    transfers(world, ORDINARY)


def test_both_get_out_by_443_only(world, strict_callers):
    assert f"path: relayed {SERVER}:443; " in transfers(world, STRICT)


def test_many_calls_at_once_do_not_cross(world, strict_callers):
    """Of two users, all led by their names on the one port: each gets what it said itself, of its own call."""
    def one(kind, number):
        words = f"{kind} {number} ".encode() * 2000
        done = world.users[kind].run("connect", world.devices[STRICT].id, "echo", input=words.decode(), timeout=60)
        assert done.out.encode() == words

    wait_until(lambda: not callers_connections(world), 20, "what calls before had at the relay has ended")
    since = len(leases(world))
    in_parallel([lambda k=kind, n=n: one(k, n) for kind in (ALICE, BOB) for n in range(CALLS)])
    world.wait_no_call(STRICT, 40)
    wait_until(lambda: not callers_connections(world), 20, "what they had at the relay has ended")

    def served():
        return [row for row in leases(world)[since:] if " connections=0 " not in row]

    wait_until(lambda: len(served()) >= 2 * CALLS, 20, "the server has told of all")
    assert len(served()) == 2 * CALLS, "each of them by the relay, by an address of its own"


def callers_connections(world):
    """The server's connections with callers' networks."""
    places = {world.side("requester", kind).public for kind in (ALICE, BOB)}
    return [s for s in world.server.ns.sockets("state established sport = :443") if any(f"{place}:" in s for place in places)]


def leases(world):
    return [row for row in world.server.process.output().splitlines() if row.startswith("audit relay ")]


def first_flight(name, alpn):
    """A ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def answer_to(ns, name, alpn="beckon-call/1"):
    """What the server says to it, up to 5 bytes; b"" if it hangs up."""
    with ns.connect(SERVER, 443, timeout=20) as s:
        s.sendall(first_flight(name, alpn))
        try:
            return s.recv(5)
        except ConnectionResetError:
            return b""


def test_a_made_up_name_of_a_call_leads_nowhere(world):
    """Attack: connections with names of calls that there are not. Expectation: each is reset without a word, whatever protocol
    it asks for, also while there is a call; and that call is none the worse."""
    ns = world.users[BOB].ns
    process = world.users[ALICE].forward(world.devices[STRICT].id, "8003:echo", options=("-v",), timeout=30)
    process.wait_line(PATH, 30)
    for alpn in ("beckon-call/1", "beckon-agent/1", "beckon-request/1", "http/1.1"):
        for name in (f"{os.urandom(16).hex()}.call.invalid", f"{os.urandom(16).hex()}.CALL.invalid", "x.call.invalid"):
            assert answer_to(ns, name, alpn) == b""
    assert answer_to(ns, "server.lab", "beckon-agent/1")[:1] == b"\x16", "the server itself is there"
    with world.users[ALICE].ns.connect("127.0.0.1", 8003, timeout=30) as s:
        s.sendall(b"still there")
        assert s.recv(100) == b"still there"
    assert process.stop(signal.SIGINT) == 0
    world.wait_no_call(STRICT)


def test_a_device_that_is_too_early_comes_again(world, strict_callers):
    """The relay hears of the call's name later than the device of the call: it is reset, and dials again."""
    caller, router = world.users[ALICE].ns, world.side("device", STRICT).router.ns
    caller.nft("table inet late { chain out { type filter hook output priority 0; policy accept; "
               "tcp dport 443 @ih,0,32 0x00040000-0x0004ffff counter drop; }; }")  # Refresh, in the clear
    router.nft("table inet seen { chain in { type filter hook prerouting priority 0; policy accept; "
               'iifname "wan0" tcp sport 443 tcp flags & rst == rst counter; }; }')
    try:
        process = world.users[ALICE].start("ping", "-c", "1", "--json", world.devices[STRICT].id)
        wait_until(lambda: resets(router) > 0, 20, "the device is reset")
        caller.nft("delete table inet late")
        assert process.wait(30) == 0, process.output()
        assert json.loads(process.output())["path"].startswith("relayed")
    finally:
        for ns, table in ((caller, "late"), (router, "seen")):
            ns.nft(f"table inet {table} {{}}; delete table inet {table}")
    world.wait_no_call(STRICT)


def resets(ns):
    found = json.loads(ns.run(["nft", "-j", "list", "table", "inet", "seen"]).out)["nftables"]
    return next(e["counter"]["packets"] for o in found if "rule" in o for e in o["rule"]["expr"] if "counter" in e)
