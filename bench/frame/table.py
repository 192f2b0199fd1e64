"""The results on a terminal."""

import os
import sys

from .rows import number, range_text

HEAD = ("what", "value", "unit", "compared with", "its value", "ratio", "goal", "")


def _mark(reached):
    return {None: "", True: "reached", False: "MISSED"}[reached]


def _colour(text, reached):
    if reached is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{32 if reached else 31}m{text}\x1b[0m"


def rows(found):
    if not found:
        return ""
    cells = [HEAD] + [(r["name"], number(r["value"]), r["unit"], r["compared_with"],
                       number(r["its_value"]) if r["its_value"] is not None else "",
                       f"{number(r['ratio'])}×" if r["ratio"] is not None else "", r["goal"], _mark(r["reached"]))
                      for r in found]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    right = {1, 4, 5}
    lines = []
    for number_, line in enumerate(cells):
        text = "  ".join(c.rjust(w) if i in right else c.ljust(w)
                         for i, (c, w) in enumerate(zip(line, widths))).rstrip()
        row = found[number_ - 1] if number_ else None
        lines.append("   " + (_colour(text, row["reached"]) if row else text))
        notes = [f"rounds {range_text(row['spread'])}"] if row and row["spread"] else []
        notes += [f"ratios {range_text(row['ratio_spread'])}"] if row and row["ratio_spread"] else []
        notes += [row["note"]] if row and row["note"] else []
        if notes:
            lines.append("       " + "; ".join(notes))
    return "\n".join(lines)


def summary(found, results):
    goals = [r for r in found if r["reached"] is not None]
    missed = [r for r in goals if not r["reached"]]
    lines = [f"Goals: {len(goals) - len(missed)} of {len(goals)} reached."]
    for r in missed:
        what = number(r["ratio"]) + "×" if r["goal"].endswith(("×", "less")) else f"{number(r['value'])} {r['unit']}"
        lines.append(f"   MISSED  {r['module']}: {r['name']}: {what}, goal {r['goal']}"
                     + (f" ({r['compared_with']})" if r["compared_with"] else ""))
    lines += [f"   could not be measured: {r['module']}" for r in results if r["error"]]
    return "\n".join(lines)
