"""A device behind a home router that forgets UDP mappings after a given time: two more network namespaces beside this one,
which is the internet. They are held by processes, and gone with them.

    this one 10.99.0.1 --- 10.99.0.2 router 192.168.7.1 --- 192.168.7.2 device"""

import subprocess

SERVER = "10.99.0.1"
RULES = """table ip home {
    chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
    chain in { type filter hook input priority filter; policy drop; ct state established,related accept; iifname "lan" accept; }
}
"""


class Home:
    def __init__(self, ctx, mapping_s):
        self.ctx = ctx
        self.router, self.device = (self._namespace(name) for name in ("router", "device"))
        self._link("inet", None, SERVER, "wan", self.router, "10.99.0.2")
        self._link("lan", self.router, "192.168.7.1", "eth0", self.device, "192.168.7.2")
        self._in(self.device, "ip", "route", "add", "default", "via", "192.168.7.1")
        self._in(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._in(self.router, "nft", "-f", "-", input=RULES)
        for timeout in ("timeout", "timeout_stream"):
            self._in(self.router, "sysctl", "-qw", f"net.netfilter.nf_conntrack_udp_{timeout}={mapping_s}")

    def _namespace(self, name):
        process = self.ctx.start(["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 7200"],
                                 log=f"{name}.log", ready="^ready$")
        return process.pid

    @staticmethod
    def _enter(pid):
        return ["nsenter", "--net", "-t", str(pid)] if pid else []

    def _in(self, pid, *words, **kw):
        subprocess.run([*self._enter(pid), *words], check=True, text=True, **kw)

    def _link(self, name, pid, address, peer, peer_pid, peer_address):
        self._in(pid, "ip", "link", "add", name, "type", "veth", "peer", "name", peer, "netns", str(peer_pid))
        for n, p, a in ((name, pid, address), (peer, peer_pid, peer_address)):
            self._in(p, "ip", "address", "add", f"{a}/24", "dev", n)
            self._in(p, "ip", "link", "set", n, "up")

    def inside(self, *argv):
        """A command line that runs in the device's network; it becomes that program."""
        return [*self._enter(self.device), *argv]
