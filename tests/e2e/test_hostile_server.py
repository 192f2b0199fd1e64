"""A server that lies, against callers and devices as they are. It is beckond with somebody in the middle of it (lab/hostile_server.py):
it reads, swaps, repeats, delays, reorders and forges what it carries, and has the CA's key for any certificate.

    beckon (alice, bob, eve) ---- router-a ---- [wan] ---- router-b ---- agent 2133 (a service that sends back)
                                                  |
                                     hostile-server, agent 2134 (the operator's own)

After each test, whatever it tried: no password, service name or content in anything that the server read; no connection
of the device's but to its server and to where the caller said; no session but those of the callers. First contact without
the pin is the exception that docs/security.md makes, and is shown to be no more than that."""

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import threading
import time
import types

import nacl.public
import nacl.signing
import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, SERVER, Beckon, stun, wait_until
from lab.caller import ACCEPTED, CONTEXT, REFUSED, line
from lab.false_device import FalseDevice, certificate, der, dial, signed_box_key
from lab.hostile_server import Attack, Recorder, change, error, hostile, success
from lab.peers import Service, echo

FAILED, UNKNOWN, OFFLINE, REFUSED_STATUS, NO_PATH, KEY_CHANGED, REVOKED, BUSY = 1, 3, 4, 5, 6, 11, 13, 16
PORTS = {"alice": (1600, 5000), "bob": (1601, 5001), "eve": (1602, 5002), "mallory": (1603, 5003)}
LIMIT_S = 15


# -- the world -----------------------------------------------------------------------------------------------------


def watch_dials(ns):
    """Counts what the device connects to: where the callers said, and anywhere else but its server."""
    ports = ", ".join(str(outside) for _, outside in PORTS.values())
    ns.nft(f"""table inet dials {{
        counter callers {{}}
        counter elsewhere {{}}
        chain out {{
            type filter hook output priority 0
            oifname lo accept
            meta l4proto != {{ tcp, udp }} accept
            ip daddr {SERVER} udp dport 1200 accept
            tcp flags & (syn | ack) != syn accept
            ip daddr {SERVER} tcp dport 1300 accept
            ip daddr {ROUTER_A} tcp dport {{ {ports} }} counter name callers accept
            counter name elsewhere
        }}
    }}""")


@pytest.fixture(scope="module")
def world(net, bindir):
    net.router_a.inbound_maps += [("tcp", outside, REQUESTER, inside) for inside, outside in PORTS.values()]
    net.router_a.load()
    watch_dials(net.device)
    beckon = Beckon(net, bindir)
    server = hostile(beckon)
    beckon.start_server()
    w = types.SimpleNamespace(net=net, beckon=beckon, server=server, password=f"pass-{secrets.token_hex(12)}",
                              service=f"vault-{secrets.token_hex(6)}", secrets=set(), good=0, shown=set())
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
    """{"callers": packets, "elsewhere": packets}: SYNs, those that are sent again too."""
    listed = json.loads(world.net.device.run(["nft", "-j", "list", "counters"]).out)["nftables"]
    return {c["counter"]["name"]: c["counter"]["packets"] for c in listed if "counter" in c}


def children(device):
    return device.ns.run(["pgrep", "-P", device.process.pid], check=False).out.split()


def said(world, since, pattern):
    return [text for text in world.device.process.output().splitlines()[since:] if re.search(pattern, text)]


@pytest.fixture(autouse=True)
def promises(world):
    """What holds whatever the server does. `shown` is what a test has it learn on purpose."""
    world.server.attack = Attack()
    world.good, world.shown = 0, set()
    world.since = world.device.process.position()
    before = dialled(world)
    yield
    world.server.attack = Attack()
    wait_until(lambda: not children(world.device) and not children(world.other), LIMIT_S, "all calls have ended")
    assert world.server.failed == []
    assert world.server.process.running() and world.device.process.running()
    read = world.server.read()
    assert len(read) > 1000
    assert [text for text in world.secrets - world.shown if text.encode() in read] == []
    assert dialled(world)["elsewhere"] == before["elsewhere"], "the device connects to where no caller said"
    served = said(world, world.since, "result=served")
    assert len(served) == world.good, served


def mapped(name):
    inside, outside = PORTS[name]
    return "--listen", f"0.0.0.0:{inside}", "--advertise", f"{ROUTER_A}:{outside}"


def content(world):
    marker = f"content-{secrets.token_hex(12)}"
    world.secrets.add(marker)
    return marker


