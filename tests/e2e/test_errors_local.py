"""What goes wrong before anything is sent: command lines, configuration and state. One line, plain words,
the documented status."""

import os
import re
import shutil
import types

import pytest

from lab import Beckon, Namespace
from lab.beckon import REPOSITORY
from test_errors import BAD_CONFIG, FAILED, NOT_JOINED, USAGE, failed

HEADER = REPOSITORY / "include/beckon/beckon.h"
MANUAL = REPOSITORY / "docs/manual.md"


@pytest.fixture(scope="module")
def world(bindir, tmp_path_factory):
    """A server, a device and a user on one machine: all have joined, nothing runs."""
    with Namespace("machine") as ns:
        net = types.SimpleNamespace(server=ns, device=ns, requester=ns, workdir=tmp_path_factory.mktemp("machine"))
        beckon = Beckon(net, bindir)
        beckon.server.init("127.0.0.1")
        beckon.server.start()
        device = beckon.enrol_device(2133)
        user = beckon.enrol_user("alice", devices=[2133], pins=[device])
        assert beckon.server.stop() == 0
        yield types.SimpleNamespace(ns=ns, beckon=beckon, server=beckon.server, device=device, user=user,
                                    programs={"beckon": user, "beckon-agent": device, "beckon-agent-call": device,
                                              "beckond": beckon.server})


def run(world, program, *words, **kw):
    """A program with exactly these words."""
    party = world.programs[program]
    kw.setdefault("timeout", 40)
    return world.ns.run([world.beckon.bin / program, *words], env=party.env(), check=False, **kw)


# -- the numbers ----------------------------------------------------------------------------------


def documented():
    """Status → name, from the header."""
    names = re.findall(r"BECKON_([A-Z_]+) = (\d+),", HEADER.read_text().split("enum beckon_status {")[1].split("};")[0])
    return {int(number): name.lower().replace("_", " ") for name, number in names}


def test_the_manual_lists_the_header_s_statuses():
    rows = re.findall(r"^\| (\d+) \|([a-z ]*)\|", MANUAL.read_text().split("## Exit statuses")[1], re.MULTILINE)
    manual = {int(number): name.strip() for number, name in rows}
    expected = documented()
    expected[0] = ""  # "ok" has no name there
    assert manual == expected
    assert sorted(manual) == list(range(19))


@pytest.mark.parametrize("program", ["beckon", "beckon-agent", "beckond"])
def test_help_names_documented_statuses_only(world, program):
    text = run(world, program, "--help").out.split("Exit status:")[1].replace("\n", " ")
    statuses = {int(n) for n in re.findall(r"(?:^|, ) ?(\d+) ", text.strip())}
    assert {0, 1, 2, 12} <= statuses <= set(documented())
    if program == "beckon":
        assert statuses == set(documented())


# -- help -----------------------------------------------------------------------------------------

COMMANDS = {
    "beckon": ["join", "key", "pin", "connect", "forward", "ssh", "ping"],
    "beckon-agent": ["join", "passwd", "run", "uri"],
    "beckond": ["init", "run", "token", "devices", "grant", "ungrant", "revoke"],
}


@pytest.mark.parametrize("program", sorted(COMMANDS))
def test_help(world, program):
    top = run(world, program, "--help")
    for words in ([], *([c] for c in COMMANDS[program])):
        done = run(world, program, *words, "--help")
        assert done.status == 0 and done.err == "" and done.out.count("\n") > 2, words
        for command in words:
            assert command in done.out and command in top.out
    version = run(world, program, "--version")
    assert version.status == 0 and re.fullmatch(rf"{program} \d+\.\d+\.\d+\n", version.out)


# -- usage ----------------------------------------------------------------------------------------

