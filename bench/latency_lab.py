"""The network in which the time of a call is measured: caller, server and device each behind an access link of 20 ms one
way, the caller with a public address, the device behind a home router. A server, one device with a service that speaks
first, one user; and the ssh that it is compared with."""

import contextlib
import os
import pathlib
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from lab.beckon import Beckon  # noqa: E402
from lab.netns import veth  # noqa: E402
from lab.process import run, wait_until  # noqa: E402
from lab.sides import SERVER, Line, SidesNetwork  # noqa: E402

LINK_MS = 20
TRIP_MS = 2 * LINK_MS  # between any two of the three
DEVICE = 2133
FIRST_MINUTE_S = 62
SERVICE_PORT, FORWARDED, FORWARDED_OPEN = 9100, 2222, 2223
HELLO = b"SSH-2.0-hello\r\n"


class SlowNetwork(SidesNetwork):
    """The laboratory's network with a line before the server too."""

    def __init__(self, program, **kw):
        super().__init__(["none"], ["port-preserving"], lines=program, **kw)
        self.server_line = None

    def _public(self, label, link, net, addresses, addresses6):
        if label != "server":
            return super()._public(label, link, net, addresses, addresses6)
        ns, line = self._namespace(label, ipv6=True), self._namespace("line-server", ipv6=True)
        veth(ns, "eth0", line, "in0")
        veth(line, "out0", self.wan, f"to-{link}")
        ns.offload_off("eth0")
        self.wan.offload_off(f"to-{link}")
        for address in (*(f"{a}/24" for a in addresses), *(f"{a}/64" for a in addresses6)):
            ns.address("eth0", address)
        for gateway, bits in ((f"130.74.{net}.1", 24), (f"2a0c:5c81:{net}::1", 64)):
            self.wan.address(f"to-{link}", f"{gateway}/{bits}")
            ns.route("default", gateway)
        self.server_line = Line(line, self._lines)
        return ns

    def slow(self, ms):
        for line in (self.server_line, *(side.line for side in self._all_sides())):
            line.set(delay_ms=ms)


class Speaker(threading.Thread):
    """A service of the device that greets whoever connects, at once, and has nothing more to say."""

    def __init__(self, ns):
        super().__init__(daemon=True)
        self._listener = ns.listen(SERVICE_PORT, "127.0.0.1", timeout=None)
        self._open = []
        self.start()

    def run(self):
        while True:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                s.sendall(HELLO)
                s.shutdown(socket.SHUT_WR)
            self._open = [*self._open[-64:], s]

    def close(self):
        self._listener.close()


def end_of(pid, timeout=10.0):
    """Waits for it; after that time it is made to end."""
    with os.fdopen(os.pidfd_open(pid)) as fd:
        if not select.select([fd], [], [], timeout)[0]:
            os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def first_byte_ms(ns, argv, env, stdin=None):
    """From the moment that the program is started to the first byte on its standard output."""
    out_r, out_w = os.pipe()
    in_r, in_w = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    argv = [str(a) for a in argv]
    with ns.entered():
        start = time.monotonic_ns()
        pid = os.posix_spawn(argv[0], argv, env, file_actions=[
            (os.POSIX_SPAWN_DUP2, in_r, 0), (os.POSIX_SPAWN_DUP2, out_w, 1), (os.POSIX_SPAWN_DUP2, null, 2),
            (os.POSIX_SPAWN_CLOSE, in_w), (os.POSIX_SPAWN_CLOSE, out_r)])
    for fd in (out_w, in_r, null):
        os.close(fd)
    got = os.read(out_r, len(HELLO))
    ms = (time.monotonic_ns() - start) / 1e6
    os.close(in_w)  # both have said all: the call ends in order
    end_of(pid)
    os.close(out_r)
    if got != HELLO:
        raise RuntimeError(f"{' '.join(argv[:3])}: said {got!r} instead of the service")
    return ms