def attempt(world, name="alice", device=2133, options=(), password=None):
    """A call by the usual means with something said in it; what became of it."""
    marker = content(world)
    if password not in (None, ""):
        world.secrets.add(password)
    done = getattr(world, name).run("connect", *mapped(name), *options, device, world.service, input=marker,
                                    password="" if name == "bob" and password is None else password, check=False)
    assert done.out in ("", marker)
    if done.status == 0:
        assert done.out == marker
        world.good += device == 2133
    return done


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


def no_dial(world):
    """A context: the device connects to nobody in it."""

    @contextlib.contextmanager
    def within():
        before = dialled(world)
        yield
        assert dialled(world) == before

    return within()


# -- attacks that several tests use -----------------------------------------------------------------------------------


class Lookup(Attack):
    """Answers LOOKUP with other attributes."""

    def __init__(self, **attributes):
        self.attributes = attributes

    def down(self, link, message):
        if message.method == "LOOKUP" and message.kind == "success":
            self.server.to_peer(link, change(message, **self.attributes))
        else:
            super().down(link, message)


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


def sealed(world, device=None, call_id=None, candidate=(SERVER, 9999), **parts):
    """A request of the server's own for the true device, its message, and the key that its result is for."""
    device = device or world.device
    secret = nacl.public.PrivateKey(stun.box_secret((device.state / "box.key").read_bytes()))
    reply = nacl.public.PrivateKey.generate()
    values = {"CALL-ID": call_id or secrets.token_bytes(16), "EQUIPMENT-ID": device.id.to_bytes(8, "big"),
              "TIME": int(time.time()).to_bytes(8, "big"), "TAG": true_answer(world, 2133)["TAG"],
              "SERVICE": world.service.encode(), "CANDIDATE": b"\2\1" + candidate[1].to_bytes(2, "big") + bytes(map(int, candidate[0].split("."))),
              "CALL-KEY": secrets.token_bytes(32), "REPLY-KEY": bytes(reply.public_key)}
    values.update({name.replace("_", "-"): value for name, value in parts.items()})
    text = b"".join(stun.put(name, value) for name, value in values.items())
    return values["CALL-ID"], text, nacl.public.SealedBox(secret.public_key).encrypt(text), reply


def own_request(world, call_id, box):
    """226 with a box of the server's own."""
    return lambda message: change(message, CALL_ID=call_id, BOX=box)


def verdict(world, attack, reply):
    """What the device said to the server's own request, opened."""
    result, = [m for m in attack.answers if m.method == "RESULT"]
    public = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes())).public_key
    inside = {a.name: a.value for a in stun.attributes(nacl.public.Box(reply, public).decrypt(result.get("BOX")))}
    return int.from_bytes(inside["STATUS"], "big")


@pytest.fixture(scope="module")
def liar(world):
    """The operator's false 2133, with a certificate by the true CA."""
    return FalseDevice(world.server.state)


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
    assert world.alice.run("ping", *mapped("alice"), device, "-c", "1", check=False).status == OFFLINE
    world.server.attack = kept
    found, = seen.find("down", "LOOKUP", "success")
    return {name.replace("-", "_"): found.get(name) for name in ("EQUIPMENT-ID", "CERTIFICATE", "BOX-KEY", "TAG")}


# -- the server as it should be ------------------------------------------------------------------------------------------


def test_with_nobody_in_the_middle_calls_come_about(world):
    seen = comes_about(world, Recorder())
    assert seen.find("up", "CONNECT", "request", "user") and seen.find("up", "RESULT", "indication", "device")
    comes_about(world, name="bob")
    assert said(world, world.since, "by=key:bob .*result=served")


# -- LOOKUP --------------------------------------------------------------------------------------------------------------


def test_lookup_with_another_devices_certificate(world):
    other = true_answer(world, 2134)
    fails(world, Lookup(CERTIFICATE=other["CERTIFICATE"], BOX_KEY=other["BOX_KEY"]), KEY_CHANGED, "does not verify")


def test_lookup_with_another_devices_whole_answer(world):
    fails(world, Lookup(**true_answer(world, 2134)), KEY_CHANGED, "does not verify")


def test_lookup_with_another_equipment_id(world):
    fails(world, Lookup(EQUIPMENT_ID=(2134).to_bytes(8, "big")), KEY_CHANGED, "does not verify")


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_lookup_with_the_servers_own_key_certified_by_the_true_ca(world, liar, name):
    """For the right ID: the pin tells. Nothing is sealed, nothing is signed."""
    attack = Watch217(**liar.answer())
    fails(world, attack, KEY_CHANGED, "key", name=name)
    assert attack.requests == []


