"""A program under measurement: started on given processors, its output in a file, ended by its number."""

import os
import pathlib
import re
import subprocess
import time

from . import measure


class Process:
    def __init__(self, argv, log, cpus=None, env=None, cwd=None, stdin=None):
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        self.rusage = None  # once it has ended: of it and of the children that it waited for
        placed = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(self.argv, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=out,
                                          env=env, cwd=cwd, preexec_fn=placed)
        self.pid = self.popen.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def running(self):
        if self.rusage is not None:
            return False
        pid, status, rusage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return True
        self._ended(status, rusage)
        return False

    def _ended(self, status, rusage):
        self.rusage = rusage
        self.popen.returncode = os.waitstatus_to_exitcode(status)  # subprocess need not wait for it any more

    def wait_line(self, pattern, timeout=15.0):
        """The match, once a line of its output has it."""
        def found():
            return re.search(pattern, self.output(), re.M)
        return wait_until(lambda: found() or not self.running(), timeout, f"{self.argv[0]}: {pattern}") and (
            found() or self._fail(f"ended before it said {pattern}"))

    def _fail(self, what):
        raise RuntimeError(f"{' '.join(self.argv[:3])}: {what}; it said:\n{self.output()[-3000:]}")

    def cpu_ns(self):
        return measure.cpu_ns(self.pid)

    def memory(self):
        return measure.memory(self.pid)

    def wait(self, timeout):
        """Its exit status."""
        wait_until(lambda: not self.running(), timeout, f"{self.argv[0]} ends")
        return self.popen.returncode

    def stop(self, signal=15, timeout=20.0):
        """Ends it, and only it; seconds of processor time that it used in its life."""
        if self.running():
            os.kill(self.pid, signal)
            deadline = time.monotonic() + timeout
            while self.running():
                if time.monotonic() > deadline:
                    os.kill(self.pid, 9)
                time.sleep(0.005)
        return self.rusage.ru_utime + self.rusage.ru_stime


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)
