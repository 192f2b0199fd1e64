"""What a program says or does when it is broken: reports of sanitizers, failed assertions, fatal signals.

Everything that the laboratory starts is looked at while it speaks and when it ends. What is found is
kept here for the whole run, which fails by it: a daemon's last words are easily missed, and a test may
well pass while some program dies."""

import glob
import os
import re
import signal

_REPORT = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|UndefinedBehaviorSanitizer|runtime error:"
    r"|Assertion .*failed|\*\*\* (stack smashing|buffer overflow) detected"
    r"|^(free|malloc|realloc|munmap_chunk)\(\): |^(double free or corruption|corrupted (size|double-linked))"
    # as beckon-agent tells of beckon-agent-call: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
    r"|process was ended by signal (4|5|6|7|8|11|31)\b")
_FATAL = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}

found = []


def is_report(line):
    return bool(_REPORT.search(line))


def look_at_line(name, line):
    if is_report(line):
        found.append(f"{name}: {line}")


def look_at_status(name, status):
    """`status` as subprocess has it: a signal's number is negative."""
    if status is not None and -status in _FATAL:
        found.append(f"{name}: ended by {signal.Signals(-status).name}")


def files():
    """Reports that went where ASAN_OPTIONS or UBSAN_OPTIONS said (log_path=...), not to the program's output."""
    paths = set()
    for variable in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        for option in os.environ.get(variable, "").split(":"):
            if option.startswith("log_path="):
                paths.update(glob.glob(glob.escape(option.removeprefix("log_path=")) + ".*"))
    return sorted(paths)
