"""The results as one self-contained page. Two kinds of plots: ratios to what is compared with, with the goal drawn in,
and values of one unit beside each other."""

import html as markup
import math
import pathlib

from .rows import number, range_text

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, LABEL, RIGHT, BAR, STEP = 1100, 430, 190, 16, 30
PAIR_STEP = 42  # where a label has two lines


def _limit(row):
    """The goal as a ratio value ÷ its, if it is one: (limit, whether it is the largest that will do)."""
    goal = row["goal"]
    if goal.endswith("× less"):
        return 1 / float(goal.split()[1].rstrip("×")), True
    if goal.endswith("×"):
        return float(goal.split()[1].rstrip("×")), goal.startswith("≤")
    return None


def _svg(height, body):
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(body)}</svg>'


def _text(x, y, text, cls="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{cls}" text-anchor="{anchor}">{markup.escape(text)}</text>'


def _fit(text, most=58):
    return text if len(text) <= most else text[:most - 1] + "…"


def ratios(rows):
    """Logarithmic: half and double are as far from 1. A bar begins at 1, where both are alike."""
    rows = [r for r in rows if r["ratio"] and r["ratio"] > 0]
    if not rows:
        return ""
    ends = [v for r in rows for v in (r["ratio"], *(r["ratio_spread"] or []), *([_limit(r)[0]] if _limit(r) else []))]
    low, high = math.log10(min(min(ends), 0.8) * 0.9), math.log10(max(max(ends), 1.25) * 1.1)
    room = WIDTH - LABEL - RIGHT

    def x(value):
        return LABEL + room * (math.log10(value) - low) / (high - low)

    height = PAIR_STEP * len(rows) + 34
    body = [f'<line class="axis" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="4" y2="{height - 24}"/>',
            _text(x(1), height - 8, "1×", "soft", "middle")]
    ticks = [10.0 ** e * m for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    for tick in sorted(ticks, key=lambda t: abs(math.log10(t))):
        at = x(tick)
        if low <= math.log10(tick) <= high and tick != 1 and (high - low < 2.2 or math.log10(tick) % 1 == 0):
            body += [f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{height - 30}" y2="{height - 24}"/>',
                     _text(at, height - 8, f"{number(tick)}×", "soft", "middle")]
    for i, r in enumerate(rows):
        y, at = 10 + PAIR_STEP * i, x(r["ratio"])
        cls = "bad" if r["reached"] is False else "ours"
        body += [_text(LABEL - 10, y + 6, _fit(r["name"]), "", "end"),
                 _text(LABEL - 10, y + 22, "÷ " + _fit(r["compared_with"]), "soft", "end"),
                 f'<rect class="{cls}" x="{min(at, x(1)):.1f}" y="{y}" width="{max(abs(at - x(1)), 1.5):.1f}" height="{BAR}" rx="2"/>']
        if r["ratio_spread"]:
            a, b = (x(v) for v in r["ratio_spread"])
            body.append(f'<line class="spread" x1="{a:.1f}" x2="{b:.1f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"/>')
        limit = _limit(r)
        if limit:
            g = x(limit[0])
            body.append(f'<line class="goal" x1="{g:.1f}" x2="{g:.1f}" y1="{y - 4}" y2="{y + BAR + 4}"/>')
        body.append(_text(WIDTH - RIGHT + 12, y + 13, f"{number(r['ratio'])}×  {r['goal'] and '(' + r['goal'] + ')'}",
                          "bad" if r["reached"] is False else ""))
    return f'<div class="card">{_svg(height, body)}<p class="soft">Ours ÷ theirs; the thin line spans the rounds, the blue one is the goal.</p></div>'


def values(rows, unit):
    """Ours and what it is compared with, one bar each."""
    bars = {}
    for r in rows:
        if r["unit"] != unit or r["value"] is None:
            continue
        bars.setdefault((r["name"], True), (r["value"], r["spread"]))
        if r["its_value"] is not None:
            bars.setdefault((r["compared_with"], False), (r["its_value"], None))
    top = max((max(v, s[1] if s else 0) for v, s in bars.values()), default=0)
    if len(bars) < 2 or top <= 0:
        return ""
    room = WIDTH - LABEL - RIGHT
    body = []
    for i, ((name, ours), (value, spread)) in enumerate(bars.items()):
        y = 6 + STEP * i
        body += [_text(LABEL - 10, y + 13, _fit(name), "" if ours else "soft", "end"),
                 f'<rect class="{"ours" if ours else "theirs"}" x="{LABEL}" y="{y}" width="{max(room * value / top, 1.5):.1f}" height="{BAR}" rx="2"/>',
                 _text(LABEL + room * value / top + 8, y + 13, f"{number(value)} {unit}", "" if ours else "soft")]
        if spread:
            a, b = (LABEL + room * v / top for v in spread)
            body.append(f'<line class="spread" x1="{a:.1f}" x2="{b:.1f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"/>')
    return f'<div class="card">{_svg(STEP * len(bars) + 8, body)}</div>'


def _line(r):
    mark = "" if r["reached"] is None else ('<span class="mark ok">reached</span>' if r["reached"]
                                            else '<span class="mark bad">missed</span>')
    note = f"<small>{markup.escape(r['note'])}</small>" if r["note"] else ""
    spread = f"<small>{range_text(r['spread'])}</small>" if r["spread"] else ""
    ratio_spread = f"<small>{range_text(r['ratio_spread'])}</small>" if r["ratio_spread"] else ""
    ratio = f"{number(r['ratio'])}×" if r["ratio"] is not None else ""
    its = number(r["its_value"]) if r["its_value"] is not None else ""
    return (f"<tr><td>{markup.escape(r['name'])}{note}</td><td class=n>{number(r['value'])}{spread}</td>"
            f"<td>{markup.escape(r['unit'])}</td><td>{markup.escape(r['compared_with'])}</td><td class=n>{its}</td>"
            f"<td class=n>{ratio}{ratio_spread}</td><td>{markup.escape(r['goal'])}</td><td>{mark}</td></tr>")


def _section(result):
    rows = result["rows"]
    head = "".join(f"<th{' class=n' if n else ''}>{h}</th>" for h, n in (
        ("what", 0), ("value", 1), ("unit", 0), ("compared with", 0), ("its value", 1), ("ratio", 1), ("goal", 0), ("", 0)))
    table = (f'<div class="card"><table><thead><tr>{head}</tr></thead><tbody>{"".join(map(_line, rows))}</tbody></table></div>'
             if rows else "")
    error = f'<div class="card"><b>Could not be measured</b><pre>{markup.escape(result["error"])}</pre></div>' if result["error"] else ""
    units = dict.fromkeys(r["unit"] for r in rows)
    return (f"<h2>{markup.escape(result['title'])}</h2>{error}{table}{ratios(rows)}"
            + "".join(values(rows, unit) for unit in units))


def html(results, facts):
    goals = [r for result in results for r in result["rows"] if r["reached"] is not None]
    reached = sum(r["reached"] for r in goals)
    failed = [r for r in results if r["error"]]
    verdict = (f'<span class="verdict {"ok" if reached == len(goals) and not failed else "bad"}">{reached} of {len(goals)} '
               f"goals reached{f', {len(failed)} benchmarks could not be run' if failed else ''}</span>")
    about = {"Machine": f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']:g} GB",
             "System": f"{facts['system']}, Linux {facts['kernel']}, huge pages: {facts['huge_pages']}",
             "Compared with": ", ".join(f"{n} {v}" for n, v in facts["packages"].items()),
             "Load": f"{facts['load_before']:.2f} before the run (an idle machine has 0)",
             "Took": f"{facts['seconds']:.0f} s{', a quick run: smaller and rougher' if facts['quick'] else ''}"}
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>Beckon: measured</title><style>{(HERE / 'report.css').read_text()}</style></head><body><main>"
            f"<h1>Beckon, measured</h1><p class=soft>{facts['date']}. Medians of rounds in which both sides took turns; "
            f"small figures below are the smallest and largest round.</p>{verdict}"
            f"{''.join(map(_section, results))}<h2>Where</h2><div class=card><dl>"
            + "".join(f"<dt>{k}</dt><dd>{markup.escape(v)}</dd>" for k, v in about.items()) + "</dl></div></main></body></html>\n")
