"""Is it of use as a reflector? Datagrams to a server from addresses that nothing vouches for, and every byte that
comes back for each. The sender is the whole of 100.64.0.0/10: no limit by address ever helps the server."""

import collections
import contextlib
import ipaddress
import itertools
import os
import struct

from . import stun
from .hostile_watch import closed_again, sanitized, settled, status_kb

SENDERS = ipaddress.ip_network("100.64.0.0/10")
BATCH = 64

Row = collections.namedtuple("Row", "label messages bytes_in bytes_out largest")
Row.__doc__ = "What was asked under a label, and answered; `largest` is the (bytes in, bytes out) with the worst ratio."


class Reflection:
    """Asks from a namespace whose own addresses those become."""

    def __init__(self, ns, target):
        self.ns, self.target = ns, target
        self._hosts = (str(SENDERS[1 + n]) for n in itertools.count())
        if str(SENDERS) not in ns.ip("addr", "show", "dev", "lo"):
            ns.address("lo", str(SENDERS))
        self._probes = itertools.count()
        self.rows = []

    def _ask(self, payloads):
        """[(payload, bytes answered)]. Each of the server's workers reads its datagrams in order: once all have answered
        a question sent after them (the last byte of its transaction ID is whose it is), all answers to them are there."""
        probes = {b"probing" + struct.pack("!IB", next(self._probes), worker) for worker in range(os.cpu_count())}
        answered = collections.Counter()
        by_txid = collections.defaultdict(list)  # the largest last: of several under one ID it is taken for the asked one
        for n in sorted(range(len(payloads)), key=lambda n: len(payloads[n])):
            by_txid[payloads[n][8:20]].append(n)
        with self.ns.udp(next(self._hosts), timeout=10) as s:
            for p in payloads:
                s.sendto(p, self.target)
            for txid in sorted(probes):
                s.sendto(stun.build("BINDING", "request", b"", txid, fingerprint=False), self.target)
            while probes:
                data, source = s.recvfrom(1 << 16)
                assert source == self.target
                if data[8:20] in probes:
                    probes.remove(data[8:20])
                    continue
                waiting = by_txid.get(data[8:20])
                assert waiting, f"an answer to nothing that was asked: {data.hex()}"
                answered[waiting.pop() if len(waiting) > 1 else waiting[0]] += len(data)
        return [(p, answered[n]) for n, p in enumerate(payloads)]

    def measure(self, label, payloads, batch=BATCH):
        """Asks all of them, notes the sum, and gives [(payload, bytes answered)]."""
        payloads, found = iter(payloads), []
        while part := list(itertools.islice(payloads, batch)):
            found += self._ask(part)
        worst = max(found, key=lambda f: (f[1] - len(f[0]), f[1]))
        self.rows.append(Row(label, len(found), sum(len(p) for p, _ in found), sum(n for _, n in found),
                             (len(worst[0]), worst[1])))
        return found

    def table(self):
        lines = [f"{'datagrams from unproven addresses':52} {'number':>7} {'bytes in':>9} {'bytes out':>9} {'ratio':>6}  worst one"]
        for r in self.rows:
            lines.append(f"{r.label:52} {r.messages:7} {r.bytes_in:9} {r.bytes_out:9} "
                         f"{r.bytes_out / max(1, r.bytes_in):6.2f}  {r.largest[0]} -> {r.largest[1]}")
        return "\n".join(lines)


def _rows(server):
    return {(d["id"], d["address"], d["port"]) for d in server.devices() if d["address"]}


@contextlib.contextmanager
def server_keeps_nothing(server, growth_kb=4096):
    """No row, no descriptor, no memory; and it lives."""
    pid = server.process.pid
    before, idle, memory_kb = _rows(server), settled(pid), status_kb(pid, "VmRSS")
    if sanitized(pid):
        growth_kb = 400 << 10
    yield
    assert server.process.running() and os.path.exists(f"/proc/{pid}")
    assert _rows(server) <= before  # rows that nobody refreshes may have gone by now
    closed_again([pid], [idle])
    assert status_kb(pid, "VmRSS") - memory_kb <= growth_kb


@contextlib.contextmanager
def ipv6_loopback(ns):
    """::1 in a namespace, for as long."""
    ns.sysctl("net.ipv6.conf.lo.disable_ipv6", 0)
    try:
        yield
    finally:
        ns.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
