"""The world of a hostile server (hostile_world.py) in the fast form of the call: NOTIFYs of its own with a sealed request, what
the device answers, and what its calls come to."""

import contextlib
import os
import re

from . import stun
from .hostile_server import Datagrams
from .hostile_watch import children
from .hostile_world import LIMIT_S, PORTS, candidate_of, dialled, registration_key, sealed, status_of
from .network import ROUTER_A
from .process import wait_until


def send(world, raw, device=None):
    local, peer, _ = world.server.registered[(device or world.device).id]
    world.server.datagram_to_peer(local, peer, raw)


def notification(world, device=None, txid=None, key=None, kind="request", more=b"", **values):
    """NOTIFY of his own: the flag, and what is named."""
    device = device or world.device
    values = {"CALL_WAITING": b"", "TAG": world.server.registered[device.id][2], **values}
    body = b"".join(stun.put(name.replace("_", "-"), value) for name, value in values.items() if value is not None)
    return stun.build("NOTIFY", kind, body + more, txid or os.urandom(12), key or registration_key(device))


def notify(world, call_id, box, device=None):
    """The device's answer to a request in NOTIFY."""
    raw = notification(world, device, CALL_ID=call_id, BOX=box)
    send(world, raw, device)
    return answer(world, raw)


def answer(world, raw, count=1):
    seen = world.server.attack
    return wait_until(lambda: seen.said("up", "NOTIFY", "success", raw[8:20])[count - 1:], LIMIT_S, "the device answers")[-1]


def request(world, candidates=(), **parts):
    """A request as alice would seal it, which nobody has sent: call ID, box and reply key. She is not there any more."""
    candidates = candidates or [(ROUTER_A, PORTS["alice"][1])]
    parts = {"PASSWORD": world.password.encode(), "TAG": world.server.registered[2133][2], **parts}
    call_id, _, box, reply = sealed(world, CANDIDATE=[candidate_of(*each) for each in candidates], **parts)
    return call_id, box, reply


def settle(world, recorded):
    """What was sent to the device before has been dealt with."""
    notify(world, recorded.get("CALL-ID"), recorded.get("BOX"))


@contextlib.contextmanager
def comes_to(world, *results, device=None, dials=0):
    """What is sent to the device meanwhile leads to calls that end so, and to no others; so many dials are made."""
    process = (device or world.device).process
    since, before = process.position(), dialled(world)

    def ends():
        return sorted(re.findall(r"audit call .* result=(\S+)", "\n".join(process.output().splitlines()[since:])))

    yield
    wait_until(lambda: len(ends()) >= len(results), LIMIT_S, f"{results}; there are {ends()}")
    wait_until(lambda: not children(device or world.device), LIMIT_S, "all calls have ended")
    assert ends() == sorted(results)
    assert dialled(world) == {**before, "callers": before["callers"] + dials}


def status(world, call_id, reply):
    """What the device says of a request, as he who made it reads it."""
    found = wait_until(lambda: [m for m in world.server.attack.said("up", "RESULT", "request") if m.get("CALL-ID") == call_id],
                       LIMIT_S, "RESULT")
    return status_of(world, found[0], reply)


class Offer226(Datagrams):
    """The same request by the first form, to a device that comes for it."""

    def __init__(self, call_id=None, box=None):
        super().__init__()
        self.call_id, self.box = call_id, box

    def opened(self, link):
        if (link.role, link.purpose) == ("device", "plain"):
            body = stun.put("EQUIPMENT-ID", link.device.to_bytes(8, "big")) + stun.put("CALL-ID", self.call_id) \
                + stun.put("BOX", self.box)
            self.server.to_peer(link, stun.build("CONNECT", "request", body, os.urandom(12), fingerprint=False))

    def up(self, link, message):
        if (link.role, link.purpose) == ("device", "plain"):
            self.messages.append((link, "up", message))  # the core knows of no such call
        else:
            super().up(link, message)

    def ends(self, link):
        if (link.role, link.purpose) != ("device", "plain"):
            super().ends(link)


class Instead(Datagrams):
    """Sends other datagrams in the place of each NOTIFY with a request."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def carry(self, way, local, peer, message):
        if way == "down" and message.get("BOX"):
            for raw in self.make(message):
                self.server.datagram_to_peer(local, peer, raw)
        else:
            super().carry(way, local, peer, message)
