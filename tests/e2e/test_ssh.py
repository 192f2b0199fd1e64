"""beckon connect as ssh's ProxyCommand, with real programs on both sides; beckon ssh; standard input and
output of every kind; beckon ping."""

import hashlib
import json
import random
import re
import shlex
import subprocess

import pytest

from lab import ROUTER_A, wait_until
from lab.peers import Service, blob, digest, expected, greet

BY_HAND = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
MB = 1_000_000
ALIAS = "beckon-2133"  # what beckon ssh calls the host


class Shell:
    """Commands at the requester whose way to the device is beckon connect."""

    def __init__(self, world):
        self.ns = world.net.requester
        self.alice = world.alice
        self.env = world.alice._environment(None)
        self.host = f"{world.sshd.user}@2133"
        self.connect = world.alice.proxy_command(2133, "ssh", *BY_HAND)
        self.identity = world.sshd.client_options(ALIAS)
        self.options = [*self.identity, "-o", f"ProxyCommand={self.connect}"]

    def run(self, argv, **kw):
        return self.ns.run(argv, env=self.env, **kw)

    def ssh(self, *words, **kw):
        """ssh with ProxyCommand."""
        return self.run(["ssh", *self.options, self.host, *words], **kw)

    def beckon_ssh(self, *words, **kw):
        return self.alice.run("ssh", *BY_HAND, self.host, "--", *self.identity, *words, **kw)


@pytest.fixture(scope="module")
def shell(fixed_world):
    return Shell(fixed_world)


@pytest.fixture(scope="module", autouse=True)
def services(fixed_world):
    """Services of known bytes beside ssh."""
    ports = {"blob": (9001, blob), "digest": (9002, digest), "greet": (9003, greet)}
    running = [Service(handle, fixed_world.net.device, port) for port, handle in ports.values()]
    fixed_world.device.stop()
    fixed_world.device.configure({name: f"tcp:127.0.0.1:{port}" for name, (port, _) in ports.items()})
    fixed_world.device.start()
    yield
    for service in running:
        service.close()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(fixed_world, services):
    yield
    net = fixed_world.net
    wait_until(lambda: "beckon-agent-call" not in net.device.programs().values(), 30, "all calls end")
    assert "beckon" not in net.requester.programs().values()


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


# -- ssh and its family ---------------------------------------------------------------------------

def test_login(shell):
    done = shell.ssh(input="echo shell of $USER; exit 5\n", check=False)
    assert done.status == 5
    assert done.out == f"shell of {shell.host.split('@')[0]}\n"


def test_silence_unless_asked(shell):
    """Nothing of ours on standard error; with -v, how the call went."""
    assert shell.ssh("true").err == ""
    shell_v = shell.alice.proxy_command(2133, "ssh", "-v", *BY_HAND)
    said = shell.run(["ssh", *shell.identity, "-o", f"ProxyCommand={shell_v}", shell.host, "true"]).err
    # Not "device accepts us": that word comes by the server, and the device itself may be there first.
    for phase in ("candidate: mapped", "connected to the server", "sealed request is out", "device is connected",
                  "path: mapped"):
        assert phase in said


@pytest.mark.heavy
@pytest.mark.parametrize("towards", ["device", "caller"])
def test_scp_of_100_mb(shell, tmp_path, towards):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    source = (here if towards == "device" else there) / "file"
    source.write_bytes(random.Random(towards).randbytes(100 * MB))
    words = [here / "file", f"{shell.host}:{there}/"] if towards == "device" else [f"{shell.host}:{there}/file", here]
    shell.run(["scp", "-q", *shell.options, *words], timeout=120)
    assert sha256(here / "file") == sha256(there / "file")
    assert (here / "file").stat().st_size == (there / "file").stat().st_size == 100 * MB


def test_rsync(shell, tmp_path):
    """A tree, and again with one file changed and one gone."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    for i in range(20):
        (here / f"file-{i}").write_bytes(random.Random(i).randbytes(100_000 * (i % 4)))
    remote = " ".join(shlex.quote(word) for word in ["ssh", *shell.options])

    def sync():
        shell.run(["rsync", "-a", "--delete", "--checksum", "-e", remote, f"{here}/", f"{shell.host}:{there}/"])
        files = {p.name: p.read_bytes() for p in here.iterdir()}
        assert {p.name: p.read_bytes() for p in there.iterdir()} == files

    sync()
    (here / "file-3").write_bytes(b"changed")
    (here / "file-4").unlink()
    sync()


def test_beckon_ssh(shell):
    done = shell.beckon_ssh("echo", "words of the command", check=False)
    assert (done.status, done.out) == (0, "words of the command\n"), done.err


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status_is_the_commands(shell, status):
    assert shell.beckon_ssh(f"exit {status}", check=False).status == status


def test_beckon_ssh_that_cannot_call(shell):
    """ssh's own status for a connection that failed, and our one line that says why."""
    done = shell.beckon_ssh("true", password="wrong", check=False)
    assert done.status == 255
    assert len([line for line in done.err.splitlines() if line.startswith("beckon: ")]) == 1
    assert "password" in done.err


