"""A server that lies: `hostile-server` (tests/hostile/server.c), which is beckond with somebody in the middle of it, and
that somebody. Everything that clients say passes an Attack on its way to the core, and everything that the core says
passes it on its way out. An Attack that does nothing else hands all of it on: then the server is honest.

All of an Attack runs on one thread, in the order in which things happened. It has the server's state
directory, the CA's key in it, and whatever devices and users the operator has made for himself."""

import collections
import contextlib
import hashlib
import hmac
import json
import os
import socket
import threading

from . import stun
from .beckon import Server
from .process import wait_until


class Link:
    """A connection to the server, as it sees it."""

    def __init__(self, number, role="unknown", name="", device=0, purpose="plain", address=""):
        self.number, self.role, self.name, self.device, self.purpose, self.address = \
            number, role, name, device, purpose, address
        self.open = True


def change(message, **attributes):
    """The message with other values for some attributes; None leaves one out, a new name is put last. Names are
    written with underscores."""
    new = {name.replace("_", "-"): value for name, value in attributes.items()}
    body = b""
    for a in message.attributes:
        value = new.pop(a.name, a.value)
        if value is not None:
            body += stun.put(a.name, value)
    body += b"".join(stun.put(name, value) for name, value in new.items() if value is not None)
    return stun.build(message.method_number, message.kind, body, message.txid, fingerprint=False)


