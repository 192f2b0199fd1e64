"""What waiting for a call costs the device: memory, wake-ups, size of the program; beside others that wait as well. All of
them wait at the same time, since what they share counts for each by its part. The agent stands behind a router that keeps
mappings for two minutes, which it finds out by itself in about ten minutes: so this runs beside all other benchmarks. (A
quick run tells it an interval.)"""

import os
import pathlib
import re
import shutil
import time

import sizes
from broker import Broker
from frame import Missed, Server, measure
from home import SERVER, Home

TITLE = "Idle agent: what waiting costs the device"
ISOLATED = True
BACKGROUND = True

DEVICE = 2133
MAPPING_S = 120
LAST_S = 400  # four of the intervals that it finds
TOLD_S = 60  # in a quick run; by itself it finds 99 behind such a router
SSHD = """Port 2222
ListenAddress 127.0.0.1
HostKey {0}/ssh_key
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
AuthorizedKeysFile {0}/ssh_key.pub
"""


def apart(ctx, program):
    """An environment in which a program has copies of its libraries, all but libc: on a device it may be the only one that
    uses them; here others would take over a part of each."""
    folder = ctx.work / f"libraries-{pathlib.Path(str(program)).name}"
    folder.mkdir()
    for path in sizes.paths(program):
        if not path.name.startswith(("libc.", "ld-")):
            shutil.copy(path, folder)
    for copy in folder.iterdir():
        with open(copy, "rb") as f:
            os.fsync(f.fileno())  # what waits to be written to the disk would count as dirty
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def start_agent(ctx):
    """In the home; its process, and how often its threads were woken is the kernel's to know."""
    home = Home(ctx, MAPPING_S)
    server = Server(ctx, "server", {"listen": SERVER}, address=SERVER)
    server.start()
    settings = {"keepalive": TOLD_S} if ctx.quick else {}
    state = server.join_device(DEVICE, **settings)
    program = ctx.program("beckon-agent")
    agent = ctx.start(home.inside(program, "run", "--state", state), ready=r"\bready\b", timeout=30, env=apart(ctx, program))
    return agent, settings


def edge(ctx):
    ctx.start([ctx.find("supernode"), "-l", 7654])
    words = ["-d", "n2n0", "-a", "10.9.9.1", "-c", "bench", "-k", "key", "-l", "127.0.0.1:7654", "-m", "02:00:00:00:00:01"]
    if not pathlib.Path("/dev/net/tun").exists():
        raise Missed("no /dev/net/tun")
    return ctx.start([ctx.find("edge"), *words], env=apart(ctx, ctx.find("edge")))


def mosquitto_sub(ctx):
    broker = Broker(ctx)
    broker.start()
    return ctx.start([ctx.find("mosquitto_sub"), "-h", "127.0.0.1", "-p", broker.port, "--cafile", ctx.certificates().ca,
                      "-t", "calls/2133", "-q", 1], env=apart(ctx, ctx.find("mosquitto_sub")))


