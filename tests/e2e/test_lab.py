"""The laboratory proves itself: addresses and ports as in the figures, nothing in unasked, no way out."""

import contextlib
import socket
import ssl
import struct
import threading

import pytest

from lab import (DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, Namespace, Nginx, ReferenceNetwork, Sshd, conntrack,
                 netns, nft_rules, stun, wait_until)
from lab.interceptor import SO_RCVBUFFORCE
from lab.process import Timeout, run
from lab.services import PAGE


def tcp_pair(client, address, port, server, listen_port, source_port=0):
    """A connection from one namespace to a listener in another: (client, accepted, peer's address)."""
    with server.listen(listen_port) as listener:
        a = client.connect(address, port, source_port)
        b, peer = listener.accept()
    return a, b, peer


def closed(*sockets):
    """Closes by RST, so that no TIME_WAIT stands in the way of the same ports."""
    for s in sockets:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


# -- figures 6, 7, 8 and 12: the fixed mappings ---------------------------------------------------

def test_figure_12_registration_leaves_from_3400(fixed_net):
    with fixed_net.server.udp(port=1200) as server, fixed_net.device.udp(port=2000) as device:
        device.sendto(b"register", (SERVER, 1200))
        data, source = server.recvfrom(100)
        assert (data, source) == (b"register", (ROUTER_B, 3400))
        server.sendto(b"notify", source)
        data, source = device.recvfrom(100)
        assert (data, source) == (b"notify", (SERVER, 1200))
        flows = conntrack(fixed_net.router_b.ns, "udp")
        assert [(f.src, f.sport, f.dst, f.dport, f.reply_dst, f.reply_dport, f.replied) for f in flows] == [
            (DEVICE, 2000, SERVER, 1200, ROUTER_B, 3400, True)]


def test_figure_6_first_row_request_leaves_from_7000(fixed_net):
    with fixed_net.requester.local_ports(1500):
        a, b, peer = tcp_pair(fixed_net.requester, SERVER, 1201, fixed_net.server, 1201)
    assert a.getsockname() == (REQUESTER, 1500)
    assert peer == (ROUTER_A, 7000)
    flow, = [f for f in conntrack(fixed_net.router_a.ns, "tcp") if f.dport == 1201]
    assert (flow.src, flow.sport, flow.reply_dst, flow.reply_dport) == (REQUESTER, 1500, ROUTER_A, 7000)
    closed(a, b)


def test_figure_6_second_row_callback_arrives_at_1600(fixed_net):
    a, b, peer = tcp_pair(fixed_net.device, ROUTER_A, 5000, fixed_net.requester, 1600)
    assert peer[0] == ROUTER_B
    assert b.getsockname() == (REQUESTER, 1600)
    flow, = [f for f in conntrack(fixed_net.router_a.ns, "tcp") if f.dport == 5000]
    assert (flow.reply_src, flow.reply_sport, flow.dst) == (REQUESTER, 1600, ROUTER_A)
    closed(a, b)


def test_figure_8_agents_connection_leaves_from_2401(fixed_net):
    with fixed_net.device.local_ports(2600):
        a, b, peer = tcp_pair(fixed_net.device, SERVER, 1300, fixed_net.server, 1300)
    assert a.getsockname() == (DEVICE, 2600)
    assert peer == (ROUTER_B, 2401)
    closed(a, b)


def test_local_ports_are_given_back(fixed_net):
    before = fixed_net.device.sysctl_read("net.ipv4.ip_local_port_range")
    with fixed_net.device.local_ports(2600):
        assert fixed_net.device.sysctl_read("net.ipv4.ip_local_port_range").split() == ["2600", "2600"]
    assert fixed_net.device.sysctl_read("net.ipv4.ip_local_port_range") == before


def test_rules_are_readable(fixed_net):
    assert any("snat" in str(rule["expr"]) for rule in nft_rules(fixed_net.router_a.ns, "postrouting"))
    assert nft_rules(fixed_net.wan) == []


# -- ordinary routers -----------------------------------------------------------------------------

