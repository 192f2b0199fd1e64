"""Routers of each kind of address translation there is (RFC 4787's words), by nftables.

`kind` says what a router does; conntrack alone filters by address and port, and Linux gives every flow a port
of its own where asked to choose it at random. Endpoint-independent mapping is made of two maps that
outgoing packets keep alive:

    @out   (protocol, inside address, inside port) -> (outside address, port): what the next flow leaves from
    @back  (protocol, outside port) -> (inside address, port): where what comes unasked goes, if the filter lets it

What nobody asked for is dropped, in the input chain too: were the router's own stack to answer, its
tracking entry would stand in the way of later flows."""

from .router import TABLE, Router

# kind: (mapping, filtering)
KINDS = {
    "port-preserving": ("preserve", "address and port"),
    "random-port": ("random", "address and port"),
    "symmetric": ("random,fully-random", "address and port"),
    "ei-ei": ("endpoint-independent", "endpoint-independent"),
    "ei-ad": ("endpoint-independent", "address"),
    "ei-apd": ("endpoint-independent", "address and port"),
    "firewall": (None, "address and port"),  # IPv6: nothing is translated, and nothing comes in unasked
}

_MAPS = """
    map out {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; size 4096; timeout {timeout}s; flags dynamic,timeout; }}
    map back {{ type inet_proto . inet_service : ipv4_addr . inet_service; size 4096; timeout {timeout}s; flags dynamic,timeout; }}
    set seen {{ type inet_proto . inet_service . ipv4_addr; size 8192; timeout {timeout}s; flags dynamic,timeout; }}
    chain remember {{
        type filter hook postrouting priority 300; policy accept;
        oifname "wan0" meta nfproto ipv4 meta l4proto {{ tcp, udp }} ct direction original jump keep
    }}
    chain keep {{
{keep}
    }}
"""

# Of these nft knows the type of the port that conntrack keeps only where it knows the protocol: once for each.
_KEEP = """
        meta l4proto {proto} update @back {{ meta l4proto . th sport timeout {timeout}s : ct original ip saddr . ct original proto-src }}
        meta l4proto {proto} update @out {{ meta l4proto . ct original ip saddr . ct original proto-src timeout {timeout}s : ip saddr . th sport }}
        meta l4proto {proto} update @seen {{ meta l4proto . th sport . ip daddr timeout {timeout}s }}"""

_OUT = '        oifname "wan0" meta l4proto { tcp, udp } snat ip to meta l4proto . ip saddr . th sport map @out'
_IN = {
    "endpoint-independent": '        iifname "wan0" meta l4proto { tcp, udp } dnat ip to meta l4proto . th dport map @back',
    "address": '        iifname "wan0" meta l4proto . th dport . ip saddr @seen '
               "dnat ip to meta l4proto . th dport map @back",
    "address and port": "",  # only what belongs to a flow comes in: conntrack sees to that
}

_RULES = """
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
    chain upnp_prerouting {{ }}
    chain upnp_postrouting {{ }}
    chain upnp_forward {{ }}
{maps}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "wan0" jump upnp_prerouting
{incoming}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan0" jump upnp_postrouting
{hairpin_source}
{outgoing}
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, echo-request }} accept
        iifname "wan0" ct state established,related accept
        iifname "wan0" counter drop
{spoken}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
{blocked}
        ct state established,related accept
        iifname "lan0" oifname "wan0" accept
        ct status dnat accept
        jump upnp_forward
        counter drop
    }}
}}
"""


class NatRouter(Router):
    """A router of one of KINDS. `lan` is its own address inside.

    `udp`: whether it forwards UDP at all. `hairpin`: whether its own LAN may use its outside address.
    `mapping_s`: how long an endpoint-independent mapping outlives its last packet."""

    def __init__(self, ns, kind, wan, gateway, workdir, lan="192.168.1.1", udp=True, hairpin=False, mapping_s=300,
                 wan6=None, gateway6=None):
        self.kind = kind
        self.mapping, self.filtering = KINDS[kind]
        self.udp = udp
        self.hairpin = hairpin
        self.mapping_s = mapping_s
        self.wan6, self.gateway6 = wan6, gateway6
        if wan6:
            ns.sysctl("net.ipv6.conf.all.forwarding", 1)
        super().__init__(ns, wan, gateway, workdir, lan=lan)

    def load(self):
        endpoint_independent = self.mapping == "endpoint-independent"
        incoming = [f'        iifname "wan0" ip daddr {self.wan} {proto} dport {port} dnat ip to {lan}:{lan_port}'
                    for proto, port, lan, lan_port in self.inbound_maps]
        incoming += [_IN[self.filtering]]
        if self.hairpin:
            incoming += [line.replace('iifname "wan0"', f'iifname "lan0" ip daddr {self.wan}') for line in incoming if line]
        if self.mapping is None:
            outgoing = []
        elif endpoint_independent:
            outgoing = [_OUT, '        oifname "wan0" masquerade random']
        else:
            outgoing = ['        oifname "wan0" masquerade' + ("" if self.mapping == "preserve" else f" {self.mapping}")]
        keep = "".join(_KEEP.format(proto=proto, timeout=self.mapping_s) for proto in ("tcp", "udp"))
        hairpin_source = f'        iifname "lan0" oifname "lan0" ct status dnat snat ip to {self.wan}' if self.hairpin else ""
        self.ns.nft(_RULES.format(
            table=TABLE, maps=_MAPS.format(timeout=self.mapping_s, keep=keep) if endpoint_independent else "",
            incoming="\n".join(incoming), outgoing="\n".join(outgoing), hairpin_source=hairpin_source,
            spoken=self.spoken_rules(),
            blocked="" if self.udp else "        meta l4proto udp counter drop"))

    def routes(self):
        super().routes()
        if self.gateway6:
            self.ns.route("default", self.gateway6)

    def udp_timeouts(self, seconds):
        """How long UDP mappings live: those never answered and the others alike."""
        self.mapping_s = seconds
        for key in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            self.ns.sysctl(f"net.netfilter.{key}", seconds)
        self.load()