class Watch217(Lookup):
    """Counts the requests that come all the same."""

    def __init__(self, **attributes):
        super().__init__(**attributes)
        self.requests = []

    def up(self, link, message):
        if message.method == "CONNECT" and link.role == "user":
            self.requests.append(message)
        super().up(link, message)


def box_keys(world, liar):
    """Box keys that a lying server might offer: name → value."""
    now, month = int(time.time()), 30 * 86400
    true = true_answer(world, 2133)["BOX_KEY"]
    own = bytes(liar.box.public_key)
    seed = open_seed(world.device)
    return {"the server's own, signed by itself": liar.box_key,
            "the server's own under the true signature": true[:1] + own + true[33:],
            "the server's own, unsigned": liar.box_key[:49] + bytes(64),
            "another device's": true_answer(world, 2134)["BOX_KEY"],
            "the true one, said to live longer": true[:41] + (now + 10 * month).to_bytes(8, "big") + true[49:],
            "one of long ago": signed_box_key(seed, own, now - 3 * month, now - 2 * month),
            "one that is yet to come": signed_box_key(seed, own, now + month, now + 2 * month),
            "half": true[:60], "none": None}


def open_seed(device):
    from cryptography.hazmat.primitives import serialization
    key = serialization.load_pem_private_key((device.state / "device.key").read_bytes(), None)
    return key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())


@pytest.mark.parametrize("which", ["the server's own, signed by itself", "the server's own under the true signature",
                                   "the server's own, unsigned", "another device's", "the true one, said to live longer",
                                   "one of long ago", "one that is yet to come", "half", "none"])
def test_lookup_with_another_box_key_is_not_sealed_to(world, liar, which):
    attack = Watch217(BOX_KEY=box_keys(world, liar)[which])
    fails(world, attack, FAILED if which in ("half", "none") else KEY_CHANGED,
          "expired box key" if which.startswith("one ") else "")
    assert attack.requests == []


class Named(Watch217):
    """Says which device a name means."""

    def __init__(self, device, **answer):
        super().__init__(**answer)
        self.device = device
        self.asked = []

    def up(self, link, message):
        if message.method == "LOOKUP":
            self.asked.append(message)
            if message.get("DEVICE-NAME"):
                message = stun.Message(change(message, DEVICE_NAME=None, EQUIPMENT_ID=self.device.to_bytes(8, "big")))
        super().up(link, message)


def test_another_device_for_a_name(world):
    """At first use the name is asked about, though its device be pinned; afterwards it stays with its device."""
    attack = Named(2134)
    fails(world, attack, KEY_CHANGED, "only the server says that lamp is device 2134", device="lamp")
    assert attack.requests == []
    known = world.alice.state / "known_devices"
    kept = known.read_text()
    known.write_text(kept + "lamp 2133\n")
    try:
        attack = Named(2134, **true_answer(world, 2134))
        fails(world, attack, KEY_CHANGED, "does not verify", device="lamp")
        assert attack.asked[0].equipment_id == 2133 and attack.requests == []
    finally:
        known.write_text(kept)


@pytest.mark.parametrize("tag", ["another", "none", "an old one"])
def test_a_false_tag_costs_a_round_at_most(world, tag):
    """The device says STALE, and with it, sealed, the true one."""
    old = true_answer(world, 2133)["TAG"]
    false = {"another": secrets.token_bytes(12), "none": None, "an old one": old[:8] + bytes(4)}[tag]
    attack = Watch217(TAG=false, **({"OBSERVED_ADDRESS": None} if tag == "none" else {}))
    comes_about(world, attack)
    ids = [m.get("CALL-ID") for m in attack.requests]
    assert len(ids) == len(set(ids)) == 2


def test_a_false_observed_address_in_lookup_changes_nothing(world):
    comes_about(world, Lookup(OBSERVED_ADDRESS=b"\0\1" + secrets.token_bytes(6)))


# -- errors that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["LOOKUP", "CONNECT"])
@pytest.mark.parametrize("code,status", [(400, FAILED), (403, REVOKED), (404, UNKNOWN), (410, REVOKED), (480, OFFLINE),
                                         (503, BUSY), (499, FAILED)])