def test_ordinary_router_keeps_the_port(net):
    with net.server.udp(port=1200) as server, net.device.udp(port=2000) as device:
        device.sendto(b"x", (SERVER, 1200))
        assert server.recvfrom(10)[1] == (ROUTER_B, 2000)


def test_unsolicited_packets_are_dropped(net):
    """Neither answered nor refused, at the router and behind it."""
    net.router_a.stop_upnp()
    with net.requester.listen(1600), net.router_a.ns.listen(5000):
        for port in (1600, 5000, 22, 36895):
            with pytest.raises(TimeoutError):
                net.device.connect(ROUTER_A, port, timeout=0.3)
    with net.requester.udp(port=1700, timeout=0.3) as inside, net.server.udp() as outside:
        outside.sendto(b"x", (ROUTER_A, 1700))
        with pytest.raises(TimeoutError):
            inside.recvfrom(10)


def test_filtering_is_by_address_and_port(net):
    """A mapping towards the server's 1200 lets nobody else in, not the server's other ports either."""
    with net.server.udp(port=1200) as server, net.server.udp(port=1201) as other, \
            net.device.udp(port=2002, timeout=0.3) as device:
        device.sendto(b"x", (SERVER, 1200))
        mapped = server.recvfrom(10)[1]
        other.sendto(b"intruder", mapped)
        with pytest.raises(TimeoutError):
            device.recvfrom(10)
        device.settimeout(10)
        server.sendto(b"welcome", mapped)
        assert device.recvfrom(10)[0] == b"welcome"


def test_lans_do_not_see_each_other(net):
    with net.device.listen(4711):
        with pytest.raises(OSError):
            net.requester.connect(DEVICE, 4711, timeout=0.3)


# -- port mapping protocols -----------------------------------------------------------------------

def natpmp_map(ns, internal, external, lifetime=60):
    """RFC 6886, section 3.3, opcode 2 (TCP): (result code, granted port), or None without an answer."""
    with ns.udp() as s:
        s.connect(("192.168.1.1", 5351))
        try:
            s.send(struct.pack("!BBHHHI", 0, 2, 0, internal, external, lifetime))
            answer = s.recv(100)
        except (TimeoutError, ConnectionRefusedError):
            return None
        version, op, result, _, inside, outside, granted = struct.unpack("!BBHIHHI", answer)
        assert (version, op, inside) == (0, 130, internal)
        return result, outside


@pytest.fixture
def upnp(net):
    net.router_a.start_upnp()
    yield net.router_a
    net.router_a.stop_upnp()


def test_natpmp_grants_a_port_that_works(net, upnp):
    assert natpmp_map(net.requester, 1601, 5601) == (0, 5601)
    a, b, _ = tcp_pair(net.device, ROUTER_A, 5601, net.requester, 1601)
    a.send(b"through")
    assert b.recv(10) == b"through"
    closed(a, b)
    assert natpmp_map(net.requester, 1601, 0, lifetime=0)[0] == 0
    with net.requester.listen(1601), pytest.raises(TimeoutError):
        net.device.connect(ROUTER_A, 5601, timeout=0.3)


