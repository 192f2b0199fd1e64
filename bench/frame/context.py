"""What a benchmark gets to work with. One context for each module: its own working directory, and whatever it
started is ended with it."""

import os
import pathlib
import shutil
import subprocess
import time

from . import measure, rows
from .certificates import Certificates
from .process import Process, wait_until
from .server import Server


class Missed(Exception):
    """A benchmark cannot be run on this machine; the reason is shown in the table."""


class Context:
    """`quick`: a run of minutes: shorter, smaller, the same things. `rounds`: how often to measure each side.
    `server_cpu`, `load_cpu`: where the measured and where the load belong; `two_cpus` if these differ."""

    def __init__(self, name, root, bin_dir, tools_dir, work, quick=False, smoke=False, settled=None, finish=None):
        self.name, self.root = name, pathlib.Path(root)
        self.bin, self.tools, self.work = pathlib.Path(bin_dir), pathlib.Path(tools_dir), pathlib.Path(work)
        self.quick, self.smoke = quick, smoke
        self.rounds = 1 if smoke else 3 if quick else 5
        self.cpus = sorted(os.sched_getaffinity(0))
        self.server_cpu, self.load_cpu = self.cpus[0], self.cpus[-1]
        self.two_cpus = len(self.cpus) > 1
        self.started = time.monotonic()
        self._settled, self._finish = settled, finish
        self._processes = []
        self._certificates = None
        self.work.mkdir(parents=True, exist_ok=True)

    # ---- modules with BACKGROUND = True ----

    def settled(self):
        """From here on this module takes next to no processor time; the others may be measured."""
        if self._settled:
            self._settled.set()

    def finished(self, wait_s):
        """Waits so long, or until all others are done: then it is True."""
        return self._finish is None or self._finish.wait(wait_s)

    # ---- what there is ----

    def program(self, name):
        """One of ours, as it is released."""
        return self._executable(self.bin / name)

    def tool(self, name):
        """bench/NAME.c"""
        return self._executable(self.tools / name)

    def find(self, name):
        """A program of the system, to be compared with; Missed if it is not installed."""
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")
        if not path:
            raise Missed(f"{name} is not installed")
        return path

    @staticmethod
    def _executable(path):
        if not os.access(path, os.X_OK):
            raise Missed(f"{path} is not built")
        return path

    def certificates(self):
        """A CA and certificates for 127.0.0.1 and localhost, for others' TLS: .ca .crt .key (Ed25519)."""
        if self._certificates is None:
            self._certificates = Certificates(self.work / "certificates")
        return self._certificates

    # ---- processes ----

    def start(self, argv, cpu=None, env=None, log=None, ready=None, timeout=15.0, cwd=None, stdin=None):
        """A process that runs until stop(), or until the module is over. `cpu`: a number or several; `ready`: a
        pattern of its output to wait for."""
        cpus = None if cpu is None else {cpu} if isinstance(cpu, int) else set(cpu)
        log = self.work / (log or f"{pathlib.Path(str(argv[0])).name}-{len(self._processes)}.log")
        process = Process(argv, log, cpus, env, cwd, stdin)
        self._processes.append(process)
        if ready:
            process.wait_line(ready, timeout)
        return process

    def run(self, argv, cpu=None, timeout=300.0, check=True, **kw):
        """A command to its end: subprocess.CompletedProcess with text in stdout and stderr."""
        cpus = None if cpu is None else {cpu} if isinstance(cpu, int) else set(cpu)
        placed = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        done = subprocess.run([str(a) for a in argv], text=True, errors="replace", capture_output=True,
                              timeout=timeout, preexec_fn=placed, **kw)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(str(a) for a in argv)}: status {done.returncode}\n"
                               f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    @staticmethod
    def until(condition, what, timeout=15.0):
        """What `condition` returns once that is something."""
        return wait_until(condition, timeout, what)

    def server(self, name="server", **settings):
        """A beckond of its own on 127.0.0.1, initialised, not yet running: frame/server.py."""
        return Server(self, name, settings)

    def close(self):
        for process in reversed(self._processes):
            try:
                process.stop()
            except (OSError, TimeoutError) as e:
                self.say(f"{process.argv[0]}: {e}")
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- measuring and telling ----

    def alternate(self, sides, rounds=None):
        """Calls each of `sides` ({name: function}) once in every round, in turns and in changing order, so that the
        machine's moods meet all alike. {name: [what it returned, ...]}"""
        got = {name: [] for name in sides}
        names = list(sides)
        for number in range(rounds or self.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                got[name].append(sides[name]())
        return got

    def row(self, name, value, unit, *compared, **kw):
        """One line of the results: see frame/rows.py."""
        return rows.row(name, value, unit, *compared, **kw)

    def say(self, text):
        print(f"   {time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    cpu_ns = staticmethod(measure.cpu_ns)
    memory = staticmethod(measure.memory)
