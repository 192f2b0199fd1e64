"""The servers that registrations are compared with: each on one processor, with everything off that is not needed."""

import pathlib
import re

KAMAILIO = """#!KAMAILIO
debug=-1
log_stderror=yes
fork=yes
children=1
tcp_children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}
mpath="{modules}"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "pv.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 16)
modparam("usrloc", "timer_interval", 3600)
modparam("registrar", "max_expires", 3600)
request_route {{
    if (method == "REGISTER") {{
        save("location");
    }}
}}
"""


class Theirs:
    """Its processes, and the port that it listens on."""

    def __init__(self, name, kind, port, process, pids=None):
        self.name, self.kind, self.port, self.process = name, kind, port, process
        self.pids = pids or [process.pid]
        self.counter = 2  # of the load, so that nobody says the same thing twice

    def subject(self):
        return ",".join(map(str, self.pids))


def bound(port):
    """Whether somebody has a UDP socket of that port in this network namespace."""
    return re.search(rf":{port:04X} ", pathlib.Path("/proc/self/net/udp").read_text()) is not None


def children(pid):
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def coturn(ctx, port=1500):
    """With one thread for datagrams, answering as shortly as it can."""
    process = ctx.start([ctx.find("turnserver"), "-n", "--stun-only", "--no-auth", "-L", "127.0.0.1", "-p", port, "-m", 1,
                         "--no-tls", "--no-dtls", "--no-tcp", "--no-cli", "--no-rfc5780", "--no-stun-backward-compatibility",
                         "--no-software-attribute", "--userdb", ctx.work / "turn.db", "--pidfile", ctx.work / "turn.pid",
                         "--log-file", "stdout", "--simple-log"], cpu=ctx.server_cpu, log=f"coturn-{port}.log")
    ctx.until(lambda: bound(port), "coturn listens")
    return Theirs("coturn, Binding without authentication", "binding", port, process)


def kamailio(ctx, port=1501):
    program = pathlib.Path(ctx.find("kamailio"))
    modules = next(iter(pathlib.Path("/usr/lib").glob("*/kamailio/modules")))
    config = ctx.work / "kamailio.cfg"
    config.write_text(KAMAILIO.format(port=port, modules=modules), encoding="utf-8")
    run = ctx.work / "kamailio"
    run.mkdir(exist_ok=True)
    process = ctx.start([program, "-f", config, "-DD", "-E", "-Y", run, "-P", run / "pid", "-w", run, "-m", 256, "-M", 16],
                        cpu=ctx.server_cpu, log="kamailio.log")
    ctx.until(lambda: bound(port), "Kamailio listens")
    ctx.until(lambda: len(children(process.pid)) >= 3, "Kamailio has its workers")
    return Theirs("Kamailio, REGISTER without authentication", "sip", port, process, children(process.pid))


def supernode(ctx, port=1502):
    process = ctx.start([ctx.find("supernode"), "-l", port], cpu=ctx.server_cpu, log=f"supernode-{port}.log")
    ctx.until(lambda: bound(port), "the supernode listens")
    return Theirs("n2n's supernode, registration without authentication", "n2n", port, process)