def test_igd_answers_discovery(net, upnp):
    with net.requester.udp() as s:
        s.sendto(b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n"
                 b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n", ("239.255.255.250", 1900))
        assert b"http://192.168.1.1:36895/" in s.recv(2000)


def test_switched_off_there_is_nobody(net):
    net.router_a.stop_upnp()
    assert natpmp_map(net.requester, 1601, 5601) is None


# -- misfortunes ----------------------------------------------------------------------------------

def test_reboot_forgets_every_mapping(net, upnp):
    assert natpmp_map(net.requester, 1602, 5602) == (0, 5602)
    with net.server.udp(port=1200) as server, net.requester.udp(port=2001, timeout=0.3) as inside:
        inside.sendto(b"x", (SERVER, 1200))
        mapped = server.recvfrom(10)[1]
        net.router_a.reboot()
        server.sendto(b"x", mapped)
        with pytest.raises(TimeoutError):
            inside.recvfrom(10)
        inside.sendto(b"again", (SERVER, 1200))
        assert server.recvfrom(10)[0] == b"again"
    with net.requester.listen(1602), pytest.raises(TimeoutError):
        net.device.connect(ROUTER_A, 5602, timeout=0.3)
    assert natpmp_map(net.requester, 1602, 5602) == (0, 5602)


@pytest.mark.parametrize("fixture", ["net", "fixed_net"])
def test_renumbered_router_uses_its_new_address(request, fixture):
    network = request.getfixturevalue(fixture)
    with network.server.udp(port=1200) as server, network.device.udp(port=2000) as device:
        try:
            network.router_b.renumber("202.204.16.77")
            device.sendto(b"x", (SERVER, 1200))
            assert server.recvfrom(10)[1] == ("202.204.16.77", 3400 if network.fixed else 2000)
        finally:
            network.router_b.renumber(ROUTER_B)
        device.sendto(b"x", (SERVER, 1200))
        assert server.recvfrom(10)[1][0] == ROUTER_B


def test_loss_is_what_was_asked_for(net):
    def take(server, timeout):
        server.settimeout(timeout)
        got = 0
        with contextlib.suppress(BlockingIOError, TimeoutError):
            while server.recv(10):
                got += 1
        return got

    def arrived(match):
        got = 0
        net.loss(30, match)
        with net.server.udp(port=1200) as server, net.device.udp() as device:
            server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # nothing is lost here
            for burst in range(10):
                for _ in range(100):
                    device.sendto(b"x", (SERVER, 1200))
                got += take(server, 0 if burst < 9 else 2)
        net.loss(0)
        return got

    assert 600 < arrived("meta l4proto udp") < 800
    assert arrived("meta l4proto tcp") == 1000


def test_block_and_unblock(net):
    with net.server.udp(port=1200, timeout=0.2) as server, net.device.udp() as device:
        net.block("meta l4proto udp")
        device.sendto(b"x", (SERVER, 1200))
        with pytest.raises(TimeoutError):
            server.recv(10)
        net.block_clear()
        server.settimeout(10)
        device.sendto(b"y", (SERVER, 1200))
        assert server.recv(10) == b"y"


# -- captures -------------------------------------------------------------------------------------

def test_capture_shows_both_sides_of_the_router(fixed_net):
    lan = fixed_net.capture(fixed_net.router_b.ns, "lan0", "udp port 1200")
    wan = fixed_net.capture(fixed_net.router_b.ns, "wan0", "udp port 1200")
    message = stun.build("REGISTER", "request", stun.put("EQUIPMENT-ID", struct.pack("!Q", 2133)), bytes(12), b"k" * 32)
    with fixed_net.server.udp(port=1200) as server, fixed_net.device.udp(port=2000) as device:
        device.sendto(message, (SERVER, 1200))
        assert server.recvfrom(1000)[0] == message
    fields = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "stun.type", "stun.att.crc32.status", "udp.payload"]
    for capture, source in ((lan, [DEVICE, "2000"]), (wan, [ROUTER_B, "3400"])):
        capture.wait_for("stun")
        row, = capture.stop().fields(fields, "stun")
        assert [row["ip.src"], row["udp.srcport"]] == source
        assert [row["ip.dst"], row["udp.dstport"], row["stun.att.crc32.status"]] == [SERVER, "1200", "1"]
        assert int(row["stun.type"], 16) == 0x0281
        assert stun.Message(bytes.fromhex(row["udp.payload"])).equipment_id == 2133
        assert capture.packets("stun")[0]["ip"]["ip.src"] == source[0]
        assert message in capture.raw()


