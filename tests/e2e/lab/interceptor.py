"""Somebody on the path: every packet between two parties goes through his hands, in the middle of the wide area
network. He may drop, delay, repeat, keep, change and invent, with checksums that are right, and leave again.

The kernel's forwarding of what he takes is switched off by a rule; a thread reads those packets and sends on
what `handle` says. When he has left, the kernel forwards them as before."""

import collections
import heapq
import itertools
import os
import select
import socket
import struct
import threading
import time
import traceback

ETH_P_IP = 0x0800
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33  # as <asm/socket.h> has it
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
MTU_BYTES = 1500
SERIAL = 1 << 32


def _sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Packet:
    """A TCP segment or a UDP datagram; what is not changed stays."""

    def __init__(self, proto, source, destination, payload=b"", seq=0, ack=0, flags=0, window=65535, options=b""):
        self.proto, self.src, self.sport, self.dst, self.dport = proto, *source, *destination
        self.payload, self.seq, self.ack, self.flags, self.window, self.options = payload, seq, ack, flags, window, options

    @classmethod
    def parse(cls, ip):
        """None for what is neither, or a fragment."""
        if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] not in (TCP, UDP) or struct.unpack_from("!H", ip, 6)[0] & 0x3FFF:
            return None
        head, total = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0]
        rest = ip[head:total or len(ip)]
        src, dst = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        sport, dport = struct.unpack_from("!HH", rest)
        if ip[9] == UDP:
            return cls(UDP, (src, sport), (dst, dport), bytes(rest[8:]))
        seq, ack, length, flags, window = struct.unpack_from("!IIBBH", rest, 4)
        length = (length >> 4) * 4
        return cls(TCP, (src, sport), (dst, dport), bytes(rest[length:]), seq, ack, flags, window, bytes(rest[20:length]))

    @property
    def source(self):
        return self.src, self.sport

    @property
    def destination(self):
        return self.dst, self.dport

    @property
    def flow(self):
        return self.source + self.destination

    def but(self, **changes):
        """A copy with other fields."""
        copy = Packet.__new__(Packet)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        return copy

    def flipped(self, at=-1, bit=0):
        """One bit of the payload changed."""
        data = bytearray(self.payload)
        data[at] ^= 1 << bit
        return self.but(payload=bytes(data))

    def wire(self):
        """As IP packets, cut to what a link takes, every checksum right."""
        room = MTU_BYTES - 40 - len(self.options)
        if self.proto == UDP or len(self.payload) <= room:
            return [self._wire()]
        pieces = range(0, len(self.payload), room)
        return [self.but(payload=self.payload[at:at + room], seq=(self.seq + at) % SERIAL,
                         flags=self.flags if at == pieces[-1] else self.flags & ~(FIN | PSH))._wire() for at in pieces]

    def _wire(self):
        if self.proto == UDP:
            rest = struct.pack("!HHHH", self.sport, self.dport, 8 + len(self.payload), 0) + self.payload
            place = 6
        else:
            rest = struct.pack("!HHIIBBHHH", self.sport, self.dport, self.seq, self.ack,
                               (20 + len(self.options)) // 4 << 4, self.flags, self.window, 0, 0) + self.options + self.payload
            place = 16
        ends = socket.inet_aton(self.src) + socket.inet_aton(self.dst)
        check = _sum(ends + struct.pack("!HH", self.proto, len(rest)) + rest) or 0xFFFF
        rest = rest[:place] + struct.pack("!H", check) + rest[place + 2:]
        # The kernel fills in the header's own checksum and identification.
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, self.proto, 0) + ends + rest


class Injector:
    """Packets of any kind, from any source, into a namespace's network."""

    def __init__(self, ns):
        with ns.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)

    def send(self, packet):
        for piece in packet.wire():
            self._socket.sendto(piece, (packet.dst, 0))

    def raw(self, proto, src, dst, rest):
        """Any IP payload: ICMP, say."""
        self._socket.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, proto, 0) +
                            socket.inet_aton(src) + socket.inet_aton(dst) + rest, (dst, 0))

    def unreachable(self, src, packet, code=3):
        """ICMP in the name of `src`: that packet did not arrive (code 3: port unreachable)."""
        about = packet.wire()[0][:28]
        rest = struct.pack("!BBHI", 3, code, 0, 0) + about
        self.raw(socket.IPPROTO_ICMP, src, packet.src, rest[:2] + struct.pack("!H", _sum(rest)) + rest[4:])

    def close(self):
        self._socket.close()


def pass_on(packet):
    return [packet]


def drop(_packet):
    return []


