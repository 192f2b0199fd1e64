"""What a registration costs in the server's core alone, without sockets and kernel (registrar.c): whether it stays the same
as the table grows, what a row takes, and how long the table's growth keeps anybody waiting."""

import re

TITLE = "Registration in the core: cost and memory from ten thousand rows to ten million"


def once(ctx, rows, count):
    out = ctx.run([ctx.tool("registrar"), rows, count], cpu=ctx.server_cpu, timeout=280).stdout
    return {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", out)}


def run(ctx):
    many = 100_000 if ctx.smoke else 1_000_000 if ctx.quick else 10_000_000
    count = 50_000 if ctx.smoke else 400_000
    few = [once(ctx, 10_000, count) for _ in range(ctx.rounds)]
    large = once(ctx, many, count)
    kinds = {"answered_ns": "REGISTER, answered", "quiet_ns": "quiet keepalive", "forged_ns": "wrong MAC",
             "binding_ns": "plain Binding"}
    own = "itself at 10 thousand"
    for kind, name in kinds.items():
        few_ns = [r[kind] for r in few]
        yield ctx.row(f"{name}, core alone, 10 thousand rows", few_ns, "ns")
        if kind == "answered_ns":
            yield ctx.row(f"{name}, core alone, {many:,} rows", large[kind], "ns", own, few_ns)
    yield ctx.row(f"resident bytes per row at {many:,}", large["bytes_a_row"], "bytes", at_most=64, of="value")
    yield ctx.row("longest registration while the table grew, processor time", large["longest_us"] / 1000, "ms",
                  at_most=10, of="value",
                  note=f"99.99 % within {large['p9999_us']:.0f} µs; a thread makes chunks ready ahead")
