"""The world in which a hostile caller acts, and what must hold whatever he does.

    beckon ---- router-a ---- [wan: mallory, at 91.7.7.x] ---- router-b ---- agent 2133 (web, echo, blob)
                                |
                              server

mallory has a grant and a key of the device; bob, who is `friend` by his own caller, is served meanwhile."""

import contextlib
import time
import types

from .hostile_caller import Mallory, Place, settle
from .hostile_watch import Peak, calls_of, closed_again, meanwhile, no_calls, sanitized, settled, status_kb
from .network import REQUESTER, ROUTER_A
from .peers import Service, blob, echo
from .services import PAGE


MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
GET = "GET / HTTP/1.0\r\n\r\n"
CALLS_MAX = 32        # of a device, at a time
SESSION_KB = 32 << 10  # what a call's process may need in all, whatever its caller does


def populated(world):
    """What a test has in its hands, for as long as the caller of this generator wants it."""
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    settle(net)
    services = Service(echo, net.device, 7777), Service(blob, net.device, 7778)
    silent = net.device.listen(7780, "127.0.0.1")
    silent.listen(2048)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777", "blob": "tcp:127.0.0.1:7778", "closed": "tcp:127.0.0.1:7779",
                            "silent": "tcp:127.0.0.1:7780"}, keepalive=25)  # fixed: it measures nothing meanwhile
    world.device.start()
    mallory = Mallory(world.alice, world.device, Place(net, 66), net.workdir)
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    friend = Mallory(bob, world.device, Place(net, 77), net.workdir, "friend")
    made = types.SimpleNamespace(net=net, beckon=world.beckon, server=world.server, device=world.device, alice=world.alice,
                                 bob=bob, mallory=mallory, friend=friend, server_pid=world.server.process.pid,
                                 device_pid=world.device.process.pid)
    made.sanitized = sanitized(made.server_pid)
    no_calls(net.device)
    made.idle = settled(made.device_pid)
    yield made
    for service in (*services, silent):
        service.close()


@contextlib.contextmanager
def as_it_was(field):
    """Each test leaves the programs up, the device registered, no call, no connection, and memory as it was."""
    no_calls(field.net.device)
    before = [status_kb(pid, "VmRSS") for pid in (field.server_pid, field.device_pid)]
    yield
    no_calls(field.net.device)
    assert field.server.process.running() and field.device.process.running()
    row, = [d for d in field.server.devices() if d["id"] == 2133]
    assert row["address"] and row["last_seen_s"] < 40, row
    closed_again([field.device_pid], [field.idle])
    grown = [status_kb(pid, "VmRSS") - was for pid, was in zip((field.server_pid, field.device_pid), before)]
    assert max(grown) <= (400 << 10 if field.sanitized else 8 << 10), f"memory grew by {grown} KB"


def beckon_calls(field):
    done = field.alice.run("connect", *MAPPED, 2133, "web", input=GET)
    assert done.out.endswith(PAGE), done.out + done.err


def newest_call(field, before):
    return (calls_of(field.net.device) - before).pop()


@contextlib.contextmanager
def harmed_nobody(field, slowest=3.0):
    """Another one's session goes on meanwhile, round trip after round trip, and he can call anew."""
    with field.friend.call() as other:
        stream, status = other.connect("echo:1")
        assert status == 200

        def round_trip():
            assert other.echoed(stream), "the other one's session has broken"
            time.sleep(0.01)

        with meanwhile(round_trip) as took:
            yield
        other.leave()
    assert max(took) < slowest, f"the other one waited {max(took):.2f} s"




@contextlib.contextmanager
def attacked(field, service="echo", *settings):
    """A session of mallory's with a stream to `service` in it, its process watched; others are served meanwhile, the
    process keeps to its memory, and the idle part does not even notice."""
    with harmed_nobody(field):
        before = calls_of(field.net.device)
        idle = status_kb(field.device_pid, "VmRSS")
        with field.mallory.call(service, *settings) as session:
            stream, status = session.connect(f"{service}:1")
            assert status == 200
            pid = newest_call(field, before)
            peak = Peak(pid)
            yield session, stream, pid
        used = peak.stop()
        print(f"call process: at most {used} KB")
        assert used < (800 << 10 if field.sanitized else SESSION_KB), f"the call's process took {used} KB"
        assert status_kb(field.device_pid, "VmRSS") - idle < 4096 or field.sanitized
