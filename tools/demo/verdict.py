"""A verdict: something the reference gives, and what was seen in its place."""

import dataclasses


@dataclasses.dataclass
class Verdict:
    expected: dict
    seen: dict

    @property
    def equal(self):
        return self.expected == self.seen

    def json(self):
        return {"expected": self.expected, "seen": self.seen, "equal": self.equal}


@dataclasses.dataclass
class Step(Verdict):
    """A packet on one side of its router. `within` names the packet that it travels in, where TLS
    1.3 sends as one what the figures draw as two."""

    ref: str
    name: str
    side: str      # lan or wan
    router: str    # a or b
    upward: bool   # towards the server
    time: float | None = None
    within: str | None = None
    message: str = ""

    def json(self):
        return {"ref": self.ref, "name": self.name, "side": self.side, "router": f"104{self.router}",
                "message": self.message, "within": self.within, "time": self.time, **super().json()}


@dataclasses.dataclass
class Table:
    figure: str
    title: str
    columns: list
    rows: list

    @property
    def equal(self):
        return all(row.equal for row in self.rows)

    def json(self):
        return {"figure": self.figure, "title": self.title, "columns": self.columns, "equal": self.equal,
                "rows": [row.json() for row in self.rows]}


@dataclasses.dataclass
class Check(Verdict):
    """Something that must hold beside packets and tables."""

    name: str

    def json(self):
        return {"name": self.name, **super().json()}
