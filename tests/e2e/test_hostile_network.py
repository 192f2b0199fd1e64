"""A hostile network, datagrams: somebody on the path between device and server (he drops, delays, doubles, replays, invents,
changes, and carries over an address of his own).

What he can do is prevent and delay while he is there; times count from the moment he leaves. Every byte that he saw is
searched for secrets at the end. On the path of streams he is in test_hostile_network_streams.py; somebody elsewhere, who sends
under any source address, is in test_hostile_network_offpath.py; all of them live in lab/hostile_network_world.py."""

import contextlib
import socket
import struct
import time
import types

import pytest

from lab import ROUTER_A, ROUTER_B, SERVER, flood, stun, wait_until
from lab.hostile_network_world import (CALLBACK, HEALED_S, HIS, HOME, MARK, NOT_HIS, OFFLINE, SERVER_UDP, call, dials, first_form,
                                       forget, healed, is_message, no_secret, of_one_call, on_path, ping, populated, row)
from lab.hostile_watch import children
from lab.interceptor import TCP, UDP, Injector, Packet


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


# -- on the path, device and server, UDP ---------------------------------------------------------------

def _flip_some(field, p):
    return [p.flipped(field.rng.randrange(len(p.payload)), field.rng.randrange(8))]


PREVENTING = {
    "dropped": lambda field, p: [],
    "dropped_on_the_way_back": lambda field, p: [] if p.source == SERVER_UDP else [p],
    "modified": _flip_some,
    "modified_on_the_way_back": lambda field, p: _flip_some(field, p) if p.source == SERVER_UDP else [p],
}


@pytest.mark.parametrize("how", PREVENTING)
def test_onpath_device_server_udp_a_registration_that_is_prevented_is_right_within_two_keepalives(field, how):
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, lambda p: PREVENTING[how](field, p)) as he:
        forget(field)
        wait_until(lambda: len(he.datagrams(SERVER_UDP)) >= 2, 10, "the device tries")
        assert row(field) is None and "revoked" not in field.device.process.output()
        he.leave()
        left = time.monotonic()
    assert field.device.process.running() and field.server.process.running()
    healed(field, left)


def test_onpath_device_server_udp_delayed_doubled_and_reordered_datagrams_do_no_harm(field):
    def late(p):
        return [(field.rng.uniform(0, 0.3), p) for _ in range(3)]

    with dials(field) as dialled, on_path(field, UDP, {ROUTER_B, SERVER}, 1200, late) as he:
        forget(field)
        wait_until(lambda: row(field) == HOME, 10, "registered all the same")
        assert ping(field).status == 0
        assert len(he.seen) >= 6
    of_one_call(dialled)


def test_onpath_device_server_udp_carried_over_his_address_and_home_again_when_he_leaves(field):
    """What any NAT may do. The row is where he really hears; calls go on; and it is over when he is gone."""
    def carry(p):
        if p.destination == SERVER_UDP:
            return [p.but(src=HIS, sport=4000)]
        return [p.but(dst=ROUTER_B, dport=2000)] if p.destination == (HIS, 4000) else []

    with on_path(field, UDP, {ROUTER_B, SERVER, HIS}, 1200, carry) as he:
        forget(field)
        wait_until(lambda: row(field) == (HIS, 4000), 10, "registered over his address")
        call(field)
        he.leave()
        left = time.monotonic()
    healed(field, left)


def test_onpath_device_server_udp_no_row_moves_to_where_he_does_not_hear(field):
    """He lets the device's datagrams leave under another's address; what comes back to that one he does not get."""
    def misname(p):
        return [p.but(src=NOT_HIS)] if p.destination == SERVER_UDP else [p]

    before = row(field)
    victim = field.net.capture(field.wan, "to-s", f"udp and dst host {NOT_HIS}")
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, misname) as he:
        # A keepalive of the run that is registered (another address makes it send one at once), then another run's.
        field.net.device.ip("addr", "add", "192.168.1.99/24", "dev", "eth0")
        wait_until(lambda: he.datagrams(SERVER_UDP), 10, "the device sends a keepalive")
        field.net.device.ip("addr", "del", "192.168.1.99/24", "dev", "eth0")
        field.device.stop()
        sent = len(he.datagrams(SERVER_UDP))
        assert row(field) == before == HOME
        field.device.start(ready=False)
        wait_until(lambda: len(he.datagrams(SERVER_UDP)) >= sent + 2, 10, "the device tries")
        assert row(field) == before
        he.leave()
        left = time.monotonic()
    field.device.process.wait_line("registered", HEALED_S)
    healed(field, left)
    victim.stop()
    got = [int(r["udp.length"]) - 8 for r in victim.fields(["udp.length"], "udp and not icmp")]
    sent = [len(d) for d in he.datagrams(SERVER_UDP)]
    assert got and max(got) <= min(sent) and sum(got) <= sum(sent)


