"""Known failures of relatives of Beckon, each tried here under the relative's name."""

# -- registrations and datagrams: hbbs, hyperdht, n2n, coturn ---------------------------------------------

import contextlib
import random
import socket
import struct
import time
import types

import pytest

from lab import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, flood, stun, wait_until
from lab.hostile_reflect import Reflection, server_keeps_nothing
from lab.hostile_watch import no_calls
from lab.interceptor import UDP, Injector, Interceptor, Packet

SERVER_UDP, HOME = (SERVER, 1200), (ROUTER_B, 2000)
CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
TARGET = "198.51.100.77"  # where a reflector would be pointed at
KEEPALIVE_S = 5
AT_ONCE_S = 20  # and not when the row of its former life has run out, after 90 s


@pytest.fixture(scope="module")
def place(world):
    """The usual world; a neighbour of the device's on its LAN, who has a device of his own enrolled (2134); and
    everything that device 2133 and its server said to each other while it registered and was called."""
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    net.wan.address("lo", f"{TARGET}/32")
    neighbour = net.host("neighbour", net.router_b, "192.168.1.66")
    wait_until(lambda: neighbour.reachable(DEVICE), 30, "the neighbour's link is up")
    other = world.beckon.enrol_device(2134, ns=neighbour)
    with Interceptor(net.wan, UDP, {ROUTER_B, SERVER}, 1200) as tap:
        world.device.stop()
        world.device.configure(keepalive=KEEPALIVE_S)
        world.device.start()
        assert ping(world).status == 0
    return types.SimpleNamespace(
        world=world, net=net, server=world.server, device=world.device, neighbour=neighbour, rng=random.Random(714),
        up=tap.datagrams(SERVER_UDP), down=tap.datagrams(HOME), key=key_of(world.device), others_key=key_of(other))


def ping(world):
    return world.alice.run("ping", *CALLBACK, "2133", "-c", "1", check=False)


def key_of(device):
    """(REGISTRATION, key) of a device's registration."""
    secret = (device.state / "registration.key").read_bytes()
    return secret[:6] + b"\0\0", secret[6:38]


def registered_at(place, device=2133):
    found = next(d for d in place.server.devices() if d["id"] == device)
    return found["address"] and (found["address"], found["port"])


def register(rng, device, key, nonce=b"", tag=None):
    body = stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")) + stun.put("REGISTRATION", key[0]) \
        + stun.put("TAG", tag or rng.randbytes(12)) + (stun.put("NONCE", nonce) if nonce else b"")
    return stun.build("REGISTER", "request", body, rng.randbytes(12), key[1])


def exchange(s, message, timeout=0.3):
    """The answer, or None."""
    s.settimeout(timeout)
    s.sendto(message, SERVER_UDP)
    try:
        while True:
            answer = stun.Message(s.recv(2000))
            if answer.txid == message[8:20]:
                return answer
    except TimeoutError:
        return None


@contextlib.contextmanager
def packets_to(place, filter):
    """What leaves the device's router meanwhile and matches: a list of (address, port, is UDP), filled at the end."""
    found = []
    no_calls(place.net.device)
    capture = place.net.capture(place.net.wan, "to-b", f"src host {ROUTER_B} and {filter}")
    yield found
    no_calls(place.net.device)
    capture.stop()
    for r in capture.fields(["ip.dst", "tcp.dstport", "udp.dstport"]):
        found.append((r["ip.dst"], int(r["tcp.dstport"] or r["udp.dstport"])))


