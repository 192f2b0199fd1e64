"""A device that joined as it should and then means harm, or was stolen: against the server, against other devices and those
who call them, and against whoever calls it.

    beckon, bob ---- router-a ---- [wan: device 2140, at 91.7.7.x] ---- router-b ---- agent 2133 (web, echo)
                                       |
                                     server"""

import contextlib
import os
import random
import signal
import ssl
import struct
import time
import types

import nacl.public
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from lab import REQUESTER, ROUTER_A, SERVER, flood, hostile_h2 as h2, stun, wait_until
from lab.caller import ACCEPTED, NO_ANSWER, STALE, Caller, Request, pin_of
from lab.false_device import DATA, GOAWAY, HEADERS, RST_STREAM, SETTINGS, call_name, dial, frame, signed_box_key
from lab.hostile_caller import Mallory, Place, settle
from lab.hostile_device import HostileDevice, receive, tell
from lab.hostile_watch import Peak, descriptors, meanwhile, median, no_calls, status_kb
from lab.peers import Service, echo

ID, PORT = 2140, 8080
MAPPED = ("--listen", "0.0.0.0:1600", "--advertise", f"{ROUTER_A}:5000")
OTHER = ("--listen", "0.0.0.0:1601", "--advertise", f"{ROUTER_A}:5001")
OFFLINE = 480
CONTROL = 1           # a caller's first stream: paths are told on it
WATCHES_MAX = 64      # of one device
BECKON_KB = 48 << 10  # what `beckon` may need, whatever the device does


@pytest.fixture(scope="module")
def field(world):
    net = world.net
    net.router_a.inbound_maps += [("tcp", 5000, REQUESTER, 1600), ("tcp", 5001, REQUESTER, 1601)]
    net.router_a.load()
    settle(net)
    service = Service(echo, net.device, 7777)
    world.device.stop()
    world.device.configure({"echo": "tcp:127.0.0.1:7777"})
    world.device.start()
    party = world.beckon.enrol_device(ID, ns=net.server)
    world.server.grant("alice", ID)
    world.alice.pin(party.uri())
    bob = world.beckon.enrol_user("bob", devices=[2133], pins=[world.device])
    evil = HostileDevice(party, net, 40)
    assert evil.register().kind == "success"
    yield types.SimpleNamespace(net=net, beckon=world.beckon, server=world.server, device=world.device, alice=world.alice,
                                bob=bob, evil=evil, friend=Mallory(bob, world.device, Place(net, 77), net.workdir, "friend"),
                                server_pid=world.server.process.pid,
                                sanitized=status_kb(world.server.process.pid, "VmSize") > 1 << 30)
    evil.close()
    service.close()


@pytest.fixture(autouse=True)
def others_are_served(field):
    """During each test somebody calls device 2133, again and again; afterwards the server is as it was."""
    idle, before = descriptors(field.server_pid), status_kb(field.server_pid, "VmRSS")
    assert field.evil.register().kind == "success"

    def one():
        with field.friend.call() as session:
            stream, status = session.connect("echo:1")
            assert status == 200 and session.echoed(stream)
        time.sleep(0.5)  # a device remembers 512 calls, for as long as a tag or time of theirs may be fresh

    with meanwhile(one) as took:
        yield
    assert len(took) >= 1 and max(took) < (15.0 if field.sanitized else 6.0), took
    no_calls(field.net.device)
    assert field.server.process.running() and field.device.process.running()
    wait_until(lambda: descriptors(field.server_pid) <= idle, 25, "the server has closed what was opened")
    grown = status_kb(field.server_pid, "VmRSS") - before
    assert grown <= (400 << 10 if field.sanitized else 12 << 10), f"the server grew by {grown} KB"
    assert {d["id"] for d in field.server.devices() if d["address"]} <= {2133, ID}


def calls_evil(field):
    """A caller of the hostile device, connected and with its box key."""
    return Caller(types.SimpleNamespace(ns=Place(field.net, 80), state=field.alice.state), SERVER, ID)


def ring(caller):
    """217 on its way; the request, to which the device's box key opens."""
    request = Request(caller, ID).password("whatever")
    caller.socket.sendall(request.message())
    return request


