"""The world in which a hostile server acts, and what must hold whatever it does.

    beckon (alice, bob, eve, mallory) ---- router-a ---- [wan] ---- router-b ---- agent 2133 (a service that sends back)
                                                           |
                                              hostile-server, agent 2134 (the operator's own)

alice has the password, bob a key of his own that 2133 knows, both have the pins; eve has none; mallory is the operator's."""

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
import types

import nacl.public
from cryptography.hazmat.primitives import serialization

from . import stun
from .beckon import Beckon
from .caller import CONTEXT
from .hostile_server import Attack, Recorder, change, error, hostile
from .hostile_watch import children
from .network import REQUESTER, ROUTER_A, SERVER
from .peers import Service, echo
from .process import wait_until

FAILED, UNKNOWN, OFFLINE, REFUSED_STATUS, NO_PATH, KEY_CHANGED, REVOKED, BUSY = 1, 3, 4, 5, 6, 11, 13, 16
PORTS = {"alice": (1600, 5000), "bob": (1601, 5001), "eve": (1602, 5002), "mallory": (1603, 5003)}
LIMIT_S = 30


def watch_dials(ns):
    """Counts what the device connects to: where the callers said, and anywhere else but its server. Its own router it
    may ask for a mapping, by the protocols for that."""
    ports = ", ".join(str(outside) for _, outside in PORTS.values())
    ns.nft(f"""table inet dials {{
        counter callers {{}}
        counter elsewhere {{}}
        set seen {{ typeof ip daddr . tcp sport . tcp dport . tcp sequence; flags dynamic; size 65536; }}
        chain out {{
            type filter hook output priority 0
            oifname lo accept
            meta l4proto != {{ tcp, udp }} accept
            ip daddr {SERVER} udp dport 1200 accept
            ip daddr 192.168.1.1 udp dport 5351 accept
            ip daddr 239.255.255.250 udp dport 1900 accept
            tcp flags & (syn | ack) != syn accept
            ip daddr {SERVER} tcp dport 1300 accept
            ip daddr . tcp sport . tcp dport . tcp sequence @seen accept
            add @seen {{ ip daddr . tcp sport . tcp dport . tcp sequence }}
            ip daddr {ROUTER_A} tcp dport {{ {ports} }} counter name callers accept
            counter name elsewhere
        }}
    }}""")


def populated(net, bindir, fast_form="no"):
    """The world of these tests, for as long as the caller of this generator wants it. In the first form of the call there is
    more for the server to lie about."""
    net.router_a.inbound_maps += [("tcp", outside, REQUESTER, inside) for inside, outside in PORTS.values()]
    net.router_a.load()
    watch_dials(net.device)
    beckon = Beckon(net, bindir)
    server = hostile(beckon)
    # No relay: then the address made by hand is all that a caller says, and every other connection is one too many.
    beckon.start_server(relay="no", fast_form=fast_form)
    w = types.SimpleNamespace(net=net, beckon=beckon, server=server, password=f"pass-{secrets.token_hex(12)}",
                              service=f"vault-{secrets.token_hex(6)}", secrets=set(), good=0)
    w.secrets |= {w.password, w.service}
    services = [Service(echo, ns, 7777) for ns in (net.device, net.server)]
    w.device = beckon.enrol_device(2133, password=w.password, services={w.service: "tcp:127.0.0.1:7777"})
    w.other = beckon.enrol_device(2134, ns=net.server, port=2001, services={w.service: "tcp:127.0.0.1:7777"})
    for device in (w.device, w.other):
        device.configure(keepalive=5)
        device.start()
    for name in PORTS:
        pins = [] if name == "eve" else [w.device, w.other]
        user = beckon.enrol_user(name, devices=[2133, 2134], pins=pins)
        user.password = w.password
        setattr(w, name, user)
    # bob has a key, which the device knows.
    (w.device.state / "authorized_users").write_text(w.bob.run("key").out)
    (w.device.state / "authorized_users").chmod(0o600)
    yield w
    for service in services:
        service.close()