def test_a_false_error_is_told_as_it_is_and_discloses_nothing(world, method, code, status):
    with no_dial(world):
        fails(world, FailWith(method, code), status)


# -- 226 -----------------------------------------------------------------------------------------------------------------


def refused_by_device(world, make, result, name="mallory", device=2133):
    """A call carries something else to the device: it says `result`, dials nobody, and the caller hears "offline"."""
    where = world.device if device == 2133 else world.other
    since = where.process.position()
    attack = Offer(make)
    with no_dial(world):
        fails(world, attack, OFFLINE, name=name, device=device)
        where.process.wait_line(f"audit call .*by=- service=- result={result}", LIMIT_S, since)
    return attack


@pytest.fixture(scope="module")
def recorded(world):
    """A call of alice's that came about, as the server saw it."""
    world.server.attack = seen = Recorder()
    marker = content(world)
    assert world.alice.run("connect", *mapped("alice"), 2133, world.service, input=marker).out == marker
    offer = seen.find("down", "CONNECT", "request", "device")[-1]
    result = seen.find("up", "RESULT", "indication", "device")[-1]
    wait_until(lambda: not children(world.device), LIMIT_S, "the call has ended")
    return types.SimpleNamespace(offer=offer, result=result, call_id=offer.get("CALL-ID"), box=offer.get("BOX"))


def test_the_request_of_one_call_under_the_name_of_another(world, recorded):
    refused_by_device(world, lambda m: change(m, BOX=recorded.box), "bad-request")


def test_the_request_of_one_call_delivered_in_another(world, recorded):
    attack = refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "repeated")
    assert [m.method for m in attack.answers] == ["CONNECT"]  # not even a RESULT


class Swap(Offer):
    """Holds the requests of two callers until both are there, and exchanges their boxes."""

    def __init__(self, whole):
        super().__init__(None)
        self.whole, self.held, self.sent = whole, [], []
        self.both = threading.Event()

    def up(self, link, message):
        if link.role == "user" and message.method == "CONNECT":
            self.held.append((link, message))
            if len(self.held) == 2:
                self.both.set()
                for one, request in self.held:
                    self.server.to_core(one, request.raw)
        else:
            super().up(link, message)

    def down(self, link, message):
        if link.role == "device" and message.method == "CONNECT":
            theirs, = [m for _, m in self.held if m.get("CALL-ID") != message.get("CALL-ID")]
            also = {"CALL_ID": theirs.get("CALL-ID")} if self.whole else {}
            message = stun.Message(change(message, BOX=theirs.get("BOX"), **also))
        Recorder.down(self, link, message)


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


def test_the_boxes_of_two_calls_exchanged(world):
    with no_dial(world):
        alice, bob = at_one_time(world, Swap(False), ("alice", None), ("bob", ""))
        assert (alice.status, bob.status) == (OFFLINE, OFFLINE)
        wait_until(lambda: len(said(world, world.since, "by=- .*result=bad-request")) == 2, LIMIT_S, "both are refused")


class SwapUsers(Recorder):
    """Tells the device that somebody else calls, and keeps to it."""

    def down(self, link, message):
        if link.role == "device" and message.method == "CONNECT":
            message = stun.Message(change(message, USER_NAME=b"root"))
        super().down(link, message)

    def up(self, link, message):
        if message.method == "WATCH":
            message = stun.Message(change(message, USER_NAME=b"bob"))
        super().up(link, message)


def test_another_name_for_the_caller_is_a_note_and_opens_nothing(world):
    comes_about(world, SwapUsers(), name="bob")
    audited(world, r"user=root by=key:bob .*result=served")


def test_a_request_of_before_the_agents_restart(world, recorded):
    world.device.stop()
    world.device.start()
    world.since = 0
    attack = refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "stale")
    assert [m.method for m in attack.answers] == ["CONNECT", "RESULT"]


def test_a_request_delivered_to_another_device(world, recorded):
    refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id), "bad-request", device=2134)
    refused_by_device(world, lambda m: change(m, BOX=recorded.box, CALL_ID=recorded.call_id,
                                              EQUIPMENT_ID=(2133).to_bytes(8, "big")), "bad-request", device=2134)


def flip(value, at):
    at %= len(value)
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


@pytest.mark.parametrize("what,at", [("CALL-ID", 0), ("CALL-ID", 15), ("BOX", 0), ("BOX", 31), ("BOX", 32), ("BOX", 48),
                                     ("BOX", 100), ("BOX", -1), ("BOX", None)])
