"""What goes wrong says so: one line of plain words, its own exit status, within ten seconds, and
nothing is left behind."""

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import termios
import types

import nacl.pwhash
import pytest

from lab import Beckon, REQUESTER, ROUTER_A, ROUTER_B, SERVER, nft_rules, wait_until
from lab import caller as caller_results
from lab.caller import Caller, Request
from lab.process import run

LIMIT_S = 10
GONE_S = 30  # a device's part in a call that came to nothing takes 10 s at most
BUSY_S = 8  # more, where other tests run beside this one

FAILED, USAGE, UNKNOWN_DEVICE, OFFLINE, REFUSED, NO_PATH, NO_MAPPING, SERVER_DOWN = range(1, 9)
BAD_TOKEN, USED_TOKEN, KEY_CHANGED, BAD_CONFIG, REVOKED, NO_SERVICE, NOT_JOINED = range(9, 16)
INTERRUPTED = 17

MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
MAPPED_ONLY = ("--path", "mapped")  # by a relay, or by a hole that both punch, a call would come about all the same
UNMAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5999", *MAPPED_ONLY)


def failed(done, status, *words):
    """Ended with that status and one line that says these words; returns the line."""
    lines = done.err.splitlines()
    assert done.status == status, f"status {done.status}: {done.err}{done.out}"
    assert len(lines) == 1, f"{len(lines)} lines: {done.err}"
    assert re.match(r"(beckon|beckon-agent|beckon-agent-call|beckond): \S", lines[0]), lines[0]
    for word in words:
        assert str(word) in lines[0], f"{word!r} is not in {lines[0]!r}"
    assert done.out == ""
    assert done.seconds < LIMIT_S + BUSY_S
    return lines[0]


# -- the world ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(net, bindir):
    """Device 2133 runs; alice may call it through a mapping made by hand, and a few that do not run."""
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    beckon = Beckon(net, bindir)
    beckon.start_server()
    device = beckon.enrol_device(2133, services={"dead": "tcp:127.0.0.1:9", "gone": "unix:/nonexistent/socket"})
    device.start()
    alice = beckon.enrol_user("alice", devices=[2133], pins=[device])
    return types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, device=device, alice=alice)


def programs(ns):
    """What of ours runs in a namespace: process ID → name."""
    found = {}
    for pid in run(["ip", "netns", "pids", ns.name]).out.split():
        try:
            found[pid] = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind(world):
    """No socket, no mapping, no process, no half-written file."""
    before = sorted(os.listdir(world.alice.state)), sorted(os.listdir(world.device.state))
    yield
    ours = ("beckon", "beckon-agent-ca")  # the kernel keeps 15 characters
    wait_until(lambda: not [n for ns in (world.net.requester, world.net.device) for n in programs(ns).values()
                            if n in ours], GONE_S, "no call runs any more")
    wait_until(lambda: not [s for s in world.net.requester.sockets() if "TIME-WAIT" not in s], GONE_S,
               "the requester holds no socket")
    wait_until(lambda: not [s for s in world.net.device.sockets() if s.startswith("tcp") and "TIME-WAIT" not in s], GONE_S,
               "the device holds no connection")
    assert not nft_rules(world.net.router_a.ns, "upnp_prerouting")
    after = sorted(os.listdir(world.alice.state)), sorted(os.listdir(world.device.state))
    kept = {"known_devices", "devices", "sessions"}  # what is learned of devices and servers
    assert [set(a) - kept for a in after] == [set(b) - kept for b in before]


def connect(party, device, service="dead", options=MAPPED, **kw):
    return party.run("connect", *options, device, service, check=False, **kw)


def ping(party, device, options=MAPPED, **kw):
    return party.run("ping", *options, device, "-c", "1", check=False, **kw)


