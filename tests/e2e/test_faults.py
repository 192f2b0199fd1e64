"""What happens to lines and boxes during a call: addresses change, cables come out, routers and servers restart, machines
sleep, packets are lost, late, doubled and overtaken. Each time the call recovers, or ends with a reason at both ends,
within a bound; streams that were open end as they should or are told that they are cut; it is never half open.

Each kind of fault is tried once, at one end and for a short time. What came of it, and after how long, is printed (-s).

BECKON_FAULT_MIB   size of the transfers that faults fall into (64; the long runs take 1024)
BECKON_FAULT_LONG  at both ends, and for as long as it takes: a quarter of an hour in all"""

import contextlib
import hashlib
import os
import signal
import threading
import time
import types

import pytest

from lab import wait_until
from lab.peers import Service, blob, digest, echo, expected, line, send
from lab.sides import line_program
from lab.world import World

MIB = 1 << 20
SIZE = int(os.environ.get("BECKON_FAULT_MIB", "64")) * MIB
LONG = bool(os.environ.get("BECKON_FAULT_LONG"))
SERVICES = {"blob": "tcp:127.0.0.1:9001", "digest": "tcp:127.0.0.1:9002", "echo": "tcp:127.0.0.1:9004"}
PORTS = {"blob": 8001, "digest": 8002, "echo": 8004}
ENDS = ["requester", "device"]
HOME = "port-preserving"
SLOWEST = 4 * MIB  # a second, that lines carry here
SETTLED_S = 120  # by then a call has recovered or is over, whatever happened to it
_BLOCK = """table inet direct {}; delete table inet direct
table inet direct { chain forward { type filter hook forward priority -1; policy accept;
iifname "lan0" ip daddr { 4.17.0.0/16, 202.204.0.0/16 } drop; }; }"""


def block_direct(world):
    """Nothing passes between the two but by the server; dropped before the routers make anything of it."""
    for side in (world.ends.requester, world.ends.device):
        side.router.ns.nft(_BLOCK)


def clear_direct(world):
    for side in (world.ends.requester, world.ends.device):
        side.router.ns.nft("table inet direct {}; delete table inet direct")


@pytest.fixture(scope="module")
def world(bindir):
    with World(bindir, [HOME], [HOME], services=SERVICES, agent={"keepalive": 5}, lines=line_program(bindir)) as w:
        w.user, w.device = w.users[HOME], w.devices[HOME]
        services = [Service(handle, w.device.ns, port, timeout=SETTLED_S)
                    for handle, port in ((blob, 9001), (digest, 9002), (echo, 9004))]
        w.ends = types.SimpleNamespace(requester=w.net.requesters[HOME], device=w.net.devices[HOME])
        yield w
        for service in services:
            service.close()


@pytest.fixture(autouse=True)
def _as_before(world):
    """Each test starts on a network in order, with the device registered and no call."""
    yield
    clear_direct(world)
    for side in (world.ends.requester, world.ends.device):
        side.line.set()
    world.wait_no_call(HOME, SETTLED_S)
    wait_until(lambda: world.call(HOME, HOME).path, 90, "the device can be called again")


def told(what):
    """For the record."""
    print(f"\n    {os.environ.get('PYTEST_CURRENT_TEST', '').split('::')[-1].split(' ')[0]}: {what}", flush=True)


