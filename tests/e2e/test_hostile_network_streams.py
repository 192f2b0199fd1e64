"""A hostile network, streams: somebody on the path of TLS between each two of the three, in handshakes and in the middle of what
a call carries. A clear error, no wrong byte, and good again when he has left. As in test_hostile_network.py otherwise."""

import contextlib
import socket
import threading

import pytest

from lab import ROUTER_A, ROUTER_B, SERVER, wait_until
from lab.hostile_network_world import (CALLBACK, HOME, LOST, NO_PATH, OFFLINE, SERVER_DOWN, SIZE, call, counted, dials, first_form,
                                       he_said, on_path, ping, populated, row)
from lab.hostile_watch import children
from lab.interceptor import ACTS, TCP, Stream, attack
from lab.peers import Service


@pytest.fixture(scope="module")
def field(world):
    yield from populated(world)


@pytest.fixture()
def by_tls(field):
    with first_form(field):
        yield


# -- on the path, streams ------------------------------------------------------------------------------

# Which data segment: of the requester 1 is its hello, 2 the rest of the handshake with LOOKUP, 3 CONNECT; of the server
# 1 its part of the handshake, 2 the answer to LOOKUP, 3 to CONNECT and the device's result.
REQUESTER_SERVER = [(act, to, n) for act in ACTS for to, n in ((True, 1), (True, 3), (False, 1), (False, 2))
                    if act != "drop" or n == 1 and to]


