"""Packets as they were on a link: written by tcpdump, decoded by tshark (an encoder and decoder
that are not ours), TLS opened with the key log of a laboratory build."""

import collections
import json
import signal

from .process import run, wait_until

Record = collections.namedtuple("Record", "frame time stream src sport dst dport data")


# tshark takes these ports, and those that a router may pick, for other protocols': it is told that
# they carry TLS, and inside it bytes that are for us to read.
TLS_PORTS = (1201, 1300)


class Capture:
    """Captures on one interface from construction to stop(). The file can be read while it grows.

    `snap` cuts packets to so many bytes: of short ones, many more then find room until they are written."""

    def __init__(self, ns, interface, path, filter="", snap=0):
        self.path = path
        self.interface = interface
        self.label = ns.label
        self._process = ns.start(["tcpdump", "-Z", "root", "-n", "-s", str(snap), "-B", "32768", "-U", "--immediate-mode",
                                  "-i", interface, "-w", path, *filter.split()])
        self._process.wait_line(r"listening on", 30)
        self._stopped = False

    def stop(self):
        """What was on the link before is in the file then: told to end, tcpdump leaves what it has not read yet."""
        if not self._stopped:
            self._stopped = True
            if self._process.running():
                wait_until(self._waits, 20, f"tcpdump on {self.label} {self.interface} has read what there is")
            self._process.stop(signal.SIGINT)
        return self

    def _waits(self):
        """Whether it sleeps: then nothing is left for it to read."""
        return self._process.state() in ("S", "Z", None)

    def lost(self):
        """How many packets a stopped capture has missed."""
        return int(self._process.wait_line("dropped by kernel").split()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _tshark(self, args, keylog=None):
        options = [word for port in TLS_PORTS for word in ("-d", f"tcp.port=={port},tls", "-d", f"tls.port=={port},data")]
        if keylog:
            options += ["-o", f"tls.keylog_file:{keylog}"]
        # A capture that still grows may end in half a packet: status 2 then, with all whole ones shown.
        done = run(["tshark", "-n", "-r", self.path, *options, *args], check=False, timeout=120)
        assert done.status in (0, 2), done.err
        return done.out

    def fields(self, names, filter="", keylog=None):
        """One dict a packet. A field that occurs more than once has its values joined by commas;
        one that does not is empty."""
        args = ["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]
        for name in names:
            args += ["-e", name]
        if filter:
            args += ["-Y", filter]
        rows = self._tshark(args, keylog).splitlines()
        return [dict(zip(names, row.split("\t"))) for row in rows]

    def packets(self, filter="", keylog=None):
        """tshark's whole dissection, one nested dict a packet."""
        out = self._tshark(["-T", "json", *(["-Y", filter] if filter else [])], keylog)
        return [packet["_source"]["layers"] for packet in json.loads(out or "[]")]

    def wait_for(self, filter, count=1, timeout=20.0, keylog=None):
        """Waits until that many packets match."""
        names = ["frame.number"]
        return wait_until(lambda: len(self.fields(names, filter, keylog)) >= count, timeout,
                          f"{count} packets like {filter} on {self.label} {self.interface}")

    def tls_records(self, filter, keylog):
        """What TLS connections carried, opened, one Record for each piece in the order captured."""
        names = ["frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport",
                 "data.data"]
        return [Record(int(r["frame.number"]), float(r["frame.time_epoch"]), int(r["tcp.stream"]), r["ip.src"],
                       int(r["tcp.srcport"]), r["ip.dst"], int(r["tcp.dstport"]), bytes.fromhex(data))
                for r in self.fields(names, f"({filter}) and tls and data.data", keylog)
                for data in r["data.data"].split(",")]

    def raw(self):
        """The capture file's bytes, to search for what must not be in them."""
        return self.path.read_bytes()