class Call:
    """`beckon forward` to all services; as a context manager it is ended with the block. `relayed`: at first; with `stays` as
    long as nobody clears the direct path."""

    def __init__(self, world, relayed=False, stays=False):
        self.world = world
        if relayed:
            block_direct(world)
        self.process = world.user.forward(world.device.id, *(f"{p}:{s}" for s, p in PORTS.items()), options=("-v",), timeout=40)
        try:
            self.process.wait_line(r"\bpath: relayed" if relayed else r"\bpath: (punched|mapped|host)", 40)
        except AssertionError:
            self.process.stop(signal.SIGINT)  # nobody else has it
            raise
        if not stays:
            clear_direct(world)

    def connect(self, name, timeout=SETTLED_S):
        return self.world.user.ns.connect("127.0.0.1", PORTS[name], timeout=timeout)

    def upgraded(self, timeout=60):
        """A direct path has been found beside the relay."""
        return self.process.wait_line(r"\bpath: punched", timeout)

    def says(self, words=b"hello", timeout=5):
        with self.connect("echo", timeout) as s:
            s.sendall(words)
            got = b""
            while len(got) < len(words):
                piece = s.recv(65536)
                if not piece:
                    raise ConnectionResetError("the stream ended")
                got += piece
            return got == words

    def works(self, timeout=20):
        with contextlib.suppress(OSError):
            return self.process.running() and self.says(timeout=timeout)
        return False

    def settles(self, timeout=SETTLED_S):
        """"recovered": new streams work, on the same call or on a new one that `beckon` made. "over": both ends know, and the caller was told why."""
        since = time.monotonic()
        deadline = since + timeout
        while time.monotonic() < deadline:
            if not self.process.running():
                assert self.process.wait() not in (0, 70), self.process.output()
                assert self.process.lines[-1].startswith("beckon: "), self.process.output()
                self.world.wait_no_call(HOME, max(1, deadline - time.monotonic()))
                told(f"over, {time.monotonic() - since:.1f} s later: {self.process.lines[-1]}")
                return "over"
            if self.works(5):
                told(f"recovered, {time.monotonic() - since:.1f} s later")
                wait_until(lambda: self.world.calls_on(HOME) == 1, max(1, deadline - time.monotonic()),
                           "the device has one call, not the former one besides")
                return "recovered"
            time.sleep(0.2)
        raise AssertionError(f"neither recovered nor over after {timeout} s; half open:\n{self.process.output()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop(signal.SIGINT)


class Transfer:
    """A blob on its way down. pause_at() returns once a quarter of it is here, and nothing more is read until go()."""

    def __init__(self, call, size=SIZE, seed=21):
        self.size, self.seed = size, seed
        self.socket = call.connect("blob")
        self.socket.sendall(f"{seed} {size}\n".encode())
        self._quarter, self._go = threading.Event(), threading.Event()
        self.outcome = None
        self.began = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        total, sha = 0, hashlib.sha256()
        try:
            while piece := self.socket.recv(1 << 18):
                total += len(piece)
                sha.update(piece)
                if total >= self.size // 4 and not self._quarter.is_set():
                    self._quarter.set()
                    self._go.wait()
            whole = total == self.size and sha.hexdigest() == expected(self.seed, self.size)
            self.outcome = "whole" if whole else f"ended as if it were all, after {total} of {self.size}"
        except ConnectionError:
            self.outcome = "cut"
        except TimeoutError:
            self.outcome = f"silent after {total} of {self.size}"

    def pause_at_a_quarter(self):
        assert self._quarter.wait(60 + self.size / SLOWEST)

    def finish(self):
        """"whole" or "cut"; everything else is wrong."""
        self._go.set()
        went_on = time.monotonic()
        self._thread.join(SETTLED_S + 10 + self.size / SLOWEST)
        self.socket.close()
        told(f"transfer of {self.size // MIB} MiB {self.outcome}, {time.monotonic() - went_on:.1f} s after it was read again, "
             f"{time.monotonic() - self.began:.1f} s after its begin")
        assert self.outcome in ("whole", "cut"), self.outcome or "neither ended nor cut"
        return self.outcome


# -- addresses ------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ENDS if LONG else ["requester"])
def test_address_changes_during_a_relayed_transfer_that_upgrades(world, end):
    router = getattr(world.ends, end).router
    before = router.wan
    try:
        with Call(world, relayed=True) as call:
            transfer = Transfer(call)
            transfer.pause_at_a_quarter()
            call.upgraded()
            assert call.works()
            router.renumber(before.rsplit(".", 1)[0] + ".77")
            outcome = call.settles()
            transfer.finish()
            if outcome == "recovered":
                assert call.says(b"z" * 300_000, 30)
    finally:
        router.renumber(before)


def test_a_relayed_transfer_is_not_disturbed_by_the_upgrade(world):
    with Call(world, relayed=True) as call:
        transfer = Transfer(call)
        transfer.pause_at_a_quarter()
        call.upgraded()
        assert call.says(b"y" * 100_000, 20)
        assert transfer.finish() == "whole"
        assert call.works()


def test_back_to_the_relay_when_the_direct_path_dies(world):
    """New streams go by the standby soon; nothing ends but what was on the direct path; both ends drop that; and when
    it works again, they go directly."""
    sides = (world.ends.requester, world.ends.device)
    with Call(world, relayed=True) as call, contextlib.ExitStack() as stack:
        call.upgraded()
        assert call.works()
        doomed = stack.enter_context(call.connect("echo"))
        doomed.sendall(b"x")
        assert doomed.recv(1) == b"x"
        since, since_device = call.process.position(), world.device.process.position()
        for name, a, b in (("there", *sides), ("back", *sides[::-1])):
            world.net.block(f"ip saddr {a.public} ip daddr {b.public}", name)
            stack.callback(world.net.block_clear, name)
        assert call.settles(30) == "recovered"
        assert "is lost: it does not answer any more" in call.process.wait_line("is lost: ", 5, since)
        with pytest.raises(ConnectionError):
            doomed.recv(1)
        world.device.process.wait_line("session with the caller: silent", 50, since_device)
        assert call.works() and world.calls_on(HOME) == 1
        since, began = call.process.position(), time.monotonic()
        for name in ("there", "back"):
            world.net.block_clear(name)
        call.process.wait_line(r"\bpath: punched", 90, since)
        told(f"direct again, {time.monotonic() - began:.1f} s after it could be")
        assert call.works()


# -- cables, routers, machines ----------------------------------------------------------------------

@pytest.mark.parametrize("seconds", [5, *([30, 120] if LONG else [])])
@pytest.mark.parametrize("end", ENDS if LONG else ["requester"])
def test_cable_out(world, end, seconds):
    router = getattr(world.ends, end).router
    with Call(world) as call:
        transfer = Transfer(call)
        transfer.pause_at_a_quarter()
        router.unplug()
        time.sleep(seconds)  # it is the time that is tested
        router.plug()
        outcome = call.settles()
        assert transfer.finish() == "whole" or outcome == "over" or seconds > 5
        if seconds == 5:
            assert outcome == "recovered"


if LONG:
    def test_cable_never_comes_back(world):
        """Both ends find out by themselves."""
        router = world.ends.requester.router
        with Call(world) as call:
            transfer = Transfer(call)
            transfer.pause_at_a_quarter()
            router.unplug()
            try:
                out = time.monotonic()
                said = call.process.wait_line("connection to the device was lost: ", SETTLED_S)  # and why
                told(f"over, {time.monotonic() - out:.1f} s later: {said}")
                assert transfer.finish() == "cut"
                world.wait_no_call(HOME, SETTLED_S)
                told(f"the device knows, too, {time.monotonic() - out:.1f} s later")
            finally:
                router.plug()


@pytest.mark.parametrize("end", ENDS if LONG else ["requester"])
def test_router_rebooted(world, end):
    router = getattr(world.ends, end).router
    with Call(world) as call:
        transfer = Transfer(call)
        transfer.pause_at_a_quarter()
        router.reboot()
        call.settles()
        transfer.finish()


def test_the_caller_s_machine_sleeps(world):
    """Frozen for longer than a NAT remembers anything: here, its router forgets meanwhile."""
    with Call(world) as call:
        pids = [pid for pid, name in world.user.ns.programs().items() if name == "beckon"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        world.ends.requester.flush()
        time.sleep(5)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        call.settles()


# -- the server -----------------------------------------------------------------------------------

def test_server_restarted_under_a_direct_call(world):
    """It does not notice."""
    with Call(world) as call:
        transfer = Transfer(call)
        transfer.pause_at_a_quarter()
        world.server.process.kill()
        assert call.works()
        world.server.start()
        assert transfer.finish() == "whole"
        assert call.works()


def test_server_restarted_under_a_relayed_call(world):
    """Its relay goes with it: what is relayed ends, and the call recovers or is over."""
    with Call(world, relayed=True, stays=True) as call:
        transfer = Transfer(call)
        transfer.pause_at_a_quarter()
        world.server.process.kill()
        world.server.start()
        call.settles()
        transfer.finish()


# -- lines ----------------------------------------------------------------------------------------

FAULTS = {"10 % lost": (dict(loss=10), MIB // 8), "200 ms": (dict(delay_ms=100), 4 * MIB), "jitter": (dict(delay_ms=20, jitter_ms=30), 4 * MIB),
          "doubled": (dict(duplicate=10), 16 * MIB), "overtaken": (dict(reorder=5), 2 * MIB),
          "all": (dict(delay_ms=40, jitter_ms=20, loss=2, duplicate=3, reorder=2), MIB // 4)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_line(world, fault):
    """On the device's side, both ways: calls are made, and bytes arrive whole, both ways."""
    settings, size = FAULTS[fault]
    world.ends.device.line.set(**settings)
    for attempt in range(3):  # a SYN lost three times in a row takes longer than anybody waits
        try:
            call = Call(world)
            break
        except AssertionError:
            assert settings.get("loss") and attempt < 2
    with call:
        assert Transfer(call, size).finish() == "whole"
        with call.connect("digest") as s:
            send(s, 22, size)
            s.shutdown(1)
            assert line(s) == f"{size} {expected(22, size)}"
