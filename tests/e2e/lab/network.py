"""The reference network (figures 1, 6, 9, 12).

    requester                                                            device
    192.168.1.11                                                   192.168.1.3
        |eth0                                                         eth0|
        |                                                                 |
      lan0 (bridge, 192.168.1.1)                    lan0 (bridge, 192.168.1.1)
    router-a                                                         router-b
      wan0 4.17.168.2                                     202.204.16.13 wan0
        |                                                                 |
        |to-a                                                         to-b|
        +--- 4.17.168.1 ---------------- wan ---------------- 202.204.16.1+
                                          |to-s
                                      130.74.23.1
                                          |
                                          |eth0
                                       server
                                      130.74.23.6

`wan` only forwards; its links are where everything on the public side can be
captured, and where loss and blockades are put. Both LANs have the same addresses, as in the
figures. There is no uplink."""

import contextlib
import ipaddress
import pathlib
import tempfile

from .capture import Capture
from .netns import Namespace, veth
from .process import wait_until
from .router import Router

SERVER = "130.74.23.6"
REQUESTER = "192.168.1.11"
DEVICE = "192.168.1.3"
ROUTER_A = "4.17.168.2"
ROUTER_B = "202.204.16.13"

# What the figures' tables ask for (6, 8D, 12).
FIXED_A_SOURCE = [("tcp", REQUESTER, 1500, SERVER, 7000)]
FIXED_A_INBOUND = [("tcp", 5000, REQUESTER, 1600)]
FIXED_B_SOURCE = [("udp", DEVICE, 2000, SERVER, 3400), ("tcp", DEVICE, 2600, SERVER, 2401)]


class ReferenceNetwork:
    """Context manager. `fixed` gives the routers the figures' mappings; without it they translate
    as any home router does, keeping the port where it is free."""

    def __init__(self, fixed=True, workdir=None):
        self.fixed = fixed
        self._given = workdir
        self._stack = contextlib.ExitStack()
        self.namespaces = []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self.workdir = pathlib.Path(self._given or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="beckon-lab-")))
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _namespace(self, label):
        ns = self._stack.enter_context(Namespace(label))
        self.namespaces.append(ns)
        return ns

    def _build(self):
        self.wan = self._namespace("wan")
        self.wan.sysctl("net.ipv4.ip_forward", 1)
        self.server = self._namespace("server")
        veth(self.server, "eth0", self.wan, "to-s")
        self.server.address("eth0", f"{SERVER}/24")
        self.wan.address("to-s", "130.74.23.1/24")
        self.server.route("default", "130.74.23.1")
        self.router_a = self._router("a", ROUTER_A, "4.17.168.1", FIXED_A_SOURCE, FIXED_A_INBOUND)
        self.router_b = self._router("b", ROUTER_B, "202.204.16.1", FIXED_B_SOURCE, [])
        self.requester = self.host("requester", self.router_a, REQUESTER)
        self.device = self.host("device", self.router_b, DEVICE)
        # A new link loses packets at first: only what works end to end counts as up.
        for ns in (self.requester, self.device):
            wait_until(lambda ns=ns: ns.reachable(SERVER), 30, f"{ns.label} reaches the server")

    def _router(self, side, wan, gateway, source, inbound):
        ns = self._namespace(f"router-{side}")
        veth(ns, "wan0", self.wan, f"to-{side}")
        ns.bridge("lan0")
        ns.address("lan0", "192.168.1.1/24")
        ns.address("wan0", f"{wan}/24")
        self.wan.address(f"to-{side}", f"{gateway}/24")
        ns.route("default", gateway)
        return Router(ns, wan, gateway, self.workdir, source if self.fixed else (), inbound if self.fixed else ())

    def host(self, label, router, address):
        """A machine on a router's LAN; more than the figures' two may be added."""
        ns = self._namespace(label)
        port = f"p{ipaddress.ip_address(address).packed[3]}"
        veth(ns, "eth0", router.ns, port, b_bridge="lan0")
        ns.address("eth0", f"{address}/24")
        ns.route("default", "192.168.1.1")
        return ns

    def public_host(self, label, address):
        """A machine with a public address of its own, on the wan."""
        ns = self._namespace(label)
        gateway = str(ipaddress.ip_network(f"{address}/24", strict=False)[1])
        link = f"to-{label}"
        veth(ns, "eth0", self.wan, link)
        ns.address("eth0", f"{address}/24")
        self.wan.address(link, f"{gateway}/24")
        ns.route("default", gateway)
        wait_until(lambda: ns.reachable(SERVER), 30, f"{label} reaches the server")
        return ns

    def assert_sealed(self):
        for ns in self.namespaces:
            ns.assert_sealed(self.namespaces)
        # Nothing but the laboratory's networks answers, or is even routed to, from the middle.
        assert "default" not in self.wan.ip("route")

    def loss(self, percent, match=""):
        """Drops that share of the packets that cross the wan (of those that `match`, an nft
        expression, names); 0 ends it."""
        self.block_clear("loss")
        if percent:
            self._drop("loss", f"{match} numgen random mod 100 < {int(percent)}")

    def block(self, match, name="block"):
        """Drops what crosses the wan and matches an nft expression ("meta l4proto udp"), until
        block_clear() of the same name."""
        self.block_clear(name)
        self._drop(name, match)

    def _drop(self, name, match):
        self.wan.nft(f"table inet {name} {{ chain forward {{ type filter hook forward priority 0; "
                     f"policy accept; {match} counter drop; }}; }}")

    def block_clear(self, name="block"):
        self.wan.nft(f"table inet {name} {{}}; delete table inet {name}")

    def capture(self, ns, interface, filter="", snap=0):
        """A running capture, ended with the network at the latest."""
        path = self.workdir / f"{ns.label}-{interface}-{len(list(self.workdir.glob('*.pcap')))}.pcap"
        return self._stack.enter_context(Capture(ns, interface, path, filter, snap))
