"""Capture files read byte by byte, for what must be fast or must not depend on a dissector."""

import collections
import struct

Datagram = collections.namedtuple("Datagram", "src sport dst dport data")  # addresses as four bytes


def packets(path):
    """The IPv4 packets of a capture of Ethernet frames."""
    return (ip for _, ip in timed_packets(path))


def timed_packets(path):
    """The same, each with the second it was captured at."""
    data = path.read_bytes()
    assert data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), "not a capture file of this machine"
    at = 24
    while len(data) - at >= 16:
        seconds, micros, length = struct.unpack_from("<III", data, at)
        frame = data[at + 16:at + 16 + length]
        at += 16 + length
        if frame[12:14] == b"\x08\x00":
            yield seconds + micros / 1e6, frame[14:]


def datagrams(path):
    """Its UDP datagrams, in order.."""
    for ip in packets(path):
        if ip[9] == 17 and not struct.unpack_from("!H", ip, 6)[0] & 0x1FFF:
            udp = ip[(ip[0] & 15) * 4:struct.unpack_from("!H", ip, 2)[0]]
            yield Datagram(ip[12:16], *struct.unpack_from("!H", udp), ip[16:20], *struct.unpack_from("!H", udp, 2), udp[8:])


def streams(path):
    """What each TCP connection carried, each way, in order."""
    pieces = collections.defaultdict(dict)
    for ip in packets(path):
        if ip[9] != 6:
            continue
        tcp = ip[(ip[0] & 15) * 4:struct.unpack_from("!H", ip, 2)[0]]
        payload = tcp[(tcp[12] >> 4) * 4:]
        one = pieces[ip[12:20] + tcp[:4]]
        sequence = struct.unpack_from("!I", tcp, 4)[0]
        if payload and len(payload) > len(one.get(sequence, b"")):
            one[sequence] = payload
    return [b"".join(data for _, data in sorted(found.items())) for found in pieces.values()]
