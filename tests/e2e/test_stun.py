"""What Beckon says by UDP is STUN to programs that know nothing of Beckon: tshark and coturn's client."""

import re

import pytest

from lab import REQUESTER, ROUTER_A, ROUTER_B, SERVER, stun, wait_until
from lab.services import PAGE

FIELDS = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload", "stun.type", "stun.att.type",
          "stun.att.crc32.status", "_ws.malformed", "_ws.expert.message"]
METHODS = ("REGISTER", "NOTIFY", "BINDING", "RESULT")


@pytest.fixture(scope="module")
def datagrams(world):
    """A device registers and is called, and somebody asks for his address: the UDP datagrams of it, as
    tshark reads them on the server's cable, each with the laboratory's own reading of it in "message"."""
    net = world.net
    capture = net.capture(net.server, "eth0", "udp port 1200")
    world.device.stop()
    world.device.start()
    ask(net.requester)
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    forward = world.alice.forward(2133, "8080:web", options=("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000"))
    assert net.requester.run(["curl", "-sS", "--max-time", "20", "http://127.0.0.1:8080/"]).out == PAGE
    forward.stop()
    capture.wait_for("stun.type == 0x0382")
    capture.stop()
    rows = capture.fields(FIELDS, "udp")
    for row in rows:
        row["message"] = stun.Message(bytes.fromhex(row["udp.payload"]))
    return rows


def ask(ns, body=b"", fingerprint=True, address=SERVER, timeout=10.0):
    """A plain Binding request and its answer, or None; with what was asked."""
    request = stun.build("BINDING", "request", body, b"who am I?-%02d" % (len(body) % 100), fingerprint=fingerprint)
    with ns.udp(timeout=timeout) as s:
        s.sendto(request, (address, 1200))
        try:
            return request, stun.Message(s.recv(2000)), s.getsockname()
        except TimeoutError:
            return request, None, s.getsockname()


def test_tshark_takes_all_of_it_for_stun(datagrams):
    assert {row["message"].method for row in datagrams} == set(METHODS)
    for row in datagrams:
        assert row["stun.type"], f"not STUN to tshark: {row}"
        assert not row["_ws.malformed"], row
        # It may say that it does not know our attributes, and nothing else.
        assert not re.sub(r"Unknown attribute 0x40[0-9a-f]{2},?", "", row["_ws.expert.message"]), row


@pytest.mark.parametrize("method", ("REGISTER", "NOTIFY"))
def test_fingerprint_and_short_integrity(datagrams, method):
    """Both ways: FINGERPRINT valid by tshark's reckoning, MESSAGE-INTEGRITY-SHA256 there and 16 bytes long."""
    mine = [row for row in datagrams if row["message"].method == method]
    assert {row["message"].kind for row in mine} >= {"request", "success"}
    for row in mine:
        assert row["stun.att.crc32.status"] == "1", row
        types = [int(t, 16) for t in row["stun.att.type"].split(",")]
        assert types[-2:] == [0x001C, 0x8028], row
        assert len(row["message"].get("MESSAGE-INTEGRITY-SHA256")) == 16
        assert row["message"].fingerprint_valid()


def test_register_goes_up_and_notify_comes_down_the_same_way(datagrams):
    def requests(method):
        return [r for r in datagrams if (r["message"].method, r["message"].kind) == (method, "request")]

    up = {(r["ip.src"], r["udp.srcport"]) for r in requests("REGISTER")}
    down = {(r["ip.dst"], r["udp.dstport"]) for r in requests("NOTIFY")}
    assert up == down == {(ROUTER_B, "2000")}


def test_challenge_is_no_larger_than_what_it_answers(datagrams):
    asked = {r["message"].txid: len(r["message"].raw) for r in datagrams if r["message"].kind == "request"}
    challenges = [r["message"] for r in datagrams if r["message"].error_code == 438]
    assert challenges
    for message in challenges:
        assert len(message.raw) <= asked[message.txid]
        assert not message.get("NONCE").startswith(b"obMatJos2")  # RFC 8489's nonce cookie


def test_binding_answer_is_the_address_and_nothing_else(world):
    request, answer, (_, port) = ask(world.net.requester)
    assert answer.kind == "success" and answer.txid == request[8:20]
    assert [a.name for a in answer.attributes] == ["XOR-MAPPED-ADDRESS"]
    assert answer.address("XOR-MAPPED-ADDRESS") == (ROUTER_A, port)
    assert len(answer.raw) == 32


def test_binding_as_other_clients_ask(world):
    """Without FINGERPRINT, and with what they tell of themselves."""
    ns = world.net.requester
    assert ask(ns, fingerprint=False)[1].kind == "success"
    assert ask(ns, stun.put(0x8022, b"some client 1.0"))[1].kind == "success"


def test_coturns_client_gets_its_address(world):
    done = world.net.requester.run(["timeout", "10", "turnutils_stunclient", "-p", "1200", SERVER])
    addresses = re.findall(r"reflexive addr: ([0-9.]+):(\d+)", done.out)
    assert addresses and {address for address, _ in addresses} == {ROUTER_A}, done.out
    assert REQUESTER not in done.out.replace("local addr", "")


def test_binding_can_be_switched_off_and_on(world):
    """By the configuration and SIGHUP; registrations go on."""
    config = world.server.state / "beckond.conf"
    before = config.read_text()
    try:
        config.write_text(re.sub(r"(?m)^answer_binding\b.*\n", "", before) + "answer_binding = no\n")
        reload(world)
        assert ask(world.net.requester, timeout=1.0)[1] is None
        world.device.stop()
        world.device.start()
        wait_until(lambda: world.server.devices()[0]["address"] == ROUTER_B, 20, "the device is registered")
    finally:
        config.write_text(before)
        reload(world)
    assert ask(world.net.requester)[1].kind == "success"


def reload(world):
    process = world.server.process
    since = process.position()
    process.send_signal(1)
    process.wait_line("configuration", since=since)