def together(calls):
    """What these give, when they are made side by side."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


# -- who is called --------------------------------------------------------------------------------


def test_a_call_works(world):
    """Else the failures below would prove nothing."""
    done = ping(world.alice, 2133)
    assert done.status == 0 and done.err == "", done.err


def test_wrong_password(world):
    failed(ping(world.alice, 2133, password="wrong"), REFUSED, "password")
    assert ping(world.alice, 2133).status == 0


def test_no_password_to_be_had(world):
    failed(ping(world.alice, 2133, password="", options=(*MAPPED, "--password-file", "/nonexistent/file")),
           FAILED, "/nonexistent/file")
    failed(ping(world.alice, 2133, password=""), REFUSED, "--password-file")


def test_an_ungranted_device_looks_like_one_that_does_not_exist(world):
    world.beckon.enrol_device(2140, port=2140)
    ungranted = failed(ping(world.alice, 2140), UNKNOWN_DEVICE, "grant")
    assert failed(ping(world.alice, 2149), UNKNOWN_DEVICE) == ungranted
    assert failed(ping(world.alice, "no-such-name"), UNKNOWN_DEVICE) == ungranted


def test_offline_devices(world):
    """One that was never registered, and one that is but does not hear; told alike."""
    world.beckon.enrol_device(2141, port=2141)
    world.server.grant("alice", 2141)
    new = ("--listen", "0.0.0.0:1601", "--advertise", f"{ROUTER_A}:5001", "--accept-new")
    world.net.block('oifname "to-b" meta l4proto udp')
    try:
        never, deaf = together([lambda: ping(world.alice, 2141, new), lambda: ping(world.alice, 2133)])
    finally:
        world.net.block_clear()
    assert failed(never, OFFLINE, "offline") == failed(deaf, OFFLINE, "offline")
    assert ping(world.alice, 2133).status == 0


def test_revoked_device(world):
    device = world.beckon.enrol_device(2142, port=2142)
    world.server.grant("alice", 2142)
    device.start()
    world.alice.pin(device.uri())
    assert ping(world.alice, 2142).status == 0
    world.server.revoke(device=2142)
    failed(ping(world.alice, 2142), REVOKED, "revoked")
    row, = [row for row in world.server.devices() if row["id"] == 2142]
    assert row["address"] is None and row["revoked"]  # at once, not when the row expires
    assert not any(row["revoked"] for row in world.server.devices() if row["id"] == 2133)
    assert device.stop() == 0
    device.state.rename(device.state.with_suffix(".revoked"))
    device = world.beckon.enrol_device(2142, port=2142)  # joining with a new token lifts it
    device.start()
    assert device.stop() == 0


def test_revoked_user(world):
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    assert ping(bob, 2133).status == 0
    world.server.revoke(user="bob")
    failed(ping(bob, 2133), REVOKED, "revoked")


def test_changed_device_key(world):
    """The same ID enrolled anew: the pin of the predecessor no longer fits, and no password is sealed."""
    first = world.beckon.enrol_device(2143, port=2143)
    world.server.grant("alice", 2143)
    world.alice.pin(first.uri())
    first.state.rename(first.state.with_suffix(".old"))
    successor = world.beckon.enrol_device(2143, port=2143)
    successor.start()
    failed(ping(world.alice, 2143), KEY_CHANGED, "another key", world.alice.state / "known_devices")
    failed(world.alice.run("pin", successor.uri(), check=False), KEY_CHANGED, "another key")
    assert successor.stop() == 0
    assert "audit call" not in successor.process.output()


def test_first_contact(world):
    carol = world.beckon.enrol_user("carol", devices=[2133])
    fingerprint = world.device.uri().split("#")[1]
    failed(ping(carol, 2133), KEY_CHANGED, "not pinned", fingerprint, "--accept-new")
    assert not (carol.state / "known_devices").exists()
    assert ping(carol, 2133, options=(*MAPPED, "--accept-new")).status == 0
    assert (carol.state / "known_devices").read_text() == f"2133 {fingerprint}\n"
    assert ping(carol, 2133).status == 0


def test_unknown_service(world):
    failed(connect(world.alice, 2133, "telnet"), NO_SERVICE, "service")


@pytest.mark.parametrize("service", ["dead", "gone"])
def test_service_that_does_not_answer(world, service):
    failed(connect(world.alice, 2133, service), NO_SERVICE, service)


# -- the way there and back -----------------------------------------------------------------------


def test_unreachable_callback_address(world):
    failed(ping(world.alice, 2133, options=UNMAPPED), NO_PATH, "callback address")


def test_callback_addresses_that_the_device_does_not_dial(world):
    """Refused by its policy: not told from one that does not answer, and no SYN is sent."""
    addresses = ["127.0.0.1:5000", f"{SERVER}:1201", "192.168.1.1:5000", "192.168.1.3:5000", "10.1.2.3:5000",
                 "169.254.1.1:5000", f"{ROUTER_A}:1023", f"{ROUTER_B}:5000"]
    with world.net.capture(world.net.device, "any",
                           "tcp[tcpflags] & tcp-syn != 0 and dst port (5000 or 1201 or 1023)") as capture:
        calls = [lambda n=n, a=a: ping(world.alice, 2133,
                                       ("--listen", f"0.0.0.0:{1600 + n}", "--advertise", a, *MAPPED_ONLY))
                 for n, a in enumerate(addresses)]
        lines = {failed(done, NO_PATH, "callback address") for done in together(calls)}
    assert len(lines) == 1
    assert not capture.fields(["frame.number"])


def test_a_neighbour_of_the_device_is_dialled(world):
    """A private address inside the device's own network: looked for there, though nobody has it."""
    with world.net.capture(world.net.device, "any", "arp host 192.168.1.77") as capture:
        failed(ping(world.alice, 2133, ("--listen", "0.0.0.0:1600", "--advertise", "192.168.1.77:5000", *MAPPED_ONLY)),
               NO_PATH)
        capture.wait_for("arp")


