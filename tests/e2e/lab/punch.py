"""TCP hole punching by hand, to show what a pair of networks allows: both listen on the port that each had open to
the server, and dial the other's observed address at common instants, a quarter of a second apart."""

import contextlib
import errno
import select
import socket
import struct
import time

GRID_S = 0.25
TRIES = 8


class _End:
    def __init__(self, net, side, server, port, server_port):
        self.side = side
        self.port = port
        self.any = "::" if ":" in server else "0.0.0.0"
        self.sockets = []
        with net.server.listen(server_port, server, shared=True) as listener:
            self.to_server = side.host.connect(server, server_port, source_port=port, shared=True)
            self.sockets.append(self.to_server)
            accepted, peer = listener.accept()
            self.sockets.append(accepted)
            self.seen = peer[:2]
        self.listener = side.host.listen(port, self.any, shared=True)
        self.listener.setblocking(False)
        self.sockets.append(self.listener)

    def dial(self, to):
        """None: an earlier dial is still under way, or through."""
        s = self.side.host._bound(socket.SOCK_STREAM, self.any, self.port, 0, shared=True)
        s.setblocking(False)
        self.sockets.append(s)
        return s if s.connect_ex(to) in (0, errno.EINPROGRESS) else None

    def close(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()


def punch(net, a, b, server, port=4500, server_port=3500):
    """Whether bytes went from `a` to `b` over a hole of theirs."""
    first, second = _End(net, a, server, port, server_port), _End(net, b, server, port + 1, server_port)
    try:
        dialled = []  # of earlier tries too: a hole may be through a moment after its quarter of a second
        for _ in range(TRIES):
            dialled += [s for s in (first.dial(second.seen), second.dial(first.seen)) if s]
            until = time.monotonic() + GRID_S
            while (left := until - time.monotonic()) > 0:
                if _through(first, second, dialled, left):
                    return True
        return False
    finally:
        first.close()
        second.close()


def _through(first, second, dialled, left):
    """A byte that one end wrote on its connection arrives at the other."""
    ready, writable, _ = select.select([first.listener, second.listener], dialled, [], left)
    ends = []
    for s in writable:
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            with contextlib.suppress(OSError):
                s.getpeername()
                ends.append(s)
        else:
            dialled.remove(s)
    for listener in ready:
        with contextlib.suppress(OSError):
            s, _ = listener.accept()
            first.sockets.append(s)
            dialled.append(s)
            ends.append(s)
    for s in ends:
        with contextlib.suppress(OSError):
            s.send(b"x")
    ends += [s for s in dialled if s not in ends]
    readable, _, _ = select.select(ends, [], [], min(left, 0.1)) if ends else ([], [], [])
    for s in readable:
        with contextlib.suppress(OSError):
            if s.recv(1) == b"x":
                return True
    return False
