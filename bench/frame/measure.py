"""What a process costs, as the kernel counts it, and what is made of several readings of it."""

import pathlib
import re
import statistics


def tasks(pid):
    """The threads of a process, by number and name."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = (task / "comm").read_text().strip()
        except FileNotFoundError:
            pass  # it has ended meanwhile
    return found


def cpu_ns(pid):
    """Processor time of all living threads, in nanoseconds. What ended threads used is not in it."""
    total = 0
    for task in tasks(pid):
        try:
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass
    return total


def switches(pid):
    """How often threads of the process gave the processor away: they were woken as often."""
    total = 0
    for task in tasks(pid):
        text = pathlib.Path(f"/proc/{pid}/task/{task}/status").read_text()
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
    return total


def memory(pid):
    """Bytes: rss, pss (shared pages by their part), private_dirty (no other process has them)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    names = {"rss": "Rss", "pss": "Pss", "private_dirty": "Private_Dirty"}
    return {name: 1024 * int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) for name, field in names.items()}


def median(samples):
    return statistics.median(samples)


def spread(samples):
    """[smallest, largest]"""
    return [min(samples), max(samples)]


def paired(ours, theirs):
    """The ratio of each round: what slows the machine down for a while slows both of a round."""
    return [a / b for a, b in zip(ours, theirs)]
