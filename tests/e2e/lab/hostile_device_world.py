"""The world in which a hostile device acts, and what must hold whatever it does.

    beckon, bob ---- router-a ---- [wan: device 2140, at 91.7.7.x] ---- router-b ---- agent 2133 (web, echo)
                                       |
                                     server"""

import contextlib
import os
import time
import types

from . import stun
from .caller import Caller, Request
from .hostile_caller import Mallory, Place, settle
from .hostile_device import HostileDevice
from .hostile_watch import closed_again, meanwhile, no_calls, sanitized, settled, status_kb
from .network import REQUESTER, ROUTER_A, SERVER
from .peers import Service, echo


ID = 2140
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")


def populated(world):
    """What a test has in its hands, for as long as the caller of this generator wants it."""
    net = world.net
    net.router_a.inbound_maps += [("tcp", 5000, REQUESTER, 1600), ("tcp", 5001, REQUESTER, 1601)]
    net.router_a.load()
    settle(net)
    service = Service(echo, net.device, 7777)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777"})
    world.device.start()
    party = world.beckon.enrol_device(ID, ns=net.server)
    world.server.grant("alice", ID)
    world.alice.pin(party.uri())
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    evil = HostileDevice(party, net, 40)
    assert evil.register().kind == "success"
    crowd(evil, world.server.process.pid)
    yield types.SimpleNamespace(net=net, beckon=world.beckon, server=world.server, device=world.device, alice=world.alice,
                                bob=bob, evil=evil, friend=Mallory(bob, world.device, Place(net, 77), net.workdir, "friend"),
                                server_pid=world.server.process.pid,
                                sanitized=sanitized(world.server.process.pid))
    evil.close()
    service.close()


def crowd(evil, server_pid):
    """What many connections at one time take, the allocator keeps for the next ones: that is no growth."""
    idle = settled(server_pid)
    with contextlib.ExitStack() as held:
        for n in range(300):
            with contextlib.suppress(OSError):
                held.enter_context(evil.stream("beckon-renew/1", place=Place(evil.net, 90 + n % 5)))
    closed_again([server_pid], [idle], 25)


@contextlib.contextmanager
def others_are_served(field):
    """During each test somebody calls device 2133, again and again; afterwards the server is as it was."""
    idle, before = settled(field.server_pid), status_kb(field.server_pid, "VmRSS")
    assert field.evil.register().kind == "success"

    def one():
        with field.friend.call() as session:
            stream, status = session.connect("echo:1")
            assert status == 200 and session.echoed(stream)
            session.leave()
        time.sleep(0.5)  # a device remembers 512 calls, for as long as a tag or time of theirs may be fresh

    with meanwhile(one) as took:
        yield
    assert len(took) >= 1 and max(took) < (15.0 if field.sanitized else 6.0), took
    no_calls(field.net.device)
    assert field.server.process.running() and field.device.process.running()
    closed_again([field.server_pid], [idle], 25)
    grown = status_kb(field.server_pid, "VmRSS") - before
    assert grown <= (400 << 10 if field.sanitized else 12 << 10), f"the server grew by {grown} KB"
    assert {d["id"] for d in field.server.devices() if d["address"]} <= {2133, ID}


def calls_evil(field):
    """A caller of the hostile device, connected and with its box key."""
    return Caller(types.SimpleNamespace(ns=Place(field.net, 80), state=field.alice.state), SERVER, ID)


def ring(caller):
    """217 on its way; the request, to which the device's box key opens."""
    request = Request(caller, ID).password("whatever")
    caller.socket.sendall(request.message())
    return request


def lookup(device):
    return stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")), os.urandom(12), fingerprint=False)


def answered(caller, seconds=12):
    caller.socket.settimeout(seconds)
    answer = caller.receive()
    assert answer is not None and answer.method == "CONNECT", answer
    return answer.error_code or 200