def lookup(device):
    return stun.build("LOOKUP", "request", stun.put("EQUIPMENT-ID", device.to_bytes(8, "big")), os.urandom(12), fingerprint=False)


def answered(caller, seconds=12):
    caller.socket.settimeout(seconds)
    answer = caller.receive()
    assert answer is not None and answer.method == "CONNECT", answer
    return answer.error_code or 200


# -- 226 and RESULT ------------------------------------------------------------------------------------


def test_226_answered_never_or_too_late_is_offline_to_its_caller_alone(field):
    with calls_evil(field) as one, calls_evil(field) as two:
        began = time.monotonic()
        ring(one)
        never, _ = field.evil.take()
        ring(two)
        late, offer = field.evil.take()
        assert answered(one) == OFFLINE and answered(two) == OFFLINE
        assert 6.5 < time.monotonic() - began < 9.5
        with contextlib.suppress(OSError):
            field.evil.answer(late, offer)
            late.sendall(field.evil.result(offer))
        assert tell(two.socket, 0.5) == []
        assert receive(never) is None, "its stream stays open"
        never.close()
        late.close()


def test_226_answered_twice_ends_the_stream_and_no_more(field):
    with calls_evil(field) as caller:
        ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        field.evil.answer(s, offer)
        assert receive(s) is None
        assert [m for m in tell(caller.socket, 0.3) if m.method == "CONNECT"] == []
        caller.socket.settimeout(10)
        assert caller.ask(lookup(ID)).kind == "success"
        s.close()


@pytest.mark.parametrize("how", ["error", "other transaction", "garbage", "half a message", "RESULT first", "a request",
                                 "LOOKUP", "RENEW", "WATCH", "hangs up"])
def test_226_answered_wrongly_is_offline_to_its_caller_alone(field, how):
    rng = random.Random(how)
    with calls_evil(field) as caller:
        ring(caller)
        s, offer = field.evil.take()
        if how == "error":
            field.evil.answer(s, offer, "error", stun.put("ERROR-CODE", b"\0\0\4\0"))
        elif how == "other transaction":
            s.sendall(stun.build("CONNECT", "success", b"", os.urandom(12), fingerprint=False))
        elif how == "garbage":
            s.sendall(rng.randbytes(4000))
        elif how == "half a message":
            s.sendall(stun.build("CONNECT", "success", b"", offer.txid, fingerprint=False)[:11])
        elif how == "RESULT first":
            s.sendall(field.evil.result(offer))
        elif how == "a request":
            s.sendall(offer.raw)
        elif how != "hangs up":
            s.sendall(stun.build(how, "request", stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")), os.urandom(12),
                                 fingerprint=False))
        if how in ("hangs up", "error"):
            s.close()
        assert answered(caller) == OFFLINE
        s.close()


def test_results_for_calls_of_others_reach_nobody(field):
    """With everything known about a call to 2133, from a stream of its own that serves another call."""
    with field.friend.caller() as victim, calls_evil(field) as caller:
        request = field.friend.request(victim, "echo", [("4.17.168.99", 6000)])
        assert victim.call(request) == ACCEPTED
        ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        # The victim's call ID, outside and inside; sealed to the reply key of this one.
        s.sendall(field.evil.result(offer, NO_ANSWER, request.call_id))
        assert receive(s) is None, "who speaks of another's call is cut off"
        s.close()
        came = tell(victim.socket, 0.5)
        assert [m.get("CALL-ID") for m in came if m.method == "RESULT"] == []
        victim.socket.settimeout(10)
        victim.left = b""
        assert victim.ask(lookup(2133)).kind == "success"  # it is all there, and heard nothing
    # On a stream that serves no call the server does not listen at all.
    with contextlib.suppress(OSError), field.evil.stream() as s:
        s.sendall(field.evil.result(offer, ACCEPTED, request.call_id))
        assert receive(s) is None