def test_rustdesk_hbbs_a_neighbour_behind_the_same_public_address_does_not_move_the_row(place):
    """hbbs takes whoever comes from the registered address for the device. The neighbour has that address, hears the
    device's datagrams, has an enrolment and right nonces of his own, and even sends in the device's name on their LAN."""
    assert registered_at(place) == HOME
    with place.neighbour.udp(port=2001) as s:
        tag = place.rng.randbytes(8)
        challenge = exchange(s, register(place.rng, 2134, place.others_key, tag=tag + b"\0\0\0\1"), 10)
        assert challenge.error_code == 438
        nonce = challenge.get("NONCE")
        # For the other, with what is right for himself.
        assert exchange(s, register(place.rng, 2133, place.others_key, nonce)) is None
        assert exchange(s, register(place.rng, 2133, (place.key[0], b"k" * 32), nonce)) is None
        # What he heard: 438 at most, to him, for a nonce that he cannot use; of RESULT he hears what the device did.
        for message in place.up * 3:
            if stun.Message(message).kind == "request":
                answer = exchange(s, message)
                assert answer is None or answer.error_code == 438 or (answer.method, answer.kind) == ("RESULT", "success")
                if answer is not None:
                    assert answer.integrity_valid(place.key[1])
        # For himself all goes well (a nonce is good for 5 s), and two rows share one address.
        nonce = exchange(s, register(place.rng, 2134, place.others_key, tag=tag + b"\0\0\0\2"), 10).get("NONCE")
        answer = exchange(s, register(place.rng, 2134, place.others_key, nonce, tag + b"\0\0\0\3"), 10)
        assert answer is not None and answer.kind == "success"
        mine = answer.address("XOR-MAPPED-ADDRESS")
        assert registered_at(place, 2134) == mine and mine[0] == ROUTER_B
    injector = Injector(place.neighbour)
    place.neighbour.sysctl("net.ipv4.conf.all.rp_filter", 0)
    for message in place.up * 20:
        injector.send(Packet(UDP, (DEVICE, 2000), SERVER_UDP, message))
        injector.send(Packet(UDP, (DEVICE, 2000), SERVER_UDP, register(place.rng, 2133, place.others_key, nonce)))
        assert registered_at(place) == HOME
    injector.close()
    assert ping(place.world).status == 0


def wakeups(place, key, tag):
    """NOTIFYs with a target in them, in every attribute that carries an address, or text."""
    where = struct.pack("!BBH", 2, 1, 80) + socket.inet_aton(TARGET)
    masked = struct.pack("!BBH", 0, 1, 80 ^ 0x2112) + bytes(a ^ b for a, b in zip(socket.inet_aton(TARGET), b"\x21\x12\xA4\x42"))
    targets = [stun.put("CANDIDATE", where), stun.put("OBSERVED-ADDRESS", masked), stun.put("XOR-MAPPED-ADDRESS", masked),
               stun.put("SERVICE", f"{TARGET}:80".encode()), stun.put(0x0012, masked), stun.put(0x8023, where),
               stun.put(0xC002, where)]
    for target in targets:
        for body in (target, stun.put("CALL-WAITING", b"") + stun.put("TAG", tag) + target,
                     target + stun.put("CALL-WAITING", b"") + stun.put("TAG", tag)):
            yield stun.build("NOTIFY", "request", body, place.rng.randbytes(12), key)
            yield stun.build("CONNECT", "request", body, place.rng.randbytes(12), key)


def wake(place, keys):
    """Sends them all to the device, from the server's address, with the newest tag, and waits until it has read them."""
    with Interceptor(place.net.wan, UDP, {ROUTER_B, SERVER}, 1200) as tap:
        place.device.stop()
        place.device.start()
    tag = stun.Message(tap.datagrams(SERVER_UDP)[-1]).get("TAG")
    injector, queue = Injector(place.net.wan), flood.Queue(place.device.process.pid, 2000)
    for key in keys:
        for message in wakeups(place, key, tag):
            injector.send(Packet(UDP, SERVER_UDP, HOME, message))
    queue.drain()
    injector.close()


def test_hyperdht_a_wakeup_with_a_target_in_it_does_nothing(place):
    """Its holepunch messages name the address to send to, and nobody vouches for it: a device becomes a reflector. Here
    without integrity, and with another device's key: not a packet leaves the device for it, be it UDP or TCP."""
    with packets_to(place, f"(dst host {TARGET} or tcp)") as left:
        wake(place, [None, place.rng.randbytes(32), place.others_key[1]])
    assert left == []
    assert ping(place.world).status == 0