def test_no_port_mapping_to_be_had(world):
    failed(ping(world.alice, 2133, options=MAPPED_ONLY), NO_MAPPING, "--listen", "--advertise", "UPnP-IGD: ")


@pytest.fixture
def upnp(world):
    world.net.router_a.start_upnp()
    yield world.net.router_a
    mappings_gone(world)
    world.net.router_a.stop_upnp()


def mappings_gone(world):
    wait_until(lambda: not nft_rules(world.net.router_a.ns, "upnp_prerouting"), 20, "the mapping has been taken back")


def test_failed_call_takes_its_mapping_back(world, upnp):
    assert ping(world.alice, 2133, ()).status == 0
    mappings_gone(world)
    failed(ping(world.alice, 2133, (), password="wrong"), REFUSED, "password")
    mappings_gone(world)
    failed(connect(world.alice, 2133, "dead", ()), NO_SERVICE, "dead")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_call_takes_its_mapping_back(world, upnp, number):
    world.net.block('oifname "to-b" meta l4proto udp')  # so that it lasts
    try:
        process = world.alice.start("ping", "-v", *MAPPED_ONLY, 2133, "-c", "1")  # the request waits for the mapping
        process.wait_line("request is out")
        assert nft_rules(upnp.ns, "upnp_prerouting")
        since = process.position()
        process.send_signal(number)
        assert process.wait(LIMIT_S) == INTERRUPTED
        assert process.lines[since:] == []  # who sent the signal knows
    finally:
        world.net.block_clear()


def test_ctrl_c_at_the_password_prompt_ends_the_call(world):
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        world.net.requester.argv(world.alice._argv("beckon", ("ping", *MAPPED, 2133))), env=world.alice.env(),
        stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(inside, termios.TIOCSCTTY, 0))
    os.close(inside)
    try:
        shown = b""
        while b"Password of device 2133: " not in shown:
            assert select.select([terminal], [], [], LIMIT_S + BUSY_S)[0], shown
            shown += os.read(terminal, 4096)
        assert termios.tcgetattr(terminal)[3] & termios.ECHO == 0
        os.write(terminal, b"\x03")
        assert process.wait(LIMIT_S) == INTERRUPTED
        assert termios.tcgetattr(terminal)[3] & termios.ECHO != 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(terminal)


def test_listening_port_taken(world):
    with world.net.requester.listen(1600):
        failed(ping(world.alice, 2133), FAILED, "1600", "--listen")


def test_forwarded_port_taken(world):
    with world.net.requester.listen(8080, "127.0.0.1"):
        failed(world.alice.run("forward", *MAPPED, 2133, "8080:dead", check=False), FAILED, "8080")


# -- the server -----------------------------------------------------------------------------------


def other_user(world, name, **client):
    """A copy of alice's installation with other settings."""
    party = world.beckon._party(type(world.alice), f"user-{name}", world.net.requester)
    shutil.copytree(world.alice.state, party.state)
    path = party.state / "beckon.conf"
    text = path.read_text()
    for key, value in client.items():
        text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    path.write_text(text)
    return party


def test_server_that_does_not_run(world):
    dave = other_user(world, "dave", port=1999)
    failed(ping(dave, 2133), SERVER_DOWN, SERVER)