def test_results_without_end_reach_its_own_caller_at_most(field):
    """Five thousand, of the greatest size that a box may have; then one too large."""
    with calls_evil(field) as caller:
        request = ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        one = stun.build("RESULT", "indication", stun.put("CALL-ID", request.call_id) + stun.put("BOX", bytes(1024)),
                         os.urandom(12), fingerprint=False)
        s.settimeout(3)
        with contextlib.suppress(OSError):
            for _ in range(50):
                s.sendall(one * 100)
        got = tell(caller.socket, 0.5)
        assert {m.method for m in got} <= {"RESULT"}
        s.close()
    with calls_evil(field) as caller:
        request = ring(caller)
        s, offer = field.evil.take()
        field.evil.answer(s, offer)
        assert answered(caller) == 200
        s.sendall(stun.build("RESULT", "indication", stun.put("CALL-ID", request.call_id) + stun.put("BOX", bytes(1028)),
                             os.urandom(12), fingerprint=False))
        assert receive(s) is None
        assert tell(caller.socket, 0.3) == []
        s.close()


def test_stale_without_end_is_believed_once(field):
    """A device that sends its callers round and round: `beckon` asks twice in all."""
    process = field.alice.start("connect", *MAPPED, ID, "web", log=None)
    offers = []
    for _ in range(2):
        s, offer = field.evil.take()
        offers.append(offer)
        field.evil.answer(s, offer)
        s.sendall(field.evil.result(offer, STALE))
        s.close()
    assert process.wait(15) != 0
    assert offers[0].get("CALL-ID") != offers[1].get("CALL-ID")
    assert len(process.output().splitlines()) <= 4, process.output()


# -- streams and messages ------------------------------------------------------------------------------


def test_streams_by_the_hundred_are_held_to_their_limits(field):
    """Agent streams without a call are closed, watches are 64, renewals that ask nothing have 20 s; from five addresses."""
    idle, held = descriptors(field.server_pid), []
    try:
        for n in range(150):
            place = Place(field.net, 90 + n % 5)
            for alpn in ("beckon-agent/1", "beckon-watch/1", "beckon-renew/1"):
                with contextlib.suppress(OSError):
                    held.append((alpn, field.evil.stream(alpn, place=place)))
        watching = 0
        for alpn, s in held:
            if alpn == "beckon-watch/1":
                answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", b"alice"))
                watching += answer is not None and answer.kind == "success"
        assert watching == WATCHES_MAX
        # Besides, the watches of the other calls: a device waits 3 s for a caller who left without a word.
        wait_until(lambda: descriptors(field.server_pid) - idle <= WATCHES_MAX + 150 + 20, 10, "the rest are closed")
    finally:
        for _, s in held:
            s.close()


