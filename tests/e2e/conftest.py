"""Fixtures of the end-to-end tests. Networks live as long as a test module: bringing one up takes
about a second."""

import signal
import types

import pytest

from lab import Beckon, Nginx, ReferenceNetwork, Sshd, binaries, sanitizer, sweep


@pytest.fixture(scope="session", autouse=True)
def _clean_start():
    # Run in the background of a script, we were started to ignore this one; what we start would do so too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sweep()


@pytest.fixture(scope="session", autouse=True)
def _nothing_broke():
    """The run fails by what any program of it had to report, whichever test it served; told with the last one."""
    before = set(sanitizer.files())
    yield
    broken = sanitizer.found + [f"see {path}" for path in sanitizer.files() if path not in before]
    assert not broken, "sanitizer reports, failed assertions or crashes:\n" + "\n".join(broken)


@pytest.fixture(scope="session")
def bindir():
    """Where the programs under test are; a test that needs them fails without them."""
    return binaries()


@pytest.fixture(scope="module")
def net():
    """Home routers as they are: ports kept where free, nothing mapped by hand."""
    with ReferenceNetwork(fixed=False) as network:
        network.assert_sealed()
        yield network
        network.assert_sealed()


@pytest.fixture(scope="module")
def fixed_net():
    """Routers with the figures' mappings."""
    with ReferenceNetwork(fixed=True) as network:
        network.assert_sealed()
        yield network
        network.assert_sealed()


def _populated(network, bindir):
    """Server, device 2133 with sshd and web server, and alice, who may call it and has its pin."""
    beckon = Beckon(network, bindir)
    beckon.start_server()
    sshd = Sshd(network.device, network.workdir)
    nginx = Nginx(network.device, network.workdir)
    device = beckon.enrol_device(2133)
    device.start()
    alice = beckon.enrol_user("alice", devices=[2133], pins=[device])
    return types.SimpleNamespace(net=network, beckon=beckon, server=beckon.server, device=device, alice=alice,
                                 sshd=sshd, nginx=nginx)


@pytest.fixture(scope="module")
def world(net, bindir):
    return _populated(net, bindir)


@pytest.fixture(scope="module")
def fixed_world(fixed_net, bindir):
    return _populated(fixed_net, bindir)
