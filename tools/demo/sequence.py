"""The packets of the reference's sequences beside those captured (figures 2 to 4, 7 and 8).

What TLS 1.3 does differently from the figures, and how it is shown: the pieces of common key
generation information (215, 216; 224, 225) are the key shares, which travel inside the
ClientHello and the ServerHello (212, 213; 222, 223); the server's certificate (214) comes after
them, encrypted. In each sequence these four stand where the figures have them."""

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, stun

from evidence import CERTIFICATE, CLIENT_HELLO, SERVER_HELLO, issued_by, secrets
from verdict import Check, Step

# Where the packet's outer end stands, LAN and WAN side: (address, port) of the figures.
ENDS = {
    "udp": {"lan": (DEVICE, 2000), "wan": (ROUTER_B, 3400), "server": 1200},
    "217": {"lan": (REQUESTER, 1500), "wan": (ROUTER_A, 7000), "server": 1201},
    "226": {"lan": (DEVICE, 2600), "wan": (ROUTER_B, 2401), "server": 1300},
}
CALLBACK = (ROUTER_A, 5000)
EQUIPMENT_ID = 2133
MAPPED = 2  # the kind of candidate that a router's mapping makes


def _addresses(ends, side, upward):
    outer, server = ENDS[ends][side], (SERVER, ENDS[ends]["server"])
    source, destination = (outer, server) if upward else (server, outer)
    return {"SA": source[0], "DA": destination[0], "SP": source[1], "DP": destination[1]}


def _seen_addresses(packet):
    return {"SA": packet.src, "DA": packet.dst, "SP": packet.sport, "DP": packet.dport}


class Builder:
    """Collects the steps of one run. `sides` maps (router, side) to evidence.Side."""

    def __init__(self, sides, box_key, ca, password):
        self.sides = sides
        self.box_key = box_key
        self.ca = ca
        self.password = password
        self.steps = []
        self.boxes = {}

    def add(self, ref, name, router, side, ends, upward, packet, message, expected=None, seen=None, within=None):
        """One step; `seen` is called with the packet, when there is one."""
        found = {}
        if packet:
            found = _seen_addresses(packet)
            found.update(seen(packet) if seen else {})
        self.steps.append(Step({**_addresses(ends, side, upward), **(expected or {})}, found, ref, name, side, router,
                               upward, packet.time if packet else None, within, message))

    def registration(self):
        for side in ("lan", "wan"):
            self.add("201", "equipment registration", "b", side, "udp", True,
                     self.sides["b", side].datagram("REGISTER"), "REGISTER",
                     {"equipment ID": EQUIPMENT_ID, "FINGERPRINT": "valid"},
                     lambda p: {"equipment ID": p.detail["message"].equipment_id, "FINGERPRINT": _valid(p)})

    def notification(self):
        expected = {"CALL-WAITING": "there", "FINGERPRINT": "valid",
                    "carries": "CALL-WAITING, TAG, MESSAGE-INTEGRITY-SHA256, FINGERPRINT"}

        def seen(p):
            message = p.detail["message"]
            return {"CALL-WAITING": "missing" if message.get("CALL-WAITING") is None else "there",
                    "FINGERPRINT": _valid(p), "carries": ", ".join(a.name for a in message.attributes)}

        for side in ("lan", "wan"):
            self.add("205", "connection request notification", "b", side, "udp", False,
                     self.sides["b", side].datagram("NOTIFY"), "NOTIFY, first form", expected, seen)

    def tls_start(self, router, ends, refs, name_own):
        """A handshake's six packets: refs are those of TCP start, request, response, certificate, the two pieces."""
        port = ENDS[ends]["server"]
        rows = [[] for _ in refs]
        for side in ("lan", "wan"):
            view = self.sides[router, side]
            syn = view.start(port)
            stream = syn.detail["stream"] if syn else -1
            hello = view.handshake(stream, CLIENT_HELLO)
            answer = view.handshake(stream, SERVER_HELLO)
            certificate = view.handshake(stream, CERTIFICATE, from_port=port)
            group = next(iter(answer.detail["shares"])) if answer and answer.detail["shares"] else None
            one = {"key share": f"one of group {_group(group)}"}

            def share(p, group=group):
                there = group is not None and p.detail["shares"].get(group)
                return {"key share": f"one of group {_group(group)}" if there else "none"}

            table = [
                ("TCP connection start", True, syn, "SYN", None, None, None),
                ("encryption communication start request", True, hello, "ClientHello", None, None, None),
                ("encryption communication start response", False, answer, "ServerHello", None, None, None),
                ("server certificate data", False, certificate, "Certificate", {"signed with the CA key 52": "yes"},
                 lambda p: {"signed with the CA key 52": "yes" if issued_by(self.ca, p.detail["certificate"]) else "no"},
                 None),
                (f"common key generation information of the {name_own}", True, hello,
                 f"key share inside the ClientHello ({refs[1]})", one, share, refs[1]),
                ("common key generation information of the server", False, answer,
                 f"key share inside the ServerHello ({refs[2]})", one, share, refs[2]),
            ]
            for index, (name, upward, packet, message, expected, seen, within) in enumerate(table):
                rows[index].append((refs[index], name, router, side, ends, upward, packet, message, expected, seen, within))
        for row in rows:
            for step in row:
                self.add(*step)

    def request(self, ref, router, ends, upward):
        """217 or 226: the sealed request as it travels inside TLS, its box opened with the device's key."""
        expected = {"equipment ID": EQUIPMENT_ID, "password": self.password, "IP address": CALLBACK[0],
                    "port": CALLBACK[1]}
        for side in ("lan", "wan"):
            view = self.sides[router, side]
            syn = view.start(ENDS[ends]["server"])
            packet = view.inside(syn.detail["stream"], "CONNECT") if syn else None
            self.add(ref, "connection request", router, side, ends, upward, packet,
                     "CONNECTION-REQUEST, box opened with the device's key", expected, self._opened)
            if packet:
                self.boxes[ref, side] = packet.detail["message"].get("BOX")

    def _opened(self, packet):
        message = packet.detail["message"]
        request = stun.open_box(message.get("BOX"), self.box_key)
        mapped = next((c for c in request.candidates if c.kind == MAPPED), None)
        same = message.equipment_id == request.equipment_id and message.get("CALL-ID") == request.call_id
        return {"equipment ID": request.equipment_id if same else "outside and inside differ",
                "password": request.password, "IP address": mapped.address if mapped else None,
                "port": mapped.port if mapped else None}

    def callback(self):
        """After 226: the device dials. The figures give it no number; figure 6's second row is for it."""
        packet = self.sides["b", "wan"].start(CALLBACK[1])
        inner = self.sides["a", "lan"].start(1600)
        expected = {"DA": CALLBACK[0], "DP": CALLBACK[1], "SA": ROUTER_B}
        seen = {"DA": packet.dst, "DP": packet.dport, "SA": packet.src} if packet else {}
        outer_step = Check(expected, seen, "the device dials the address of 226")
        inner_step = Check({"DA": REQUESTER, "DP": 1600}, {"DA": inner.dst, "DP": inner.dport} if inner else {},
                           "router 104a hands it to the requester")
        times = [s.time for s in self.steps if s.ref == "226" and s.time]
        after = Check({"SYN": "after 226"}, {"SYN": "after 226" if packet and times and packet.time > max(times)
                                             else "missing or too early"}, "nothing is dialled before 226")
        return [outer_step, inner_step, after]


