"""The programs on a network of many sides: a device on each device side, a user on each requester side, who may call
all of them and has their pins; calls, and what the device knows of them."""

import collections
import contextlib
import json
import pathlib
import re

from .beckon import Beckon
from .process import Timeout, wait_until
from .sides import SERVER, SERVER6, SERVER_NAME, SidesNetwork
from .turn import Coturn, coturn_settings

READY_S = 90  # a device whose network drops all UDP finds out by waiting
CALL_S = 45

Try = collections.namedtuple("Try", "path ms error")
Try.__doc__ = """One call: the kind of path it took and after how many ms its session stood, or why there was none."""


def path_of(text):
    """The first word of what `beckon` says of a path."""
    word = re.match(r"[a-z]+", text or "")
    return word[0] if word else None


class World:
    """Context manager. `relay`: beckond's own, or coturn. `settings`: further lines of beckond.conf. `agent`:
    settings of agent.conf. `services`: of every device, {name: target}."""

    def __init__(self, bindir, requesters, devices, pairs=(), mapping=False, relay="beckond", settings=None, agent=None,
                 services=None, lines=None, before_start=None):
        self._network = SidesNetwork(requesters, devices, pairs, mapping, lines)
        self._bin = bindir
        self.relay = relay
        self._settings = dict(settings or {})
        if relay == "coturn":
            self._settings = {**coturn_settings(), **self._settings}
        self._agent = agent or {}
        self._services = services or {}
        self._before_start = before_start
        self._stack = contextlib.ExitStack()
        self.coturn = None
        self.users, self.devices = {}, {}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.net = stack.enter_context(self._network)
            self.beckon = Beckon(self.net, self._bin)
            if self.relay == "coturn":
                self.coturn = Coturn(self.net.relay)
            self.beckon.start_server(SERVER_NAME, SERVER, SERVER6, **self._settings)
            self.server = self.beckon.server
            for side in [*self.net.devices.values(), *(pair[1] for pair in self.net.pairs.values())]:
                self._enrol_device(side)
            for side in [*self.net.requesters.values(), *(pair[0] for pair in self.net.pairs.values())]:
                self._enrol_user(side)
            if self._before_start:
                self._before_start(self)
            for device in self.devices.values():
                device.start(ready=False)
            for device in self.devices.values():
                device.process.wait_line(r"\bready\b", READY_S)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _enrol_device(self, side):
        device = self.beckon.enrol_device(2000 + side.number, side.host, services=self._services)
        device.configure(**self._agent)
        self.devices[side.kind] = device

    def _enrol_user(self, side):
        self.users[side.kind] = self.beckon.enrol_user(f"user-{side.number}", side.host, devices=["all"],
                                                       pins=self.devices.values())

    def side(self, role, kind):
        if kind in self.net.pairs:
            return self.net.pairs[kind][0 if role == "requester" else 1]
        return (self.net.requesters if role == "requester" else self.net.devices)[kind]

    # -- calls ------------------------------------------------------------------------------------

    def call(self, requester, device, *options):
        """`beckon ping` with one round trip: a Try."""
        user, device = self.users[requester], self.devices[device]
        try:
            done = user.run("ping", *options, device.id, "-c", "1", "--json", check=False, timeout=CALL_S)
        except Timeout:
            return Try(None, None, f"not over after {CALL_S} s")
        if done.status != 0:
            said = done.err.strip().splitlines() or [""]
            return Try(None, None, f"status {done.status}: {said[-1]}")
        told = json.loads(done.out)
        return Try(path_of(told["path"]), round(told["phases_ms"]["up"], 1), None)

    def calls_on(self, device):
        """How many processes on that device serve a call. (The same program also holds the tunnel where UDP is blocked.)"""
        found = 0
        for pid, name in self.devices[device].ns.programs().items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if name == "beckon-agent-call":
                    found += b"tunnel" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return found

    def wait_no_call(self, device, timeout=30.0):
        wait_until(lambda: not self.calls_on(device), timeout, "the device's call process ends")
