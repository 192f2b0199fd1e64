"""The data path: one stream, and a hundred, through two forwarding processes with encryption between them. Two network
namespaces and a virtual cable stand for two hosts: the requester's end and its forwarder on one processor, the service's on
the other. The ends cost next to nothing (streams.c), so that it is the forwarders that are measured."""

import os
import pathlib
import re
import shutil

from frame import Missed, Server, median
from frame.process import wait_until

TITLE = "Streams: one and a hundred through beckon forward and the agent"
ISOLATED = True

DEVICE = 2133
MANY = 100
SERVICE = 7000  # where the service listens, of whichever forwarder
WAYS = {"down": "from the service", "up": "to the service"}
BARE = "bare pair of OpenSSL TLS 1.3 forwarders"
NEAR, FAR = "10.20.0.1", "10.20.0.2"


def children(pid):
    """All processes that descend from it."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


class Cable:
    """A second host, and a cable to it."""

    def __init__(self, ctx, near=NEAR, far=FAR):
        self.holder = ctx.start([ctx.find("unshare"), "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 5, "a second host")
        self.enter = [ctx.find("nsenter"), "-t", self.holder.pid, "-n"]
        ctx.run(["ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", self.holder.pid])
        for prefix, device, address in (([], "near0", near), (self.enter, "far0", far)):
            ctx.run([*prefix, "ip", "address", "add", f"{address}/24", "dev", device])
            ctx.run([*prefix, "ip", "link", "set", device, "up"])
            ctx.run([*prefix, "ip", "link", "set", "lo", "up"])


class Pair:
    """Two forwarders: a connection to `port` here comes out at SERVICE there."""

    def __init__(self, ctx, cable, port):
        self.ctx, self.cable, self.port = ctx, cable, port
        self.near, self.far = ctx.load_cpu, ctx.server_cpu
        self.tried = False

    def start_far(self, argv, **kw):
        return self.ctx.start([*self.cable.enter, *argv], cpu=self.far, **kw)

    def pids(self):
        raise NotImplementedError

    def measure(self, count, way, ms):
        """bytes per second, processor seconds per GB of both forwarders, Jain's index"""
        tool = [self.ctx.tool("streams"), "pair", self.port, f"{SERVICE}@{self.cable.holder.pid}"]
        ends = [self.near, self.far]
        if not self.tried:
            self.ctx.run([*tool, 1, way, 0, 100, *ends])  # whoever connects only when he is asked to
            self.tried = True
        line = self.ctx.run([*tool, count, way, 500, ms, *ends, *self.pids()], timeout=60).stdout
        got = {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", line)}
        return {"rate": got["bytes"] / got["seconds"], "cpu": got["cpu"] / (got["bytes"] / 1e9), "jain": got["jain"]}


class Beckon(Pair):
    def __init__(self, ctx, cable, port=7100):
        super().__init__(ctx, cable, port)
        server = Server(ctx, "server", {"max_devices": 1000}, address=NEAR)
        server.start()
        device = server.join_device(DEVICE, services={"sink": f"tcp:127.0.0.1:{SERVICE}"}, password="a password")
        user = server.join_user("alice", devices=[DEVICE], pins=[device])
        password = ctx.work / "password"
        password.write_text("a password\n")
        password.chmod(0o600)
        self.agent = self.start_far([ctx.program("beckon-agent"), "run", "--state", device], ready=r"\bready\b")
        self.forward = ctx.start([ctx.program("beckon"), "forward", "--state", user, "--path", "host", "--password-file",
                                  password, DEVICE, f"{port}:sink"], cpu=self.near)

    def pids(self):
        return [self.forward.pid, *children(self.agent.pid)]


class Bare(Pair):
    """The bound: nothing but OpenSSL."""

    def __init__(self, ctx, cable, port=7200):
        super().__init__(ctx, cable, port)
        c, program = ctx.certificates(), ctx.tool("tls_pair")
        self.ends = [self.start_far([program, "server", f"{FAR}:{port}", SERVICE, c.crt, c.key], ready="ready",
                                    log="bare-server.log"),
                     ctx.start([program, "client", port, f"{FAR}:{port}"], cpu=self.near, ready="ready",
                               log="bare-client.log")]

    def pids(self):
        return [p.pid for p in self.ends]


class Stunnel(Pair):
    def __init__(self, ctx, cable, port=7300):
        super().__init__(ctx, cable, port)
        program, c = ctx.find("stunnel"), ctx.certificates()
        common = "foreground = yes\npid =\nsslVersion = TLSv1.3\nciphersuites = TLS_AES_128_GCM_SHA256\ndebug = 5\n"
        texts = {"server": f"[x]\naccept = {FAR}:{port}\nconnect = 127.0.0.1:{SERVICE}\ncert = {c.crt}\nkey = {c.key}\n",
                 "client": f"[x]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = {FAR}:{port}\n"}
        for side, text in texts.items():
            (ctx.work / f"stunnel-{side}.conf").write_text(common + text)
        up = "Configuration successful"
        self.ends = [self.start_far([program, ctx.work / "stunnel-server.conf"], ready=up, log="stunnel-server.log"),
                     ctx.start([program, ctx.work / "stunnel-client.conf"], cpu=self.near, ready=up,
                               log="stunnel-client.log")]

    def pids(self):
        return [p.pid for p in self.ends]


class Ssh(Pair):
    """With `cipher`, or with what ssh takes by itself. Both have one daemon."""

    daemon = None

    def __init__(self, ctx, cable, port, cipher=None):
        super().__init__(ctx, cable, port)
        key = ctx.work / "ssh-key"
        if Ssh.daemon is None:
            ctx.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
            shutil.copy(f"{key}.pub", ctx.work / "authorized_keys")
            os.makedirs("/run/sshd", exist_ok=True)
            (ctx.work / "sshd.conf").write_text(
                f"Port 7400\nListenAddress {FAR}\nHostKey {key}\nUsePAM no\nPidFile none\nStrictModes no\n"
                f"PermitRootLogin yes\nAuthorizedKeysFile {ctx.work}/authorized_keys\n")
            Ssh.daemon = self.start_far([ctx.find("sshd"), "-D", "-e", "-f", ctx.work / "sshd.conf"], ready="listening on")
        before = set(children(Ssh.daemon.pid))
        self.client = ctx.start(
            [ctx.find("ssh"), "-F", "/dev/null", "-N", "-v", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-i", key, *(["-c", cipher] if cipher else []), "-L", f"127.0.0.1:{port}:127.0.0.1:{SERVICE}", "-p", 7400,
             f"root@{FAR}"], cpu=self.near, ready="Entering interactive session", log=f"ssh-{port}.log")
        self.session = set(children(Ssh.daemon.pid)) - before

    def pids(self):
        return [self.client.pid, *self.session.intersection(children(Ssh.daemon.pid))]  # one was for the login only


def others(ctx, cable):
    made, missed = {}, []
    for name, make in {"stunnel": lambda: Stunnel(ctx, cable),
                       "ssh -L, AES-GCM": lambda: Ssh(ctx, cable, 7410, "aes128-gcm@openssh.com"),
                       "ssh -L, default": lambda: Ssh(ctx, cable, 7420)}.items():
        try:
            made[name] = make()
        except (Missed, RuntimeError, TimeoutError) as e:
            missed.append(f"{name}: {e}")
    return made, missed


def gbit(results):
    return [r["rate"] * 8 / 1e9 for r in results]


def measured(ctx, pairs, ms):
    """{way: {name: results}}, all of a round in one go"""
    return {way: ctx.alternate({name: lambda p=p, way=way: p.measure(1, way, ms) for name, p in pairs.items()})
            for way in WAYS}


def both_ways(got, name):
    """What a pair carries if as much is to go each way, one after the other; its processor time for a GB."""
    rounds = list(zip(*(got[way][name] for way in WAYS)))
    return ([2 / sum(1 / rate for rate in pair) for pair in zip(*(gbit(got[way][name]) for way in WAYS))],
            [sum(r["cpu"] for r in each) / len(WAYS) for each in rounds])


def one_stream(ctx, got, names, missed):
    rows = []
    ours, our_cpu = both_ways(got, "beckon")
    for way, words in WAYS.items():
        for name in names:
            rows.append(ctx.row(f"one stream, {words}", gbit(got[way]["beckon"]), "Gbit/s", compared_with=name,
                                its=gbit(got[way][name]), at_least=0.95 if name == BARE else None))
    others = {name: both_ways(got, name) for name in names if name != BARE}
    best = max(others, key=lambda n: median(others[n][0]), default=None)
    rows.append(ctx.row("one stream, as much each way", ours, "Gbit/s", compared_with=f"best of the others ({best})",
                        its=others[best][0] if best else None, at_least=1.1, of="ratio", note="; ".join(missed)))
    for name in names:
        rows.append(ctx.row("CPU of both forwarders, as much each way", our_cpu, "s/GB", compared_with=name,
                            its=both_ways(got, name)[1], at_most=None if name == BARE else 1.0))
    return rows


def many_streams(ctx, way, words, beckon, ms):
    got = ctx.alternate({"one": lambda: beckon.measure(1, way, ms), "many": lambda: beckon.measure(MANY, way, ms)})
    return [ctx.row(f"{MANY} streams together, {words}", gbit(got["many"]), "Gbit/s", compared_with="one stream",
                    its=gbit(got["one"]), at_least=0.9),
            ctx.row(f"fairness of {MANY} streams, {words}", [r["jain"] for r in got["many"]], "Jain's index", at_least=0.95,
                    note="1: all got the same")]


def run(ctx):
    ms = 400 if ctx.smoke else 1500 if ctx.quick else 3000
    if not ctx.two_cpus:
        ctx.say("one processor only: the forwarders share it")
    cable = Cable(ctx)
    found, missed = others(ctx, cable)
    pairs = {"beckon": Beckon(ctx, cable), BARE: Bare(ctx, cable), **found}
    rows = one_stream(ctx, measured(ctx, pairs, ms), [BARE, *found], missed)
    for way, words in WAYS.items():
        rows += many_streams(ctx, way, words, pairs["beckon"], ms)
    return rows
