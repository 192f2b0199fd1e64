"""The laboratory notices what breaks: reports of sanitizers, failed assertions, fatal signals."""

import pytest

from lab import Namespace, sanitizer


@pytest.mark.parametrize("line", (
    "==12345==ERROR: AddressSanitizer: heap-use-after-free on address 0x60b0000000f0",
    "==12345==ERROR: LeakSanitizer: detected memory leaks",
    "src/wire/stun.c:12:3: runtime error: shift exponent 32 is too large for 32-bit type",
    "WARNING: ThreadSanitizer: data race (pid=1)",
    "beckond: src/core/server/pool.c:21: bk_pool_give: Assertion `id != 0' failed.",
    "*** stack smashing detected ***: terminated",
    "double free or corruption (out)",
    "free(): invalid pointer"))
def test_reports_are_noticed(line):
    assert sanitizer.is_report(line)
    assert not sanitizer.is_report("audit call device=2133 user=alice from=4.17.168.2:1500 result=delivered ms=38")


def test_crashes_are_noticed():
    """Also of a program that a test no longer looks at; then taken from the list again."""
    before = list(sanitizer.found)
    with Namespace("broken") as ns:
        ns.start(["sh", "-c", "echo ERROR: AddressSanitizer: boom >&2; kill -ABRT $$"]).wait()
        assert ns.run(["sh", "-c", "kill -SEGV $$"], check=False).status == -11
    found, sanitizer.found[:] = sanitizer.found[len(before):], before
    assert len(found) == 3
    assert all(any(word in line for line in found) for word in ("boom", "SIGABRT", "SIGSEGV"))
