"""What a registration costs the server: processor time for one datagram, in turns with the bare echo on the same core and
with what others offer. Against the echo the server is held while a burst is laid before it, so that both find full batches
always; against others the datagrams come as they come, with 128 unanswered at most. The load's own processor time is not
in it (bench/devices.c)."""

import os

import load
import theirs
from frame import Missed, measure

TITLE = "Registration: processor time of the server for one datagram"
ISOLATED = True

FEW, TEN_THOUSAND, MANY = 16, 10_000, 20_000
BURST = 1024
STREAM = {"burst": 16, "window": 128}  # fits into everybody's socket


def nobody_else(ctx):
    load_now = os.getloadavg()[0]
    return "" if load_now < 1.5 else f"this machine was busy (load {load_now:.1f})"


def against_echo(ctx, server, devices, count):
    echo, drop = load.Echo(ctx), load.Echo(ctx, load.ECHO_PORT + 1, drop=True)
    kinds = ("quiet", "forged", "damaged", "epoch", "junk", "replay")
    sides = {"echo": lambda: echo.burst(count, devices.number, burst=BURST),
             "drop": lambda: drop.burst(count, devices.number, burst=BURST),
             "register": lambda: devices.burst(server.pid, count, burst=BURST)}
    sides.update({kind: lambda kind=kind: devices.burst(server.pid, count, kind, burst=BURST) for kind in kinds})
    got = ctx.alternate(sides)
    echo.process.stop()
    drop.process.stop()
    good, bare = got["register"], "bare echo of 72 bytes, same core"
    rows = [ctx.row("REGISTER, authenticated and answered, 10 thousand devices", good, "ns", bare, got["echo"],
                    at_most=1.35, note=nobody_else(ctx)),
            ctx.row("quiet keepalive, authenticated, 10 thousand devices", got["quiet"], "ns", bare, got["echo"],
                    at_most=0.75),
            ctx.row("bare receiving of 72 bytes, no answer", got["drop"], "ns", bare, got["echo"])]
    floods = {"forged": "flood: right but for its MAC", "damaged": "flood: wrong FINGERPRINT",
              "epoch": "flood: unknown epoch of the key", "junk": "flood: 72 bytes of noise"}
    for kind, name in floods.items():
        rows.append(ctx.row(name, got[kind], "ns", "REGISTER, answered", good, at_most=1.0))
    rows.append(ctx.row("replayed REGISTER, answered by a challenge", got["replay"], "ns", "REGISTER, answered", good))
    return rows


def once(ctx, it, senders, count):
    """ns for each, and the next round's counter."""
    got = load.call(ctx, "stream", it.port, kind=it.kind, devices=senders, subject=it.subject(), count=count,
                    counter=it.counter, **STREAM)
    it.counter = got["counter"]
    return load.per_datagram(got, it.kind)


def against_one(ctx, server, devices, count, it, senders):
    """As many devices of ours as it has senders."""
    before = measure.memory(it.process.pid)["rss"]
    once(ctx, it, senders, senders)
    least = count // 8 if it.kind == "n2n" and senders > 1000 else count
    ours = devices.some(senders)
    got = ctx.alternate({"register": lambda: ours.stream(server.pid, count, **STREAM),
                         "other": lambda: once(ctx, it, senders, least)})
    grown = (measure.memory(it.process.pid)["rss"] - before) / senders
    return got, f"it grew by {grown:,.0f} bytes for each" if it.kind == "binding" and senders > 1000 else ""


def against_others(ctx, server, devices, count):
    """Kamailio keeps a contact for each sender, n2n an edge, coturn a session."""
    for start, senders, times_less in ((theirs.coturn, FEW, 1.5), (theirs.coturn, MANY, 1.5),
                                       (theirs.kamailio, TEN_THOUSAND, 5), (theirs.supernode, 100, None),
                                       (theirs.supernode, TEN_THOUSAND, None)):
        got, note, it = {"register": None, "other": None}, "", None
        try:
            it = start(ctx)
            got, note = against_one(ctx, server, devices, count, it, senders)
        except (Missed, RuntimeError, TimeoutError) as e:
            note = str(e)
        yield ctx.row(f"REGISTER, answered, {senders:,} devices", got["register"], "ns",
                      f"{it.name if it else start.__name__}, {senders:,} senders", got["other"], times_less=times_less,
                      note=note)
        if it:
            it.process.stop()


def two_workers(ctx, one, one_devices, count):
    if not ctx.two_cpus:
        yield ctx.row("REGISTER, two workers", None, "ns", "one worker", at_most=1.1, note="needs two processors")
        return
    two = ctx.server("two", workers=2, udp_port=1203, request_port=1204, agent_port=1305)
    two.start(cpu=[ctx.server_cpu, ctx.load_cpu])
    devices = load.Devices(ctx, two.state / "master.keys", one_devices.number, port=1203)
    devices.fill(two.pid)
    # As much for each worker, and so much that the time until it is worked off can be measured from outside, the load asleep
    # meanwhile.
    got = ctx.alternate({"one": lambda: one_devices.bursts(one.pid, count, burst=2 * BURST),
                         "two": lambda: devices.bursts(two.pid, count, burst=4 * BURST)})
    two.stop()
    cpu = {name: [load.per_datagram(r, "register") for r in got[name]] for name in got}
    rate = {name: [1e6 * r["sent"] / r["drain_ns"] for r in got[name]] for name in got}
    yield ctx.row("REGISTER, answered, two workers on two processors", cpu["two"], "ns", "one worker", cpu["one"], at_most=1.1)
    yield ctx.row("REGISTER, answered, two workers on two processors", rate["two"], "thousand/s", "one worker", rate["one"],
                  at_least=1.8, note=nobody_else(ctx))


def run(ctx):
    count = 4_096 if ctx.smoke else 40_960 if ctx.quick else 102_400
    server = ctx.server(workers=1)
    server.start()
    all_of_them = load.Devices(ctx, server.state / "master.keys", MANY)
    all_of_them.fill(server.pid)
    devices = all_of_them.some(TEN_THOUSAND)
    if ctx.run([ctx.tool("devices"), "check"]).stdout.strip() != "same":
        raise RuntimeError("bench/devices writes other messages than src/wire")
    yield from against_echo(ctx, server, devices, count)
    yield from against_others(ctx, server, all_of_them, count)
    yield from two_workers(ctx, server, devices, count)
