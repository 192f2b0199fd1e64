"""The matrix as one self-contained page."""

import html as markup
import pathlib
import statistics

from cells import PATHS
from lab.sides import KINDS, PAIR_KINDS

HERE = pathlib.Path(__file__).resolve().parent

MEANING = {
    "host": "one end's own address is reached straight away: public, on the same LAN, or IPv6",
    "mapped": "a router granted a port (PCP, NAT-PMP, UPnP-IGD), at the caller's end or the device's",
    "punched": "both ends dialled each other at the same instants through their translators",
    "relayed": "through a TURN-TCP relay, sealed end to end",
}
KIND_MEANING = {
    "none": "a public address, IPv4 and IPv6",
    "port-preserving": "translation that keeps the port; filters by address and port",
    "random-port": "a random port for every flow",
    "ei-ei": "endpoint-independent mapping and filtering",
    "ei-ad": "endpoint-independent mapping, filters by address",
    "ei-apd": "endpoint-independent mapping, filters by address and port",
    "symmetric": "address- and port-dependent mapping, fully random ports",
    "cgn": "a home router inside a carrier's translation",
    "udp-blocked": "port-preserving, and no UDP gets out",
    "ipv6": "no IPv4; a stateful IPv6 firewall",
    "same-lan": "both ends on one LAN, router without hairpin",
    "same-lan-hairpin": "both ends on one LAN, router with hairpin",
}


def _cell(o):
    if o is None:
        return '<td class="blank"></td>'
    kind = o.taken or "none"
    title = (f"{o.cell.requester} calls {o.cell.device}: best {o.best}, taken {o.taken or 'none'}; "
             f"{o.connected} of {len(o.tries)} connected, {o.on_best} by the best path"
             + "".join(f"; {error}" for error in o.errors()))
    times = f"{o.median_ms:.0f} ms" if o.median_ms is not None else "no call"
    note = ""
    if not o.good():
        note = f"<em>best: {o.best}, {o.on_best}/{len(o.tries)}</em>"
    elif len(o.tries) > 5:
        note = f"<em>{o.on_best}/{len(o.tries)}</em>"
    return (f'<td class="{kind}{"" if o.good() else " wrong"}" title="{markup.escape(title)}"><b>{o.taken or "none"}</b>'
            f"<span>{times}</span>{note}</td>")


def _grid(outcomes, mapping):
    found = {(o.cell.requester, o.cell.device): o for o in outcomes if o.cell.mapping == mapping}
    if not found:
        return ""
    rows = [k for k in KINDS if any(r == k for r, _ in found)]
    columns = [k for k in KINDS if any(d == k for _, d in found)]
    head = '<th class="corner">caller ↓ &nbsp; device →</th>' + "".join(f"<th>{c}</th>" for c in columns)
    body = "".join(f"<tr><th>{r}</th>" + "".join(_cell(found.get((r, c))) for c in columns) + "</tr>" for r in rows)
    pairs = [k for k in PAIR_KINDS if (k, k) in found]
    both = "".join(f"<tr><th>{k}</th>{_cell(found[k, k])}</tr>" for k in pairs)
    return (f"<h2>Port mapping {'on' if mapping else 'off'}</h2>"
            + '<div class="card">'
            + (f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else "")
            + (f'<table style="width:auto"><tbody>{both}</tbody></table>' if both else "") + "</div>")


def _tiles(outcomes):
    tiles = []
    for path in PATHS:
        mine = [o for o in outcomes if o.taken == path]
        times = [t.ms for o in mine for t in o.tries if t.path == path]
        when = f"median {statistics.median(times):.0f} ms" if times else "never"
        tiles.append(f'<div class="tile {path}"><b>{len(mine)}</b>{path}, {when}<div class="soft">{MEANING[path]}</div></div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def html(outcomes, seconds, relay):
    bad = [o for o in outcomes if not o.good()]
    calls = sum(len(o.tries) for o in outcomes)
    verdict = (f'<span class="verdict ok">All {len(outcomes)} cells connect, by the best path each allows</span>' if not bad
               else f'<span class="verdict bad">{len(bad)} of {len(outcomes)} cells not as they should be</span>')
    kinds = "".join(f"<dt>{k}</dt><dd>{markup.escape(v)}</dd>" for k, v in KIND_MEANING.items())
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<title>Beckon: every network to every network</title>\n"
            f"<style>\n{(HERE / 'page.css').read_text()}</style>\n</head>\n<body>\n<main>\n"
            "<h1>Every network calls every network</h1>"
            f'<p class="soft">Real programs in network namespaces, with real address translation and real port mapping '
            f"daemons; the relay is {markup.escape(relay)}. {calls} calls in {seconds:.0f} s. The time is the median from the "
            f"command's start to the end-to-end session, dialled on the path that the call then used.</p>{verdict}"
            f"{_tiles(outcomes)}{_grid(outcomes, False)}{_grid(outcomes, True)}"
            f'<h2>The kinds</h2><div class="card"><dl>{kinds}</dl></div>'
            "\n</main>\n</body>\n</html>\n")