MISUSES = {
    "beckon": ["", "frobnicate", "ping", "ping 1 2", "ping --frobnicate 2133", "ping 2133 -c", "ping 2133 -c 0",
               "ping 2133 -c 1000001", "ping 2133 -c 3x", "connect", "connect 1 2 3", "connect 2133 UPPER", "connect no/name ssh",
               "connect 0 ssh", "connect 9223372036854775808 ssh", "connect --state", "connect --listen 77 2133",
               "connect --listen :70000 2133", "connect --advertise 4.17.168.2:5000 2133",
               "connect --listen :5 --advertise 4.17.168.2 2133", "connect --listen :5 --advertise 4.17.168.2:0 2133",
               "forward 2133", "forward 2133 80", "forward 2133 80:", "forward 2133 x:web", "forward 2133 65536:web",
               "forward 2133 0:web", "forward 2133 8080:UPPER", "forward 2133 nowhere:80:web", "ssh", "pin", "pin a b", "pin not-a-uri",
               "pin beckon://h/2133", "pin beckon://h/0#AAAA", "join", "join a b"],
    "beckon-agent": ["", "frobnicate", "run", "run --state", "run --state S extra", "run --state S --frobnicate",
                     "join T", "join --state S", "join --state S a b", "passwd", "passwd --state S extra", "uri",
                     "uri --state S extra"],
    "beckon-agent-call": ["renew", "renew --state S extra", "renew --state S --time never", "renew --state S --time -1",
                          "renew --state S --time 4102444800"],
    "beckond": ["", "frobnicate", "init", "init --state S", "init --host h", "run", "run --state S extra",
                "run --state S --frobnicate", "token", "token create", "token create --state S", "token make --state S --user u",
                "token create --state S --user u --device 1", "token create --state S --device 0",
                "token create --state S --device x", "token create --state S --user UPPER",
                "token create --state S --user u --expires 3", "token create --state S --user u --expires soon",
                "token create --state S --device 1 --name all", "devices", "devices --state S extra",
                "grant --state S --user u", "grant --state S --device 1", "ungrant --user u --device 1",
                "revoke --state S", "revoke --state S --device 1 --user u", "devices --state S --state S"],
}


@pytest.mark.parametrize("program, words", [(p, w) for p in sorted(MISUSES) for w in MISUSES[p]])
def test_misuse(world, program, words, tmp_path):
    words = [str(tmp_path / "s") if w == "S" else w for w in words.split()]
    if program == "beckon" and words and "--state" not in words:
        words[1:1] = ["--state", world.user.state]
    failed(run(world, program, *words), USAGE)
    assert not (tmp_path / "s").exists()


# -- configuration --------------------------------------------------------------------------------


@pytest.fixture
def spoiled(world, tmp_path):
    """Copies of the three state directories, to be spoiled."""
    copies = {}
    for program, party in world.programs.items():
        copies[program] = tmp_path / program
        shutil.copytree(party.state, copies[program], ignore=shutil.ignore_patterns("*.sock"))
    return copies


def start(world, spoiled, program):
    words = {"beckon": ["ping", "2133"], "beckon-agent": ["run"], "beckond": ["run"]}[program]
    return run(world, program, words[0], "--state", spoiled[program], *words[1:])