def dialled(world):
    """{"callers": packets, "elsewhere": packets}: SYNs, each once, however often the kernel sends it."""
    listed = json.loads(world.net.device.run(["nft", "-j", "list", "counters"]).out)["nftables"]
    return {c["counter"]["name"]: c["counter"]["packets"] for c in listed if "counter" in c}


def said(world, since, pattern):
    return [text for text in world.device.process.output().splitlines()[since:] if re.search(pattern, text)]


@contextlib.contextmanager
def promises(world):
    """What holds whatever the server does."""
    world.server.attack = Attack()
    world.good = world.allowed = 0
    world.since = world.device.process.position()
    before = dialled(world)
    yield
    world.server.attack = Attack()
    wait_until(lambda: not children(world.device) and not children(world.other), LIMIT_S, "all calls have ended")
    assert world.server.failed == []
    assert world.server.process.running() and world.device.process.running()
    read = world.server.read()
    assert (2133).to_bytes(8, "big") in read  # it is searched where everything would be
    assert [text for text in world.secrets if text.encode() in read] == []
    assert dialled(world)["elsewhere"] == before["elsewhere"] + world.allowed, "the device connects to where no caller said"
    wait_until(lambda: len(said(world, world.since, "result=served")) >= world.good, LIMIT_S, "the device has said all")
    served = said(world, world.since, "result=served")
    assert len(served) == world.good, served


# -- calls ---------------------------------------------------------------------------------------------------------


def mapped(name):
    inside, outside = PORTS[name]
    return "--listen", f"0.0.0.0:{inside}", "--advertise", f"{ROUTER_A}:{outside}"


def content(world):
    marker = f"content-{secrets.token_hex(12)}"
    world.secrets.add(marker)
    return marker


def forget(user):
    """What a user's program keeps of the devices that it has called (but for the pins)."""
    shutil.rmtree(user.state / "devices", ignore_errors=True)


def attempt(world, name="alice", device=2133, options=(), password=None, again=False):
    """A call by the usual means with something said in it; what became of it. Unless `again`, nothing is known of the device
    but its pin: the server is asked."""
    marker = content(world)
    if not again:
        forget(getattr(world, name))
    if password not in (None, ""):
        world.secrets.add(password)
    done = getattr(world, name).run("connect", *mapped(name), *options, device, world.service, input=marker,
                                    password="" if name == "bob" and password is None else password, check=False)
    assert done.out in ("", marker)
    if done.status == 0:
        assert done.out == marker
        world.good += device == 2133
    return done


