"""What a waiting device costs a day, computed from a capture on its LAN: IPv4 packets, headers counted.

Registration goes in cycles: some quiet keepalives, then an answered one (or two). A whole number of cycles, from the first
packet of one to the first of another, gives bytes a second; the packets that measure the NAT's patience
are counted once for each day."""

import collections
import struct

from . import stun
from .pcap import timed_packets

DAY_S = 86400
UDP_HEADERS = 28

Packet = collections.namedtuple("Packet", "time up size method kind")
Cost = collections.namedtuple("Cost", "bytes_a_day interval_s cycles measuring_bytes")


def udp_packets(path, device):
    """Those from and to the device's UDP sockets, read as STUN."""
    found = []
    for time, ip in timed_packets(path):
        if ip[9] != 17:
            continue
        up = ".".join(map(str, ip[12:16])) == device
        size = struct.unpack_from("!H", ip, 2)[0]
        message = stun.Message(ip[28:size])
        found.append(Packet(time, up, size, message.method, message.kind))
    return found


def cost(packets, since=0.0):
    """A device's day, from what was captured; the cycles counted are those that began at `since` or later."""
    registration = [p for p in packets if p.method == "REGISTER"]
    measuring = sum(p.size for p in packets if p.method in ("PROBE", "BINDING"))
    sent = [p for p in registration if p.up]
    # A cycle begins with the first answered request after a quiet keepalive.
    starts = [b.time for a, b in zip(sent, sent[1:]) if a.kind == "indication" and b.kind == "request" and b.time >= since]
    if len(starts) < 2:
        raise ValueError(f"{len(starts)} begins of cycles among {len(sent)} keepalives: capture for longer")
    first, last = starts[0], starts[-1]
    window = [p for p in registration if first <= p.time < last]
    gaps = [b.time - a.time for a, b in zip(sent, sent[1:]) if first <= a.time < last and b.time - a.time > 3.5]
    interval = sum(gaps) / len(gaps) if gaps else (last - first) / sum(p.up for p in window)
    rate = sum(p.size for p in window) / (last - first)
    return Cost(round(rate * DAY_S + measuring), round(interval, 1), len(starts) - 1, measuring)


def tcp_cost(path, since=0.0):
    """The same for a registration over TLS: everything on the wire, by the time it was watched."""
    seen = [(time, struct.unpack_from("!H", ip, 2)[0]) for time, ip in timed_packets(path) if ip[9] == 6 and time >= since]
    # From one burst to a later one, the last not counted, so that whole intervals are.
    bursts = [a for a, b in zip(seen[1:], seen) if a[0] - b[0] > 3.5]
    if len(bursts) < 2:
        raise ValueError(f"{len(bursts)} bursts: capture for longer")
    first, last = bursts[0][0], bursts[-1][0]
    total = sum(size for time, size in seen if first <= time < last)
    return Cost(round(total / (last - first) * DAY_S), round((last - first) / (len(bursts) - 1), 1), len(bursts) - 1, 0)


def at_interval(found, measured_s, interval_s):
    """What cycles seen at one interval cost at another: registration alone scales."""
    return round((found.bytes_a_day - found.measuring_bytes) * measured_s / interval_s)
