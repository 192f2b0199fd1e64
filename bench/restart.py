"""A server that restarts has forgotten where its devices are. What that costs it, and how long it lasts, with a million
devices that go on as always; and the same of mosquitto, whose devices all connect again."""

import json
import pathlib
import re
import subprocess
import time

import load
from broker import Broker

TITLE = "Restart: a million devices, all callable again within one interval"
ISOLATED = True


def connections():
    """TCP connections that were accepted in this network namespace."""
    names, values = re.findall(r"^Tcp: (.*)$", pathlib.Path("/proc/self/net/snmp").read_text(), re.M)[:2]
    return int(dict(zip(names.split(), values.split()))["PassiveOpens"])


class Keeping:
    """Devices that keep themselves registered, each at its time."""

    def __init__(self, ctx, server, number, interval_s, kind):
        self.ctx = ctx
        self.process = load.start(ctx, "keep", load.UDP_PORT, stdin=subprocess.PIPE, kind=kind, devices=number,
                                  interval=interval_s, count=1000, master=server.state / "master.keys")
        self.interval_s = interval_s

    def said(self, key):
        return [line for line in map(json.loads, self.process.output().splitlines()) if key in line]

    def next(self, key, timeout):
        """What it says of that next."""
        n = len(self.said(key))

        def more():
            if not self.process.running():
                raise RuntimeError(self.process.output())
            return len(self.said(key)) > n
        self.ctx.until(more, f"devices: {key}", timeout)
        return self.said(key)[n]

    def mark(self):
        self.process.popen.stdin.write(b"\n")
        self.process.popen.stdin.flush()


def beckond(ctx, number, interval_s):
    server = ctx.server(workers=1)
    server.start()
    devices = Keeping(ctx, server, number, interval_s, "register")
    patience = 3 * interval_s + 60
    first = devices.next("interval", patience)
    before = server.process.cpu_ns()
    steady = devices.next("interval", patience)
    steady_ns = server.process.cpu_ns() - before
    tcp = connections()
    server.stop()
    server.start()
    devices.mark()
    ready = time.monotonic()
    before = server.process.cpu_ns()
    after = devices.next("interval", patience)
    while time.monotonic() < ready + interval_s:
        time.sleep(0.01)
    restart_ns = server.process.cpu_ns() - before
    ctx.until(lambda: devices.said("all_confirmed_s"), "all devices are registered again", patience)
    confirmed_s = devices.said("all_confirmed_s")[0]["all_confirmed_s"]
    settled = devices.next("interval", patience)
    ctx.say(f"first {first}\n   steady {steady}\n   after the restart {after}\n   then {settled}")
    devices.process.stop(9)
    server.stop()
    if steady["success"] < 0.99 * number:
        raise RuntimeError(f"the load could not be kept up: {steady}")
    return {"steady_ns": steady_ns / number, "restart_ns": restart_ns / number, "confirmed_s": confirmed_s,
            "tcp": connections() - tcp}


def mosquitto(ctx, number, interval_s):
    broker = Broker(ctx)
    number = min(number, broker.most)
    broker.start()
    broker.connect(number, interval_s)
    patience = 3 * interval_s + 60
    broker.next("interval", patience)
    before = broker.cpu_ns()
    broker.next("interval", patience)
    steady_ns = broker.cpu_ns() - before
    tcp = connections()
    broker.process.stop()
    broker.start()
    took = broker.next("reconnected", 240)
    restart_ns = broker.cpu_ns()
    tcp = connections() - tcp
    broker.stop()
    return {"number": number, "steady_ns": steady_ns / number, "restart_ns": restart_ns / number, "took_s": took,
            "tcp": tcp / number}


def run(ctx):
    number = 20_000 if ctx.smoke else 100_000 if ctx.quick else 1_000_000
    interval_s = 2 if ctx.smoke else 5 if ctx.quick else 25
    ours = beckond(ctx, number, interval_s)
    name = f"{number:,} devices"
    yield ctx.row(f"restart: processor time of the first interval, {name}", ours["restart_ns"] / 1000, "µs per device",
                  "a steady interval, every keepalive answered", ours["steady_ns"] / 1000, at_most=2.3)
    yield ctx.row(f"restart: until the last of {name} was callable", ours["confirmed_s"], "s",
                  f"keepalives every {interval_s} s", float(interval_s), at_most=1.05,
                  note="from being ready on; the last device's turn comes at the end of the interval")
    yield ctx.row("restart: TCP connections that devices made", ours["tcp"], "connections", at_most=0)
    theirs = mosquitto(ctx, 200 if ctx.smoke else 1000 if ctx.quick else 4000, interval_s)
    note = f"{theirs['number']:,} clients, {theirs['tcp']:.0f} TLS connection of each; all back after {theirs['took_s']:.1f} s"
    yield ctx.row("restart: processor time for each device until it is callable", ours["restart_ns"] / 1000, "µs",
                  "mosquitto over TLS", theirs["restart_ns"] / 1000, note=note)
    yield ctx.row("restart: mosquitto's processor time for all to come back", theirs["restart_ns"] / 1000, "µs per device",
                  f"its steady {interval_s} s", theirs["steady_ns"] / 1000)