def at_one_time(world, attack, *callers):
    """The same moment's calls by several people: (name, password) each; their ends in order."""
    world.server.attack = attack
    ended = {}

    def one(name, password):
        ended[name] = attempt(world, name=name, password=password)

    threads = [threading.Thread(target=one, args=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[name] for name, _ in callers]


def comes_about(world, attack=None, **kw):
    if attack:
        world.server.attack = attack
    done = attempt(world, **kw)
    assert done.status == 0, done.err
    return attack


def fails(world, attack, status, *words, **kw):
    """One call under an attack; ends so, and says so in one line."""
    world.server.attack = attack
    done = attempt(world, **kw)
    assert done.status == status and done.out == "", done
    assert len(done.err.splitlines()) == 1
    for word in words:
        assert word in done.err
    return attack


def audited(world, pattern, device=None):
    return (device or world.device).process.wait_line("audit call .*" + pattern, LIMIT_S,
                                                      0 if device else world.since)


def audited_all(world, count, pattern=""):
    """The device's lines about so many calls, once they are there and no call is up: none is to come any more."""
    wait_until(lambda: len(said(world, world.since, "audit call .*" + pattern)) >= count, LIMIT_S, f"{count} calls have ended")
    wait_until(lambda: not children(world.device), LIMIT_S, "all calls have ended")
    return said(world, world.since, "audit call")


def hung_up(world):
    """What devices have said on their connections has been read: all of those are closed."""
    wait_until(lambda: not [link for link in list(world.server.links.values())
                            if (link.role, link.purpose, link.open) == ("device", "plain", True)], LIMIT_S, "devices have hung up")


@contextlib.contextmanager
def no_dial(world):
    """The device connects to nobody meanwhile."""
    before = dialled(world)
    yield
    assert dialled(world) == before


@contextlib.contextmanager
def open_call(world, name="alice"):
    """A call that stays up; yields what says something through it and waits for it to come back."""
    process = getattr(world, name).start("connect", *mapped(name), 2133, world.service, stdin=subprocess.PIPE, log=None)

    def through():
        marker = content(world)
        process.stdin.write(marker.encode() + b"\n")
        process.stdin.flush()
        process.wait_line(marker)

    try:
        yield types.SimpleNamespace(process=process, through=through)
    finally:
        process.stop()


def finish(world, call):
    call.process.stdin.close()
    assert call.process.wait() == 0, call.process.output()
    world.good += 1


# -- attacks that several tests use --------------------------------------------------------------------------------


class Lookup(Attack):
    """Answers LOOKUP with other attributes."""

    def __init__(self, **attributes):
        self.attributes = attributes

    def down(self, link, message):
        if message.method == "LOOKUP" and message.kind == "success":
            self.server.to_peer(link, change(message, **self.attributes))
        else:
            super().down(link, message)


class Watch217(Lookup):
    """Counts the requests that come all the same."""

    def __init__(self, **attributes):
        super().__init__(**attributes)
        self.requests = []

    def up(self, link, message):
        if message.method == "CONNECT" and link.role == "user":
            self.requests.append(message)
        super().up(link, message)


class FailWith(Attack):
    """Answers a method with an error of its own."""

    def __init__(self, method, code, role="user"):
        self.method, self.code, self.role = method, code, role

    def up(self, link, message):
        if message.method == self.method and link.role == self.role and message.kind == "request":
            self.server.to_peer(link, error(message, self.code))
        else:
            super().up(link, message)


class Offer(Recorder):
    """Gives the device something else than the request that is there for it. What the device says to that goes to
    nobody; the caller hears "offline" once the device has hung up."""

    def __init__(self, make):
        super().__init__()
        self.make = make
        self.answers = []

    def down(self, link, message):
        if link.role == "device" and message.method == "CONNECT":
            message = stun.Message(self.make(message))
        super().down(link, message)

    def up(self, link, message):
        if link.role == "device" and link.purpose == "plain":
            self.answers.append(message)
        else:
            super().up(link, message)


class Peek(Recorder):
    """Lets no request through."""

    def up(self, link, message):
        if message.method == "CONNECT" and link.role == "user":
            self.server.to_peer(link, error(message, 480))
        else:
            super().up(link, message)


def true_answer(world, device):
    """What the honest server would say of a device."""
    kept, seen = world.server.attack, Peek()
    world.server.attack = seen
    forget(world.alice)
    assert world.alice.run("ping", *mapped("alice"), device, "-c", "1", check=False).status == OFFLINE
    world.server.attack = kept
    found, = seen.find("down", "LOOKUP", "success")
    return {name.replace("-", "_"): found.get(name) for name in ("EQUIPMENT-ID", "CERTIFICATE", "BOX-KEY", "TAG")}


def refused_by_device(world, make, result, name="mallory", device=2133):
    """A call carries something else to the device: it says `result`, dials nobody, and the caller hears "offline"."""
    where = world.device if device == 2133 else world.other
    since = where.process.position()
    attack = Offer(make)
    with no_dial(world):
        fails(world, attack, OFFLINE, name=name, device=device)
        where.process.wait_line(f"audit call .*by=- service=- result={result}", LIMIT_S, since)
    return attack


# -- what the operator knows, or could make ------------------------------------------------------------------------


def box_pair(device):
    """A device's box key, both halves."""
    return nacl.public.PrivateKey(stun.box_secret((device.state / "box.key").read_bytes()))


def candidate_of(address, port):
    """One that says that it was mapped by hand."""
    return b"\2\1" + port.to_bytes(2, "big") + bytes(map(int, address.split(".")))


def sealed(world, device=None, call_id=None, candidate=(SERVER, 9999), **parts):
    """A request of the server's own for the true device, its message, and the key that its result is for. A part may be None:
    left out; or a list: repeated."""
    device = device or world.device
    reply = nacl.public.PrivateKey.generate()
    values = {"CALL-ID": call_id or secrets.token_bytes(16), "EQUIPMENT-ID": device.id.to_bytes(8, "big"),
              "TIME": int(time.time()).to_bytes(8, "big"), "TAG": None if "TAG" in parts else true_answer(world, 2133)["TAG"],
              "SERVICE": world.service.encode(), "CANDIDATE": candidate_of(*candidate),
              "CALL-KEY": secrets.token_bytes(32), "REPLY-KEY": bytes(reply.public_key)}
    values.update({name.replace("_", "-"): value for name, value in parts.items()})
    text = b"".join(stun.put(name, one) for name, value in values.items() if value is not None
                    for one in (value if isinstance(value, list) else [value]))
    return values["CALL-ID"], text, nacl.public.SealedBox(box_pair(device).public_key).encrypt(text), reply


def own_request(world, call_id, box):
    """226 with a box of the server's own."""
    return lambda message: change(message, CALL_ID=call_id, BOX=box)


def verdict(world, attack, reply):
    """What the device said to the server's own request, opened."""
    result, = [m for m in attack.answers if m.method == "RESULT"]
    return status_of(world, result, reply)


def status_of(world, result, reply):
    """What stands in a RESULT that is for this key."""
    box = nacl.public.Box(reply, box_pair(world.device).public_key)
    inside = {a.name: a.value for a in stun.attributes(box.decrypt(result.get("BOX")))}
    return int.from_bytes(inside["STATUS"], "big")


def bobs_key(world):
    text = world.bob.run("key").out.split()[0]
    return base64.urlsafe_b64decode(text + "=")


def pin_of(device):
    text = device.uri().split("#")[1]
    return base64.urlsafe_b64decode(text + "=")


def registration_key(device):
    return (device.state / "registration.key").read_bytes()[6:38]


def open_seed(device):
    key = serialization.load_pem_private_key((device.state / "device.key").read_bytes(), None)
    return key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())


