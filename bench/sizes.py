"""How large the programs are, stripped, and which shared libraries they need: `make size`.

    bench/sizes.py BIN_DIR ..."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAMS = ("beckon-agent", "beckon-agent-call", "beckon", "beckond")


def stripped(program):
    """Bytes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(shutil.copy(program, folder))
        subprocess.run(["strip", "--strip-all", copy], check=True)
        return copy.stat().st_size


def paths(program):
    """Of the shared libraries that it needs, directly or not, by the names that it knows them by."""
    text = subprocess.run(["ldd", program], check=True, text=True, capture_output=True).stdout
    return [pathlib.Path(path) for path in re.findall(r"=> (\S+) \(", text)]


def libraries(program):
    """{name: bytes}"""
    return {path.name: path.resolve().stat().st_size for path in paths(program)}


def tell(folder):
    print(f"{'in ' + str(folder):20} {'stripped':>10}   shared libraries (bytes)")
    for name in PROGRAMS:
        program = folder / name
        needs = libraries(program)
        print(f"{name:20} {stripped(program):>10,}   {len(needs)}, together {sum(needs.values()):,}")
        for library, size in needs.items():
            print(f"{'':20} {'':>10}   {library:28} {size:>10,}")


def main():
    for i, folder in enumerate(sys.argv[1:]):
        print(end="\n" if i else "")
        tell(pathlib.Path(folder))


if __name__ == "__main__":
    main()
