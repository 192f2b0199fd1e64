"""The demonstration itself: the reference network, a call in the reference's own ports, a login and
a page through it, and everything kept that shows how it went."""

import collections

from lab import Beckon, Nginx, ReferenceNetwork, Sshd, conntrack
from lab.beckon import PASSWORD
from lab.services import PAGE
from lab.tables import flush_conntrack

import sequence
import tables
from evidence import Side
from verdict import Check

Outcome = collections.namedtuple("Outcome", "steps tables checks")
POINTS = (("a", "lan"), ("a", "wan"), ("b", "lan"), ("b", "wan"))


def play(bindir, workdir, say, fixed=True):
    """Runs it in `workdir`, telling `say` how far it is. With fixed=False the routers choose their
    ports themselves, and the outcome must differ from the figures."""
    say("bringing up the reference network")
    with ReferenceNetwork(workdir=workdir) as net:
        net.assert_sealed()
        if not fixed:
            for router in (net.router_a, net.router_b):
                router.source_maps.clear()
                router.load()
        beckon = Beckon(net, bindir)
        say("server 101: CA, certificates, start")
        beckon.start_server(fast_form="no")  # the figures show the first form, every stream of it
        sshd, _ = Sshd(net.device, net.workdir), Nginx(net.device, net.workdir)
        say("device 103 and requester 102 join")
        device = beckon.enrol_device(sequence.EQUIPMENT_ID)
        user = beckon.enrol_user("alice", devices=[device.id], pins=[device])
        captures = _start_captures(net)
        say("the device registers")
        device.start()
        say("the requester calls")
        forward, page = _call(net, user, device)
        say("a login and a page through the call")
        login = _login(net, sshd)
        flows = {side: conntrack(router.ns) for side, router in (("a", net.router_a), ("b", net.router_b))}
        devices = beckon.server.devices()
        if forward:
            forward.stop()
        for capture in captures.values():
            capture.stop()
        say("reading the captures")
        keylog = beckon.keylog()
        sides = {point: Side(capture, keylog) for point, capture in captures.items()}
        steps, checks = sequence.build(sides, (device.state / "box.key").read_bytes(),
                                       (device.state / "ca.crt").read_bytes(), PASSWORD)
        keylogs = {"server": beckon.server.keylog, "device": device.keylog, "requester": user.keylog}
        checks += sequence.common_keys(sides, keylogs)
        checks += [page, login] + _nothing_readable(captures)
        return Outcome(steps, tables.build(flows["a"], flows["b"], devices), checks)


def _start_captures(net):
    """From here on the tables and captures hold the call alone, not the joining before it."""
    for router in (net.router_a, net.router_b):
        flush_conntrack(router.ns)
    routers = {"a": net.router_a, "b": net.router_b}
    return {(router, side): net.capture(routers[router].ns, f"{side}0") for router, side in POINTS}


def _call(net, user, device):
    """The call, from the figures' ports; a single local port serves one connection to each
    destination, so it is forced until the first page has come and no longer."""
    with net.requester.local_ports(1500), net.device.local_ports(2600):
        try:
            forward = user.forward(device.id, "8080:web", "2222:ssh",
                                   options=("--listen", ":1600", "--advertise", "4.17.168.2:5000"))
        except AssertionError as e:
            return None, Check({"page": PAGE.strip()}, {"call": str(e)}, "a page from the device's web server")
        page = net.requester.run(["curl", "-sS", "--max-time", "20", "http://127.0.0.1:8080/"], check=False)
    return forward, Check({"page": PAGE.strip()}, {"page": (page.out or page.err).strip()},
                          "a page from the device's web server")


def _login(net, sshd):
    """A command whose answer only the device can give: its own address."""
    done = net.requester.run(["ssh", *sshd.client_options(), "-p", "2222", f"{sshd.user}@127.0.0.1",
                              "ip -4 -o addr show dev eth0 | tr -s ' ' | cut -d' ' -f4"], check=False)
    return Check({"address of eth0": "192.168.1.3/24"}, {"address of eth0": (done.out or done.err).strip()},
                 "a login at the device's sshd")


def _nothing_readable(captures):
    """Neither the password nor the page can be read on any of the four links."""
    checks = []
    for name, text in (("password", PASSWORD), ("page", PAGE.strip())):
        places = [f"{side} side of 104{router}" for (router, side), capture in captures.items()
                  if text.encode() in capture.raw()]
        checks.append(Check({"readable": "nowhere"}, {"readable": ", ".join(places) or "nowhere"},
                            f"the {name} is nowhere in clear"))
    return checks
