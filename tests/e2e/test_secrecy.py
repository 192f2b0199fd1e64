"""Nothing secret on the wire or on the server (and the same search finds what is there).

A call is made with a password of its own, with marks that travel through it both ways. Looked through are:
every packet on both sides of the wide area network and at the server, whole and as reassembled streams;
all that the server's TLS connections carried, opened; the memory of the running server during the call and
after it; its state directory and its log. Looked for are: the password, the marks, what the box holds, and the
TLS secrets of the end-to-end connection.

    beckon ---- router-a ---- [wan: to-a, to-b] ---- router-b ---- agent
                                    |to-s
                                  server"""

import collections
import os
import pathlib
import re
import secrets
import struct
import subprocess
import types

import pytest

from lab import REQUESTER, ROUTER_A, Beckon, Nginx, Sshd, stun, wait_until
from lab.beckon import REPOSITORY
from lab.pcap import datagrams, streams

CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
HUGE_BYTES = 1 << 34  # a sanitizer's shadow memory: sixteen terabytes, nothing of the program's in it


# -- where is looked -------------------------------------------------------------------------------

def memory(pid):
    """All that a process can read of itself, a piece a mapping."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            start, end = (int(n, 16) for n in line.split()[0].split("-"))
            if line.split()[1][0] != "r" or end - start > HUGE_BYTES or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            yield from _present(mem, pid, start, end)


def _present(mem, pid, start, end):
    """The pages that exist; a sanitizer reserves much more than it uses."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(start // page * 8)
        entries = struct.unpack(f"<{(end - start) // page}Q", _exactly(pagemap, (end - start) // page * 8))
    at = 0
    while at < len(entries):
        first = at
        while at < len(entries) and entries[at] >> 62:  # in memory or swapped out
            at += 1
        if at > first:
            mem.seek(start + first * page)
            yield _exactly(mem, (at - first) * page)
        at += 1


def _exactly(file, n):
    data = b""
    while len(data) < n:
        piece = file.read(n - len(data))
        if not piece:
            break
        data += piece
    return data


def places(needles, haystacks):
    """Which of the needles ({name: bytes}) occur in any of the haystacks (bytes)."""
    left = dict(needles)
    for hay in haystacks:
        for name in [name for name, needle in left.items() if needle in hay]:
            del left[name]
        if not left:
            break
    return sorted(set(needles) - set(left))


# -- what is looked for ------------------------------------------------------------------------------

def tls_secrets(keylog):
    """{client random: {label: secret}}"""
    found = collections.defaultdict(dict)
    for line in keylog.read_text().splitlines():
        label, random, secret = line.split()
        found[random][label] = bytes.fromhex(secret)
    return found


def end_to_end_secrets(call):
    """Those that requester and device both wrote and the server did not."""
    mine, theirs, server = (tls_secrets(p.keylog) for p in (call.alice, call.device, call.server))
    common = set(mine) & set(theirs)
    assert common and not common & set(server)
    return {f"{label} {random[:8]}": secret for random in common for label, secret in mine[random].items()}


def box_pieces(plain):
    """What of the box's plaintext nobody but its two ends may know, attribute by attribute."""
    wanted = ("SERVICE", "PASSWORD", "CANDIDATE", "CALL-KEY", "REPLY-KEY")
    pieces = {f"box {a.name} with its header": stun.put(a.name, a.value) for a in stun.attributes(plain) if a.name in wanted}
    assert len(pieces) == len(wanted)
    for a in stun.attributes(plain):
        if a.name in ("CALL-KEY", "REPLY-KEY"):
            pieces[f"box {a.name}"] = a.value
    for at in range(0, len(plain) - 48, 48):
        pieces[f"box bytes {at} to {at + 48}"] = plain[at:at + 48]
    return pieces


def open_box_raw(sealed, key_file):
    from nacl.public import PrivateKey, SealedBox
    return SealedBox(PrivateKey(stun.box_secret(key_file))).decrypt(sealed)


# -- the call ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def call(net, bindir):
    """One call with everything kept: captures, dumps taken during the call and after it."""
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    beckon = Beckon(net, bindir)
    password = f"pass-{secrets.token_hex(12)}"
    up, down = (f"{way}-{secrets.token_hex(20)}" for way in ("upward", "downward"))
    captures = {name: net.capture(net.wan, name) for name in ("to-a", "to-b", "to-s")}
    beckon.start_server()
    sshd, nginx = Sshd(net.device, net.workdir), Nginx(net.device, net.workdir)
    (nginx.root / "mark.txt").write_text(down)
    device = beckon.enrol_device(2133, password=password)
    device.start()
    alice = beckon.enrol_user("alice", devices=[2133], pins=[device])
    alice.password = password
    process = alice.forward(2133, "8080:web", "2222:ssh", options=("-v", *CALLBACK))
    page = net.requester.run(["curl", "-sS", "--max-time", "20", "-H", f"X-Mark: {up}", "http://127.0.0.1:8080/mark.txt"])
    login = net.requester.run(["ssh", *sshd.client_options(), "-p", "2222", f"{sshd.user}@127.0.0.1", f"echo back {up}"])
    child, = net.device.run(["pgrep", "-P", device.process.pid, "-f", "beckon-agent-call"]).out.split()
    with net.requester.connect("127.0.0.1", 8080) as unfinished:
        unfinished.sendall(f"GET / HTTP/1.1\r\nX-Mark: {up}\r\n".encode())
        web = nginx._process.pid
        wait_until(lambda: places({"up": up.encode()}, memory(web)), 30, "the request is at the device's web server")
        during = list(memory(beckon.server.process.pid))
        in_device = [*memory(child), *memory(web)]
    process.stop()
    wait_until(lambda: not os.path.exists(f"/proc/{child}"), 30, "the device's process of the call ends")
    after = list(memory(beckon.server.process.pid))
    for capture in captures.values():
        capture.stop()
    made = types.SimpleNamespace(net=net, beckon=beckon, server=beckon.server, device=device, alice=alice, up=up, down=down,
                                 page=page.out, login=login.out, during=during, after=after, in_device=in_device,
                                 captures=captures, said=process.output())
    connects = [m for m in server_messages(made) if m.method == "CONNECT" and m.kind == "request"]
    made.sealed = connects[0].get("BOX")
    plain = open_box_raw(made.sealed, (device.state / "box.key").read_bytes())
    made.secret = {"password": password.encode(), "mark upward": up.encode(), "mark downward": down.encode(),
                   **box_pieces(plain), **end_to_end_secrets(made)}
    return made


def server_streams(call):
    """What the server's TLS connections carried, opened with its own key log: bytes by connection and sender."""
    opened = collections.defaultdict(bytes)
    for record in call.captures["to-s"].tls_records("tcp", call.server.keylog):
        opened[record.stream, record.src] += record.data
    return opened


def server_messages(call):
    return [message for data in server_streams(call).values() for message in stun.messages(data)[0]]


def server_datagrams(call):
    return [d.data for d in datagrams(call.captures["to-s"].path) if 1200 in (d.sport, d.dport)]


# -- the tests -----------------------------------------------------------------------------------------

def test_the_call_was_one(call):
    assert call.page == call.down
    assert call.login == f"back {call.up}\n"
    assert len([name for name in call.secret if "TRAFFIC_SECRET" in name]) >= 4


def test_no_secret_in_any_packet(call):
    for capture in call.captures.values():
        assert places(call.secret, [capture.raw(), *streams(capture.path)]) == [], capture.interface
    # What is there in clear is found: the device's ID in REGISTER, and a certificate request's owner never.
    shown = {"equipment ID": stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big"))}
    for name in ("to-b", "to-s"):
        assert places(shown, [call.captures[name].raw()]) == ["equipment ID"]
    assert len(streams(call.captures["to-s"].path)) >= 8  # two joins, the requester's and the agent's: each way


def test_the_streams_of_the_call_are_whole(call):
    """Reassembly is right: with both ends' key logs tshark finds the marks in the end-to-end connection."""
    capture, keylog = call.captures["to-a"], call.beckon.keylog()
    carried = [capture._tshark(["-d", "tcp.port==5000,tls", "-q", "-z", f"follow,tls,raw,{n}"], keylog)
               for n in {r["tcp.stream"] for r in capture.fields(["tcp.stream"], "tcp.port == 5000")}]
    data = [bytes.fromhex("".join(re.findall(r"(?m)^\s*([0-9a-f]+)$", text))) for text in carried]
    assert places({"up": call.up.encode(), "down": call.down.encode()}, data) == ["down", "up"]


def test_no_secret_in_what_the_server_is_told(call):
    opened = list(server_streams(call).values())
    assert places(call.secret, opened) == []
    known = {"box": call.sealed, "equipment ID": (2133).to_bytes(8, "big")}
    assert places(known, opened) == sorted(known)
    seen = {(m.method, m.kind) for m in server_messages(call)}
    assert {("LOOKUP", "request"), ("CONNECT", "request"), ("CONNECT", "success")} <= seen
    # The device's word comes by datagram, and is passed on where the device itself is not there first.
    assert ("RESULT", "request") in {(m.method, m.kind) for m in map(stun.Message, server_datagrams(call))}


def test_no_secret_in_the_servers_memory(call):
    assert places(call.secret, call.during) == [], "during the call"
    assert places(call.secret, call.after) == [], "after the call"


def test_memory_is_really_searched(call):
    """What the server and the device do know is found by the same search."""
    known = {"its state directory": str(call.server.state).encode(),
             "master key": (call.server.state / "master.keys").read_bytes()[2:34]}
    for dump in (call.during, call.after):
        assert places(known, dump) == sorted(known)
    assert places({"box": call.sealed, "user": b"alice"}, call.during) == ["box", "user"]
    device = places(call.secret, call.in_device)
    assert "mark upward" in device and any("TRAFFIC_SECRET_0" in name for name in device), device
    assert "password" not in device  # wiped once it has been checked


def test_no_secret_in_the_servers_files(call):
    files = [path for path in pathlib.Path(call.server.state).rglob("*") if path.is_file()] + [call.server.log]
    assert any(path.suffix == ".db" for path in files)
    contents = [path.read_bytes() for path in files]
    hexed = {name: value.hex().encode() for name, value in call.secret.items()}
    assert places(call.secret, contents) == []
    assert places(hexed, contents) == []
    assert places({"alice": b"alice"}, contents) == ["alice"]


def test_no_password_in_what_the_programs_say(call):
    secret = {name: call.secret[name] for name in ("password", "mark upward", "mark downward")}
    said = [call.said.encode(), call.alice.log.read_bytes(), call.device.log.read_bytes(), call.server.log.read_bytes()]
    assert all(said[:2]) and places(secret, said) == []


def test_nobody_else_reads_what_is_kept(call):
    """Certificates are for everybody; files, sockets and folders with anything else for their owner alone."""
    for state in (call.server.state, call.device.state, call.alice.state):
        kept = [state, *(path for path in pathlib.Path(state).rglob("*") if path.suffix != ".crt")]
        assert len(kept) > 2
        assert [str(path) for path in kept if path.lstat().st_mode & 0o077] == []


def test_password_is_kept_as_a_hash_only(call):
    contents = [path.read_bytes() for state in (call.device.state, call.alice.state)
                for path in state.rglob("*") if path.is_file()]
    assert places({"password": call.secret["password"]}, contents) == []
    assert places({"argon": b"$argon2id$"}, contents) == ["argon"]


def test_release_builds_keep_no_key_log(bindir, tmp_path):
    """The one file that knows the key log, compiled as a release compiles it, has nothing of it; as the
    laboratory's programs have."""
    sources = [path for path in (REPOSITORY / "src").rglob("*.[ch]") if path.suffix == ".c" and
               re.search(r"SSLKEYLOGFILE|keylog_callback", path.read_text())]
    assert [path.relative_to(REPOSITORY).as_posix() for path in sources] == ["src/net/tls.c"]
    build = tmp_path / "release"
    subprocess.run(["cmake", "--preset", "release", "-B", build], cwd=REPOSITORY, check=True, capture_output=True)
    rule, = [line.split(":")[0].removeprefix("build ") for line in (build / "build.ninja").read_text().splitlines()
             if line.startswith("build ") and line.split(":")[0].endswith("src/net/tls.c.o")]
    subprocess.run(["ninja", "-C", build, rule], check=True, capture_output=True)
    names = (b"SSLKEYLOGFILE", b"SSL_CTX_set_keylog_callback")
    assert not any(name in (build / rule).read_bytes() for name in names)
    assert all(name in (bindir / "beckon").read_bytes() for name in names)