def forgeries(field, request, old):
    """Answers to a REGISTER as somebody makes them who sees it and has not the key."""
    asked = stun.Message(request.payload)
    random_key = field.rng.randbytes(32)

    def error(code):
        return stun.put("ERROR-CODE", struct.pack("!HBB", 0, code // 100, code % 100))

    where = stun.put("XOR-MAPPED-ADDRESS", struct.pack("!BBH", 0, 1, 4000 ^ 0x2112) + socket.inet_aton(HIS)) \
        + stun.put("TIME", (4102444800).to_bytes(8, "big"))
    nonce = stun.put("NONCE", b"abcdefghijklmnopqrst")
    for key in (None, random_key):
        for kind, body in (("error", error(403)), ("error", error(438) + nonce), ("success", where)):
            yield stun.build("REGISTER", kind, body, asked.txid, key)
            yield stun.build("REGISTER", kind, body, asked.txid, key, 32, False)
    for answer in old:  # right once, under another transaction ID
        m = stun.Message(answer)
        yield answer[:8] + asked.txid + answer[20:]
        keep = b"".join(stun.put(a.name, a.value) for a in m.attributes if a.name != "FINGERPRINT")
        yield stun.build("REGISTER", m.kind, keep, asked.txid)  # its FINGERPRINT mended


def test_onpath_device_server_udp_forged_answers_before_the_true_one_are_not_believed(field):
    """403 (revoked), 438 (another nonce), success (another address), without integrity, under another key, with the
    integrity of an older answer; and that the server's port is unreachable. All arrive before the true answer."""
    old, forged, injector = [], 0, Injector(field.wan)

    def first(p):
        nonlocal forged
        if p.source == SERVER_UDP:
            old.append(p.payload)
            return [(0.1, p)]
        back = Packet(UDP, SERVER_UDP, p.source)
        made = [back.but(payload=data) for data in forgeries(field, p, old)]
        forged += len(made)
        injector.unreachable(SERVER, p)
        injector.unreachable(SERVER, p, code=1)
        return made + [p]

    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, first):
        forget(field)
        said = field.device.process.wait_line("registered; the server sees", 10)
        assert f"{ROUTER_B}:2000" in said and row(field) == HOME
        call(field)
    injector.close()
    assert forged >= 24
    said = field.device.process.output()
    assert "revoked" not in said and HIS not in said and "does not answer" not in said, said


@pytest.fixture(scope="module", params=["fast", "first"])
def woken(field, request):
    """He changes every NOTIFY in many ways and keeps the true ones back; the call fails. Later he sends those, again
    and again; then those of a call that came about. Of each form of the call."""
    with first_form(field) if request.param == "first" else contextlib.nullcontext():
        return wake(field, request.param)


def wake(field, form):
    kept = []
    facts = types.SimpleNamespace(form=form)

    def spoil(p):
        if not is_message(p, "NOTIFY", "request"):
            return [p]
        kept.append(p)
        return [p.flipped(at) for at in range(len(p.payload))]

    wait_until(lambda: row(field) == HOME, HEALED_S, "registered")
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200, spoil):
        with dials(field) as facts.by_modified:
            facts.status = ping(field).status
        injector = Injector(field.wan)
        with dials(field) as facts.by_kept:
            injector.send(kept[0])
            wait_until(lambda: facts.by_kept.begun() or children(field.device), 15, "it wakes")
        queue = flood.Queue(field.device.process.pid, 2000)
        with dials(field) as facts.by_replayed:
            for _ in range(300):
                for p in kept:
                    injector.send(p)
                queue.drain()
    facts.kept = kept
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200) as he:
        call(field)
        facts.true = [p for p in he.seen if is_message(p, "NOTIFY", "request")]
    with dials(field) as facts.by_old:
        for _ in range(300):
            for p in facts.true:
                injector.send(p)
            queue.drain()
    injector.close()
    return facts


def test_onpath_a_modified_notify_starts_no_call_and_the_caller_hears_offline(woken):
    assert len(woken.kept) >= 3
    assert woken.status == OFFLINE and woken.by_modified == []


def test_onpath_a_notify_kept_back_wakes_the_device_once_to_ask_its_server_and_no_more(woken):
    assert len({p.payload[8:20] for p in woken.kept}) == 1
    # In the fast form it has nothing to ask: it calls back the one address in the box, where nobody listens any more.
    assert woken.by_kept == [(ROUTER_A, 5000) if woken.form == "fast" else (SERVER, 1300)]


def test_onpath_replayed_notifies_start_no_call(woken):
    assert woken.true and woken.by_replayed == [] and woken.by_old == []


# -- the search ------------------------------------------------------------------------------------------

def test_onpath_he_learns_no_secret(field):
    """On all three paths at once during a call with marks both ways; and in all that any test of this file let him see."""
    (field.world.nginx.root / "mark.txt").write_text(MARK)
    with on_path(field, UDP, {ROUTER_B, SERVER}), on_path(field, TCP, {ROUTER_A, ROUTER_B, SERVER}):
        wait_until(lambda: row(field) == HOME, HEALED_S)
        done = field.world.alice.run("connect", *CALLBACK, "2133", "web",
                                     input=f"GET /mark.txt HTTP/1.0\r\nX-Mark: {MARK[::-1]}\r\n\r\n")
        assert done.out.endswith(MARK)
        field.device.process.kill()
        field.device.start()
    seen = no_secret(field)
    assert stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")) in seen and b"\x16\x03\x01" in seen