def test_server_out_of_reach(world, tmp_path):
    """Nothing comes back at all. A token that was tried in vain is as good as before."""
    tokens = {command: new_token(world, command, 2165) for command in JOINERS}
    joins = [lambda c=command: join(world, c, tmp_path / c, tokens[c]) for command in JOINERS]
    world.net.block("tcp dport 1201")
    try:
        for done in together([lambda: ping(world.alice, 2133), *joins]):
            failed(done, SERVER_DOWN, SERVER)
    finally:
        world.net.block_clear()
    for attempt in joins:
        assert attempt().status == 0


def test_server_name_that_does_not_resolve(world):
    erin = other_user(world, "erin", server="no-such-host.invalid")
    failed(ping(erin, 2133), SERVER_DOWN, "no-such-host.invalid")


@pytest.fixture(scope="module")
def impostor(world):
    """Another operator's server at the same address: all is right but the CA."""
    other = world.beckon._party(type(world.server), "impostor", world.net.server)
    other.init()
    ports(other, udp_port=2200, request_port=2201, agent_port=2300)
    other.start()
    yield other
    assert other.stop() == 0


def ports(server, **values):
    with open(server.state / "beckond.conf", "a", encoding="utf-8") as f:
        f.write("".join(f"{key} = {value}\n" for key, value in values.items()))


def test_not_our_server(world, impostor):
    frank = other_user(world, "frank", port=2201)
    failed(ping(frank, 2133), SERVER_DOWN, SERVER, "certificate")


def test_token_for_another_server_than_the_one_that_answers(world, impostor):
    """The token pins its CA; somebody else at that address gets nothing, not even the token."""
    for command in ("beckon", "beckon-agent"):
        kind = {"user": "greta"} if command == "beckon" else {"device": 2150}
        token = impostor.token(**kind)
        impostor.stop()
        impostor.state.rename(impostor.state.with_suffix(".away"))
        impostor.init()
        ports(impostor, udp_port=2200, request_port=2201, agent_port=2300)
        impostor.start()
        state = world.beckon.workdir / f"{command}-fooled"
        failed(join(world, command, state, token), SERVER_DOWN, "pinned")
        shutil.rmtree(impostor.state.with_suffix(".away"))


# -- joining --------------------------------------------------------------------------------------

JOINERS = {"beckon": "user", "beckon-agent": "device"}


@pytest.fixture(params=sorted(JOINERS))
def command(request):
    return request.param


def join(world, command, state, token, **kw):
    ns = world.net.requester if command == "beckon" else world.net.device
    return ns.run([world.beckon.bin / command, "join", "--state", state, token], env=world.alice.env(), check=False, **kw)


def new_token(world, command, number):
    return world.server.token(**({"user": f"user-{number}"} if command == "beckon" else {"device": number}))


def no_identity(state):
    """Nothing that a later join would stumble over."""
    return not (state / "agent.conf").exists() and not (state / "beckon.conf").exists()


@pytest.mark.parametrize("spoil", [lambda t: "", lambda t: "beckon", lambda t: t[:-1], lambda t: t + "A",
                                   lambda t: t[:30] + ("A" if t[30] != "A" else "B") + t[31:], lambda t: "x" * 5000])
def test_bad_token(world, command, spoil, tmp_path):
    failed(join(world, command, tmp_path / "s", spoil(new_token(world, command, 2160))), BAD_TOKEN, "token")
    assert no_identity(tmp_path / "s")


def test_unknown_and_expired_token(world, command, tmp_path):
    token = new_token(world, command, 2161)
    with sqlite3.connect(world.server.state / "beckond.db", timeout=5) as store:
        store.execute("UPDATE tokens SET expires = 1 WHERE used_by IS NULL")
    store.close()
    failed(join(world, command, tmp_path / "s", token), BAD_TOKEN, "expired")
    new_token(world, command, 2162)  # sweeps what has expired
    failed(join(world, command, tmp_path / "s", token), BAD_TOKEN, "expired")
    assert no_identity(tmp_path / "s")


def test_used_token(world, command, tmp_path):
    token = new_token(world, command, 2163)
    assert join(world, command, tmp_path / "first", token).status == 0
    failed(join(world, command, tmp_path / "second", token), USED_TOKEN, "used")
    assert no_identity(tmp_path / "second")


