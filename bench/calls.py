"""What a call costs the server, in both its forms: from the requester's connection to RESULT in the requester's hands.
In the first form the device comes for its request by TLS and answers there; in the fast form request and RESULT go by
datagram. One program plays requester and device (calls.c), so nothing but the server is counted."""

import re
import subprocess

from frame import cpu_ns

TITLE = "Calls: what one costs the server"
ISOLATED = True

FIRST, DEVICES = 2133, 96  # so many that none comes near its share of RESULTs by datagram
PORTS = {"first": (1210, 1211, 1310), "fast": (1220, 1221, 1320)}


class Side:
    """A server that uses one form, and who has joined it."""

    def __init__(self, ctx, form):
        self.ctx, self.form, self.ports = ctx, form, PORTS[form]
        udp, requests, agents = self.ports
        self.server = ctx.server(f"server-{form}", udp_port=udp, request_port=requests, agent_port=agents,
                                 fast_form="yes" if form == "fast" else "no")
        self.server.start()
        numbers = range(FIRST, FIRST + (4 if ctx.smoke else DEVICES))
        self.states = [str(self.server.join_device(number)) for number in numbers]
        self.user = self.server.join_user("alice", devices=numbers)

    def measure(self, tls, count, rate=0):
        """{cpu_us: of the server, for each call; median_us, ...: as calls.c prints them}"""
        load = self.ctx.start([self.ctx.tool("calls"), self.user, self.states[0][:-len(str(FIRST))],
                               FIRST, len(self.states), self.server.address, *self.ports,
                               self.form, tls, count, rate], cpu=self.ctx.load_cpu, stdin=subprocess.PIPE, ready=r"^ready$",
                              log=f"calls-{self.form}-{tls}.log")
        before = cpu_ns(self.server.pid)
        load.popen.stdin.write(b"\n")
        load.popen.stdin.flush()
        line = load.wait_line(r"^calls \d+ .*$", 240)[0]
        used = cpu_ns(self.server.pid) - before
        load.stop()
        got = {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", line)}
        self.check(tls, got)
        return {"cpu_us": used / 1000 / got["calls"], **got}

    def check(self, tls, got):
        """What was measured was what it is called."""
        wanted = {"device_connections": got["calls"] if self.form == "first" else 0,
                  "user_resumed": got["calls"] if tls == "resumed" else 0}
        wanted["device_resumed"] = wanted["device_connections"] if tls == "resumed" else 0
        for name, number in wanted.items():
            if got[name] != number:
                raise RuntimeError(f"{self.form} form, {tls}: {name} is {got[name]:.0f}, not {number:.0f}")


def run(ctx):
    count = 40 if ctx.smoke else 300 if ctx.quick else 600
    sides = {form: Side(ctx, form) for form in PORTS}
    rows = []
    for tls in ("full", "resumed"):
        got = ctx.alternate({form: lambda side=side: side.measure(tls, count) for form, side in sides.items()})
        cpu = {form: [r["cpu_us"] for r in got[form]] for form in got}
        took = {form: [r["median_us"] for r in got[form]] for form in got}
        handshakes = "full handshakes" if tls == "full" else "resumed sessions"
        rows.append(ctx.row(f"processor time per call, fast form, {handshakes}", cpu["fast"], "µs", "first form",
                            cpu["first"], at_most=0.6))
        rows.append(ctx.row(f"calls answered per second of one core, fast form, {handshakes}",
                            [1e6 / us for us in cpu["fast"]], "calls/s", "first form", [1e6 / us for us in cpu["first"]]))
        rows.append(ctx.row(f"time from the requester's SYN to RESULT on one host, fast form, {handshakes}",
                            took["fast"], "µs", "first form", took["first"]))
    return rows
