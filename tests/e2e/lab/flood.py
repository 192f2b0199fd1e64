"""Floods: datagrams from whatever source is wished for, and what hostile ones may look like.

Everything generated comes from a seed, in an order that does not depend on the time it takes."""

import socket
import struct
import time

from . import stun

MTU_PAYLOAD_BYTES = 1472


class RawSender:
    """Sends UDP datagrams under any source address and port from a namespace."""

    def __init__(self, ns):
        with ns.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def send(self, source, destination, payload):
        """Ends are (address, port). Longer than a packet is cut: see a plain socket for fragments."""
        payload = payload[:MTU_PAYLOAD_BYTES]
        udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0,
                         socket.inet_aton(source[0]), socket.inet_aton(destination[0]))
        self._socket.sendto(ip + udp + payload, (destination[0], 0))

    def close(self):
        self._socket.close()


class Queue:
    """A process's UDP sockets of one port as the kernel shows them: floods wait for them, so that nothing generated is
    lost."""

    def __init__(self, pid, port):
        self.pid = pid
        self.ending = f":{port:04X}"

    def _sum(self):
        """Bytes that wait, and datagrams dropped."""
        rows = []
        for family in ("udp6", "udp"):
            with open(f"/proc/{self.pid}/net/{family}", encoding="ascii") as f:
                rows += [words for words in map(str.split, f) if words[1].endswith(self.ending)]
        assert rows, f"no UDP socket on port {int(self.ending[1:], 16)}"
        return sum(int(words[4].split(":")[1], 16) for words in rows), sum(int(words[12]) for words in rows)

    def dropped(self):
        return self._sum()[1]

    def drain(self, timeout=30.0):
        """Until it has been read empty."""
        deadline = time.monotonic() + timeout
        while self._sum()[0] > 0:
            assert time.monotonic() < deadline, f"process {self.pid} no longer reads its datagrams"
            time.sleep(0.0005)


def flip(rng, message, most=8):
    """Some bits changed."""
    data = bytearray(message)
    for _ in range(rng.randint(1, most)):
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def looks_right(rng, method=None):
    """A message whose header, chain of attributes and FINGERPRINT are right, and nothing else."""
    known = list(stun.ATTRIBUTES)
    body = b"".join(stun.put(rng.choice(known) if rng.random() < 0.8 else rng.randrange(0x10000),
                             rng.randbytes(rng.choice((0, 1, 2, 4, 8, 12, 16, 20, 32, 64, 200))))
                    for _ in range(rng.randrange(6)))
    key = rng.randbytes(32) if rng.random() < 0.5 else None
    return stun.build(rng.choice(list(stun.METHODS)) if method is None else method, rng.choice(stun.CLASSES), body,
                      rng.randbytes(12), key, rng.choice((4, 16, 16, 20, 32)), rng.random() < 0.8)


def spoil(rng, seeds):
    """One hostile message made of `seeds`, messages that were right once."""
    how, seed = rng.randrange(10), rng.choice(seeds)
    if how == 0:
        return rng.randbytes(rng.randrange(MTU_PAYLOAD_BYTES))
    if how == 1:  # a header, then anything; its length right or wrong
        body = rng.randbytes(4 * rng.randrange(100))
        return struct.pack("!HHI", rng.randrange(0x4000), rng.choice((len(body), rng.randrange(0x10000))), stun.COOKIE) \
            + rng.randbytes(12) + body
    if how == 2:
        return seed[:rng.randrange(len(seed) + 1)]
    if how == 3:
        return seed + rng.randbytes(rng.randint(1, MTU_PAYLOAD_BYTES - len(seed))) if len(seed) < 1000 else seed + b"\0"
    if how in (4, 5):
        return flip(rng, seed)
    if how == 6:  # attributes of two, its own checksum
        other = rng.choice(seeds)
        kind, = struct.unpack_from("!H", seed)
        body = seed[20:] + other[20:]
        return struct.pack("!HHI", kind, len(body), stun.COOKIE) + seed[8:20] + body
    if how == 7:
        return looks_right(rng)
    if how == 8:  # a changed field under a right FINGERPRINT: only the integrity is wrong
        message = stun.Message(seed)
        keep = [a for a in message.attributes if a.name != "FINGERPRINT"]
        i = rng.randrange(len(keep)) if keep else 0
        body = b"".join(stun.put(stun.NUMBERS.get(a.name) or int(a.name, 16), flip(rng, a.value) if a.value and i == n
                                 else a.value) for n, a in enumerate(keep))
        return stun.build(message.method_number, message.kind, body, message.txid)
    return seed  # a replay