def test_hyperdht_even_the_servers_own_wakeup_cannot_name_a_target(place):
    """With the right key and tag, which the server alone has: it asks the server what there is, and dials nobody else."""
    with packets_to(place, f"(dst host {TARGET} or tcp[tcpflags] == tcp-syn)") as left:
        wake(place, [place.key[1]])
    assert set(left) <= {(SERVER, 1300)}
    assert ping(place.world).status == 0


def long_life(place):
    """Many REGISTERs of one run of the agent, as of many keepalives: each change of the host's addresses makes it send one."""
    with Interceptor(place.net.wan, UDP, {ROUTER_B, SERVER}, 1200) as tap:
        for n in range(10):
            sent = len(tap.datagrams(SERVER_UDP))
            place.net.device.ip("addr", "del" if n % 2 else "add", "192.168.1.99/24", "dev", "eth0")
            wait_until(lambda: len(tap.datagrams(SERVER_UDP)) > sent, 2 * KEEPALIVE_S, "it registers again")
    return tap.datagrams(SERVER_UDP)


def test_n2n_714_a_device_that_lost_its_state_is_registered_again_at_once(place):
    """There, the entry of its former life locks a crashed node out until it expires. Here: killed and started again, on the
    same port and on others, while somebody sends what it said in all former lives."""
    injector = Injector(place.net.wan)
    heard, took = list(place.up), []
    try:
        for life in range(6):
            if life == 0:
                heard += long_life(place)
            place.device.process.kill()
            port = 2000 if life % 2 == 0 else 2100 + life
            place.device.configure(port=port)
            with Interceptor(place.net.wan, UDP, {ROUTER_B, SERVER}, 1200) as tap:
                before = registered_at(place)
                assert before is not None  # its old row is still there
                began = time.monotonic()
                place.device.start(ready=False)
                while registered_at(place) != (ROUTER_B, port) or "registered" not in place.device.process.output():
                    assert time.monotonic() - began < AT_ONCE_S, "locked out"
                    for message in heard[-50:]:
                        injector.send(Packet(UDP, before, SERVER_UDP, message))
                took.append(time.monotonic() - began)
            heard += tap.datagrams(SERVER_UDP)
            assert ping(place.world).status == 0
    finally:
        injector.close()
        place.device.stop()
        place.device.configure(port=2000)
        place.device.start()
    print(f"registered again within {max(took):.2f} s")


def test_coturn_amplification_no_credential_request_is_answered_with_more(place):
    """coturn answers 401 with realm, nonce and software, up to 18 KB for one spoofed packet. TURN's methods, with and without
    credentials of the long-term kind, and a Binding with them, measured end to end."""
    rng = place.rng
    methods = {"ALLOCATE": 3, "REFRESH": 4, "SEND": 6, "DATA": 7, "CREATE-PERMISSION": 8, "CHANNEL-BIND": 9, "CONNECT": 10,
               "CONNECTION-BIND": 11, "BINDING": 1}
    transport = stun.put(0x0019, b"\x11\0\0\0")
    long_term = stun.put(0x0006, b"user") + stun.put(0x0014, b"realm") + stun.put("NONCE", b"n" * 30)
    bodies = [b"", transport, transport + stun.put(0x000D, b"\0\0\2\x58"), transport + long_term,
              transport + long_term + stun.put(0x0008, b"h" * 20), long_term + stun.put(0x0008, b"h" * 20),
              stun.put(0x8022, b"x" * 700) + long_term, stun.put(0x0006, b"u" * 1300)]
    r = Reflection(place.net.wan, SERVER_UDP)
    with server_keeps_nothing(place.server):
        for name, number in methods.items():
            r.measure(name, (stun.build(number, kind, body, rng.randbytes(12), key, 32, fingerprint)
                             for kind in stun.CLASSES for body in bodies for key in (None, b"k" * 16)
                             for fingerprint in (True, False)), 8 if number == 1 else 64)
        r.measure("ChannelData", (struct.pack("!HH", 0x4000 + n, 4 * n) + bytes(4 * n) for n in range(300)))
    print(r.table())
    for row in r.rows:
        assert row.bytes_out == 0 or row.label == "BINDING", row
        assert row.bytes_out <= row.bytes_in and row.largest[1] <= row.largest[0] + 24, row


