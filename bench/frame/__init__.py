"""What the benchmarks share: a module of bench/ is a file with `run(ctx)`, which returns rows (ctx.row)."""

from .context import Context, Missed
from .measure import cpu_ns, memory, median, paired, spread
from .server import Server

__all__ = ["Context", "Missed", "Server", "cpu_ns", "memory", "median", "paired", "spread"]