SPOILS = [
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\nserver = 127.0.0.1\nprot = 2000\n", 4, "prot"),
    ("beckon-agent", "agent.conf", "[agent]\nid = x\n", 2, "id"),
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\nserver = 127.0.0.1\nkeepalive = 4\n", 4, "keepalive"),
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\nserver = 127.0.0.1\nport = 65536\n", 4, "port"),
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\nserver = s\n[service web]\ntarget = 80\n", 5, "target"),
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\nserver = s\n[service WEB]\ntarget = tcp:a:80\n", 5, "service"),
    ("beckon-agent", "agent.conf", "[agnet]\nid = 2133\n", 2, "agnet"),
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\n\nwhat is this\n", 4, "key = value"),
    ("beckon", "beckon.conf", "[client]\nserver = 127.0.0.1\nport = none\n", 3, "port"),
    ("beckon", "beckon.conf", "[client]\nserver = 127.0.0.1\nfrobnicate = 1\n", 3, "frobnicate"),
    ("beckon", "beckon.conf", "[client\n", 1, "section"),
    ("beckon", "known_devices", "2133\n", 1, "known_devices"),
    ("beckon", "known_devices", "# a remark\n\n2133 too-short\n", 3, "known_devices"),
    ("beckond", "beckond.conf", "[server]\nhost = h\nudp_prot = 1200\n", 3, "udp_prot"),
    ("beckond", "beckond.conf", "[server]\nhost = h\nudp_port = 0\n", 3, "udp_port"),
    ("beckond", "beckond.conf", "[server]\nhost = h\n\nhost = i\n", 4, "host"),
    ("beckond", "beckond.conf", "[sever]\nhost = h\n", 1, "sever"),
    ("beckond", "beckond.conf", "[server]\nhost = h\nanswer_binding = perhaps\n", 3, "answer_binding"),
    ("beckond", "beckond.conf", "[server]\nhost = h\nnonsense\n", 3, "KEY = VALUE"),
]


@pytest.mark.parametrize("program, name, text, line, word", SPOILS)
def test_malformed_configuration_is_named_with_its_line(world, spoiled, program, name, text, line, word):
    path = spoiled[program] / name
    path.write_text(text)
    failed(start(world, spoiled, program), BAD_CONFIG, f"{path}:{line}: ", word)


@pytest.mark.parametrize("program, name, text", [
    ("beckon-agent", "agent.conf", "[agent]\nid = 2133\n"), ("beckon-agent", "agent.conf", ""),
    ("beckon", "beckon.conf", ""), ("beckond", "beckond.conf", ""), ("beckond", "beckond.conf", "[server]\nudp_port = 1\n")])
def test_configuration_that_lacks_what_it_needs(world, spoiled, program, name, text):
    path = spoiled[program] / name
    path.write_text(text)
    failed(start(world, spoiled, program), BAD_CONFIG, path)


@pytest.mark.parametrize("program, name", [
    ("beckon-agent", "device.key"), ("beckon", "user.key"), ("beckon", "user.crt"), ("beckon", "ca.crt"),
    ("beckond", "master.keys"), ("beckond", "ca.key"), ("beckond", "ca.crt"), ("beckond", "server.key"),
    ("beckond", "server.crt"), ("beckond", "beckond.db")])
def test_damaged_state(world, spoiled, program, name):
    path = spoiled[program] / name
    path.write_bytes(b"this is not what was here before\n")
    failed(start(world, spoiled, program), BAD_CONFIG, name)


def test_configuration_given_elsewhere(world, spoiled, tmp_path):
    other = tmp_path / "other.conf"
    other.write_text("nonsense\n")
    for program in ("beckon-agent", "beckond"):
        failed(run(world, program, "run", "--state", spoiled[program], "--config", other), BAD_CONFIG, f"{other}:1: ")


# -- state ----------------------------------------------------------------------------------------


def test_not_joined(world, tmp_path):
    failed(run(world, "beckon", "ping", "--state", tmp_path, "2133"), NOT_JOINED, "join")
    failed(run(world, "beckon-agent", "run", "--state", tmp_path), NOT_JOINED, "join")
    failed(run(world, "beckon-agent", "uri", "--state", tmp_path), NOT_JOINED, "join")
    failed(run(world, "beckond", "run", "--state", tmp_path), FAILED, "beckond init")
    failed(run(world, "beckond", "devices", "--state", tmp_path), FAILED, "beckond init")


def test_the_default_state_directory(world):
    done = failed(run(world, "beckon", "ping", "2133"), NOT_JOINED, f"{world.beckon.home}/.config/beckon")
    assert done.startswith("beckon: ")


@pytest.mark.parametrize("password", ["", "\n", "x" * 129])
def test_a_password_that_is_none(world, password):
    before = (world.device.state / "password").read_bytes()
    failed(run(world, "beckon-agent", "passwd", "--state", world.device.state, input=password), USAGE, "password")
    assert (world.device.state / "password").read_bytes() == before


