"""The world of a hostile network: alice and device 2133 with the server between them, somebody on the path between each two of
the three (interceptor.py), an address of his own, and an insider (device 2134).

All that any test lets him read is searched for secrets when a file's tests are over."""

import collections
import contextlib
import os
import random
import secrets
import shutil
import struct
import time
import types

from . import stun
from .beckon import PASSWORD, SERVICES
from .hostile_watch import children
from .interceptor import UDP, Interceptor, drop, pass_on
from .network import REQUESTER, ROUTER_A, ROUTER_B, SERVER
from .process import wait_until
from .services import PAGE


SEED = int(os.environ.get("BECKON_SEED") or 714)
KEEPALIVE_S = 5
HEALED_S = 2 * KEEPALIVE_S
CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
SERVER_UDP, HOME = (SERVER, 1200), (ROUTER_B, 2000)
HIS = "198.51.100.9"        # an address of his own, where he hears what is sent to it
NOT_HIS = "198.51.100.66"   # one where he does not
OFFLINE, NO_PATH, SERVER_DOWN, LOST = 4, 6, 8, 1
MARK = f"mark-{secrets.token_hex(16)}"
SIZE = 3 << 20


def populated(world):
    """What a test has in its hands, for as long as the caller of this generator wants it."""
    print(f"seed: {SEED}; BECKON_SEED=N takes another")
    net = world.net
    net.router_a.inbound_maps.append(("tcp", 5000, REQUESTER, 1600))
    net.router_a.load()
    for address in (HIS, NOT_HIS):
        net.wan.address("lo", f"{address}/32")
    insider = world.beckon.enrol_device(2134, ns=net.server)
    # No relay: a direct path that he spoils is seen to be spoilt. What another path is good for then: test_takeover.py.
    world.server.stop()
    world.server.configure(relay="no")
    world.server.start()
    world.device.stop()
    world.device.configure({**SERVICES, "sink": "tcp:127.0.0.1:7001", "blob": "tcp:127.0.0.1:7002"}, keepalive=KEEPALIVE_S)
    world.device.start()
    made = types.SimpleNamespace(world=world, net=net, wan=net.wan, server=world.server, device=world.device, insider=insider,
                                 all_seen=[], rng=random.Random(SEED))
    yield made
    no_secret(made)


