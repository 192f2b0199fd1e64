"""A network namespace of this process's own, with nothing in it but loopback: no port is taken, no counter of the
kernel's moves but by what is measured, and nothing leaves this machine."""

import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000


def enter():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace of our own: " + os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-6", "addr", "replace", "::1/128", "dev", "lo"], check=False, capture_output=True)