def without_override(world, program, *words, **kw):
    """As root that file modes hold for, like anybody else."""
    argv = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", world.beckon.bin / program, *words]
    return world.ns.run(argv, env=world.programs[program].env(), check=False, **kw)


def test_state_directory_that_may_not_be_written(world, spoiled):
    for path in spoiled.values():
        path.chmod(0o500)
    try:
        failed(without_override(world, "beckond", "run", "--state", spoiled["beckond"]), FAILED, spoiled["beckond"])
        failed(without_override(world, "beckond", "init", "--state", spoiled["beckond"] / "new", "--host", "h"), FAILED,
               spoiled["beckond"])
        failed(without_override(world, "beckon-agent", "passwd", "--state", spoiled["beckon-agent"], input="password"),
               FAILED, spoiled["beckon-agent"])
        uri = "beckon://127.0.0.1/2134#" + world.device.uri().split("#")[1]
        failed(without_override(world, "beckon", "pin", "--state", spoiled["beckon"], uri), FAILED, "known_devices")
    finally:
        for path in spoiled.values():
            path.chmod(0o700)


def test_init_overwrites_nothing(world):
    before = {name: (world.server.state / name).read_bytes() for name in os.listdir(world.server.state)}
    failed(run(world, "beckond", "init", "--state", world.server.state, "--host", "h"), FAILED, world.server.state)
    assert {name: (world.server.state / name).read_bytes() for name in os.listdir(world.server.state)} == before


@pytest.mark.parametrize("kind, port", [("udp", 1200), ("tcp", 1201), ("tcp", 1300)])
def test_server_port_taken(world, spoiled, kind, port):
    with world.ns.udp(port=port) if kind == "udp" else world.ns.listen(port):
        failed(start(world, spoiled, "beckond"), FAILED, port)
    assert not (spoiled["beckond"] / "beckond.sock").exists()


def test_agent_port_taken(world, spoiled):
    with world.ns.udp(port=2000):
        failed(start(world, spoiled, "beckon-agent"), FAILED, 2000, "agent.conf")


def test_agent_becomes_a_user_who_cannot_read_its_configuration(world, spoiled):
    """Each call reads it anew: known at once, not at the first call."""
    state = spoiled["beckon-agent"]
    for folder in (state, *state.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    conf = state / "agent.conf"
    conf.write_text(conf.read_text().replace("[agent]\n", "[agent]\nuser = nobody\n"))
    world.ns.run(["chown", "-R", "nobody:", state])
    world.ns.run(["chown", "root:", conf])
    conf.chmod(0o600)
    failed(start(world, spoiled, "beckon-agent"), FAILED, conf, "Permission denied")


def test_two_servers_on_one_state_directory(world):
    world.server.start()
    try:
        failed(run(world, "beckond", "run", "--state", world.server.state), FAILED, "another beckond")
    finally:
        assert world.server.stop() == 0
    assert not (world.server.state / "beckond.sock").exists()


def test_administration_without_what_it_needs(world):
    server = ("--state", world.server.state)
    failed(run(world, "beckond", "devices", *server), FAILED, "beckond")  # it does not run
    failed(run(world, "beckond", "grant", *server, "--user", "nobody", "--device", "2133"), FAILED, "nobody")
    failed(run(world, "beckond", "grant", *server, "--user", "alice", "--device", "4711"), FAILED, "4711")
    failed(run(world, "beckond", "revoke", *server, "--device", "4711"), FAILED, "4711")
    failed(run(world, "beckond", "revoke", *server, "--user", "nobody"), FAILED, "nobody")


def test_agent_without_a_server_goes_on_trying(world):
    """Not an error that ends it; told to end, it ends at once."""
    device = world.device
    device.start(ready=False)
    device.process.wait_line("the server does not answer", 40)
    assert device.stop() == 0
    assert len(device.process.lines) == 1
    assert not [s for s in world.ns.sockets() if s.startswith("udp")]
