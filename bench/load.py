"""Loads made by bench/devices.c, for the modules that need them."""

import itertools
import json

UDP_PORT, ECHO_PORT = 1200, 1400


class Devices:
    """A number of devices of one beckond, each at its own loopback address. Counters of tags only ever rise."""

    def __init__(self, ctx, master, number, port=UDP_PORT, first=1):
        self.ctx, self.master, self.number, self.port, self.first = ctx, master, number, port, first
        self.counter = [2]

    def some(self, number):
        """The first so many of them."""
        part = Devices(self.ctx, self.master, number, self.port, self.first)
        part.counter = self.counter
        return part

    def _call(self, mode, pid, **more):
        got = call(self.ctx, mode, self.port, devices=self.number, first=self.first, master=self.master,
                   counter=self.counter[0], subject=pid, **more)
        self.counter[0] = got["counter"]
        return got

    def fill(self, pid=None, timeout=900):
        got = self._call("fill", pid, timeout=timeout)
        if got["registered"] != self.number or got["wrong"]:
            raise RuntimeError(f"not all devices could be registered: {got}")
        return got

    def burst(self, pid, count, kind="register", **more):
        """ns of the process's time for one datagram; it always finds full batches."""
        return per_datagram(self.bursts(pid, count, kind, **more), kind)

    def bursts(self, pid, count, kind="register", **more):
        """All that is known of it."""
        return self._call("burst", pid, kind=kind, count=count, **more)

    def stream(self, pid, count, kind="register", **more):
        """The same, as they come."""
        return per_datagram(self._call("stream", pid, kind=kind, count=count, **more), kind)


_numbers = itertools.count(1)


def start(ctx, mode, port, cpu=None, stdin=None, random=False, **options):
    words = [ctx.tool("devices"), mode, "--to", f"127.0.0.1:{port}"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", value]
    if random:
        words.append("--random")
    return ctx.start(words, cpu=ctx.load_cpu if cpu is None else cpu, stdin=stdin, log=f"devices-{next(_numbers)}.log")


def call(ctx, mode, port, timeout=300, **options):
    process = start(ctx, mode, port, **options)
    if process.wait(timeout) != 0:
        raise RuntimeError(f"{' '.join(process.argv)}: {process.output()}")
    return json.loads(process.output().splitlines()[-1])


ANSWERED = ("register", "replay", "echo", "binding", "sip", "n2n")


def per_datagram(got, kind):
    """ns for each; all of them must have been worked on, and answered as they should be."""
    answered = got["answers"] if kind in ANSWERED else got["sent"]
    if got["dropped"] or answered < 0.999 * got["sent"] or got["others"] > 0.001 * got["sent"]:
        raise RuntimeError(f"{kind}: not every datagram was answered as it should be: {got}")
    return got["cpu_ns"] / got["sent"]


class Echo:
    """The bare limit (bench/echo.c). Nothing in it depends on who sends."""

    def __init__(self, ctx, port=ECHO_PORT, drop=False):
        self.ctx, self.port, self.kind = ctx, port, "drop" if drop else "echo"
        self.process = ctx.start([ctx.tool("echo"), "127.0.0.1", port, 64, *(["drop"] if drop else [])],
                                 cpu=ctx.server_cpu, ready="^ready$")

    def burst(self, count, senders, mode="burst", **more):
        got = call(self.ctx, mode, self.port, kind=self.kind, devices=senders, subject=self.process.pid, count=count,
                   **more)
        return per_datagram(got, self.kind)