def test_cve_2026_30784_an_unauthenticated_datagram_gets_neither_state_nor_a_larger_reply(place):
    """hbbs keeps a peer, and answers with more, for whoever writes. Twenty thousand registrations of devices that exist and
    that do not, under as many source addresses, and what hbbs's own clients would send."""
    rng, server_pid = place.rng, place.server.process.pid
    injector, queue = Injector(place.net.wan), flood.Queue(server_pid, 1200)
    capture = place.net.capture(place.net.server, "eth0", "udp and src port 1200 and not dst host " + ROUTER_B, snap=64)
    sent = 0
    with server_keeps_nothing(place.server):
        for n in range(20000):
            key = (struct.pack("!IHH", rng.randrange(4), rng.randrange(4), 0), rng.randbytes(32))
            device = rng.choice((2133, 2134, 2133 + n, rng.randrange(1, 1 << 63)))
            source = (f"{rng.choice((8, 23, 77, 91))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randint(1, 254)}",
                      rng.randint(1024, 65535))
            data = register(rng, device, key, b"N" * 20 if n % 3 == 0 else b"") if n % 4 else \
                bytes((0x32, 12, 0x0A, 9)) + b"123456789" + rng.randbytes(n % 40)  # protobuf, as its RegisterPeer
            injector.send(Packet(UDP, source, SERVER_UDP, data))
            sent += 1
            if n % 64 == 63:
                queue.drain()
        queue.drain()
    injector.close()
    assert capture.stop().fields(["frame.number"]) == []
    assert queue.dropped() == 0 and sent == 20000
    assert registered_at(place) is not None and ping(place.world).status == 0


# -- callers and what they may do: chisel, coturn, TR-069, frp --------------------------------------------

import configparser  # noqa: E402
import os  # noqa: E402

from lab.caller import ACCEPTED, NO_ANSWER, STALE  # noqa: E402
from lab.hostile_caller import Mallory, Place, settle  # noqa: E402
from lab.peers import Service, echo  # noqa: E402


@pytest.fixture(scope="module")
def let_in(place):
    """Bob, whose key opens [access lodger], which is for "echo" alone; and alice, whose key opens all."""
    settle(place.net)
    service = Service(echo, place.net.device, 7777)
    bob = place.world.beckon.enrol_user("bob", devices=[2133], pins=[place.device])
    path = place.device.state / "agent.conf"
    config = configparser.ConfigParser(interpolation=None)
    config.read(path)
    config["service echo"] = {"target": "tcp:127.0.0.1:7777"}
    config["access lodger"] = {"services": "echo"}
    with open(path, "w", encoding="utf-8") as f:
        config.write(f)
    owner = Mallory(place.world.alice, place.device, Place(place.net, 66), place.net.workdir, "owner-key")
    lodger = Mallory(bob, place.device, Place(place.net, 67), place.net.workdir, "lodger-key", "lodger")
    yield types.SimpleNamespace(owner=owner, lodger=lodger)
    no_calls(place.net.device)
    service.close()


def test_chisel_ghsa_24fp_5v3p_rvpw_access_is_checked_for_each_stream(place, let_in):
    """There, whoever had passed the handshake could name any target afterwards."""
    with let_in.lodger.call() as session:
        stream, status = session.connect("echo:1")
        assert status == 200
        for authority in ("web:1", "ssh:1", "127.0.0.1:80", "127.0.0.1:22"):
            assert session.connect(authority)[1] == 404, authority
        assert session.echoed(stream)
    with let_in.owner.call() as session:
        assert session.connect("web:1")[1] == 200


def test_chisel_ghsa_24fp_5v3p_rvpw_a_grant_that_is_taken_back_ends_the_call_that_is_up(place, let_in):
    with let_in.lodger.call() as session, let_in.owner.call() as other:
        stream, _ = session.connect("echo:1")
        others, _ = other.connect("echo:1")
        assert session.echoed(stream) and other.echoed(others)
        place.server.ungrant("bob", 2133)
        try:
            assert session.ended(20), "his call goes on"
            assert other.echoed(others)
            with pytest.raises(AssertionError, match="404"):
                let_in.lodger.call()
        finally:
            place.server.grant("bob", 2133)
    with let_in.lodger.call() as session:
        assert session.connect("echo:1")[1] == 200