def test_streams_with_huge_and_slow_messages_end(field):
    """Greater than any message; begun and not finished; questions of other roles."""
    ways = {"beckon-agent/1": [], "beckon-renew/1": [], "beckon-watch/1": []}
    huge = struct.pack("!HHI12s", 0x00C7, 0xFFFC, stun.COOKIE, bytes(12))
    slow = []
    for alpn in ways:
        with contextlib.suppress(OSError), field.evil.stream(alpn) as s:
            s.sendall(huge)
            assert receive(s) is None
        for method in ("LOOKUP", "CONNECT", "ENROL", "REGISTER", "BINDING", "NOTIFY", "WATCH", "RENEW"):
            if method == alpn[7:-2].upper():
                continue
            with field.evil.stream(alpn) as s:
                answer = field.evil.ask(s, method, stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")))
                assert answer is None or answer.kind == "error", (alpn, method)
        if alpn != "beckon-agent/1":
            s = field.evil.stream(alpn, timeout=15)
            s.sendall(stun.build("RENEW", "request", bytes(100), os.urandom(12), fingerprint=False)[:30])
            slow.append(s)
    began = time.monotonic()
    for s in slow:
        assert receive(s) is None
        s.close()
    assert 3 < time.monotonic() - began < 9


# -- being somebody else -------------------------------------------------------------------------------


def request_for(key, subject="beckon:device:2133"):
    """PKCS#10, DER, that claims to be 2133's."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    return (x509.CertificateSigningRequestBuilder().subject_name(name)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject)]), False)
            .sign(key, None).public_bytes(serialization.Encoding.DER))


def load_key(party):
    return serialization.load_pem_private_key((party.state / "device.key").read_bytes(), None)


def renew(field, body):
    with field.evil.stream("beckon-renew/1") as s:
        return field.evil.ask(s, "RENEW", body)


def test_renew_with_the_request_of_another_is_refused(field):
    stranger = ed25519.Ed25519PrivateKey.generate()
    for key in (stranger, load_key(field.device)):
        answer = renew(field, stun.put("CERTIFICATE-REQUEST", request_for(key)))
        assert answer.kind == "error" and answer.error_code == 400
    bent = bytearray(request_for(load_key(field.evil.party)))
    bent[-1] ^= 1
    assert renew(field, stun.put("CERTIFICATE-REQUEST", bytes(bent))).error_code == 400


def test_renew_under_the_name_of_another_gives_ones_own(field):
    """What the request says of itself is nobody's word: key and ID are those of the connection."""
    answer = renew(field, stun.put("CERTIFICATE-REQUEST", request_for(load_key(field.evil.party))))
    assert answer.kind == "success"
    made = x509.load_der_x509_certificate(answer.get("CERTIFICATE"))
    uris = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert uris.get_values_for_type(x509.UniformResourceIdentifier) == [f"beckon:device:{ID}"]
    assert answer.get("REGISTRATION-KEY") == field.evil.key
    answer = renew(field, stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big"))
                   + stun.put("CERTIFICATE-REQUEST", request_for(load_key(field.evil.party))))
    assert answer.kind == "error" or answer.get("REGISTRATION-KEY") == field.evil.key


def test_renew_with_a_box_key_of_anothers_hand_is_refused(field):
    """Signed by another device, by nobody, ended, or for ever."""
    seed = load_key(field.evil.party).private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                                    serialization.NoEncryption())
    other = load_key(field.device).private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                                 serialization.NoEncryption())
    public, now = os.urandom(32), int(time.time())
    with field.friend.caller() as before:
        pass
    assert renew(field, stun.put("BOX-KEY", signed_box_key(other, public, now, now + 86400))).error_code == 400
    assert renew(field, stun.put("BOX-KEY", os.urandom(113))).error_code == 400
    assert renew(field, stun.put("BOX-KEY", signed_box_key(seed, public, now, now + 86400)[:-1])).error_code == 400
    with field.friend.caller() as after, calls_evil(field) as mine:
        assert after.box_key == before.box_key
        assert mine.box_key == bytes(nacl.public.PrivateKey(field.evil.box_secret).public_key)


def watch(field, name, stranger=None):
    with field.evil.stream("beckon-watch/1") as s:
        began = time.monotonic()
        answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", name), b"twelve bytes")
        return answer, time.monotonic() - began


def test_watch_tells_a_device_who_may_call_it_and_nothing_else_of_anybody(field):
    """Users that there are and that there are not, revoked, or granted elsewhere: alike, at the same time."""
    field.beckon.enrol_user("carol")
    field.beckon.enrol_user("gone", devices=[ID])
    field.server.revoke(user="gone")
    assert watch(field, b"alice")[0].kind == "success"
    took, answers = {}, set()
    names = [b"bob", b"carol", b"gone", b"nobody", b"no-one-of-that-name", b"zz"]
    for _ in range(7):
        for name in names:
            answer, seconds = watch(field, name)
            answers.add(answer.raw)
            took.setdefault(name, []).append(seconds)
    assert len(answers) == 1 and stun.Message(answers.pop()).error_code == 404
    medians = {name: median(values) for name, values in took.items()}
    assert max(medians.values()) - min(medians.values()) < (0.2 if field.sanitized else 0.03), medians
    for name in (b"", b"Alice", b"alice\0", b"a" * 64, b"2140", b"al ice", b"alice\n"):
        answer, _ = watch(field, name)
        assert answer is None or answer.kind == "error", name


def test_watch_is_not_for_a_call_to_another_device(field):
    """It says which user, not which device: that is the one whose certificate was shown."""
    with field.evil.stream("beckon-watch/1") as s:
        answer = field.evil.ask(s, "WATCH", stun.put("USER-NAME", b"bob") + stun.put("EQUIPMENT-ID", (2133).to_bytes(8, "big")))
        assert answer is None or answer.kind == "error"


