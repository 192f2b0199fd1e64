"""How long from `beckon connect` to the service's first byte, each access link taking 20 ms one way, against the least
that these delays allow (latency_bound.py) and against ssh through `ssh -R` over the same links.

    python3 bench/latency.py BIN [fast]     alone: with the bounds and waterfalls written out"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import latency_bound as bound  # noqa: E402
from latency_lab import DEVICE, TRIP_MS, LatencyWorld  # noqa: E402,F401

TITLE = "Time from a call to the service's first byte"
GOAL = 1.15
CASES = [  # form, cached, password, TCP Fast Open to the server
    ("fast", True, False, False),
    ("fast", False, False, False),
    ("fast", True, True, False),
    ("fast", False, True, False),
    ("fast", True, False, True),
    ("first", True, False, False),
    ("first", False, False, False),
    ("first", True, True, False),
    ("first", False, True, False),
    ("first", True, False, True),
]


def argon2_ms(rounds=9):
    """One check of a password as the device does it (Argon2id, 8 MiB, two passes), by the same library."""
    import nacl.pwhash
    took = []
    for _ in range(rounds):
        start = time.monotonic_ns()
        nacl.pwhash.argon2id.kdf(32, b"correct horse battery staple", bytes(16), opslimit=2, memlimit=8 << 20)
        took.append((time.monotonic_ns() - start) / 1e6)
    return statistics.median(took)


def title(form, cached, password, fast_open):
    return (f"first byte, {form} form, {'repeated' if cached else 'first'} call, {'password' if password else 'key'}"
            f"{', TCP Fast Open' if fast_open else ''}")


def measure(world, case, count):
    _, cached, password, _ = case
    took = []
    if cached:
        world.forget()
        world.call_ms(password)
    for _ in range(count):
        if not cached:
            world.forget()
        took.append(world.call_ms(password))
    return took


def cases(world, count, only=None, say=print):
    """{case: [ms, ...]}; those that are cached last, since the device needs its time for them."""
    found, form = {}, None
    order = {"fast": 0, "first": 1}
    for case in sorted(CASES if only is None else only, key=lambda c: (order[c[0]], c[1], c[3], c[2])):
        if case[0] != form and (form or case[0] != "fast"):  # it begins with the fast form
            world.configure(fast_form="yes" if case[0] == "fast" else "no")
        form = case[0]
        world.fast_open(case[3])
        world.knows_key(not case[2])
        if case[1]:
            world.settle()
        if case[3]:
            for _ in range(2):  # the kernels take their cookies
                world.call_ms(case[2])
        found[case] = measure(world, case, count)
        say(f"{title(*case)}: {statistics.median(found[case]):.0f} ms")
    return found


def run(ctx):
    count = 1 if ctx.smoke else 7 if ctx.quick else 15
    only = [("fast", False, False, False)] if ctx.smoke else None
    argon2 = argon2_ms()
    rows = [ctx.row("Argon2id of one password", argon2, "ms")]
    with LatencyWorld(ctx.bin, ctx.work) as world:
        rows.append(ctx.row("round trip between any two, as measured", world.round_trip_ms(), "ms", "nominal",
                            2.0 * TRIP_MS))
        for case, took in cases(world, count, only, ctx.say).items():
            form, cached, password, fast_open = case
            least = bound.bound_ms(TRIP_MS, form, cached, fast_open=fast_open, argon2_ms=argon2 if password else 0.0)
            trips = bound.trips(form, cached, fast_open)
            rows.append(ctx.row(title(*case), took, "ms", f"the bound: {trips} one-way trips of {TRIP_MS} ms"
                                + (" and Argon2id" if password else ""), [least] * len(took), at_most=GOAL))
        if ctx.smoke:
            return rows
        world.fast_open(False)
        world.start_ssh(ctx.find("ssh"), ctx.find("sshd"), ctx.find("ssh-keygen"))
        ours = next(row for row in rows if row["name"] == title("fast", True, False, False))
        for name, once in (("ssh -W through ssh -R", world.ssh_ms), ("the open port of ssh -R", world.open_port_ms)):
            once()
            rows.append(ctx.row(f"first byte, {name}", [once() for _ in range(count)], "ms",
                                "repeated call, fast form, key", ours["value"]))
    frp = sum(step.trips for step in bound.FRP_STEPS)
    rows.append(ctx.row("first byte, frp with mux, on paper", float(frp * TRIP_MS), "ms",
                        "repeated call, fast form, key", ours["value"],
                        note="relays every byte; whoever finds the port is let through to the service"))
    return rows


def alone(bin_dir, count, only):
    with tempfile.TemporaryDirectory(prefix="beckon-latency-") as work, LatencyWorld(bin_dir, work) as world:
        argon2 = argon2_ms()
        print(f"round trip {world.round_trip_ms():.1f} ms of {2 * TRIP_MS}; Argon2id {argon2:.1f} ms")
        for case, took in cases(world, count, only).items():
            form, cached, password, fast_open = case
            least = bound.bound_ms(TRIP_MS, form, cached, fast_open=fast_open, argon2_ms=argon2 if password else 0.0)
            median = statistics.median(took)
            print(f"{title(*case):62} {median:6.0f} ms ({min(took):.0f} to {max(took):.0f}), bound {least:.0f}, "
                  f"{median / least:.3f}x")
            print(bound.text(form, cached, fast_open, TRIP_MS))
            print(world.waterfall(password))


if __name__ == "__main__":
    wanted = sys.argv[2:]
    chosen = [case for case in CASES if not wanted or case[0] in wanted and (case[3] is ("tfo" in wanted))
              and ("password" in wanted or not case[2]) and ("cold" in wanted or case[1])]
    alone(pathlib.Path(sys.argv[1]), int(os.environ.get("COUNT", "5")), chosen)
