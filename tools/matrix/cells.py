"""The cells of the matrix, and the best path that each of them allows: what is reached without anybody's help (host), a
mapping of the caller's router, a punched hole, a mapping of the device's router, a relay, in this order
(docs/decisions/0016-which-path-is-best.md)."""

import collections

from lab.sides import KINDS, PAIR_KINDS

PATHS = ("host", "mapped", "punched", "relayed")  # best first

FAMILIES = {kind: {4} for kind in KINDS} | {"none": {4, 6}, "ipv6": {6}}

# What a TCP hole needs: that the other side can know the port that a dial will come from (the one that the server
# saw), or that the filter does not look at that port.
_UNPREDICTABLE = {"random-port", "symmetric"}
_FILTER_IGNORES_PORTS = {"none", "ei-ei", "ei-ad"}

# Behind these a router grants mappings that lead in from the world. A carrier's inside is no such place.
_MAPPABLE = {"port-preserving", "random-port", "ei-ei", "ei-ad", "ei-apd", "symmetric", "udp-blocked"}

Cell = collections.namedtuple("Cell", "requester device mapping")


def punchable(a, b):
    """Whether two translators let a simultaneous open through: each pair in which the ports of both can be foretold,
    and those in which one cannot but the other's filter takes any port of an address that was dialled."""
    def lets_in(inside, outside):
        return outside not in _UNPREDICTABLE or inside in _FILTER_IGNORES_PORTS

    return lets_in(a, b) and lets_in(b, a) and not {a, b} <= _UNPREDICTABLE


def best(cell):
    """The best path there can be, in the order of PATHS: nothing in the way at one end, or one LAN, or a pinhole in
    an IPv6 firewall (what is dialled is the host's own address): host. A router that grants ports at the caller's end:
    mapped. Else a hole punched by both, which leaves nothing in any router: the device asks its own only where no direct
    session has come within 300 ms, so what that one maps is the best only where nothing can be punched. Else the
    relay, which alone joins IPv4 and IPv6."""
    ends = (cell.requester, cell.device)
    if cell.requester in PAIR_KINDS:
        return "host"
    if not FAMILIES[cell.requester] & FAMILIES[cell.device]:
        return "relayed"
    if "none" in ends:
        return "host"
    if ends == ("ipv6", "ipv6"):
        return "host" if cell.mapping else "punched"
    if cell.mapping and cell.requester in _MAPPABLE:
        return "mapped"
    if punchable(*ends):
        return "punched"
    return "mapped" if cell.mapping and cell.device in _MAPPABLE else "relayed"


def all_cells():
    for mapping in (False, True):
        for requester in KINDS:
            for device in KINDS:
                yield Cell(requester, device, mapping)
        for kind in PAIR_KINDS:
            yield Cell(kind, kind, mapping)


def needs(cells):
    """The network in which those cells, which agree about port mapping, can be played."""
    mapping, = {cell.mapping for cell in cells}
    plain = [cell for cell in cells if cell.requester not in PAIR_KINDS]
    return {"requesters": list(dict.fromkeys(cell.requester for cell in plain)),
            "devices": list(dict.fromkeys(cell.device for cell in plain)),
            "pairs": [cell.requester for cell in cells if cell.requester in PAIR_KINDS], "mapping": mapping}


def play(world, cell, tries):
    """Calls, one after another."""
    outcome = Outcome(cell)
    for _ in range(tries):
        outcome.tries.append(world.call(cell.requester, cell.device))
    return outcome


class Outcome:
    """What became of a cell's tries."""

    def __init__(self, cell):
        self.cell = cell
        self.best = best(cell)
        self.tries = []  # lab.world.Try

    @property
    def connected(self):
        return sum(t.path is not None for t in self.tries)

    @property
    def paths(self):
        return collections.Counter(t.path for t in self.tries if t.path)

    @property
    def taken(self):
        return self.paths.most_common(1)[0][0] if self.paths else None

    @property
    def median_ms(self):
        times = sorted(t.ms for t in self.tries if t.path == self.taken and t.path)
        return round(times[len(times) // 2], 1) if times else None

    @property
    def on_best(self):
        return self.paths[self.best]

    def good(self):
        """Every try connected; of 20, one may have missed the best path."""
        return self.connected == len(self.tries) > 0 and self.on_best >= len(self.tries) - len(self.tries) // 20

    def errors(self):
        return sorted({t.error for t in self.tries if t.error})

    def json(self):
        return {"requester": self.cell.requester, "device": self.cell.device, "mapping": self.cell.mapping,
                "best": self.best, "taken": self.taken, "tries": len(self.tries), "connected": self.connected,
                "on_best": self.on_best, "paths": dict(self.paths), "median_ms": self.median_ms,
                "ms": [t.ms for t in self.tries], "ok": self.good(), "errors": self.errors()}