def ssh(ctx):
    ctx.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ctx.work / "ssh_key"])
    (ctx.work / "sshd_config").write_text(SSHD.format(ctx.work), encoding="utf-8")
    os.makedirs("/run/sshd", exist_ok=True)
    daemon = ctx.start([ctx.find("sshd"), "-D", "-e", "-f", ctx.work / "sshd_config"], log="sshd.log", ready="listening")
    process = ctx.start([ctx.find("ssh"), "-N", "-F", "none", "-i", ctx.work / "ssh_key", "-p", 2222,
                         "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                         "-o", "ServerAliveInterval=60", "-R", "9022:127.0.0.1:22", "root@127.0.0.1"], log="ssh.log",
                        env=apart(ctx, ctx.find("ssh")))
    daemon.wait_line("Accepted publickey", 15)
    return process


def start_others(ctx):
    """{name: process, or why there is none}"""
    found = {}
    for name, start in (("n2n's edge", edge), ("mosquitto_sub over TLS", mosquitto_sub), ("ssh -R", ssh)):
        try:
            found[name] = start(ctx)
        except (Missed, RuntimeError, TimeoutError) as e:
            found[name] = str(e)
    return found


class WakeUps:
    """Of several processes, over the last of the time in which they were watched."""

    def __init__(self, processes):
        self.processes = processes
        self.samples = []  # (when, {name: times it was woken until then})

    def look(self):
        self.samples.append((time.monotonic(), {name: measure.switches(p.pid) for name, p in self.processes.items()}))

    def start_anew(self):
        self.samples = self.samples[-1:]

    def per_minute(self):
        """And of how many seconds."""
        ended, last = self.samples[-1]
        began, first = next(s for s in self.samples if ended - s[0] <= LAST_S)
        took = max(ended - began, 1)
        return {name: 60 * (last[name] - first[name]) / took for name in last}, took


def watch(ctx, agent, waking):
    """Until the others are done, or (all alone) for long enough. The interval that it found meanwhile, or None; what counts is
    the time since then."""
    found = None
    ends = time.monotonic() + (5 if ctx.smoke else 120)
    while not ctx.finished(1) or time.monotonic() < ends:
        waking.look()
        steps = re.findall(r"a keepalive every (\d+) s", agent.output())
        if steps and steps[-1] != found:
            found = steps[-1]
            waking.start_anew()
        if ctx.finished(0):
            time.sleep(1)
    waking.look()
    return found


def memory_rows(ctx, ours, empty, others):
    above = (ours["pss"] - empty["pss"]) / 1000
    yield ctx.row("agent: proportional memory above an empty program's", above, "KB", at_most=700,
                  note=f"the agent {ours['pss'] / 1000:,.0f}, the empty program {empty['pss'] / 1000:,.0f}")
    yield ctx.row("agent: private dirty memory", ours["private_dirty"] / 1000, "KB", at_most=400,
                  note=f"the empty program {empty['private_dirty'] / 1000:,.0f}")
    for name, it in others.items():
        if isinstance(it, str):
            yield ctx.row("agent: proportional memory", ours["pss"] / 1000, "KB", name, note=it)
            continue
        its = it.memory()
        yield ctx.row("agent: proportional memory", ours["pss"] / 1000, "KB", name, its["pss"] / 1000)
        yield ctx.row("agent: private dirty memory", ours["private_dirty"] / 1000, "KB", name, its["private_dirty"] / 1000)


def size_rows(ctx):
    program = ctx.program("beckon-agent")
    needs = sizes.libraries(program)
    yield ctx.row("agent: stripped program, with shared libraries", sizes.stripped(program) / 1000, "KB", at_most=250,
                  note="it needs " + ", ".join(f"{name} {size / 1000:.0f} KB" for name, size in needs.items()))


def run(ctx):
    agent, settings = start_agent(ctx)
    empty = ctx.start([ctx.tool("empty")])
    others = start_others(ctx)
    time.sleep(1 if ctx.smoke else 5)
    ctx.settled()
    running = {name: p for name, p in others.items() if not isinstance(p, str)}
    waking = WakeUps({"agent": agent, **running})
    found = watch(ctx, agent, waking)
    rates, took = waking.per_minute()
    yield from memory_rows(ctx, agent.memory(), empty.memory(), others)
    yield from size_rows(ctx)
    note = (f"for {took:.0f} s; a keepalive every {TOLD_S} s; by itself it finds a longer interval" if settings else
            f"for {took:.0f} s, "
            + (f"at the {found} s that it found by itself" if found else "while it was still measuring how patient the router is"))
    yield ctx.row(f"agent: wake-ups a minute behind a NAT of {MAPPING_S} s", rates["agent"], "per minute",
                  at_most=None if ctx.smoke else 3, note=note)
    for name in running:
        yield ctx.row(f"agent: wake-ups a minute behind a NAT of {MAPPING_S} s", rates["agent"], "per minute", name, rates[name])
    for process in running.values():
        process.stop()
    time.sleep(0.3)  # sshd waits for its child
