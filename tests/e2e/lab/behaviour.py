"""What a network between a host and the world does to ports, found by sockets at both ends (RFC 4787, RFC 5382).

    mapping    "none": the world sees the host's own address and port
               "endpoint-independent", "address", "address and port": what has to be the same for the same port outside
    filtering  whom it lets in after one packet out, in the same words; "all": also without one"""

import collections
import contextlib
import itertools
import socket
import struct

Behaviour = collections.namedtuple("Behaviour", "mapping filtering preserves")
_ports = itertools.count(20000)
WAIT_S = 0.6


def _end(*sockets):
    """By RST, so that no TIME_WAIT stands in the way of the next."""
    for s in sockets:
        if s.type == socket.SOCK_STREAM:
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def _judge(seen, own, accepted):
    """`seen`: (address, port) as the first, the first's other port, and another address saw them."""
    first, other_port, other_address = seen
    if first == own:
        mapping = "none"
    elif first == other_port == other_address:
        mapping = "endpoint-independent"
    else:
        mapping = "address" if first == other_port else "address and port"
    unasked, from_address, from_port = accepted
    if unasked:
        filtering = "all"
    elif from_address:
        filtering = "endpoint-independent"
    else:
        filtering = "address" if from_port else "address and port"
    return Behaviour(mapping, filtering, first[1] == own[1])


def udp(net, side, first, second):
    """`first`, `second`: the server's addresses. None: nothing comes back at all."""
    port, number = 3000, next(_ports)
    own = (side.address6 or side.address) if ":" in first else side.address
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(net.server.udp(a, p, WAIT_S)) for a, p in ((first, port), (first, port + 1), (second, port))]

        def inside(which):
            return stack.enter_context(side.host.udp("::" if ":" in first else "0.0.0.0", which, WAIT_S))

        def told(host, server, address, at):
            host.sendto(b"?", (address, at))
            try:
                return server.recvfrom(10)[1][:2]
            except TimeoutError:
                return None

        host = inside(number)
        seen = [told(host, s, a, p) for s, (a, p) in zip(servers, ((first, port), (first, port + 1), (second, port)))]
        if None in seen:
            return None
        fresh = inside(next(_ports))
        there = told(fresh, servers[0], first, port)

        def arrives(server, to, at):
            server.sendto(b"!", to)
            try:
                return at.recvfrom(10)[0] == b"!"
            except (TimeoutError, ConnectionError):
                return False

        assert arrives(servers[0], there, fresh), "not even the one that was asked is heard"
        never = inside(next(_ports))
        accepted = (arrives(servers[2], (there[0], never.getsockname()[1]), never),
                    arrives(servers[2], there, fresh), arrives(servers[1], there, fresh))
        return _judge(seen, (own, number), accepted)


def tcp(net, side, first, second):
    port = 3000
    own = (side.address6 or side.address) if ":" in first else side.address
    places = ((first, port), (first, port + 1), (second, port))
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(net.server.listen(p, a, shared=True)) for a, p in places]

        def told(number, which):
            a = side.host.connect(*places[which], source_port=number, shared=True)
            stack.callback(_end, a)
            b, peer = listeners[which].accept()
            stack.callback(_end, b)
            return peer[:2]

        def listen(number):
            return stack.enter_context(side.host.listen(number, "::" if ":" in first else "0.0.0.0", WAIT_S, shared=True))

        def arrives(listener, source, source_port, to):
            try:
                a = net.server.connect(*to, source_port=source_port, timeout=WAIT_S, shared=True, source=source)
                stack.callback(_end, a)
                b, _ = listener.accept()
            except OSError:
                return False
            stack.callback(_end, b)
            return True

        number = next(_ports)
        seen = [told(number, which) for which in range(3)]
        fresh, never = next(_ports), next(_ports)
        there = told(fresh, 0)
        here = listen(fresh)
        accepted = (arrives(listen(never), second, port, (there[0], never)), arrives(here, second, port, there),
                    arrives(here, first, port + 1, there))
        return _judge(seen, (own, number), accepted)
