"""A device that has joined as any other and then does what it likes: its registration, its streams to the server and its
end of calls, in Python, with the keys of a real enrolment (a state directory of `beckon-agent`)."""

import os
import socket
import ssl
import struct
import time

import nacl.public
import nacl.signing

from . import hostile_h2, stun
from .caller import ACCEPTED
from .false_device import call_name, dial
from .hostile_caller import Place
from .network import SERVER


class HostileDevice:
    """Lives on the wide area network, at an address of the attacker's."""

    def __init__(self, party, net, number):
        self.party, self.net, self.id = party, net, party.id
        self.place = Place(net, number)
        secret = (party.state / "registration.key").read_bytes()
        self.registration, self.key = secret[:6] + b"\0\0", secret[6:38]
        self.box_secret = stun.box_secret((party.state / "box.key").read_bytes())
        self.files = party.state / "device.crt", party.state / "device.key"
        self.tag_random, self.counter, self.tag = os.urandom(8), 0, b""
        self.udp = net.wan.udp(self.place.address, 0, 20.0)
        self._heeded = set()  # transaction IDs

    # -- datagrams ---------------------------------------------------------------------------------

    def register_message(self, device=None, nonce=None, key=None, registration=None):
        self.counter += 1
        self.tag = self.tag_random + struct.pack("!I", self.counter)
        body = stun.put("EQUIPMENT-ID", (device or self.id).to_bytes(8, "big")) \
            + stun.put("REGISTRATION", registration or self.registration) + stun.put("TAG", self.tag)
        if nonce:
            body += stun.put("NONCE", nonce)
        return stun.build("REGISTER", "request", body, os.urandom(12), key or self.key)

    def register(self):
        """The server's last answer: a success, or an error that is not 438."""
        nonce = None
        for _ in range(3):
            self.udp.sendto(self.register_message(nonce=nonce), (SERVER, 1200))
            answer = self._datagram("REGISTER")
            if answer.error_code != 438:
                return answer
            nonce = answer.get("NONCE")
        raise AssertionError("438 again and again")

    def _datagram(self, method):
        while True:
            message = stun.Message(self.udp.recv(2000))
            if message.method == method:
                assert message.integrity_valid(self.key)
                return message

    def heed(self):
        """The next NOTIFY, answered as it should be; so are those that are said again, as a server does that is not answered
        at once."""
        while True:
            notify = self._datagram("NOTIFY")
            self.udp.sendto(stun.build("NOTIFY", "success", b"", notify.txid, self.key), (SERVER, 1200))
            if notify.txid not in self._heeded:
                self._heeded.add(notify.txid)
                return notify

    # -- streams to the server ---------------------------------------------------------------------

    def stream(self, alpn="beckon-agent/1", port=1300, place=None, timeout=10.0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.party.state / "ca.crt")
        context.load_cert_chain(*self.files)
        context.set_alpn_protocols([alpn])
        return context.wrap_socket((place or self.place).connect(SERVER, port, timeout), server_hostname=SERVER)

    def ask(self, s, method, body, txid=None):
        """The answer; None when the server closes instead."""
        try:
            s.sendall(stun.build(method, "request", body, txid or os.urandom(12), fingerprint=False))
            return receive(s)
        except OSError:
            return None

    def take(self):
        """The next call: the stream that it came on, and 226."""
        self.heed()
        s = self.stream()
        offer = receive(s)
        assert offer is not None and offer.method == "CONNECT"
        return s, offer

    # -- calls -------------------------------------------------------------------------------------

    def opened(self, offer):
        plain = nacl.public.SealedBox(nacl.public.PrivateKey(self.box_secret)).decrypt(offer.get("BOX"))
        return stun.read_call_request(plain), {a.name: a.value for a in stun.attributes(plain)}

    def result(self, offer, status=ACCEPTED, call_id=None, outside=None):
        """RESULT as for that request; other IDs if asked."""
        _, inside = self.opened(offer)
        call_id = call_id or inside["CALL-ID"]
        text = stun.put("CALL-ID", call_id) + stun.put("STATUS", struct.pack("!H", status)) + stun.put("TAG", self.tag) \
            + stun.put("TIME", int(time.time()).to_bytes(8, "big"))
        box = nacl.public.Box(nacl.public.PrivateKey(self.box_secret), nacl.public.PublicKey(inside["REPLY-KEY"]))
        return stun.build("RESULT", "indication", stun.put("CALL-ID", outside or call_id) + stun.put("BOX", box.encrypt(text)),
                          os.urandom(12), fingerprint=False)

    def answer(self, s, offer, kind="success", body=b""):
        s.sendall(stun.build("CONNECT", kind, body, offer.txid, fingerprint=False))

    def meet(self, *settings):
        """Takes a call, says yes to whatever is in it, and dials: its end of the session."""
        s, offer = self.take()
        with s:
            self.answer(s, offer)
            s.sendall(self.result(offer))
            request, _ = self.opened(offer)
            for candidate in request.candidates:
                session = dial(self.net.wan, candidate.address, candidate.port, self.files, request.call_id)
                if session:
                    return hostile_h2.Session(session.socket, False, session.buffer, *settings)
        raise AssertionError("the caller does not answer")

    def name_of(self, offer):
        return call_name(offer.get("CALL-ID"))

    def close(self):
        self.udp.close()


def receive(s):
    """One message of a stream; None at its end."""
    data = b""
    while True:
        found, _ = stun.messages(data)
        if found:
            return found[0]
        try:
            piece = s.recv(65536)
        except ConnectionError:
            return None
        if not piece:
            return None
        data += piece


def tell(s, seconds=0.2):
    """Everything that comes within that time, as messages."""
    data, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            piece = s.recv(65536)
        except (TimeoutError, socket.timeout):
            break
        except OSError:
            break
        if not piece:
            break
        data += piece
    return stun.messages(data)[0]
