"""The matrix on a terminal."""

from lab.sides import KINDS, PAIR_KINDS


def progress(o):
    where = f"{o.cell.requester} -> {o.cell.device}{', port mapping' if o.cell.mapping else ''}"
    what = f"{o.taken or 'no call'}" + (f" {o.median_ms:.0f} ms" if o.median_ms is not None else "")
    if o.good():
        return f"ok      {where}: {what}"
    paths = ", ".join(f"{n} {path}" for path, n in o.paths.items()) or "none"
    return (f"WRONG   {where}: best is {o.best}; of {len(o.tries)} tries {o.connected} connected ({paths})"
            + "".join(f"; {error}" for error in o.errors()))


def _grid(outcomes, mapping):
    found = {(o.cell.requester, o.cell.device): o for o in outcomes if o.cell.mapping == mapping}
    rows = [kind for kind in KINDS if any(r == kind for r, _ in found)]
    columns = [kind for kind in KINDS if any(d == kind for _, d in found)]
    if rows:
        yield "requester \\ device".ljust(20) + "".join(c[:12].rjust(14) for c in columns)
    for row in rows:
        line = row.ljust(20)
        for column in columns:
            o = found.get((row, column))
            cell = "" if o is None else f"{'' if o.good() else '!'}{o.taken or 'none'} {o.median_ms or 0:.0f}"
            line += cell.rjust(14)
        yield line
    for kind in PAIR_KINDS:
        if (kind, kind) in found:
            o = found[kind, kind]
            yield f"{kind:20}{('' if o.good() else '!') + (o.taken or 'none') + f' {o.median_ms or 0:.0f}':>14}"


def lines(outcomes):
    for mapping in (False, True):
        grid = list(_grid(outcomes, mapping))
        if grid:
            yield ""
            yield f"Port mapping {'on' if mapping else 'off'} (path taken, ms until the session stood; ! is wrong)"
            yield from grid
    bad = [o for o in outcomes if not o.good()]
    if bad:
        yield ""
        yield from map(progress, bad)
