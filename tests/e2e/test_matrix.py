"""A telling part of what `make matrix` does in full: each cell connects, by the best path it allows."""

import pathlib
import signal
import sys

import pytest

from lab.world import World

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tools/matrix"))
import cells  # noqa: E402

PLAIN = [cells.Cell(requester, device, False) for requester, device in (
    ("none", "symmetric"), ("symmetric", "none"), ("port-preserving", "ei-apd"), ("ei-ad", "symmetric"), ("cgn", "udp-blocked"),
    ("symmetric", "port-preserving"), ("ipv6", "ipv6"), ("ipv6", "udp-blocked"), ("none", "ipv6"), ("same-lan", "same-lan"))]
MAPPED = [cells.Cell(requester, device, True) for requester, device in (
    ("symmetric", "symmetric"), ("cgn", "symmetric"), ("symmetric", "cgn"), ("ipv6", "ipv6"), ("cgn", "ipv6"))]


@pytest.fixture(scope="module")
def at_once():
    """Which cells' calls took the best path at once."""
    return {}


def name(cell):
    return f"{cell.requester}-calls-{cell.device}"


@pytest.fixture(scope="module")
def plain(bindir):
    with World(bindir, **cells.needs(PLAIN)) as world:
        world.net.assert_sealed()
        yield world


@pytest.fixture(scope="module")
def mapped(bindir):
    with World(bindir, **cells.needs(MAPPED)) as world:
        world.net.assert_sealed()
        yield world


def connects_by_the_best_path(world, cell, at_once):
    """A call connects. Better paths are waited for 150 ms, which a router on a busy machine may miss: then a call that lasts
    moves from the relay to the best path soon. `make matrix` counts those that took it at once, on a machine that does
    nothing else."""
    outcome = cells.play(world, cell, 1)
    assert outcome.connected == 1, outcome.json()
    world.wait_no_call(cell.device)
    at_once[cell] = outcome.on_best == 1
    if not at_once[cell]:
        user, device = world.users[cell.requester], world.devices[cell.device]
        call = user.start("ping", "-v", "--path", f"{outcome.best},relayed", "-c", 100, device.id)
        try:
            call.wait_line(rf"\bpath: {outcome.best} ", 60)
        finally:
            call.stop(signal.SIGINT)
        world.wait_no_call(cell.device)


@pytest.mark.parametrize("cell", PLAIN, ids=name)
def test_without_port_mapping(plain, cell, at_once):
    connects_by_the_best_path(plain, cell, at_once)


@pytest.mark.parametrize("cell", MAPPED, ids=name)
def test_with_port_mapping(mapped, cell, at_once):
    connects_by_the_best_path(mapped, cell, at_once)


def test_most_take_the_best_path_at_once(at_once):
    assert 2 * sum(at_once.values()) >= len(at_once), at_once


def test_every_kind_of_best_path_is_among_these():
    assert {cells.best(cell) for cell in PLAIN + MAPPED} == set(cells.PATHS)


def test_the_whole_matrix_knows_its_best_paths():
    """What the issue lists: every kind with every other, with and without mapping, and both ends on one LAN."""
    every = list(cells.all_cells())
    assert len(every) == len(set(every)) == 2 * (10 * 10 + 2)
    assert all(cells.best(cell) in cells.PATHS for cell in every)
    better = {cell: cells.PATHS.index(cells.best(cell)) for cell in every}
    assert all(better[cell._replace(mapping=True)] <= better[cell] for cell in every if not cell.mapping)
