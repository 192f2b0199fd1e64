"""Services on a device and their users, with every byte accounted for: threads of this process whose
sockets are in a namespace. What they send can be told apart at every position, so that
lost, doubled or exchanged pieces change the hash."""

import contextlib
import hashlib
import queue
import random
import socket
import struct
import threading

BLOCK = 256 * 1024


def _blocks(seed, size):
    block = bytearray(random.Random(seed).randbytes(BLOCK))
    for number in range((size + BLOCK - 1) // BLOCK):
        struct.pack_into("!Q", block, 0, number)
        yield memoryview(block)[:min(BLOCK, size - number * BLOCK)]


def expected(seed, size):
    """The SHA-256 of what send() sends."""
    digest = hashlib.sha256()
    for block in _blocks(seed, size):
        digest.update(block)
    return digest.hexdigest()


def send(s, seed, size):
    for block in _blocks(seed, size):
        s.sendall(block)


def receive(s):
    """Everything up to the end: (bytes, SHA-256)."""
    digest, total, buffer = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    while n := s.recv_into(buffer):
        digest.update(buffer[:n])
        total += n
    return total, digest.hexdigest()


def line(s):
    """One line, without its end; bytes after it are not touched."""
    got = b""
    while not got.endswith(b"\n"):
        byte = s.recv(1)
        if not byte:
            raise EOFError(got)
        got += byte
    return got[:-1].decode()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Service:
    """Answers every connection to a port of a namespace's loopback, or to a Unix socket, with
    handle(socket) in a thread of its own. What handle returns, or raises, is in `results`, in order."""

    def __init__(self, handle, ns=None, port=None, path=None, timeout=60.0):
        if path is None:
            self._listener = ns.listen(port, "127.0.0.1", timeout=None)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
        self._listener.listen(256)
        self._handle = handle
        self._timeout = timeout
        self.results = queue.Queue()
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            s.settimeout(self._timeout)
            self._open.add(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            self.results.put(self._handle(s))
        except Exception as error:  # told to whoever asks
            self.results.put(error)
        finally:
            self._open.discard(s)
            s.close()

    def result(self, timeout=20.0):
        return self.results.get(timeout=timeout)

    def idle(self):
        return not self._open

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for s in list(self._open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


# -- what services do -----------------------------------------------------------------------------

def blob(s):
    """"SEED SIZE\\n" → that many bytes, then the end."""
    seed, size = map(int, line(s).split())
    send(s, seed, size)
    return size


def digest(s):
    """Reads to the end; only then answers with the number of bytes and their SHA-256."""
    total, sha = receive(s)
    s.sendall(f"{total} {sha}\n".encode())
    return total


def greet(s):
    """Says all it has to say and ends that direction; then reads to the other's end."""
    send(s, 7, 100_000)
    s.shutdown(socket.SHUT_WR)
    return receive(s)


def echo(s):
    total = 0
    while data := s.recv(BLOCK):
        s.sendall(data)
        total += len(data)
    return total


def cut(s):
    """Takes one byte, then ends by RST."""
    s.recv(1)
    reset(s)


def ask_blob(s, seed, size):
    """A user of blob(): (bytes, SHA-256)."""
    s.sendall(f"{seed} {size}\n".encode())
    return receive(s)


def in_parallel(jobs):
    """Runs functions at the same time; their results in order, or the first error."""
    results = [None] * len(jobs)

    def one(i):
        try:
            results[i] = (True, jobs[i]())
        except Exception as error:
            results[i] = (False, error)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for good, value in results:
        if not good:
            raise value
    return [value for _, value in results]