def test_registers_under_thousands_of_forged_ids_leave_no_row_and_are_not_answered(field):
    """With its own right key: other IDs, other generations of itself, other epochs, its own numbers bent."""
    rng, queue = random.Random(11), flood.Queue(field.server_pid, 1200)
    evil = field.evil
    with field.net.wan.udp(evil.place.address, 0, 0.5) as s:
        for n in range(6000):
            how = n % 4
            if how == 0:
                message = evil.register_message(device=rng.choice((1, 2133, 2134, 2139, rng.randrange(1, 1 << 63))))
            elif how == 1:
                message = evil.register_message(registration=struct.pack("!IHH", rng.randrange(2, 1 << 32), 1, 0))
            elif how == 2:
                other_epoch = struct.pack("!HH", rng.randrange(2, 65536), 0)
                message = evil.register_message(registration=evil.registration[:4] + other_epoch)
            else:
                message = evil.register_message(device=2133, key=rng.randbytes(32))
            s.sendto(message, (SERVER, 1200))
            if n % 64 == 63:
                queue.drain()
        queue.drain()
        with pytest.raises(TimeoutError):
            s.recv(2000)
    assert sorted(d["id"] for d in field.server.devices() if d["address"]) == [2133, ID]


def test_stolen_device_is_neither_its_successor_nor_another(field):
    """2141 is stolen with all its keys; another is enrolled in its place."""
    party = field.beckon.enrol_device(2141, ns=field.net.server)
    field.server.grant("alice", 2141)
    stolen = HostileDevice(party, field.net, 41)
    assert stolen.register().kind == "success"
    fresh = field.beckon.workdir / "successor"
    token = field.server.token(device=2141)
    new = type(party)(field.beckon, "successor", field.net.server)
    new.state, new.id = fresh, 2141
    new.join(token)
    successor = HostileDevice(new, field.net, 42)
    assert successor.registration != stolen.registration and successor.key != stolen.key
    assert successor.register().kind == "success"
    # By datagrams, also with the successor's generation; by streams of each kind.
    answer = stolen.register()
    assert (answer.kind, answer.error_code) == ("error", 403)
    row, = [d for d in field.server.devices() if d["id"] == 2141]
    assert row["address"] == successor.place.address
    with stolen.net.wan.udp(stolen.place.address, 0, 0.4) as s:
        s.sendto(stolen.register_message(registration=successor.registration), (SERVER, 1200))
        with pytest.raises(TimeoutError):
            s.recv(2000)
    for alpn, method, body in (("beckon-renew/1", "RENEW", stun.put("CERTIFICATE-REQUEST", request_for(load_key(party)))),
                               ("beckon-watch/1", "WATCH", stun.put("USER-NAME", b"alice"))):
        with stolen.stream(alpn) as s:
            assert stolen.ask(s, method, body).error_code == 403
    # A call to 2141 is its successor's alone.
    with Caller(types.SimpleNamespace(ns=Place(field.net, 81), state=field.alice.state), SERVER, 2141) as caller:
        assert caller.pin == pin_of(x509.load_pem_x509_certificate((fresh / "device.crt").read_bytes())
                                    .public_bytes(serialization.Encoding.DER))
        caller.socket.sendall(Request(caller, 2141).password("whatever").message())
        successor.heed()
        with contextlib.suppress(OSError), stolen.stream() as s:
            assert receive(s) is None, "the request went to who was replaced"
        with successor.stream() as s:
            offer = receive(s)
            successor.answer(s, offer)
            assert answered(caller) == 200
            with pytest.raises(Exception, match="(?i)decrypt"):
                stolen.opened(offer)
            assert successor.opened(offer)[0].password == "whatever"
    stolen.close()
    successor.close()
    field.server.revoke(device=2141)


# -- against its callers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forward(field):
    """`beckon forward` to the hostile device, which starts with a call that is answered, and ended."""
    process = field.alice.start("forward", *MAPPED, ID, f"{PORT}:echo", log=None)
    with field.evil.meet():
        wait_until(lambda: field.net.requester.listening(PORT) or not process.running(), 10, "forward listens")
    process.wait_line("the next connection calls again")
    yield process
    assert process.running(), process.output()
    process.stop(signal.SIGINT)


