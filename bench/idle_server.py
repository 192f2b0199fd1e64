"""What a device that only waits costs its server: memory, in a table of ten million, and what such a table does to
registrations; beside mosquitto over TLS."""

import load
from broker import Broker, kernel_bytes

TITLE = "Idle devices: what they cost the server"
ISOLATED = True

SMALL, BURST = 10_000, 1024
PORTS = {"udp_port": 1203, "request_port": 1204, "agent_port": 1305}


def per_client(ctx, number, interval_s):
    """Bytes and nanoseconds of mosquitto for each of so many devices."""
    broker = Broker(ctx)
    number = min(number, broker.most)
    broker.start()
    broker.connect(10, 1)  # what it needs once
    broker.clients.stop(9)
    kernel, user = kernel_bytes(), broker.process.memory()["rss"]
    broker.connect(number, interval_s)
    broker.next("interval", interval_s + 60)
    both = kernel_bytes() - kernel
    user = broker.process.memory()["rss"] - user
    before = broker.cpu_ns()
    broker.next("interval", interval_s + 60)
    cpu = broker.cpu_ns() - before
    broker.stop()
    return {"number": number, "user": user / number, "kernel": both / 2 / number, "cpu_ns": cpu / number}


def memory_rows(ctx, number, grown, theirs):
    name = f"{number // 1_000_000 or number / 1e6:g} million devices" if number >= 100_000 else f"{number:,} devices"
    yield ctx.row(f"resident memory for each of {name}", grown / number, "bytes", at_most=64)
    if isinstance(theirs, str):
        yield ctx.row("user and kernel memory of each device", None, "bytes", "mosquitto over TLS", times_less=300, note=theirs)
        return
    yield ctx.row("user and kernel memory of each device", grown / number, "bytes",
                  f"mosquitto over TLS, {theirs['number']:,} clients", theirs["user"] + theirs["kernel"], times_less=300,
                  note=f"mosquitto: {theirs['user']:,.0f} of its own and {theirs['kernel']:,.0f} of the kernel's (half of "
                       f"what both ends take); beckond: one socket for all")


def mosquitto(ctx):
    number = 300 if ctx.smoke else 3000 if ctx.quick else 4000
    interval_s = 2 if ctx.smoke else 10 if ctx.quick else 25
    try:
        return {"interval_s": interval_s, **per_client(ctx, number, interval_s)}
    except (RuntimeError, TimeoutError) as e:
        return str(e)


def cost_rows(ctx, small, small_devices, large, devices, count):
    """Devices come in no order, as the world's do: the table's rows are nowhere near."""
    echo = load.Echo(ctx)
    got = ctx.alternate({
        "echo": lambda: echo.burst(count, devices.number, burst=BURST, random=True),
        "small": lambda: small_devices.burst(small.pid, count, burst=BURST, random=True),
        "large": lambda: devices.burst(large.pid, count, burst=BURST, random=True),
        "quiet": lambda: devices.burst(large.pid, count, "quiet", burst=BURST, random=True)})
    name = f"{devices.number:,} devices"
    yield ctx.row(f"REGISTER, answered, {name}", got["large"], "ns", f"{SMALL:,} devices", got["small"], at_most=1.15)
    yield ctx.row(f"REGISTER, answered, {name}", got["large"], "ns", "bare echo of 72 bytes, as many senders", got["echo"])
    yield ctx.row(f"quiet keepalive, {name}", got["quiet"], "ns", "bare echo of 72 bytes, as many senders", got["echo"],
                  at_most=0.75)
    return got


def run(ctx):
    number = 50_000 if ctx.smoke else 1_000_000 if ctx.quick else 10_000_000
    count = 4_096 if ctx.smoke else 40_960 if ctx.quick else 102_400
    theirs = mosquitto(ctx)
    small = ctx.server("small", workers=1)
    small.start()
    small_devices = load.Devices(ctx, small.state / "master.keys", SMALL)
    small_devices.fill(small.pid)
    large = ctx.server("large", workers=1, **PORTS)
    large.start()
    before = large.process.memory()["rss"]
    devices = load.Devices(ctx, large.state / "master.keys", number, port=PORTS["udp_port"])
    filled = devices.fill(large.pid)
    ctx.say(f"{number:,} devices registered in {filled['seconds']:.0f} s")
    yield from memory_rows(ctx, number, large.process.memory()["rss"] - before, theirs)
    yield ctx.row("longest silence of the server while the table grew", filled["longest_gap_ms"], "ms",
                  note="between two answers, with thousands of requests waiting; whatever else this machine did is in it")
    got = yield from cost_rows(ctx, small, small_devices, large, devices, count)
    if not isinstance(theirs, str):
        an_hour = 3600 / 25
        yield ctx.row("processor time per device and hour, a keepalive every 25 s", [v * an_hour / 1e6 for v in got["large"]],
                      "ms", "mosquitto over TLS, PINGREQ as often",
                      theirs["cpu_ns"] * an_hour / 1e6)