class LatencyWorld:
    """Context manager; everything up, links slow."""

    def __init__(self, bin_dir, work, cc="cc"):
        self.bin, self.work = pathlib.Path(bin_dir), pathlib.Path(work)
        self._cc = cc
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            program = self.work / "lab-delay"
            source = pathlib.Path(__file__).resolve().parents[1] / "tests/e2e/lab/delay.c"
            subprocess.run([self._cc, "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
            self.net = stack.enter_context(SlowNetwork(program, workdir=self.work))
            self.caller = self.net.requesters["none"].host
            self.home = self.net.devices["port-preserving"].host
            self.beckon = Beckon(self.net, self.bin)
            self.server = self.beckon.start_server(SERVER)
            self.speaker = Speaker(self.home)
            stack.callback(self.speaker.close)
            self.device = self.beckon.enrol_device(DEVICE, self.home,
                                                   services={"hello": f"tcp:127.0.0.1:{SERVICE_PORT}"})
            self.user = self.beckon.enrol_user("alice", self.caller, [DEVICE], [self.device])
            self.line = self.user.run("key", password="").out
            self.device.start()
            self.up_since = time.monotonic()
            self.net.slow(LINK_MS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def configure(self, **settings):
        """The server anew with other settings. The device notices in time: it is not made to start anew, because in its
        first minute it takes no request without the tag that LOOKUP tells."""
        server = self.beckon.server
        server.stop()
        path = server.state / "beckond.conf"
        kept = [line for line in path.read_text().splitlines() if line.split("=")[0].strip() not in settings]
        path.write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in settings.items())]) + "\n")
        server.start()
        wait_until(lambda: any(d["address"] for d in server.devices()), 60, "the device is back")

    def settle(self):
        """Until the device's first minute is over."""
        time.sleep(max(0.0, self.up_since + FIRST_MINUTE_S - time.monotonic()))

    def fast_open(self, on):
        for ns in (self.caller, self.home, self.net.server):
            ns.sysctl("net.ipv4.tcp_fastopen", 3 if on else 0)

    def knows_key(self, known):
        """Whether the user has a key of his own, which the device knows; else a password is all there is."""
        path = self.device.state / "authorized_users"
        path.write_text(self.line if known else "")
        path.chmod(0o600)
        key, aside = self.user.state / "caller.key", self.work / "caller.key"
        if known and aside.exists():
            aside.rename(key)
        elif not known and key.exists():
            key.rename(aside)

    def forget(self):
        """As if this user had never called."""
        for name in ("sessions", "devices"):
            run(["rm", "-rf", self.user.state / name])

    def round_trip_ms(self, count=10):
        text = self.caller.run(["ping", "-n", "-i", "0.05", "-c", str(count), SERVER]).out
        return float(text.split("min/avg/max")[1].split("=")[1].split("/")[0])

    def call_ms(self, password=False, words=()):
        env = self.user.env(**({"BECKON_PASSWORD": self.user.password} if password else {}))
        env.pop("SSLKEYLOGFILE")
        argv = self.user._argv("beckon", ("connect", *words, DEVICE, "hello"))
        ms = first_byte_ms(self.caller, argv, env)
        wait_until(lambda: "beckon-agent-call" not in self.home.programs().values(), 20, "the call is over")
        return ms

    def waterfall(self, password=False):
        """What `beckon -v` says of one call."""
        env = self.user._environment(self.user.password if password else "")
        env.pop("SSLKEYLOGFILE")
        process = self.caller.start(self.user._argv("beckon", ("connect", "-v", DEVICE, "hello")), env=env,
                                    stdin=subprocess.PIPE)
        process.wait_line(HELLO.decode().strip(), 30)
        process.stdin.close()
        process.wait(20)
        wait_until(lambda: "beckon-agent-call" not in self.home.programs().values(), 20, "the call is over")
        return process.output()

    # -- ssh -R -----------------------------------------------------------------------------------

    def start_ssh(self, ssh, sshd, ssh_keygen):
        """sshd at the server, and the device's standing `ssh -R` to it."""
        folder = self.work / "ssh"
        folder.mkdir(mode=0o700)
        self._ssh, user = ssh, pwd.getpwuid(os.getuid()).pw_name
        for name in ("host", "user"):
            run([ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
        (folder / "config").write_text(
            f"ListenAddress {SERVER}:22\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nUsePAM no\n"
            "PidFile none\nStrictModes no\nPermitRootLogin prohibit-password\nUseDNS no\nGatewayPorts clientspecified\n"
            "PrintMotd no\nPrintLastLog no\n")
        (folder / "known").write_text(f"{SERVER} {(folder / 'host.pub').read_text()}")
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        daemon = self.net.server.start([sshd, "-D", "-e", "-f", folder / "config"])
        daemon.wait_line("Server listening")
        self._ssh_words = ["-F", "none", "-i", str(folder / "user"), "-o", f"UserKnownHostsFile={folder}/known", "-o",
                           "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        self._ssh_to = f"{user}@{SERVER}"
        self.home.start([ssh, *self._ssh_words, "-N", "-o", "ExitOnForwardFailure=yes",
                         "-R", f"127.0.0.1:{FORWARDED}:127.0.0.1:{SERVICE_PORT}",
                         "-R", f"0.0.0.0:{FORWARDED_OPEN}:127.0.0.1:{SERVICE_PORT}", self._ssh_to])
        for port in (FORWARDED, FORWARDED_OPEN):
            self.net.server.wait_listening(port, timeout=20)

    def ssh_ms(self):
        """`ssh -W`, as somebody's ProxyCommand: authenticated by the server, then the service's first byte."""
        argv = [self._ssh, *self._ssh_words, "-W", f"127.0.0.1:{FORWARDED}", self._ssh_to]
        return first_byte_ms(self.caller, argv, dict(os.environ))

    def open_port_ms(self):
        """The port that `ssh -R` opens to everybody: nobody is asked who he is."""
        with self.caller.entered():
            s = socket.socket()
        with s:
            start = time.monotonic_ns()
            s.connect((SERVER, FORWARDED_OPEN))
            if not s.recv(len(HELLO)):
                raise RuntimeError("the forwarded port said nothing")
            return (time.monotonic_ns() - start) / 1e6
