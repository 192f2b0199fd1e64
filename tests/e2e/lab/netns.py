"""Network namespaces with nothing in them but loopback, veth pairs and bridges.

A namespace's name carries the process ID of the run that made it, so that runs side by side do
not meet and a later one can clear away what a killed one left. No link ever leads to a namespace
that the laboratory has not made: there is no way out, and `assert_sealed` proves it."""

import array
import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct

from .process import Process, run, wait_until

PREFIX = "bk"
_serial = itertools.count(1)
CLONE_NEWNET = 0x40000000
FILES = pathlib.Path("/etc/netns")  # ip-netns(8): what lies in /etc/netns/NAME is seen in /etc by programs started in NAME
SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO
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
            _forget_files(name)


def _forget_files(name):
    shutil.rmtree(FILES / name, ignore_errors=True)


class Namespace:
    """One network namespace. Use as a context manager, or call close(). With `ipv6` its links made later have IPv6,
    with the addresses that they are given and no others."""

    def __init__(self, label, ipv6=False):
        self.label = label
        self.name = f"{PREFIX}{os.getpid()}-{next(_serial)}-{label}"
        self._started = []
        run(["ip", "netns", "add", self.name])
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 0 if ipv6 else 1)
        for key, value in (("accept_ra", 0), ("accept_dad", 0), ("router_solicitations", 0)):  # quiet in captures
            self.sysctl(f"net.ipv6.conf.default.{key}", value)
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

    def udp(self, address="0.0.0.0", port=0, timeout=10.0):
        return self._bound(socket.SOCK_DGRAM, address, port, timeout)

    def listen(self, port, address="0.0.0.0", timeout=10.0, shared=False):
        s = self._bound(socket.SOCK_STREAM, address, port, timeout, shared)
        s.listen(16)
        return s

    def connect(self, address, port, source_port=0, timeout=10.0, shared=False, source=None):
        """`shared`: other sockets of ours listen on the source port, or connect from it, as whoever punches does."""
        if source is None and source_port:
            source = "::" if ":" in address else "0.0.0.0"
        s = self._bound(socket.SOCK_STREAM, source, source_port, timeout, shared,
                        socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            s.connect((address, port))
        except OSError:
            s.close()
            raise
        return s

    def _bound(self, kind, address, port, timeout, shared=False, family=None):
        family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
        with self.entered():
            s = socket.socket(family, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.settimeout(timeout)
        if address is not None:
            s.bind((address, port))
        return s

    def listening(self, port, udp=False):
        return bool(self.run(["ss", "-Hln", "-u" if udp else "-t", f"sport = :{port}"]).out.strip())

    def wait_listening(self, port, udp=False, timeout=20.0):
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
        family = ("-6",) if ":" in via else ()
        self.ip(*family, "route", "replace", destination, "via", via)

    def reachable(self, address):
        return self.run(["ping", "-c", "1", "-W", "1", "-n", "-q", address], check=False).status == 0

    def hosts(self, names):
        """Names that programs started here resolve, without any DNS: {name: [address, ...]}."""
        (FILES / self.name).mkdir(parents=True, exist_ok=True)
        lines = ["127.0.0.1 localhost"] + [f"{address} {name}" for name, many in names.items() for address in many]
        (FILES / self.name / "hosts").write_text("\n".join(lines) + "\n")

    def offload_off(self, interface):
        """Packets leave as the link will carry them: checksums made, none larger than it takes. Whoever forwards
        them by hand (delay.c) needs that."""
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for command in _OFFLOADS:
                value = array.array("I", [command, 0])
                request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
                with contextlib.suppress(OSError):  # a kernel without this one
                    fcntl.ioctl(s, SIOCETHTOOL, request)

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
            process.stop(timeout=5)  # nobody asks how it ended
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
        _forget_files(self.name)

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
