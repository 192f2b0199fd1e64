"""What the captures and tables say, read out and named; no judgement here.

A packet is looked for on each side of its router by what it is (method, handshake type), never by
the addresses it is expected to have: those are what is to be shown."""

import collections

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from lab import stun

Packet = collections.namedtuple("Packet", "time src sport dst dport detail")
# detail: what belongs to the kind of packet, a dict.

CLIENT_HELLO, SERVER_HELLO, CERTIFICATE = 1, 2, 11


class Side:
    """One capture point, with the secrets that open what passed it."""

    def __init__(self, capture, keylog):
        self.capture = capture
        self.keylog = keylog

    def datagram(self, method, kind="request"):
        """The first STUN datagram of a method, or None."""
        names = ["frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload",
                 "stun.att.crc32.status"]
        for row in self.capture.fields(names, "udp and stun"):
            message = stun.Message(bytes.fromhex(row["udp.payload"]))
            if (message.method, message.kind) == (method, kind):
                return Packet(float(row["frame.time_epoch"]), row["ip.src"], int(row["udp.srcport"]), row["ip.dst"],
                              int(row["udp.dstport"]),
                              {"message": message, "fingerprint": row["stun.att.crc32.status"] == "1"})
        return None

    def start(self, port):
        """The first SYN towards a port, or None."""
        names = ["frame.time_epoch", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.stream"]
        for row in self.capture.fields(names, f"tcp.flags.syn == 1 and tcp.flags.ack == 0 and tcp.dstport == {port}"):
            return Packet(float(row["frame.time_epoch"]), row["ip.src"], int(row["tcp.srcport"]), row["ip.dst"],
                          int(row["tcp.dstport"]), {"stream": int(row["tcp.stream"])})
        return None

    def handshake(self, stream, kind, from_port=None):
        """The first handshake message of a kind on a connection, with its key share, random and
        certificate, or None."""
        names = ["frame.time_epoch", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tls.handshake.type",
                 "tls.handshake.random", "tls.handshake.extensions_key_share_group", "tls.handshake.certificate",
                 "tls.handshake.extensions_key_share_key_exchange"]
        for row in self.capture.fields(names, f"tcp.stream == {stream} and tls.handshake.type", self.keylog):
            types = [int(t) for t in row["tls.handshake.type"].split(",")]
            if kind not in types or from_port not in (None, int(row["tcp.srcport"])):
                continue
            groups = [int(g, 0) for g in row["tls.handshake.extensions_key_share_group"].split(",") if g]
            pieces = row["tls.handshake.extensions_key_share_key_exchange"].split(",")
            return Packet(float(row["frame.time_epoch"]), row["ip.src"], int(row["tcp.srcport"]), row["ip.dst"],
                          int(row["tcp.dstport"]),
                          {"random": row["tls.handshake.random"].split(",")[0].replace(":", ""),
                           "shares": dict(zip(groups, pieces)),
                           "certificate": bytes.fromhex(row["tls.handshake.certificate"].split(",")[0].replace(":", ""))})
        return None

    def inside(self, stream, method, kind="request"):
        """The first STUN message of a method that a TLS connection carried, opened, or None."""
        read = collections.defaultdict(bytes)
        for record in self.capture.tls_records(f"tcp.stream == {stream}", self.keylog):
            read[record.src] += record.data
            found, read[record.src] = stun.messages(read[record.src])
            for message in found:
                if (message.method, message.kind) == (method, kind):
                    return Packet(record.time, record.src, record.sport, record.dst, record.dport, {"message": message})
        return None


def secrets(path):
    """A key log's client traffic secrets by client random."""
    found = {}
    if path.exists():
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == "CLIENT_TRAFFIC_SECRET_0":
                found[words[1].lower()] = words[2].lower()
    return found


def issued_by(ca, der):
    """Whether the CA's key signed this certificate; `ca` is PEM or DER."""
    ca = x509.load_pem_x509_certificate(ca) if ca.lstrip().startswith(b"-----") else x509.load_der_x509_certificate(ca)
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.public_bytes(Encoding.DER) == der
    try:
        ca.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes)
    except InvalidSignature:
        return False
    return True