def test_a_request_with_a_byte_changed_on_its_way(world, what, at):
    def make(message):
        value = message.get(what)
        return change(message, **{what.replace("-", "_"): value[:-1] if at is None else flip(value, at)})

    refused_by_device(world, make, "bad-request", name="alice")


# -- requests of the server's own ------------------------------------------------------------------------------------------


def listener(world):
    """Somewhere that the server would have the device connect to."""
    return world.net.server.listen(9999, SERVER, timeout=0.2)


def test_a_request_of_the_servers_own_with_a_guessed_password(world):
    call_id, _, box, reply = sealed(world, PASSWORD=b"guessed")
    with listener(world) as s:
        attack = refused_by_device(world, own_request(world, call_id, box), "refused")
        with pytest.raises(TimeoutError):
            s.accept()
    assert verdict(world, attack, reply) == REFUSED
    comes_about(world, Attack())  # the caller's own password is as good as before


def test_a_request_of_the_servers_own_without_a_password(world):
    for parts in ({}, {"PASSWORD": b""}):
        call_id, _, box, _ = sealed(world, **parts)
        refused_by_device(world, own_request(world, call_id, box), "bad-request")


def signed(world, key, pin, as_key=None, **parts):
    """The server's own request, signed by `key` in the name of another."""
    call_id, text, _, reply = sealed(world, CALLER_KEY=as_key or bytes(key.verify_key), **parts)
    text += stun.put("SIGNATURE", key.sign(CONTEXT + pin + text).signature)
    secret = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes()))
    return call_id, nacl.public.SealedBox(secret.public_key).encrypt(text), reply


def bobs_key(world):
    text = world.bob.run("key").out.split()[0]
    return base64.urlsafe_b64decode(text + "=")


def pin_of(device):
    text = device.uri().split("#")[1]
    return base64.urlsafe_b64decode(text + "=")


def test_a_request_of_the_servers_own_in_the_name_of_a_callers_key(world):
    key = nacl.signing.SigningKey.generate()
    call_id, box, reply = signed(world, key, pin_of(world.device), as_key=bobs_key(world))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def test_a_request_of_the_servers_own_by_a_key_of_its_own(world):
    call_id, box, reply = signed(world, nacl.signing.SigningKey.generate(), pin_of(world.device))
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED


def opened_at(device, box):
    secret = nacl.public.PrivateKey(stun.box_secret((device.state / "box.key").read_bytes()))
    return nacl.public.SealedBox(secret).decrypt(box)


def test_a_signature_from_a_call_to_another_device(world):
    """bob calls the operator's own 2134 first, who hands his box to the server: text and signature, sealed to 2133."""
    seen = Recorder()
    world.server.attack = seen
    assert attempt(world, name="bob", device=2134).status == REFUSED_STATUS  # 2134 does not know him
    request = seen.find("up", "CONNECT", "request", "user")[0]
    text = opened_at(world.other, request.get("BOX"))
    parts = {a.name: a.value for a in stun.attributes(text)}
    assert parts["CALLER-KEY"] == bobs_key(world) and parts["SERVICE"] == world.service.encode()
    secret = nacl.public.PrivateKey(stun.box_secret((world.device.state / "box.key").read_bytes()))
    for device in (2134, 2133):
        again = b"".join(stun.put(a.name, device.to_bytes(8, "big") if a.name == "EQUIPMENT-ID" else a.value)
                         for a in stun.attributes(text))
        box = nacl.public.SealedBox(secret.public_key).encrypt(again)
        # For 2134 it says itself; renamed, the signature is over something else: another device's pin, another text.
        refused_by_device(world, own_request(world, parts["CALL-ID"], box), "bad-request" if device == 2134 else "refused")
    comes_about(world, Attack(), name="bob")


def test_a_signature_from_another_request_of_the_same_caller(world):
    """The newest that the server could have: read at the operator's own device, put under a text for 2133."""
    seen = Recorder()
    world.server.attack = seen
    attempt(world, name="bob", device=2134)
    theirs = {a.name: a.value for a in stun.attributes(
        opened_at(world.other, seen.find("up", "CONNECT", "request", "user")[0].get("BOX")))}
    call_id, _, box, reply = sealed(world, CALLER_KEY=theirs["CALLER-KEY"], SIGNATURE=theirs["SIGNATURE"])
    attack = refused_by_device(world, own_request(world, call_id, box), "refused")
    assert verdict(world, attack, reply) == REFUSED
