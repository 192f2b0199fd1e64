"""A home router: address translation by nftables, and miniupnpd when asked.

It drops whatever comes unasked from the wide area network, in the input chain too: were the
router's own stack to answer, its tracking entry would stand in the way of later flows."""

import uuid
import xml.etree.ElementTree as ElementTree

from .process import wait_until
from .tables import flush_conntrack, nft_rules

TABLE = "router"

_RULES = """
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
    chain upnp_prerouting {{ }}
    chain upnp_postrouting {{ }}
    chain upnp_forward {{ }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "wan0" jump upnp_prerouting
{dnat}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
{snat}
        oifname "wan0" jump upnp_postrouting
        oifname "wan0" masquerade
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "wan0" ct state established,related accept
        iifname "wan0" counter drop
{spoken}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan0" oifname "wan0" accept
{forward}
        jump upnp_forward
        counter drop
    }}
}}
"""

_MINIUPNPD = """
ext_ifname=wan0
listening_ip=lan0
http_port=36895
enable_upnp={igd}
enable_natpmp={natpmp}
secure_mode=no
ipv6_disable={ipv4_only}
min_lifetime=1
max_lifetime=86400
clean_ruleset_interval=0
uuid={uuid}
upnp_table_name={table}
upnp_nat_table_name={table}
upnp_forward_chain=upnp_forward
upnp_nat_chain=upnp_prerouting
upnp_nat_postrouting_chain=upnp_postrouting
allow 1024-65535 {lan}/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
{more}
"""

# miniupnpd speaks NAT-PMP (version 0) and PCP (version 2) on one port, or neither: one alone hears only its own.
_DEAF = '        iifname "lan0" udp dport 5351 @th,64,8 {version} counter drop'

_ASK = """<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:GetGenericPortMappingEntry xmlns:u="{service}">
<NewPortMappingIndex>{index}</NewPortMappingIndex></u:GetGenericPortMappingEntry></s:Body></s:Envelope>"""


