"""Long-running programs of a test: started, listened to, ended by their own process ID.

Nothing here waits by sleeping for a fixed time: a condition is polled in short steps until a
deadline, or a line is waited for on a program's output."""

import array
import collections
import contextlib
import ctypes
import fcntl
import os
import re
import signal
import subprocess
import termios
import threading
import time

from . import sanitizer

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Timeout(AssertionError):
    pass


def wait_until(condition, timeout=5.0, what=None):
    """Polls until condition() is true and returns its value; Timeout otherwise. The last look begins when the time is
    over: a condition may take long to look at."""
    deadline = time.monotonic() + timeout
    while True:
        last = time.monotonic() >= deadline
        value = condition()
        if value:
            return value
        if last:
            raise Timeout(f"not within {timeout} s: {what or condition}")
        time.sleep(0.02)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """A program and everything it has said, in the order it said it."""

    def __init__(self, argv, env=None, stdin=subprocess.DEVNULL, cwd=None, name=None, log=None):
        self.argv = [str(a) for a in argv]
        self.name = name or os.path.basename(self.argv[0])
        self.lines = []
        self._stopped = self._judged = False
        self._log = open(log, "a", encoding="utf-8") if log else None
        self._open = 2
        self._changed = threading.Condition()
        # The death signal follows the thread that starts the program: only the main one outlives it.
        on_main = threading.current_thread() is threading.main_thread()
        self.popen = subprocess.Popen(
            self.argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
            cwd=cwd, preexec_fn=_die_with_parent if on_main else None)
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.popen.stdout, self.popen.stderr)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def stdin(self):
        return self.popen.stdin

    def _read(self, stream):
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            sanitizer.look_at_line(self.name, line)
            with self._changed:
                self.lines.append(line)
                if self._log:
                    self._log.write(f"{time.time():.6f} {self.name}: {line}\n")
                    self._log.flush()
                self._changed.notify_all()
        with self._changed:
            self._open -= 1
            if self._log and not self._open:
                self._log.close()
            self._changed.notify_all()

    def output(self):
        with self._changed:
            return "\n".join(self.lines)

    def running(self):
        return self.popen.poll() is None

    def state(self):
        """As /proc has it: R runs, S sleeps, T is stopped, Z has ended; None: it is gone."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8") as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None

    def position(self):
        """Where the output stands now, for a later wait_line(since=...)."""
        with self._changed:
            return len(self.lines)

    def wait_line(self, pattern, timeout=20.0, since=0):
        """The first line at or after `since` that matches; Timeout if none comes, or the program ends."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            seen = since
            while True:
                for line in self.lines[seen:]:
                    if regex.search(line):
                        return line
                seen = max(since, len(self.lines))
                left = deadline - time.monotonic()
                ended = not self.running() and not any(r.is_alive() for r in self._readers)
                if (ended and seen == len(self.lines)) or left <= 0:
                    raise Timeout(f"{self.name}: no line like {pattern!r}"
                                  f"{' before it ended' if ended else ''}; it said:\n" + "\n".join(self.lines))
                self._changed.wait(min(left, 0.1))

    def wait(self, timeout=20.0):
        """The exit status, with all output collected."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.name} still runs after {timeout} s; it said:\n{self.output()}") from None
        self._collect()
        return status

    def _collect(self):
        """Takes in the last words: all that stand in its pipes. A child that outlives the program may hold them open."""
        if not self._judged:
            self._judged = True
            sanitizer.look_at_status(self.name, self.popen.returncode)
        deadline = time.monotonic() + 1
        for reader in self._readers:
            reader.join(max(0, deadline - time.monotonic()))
        deadline = time.monotonic() + 20
        while any(self._unread(s) and r.is_alive() for s, r in self._streams()) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _streams(self):
        return zip((self.popen.stdout, self.popen.stderr), self._readers)

    @staticmethod
    def _unread(stream):
        """Bytes that its reader has yet to take."""
        count = array.array("i", [0])
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(stream, termios.FIONREAD, count)
        return count[0]

    def send_signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout=20.0):
        """Asks it to end, insists if it does not; returns the exit status."""
        if self._stopped:
            return self.popen.returncode
        self._stopped = True
        self.send_signal(number)
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            status = self.popen.wait()
        self._collect()
        if self.popen.stdin:
            try:
                self.popen.stdin.close()
            except BrokenPipeError:
                pass
        return status

    def kill(self):
        """As a power cut would: SIGKILL."""
        return self.stop(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


Finished = collections.namedtuple("Finished", "status out err seconds")


def run(argv, env=None, input=None, timeout=60.0, cwd=None, check=True, text=True):
    """Runs a program to its end. With check, a non-zero status is an AssertionError with its words."""
    argv = [str(a) for a in argv]
    start = time.monotonic()
    try:
        done = subprocess.run(argv, env=env, input=input, timeout=timeout, cwd=cwd, text=text,
                              capture_output=True, stdin=subprocess.DEVNULL if input is None else None)
    except subprocess.TimeoutExpired as e:
        raise Timeout(f"{' '.join(argv)}: not ended after {timeout} s; said {e.stdout!r} {e.stderr!r}") from None
    finished = Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - start)
    err = done.stderr if text else done.stderr.decode("utf-8", "replace")
    for line in err.splitlines():
        sanitizer.look_at_line(" ".join(argv), line)
    sanitizer.look_at_status(" ".join(argv), done.returncode)
    if check and finished.status != 0:
        raise AssertionError(f"{' '.join(argv)}: status {finished.status}\n{finished.out}{finished.err}")
    return finished
