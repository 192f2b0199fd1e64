"""The sequence as an SVG drawing: five lifelines, one arrow a packet, its addresses as seen on both
sides of the router it passes."""

import html

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER

GAP = 285
LEFT = 95
TOP = 92
ROW = 52
LIFELINES = [("Requester 102", REQUESTER), ("Router 104a", ROUTER_A), ("Server 101", SERVER), ("Router 104b", ROUTER_B),
             ("Device 103", DEVICE)]
X = [LEFT + GAP * i for i in range(len(LIFELINES))]
SERVER_AT = 2


def sequence(outcome):
    rows = _paired(outcome.steps)
    height = TOP + ROW * (len(rows) + 1) + 30
    width = X[-1] + LEFT
    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Sequence of packets">']
    for x, (name, address) in zip(X, LIFELINES):
        out.append(f'<line class="life" x1="{x}" y1="62" x2="{x}" y2="{height - 12}"/>'
                   f'<rect class="box" x="{x - 78}" y="8" width="156" height="50" rx="10"/>'
                   f'<text class="head" x="{x}" y="29" text-anchor="middle">{name}</text>'
                   f'<text class="small" x="{x}" y="47" text-anchor="middle">{address}</text>')
    for index, (lan, wan) in enumerate(rows):
        out.append(_packet(TOP + ROW * index, lan, wan))
    out.append(_callback(TOP + ROW * len(rows), outcome.checks))
    return "".join(out) + "</svg>"


def _paired(steps):
    """LAN and WAN rows of one packet together."""
    pairs = []
    for step in steps:
        if pairs and (pairs[-1][0].ref, pairs[-1][0].name) == (step.ref, step.name):
            pairs[-1].append(step)
        else:
            pairs.append([step])
    return [(next(s for s in pair if s.side == "lan"), next(s for s in pair if s.side == "wan")) for pair in pairs]


def _packet(y, lan, wan):
    outer = 0 if lan.router == "a" else 4
    router = 1 if lan.router == "a" else 3
    equal = lan.equal and wan.equal
    start, end = (X[outer], X[SERVER_AT]) if lan.upward else (X[SERVER_AT], X[outer])
    name = f"{lan.name} · in {lan.within}" if lan.within else lan.name
    out = [f"<g><title>{html.escape(lan.message)}</title>", _label(min(X[outer], X[SERVER_AT]), y, lan.ref, name, equal),
           _arrow(start, end, y + 10, equal, lan.within is not None)]
    for step, a, b in ((lan, X[outer], X[router]), (wan, X[router], X[SERVER_AT])):
        out.append(f'<text class="wire {step.side}" x="{(a + b) / 2}" y="{y + 25}" text-anchor="middle">{_wire(step)}</text>')
    return "".join(out) + "</g>"


def _label(x, y, ref, name, equal):
    bad = "" if equal else " bad"
    return (f'<rect class="pill{bad}" x="{x + 12}" y="{y - 12}" width="38" height="18" rx="9"/>'
            f'<text class="ref{bad}" x="{x + 31}" y="{y + 2}" text-anchor="middle">{html.escape(ref)}</text>'
            f'<text x="{x + 58}" y="{y + 2}">{html.escape(name)}{"" if equal else " (different)"}</text>')


def _wire(step):
    seen = step.seen
    if "SA" not in seen:
        return "not seen"
    return f"{seen['SA']}:{seen['SP']} → {seen['DA']}:{seen['DP']}"


def _arrow(start, end, y, equal, dashed):
    kind = "ok" if equal else "bad"
    back = 8 if end < start else -8
    return (f'<line class="arrow {kind}{" within" if dashed else ""}" x1="{start}" y1="{y}" x2="{end}" y2="{y}"/>'
            f'<path class="tip {kind}" d="M{end} {y} l{back} -4.5 v9 z"/>')


def _callback(y, checks):
    """The device's own connection to the requester, past the server."""
    dialled = [c for c in checks if "dials the address" in c.name]
    equal = all(c.equal for c in dialled)
    seen = dialled[0].seen
    words = f"{seen['SA']} → {seen['DA']}:{seen['DP']}" if seen else "not seen"
    return (f'<g><text x="{X[0] + 12}" y="{y + 2}">the device calls back: TLS end to end, HTTP/2 inside, the server out '
            f'of the way</text>{_arrow(X[-1], X[0], y + 10, equal, False)}'
            f'<text class="wire wan" x="{X[SERVER_AT]}" y="{y + 25}" text-anchor="middle">{words}</text></g>')