def error(request, code):
    """The answer to a request that says that it failed."""
    return stun.build(request.method_number, "error", stun.put("ERROR-CODE", bytes([0, 0, code // 100, code % 100]) + b"no"),
                      request.txid, fingerprint=False)


def success(request, **attributes):
    body = b"".join(stun.put(name.replace("_", "-"), value) for name, value in attributes.items())
    return stun.build(request.method_number, "success", body, request.txid, fingerprint=False)


def rekeyed(message, key, txid=None, **attributes):
    """A datagram with other values for some attributes (as `change`) or another transaction ID, under a device's key."""
    bare = change(message, MESSAGE_INTEGRITY_SHA256=None, FINGERPRINT=None, **attributes)
    return stun.build(message.method_number, message.kind, bare[20:], txid or message.txid, key)


def hide_user(key, txid, call_id, name):
    """USER-NAME as NOTIFY has it; the other way round too."""
    stream = b"".join(hmac.digest(key, b"beckon notify user 1" + txid + call_id + bytes([block]), hashlib.sha256)
                      for block in (0, 1))
    return bytes(a ^ b for a, b in zip(name, stream))


class Attack:
    """The honest one; others override what they do differently. `up` is what came from a client, `down` what the core
    sends to one, `ends` a connection that the core would close, `closed` one that is closed."""

    server = None  # set when it begins

    def up(self, link, message):
        self.server.to_core(link, message.raw)

    def down(self, link, message):
        self.server.to_peer(link, message.raw)

    def ends(self, link):
        self.server.hang_up(link)

    def opened(self, link):
        pass

    def closed(self, link):
        self.server.tell_closed(link)

    def datagram_up(self, local, peer, raw):
        self.server.datagram_to_core(local, peer, raw)

    def datagram_down(self, local, peer, raw):
        self.server.datagram_to_peer(local, peer, raw)


class HostileServer(Server):
    """A Server of the laboratory; `attack` is what it does now, `seen` is everything that it ever got to read."""

    def __init__(self, lab, label, ns):
        super().__init__(lab, label, ns)
        self.links = {}
        self.seen = []
        self.heard = collections.deque(maxlen=200)  # datagrams: (local, peer, bytes)
        self.registered = {}  # equipment ID: where its newest REGISTER came from, and its tag: (local, peer, tag)
        self.failed = []
        self._said = threading.Lock()
        self._moment = threading.RLock()
        self._attack = Attack()
        self._attack.server = self
        self._tap = None

    @property
    def attack(self):
        return self._attack

    @attack.setter
    def attack(self, attack):
        with self._moment:
            attack.server = self
            self._attack = attack

    def start(self, *extra):
        path = self.lab.workdir / f"{self.label}.tap"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(20)
        self.process = self.ns.start([self.lab.bin / "hostile-server", path, "run", "--state", self.state, *extra],
                                     env=self.env(), log=self.log)
        with listener:
            self._tap, _ = listener.accept()
        self.links.clear()
        threading.Thread(target=self._listen, args=(self._tap,), daemon=True).start()
        self.process.wait_line(r"\bready\b")
        return self.process

    def restart(self):
        self.stop()
        return self.start()

    def stop(self):
        status = super().stop()
        self._tap.close()
        return status

    # -- what he says ----------------------------------------------------------------------------

    def _say(self, *words):
        with self._said:
            self._tap.sendall(" ".join(w.hex() if isinstance(w, bytes) else str(w) for w in words).encode() + b"\n")

    def to_core(self, link, raw):
        self._say("message", link.number, raw)

    def to_peer(self, link, raw):
        self._say("send", link.number, raw)

    def hang_up(self, link):
        self._say("close", link.number)

    def tell_closed(self, link):
        self._say("closed", link.number)

    def datagram_to_core(self, local, peer, raw):
        self._say("datagram", local, peer, raw)

    def datagram_to_peer(self, local, peer, raw):
        self._say("send-datagram", local, peer, raw)

    # -- what he hears ---------------------------------------------------------------------------

    def _listen(self, tap):
        with tap.makefile("r", encoding="ascii") as lines:
            try:
                for line in lines:
                    self._hear(json.loads(line))
            except (OSError, ValueError):
                pass  # it was stopped within a line

    def _hear(self, event):
        with self._moment:
            try:
                self._act(event)
            except OSError:
                pass  # stopped
            except Exception as e:  # an attack that is wrong itself; told by the test
                self.failed.append(f"{type(self._attack).__name__}: {e!r} at {event}")

    def _act(self, event):
        what, attack = event["what"], self._attack
        raw = bytes.fromhex(event.get("bytes", ""))
        if what in ("message", "datagram"):
            self.seen.append(raw)
        if what == "datagram":
            self.heard.append((event["local"], event["peer"], raw))
            self._look_for_register(event["local"], event["peer"], raw)
            attack.datagram_up(event["local"], event["peer"], raw)
        elif what == "send-datagram":
            attack.datagram_down(event["local"], event["peer"], raw)
        elif what == "opened":
            link = Link(event["stream"], event["role"], event["name"], event["device"], event["purpose"], event["from"])
            self.links[link.number] = link
            attack.opened(link)
        else:
            link = self.links.setdefault(event["stream"], Link(event["stream"]))
            if what == "message":
                attack.up(link, stun.Message(raw))
            elif what == "send":
                attack.down(link, stun.Message(raw))
            elif what == "close":
                attack.ends(link)
            else:
                link.open = False
                attack.closed(link)

    def _look_for_register(self, local, peer, raw):
        with contextlib.suppress(stun.Malformed):
            message = stun.Message(raw)
            if message.method == "REGISTER" and message.equipment_id is not None:
                self.registered[message.equipment_id] = local, peer, message.get("TAG")

    # -- what he knows ---------------------------------------------------------------------------

    def read(self):
        """All that it has read so far, as one."""
        with self._moment:
            return b"\0".join(self.seen)


class Recorder(Attack):
    """Honest, and keeps all messages: [(link, "up" or "down", message)]."""

    def __init__(self):
        self.messages = []

    def up(self, link, message):
        self.messages.append((link, "up", message))
        super().up(link, message)

    def down(self, link, message):
        self.messages.append((link, "down", message))
        super().down(link, message)

    def find(self, way, method, kind, role=None):
        return [m for link, w, m in list(self.messages) if w == way and m.method == method and m.kind == kind and
                role in (None, link.role)]

    def wait(self, way, method, kind, role=None, timeout=10.0):
        """The newest such message, once there is one."""
        return wait_until(lambda: self.find(way, method, kind, role), timeout, f"{method} {kind} {way}")[-1]


class Datagrams(Recorder):
    """Honest, and keeps the datagrams of calls too: [("up" or "down", message)]. `carry` is what others override: one of these
    datagrams on its way."""

    def __init__(self):
        super().__init__()
        self.datagrams = []

    def carry(self, way, local, peer, message):
        (self.server.datagram_to_core if way == "up" else self.server.datagram_to_peer)(local, peer, message.raw)

    def datagram_up(self, local, peer, raw):
        if not self._kept("up", local, peer, raw):
            super().datagram_up(local, peer, raw)

    def datagram_down(self, local, peer, raw):
        if not self._kept("down", local, peer, raw):
            super().datagram_down(local, peer, raw)

    def _kept(self, way, local, peer, raw):
        message = stun.Message(raw)
        if message.method not in ("NOTIFY", "RESULT"):
            return False
        self.datagrams.append((way, message))
        self.carry(way, local, peer, message)
        return True

    def said(self, way, method, kind, txid=None):
        return [m for w, m in list(self.datagrams) if w == way and m.method == method and m.kind == kind and
                txid in (None, m.txid)]


class Exchange(Datagrams):
    """Holds the NOTIFYs of two calls until both are there; then each goes under the other's transaction ID."""

    def __init__(self, key):
        super().__init__()
        self.key, self.first = key, {}

    def carry(self, way, local, peer, message):
        if way == "up" or len(self.first) == 2 or not message.get("BOX"):
            super().carry(way, local, peer, message)
            return
        self.first.setdefault(message.txid, message)
        if len(self.first) == 2:
            one, other = self.first.values()
            for m, txid in ((one, other.txid), (other, one.txid)):
                self.server.datagram_to_peer(local, peer, rekeyed(m, self.key, txid, USER_NAME=None))


class ExchangeResults(Datagrams):
    """Gives each of two calls the other's result first, and then its own."""

    def __init__(self, key):
        super().__init__()
        self.key, self.first = key, {}

    def carry(self, way, local, peer, message):
        if way == "up" and message.method == "RESULT" and len(self.first) < 2:
            self.first.setdefault(message.get("CALL-ID"), message)
            if len(self.first) < 2:
                return
            one, other = self.first.values()
            for right, wrong in ((one, other), (other, one)):
                self.server.datagram_to_core(local, peer, rekeyed(right, self.key, os.urandom(12), BOX=wrong.get("BOX")))
                self.server.datagram_to_core(local, peer, right.raw)
        else:
            super().carry(way, local, peer, message)


class Unheard(Datagrams):
    """Says nothing to RESULT until it is let."""

    def __init__(self):
        super().__init__()
        self.let = threading.Event()

    def carry(self, way, local, peer, message):
        if self.let.is_set() or message.method != "RESULT":
            super().carry(way, local, peer, message)


def hostile(beckon):
    """Puts a hostile server in the place of a laboratory's own, not started."""
    assert os.access(beckon.bin / "hostile-server", os.X_OK), "hostile-server is not built: BECKON_TESTS"
    beckon.parties.remove(beckon.server)
    beckon.server = beckon._party(HostileServer, "server", beckon.net.server)
    return beckon.server
