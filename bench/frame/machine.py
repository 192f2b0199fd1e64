"""On what it was measured, and against which versions."""

import os
import pathlib
import platform
import re
import subprocess
import time

PACKAGES = ("coturn", "kamailio", "n2n", "mosquitto", "mosquitto-clients", "openssh-server", "stunnel4", "libssl3")


def _first(path, pattern, otherwise="unknown"):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(errors="replace"), re.M)
    except OSError:
        return otherwise
    return found[1].strip() if found else otherwise


def _version(package):
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True, capture_output=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _system():
    return _first("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)')


def facts(bin_dir):
    versions = {name: _version(name) for name in PACKAGES}
    memory_kb = int(_first("/proc/meminfo", r"^MemTotal:\s+(\d+)", "0"))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "processor": _first("/proc/cpuinfo", r"^model name\s*:\s*(.*)"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_kb / 1e6, 1),
        "kernel": platform.release(),
        "system": _system(),
        "huge_pages": _first("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]"),
        "load_before": os.getloadavg()[0],
        "packages": {name: version for name, version in versions.items() if version},
        "programs": str(bin_dir),
    }


def text(f):
    busy = "" if f["load_before"] < 0.7 else f"\nThis machine is busy already (load {f['load_before']:.1f}): times will scatter."
    return (f"{f['processor']}, {f['cores']} cores, {f['memory_gb']:g} GB, Linux {f['kernel']}, {f['system']}\n"
            + ", ".join(f"{name} {version}" for name, version in f["packages"].items()) + busy)