class Router:
    """A namespace with lan0 (a bridge) and wan0, and its translation rules.

    `source_maps` are (proto, LAN address, LAN port, destination, WAN port): the flow leaves from that port.
    `inbound_maps` are (proto, WAN port, LAN address, LAN port): made by hand, as in a router's web page."""

    def __init__(self, ns, wan, gateway, workdir, source_maps=(), inbound_maps=(), lan="192.168.1.1"):
        self.ns = ns
        self.wan = wan
        self.lan = lan
        self.gateway = gateway
        self.workdir = workdir
        self.source_maps = list(source_maps)
        self.inbound_maps = list(inbound_maps)
        self.upnp = None
        self._upnp_words = {}
        self._deaf = []
        ns.sysctl("net.ipv4.ip_forward", 1)
        self.load()

    def load(self):
        """Loads the rules afresh; mappings that miniupnpd had made are gone."""
        dnat = [f'        iifname "wan0" ip daddr {self.wan} {proto} dport {port} dnat ip to {lan}:{lan_port}'
                for proto, port, lan, lan_port in self.inbound_maps]
        snat = [f'        oifname "wan0" ip saddr {lan} ip daddr {to} {proto} sport {lan_port} '
                f'snat ip to {self.wan}:{port}'
                for proto, lan, lan_port, to, port in self.source_maps]
        forward = ['        iifname "wan0" ct status dnat accept'] if self.inbound_maps else []
        self.ns.nft(_RULES.format(table=TABLE, dnat="\n".join(dnat), snat="\n".join(snat),
                                  forward="\n".join(forward), spoken=self.spoken_rules()))

    def spoken_rules(self):
        """Of the input chain: what miniupnpd is not to hear."""
        return "\n".join(_DEAF.format(version=version) for version in self._deaf)

    def start_upnp(self, igd=True, natpmp=True, pcp=None, ipv6=False, more=()):
        """UPnP-IGD, NAT-PMP, PCP (which goes with NAT-PMP unless told), or all; ready when it returns. `ipv6`: with
        pinholes too. `more`: further lines of its configuration."""
        assert self.upnp is None
        self._upnp_words = dict(igd=igd, natpmp=natpmp, pcp=pcp, ipv6=ipv6, more=more)
        pcp = natpmp if pcp is None else pcp
        self._deaf = ([0] if not natpmp else []) + ([2] if not pcp else [])
        config = self.workdir / f"{self.ns.label}-miniupnpd.conf"
        config.write_text(_MINIUPNPD.format(uuid=uuid.uuid4(), table=TABLE, lan=self.lan, more="\n".join(more),
                                            ipv4_only="no" if ipv6 else "yes",
                                            igd="yes" if igd else "no", natpmp="yes" if natpmp or pcp else "no"))
        self.load()
        self.upnp = self.ns.start(["miniupnpd", "-d", "-f", config,
                                   "-P", self.workdir / f"{self.ns.label}-miniupnpd.pid"])
        if igd:
            self.ns.wait_listening(36895)
            self.ns.wait_listening(1900, udp=True)
        if natpmp or pcp:
            self.ns.wait_listening(5351, udp=True)

    def stop_upnp(self):
        """Switched off, and its mappings gone."""
        if self.upnp:
            self.upnp.kill()  # told to end, it may take seconds over it
            self.upnp = None
            self._deaf = []
            self.load()

    def mappings(self):
        """What miniupnpd has granted: (port outside, address, port inside), from the live rules."""
        found = []
        for rule in nft_rules(self.ns, "upnp_prerouting"):
            port, = [e["match"]["right"] for e in rule["expr"]
                     if "match" in e and e["match"]["left"].get("payload", {}).get("field") == "dport"]
            dnat, = [e["dnat"] for e in rule["expr"] if "dnat" in e]
            found.append((port, dnat["addr"], dnat["port"]))
        return sorted(found)

    def granted(self):
        """[(port outside, description, seconds left)], as UPnP-IGD tells it (GetGenericPortMappingEntry)."""
        service = "urn:schemas-upnp-org:service:WANIPConnection:1"
        found = []
        for index in range(len(self.mappings())):
            answer = self.ns.run(["curl", "-sS", "-H", "Content-Type: text/xml", "-H",
                                  f'SOAPAction: "{service}#GetGenericPortMappingEntry"', "--data-binary",
                                  _ASK.format(service=service, index=index), f"http://{self.lan}:36895/ctl/IPConn"]).out
            tree = {e.tag: e.text for e in ElementTree.fromstring(answer.strip("\0\n ")).iter()}
            found.append((int(tree["NewExternalPort"]), tree["NewPortMappingDescription"], int(tree["NewLeaseDuration"])))
        return found

    def routes(self):
        """The way out; the kernel forgets it with the link or the address."""
        self.ns.route("default", self.gateway)

    def unplug(self):
        """The cable to the provider is out: what the router knows, it keeps."""
        self.ns.ip("link", "set", "wan0", "down")

    def plug(self):
        self.ns.ip("link", "set", "wan0", "up")
        self.routes()
        wait_until(lambda: self.ns.reachable(self.gateway), 30, f"{self.ns.label} back on its line")

    def reboot(self):
        """A power cut: every mapping is gone, and so is what miniupnpd had granted."""
        running = self.upnp is not None
        self.stop_upnp()
        self.unplug()
        flush_conntrack(self.ns)
        self.load()
        self.plug()
        if running:
            self.start_upnp(**self._upnp_words)

    def renumber(self, wan):
        """The provider hands out another address (of the same network)."""
        self.ns.ip("addr", "del", f"{self.wan}/24", "dev", "wan0")
        self.ns.address("wan0", f"{wan}/24")
        self.routes()
        self.wan = wan
        flush_conntrack(self.ns)
        self.load()
        wait_until(lambda: self.ns.reachable(self.gateway), 30, f"{self.ns.label} on its new address")