class Interceptor:
    """Takes what goes between any two of `addresses` by one protocol, to or from `port` if given. As long as the
    with block lasts; `handle(packet)` gives packets to send, or (seconds, packet) for later ones. He is an
    address of his own if one of `addresses` is the namespace's."""

    _serial = itertools.count(1)

    def __init__(self, ns, proto, addresses, port=None, handle=pass_on):
        self.ns, self.proto, self.addresses, self.port, self.handle = ns, proto, set(addresses), port, handle
        self.seen = []
        self.error = None
        self._table = f"intercept{next(self._serial)}"

    def takes(self, p):
        return p.proto == self.proto and p.src in self.addresses and p.dst in self.addresses \
            and (self.port is None or self.port in (p.sport, p.dport))

    def _rule(self):
        every = ", ".join(sorted(self.addresses))
        name = "tcp" if self.proto == TCP else "udp"
        ports = [f"{name} {side} {self.port}" for side in ("sport", "dport")] if self.port else [f"meta l4proto {name}"]
        drops = "".join(f"ip saddr {{ {every} }} ip daddr {{ {every} }} {port} counter drop\n" for port in ports)
        chains = "".join(f"chain {hook} {{\ntype filter hook {hook} priority 10; policy accept;\n{drops}}}\n"
                         for hook in ("forward", "input"))
        return f"table inet {self._table} {{\n{chains}}}\n"

    def __enter__(self):
        # First the rule: what is seen from then on was dropped, and nothing goes twice.
        self.ns.nft(self._rule())
        with self.ns.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
        self._socket.setblocking(False)
        self._injector = Injector(self.ns)
        self._wake, self._woken = os.pipe()
        self._later = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.leave()
        if self.error:
            raise AssertionError(self.error)

    def leave(self):
        """Off the path; what he still held is his, see `held`."""
        if self._thread is None:
            return
        os.write(self._woken, b"x")
        self._thread.join(10)
        self._thread = None
        self._socket.close()
        self._injector.close()
        os.close(self._wake)
        os.close(self._woken)
        self.ns.nft(f"delete table inet {self._table}")

    @property
    def held(self):
        return [packet for _, _, packet in sorted(self._later)]

    def _run(self):
        try:
            while True:
                wait = max(0, self._later[0][0] - time.monotonic()) if self._later else 5
                ready, _, _ = select.select([self._socket, self._wake], [], [], wait)
                if self._wake in ready:
                    return
                if self._socket in ready:
                    self._take()
                while self._later and self._later[0][0] <= time.monotonic():
                    self._injector.send(heapq.heappop(self._later)[2])
        except Exception:  # told by the end of the with block
            self.error = traceback.format_exc()

    def _take(self):
        for _ in range(256):
            try:
                data, (_, _, kind, *_) = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                return
            packet = Packet.parse(data) if kind != PACKET_OUTGOING else None
            if packet is None or not self.takes(packet):
                continue
            self.seen.append(packet)
            for item in self.handle(packet):
                delay, out = item if isinstance(item, tuple) else (0, item)
                if delay:
                    heapq.heappush(self._later, (time.monotonic() + delay, next(self._serial), out))
                else:
                    self._injector.send(out)

    def datagrams(self, destination=None):
        """The payloads that he saw, of all or of those to (address, port)."""
        return [p.payload for p in self.seen if p.payload and (destination is None or p.destination == destination)]

    def learned(self):
        """All that he read, streams put in order: a list of bytes."""
        if self.proto == UDP:
            return self.datagrams()
        flows = collections.defaultdict(dict)
        for p in self.seen:
            if p.payload:
                kept = flows[p.flow]
                if len(p.payload) > len(kept.get(p.seq, b"")):
                    kept[p.seq] = p.payload
        return [b"".join(data for _, data in sorted(kept.items())) for kept in flows.values()]


class Stream:
    """One attack on TCP streams that begin while he is there: what `act(stream, packet)` makes of the first segment
    with data that `choose(packet, its number in its direction)` chooses. Bytes may be put in: whatever follows is
    renumbered for both ends."""

    def __init__(self, choose, act):
        self.choose, self.act = choose, act
        self.done = False
        self._inserts = {}  # flow: (sequence number, bytes put in before it)
        self._begun = set()
        self._data = collections.Counter()
        self._next, self._last = {}, {}

    def __call__(self, p):
        if p.flags & SYN:
            self._begun |= {p.flow, p.destination + p.source}
            return [p]
        # What is left over of earlier connections is not meant.
        new = p.flow in self._begun and p.payload and (p.seq - self._next.get(p.flow, p.seq)) % SERIAL < SERIAL // 2
        if new:
            self._next[p.flow] = (p.seq + len(p.payload)) % SERIAL
            self._data[p.flow] += 1
            if not self.done and self.choose(p, self._data[p.flow]):
                self.done = True
                return self.act(self, p)
            self._last[p.flow] = p
        return self.carry(p)

    def insert_before(self, p, data):
        """`data`, and p behind it."""
        self._inserts[p.flow] = p.seq, len(data)
        return [p.but(payload=data), *self.carry(p)]

    def before(self, p):
        """The segment that came before p, or p itself if it is the first."""
        return self._last.get(p.flow, p)

    def carry(self, p):
        end, n = self._inserts.get(p.flow, (0, 0))
        if n and (p.seq - end) % SERIAL < SERIAL // 2:
            p = p.but(seq=(p.seq + n) % SERIAL)
        end, n = self._inserts.get(p.destination + p.source, (0, 0))
        if n and p.flags & ACK and (p.ack - end) % SERIAL < SERIAL // 2:
            ahead = (p.ack - end) % SERIAL
            p = p.but(ack=(p.ack - min(ahead, n)) % SERIAL)
        return [p]


def _reset(s, p):
    back = Packet(p.proto, p.destination, p.source, seq=p.ack, ack=p.seq, flags=RST | ACK)
    return [p.but(payload=b"", flags=RST | ACK), back]


class Silence(Stream):
    """Nothing goes through after the chosen segment, nor that."""

    def __call__(self, p):
        return [] if self.done else super().__call__(p)


ACTS = {
    "drop": None,
    "reset": _reset,
    "cut": lambda s, p: [p.but(payload=b"", flags=FIN | ACK)],
    "modify": lambda s, p: [p.flipped(len(p.payload) // 2)],
    "inject": lambda s, p: s.insert_before(p, b"\x17\x03\x03\x00\x20" + bytes(32)),
    "replay": lambda s, p: s.insert_before(p, s.before(p).payload),
}


def attack(act, port, to_port, number):
    """One of ACTS, done to the data segment of that number towards (or from) the port."""
    def choose(p, n):
        return (p.dport == port) == to_port and n == number
    return Silence(choose, lambda s, p: []) if act == "drop" else Stream(choose, ACTS[act])
