"""What becomes of the others while somebody misbehaves: memory and descriptors of processes, round trips on a session that
stands, calls."""

import contextlib
import os
import statistics
import threading
import time

from .process import wait_until


def _status(pid, field):
    """A number of a process, as /proc has it; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            for row in f:
                if row.startswith(field + ":"):
                    return int(row.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def status_kb(pid, field):
    """VmRSS, VmHWM, ..."""
    return _status(pid, field)


def sanitized(pid):
    """Whether a sanitizer is in a program: then it is slow, and keeps what was freed for a while."""
    return status_kb(pid, "VmSize") > 1 << 30


RELAY_PIPES = 32  # pairs that the server's relay keeps for the next connections, empty


def opened(pid):
    """What the process has open: paths, "socket:[...]", "pipe:[...]"."""
    ends = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            ends.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return ends


def descriptors(pid):
    """How many the process has open. Empty pipes that a relay keeps do not count, as long as they are not too many."""
    ends = opened(pid)
    pipes = [end for end in ends if end.startswith("pipe:")]
    assert len(pipes) <= 2 * RELAY_PIPES + 10, "pipes are left"
    return len(ends) - len(pipes)


def settled(pid, quiet_s=0.25, timeout=20.0):
    """The same once all is closed that somebody else is about to close: the number that stays for a while."""
    deadline = time.monotonic() + timeout
    found, since = descriptors(pid), time.monotonic()
    while time.monotonic() - since < quiet_s and time.monotonic() < deadline:
        time.sleep(0.02)
        now = descriptors(pid)
        if now != found:
            found, since = now, time.monotonic()
    return found


def closed_again(pids, before, timeout=20.0):
    """Nothing is open in the end that was not before; `before` is what settled() told."""
    wait_until(lambda: all(descriptors(pid) <= was for pid, was in zip(pids, before)), timeout,
               f"no connection is left of {pids}, which had {before} descriptors")


class Peak:
    """The highest memory of a process, watched until it ends (its last word goes with it)."""

    def __init__(self, pid):
        self.pid = pid
        self.kb = status_kb(pid, "VmHWM")
        self.done = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self.done:
            now = status_kb(self.pid, "VmHWM")
            if now == 0:
                return
            self.kb = max(self.kb, now)
            time.sleep(0.01)

    def stop(self):
        self.done = True
        self._thread.join()
        return self.kb


def children(device):
    """PIDs of what a device's idle part has started: of its calls."""
    return device.ns.run(["pgrep", "-P", device.process.pid], check=False).out.split()


def calls_of(ns):
    """PIDs of call processes in a device's namespace; without a sanitizer's helper, which looks at one that ends."""
    found = {pid for pid, name in ns.programs().items() if name == "beckon-agent-call"}
    return {pid for pid in found if _status(pid, "PPid") not in found}


def no_calls(ns, timeout=40):
    wait_until(lambda: not calls_of(ns), timeout, "no call is up")


@contextlib.contextmanager
def meanwhile(work):
    """Repeats `work` in another thread while the block runs, and once more after it; yields the list of how long each
    took. What it raises comes out."""
    took, failed, stop = [], [], threading.Event()

    def run():
        try:
            while True:
                last = stop.is_set()
                began = time.monotonic()
                work()
                took.append(time.monotonic() - began)
                if last:
                    return
        except BaseException as e:  # noqa: B902 (handed on)
            failed.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive(), "the other one is not served"
    if failed:
        raise failed[0]


def median(values):
    return statistics.median(values)