def test_coturn_cve_2020_26262_no_spelling_of_this_machine_reaches_loopback(place, let_in):
    """There, 0.0.0.0, [::] and mapped forms passed for other addresses and led to loopback."""
    spellings = ["0.0.0.0", "0.0.0.1", "127.0.0.1", "127.127.127.127", "::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1",
                 "::ffff:127.1.1.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::0.0.0.0", "2002:7f00:1::", "2002::1",
                 "::ffff:0:127.0.0.1", f"::ffff:{DEVICE}"]
    ns = place.net.device
    for interface in ("all", "lo"):
        ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 0)
    try:
        with place.net.capture(ns, "lo", "tcp or ip6") as capture, let_in.owner.caller() as one, let_in.owner.caller() as two:
            asked = [(caller, let_in.owner.request(caller, "echo", [(a, 7777) for a in part]))
                     for caller, part in ((one, spellings[:8]), (two, spellings[8:]))]
            for caller, request in asked:
                assert caller.call(request) == ACCEPTED
            for caller, request in asked:
                assert caller.result(request) == NO_ANSWER
    finally:
        for interface in ("lo", "all"):
            ns.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
    assert capture.fields(["frame.number"]) == []


def test_tr_069_annex_g_freshness_is_checked(place, let_in):
    """There, timestamp and ID of a connection request must rise, and agents do not look. Here: the same request
    again is dropped, with the same ID or with time or tag of another day it is stale."""
    since = place.device.process.position()
    with let_in.owner.caller() as caller:
        request = let_in.owner.request(caller, "echo", [("4.17.168.99", 6000)])
        message = request.message()
        assert caller.ask(message).kind == "success"
        assert caller.result(request) == ACCEPTED
        place.device.process.wait_line("result=no-answer", 30, since)
    no_calls(place.net.device)
    since = place.device.process.position()
    with let_in.owner.caller() as again:
        # The server refuses an ID that is still in use; the first call has let go of its own by now.
        wait_until(lambda: again.ask(message[:8] + os.urandom(12) + message[20:]).kind == "success", 20, "it is handed on")
        # Its device says that it has it, and has nothing to do: nothing is sealed for this caller, nobody is dialled.
        again.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            again.result(request)
    assert place.device.process.lines[since:] == []
    for name, value in (("TIME", (int(time.time()) - 1000).to_bytes(8, "big")),
                        ("TIME", (int(time.time()) + 1000).to_bytes(8, "big")), ("TAG", os.urandom(12))):
        with let_in.owner.caller() as caller:
            request = let_in.owner.request(caller, "echo", [("4.17.168.99", 6000)])
            for attribute in ("CALLER-KEY", "SIGNATURE"):
                del request.parts[attribute]
            request.parts[name] = value
            assert caller.call(request.sign(let_in.owner.key)) == STALE, name


def test_frp_xtcp_no_key_is_shared_by_two(place, let_in):
    """There, every visitor has the one secret, and time is anybody's word. Here a key of one is nothing to another."""
    assert place.key[1] != place.others_key[1]
    before = registered_at(place)
    body = stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) + stun.put("REGISTRATION", place.key[0]) \
        + stun.put("TAG", os.urandom(12))
    with place.neighbour.udp("0.0.0.0", 0, 0.5) as s:
        s.sendto(stun.build("REGISTER", "request", body, os.urandom(12), place.others_key[1]), SERVER_UDP)
        with pytest.raises(TimeoutError):
            s.recv(2000)
    assert registered_at(place) == before
    # A caller's key is his own too: known in his name, not in another's signature.
    with let_in.owner.caller() as caller:
        request = let_in.owner.request(caller, "echo")
        for attribute in ("CALLER-KEY", "SIGNATURE"):
            del request.parts[attribute]
        with pytest.raises((AssertionError, TimeoutError)):
            assert caller.call(request.sign(let_in.lodger.key, as_key=let_in.owner.key)) == ACCEPTED