def flip(value, at):
    """With one bit of that byte changed."""
    at %= len(value)
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


def signed(world, key, pin, as_key=None, **parts):
    """The server's own request, signed by `key` in the name of another."""
    call_id, text, _, reply = sealed(world, CALLER_KEY=as_key or bytes(key.verify_key), **parts)
    text += stun.put("SIGNATURE", key.sign(CONTEXT + pin + text).signature)
    return call_id, nacl.public.SealedBox(box_pair(world.device).public_key).encrypt(text), reply


def opened_at(device, box):
    return nacl.public.SealedBox(box_pair(device)).decrypt(box)


def false_results(call_id):
    """What a server could say that a device had said, without any key of the call's."""
    for status in range(7):
        text = stun.put("CALL-ID", call_id) + stun.put("STATUS", status.to_bytes(2, "big")) \
            + stun.put("TAG", secrets.token_bytes(12)) + stun.put("TIME", int(time.time()).to_bytes(8, "big"))
        key, reply = nacl.public.PrivateKey.generate(), nacl.public.PrivateKey.generate()
        for box in (nacl.public.Box(key, reply.public_key).encrypt(text), secrets.token_bytes(len(text) + 40), text):
            yield stun.build("RESULT", "indication", stun.put("CALL-ID", call_id) + stun.put("BOX", box), os.urandom(12),
                             fingerprint=False)
