"""`make matrix`: calls between every two kinds of networks, with and without port mapping on the routers. For each
cell the best path that it allows and the one taken, as a table, build/matrix/matrix.json and build/matrix/matrix.html.
Exit status 0 only if every cell connects by the best path.

    python3 tools/matrix [--tries N] [--punch-tries N] [--only REQUESTER,DEVICE] [--mapping on|off] [--relay coturn]

Needs root (network namespaces), nftables, conntrack and miniupnpd."""

import argparse
import concurrent.futures
import json
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPOSITORY / "tests/e2e")]

import cells  # noqa: E402
import page  # noqa: E402
import text  # noqa: E402
from lab import binaries, sweep  # noqa: E402
from lab.sides import KINDS, PAIR_KINDS  # noqa: E402
from lab.world import World  # noqa: E402


def groups(wanted, size):
    """Cells that share a network: the same port mapping, a few requesters, all their devices."""
    for mapping in (False, True):
        rows = [kind for kind in (*KINDS, *PAIR_KINDS) if any((c.requester, c.mapping) == (kind, mapping) for c in wanted)]
        for first in range(0, len(rows), size):
            yield [c for c in wanted if c.mapping == mapping and c.requester in rows[first:first + size]]


def play_group(args, group, say):
    outcomes = []
    with World(args.bin, **cells.needs(group), relay=args.relay) as world:
        for cell in group:
            tries = args.punch_tries if cells.best(cell) == "punched" else args.tries
            outcomes.append(cells.play(world, cell, tries))
            say(outcomes[-1])
    return outcomes


def options():
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, help="folder of the programs (default: the dev build's)")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "build/matrix", help="folder of the results")
    parser.add_argument("--tries", type=int, default=3, help="calls in each cell")
    parser.add_argument("--punch-tries", type=int, help="calls in cells where punching is the best there is")
    parser.add_argument("--only", action="append", default=[], metavar="REQUESTER,DEVICE", help="* for any; may be repeated")
    parser.add_argument("--mapping", choices=("on", "off"), help="only with, or only without")
    parser.add_argument("--relay", choices=("beckond", "coturn"), default="beckond")
    parser.add_argument("--jobs", type=int, default=2, help="networks at a time")
    parser.add_argument("--rows", type=int, default=4, help="requesters in a network")
    args = parser.parse_args()
    args.bin = args.bin or binaries()
    args.punch_tries = args.punch_tries or args.tries
    return args


def chosen(args):
    def asked_for(cell):
        if args.mapping and cell.mapping != (args.mapping == "on"):
            return False
        pairs = [word.split(",") for word in args.only]
        return not pairs or any(all(w in ("*", k) for w, k in zip(pair, (cell.requester, cell.device))) for pair in pairs)

    return [cell for cell in cells.all_cells() if asked_for(cell)]


def main():
    args = options()
    sweep()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def say(outcome):
        print(text.progress(outcome), flush=True)

    wanted = chosen(args)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(play_group, args, group, say) for group in groups(wanted, args.rows)]
        found = {o.cell: o for job in jobs for o in job.result()}
    outcomes = [found[cell] for cell in wanted]
    seconds = time.monotonic() - start
    (args.out / "matrix.json").write_text(json.dumps([o.json() for o in outcomes], indent=1) + "\n")
    (args.out / "matrix.html").write_text(page.html(outcomes, seconds, args.relay))
    for line in text.lines(outcomes):
        print(line)
    bad = [o for o in outcomes if not o.good()]
    print(f"\n{len(outcomes)} cells, {sum(len(o.tries) for o in outcomes)} calls in {seconds:.0f} s; "
          f"{len(bad)} not as they should be. Page: {args.out / 'matrix.html'}")
    return 1 if bad or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
