"""`make demo`: a call through two NAT routers, in the addresses and ports of the reference design, shown
from captured packets and live tables beside the reference's. Exit status 0 only if all is equal.

    python3 tools/demo [--bin DIR] [--out DIR]

Needs root (network namespaces), a build that keeps TLS secrets (preset dev), tshark, tcpdump,
nftables, conntrack, sshd, nginx, python3-nacl and python3-cryptography."""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPOSITORY / "tests/e2e")]

import report  # noqa: E402
import scenario  # noqa: E402
import text  # noqa: E402
from lab import binaries, sweep  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, help="folder of the programs (default: the dev build's)")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "build/demo", help="folder of the report")
    parser.add_argument("--keep", type=pathlib.Path, help="keep captures, key logs and program output in this folder")
    parser.add_argument("--free-ports", action="store_true",
                        help="let the routers choose their ports: shows that a difference is noticed")
    args = parser.parse_args()
    sweep()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="beckon-demo-") as temporary:
        workdir = args.keep or pathlib.Path(temporary)
        if args.keep:
            shutil.rmtree(workdir, ignore_errors=True)
            workdir.mkdir(parents=True)
        outcome = scenario.play(args.bin or binaries(), workdir, lambda words: print(f"demo: {words}", flush=True),
                                fixed=not args.free_ports)
    result = report.as_json(outcome)
    (args.out / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.out / "report.html").write_text(report.as_html(outcome))
    print()
    for line in text.lines(outcome):
        print(line)
    rows = result["steps"] + [row for table in result["tables"] for row in table["rows"]] + result["checks"]
    differing = sum(not row["equal"] for row in rows)
    print(f"\n{len(rows)} rows compared, {differing} different. Report: {args.out / 'report.html'}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
