"""The outcome as text for a terminal."""


def _cells(values):
    return "  ".join(f"{k} {v}" for k, v in values.items()) or "(missing)"


def _mark(equal):
    return "equal" if equal else "DIFFERENT"


def _packet(values):
    """Addresses as an arrow, the rest by name."""
    if not all(k in values for k in ("SA", "SP", "DA", "DP")):
        return _cells(values)
    rest = {k: v for k, v in values.items() if k not in ("SA", "SP", "DA", "DP")}
    arrow = f"{values['SA']}:{values['SP']} -> {values['DA']}:{values['DP']}"
    return f"{arrow:44}" + (f" {_cells(rest)}" if rest else "")


def lines(outcome):
    yield "Packets, in the reference's order, as captured"
    last = None
    for step in outcome.steps:
        if (step.ref, step.name) != last:
            last = (step.ref, step.name)
            yield f"\n  {step.ref}  {step.name} ({step.message})"
        yield f"    {step.side.upper()} 106{step.router}  {_mark(step.equal):9}  {_packet(step.seen)}".replace(
            f"WAN 106{step.router}", "WAN     ")
        if not step.equal:
            yield f"    {'reference':18}  {_packet(step.expected)}"
    for table in outcome.tables:
        yield f"\nFigure {table.figure}: {table.title}"
        for row in table.rows:
            yield f"  reference  {_cells(row.expected)}"
            yield f"  seen       {_cells(row.seen)}    {_mark(row.equal)}"
    yield "\nBesides"
    for check in outcome.checks:
        yield f"  {_mark(check.equal):9}  {check.name}: {_cells(check.seen)}"
        if not check.equal:
            yield f"  {'expected':9}  {_cells(check.expected)}"