def test_standard_input_reaches_the_command(shell):
    assert shell.beckon_ssh("sha256sum", input="x" * 100_000).out.split()[0] == \
        hashlib.sha256(b"x" * 100_000).hexdigest()


# -- standard input and output --------------------------------------------------------------------

def connect(shell, service, redirect, check=True):
    """beckon connect in a shell line; the status of each program of the pipe follows on standard error."""
    words = shlex.quote(str(shell.alice.lab.bin / "beckon")), "connect", "--state", shlex.quote(str(shell.alice.state)), \
        *BY_HAND, "2133", service
    line = redirect.format(connect=" ".join(words))
    return shell.run(["bash", "-c", f"{line}; echo ${{PIPESTATUS[*]}} >&2"], check=check)


def test_input_from_a_file(shell, tmp_path):
    """A regular file cannot be polled."""
    content = random.Random(9).randbytes(3 * MB)
    (tmp_path / "in").write_bytes(content)
    done = connect(shell, "digest", f"{{connect}} < {tmp_path}/in")
    assert (done.out, done.err) == (f"{3 * MB} {hashlib.sha256(content).hexdigest()}\n", "0\n")


def test_output_to_a_file(shell, tmp_path):
    done = connect(shell, "blob", f"echo 11 {3 * MB} | {{connect}} > {tmp_path}/out")
    assert done.err == "0 0\n"
    assert sha256(tmp_path / "out") == expected(11, 3 * MB)


def test_input_from_dev_null(shell):
    done = connect(shell, "digest", "{connect} < /dev/null")
    assert (done.out, done.err) == (f"0 {hashlib.sha256().hexdigest()}\n", "0\n")


def test_output_to_dev_null(shell):
    assert connect(shell, "blob", "echo 12 100000 | {connect} > /dev/null").err == "0 0\n"


def test_input_that_is_closed(shell):
    """No descriptor at all is like nothing to say; and no socket gets its number and is taken for it."""
    done = connect(shell, "digest", "{connect} <&-")
    assert (done.out, done.err) == (f"0 {hashlib.sha256().hexdigest()}\n", "0\n")
    assert connect(shell, "digest", "{connect} <&- >&-").err == "0\n"


def test_pipe_that_closes_early(shell):
    """`| head`: our reader has enough. We end at once, and say so in one line."""
    done = connect(shell, "blob", "echo 13 1000000000 | {connect} | head -c 1000 | wc -c")
    assert done.out == "1000\n"
    assert re.fullmatch("beckon: .*Broken pipe\n0 1 0 0\n", done.err)
    assert done.seconds < 30


def test_pipe_is_left_as_it_was(shell):
    """Another program on the same pipe finds it blocking still."""
    done = connect(shell, "greet", "(sleep 0.3; echo late) | ({connect} < /dev/null > /dev/null; cat)")
    assert done.out == "late\n"


def test_interrupted_by_its_parent(shell):
    """ssh ends its ProxyCommand by SIGHUP or by closing its ends: either way it is gone."""
    with shell.alice.start("connect", *BY_HAND, 2133, "digest", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"x")
        process.stdin.flush()
        wait_until(lambda: shell.ns.sockets("state established sport = :1600"), 30, "the call stands")
        process.send_signal(1)
        assert process.wait() == 17


# -- ping -----------------------------------------------------------------------------------------

PHASES = ["server", "found", "requested", "delivered", "accepted", "up"]
OVERTAKEN = {"delivered", "accepted"}  # said by way of the server: the device itself may be there first


def test_ping_in_words(shell):
    out = shell.alice.run("ping", *BY_HAND, "-c", 2, 2133).out
    assert re.findall(r"^round trip (\d+): (\d+\.\d{3}) ms$", out, re.M)[1][0] == "2"
    assert f"path: mapped {ROUTER_A}:5000\n" in out
    times = [float(ms) for ms in re.findall(r"^ *(\d+\.\d) ms  ", out, re.M)]
    assert len(PHASES) - len(OVERTAKEN) <= len(times) <= len(PHASES) and times == sorted(times)


def test_ping_as_json(shell):
    done = shell.alice.run("ping", *BY_HAND, "--json", "-c", 2, 2133)
    got = json.loads(done.out)
    assert list(got["phases_ms"]) == [p for p in PHASES if p in got["phases_ms"] or p not in OVERTAKEN]
    times = list(got["phases_ms"].values())
    assert times == sorted(times) and times[0] > 0
    assert len(got["round_trips_ms"]) == 2 and all(0 < ms < 5000 for ms in got["round_trips_ms"])
    assert got["path"] == f"mapped {ROUTER_A}:5000"
    assert done.err == ""
