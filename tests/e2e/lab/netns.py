"""Network namespaces with nothing in them but loopback, veth pairs and bridges.

A namespace's name carries the process ID of the run that made it, so that runs side by side do
not meet and a later one can clear away what a killed one left. No link ever leads to a namespace
that the laboratory has not made: there is no way out, and `assert_sealed` proves it."""

import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket

from .process import Process, run, wait_until

PREFIX = "bk"
_serial = itertools.count(1)
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _names():
    try:
        return os.listdir("/run/netns")
    except FileNotFoundError:
        return []


def sweep():
    """Removes namespaces of runs that are no more."""
    for name in _names():
        match = re.fullmatch(PREFIX + r"(\d+)-[a-z0-9-]+", name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            run(["ip", "netns", "del", name], check=False)


class Namespace:
    """One network namespace. Use as a context manager, or call close()."""

    def __init__(self, label):
        self.label = label
        self.name = f"{PREFIX}{os.getpid()}-{next(_serial)}-{label}"
        self._started = []
        run(["ip", "netns", "add", self.name])
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)  # no router solicitations in captures
        self.sysctl("net.ipv4.tcp_congestion_control", "reno")
        for family in ("ip", "ip6", "arp"):
            self.sysctl(f"net.bridge.bridge-nf-call-{family}tables", 0, missing_ok=True)
        self.ip("link", "set", "lo", "up")

    # -- programs ---------------------------------------------------------------------------------

    def argv(self, argv):
        return ["ip", "netns", "exec", self.name, *[str(a) for a in argv]]

    def run(self, argv, **kw):
        return run(self.argv(argv), **kw)

    def start(self, argv, **kw):
        """A long-running program; ended with the namespace at the latest."""
        kw.setdefault("name", os.path.basename(str(argv[0])))
        process = Process(self.argv(argv), **kw)
        self._started.append(process)
        return process

    def ip(self, *args):
        return run(["ip", "-n", self.name, *args]).out

    def nft(self, ruleset):
        return self.run(["nft", "-f", "-"], input=ruleset)

    # -- the kernel's settings --------------------------------------------------------------------

    def sysctl(self, key, value, missing_ok=False):
        path = "/proc/sys/" + key.replace(".", "/")
        with self.entered():
            try:
                with open(path, "w", encoding="ascii") as f:
                    f.write(str(value))
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def sysctl_read(self, key):
        with self.entered(), open("/proc/sys/" + key.replace(".", "/"), encoding="ascii") as f:
            return f.read().strip()

    @contextlib.contextmanager
    def local_ports(self, low, high=None):
        """Forces the ports that connect() picks. With a single one only one connection to each
        destination is possible: set it for a call, not for longer."""
        key = "net.ipv4.ip_local_port_range"
        before = self.sysctl_read(key)
        self.sysctl(key, f"{low} {low if high is None else high}")
        try:
            yield
        finally:
            self.sysctl(key, before)

    # -- sockets of this process, in the namespace ------------------------------------------------

    @contextlib.contextmanager
    def entered(self):
        """The calling thread stands in the namespace; sockets made there stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)

    def udp(self, address="0.0.0.0", port=0, timeout=2.0):
        return self._bound(socket.SOCK_DGRAM, address, port, timeout)

    def listen(self, port, address="0.0.0.0", timeout=2.0):
        s = self._bound(socket.SOCK_STREAM, address, port, timeout)
        s.listen(16)
        return s

    def connect(self, address, port, source_port=0, timeout=2.0):
        s = self._bound(socket.SOCK_STREAM, "0.0.0.0" if source_port else None, source_port, timeout)
        try:
            s.connect((address, port))
        except OSError:
            s.close()
            raise
        return s

    def _bound(self, kind, address, port, timeout):
        with self.entered():
            s = socket.socket(socket.AF_INET, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(timeout)
        if address is not None:
            s.bind((address, port))
        return s

    def listening(self, port, udp=False):
        return bool(self.run(["ss", "-Hln", "-u" if udp else "-t", f"sport = :{port}"]).out.strip())

    def wait_listening(self, port, udp=False, timeout=5.0):
        wait_until(lambda: self.listening(port, udp), timeout, f"{self.label} listens on port {port}")

    def sockets(self, filter="", extra=()):
        """Lines of `ss` for TCP and UDP sockets, listening ones too."""
        return [line for line in self.run(["ss", "-Hnatup", *extra, *filter.split()]).out.splitlines() if line]

    def programs(self):
        """{pid: name} of what runs in the namespace."""
        names = {}
        for pid in map(int, run(["ip", "netns", "pids", self.name]).out.split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                names[pid] = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        return names

    # -- links ------------------------------------------------------------------------------------

    def bridge(self, name):
        self.ip("link", "add", name, "type", "bridge")
        self.ip("link", "set", "dev", name, "up")

    def address(self, interface, cidr):
        self.ip("addr", "add", cidr, "dev", interface)

    def route(self, destination, via):
        self.ip("route", "replace", destination, "via", via)

    def reachable(self, address):
        return self.run(["ping", "-c", "1", "-W", "1", "-n", "-q", address], check=False).status == 0

    def assert_sealed(self, namespaces):
        """Only loopback, bridges and veth pairs whose other ends lie in `namespaces`, and no route
        through anything else."""
        links = json.loads(self.ip("-j", "-d", "link"))
        for link in links:
            kind = link.get("linkinfo", {}).get("info_kind", link["link_type"])
            assert kind in ("loopback", "bridge", "veth"), f"{self.label}: {link['ifname']} is a {kind}"
            if kind == "veth" and link.get("link_netnsid") is not None:
                peers = json.loads(self.ip("-j", "netns", "list-id", "nsid", str(link["link_netnsid"])))
                names = {peer.get("name") for peer in peers}
                known = {n.name for n in namespaces}
                assert names & known, f"{self.label}: {link['ifname']} leads to {names or 'an unknown place'}"
        ours = {link["ifname"] for link in links}
        for route in json.loads(self.ip("-j", "route") or "[]"):
            assert route["dev"] in ours

    # -- the end ----------------------------------------------------------------------------------

    def close(self):
        for process in reversed(self._started):
            process.stop()
        self._started.clear()
        # What those left behind (a daemon's children) lives in a namespace of ours: it is ours.
        for _ in range(50):
            pids = run(["ip", "netns", "pids", self.name], check=False).out.split()
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        run(["ip", "netns", "del", self.name], check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def veth(a, a_name, b, b_name, a_bridge=None, b_bridge=None):
    """A cable between two namespaces; an end may be a port of a bridge."""
    run(["ip", "-n", a.name, "link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", b.name])
    for ns, name, bridge in ((a, a_name, a_bridge), (b, b_name, b_bridge)):
        if bridge:
            ns.ip("link", "set", "dev", name, "master", bridge)
        ns.ip("link", "set", "dev", name, "up")
