"""The tables of figures 6, 9 and 12 beside the live ones, row by row. A row that is there and not
in the figure is a difference too."""

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B

from verdict import Table, Verdict

COLUMNS = ["LAN address", "WAN address", "LAN port", "WAN port"]

FIGURE_6 = [(REQUESTER, ROUTER_A, 1500, 7000), (REQUESTER, ROUTER_A, 1600, 5000)]
FIGURE_12 = [(DEVICE, ROUTER_B, 2000, 3400)]
FIGURE_9 = [(2133, ROUTER_B, 3400)]


def translation(flow, wan):
    """A tracked flow as a row of a router's address translation table."""
    if flow.dst == wan:  # opened from outside: the inner end answers
        return flow.reply_src, flow.dst, flow.reply_sport, flow.dport
    return flow.src, flow.reply_dst, flow.sport, flow.reply_dport


def compare(columns, expected, seen):
    """Rows of the figure in its order, then whatever else there is."""
    seen = list(dict.fromkeys(seen))
    rows = [Verdict(dict(zip(columns, row)), dict(zip(columns, row)) if row in seen else {}) for row in expected]
    extra = [row for row in seen if row not in expected]
    for row in rows:
        if not row.seen and extra:
            row.seen = dict(zip(columns, extra.pop(0)))
    return rows + [Verdict({}, dict(zip(columns, row))) for row in extra]


def build(flows_a, flows_b, devices):
    columns_9 = ["equipment ID", "address", "port"]
    rows_6 = [translation(f, ROUTER_A) for f in flows_a if f.proto == "tcp"]
    rows_12 = [translation(f, ROUTER_B) for f in flows_b if f.proto == "udp"]
    rows_9 = [(int(d["id"]), d["address"], d["port"]) for d in devices]
    return [
        Table("6", "Address translation table of router 104a (TCP)", COLUMNS, compare(COLUMNS, FIGURE_6, rows_6)),
        Table("9", "Location table of server 101", columns_9, compare(columns_9, FIGURE_9, rows_9)),
        Table("12", "Address translation table of router 104b (UDP)", COLUMNS, compare(COLUMNS, FIGURE_12, rows_12)),
    ]
