"""Calls by a device's name: whose name it is only the server says, so it is believed once, with the user's
consent, and remembered."""

import sqlite3

from lab import ROUTER_A
from lab.beckon import PASSWORD

CALLBACK = ("--listen", ":1600", "--advertise", f"{ROUTER_A}:5000")
KEY_CHANGED = 11
UNKNOWN_DEVICE = 3


def ping(user, device, *options):
    return user.run("ping", *CALLBACK, *options, device, "-c", "1", check=False, timeout=30)


def rename(world, device, name):
    """What a lying server does, done to its store."""
    with sqlite3.connect(world.server.state / "beckond.db") as store:
        assert store.execute("UPDATE devices SET name = ? WHERE id = ?", (name, device)).rowcount == 1


def test_a_name_is_asked_about_once_and_then_stays_with_its_device(fixed_world):
    world = fixed_world
    rename(world, 2133, "lamp")
    refused = ping(world.alice, "lamp")  # the device is pinned, but is it the lamp?
    assert refused.status == KEY_CHANGED, refused
    assert "only the server says that lamp is device 2133" in refused.err
    assert ping(world.alice, "lamp", "--accept-new").status == 0
    assert ping(world.alice, "lamp").status == 0
    known = (world.alice.state / "known_devices").read_text()
    assert known.splitlines().count("lamp 2133") == 1

    # Now the server gives the name to another device that alice knows as well.
    other = world.beckon.enrol_device(2134, port=2001, password=PASSWORD)
    world.server.grant("alice", 2134)
    world.alice.pin(other.uri())
    rename(world, 2133, None)
    rename(world, 2134, "lamp")
    assert ping(world.alice, "lamp").status == 0  # 2133 answered: 2134 does not even run
    rename(world, 2134, None)
    assert ping(world.alice, "lamp2").status == UNKNOWN_DEVICE
