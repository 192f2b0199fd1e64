"""One row of the results: a value, what it is compared with, the goal, and whether it is reached. Nothing here rounds
in anybody's favour: what is compared are the numbers as measured."""

import statistics

KEYS = ("name", "value", "unit", "compared_with", "its_value", "ratio", "goal", "reached", "spread", "ratio_spread",
        "note")


def row(name, value, unit, compared_with="", its=None, at_most=None, at_least=None, times_less=None, of=None, note=""):
    """`value`, `its`: a number, or the list of what the rounds gave: then medians are shown, and the ratio is the
    median of the rounds' ratios. The goal, at most one of:

    at_most, at_least   of the ratio value ÷ its where there is `its`, else of the value (of="value" or "ratio" says which)
    times_less          its ÷ value is to be at least that

    value=None: not measured, `note` says why; a goal then counts as not reached."""
    ours = _numbers(value)
    theirs = _numbers(its)
    ratios = []
    if ours and theirs:
        pairs = zip(ours, theirs) if len(ours) == len(theirs) else [(statistics.median(ours), statistics.median(theirs))]
        ratios = [a / b for a, b in pairs if b]
    ratio = statistics.median(ratios) if ratios else None
    median = statistics.median(ours) if ours else None
    of = of or ("ratio" if its is not None else "value")
    goal, reached = _goal(median, ratio, unit, at_most, at_least, times_less, of)
    return {
        "name": name, "value": median, "unit": unit, "compared_with": compared_with,
        "its_value": statistics.median(theirs) if theirs else None, "ratio": ratio, "goal": goal, "reached": reached,
        "spread": _spread(ours), "ratio_spread": _spread(ratios), "note": note,
    }


def _numbers(value):
    if value is None:
        return []
    return [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)]


def _spread(samples):
    return [min(samples), max(samples)] if len(samples) > 1 else None


def _goal(value, ratio, unit, at_most, at_least, times_less, of):
    if times_less is not None:
        return f"≥ {times_less:g}× less", ratio is not None and ratio * times_less <= 1
    limit = at_most if at_most is not None else at_least
    if limit is None:
        return "", None
    measured = ratio if of == "ratio" else value
    text = f"{'≤' if at_most is not None else '≥'} {limit:g}" + ("×" if of == "ratio" else f" {unit}")
    if measured is None:
        return text, False
    return text, bool(measured <= limit if at_most is not None else measured >= limit)


def number(value):
    """Three or four digits, whatever the size."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 1e6:
        return f"{value:,.0f}"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def range_text(pair):
    return f"{number(pair[0])} … {number(pair[1])}" if pair else ""