def _valid(packet):
    """Judged by tshark and by the decoder of the laboratory."""
    return "valid" if packet.detail["fingerprint"] and packet.detail["message"].fingerprint_valid() else "wrong"


def _group(number):
    return {0x001D: "x25519", 0x0017: "secp256r1", 0x0018: "secp384r1", 0x001E: "x448"}.get(number, str(number))


def build(sides, box_key, ca, password):
    """All steps in the reference's order, and the checks that belong to them."""
    b = Builder(sides, box_key, ca, password)
    b.registration()
    b.tls_start("a", "217", ["211", "212", "213", "214", "215", "216"], "request issuance side")
    b.request("217", "a", "217", True)
    b.notification()
    b.tls_start("b", "226", ["221", "222", "223", "214", "224", "225"], "request acceptance side")
    b.request("226", "b", "226", False)
    checks = [order(b.steps)] + b.callback()
    boxes = {b.boxes.get((ref, side)) for ref in ("217", "226") for side in ("lan", "wan")}
    checks.append(Check({"box": "the same, LAN and WAN, in 217 and 226"},
                        {"box": "the same, LAN and WAN, in 217 and 226" if len(boxes) == 1 and None not in boxes
                         else "different or missing"}, "the server hands on the box as it is"))
    return b.steps, checks


def order(steps):
    """The packets by the time of their capture on the WAN side, those within others left out."""
    wan = [s for s in steps if s.side == "wan" and not s.within]
    expected = [s.ref for s in wan]
    # Python sorts stably: packets captured as one frame keep the reference's order.
    seen = [s.ref for s in sorted((s for s in wan if s.time is not None), key=lambda s: s.time)]
    return Check({"order": " ".join(expected)}, {"order": " ".join(seen)}, "the packets come in the reference's order")


def common_keys(sides, keylogs):
    """73 and 83: both ends of each handshake derived the same secret, by their own key logs."""
    checks = []
    for ref, router, ends, outer in (("73", "a", "217", "requester"), ("83", "b", "226", "device")):
        syn = sides[router, "wan"].start(ENDS[ends]["server"])
        hello = sides[router, "wan"].handshake(syn.detail["stream"], CLIENT_HELLO) if syn else None
        known = [secrets(keylogs[who]).get(hello.detail["random"] if hello else None) for who in (outer, "server")]
        same = known[0] is not None and known[0] == known[1]
        checks.append(Check({"secret": "the same at both ends"},
                            {"secret": "the same at both ends" if same else "different or missing"},
                            f"common key {ref} between {outer} and server"))
    return checks
