"""What `make install` leaves: programs that find each other, and a library that others can link. The tree
that was built is installed below another prefix than the one it was configured for."""

import os
import pathlib
import re
import subprocess

import pytest

PROGRAM = r"""
#include <beckon/beckon.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct beckon_error error;
    char uri[400];

    if (argc != 2 || beckon_agent_uri(argv[1], uri, sizeof uri, &error) != BECKON_OK) {
        puts(beckon_status_name(error.status));
        return (int)error.status;
    }
    puts(uri);
    return 0;
}
"""


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], text=True, capture_output=True, timeout=120, **kw)


@pytest.fixture(scope="module")
def prefix(bindir, tmp_path_factory):
    where = tmp_path_factory.mktemp("installed")
    done = run("cmake", "--install", pathlib.Path(bindir).parent, "--prefix", where)
    assert done.returncode == 0, done.stderr
    return where


def test_programs_find_each_other(prefix, tmp_path):
    assert run(prefix / "bin/beckond", "--version").returncode == 0
    assert run(prefix / "bin/beckon", "--version").returncode == 0
    # `uri` is done by the second program, in libexec: its answer is that nothing was joined, not that it is missing.
    done = run(prefix / "bin/beckon-agent", "uri", "--state", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (15, 1)
    assert "join" in done.stderr


def test_units_name_the_installed_programs(prefix):
    for unit in ("beckond", "beckon-agent"):
        text = (prefix / f"lib/systemd/system/{unit}.service").read_text()
        program = re.search(r"^ExecStart=(\S+)", text, re.M).group(1)
        assert os.access(program, os.X_OK) and pathlib.Path(program).parent == prefix / "bin"


def test_a_program_of_somebody_else_links_the_library(prefix, bindir, tmp_path):
    (tmp_path / "program.c").write_text(PROGRAM)
    cache = (pathlib.Path(bindir).parent / "CMakeCache.txt").read_text()
    compiler = re.search(r"^CMAKE_C_COMPILER:\w+=(.+)$", cache, re.M).group(1)
    sanitize = re.search(r"^BECKON_SANITIZE:\w+=(.*)$", cache, re.M).group(1)
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    flags = run("pkg-config", "--cflags", "--libs", "beckon", env=env)
    assert flags.returncode == 0, flags.stderr
    done = run(compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "program", tmp_path / "program.c",
               *([f"-fsanitize={sanitize}"] if sanitize else []), *flags.stdout.split())
    assert done.returncode == 0, done.stderr
    done = run(tmp_path / "program", tmp_path)
    assert (done.returncode, done.stdout) == (15, "not-joined\n")