@contextlib.contextmanager
def met(field, forward, *settings, open=True):
    """A connection to the forwarded port, the call that comes of it, and the stream in it. The program lives, keeps to its
    memory, and says little."""
    for _ in range(3):
        since = forward.position()
        local = field.net.requester.connect("127.0.0.1", PORT, timeout=15)
        local.sendall(b"to whom it may concern")
        try:
            session = field.evil.meet(*settings)
            break
        except TimeoutError:  # that connection still found the call of before, on its way out
            local.close()
    peak = Peak(forward.pid)
    stream = session.wait(lambda k, f, s, p: k == HEADERS and s != CONTROL)[2]
    if open:
        session.send(h2.headers(stream, b"\x88"))
    with contextlib.closing(local), session:
        yield session, stream, local
    used = peak.stop()
    print(f"beckon: at most {used} KB; it said: {forward.lines[since:]}")
    assert forward.running(), forward.output()
    assert used < (800 << 10 if field.sanitized else BECKON_KB), f"beckon took {used} KB"
    assert forward.position() - since < 12, forward.lines[since:]


FLOODS = ["settings_flood", "ping_flood", "priority_flood", "empty_data", "window_crumbs", "unknown_frames", "continuation_flood",
          "empty_continuations", "header_bomb", "huge_frames", "goaways", "pushes", "garbage", "frames_of_any_kind"]


@pytest.mark.parametrize("name", FLOODS)
def test_h2_flood_by_a_device_ends_its_own_session_only(field, forward, name):
    with met(field, forward) as (session, stream, local):
        began = time.monotonic()
        over = session.flood(getattr(h2, name)(session, stream), 10) or session.ended(8)
        print(f"{name}: {session.sent} bytes in {time.monotonic() - began:.2f} s")
        assert over, "it goes on"


@pytest.mark.parametrize("name", ["ping_flood", "settings_flood"])
def test_h2_flood_by_a_device_that_reads_nothing_ends_its_session(field, forward, name):
    with met(field, forward) as (session, stream, local):
        since = forward.position()
        session.flood(getattr(h2, name)(session, stream), 5, read=False)
        forward.wait_line("calls again", 15, since)


def test_h2_answers_without_end_end_the_session(field, forward):
    """Informational answers to one CONNECT (1xx), again and again."""
    with met(field, forward, open=False) as (session, stream, local):
        early = h2.headers(stream, h2.literal(":status", "103")) * 500
        over = session.flood(iter(lambda: early, None), 10) or session.ended(8)
        assert over, "it goes on"


def test_h2_data_beyond_the_window_ends_its_stream(field, forward):
    """Sixty megabytes that were not asked for, while the local reader takes nothing."""
    with met(field, forward) as (session, stream, local):
        piece = b"".join(frame(DATA, 0, stream, bytes(16000)) for _ in range(4))
        session.flood((piece for _ in range(1000)), 10)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := local.recv(1 << 20):
                taken += len(piece)
        assert taken < 24 << 20  # what was in windows and sockets


def test_h2_a_device_that_takes_nothing_holds_back_its_user(field, forward):
    """No window at all: what the local program sends waits in that program, not in ours."""
    with met(field, forward, (h2.INITIAL_WINDOW, 0)) as (session, stream, local):
        local.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            for _ in range(200):
                local.sendall(bytes(1 << 20))
                sent += 1 << 20
        assert sent < 16 << 20
        assert field.net.requester.listening(PORT)


@pytest.mark.parametrize("what", ["an answer to no stream", "data of no stream", "status of letters", "no status", "two heads",
                                  "window beyond bounds", "half a frame", "ends"])
