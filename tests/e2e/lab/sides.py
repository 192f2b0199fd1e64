"""Many networks around one server: callers' sides and devices' sides, each of a kind, as people have them.

    requester sides                                                    device sides
    host - router - [carrier] - [line] -+                  +- [line] - [carrier] - router - host
    host - router - ...                -+------- wan ------+-                       router - host
    host (public address)              -+                  +-                               host
                                        |                  |
                                     server              relay
                          130.74.23.6, .7               130.74.24.6  (coturn, where asked for)
                2a0c:5c81:23::6, ::7                    2a0c:5c81:24::6

Kinds of a side:
    none             a public address, IPv4 and IPv6, nothing in the way
    port-preserving  masquerade: Linux keeps the port where it is free; conntrack filters by address and port
    random-port      masquerade random
    symmetric        masquerade random,fully-random
    ei-ei ei-ad ei-apd  endpoint-independent mapping at random ports, with each filtering
    cgn              a port-preserving home router with a private address inside a carrier's ei-apd translation
    udp-blocked      a port-preserving router that forwards no UDP
    ipv6             no IPv4 at all, IPv6 without translation behind a stateful firewall
Pairs, both ends on one LAN:
    same-lan          behind a port-preserving router without hairpin
    same-lan-hairpin  behind an ei-ei router with hairpin

All LANs have the same private addresses, as homes do. A `line` is a namespace between a side's router and the wan
in which tests/e2e/lab/delay.c carries packets, late or not at all as told. There is no uplink."""

import contextlib
import os
import pathlib
import tempfile

from .capture import Capture
from .nat import NatRouter
from .netns import Namespace, veth
from .process import wait_until
from .tables import flush_conntrack

SERVER, SERVER_SECOND = "130.74.23.6", "130.74.23.7"
SERVER6, SERVER6_SECOND = "2a0c:5c81:23::6", "2a0c:5c81:23::7"
RELAY, RELAY6 = "130.74.24.6", "2a0c:5c81:24::6"
SERVER_NAME, RELAY_NAME = "server.lab", "relay.lab"
NAMES = {SERVER_NAME: (SERVER, SERVER6), RELAY_NAME: (RELAY, RELAY6)}
HOST = {"requester": "192.168.1.11", "device": "192.168.1.3"}

KINDS = ("none", "port-preserving", "random-port", "ei-ei", "ei-ad", "ei-apd", "symmetric", "cgn", "udp-blocked", "ipv6")
PAIR_KINDS = ("same-lan", "same-lan-hairpin")


class Side:
    """One end's network: `host`, and what lies between it and the wan, from the inside out, in `routers`."""

    def __init__(self, kind, role, number):
        self.kind = kind
        self.role = role
        self.number = number
        self.routers = []
        self.host = None
        self.address = None   # of the host
        self.address6 = None
        self.public = None    # IPv4 outside, the host's own or the outermost router's
        self.line = None

    @property
    def router(self):
        return self.routers[0] if self.routers else None

    @property
    def outer(self):
        return self.routers[-1] if self.routers else None

    def flush(self):
        """Every router forgets every flow."""
        for router in self.routers:
            flush_conntrack(router.ns)


class Line:
    """The cable between a side and the wan, which can be slow, lossy or cut."""

    def __init__(self, ns, program):
        self.ns = ns
        self._program = program
        self._process = None
        self.set()

    def set(self, delay_ms=0, jitter_ms=0, loss=0, duplicate=0, reorder=0):
        """Each way: so late, plus up to so much more; and of a hundred packets so many lost, doubled, overtaken."""
        if self._process:
            self._process.kill()
        self._process = self.ns.start([self._program, "in0", "out0", delay_ms, jitter_ms, loss, duplicate, reorder])
        self._process.wait_line("^ready$")