def counted(n):
    """Bytes that are all different from place to place."""
    return b"".join(struct.pack("!I", i * 2654435761 % (1 << 32)) for i in range(n // 4))


def no_secret(field):
    """In nothing that he read: neither of what is kept, nor of what is said in calls."""
    seen = b"\n".join(field.all_seen)
    key = (field.device.state / "registration.key").read_bytes()[6:38]
    box = stun.box_secret((field.device.state / "box.key").read_bytes())
    for secret in (PASSWORD.encode(), MARK.encode(), MARK[::-1].encode(), PAGE.encode(), b"This is device", b"GET /", key, box,
                   counted(SIZE)[:64]):
        assert secret not in seen, secret
    return seen


@contextlib.contextmanager
def on_path(field, proto, addresses, port=None, handle=pass_on):
    """An interceptor whose catch is kept for the search at the end."""
    with Interceptor(field.wan, proto, addresses, port, handle) as he:
        yield he
    field.all_seen += he.learned()


def row(field, device=2133):
    found = next(d for d in field.server.devices() if d["id"] == device)
    return found["address"] and (found["address"], found["port"])


def ask_anew(field):
    """The caller keeps nothing of calls before, and so asks the server about the device each time (test_repeated_calls.py
    has the others)."""
    shutil.rmtree(field.world.alice.state / "devices", ignore_errors=True)


def ping(field):
    ask_anew(field)
    return field.world.alice.run("ping", *CALLBACK, "2133", "-c", "1", check=False)


def call(field):
    """A whole call, with the page to show for it."""
    ask_anew(field)
    done = field.world.alice.run("connect", *CALLBACK, "2133", "web", input="GET / HTTP/1.0\r\n\r\n", check=False)
    assert done.status == 0 and done.out.endswith(PAGE), done.out + done.err


def is_message(p, method, kind):
    try:
        m = stun.Message(p.payload)
    except stun.Malformed:
        return False
    return (m.method, m.kind) == (method, kind)


class Dials(list):
    """(address, port) of each connection that the device's side begins; filled at the end."""

    def __init__(self, capture):
        super().__init__()
        self._capture = capture

    def begun(self):
        """Whether there is one by now: a packet in the capture, behind the file's own head."""
        return len(self._capture.raw()) > 24

    def fill(self):
        self._capture.stop()
        names = ["ip.dst", "tcp.dstport", "tcp.srcport", "tcp.seq_raw"]
        # One that is sent again is the same one.
        rows = dict.fromkeys(tuple(r[name] for name in names) for r in self._capture.fields(names))
        self += [(address, int(port)) for address, port, *_ in rows]


@contextlib.contextmanager
def dials(field):
    """What the device's side dials meanwhile, as the wide area network sees it. Connections to the server are told from
    others by it."""
    wait_until(lambda: not children(field.device), 15, "no call is up")
    found = Dials(field.net.capture(field.wan, "to-b", f"src host {ROUTER_B} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"))
    yield found
    wait_until(lambda: not children(field.device), 15, "no call is up")
    found.fill()


def of_one_call(dialled):
    """To the caller once; to the server where datagrams do not do (for 226, or with RESULT), and perhaps to watch the call."""
    assert dialled.count((ROUTER_A, 5000)) == 1
    assert dialled.count((SERVER, 1300)) <= 2 and set(dialled) <= {(SERVER, 1300), (ROUTER_A, 5000)}, dialled


def forget(field):
    """The server is restarted and knows no row; the agent too, so that it tries at once."""
    field.device.stop()
    field.server.stop()
    field.server.start()
    field.device.start(ready=False)


@contextlib.contextmanager
def first_form(field):
    """The server makes devices come for their requests by TLS: meanwhile there is such a connection to be on the path of."""
    config = field.server.state / "beckond.conf"
    before = config.read_text()
    field.server.configure(fast_form="no")
    forget(field)
    field.device.process.wait_line(r"\bready\b", 20)
    try:
        yield
    finally:
        config.write_text(before)
        forget(field)
        field.device.process.wait_line(r"\bready\b", 20)


def healed(field, left_at):
    """Registered from home within two keepalives from then on, and callable."""
    wait_until(lambda: row(field) == HOME, HEALED_S - (time.monotonic() - left_at), "the registration is right again")
    call(field)


def he_said(he, port):
    """The streams towards that port."""
    flows = collections.defaultdict(dict)
    for p in he.seen:
        if p.dport == port and p.payload:
            flows[p.flow].setdefault(p.seq, p.payload)
    return [b"".join(d for _, d in sorted(f.items())) for f in flows.values()]


def kept(field):
    """What he kept of his time on the path: some lives of the agent, a call, a prevented registration."""
    with on_path(field, UDP, {ROUTER_B, SERVER}, 1200) as he:
        for _ in range(3):
            field.device.process.kill()
            field.device.start()
        call(field)
        he.handle = drop  # REGISTERs that the server never saw
        field.device.stop()
        field.device.start(ready=False)
        unseen = len(he.seen)
        wait_until(lambda: len(he.seen) >= unseen + 3, 10, "it tries")
    field.device.process.wait_line("registered", HEALED_S)
    kinds = {(m.method, m.kind) for m in map(stun.Message, he.datagrams())}
    assert {("REGISTER", "request"), ("REGISTER", "success"), ("REGISTER", "error"), ("NOTIFY", "request"),
            ("NOTIFY", "success")} <= kinds
    return types.SimpleNamespace(up=he.datagrams(SERVER_UDP), down=he.datagrams(HOME))