@pytest.fixture
def tls_server(net, tmp_path):
    """A TLS 1.3 server in the server's namespace that answers every line: context, key log file."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=laboratory"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.keylog_filename = str(tmp_path / "keylog")
    context.set_alpn_protocols(["beckon-request/1"])
    listener = net.server.listen(1201, timeout=60)  # what the test makes ready first takes its time

    def serve():
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as s:
            s.sendall(b"answer to " + s.recv(1000))
            s.recv(1000)

    thread = threading.Thread(target=serve)
    thread.start()
    yield tmp_path / "keylog"
    thread.join(20)
    listener.close()


def test_tls_is_opened_with_the_key_log(net, tls_server):
    capture = net.capture(net.router_a.ns, "wan0", "tcp port 1201")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(["beckon-request/1"])
    message = stun.build("CONNECT", "request", stun.put("BOX", b"secret"), bytes(12), fingerprint=False)
    with client.wrap_socket(net.requester.connect(SERVER, 1201)) as s:
        s.sendall(message)
        assert s.recv(1000) == b"answer to " + message
    capture.wait_for("tcp.flags.fin == 1")
    capture.stop()
    asked, answered = capture.tls_records("tcp.port == 1201", tls_server)
    assert (asked.src, asked.dst, asked.dport, asked.data) == (ROUTER_A, SERVER, 1201, message)
    assert (answered.src, answered.sport, answered.data) == (SERVER, 1201, b"answer to " + message)
    assert asked.stream == answered.stream and asked.time < answered.time
    assert message not in capture.raw()
    types = [row["tls.handshake.type"] for row in capture.fields(["tls.handshake.type"], "tls.handshake", tls_server)]
    # ClientHello; ServerHello, EncryptedExtensions, Certificate, CertificateVerify, Finished; Finished.
    assert ",".join(types).startswith("1,2,8,11,15,20,20")


# -- services, processes, and the end -------------------------------------------------------------

def test_device_serves_ssh_and_web_on_its_loopback_only(net, tmp_path):
    sshd, nginx = Sshd(net.device, tmp_path), Nginx(net.device, tmp_path)
    try:
        assert net.device.run(["curl", "-sS", "http://127.0.0.1/"]).out == PAGE
        ssh = net.device.run(["ssh", *sshd.client_options(), f"{sshd.user}@127.0.0.1", "echo in the shell"])
        assert ssh.out == "in the shell\n"
        for port in (22, 80):
            with pytest.raises(ConnectionRefusedError):
                net.device.connect(DEVICE, port)
    finally:
        sshd.stop()
        nginx.stop()


def test_process_says_what_was_waited_for_and_why_not(net):
    with net.device.start(["sh", "-c", "echo ready; read x"], stdin=-1) as process:
        assert process.wait_line("ready") == "ready"
        with pytest.raises(Timeout, match="it said:\nready"):
            process.wait_line("never", timeout=0.2)
        process.stdin.close()
        assert process.wait() == 1
    with pytest.raises(Timeout, match="before it ended"):
        process.wait_line("never")


def test_no_way_out(net, fixed_net):
    for network in (net, fixed_net):
        network.assert_sealed()
    out = net.device.run(["ip", "route", "get", "192.0.2.1"]).out
    assert "via 192.168.1.1" in out
    assert net.wan.run(["ip", "route", "get", "192.0.2.1"], check=False).status != 0


def test_an_outside_link_is_noticed():
    with Namespace("leaky") as ns:
        ns.assert_sealed([ns])
        ns.ip("tuntap", "add", "out", "mode", "tun")
        with pytest.raises(AssertionError, match="out is a tun"):
            ns.assert_sealed([ns])
    with Namespace("leaky") as ns, Namespace("stranger") as other:
        netns.veth(ns, "out", other, "in")
        with pytest.raises(AssertionError, match="leads to"):
            ns.assert_sealed([ns])


def test_nothing_is_left_behind():
    with ReferenceNetwork(fixed=False) as network:
        names = [ns.name for ns in network.namespaces]
        process = network.device.start(["sh", "-c", "trap '' TERM; (trap '' TERM; sleep 600) & echo up; wait"])
        process.wait_line("up")
        pids = run(["ip", "netns", "pids", network.device.name]).out.split()
        child, = [pid for pid in pids if int(pid) != process.pid]
        process.kill()
        workdir = network.workdir
    assert not set(names) & set(netns._names())
    assert not workdir.exists()
    wait_until(lambda: run(["ps", "-o", "stat=", "-p", child], check=False).out.strip()[:1] in ("", "Z"), 20)
