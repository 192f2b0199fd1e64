"""The outcome as report.json and as one self-contained page."""

import html
import pathlib

import drawing

HERE = pathlib.Path(__file__).resolve().parent


def _everything(outcome):
    return outcome.steps + [row for table in outcome.tables for row in table.rows] + outcome.checks


def as_json(outcome):
    return {"steps": [step.json() for step in outcome.steps], "tables": [table.json() for table in outcome.tables],
            "checks": [check.json() for check in outcome.checks], "ok": all(v.equal for v in _everything(outcome))}


def as_html(outcome):
    rows = _everything(outcome)
    differing = sum(not row.equal for row in rows)
    verdict = (f'<span class="verdict ok">All {len(rows)} rows equal the reference</span>' if not differing else
               f'<span class="verdict bad">{differing} of {len(rows)} rows differ from the reference</span>')
    parts = [
        "<h1>A call through two NAT routers</h1>"
        f'<p class="soft">Equipment 2133 behind router 104b is called from behind router 104a. Server 101 introduces '
        f"them and steps aside. Packets are drawn as captured on both sides of each router; the boxes of 217 and 226 "
        f"were opened with the device's key.</p>{verdict}",
        f'<h2>The sequence</h2><div class="card">{drawing.sequence(outcome)}</div>'
        '<p class="soft">Dashed: TLS 1.3 carries this piece inside the packet named, where the figures draw one of its '
        "own.</p>",
    ]
    for table in outcome.tables:
        parts.append(f"<h2>Figure {table.figure}: {html.escape(table.title)}</h2>{_table(table)}")
    parts.append(f"<h2>Besides</h2>{_checks(outcome.checks)}")
    parts.append(f"<h2>Every packet, field by field</h2>{_steps(outcome.steps)}")
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Beckon: a call as captured</title>\n'
            f"<style>\n{(HERE / 'report.css').read_text()}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) +
            "\n</main>\n</body>\n</html>\n")


def _mark(equal):
    return '<td class="ok">equal</td>' if equal else '<td class="bad">different</td>'


def _values(values):
    if not values:
        return '<span class="soft">missing</span>'
    return "<br>".join(f'<span class="soft">{html.escape(str(k))}</span> {html.escape(str(v))}' for k, v in values.items())


def _rows(head, body):
    return ('<div class="card"><table><thead><tr>' + "".join(f"<th>{h}</th>" for h in head) + "</tr></thead><tbody>"
            + "".join(body) + "</tbody></table></div>")


def _row(equal, cells):
    return f"<tr{'' if equal else ' class=differs'}>" + "".join(cells) + _mark(equal) + "</tr>"


def _table(table):
    """Each row of the figure with the one seen below it, so that the columns can be compared."""
    def line(which, values, equal, last):
        cells = [f'<td class="soft">{which}</td>']
        cells += [f"<td>{html.escape(str(values.get(column, '–')))}</td>" for column in table.columns]
        return f"<tr{'' if equal else ' class=differs'}>" + "".join(cells) + last + "</tr>"

    body = []
    for row in table.rows:
        body.append(line("reference", row.expected, row.equal, "<td></td>"))
        body.append(line("seen", row.seen, row.equal, _mark(row.equal)))
    return _rows(["", *table.columns, ""], body)


def _checks(checks):
    return _rows(["what", "expected", "seen", ""],
                 [_row(c.equal, (f"<td>{html.escape(c.name)}</td>", f"<td>{_values(c.expected)}</td>",
                                 f"<td>{_values(c.seen)}</td>")) for c in checks])


def _steps(steps):
    body = [_row(s.equal, (f"<td>{html.escape(s.ref)}</td>",
                           f'<td>{html.escape(s.name)}<br><span class="soft">{html.escape(s.message)}</span></td>',
                           f"<td>{s.side.upper()} 104{s.router}</td>", f'<td class="mono">{_values(s.expected)}</td>',
                           f'<td class="mono">{_values(s.seen)}</td>')) for s in steps]
    rows = _rows(["packet", "name", "side", "reference", "seen", ""], body)
    return f"<details><summary>{len(steps)} rows</summary>{rows}</details>"