class SidesNetwork:
    """Context manager. `requesters`, `devices` and `pairs` name kinds. `mapping`: the home routers grant port
    mappings (and pinholes). `lines`: the program that carries packets over lines; None: plain cables."""

    def __init__(self, requesters=(), devices=(), pairs=(), mapping=False, lines=None, workdir=None):
        self._wanted = {"requester": list(requesters), "device": list(devices)}
        self._wanted_pairs = list(pairs)
        self.mapping = mapping
        self._lines = lines
        self._given = workdir
        self._stack = contextlib.ExitStack()
        self.namespaces = []
        self.requesters, self.devices, self.pairs = {}, {}, {}

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

    def _namespace(self, label, ipv6=False):
        ns = self._stack.enter_context(Namespace(label, ipv6))
        self.namespaces.append(ns)
        return ns

    # -- the middle -------------------------------------------------------------------------------

    def _build(self):
        self.wan = self._namespace("wan", ipv6=True)
        self.wan.sysctl("net.ipv4.ip_forward", 1)
        self.wan.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.server = self._public("server", "s", 23, (SERVER, SERVER_SECOND), (SERVER6, SERVER6_SECOND))
        self.relay = self._public("relay", "t", 24, (RELAY,), (RELAY6,))
        for role in ("requester", "device"):
            where = self.requesters if role == "requester" else self.devices
            for number, kind in enumerate(self._wanted[role], 1):
                where[kind] = self._side(kind, role, number if role == "requester" else 100 + number)
        for number, kind in enumerate(self._wanted_pairs, 201):
            self.pairs[kind] = self._pair(kind, number)
        self._wait_up()
        if self.mapping:
            self._start_mapping()

    def _public(self, label, link, net, addresses, addresses6):
        ns = self._namespace(label, ipv6=True)
        veth(ns, "eth0", self.wan, f"to-{link}")
        for address in addresses:
            ns.address("eth0", f"{address}/24")
        for address in addresses6:
            ns.address("eth0", f"{address}/64")
        gateway, gateway6 = f"130.74.{net}.1", f"2a0c:5c81:{net}::1"
        self.wan.address(f"to-{link}", f"{gateway}/24")
        self.wan.address(f"to-{link}", f"{gateway6}/64")
        ns.route("default", gateway)
        ns.route("default", gateway6)
        ns.hosts(NAMES)
        return ns

    def _all_sides(self):
        return [*self.requesters.values(), *self.devices.values(), *(side for pair in self.pairs.values() for side in pair)]

    def _wait_up(self):
        """A new link loses packets at first: only what works end to end counts as up."""
        for side in self._all_sides():
            for address in ([SERVER] if side.address else []) + ([SERVER6] if side.address6 else []):
                wait_until(lambda: side.host.reachable(address), 30, f"{side.host.label} reaches {address}")

    def _start_mapping(self):
        started = set()
        for side in self._all_sides():
            if side.router and side.router not in started:
                started.add(side.router)
                side.router.start_upnp(ipv6=side.kind == "ipv6")

    # -- the sides --------------------------------------------------------------------------------

    @staticmethod
    def _outside(number):
        """(address, gateway, IPv6 address, its gateway) on the wan of a side."""
        if number > 100:
            return f"202.204.{number}.13", f"202.204.{number}.1", f"2a0c:5c81:{number}::2", f"2a0c:5c81:{number}::1"
        return f"4.17.{number}.2", f"4.17.{number}.1", f"2a0c:5c81:{number}::2", f"2a0c:5c81:{number}::1"

    def _attach(self, ns, interface, side, ipv6=False):
        """Leads a side's outermost interface to the wan, over a line where there are any. Returns its addresses."""
        address, gateway, address6, gateway6 = self._outside(side.number)
        link = f"to-{side.number}"
        if self._lines:
            line = self._namespace(f"line-{side.number}", ipv6=True)
            veth(ns, interface, line, "in0")
            veth(line, "out0", self.wan, link)
            for where, name in ((ns, interface), (self.wan, link)):
                where.offload_off(name)
            side.line = Line(line, self._lines)
        else:
            veth(ns, interface, self.wan, link)
        ns.address(interface, f"{address}/24")
        self.wan.address(link, f"{gateway}/24")
        if ipv6:
            ns.address(interface, f"{address6}/64")
            self.wan.address(link, f"{gateway6}/64")
        side.public = address
        return address, gateway, address6, gateway6

    def _side(self, kind, role, number):
        side = Side(kind, role, number)
        if kind == "none":
            self._open_side(side)
        elif kind == "ipv6":
            self._ipv6_side(side)
        elif kind == "cgn":
            self._carrier_side(side)
        else:
            nat = "port-preserving" if kind == "udp-blocked" else kind
            self._router(side, nat, udp=kind != "udp-blocked")
            self._lan_host(side, HOST[role])
        side.host.hosts(NAMES)
        return side

    def _open_side(self, side):
        side.host = self._namespace(f"{side.role}-{side.number}", ipv6=True)
        address, gateway, address6, gateway6 = self._attach(side.host, "eth0", side, ipv6=True)
        side.host.route("default", gateway)
        side.host.route("default", gateway6)
        side.address, side.address6 = address, address6

    def _router(self, side, kind, **kw):
        """A home router on the wan; its namespace has the LAN's bridge."""
        ns = self._namespace(f"router-{side.number}", ipv6=kind == "firewall")
        address, gateway, address6, gateway6 = self._attach(ns, "wan0", side, ipv6=kind == "firewall")
        ns.bridge("lan0")
        ns.address("lan0", "192.168.1.1/24")
        if kind == "firewall":
            kw.update(wan6=address6, gateway6=gateway6)
        router = NatRouter(ns, kind, address, gateway, self.workdir, **kw)
        router.routes()
        side.routers.append(router)
        return router

    def _lan_host(self, side, address):
        router = side.router
        side.host = self._namespace(f"{side.role}-{side.number}", ipv6=False)
        veth(side.host, "eth0", router.ns, f"p{address.split('.')[3]}", b_bridge="lan0")
        side.host.address("eth0", f"{address}/24")
        side.host.route("default", "192.168.1.1")
        side.address = address

    def _carrier_side(self, side):
        """The home router's outside is the carrier's inside (RFC 6598)."""
        carrier = self._namespace(f"carrier-{side.number}")
        address, gateway, *_ = self._attach(carrier, "wan0", side)
        carrier.bridge("lan0")
        carrier.address("lan0", "100.64.0.1/24")
        outer = NatRouter(carrier, "ei-apd", address, gateway, self.workdir, lan="100.64.0.1")
        outer.routes()
        home = self._namespace(f"router-{side.number}")
        veth(home, "wan0", carrier, "p2", b_bridge="lan0")
        home.address("wan0", "100.64.0.2/24")
        home.bridge("lan0")
        home.address("lan0", "192.168.1.1/24")
        inner = NatRouter(home, "port-preserving", "100.64.0.2", "100.64.0.1", self.workdir)
        inner.routes()
        side.routers += [inner, outer]
        self._lan_host(side, HOST[side.role])

    def _ipv6_side(self, side):
        """The router has IPv4 (for its own), the LAN's hosts have none."""
        router = self._router(side, "firewall")
        prefix = f"2a0c:5c81:{side.number}:1"
        router.ns.address("lan0", f"{prefix}::1/64")
        self.wan.route(f"{prefix}::/64", router.wan6)
        side.host = self._namespace(f"{side.role}-{side.number}", ipv6=True)
        veth(side.host, "eth0", router.ns, "p11", b_bridge="lan0")
        side.address6 = f"{prefix}::{'11' if side.role == 'requester' else '3'}"
        side.host.address("eth0", f"{side.address6}/64")
        side.host.route("default", f"{prefix}::1")

    def _pair(self, kind, number):
        """(requester's side, device's side) on one LAN."""
        first, second = Side(kind, "requester", number), Side(kind, "device", number)
        hairpin = kind == "same-lan-hairpin"
        second.routers = [self._router(first, "ei-ei" if hairpin else "port-preserving", hairpin=hairpin)]
        second.public = first.public
        for side in (first, second):
            self._lan_host(side, HOST[side.role])
            side.host.hosts(NAMES)
        return first, second

    # -- for tests --------------------------------------------------------------------------------

    def assert_sealed(self):
        for ns in self.namespaces:
            ns.assert_sealed(self.namespaces)
        assert "default" not in self.wan.ip("route") and "default" not in self.wan.ip("-6", "route")

    def block(self, match, name="block"):
        """Drops what crosses the wan and matches an nft expression, until block_clear() of the same name."""
        self.block_clear(name)
        self.wan.nft(f"table inet {name} {{ chain forward {{ type filter hook forward priority 0; "
                     f"policy accept; {match} counter drop; }}; }}")

    def block_clear(self, name="block"):
        self.wan.nft(f"table inet {name} {{}}; delete table inet {name}")

    def capture(self, ns, interface, filter="", snap=0):
        """A running capture, ended with the network at the latest."""
        path = self.workdir / f"{ns.label}-{interface}-{len(list(self.workdir.glob('*.pcap')))}.pcap"
        return self._stack.enter_context(Capture(ns, interface, path, filter, snap))


def line_program(bindir):
    program = pathlib.Path(bindir) / "lab-delay"
    assert os.access(program, os.X_OK), f"{program} is not there: build it (part of the tests)"
    return program