@pytest.mark.parametrize("act,to_server,number", REQUESTER_SERVER)
def test_onpath_requester_server_tls_any_interference_is_a_clear_error(field, act, to_server, number):
    """Always the same status: the server cannot be reached, or is not the one. No call comes of it."""
    with on_path(field, TCP, {ROUTER_A, SERVER}, 1201, attack(act, 1201, to_server, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == SERVER_DOWN and SERVER in done.err and "round trip" not in done.out, done
    assert len(done.err.strip().splitlines()) == 1


def test_onpath_requester_server_tls_is_good_again_once_he_has_left(field):
    call(field)


# Of the device: 1 its hello, 2 the rest of the handshake, 3 its answer to 226; of the server 1 its part of the handshake,
# 2 has 226. A device whose handshake fails costs the caller the whole wait (7 s): one such case.
DEVICE_SERVER = [("modify", True, 2), *((act, False, 2) for act in ("modify", "reset", "cut", "inject", "replay"))]


@pytest.mark.parametrize("act,to_server,number", DEVICE_SERVER)
def test_onpath_device_server_tls_any_interference_is_offline_to_the_caller(field, by_tls, act, to_server, number):
    """The device dials its server and nobody else, stays registered, and takes the next call."""
    with dials(field) as dialled, on_path(field, TCP, {ROUTER_B, SERVER}, 1300, attack(act, 1300, to_server, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == OFFLINE and "round trip" not in done.out, done
    assert set(dialled) == {(SERVER, 1300)}
    assert row(field) == HOME


def test_onpath_device_server_tls_a_changed_answer_to_226_leads_the_device_to_its_caller_at_most(field, by_tls):
    """It has the request then, and the caller has given up. Whether it has accepted before it learns that the server is gone, is
    open: it dials the address in the box once, and nobody takes it, or nobody."""
    since = field.device.process.position()
    with dials(field) as dialled, on_path(field, TCP, {ROUTER_B, SERVER}, 1300, attack("modify", 1300, True, 3)) as he:
        done = ping(field)
    assert he.handle.done and done.status == OFFLINE, done
    assert set(dialled) in ({(SERVER, 1300)}, {(SERVER, 1300), (ROUTER_A, 5000)}) and dialled.count((ROUTER_A, 5000)) <= 1
    assert "result=served" not in field.device.process.wait_line("audit call", 10, since)


def test_onpath_device_server_tls_is_good_again_once_he_has_left(field):
    call(field)


def test_onpath_whole_client_streams_replayed_to_the_server_do_nothing(field, by_tls):
    """A recorded call, said again word by word to both ports: no call, no wake-up, no answer but of the handshake."""
    with on_path(field, TCP, {ROUTER_A, ROUTER_B, SERVER}) as he:
        call(field)
    said = {port: he_said(he, port) for port in (1201, 1300)}
    since = field.server.process.position()
    with dials(field) as dialled:
        for port, streams in said.items():
            assert streams
            for data in streams * 3:
                with field.wan.connect(SERVER, port) as s:
                    s.settimeout(10)
                    with contextlib.suppress(ConnectionError):
                        s.sendall(data)
                        while s.recv(4096):
                            pass
    assert dialled == []
    assert not [line for line in field.server.process.lines[since:] if "audit" in line]
    call(field)


# Of the device (TLS client): 1 its hello, 2 the rest of the handshake; of the requester 1 its part of the handshake, 2 the first
# of HTTP/2. Before the session stands the caller waits for another connection in vain (9 s): one such case.
DEVICE_REQUESTER = {("modify", True, 2): NO_PATH,
                    **{(act, to, 3 if to else 2): LOST for act in ("reset", "cut", "modify", "inject", "replay")
                       for to in (True, False) if (act, to) != ("reset", True)}}


@pytest.mark.parametrize("act,to_requester,number", DEVICE_REQUESTER)
def test_onpath_device_requester_any_interference_is_a_clear_error(field, act, to_requester, number):
    with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000, attack(act, 5000, to_requester, number)) as he:
        done = ping(field)
    assert he.handle.done, "it did not come to that"
    assert done.status == DEVICE_REQUESTER[act, to_requester, number], done
    assert len(done.err.strip().splitlines()) == 1


def test_onpath_device_requester_the_devices_side_of_all_of_them_has_ended_too(field):
    wait_until(lambda: not children(field.device), 15, "no process of a call is left")
    call(field)


def take(s):
    """(what came, whether its end was said): nothing that comes after a gap, nothing changed."""
    data = bytearray()
    try:
        while piece := s.recv(1 << 16):
            data += piece
    except OSError:
        return bytes(data), False
    return bytes(data), True


@pytest.mark.parametrize("direction", ("to_the_service", "from_the_service"))
@pytest.mark.parametrize("act", ("modify", "inject", "replay", "cut", "reset"))
def test_onpath_end_to_end_nothing_wrong_reaches_service_or_caller(field, act, direction):
    """In the middle of 3 MiB: what arrives is a beginning of what was sent, and its end is not taken for one."""
    content = counted(SIZE)
    upward = direction == "to_the_service"

    def serve(s):
        if upward:
            return take(s)
        with contextlib.suppress(OSError):
            s.sendall(content)
            s.shutdown(socket.SHUT_WR)
            take(s)

    passed = 0  # bytes: how many segments they come in is up to the sender

    def choose(p, _number):
        nonlocal passed
        if (p.sport == 5000) != upward:
            return False
        passed += len(p.payload)
        return passed > SIZE // 8 and len(p.payload) >= 1000

    service = Service(serve, field.net.device, 7001)
    try:
        with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000, Stream(choose, ACTS[act])) as he:
            forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
            with field.net.requester.connect("127.0.0.1", 8080, timeout=20) as s:
                if upward:
                    with contextlib.suppress(OSError):
                        s.sendall(content)
                        s.shutdown(socket.SHUT_WR)
                        take(s)
                    got, whole = service.result()
                else:
                    got, whole = take(s)
            forward.stop()
        assert he.handle.done, "it did not come to that"
        assert content.startswith(got) and len(got) < SIZE, f"{len(got)} bytes, wrong ones among them"
        assert not whole, "the cut was taken for the end"
    finally:
        service.close()


def test_onpath_end_to_end_what_he_drops_for_a_while_arrives_when_he_has_left(field):
    content = counted(SIZE)
    service = Service(take, field.net.device, 7001)
    try:
        with on_path(field, TCP, {ROUTER_A, ROUTER_B}, 5000) as he:
            forward = field.world.alice.forward(2133, "8080:sink", options=CALLBACK)
            with field.net.requester.connect("127.0.0.1", 8080, timeout=20) as s:
                s.sendall(content[:100_000])
                wait_until(lambda: sum(len(p.payload) for p in he.seen if p.sport == 5000) > 50_000, 10, "data flows")
                dropped = []
                he.handle = lambda p: dropped.append(p) or []
                thread = threading.Thread(target=s.sendall, args=(content[100_000:],))
                thread.start()
                wait_until(lambda: [p for p in dropped if p.sport == 5000 and p.payload], 10, "some of it is dropped")
                he.leave()
                thread.join()
                s.shutdown(socket.SHUT_WR)
                assert service.result() == (content, True)
            forward.stop()
    finally:
        service.close()
