"""Readers of a router's live tables: connection tracking and nftables."""

import collections
import json
import xml.etree.ElementTree as ElementTree

Flow = collections.namedtuple(
    "Flow", "proto src sport dst dport reply_src reply_sport reply_dst reply_dport state replied")
Flow.__doc__ = """A tracked connection: as it was opened (src → dst) and as its answers come (reply_*).

Behind a router that translates sources, reply_dst and reply_dport are what the world sees."""


def conntrack(ns, proto=None):
    """All flows of a namespace, of one protocol if asked."""
    args = ["conntrack", "-L", "-o", "xml"] + (["-p", proto] if proto else [])
    out = ns.run(args).out
    if "<conntrack" not in out:
        return []
    return [flow for flow in map(_flow, ElementTree.fromstring(out).iter("flow")) if flow]


def _flow(flow):
    sides = {}
    state, replied = None, True
    for meta in flow.findall("meta"):
        direction = meta.get("direction")
        if direction in ("original", "reply"):
            layer4 = meta.find("layer4")
            if layer4.get("protoname") not in ("tcp", "udp"):
                return None
            sides[direction] = (layer4.get("protoname"), meta.findtext("layer3/src"), int(layer4.findtext("sport")),
                                meta.findtext("layer3/dst"), int(layer4.findtext("dport")))
        elif direction == "independent":
            state = meta.findtext("state")
            replied = meta.find("unreplied") is None
    original, reply = sides["original"], sides["reply"]
    return Flow(*original, *reply[1:], state, replied)


def flush_conntrack(ns):
    ns.run(["conntrack", "-F"])


def nft_rules(ns, chain=None):
    """The rules of the router's table as nft's own JSON, of one chain if asked."""
    listing = json.loads(ns.run(["nft", "-j", "list", "ruleset"]).out)["nftables"]
    rules = [item["rule"] for item in listing if "rule" in item]
    return [rule for rule in rules if chain is None or rule["chain"] == chain]