def test_token_of_the_other_role(world, command, tmp_path):
    other = "beckon" if command == "beckon-agent" else "beckon-agent"
    failed(join(world, command, tmp_path / "s", new_token(world, other, 2164)), BAD_TOKEN, f'"{other} join"')
    assert not (tmp_path / "s").exists()


def test_joined_already(world, command, tmp_path):
    assert join(world, command, tmp_path / "s", new_token(world, command, 2166)).status == 0
    failed(join(world, command, tmp_path / "s", new_token(world, command, 2167)), FAILED, "joined already")


def test_state_directory_that_cannot_be_made(world, command, tmp_path):
    (tmp_path / "file").write_text("")
    failed(join(world, command, tmp_path / "file" / "s", new_token(world, command, 2168)), FAILED, tmp_path / "file")


def test_token_on_standard_input_shows_in_no_process_listing(world, command, tmp_path):
    token = new_token(world, command, 2169)
    party = world.alice if command == "beckon" else world.device
    process = party.ns.start([world.beckon.bin / command, "join", "--state", tmp_path / "s", "-"], env=party.env(),
                             stdin=subprocess.PIPE, log=party.log)
    place = pathlib.Path(f"/proc/{process.pid}")
    # It waits for the token only when `ip` and what it starts in turn have become the program itself.
    wait_until(lambda: "read" in (place / "wchan").read_text() and
               (place / "comm").read_text().startswith("beckon"), 20, "it reads its standard input")
    seen = set()

    def look(pids):
        for pid in pids:
            for name in ("cmdline", "environ"):
                try:
                    seen.add((name, pathlib.Path(f"/proc/{pid}/{name}").read_bytes()))
                except (FileNotFoundError, ProcessLookupError):
                    pass

    process.stdin.write(token.encode() + b"\n")
    process.stdin.flush()
    look([process.pid])
    while process.running():
        look([process.pid])
        look(programs(party.ns))
    assert process.wait() == 0 and process.output() == ""
    assert any(name == "cmdline" and b"join" in text for name, text in seen)
    assert not [text for _, text in seen if token[10:40].encode() in text]


def test_no_token_on_standard_input(world, command, tmp_path):
    failed(join(world, command, tmp_path / "s", "-"), BAD_TOKEN, "standard input")


# -- a person who guesses -------------------------------------------------------------------------


def test_back_off_after_wrong_passwords_and_its_end(world):
    lines = [failed(ping(world.alice, 2133, password=f"guess {n}"), REFUSED) for n in range(5)]
    assert all("refused the password" in line for line in lines)
    # The fifth closed the door for a second; the next one comes in time to see that, or is wrong again and closes it
    # for two, and so on.
    for n in range(6):
        if "too many wrong passwords" in failed(ping(world.alice, 2133, password=f"another {n}"), REFUSED):
            break
    else:
        raise AssertionError("the door is never closed")
    done = wait_until(lambda: [d for d in [ping(world.alice, 2133)] if d.status == 0], 90,
                      "the right password is taken again")
    assert done[0].err == ""
    failed(ping(world.alice, 2133, password="wrong"), REFUSED, "refused the password")  # free guesses again
    assert ping(world.alice, 2133).status == 0


def test_many_guesses_at_one_time_are_no_more_than_in_a_row(world):
    """Sixteen callers with wrong passwords together. All have asked the server for the device before the first of them calls, and
    the password is kept with a costlier hash for the time: so all of them have come before the first is judged."""
    kept = world.device.state / "password"
    before = kept.read_bytes()
    kept.write_bytes(nacl.pwhash.argon2id.str(world.alice.password.encode(), opslimit=4, memlimit=64 << 20))
    try:
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(Caller(world.alice, SERVER, 2133)) for _ in range(16)]
            guesses = [Request(caller, 2133).password(f"together {n}") for n, caller in enumerate(callers)]
            for caller, message in zip(callers, [guess.message() for guess in guesses]):
                caller.socket.settimeout(40)
                caller.socket.sendall(message)
            said = [caller.result(guess) for caller, guess in zip(callers, guesses)]
    finally:
        kept.write_bytes(before)
    # Looked at are the four free ones, and the one that closes the door.
    assert sorted(said) == [caller_results.REFUSED] * 5 + [caller_results.BACK_OFF] * 11, said
    wait_until(lambda: ping(world.alice, 2133).status == 0, 90, "the right password is taken again")