def test_h2_nonsense_of_a_device_is_the_end_of_that_session_at_most(field, forward, what):
    with met(field, forward, open=False) as (session, stream, local):
        ok = h2.headers(stream, b"\x88")
        session.send({"an answer to no stream": h2.headers(stream + 100, b"\x88"),
                      "data of no stream": frame(DATA, 0, stream + 100, b"x"),
                      "status of letters": h2.headers(stream, h2.literal(":status", "abc")),
                      "no status": h2.headers(stream, h2.literal("x", "y")),
                      "two heads": ok + ok,
                      "window beyond bounds": ok + h2.window_update(0, 0x7FFFFFFF) * 2,
                      "half a frame": ok + frame(DATA, 0, stream, bytes(1000))[:500],
                      "ends": b""}[what])
        if what in ("half a frame", "ends"):
            session.close()
        with contextlib.suppress(ConnectionError):
            local.settimeout(10)
            if what == "two heads":  # the second is none of a CONNECT's, and the stream's end at most
                local.settimeout(1)
            with contextlib.suppress(TimeoutError):
                got = local.recv(1000)
                while what == "half a frame" and got:  # what has come of it may have been passed on
                    assert not any(got)
                    got = local.recv(1000)
                assert got == b"", what


def test_h2_authorities_and_streams_that_a_device_opens_are_none(field, forward):
    """A device asks nothing of its caller: HEADERS of its own are no CONNECT to anything."""
    with met(field, forward) as (session, stream, local):
        session.send(h2.headers(2, h2.connect_block("127.0.0.1:8080")))
        got = session.wait(lambda k, f, s, p: k in (RST_STREAM, 7) or k == HEADERS and s == 2, 10)
        assert got is None or got[0] != HEADERS


def test_connections_without_end_to_the_callback_port_keep_to_their_limits(field):
    """Accepted, and then a hundred connections that say nothing, or a byte at a time: the caller gives up in time."""
    process = field.alice.start("connect", *OTHER, ID, "web", log=None)
    s, offer = field.evil.take()
    field.evil.answer(s, offer)
    s.sendall(field.evil.result(offer))
    request, _ = field.evil.opened(offer)
    peak, began, held = Peak(process.pid), time.monotonic(), []
    for n in range(100):
        with contextlib.suppress(OSError):
            c = Place(field.net, 100 + n % 20).connect(ROUTER_A, 5001, 2.0)
            c.sendall(b"\x16\x03\x01\x40\x00"[:n % 6])
            held.append(c)
    assert process.wait(20) != 0
    assert time.monotonic() - began < 15
    assert peak.stop() < (800 << 10 if field.sanitized else BECKON_KB)
    for c in (*held, s):
        c.close()


def half_open(field, address, port, call_id):
    """A device's connection of which the caller has its first message and no more; what finishes it, and its session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*field.evil.files)
    context.set_alpn_protocols(["beckon-call/1"])
    raw = field.net.requester.connect(address, port)
    raw.settimeout(5)
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(theirs, ours, server_hostname=call_name(call_id))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    raw.sendall(ours.read())
    first = raw.recv(65536)  # its flight, and what it says with it
    assert first

    def finish():
        theirs.write(first)
        tls.do_handshake()
        tls.write(frame(SETTINGS, 0, 0))
        raw.sendall(ours.read())

    return raw, finish


def test_a_connection_that_was_to_be_used_and_comes_late_leaves_the_stream_alone(field):
    """The caller has sent CONNECT with its flight, the device finishes that handshake when another session is long in use: a
    better one by its kind, so it is taken, and what was opened on it first is not the stream that the user has."""
    process = field.alice.start("connect", "-v", "--listen", "0.0.0.0:1601", ID, "echo", stdin=-1, log=None)
    s, offer = field.evil.take()
    with s:
        field.evil.answer(s, offer)
        s.sendall(field.evil.result(offer))
        request, _ = field.evil.opened(offer)
        process.wait_line("the device accepts us")
        raw, finish = half_open(field, REQUESTER, 1601, request.call_id)
        used = dial(field.net.wan, ROUTER_A, 5001, field.evil.files, request.call_id)
    session = h2.Session(used.socket, False, used.buffer)
    stream = session.wait(lambda k, f, s, p: k == HEADERS and s != CONTROL)[2]
    session.send(h2.headers(stream, b"\x88") + frame(DATA, 0, stream, b"before\n"))
    process.wait_line("^before$")
    with raw:
        finish()
        process.wait_line(r"path: host")
        session.send(frame(DATA, 0, stream, b"and after\n"))
        process.wait_line("^and after$", 5)
        assert session.wait(lambda k, f, s, p: k == GOAWAY, 1) is None, "the call is being ended"
    assert process.running(), process.output()
    session.close()
    assert process.wait() == 1
