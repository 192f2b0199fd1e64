"""beckon netcheck behind every kind of NAT, against what these NATs are known to do (lab/sides.py)."""

import json

import pytest

from lab.sides import SERVER, SERVER6, SERVER6_SECOND, SERVER_SECOND
from lab.world import World

KINDS = ("none", "port-preserving", "ei-ei", "ei-ad", "ei-apd", "symmetric", "cgn", "udp-blocked")
ENDPOINT, ADDRESS, PORT = "endpoint-independent", "address-dependent", "address and port-dependent"
EITHER = f"{ENDPOINT} or {ADDRESS}"

# kind: mapping and filtering in full. Linux keeps a port while it is free, so its masquerade looks endpoint-independent
# to one host alone.
FULL = {
    "port-preserving": (ENDPOINT, PORT),
    "ei-ei": (ENDPOINT, ENDPOINT),
    "ei-ad": (ENDPOINT, ADDRESS),
    "ei-apd": (ENDPOINT, PORT),
    "symmetric": (PORT, PORT),
    "cgn": (ENDPOINT, PORT),
}


@pytest.fixture(scope="module")
def world(bindir):
    """The server answers on two addresses: what RFC 5780 needs."""
    listen = {"listen": [SERVER, SERVER_SECOND, SERVER6, SERVER6_SECOND]}
    with World(bindir, KINDS, ["none"], settings=listen) as world:
        yield world


@pytest.fixture(scope="module")
def mapped(bindir):
    with World(bindir, ["port-preserving", "cgn"], ["none"], mapping=True) as world:
        yield world


def check(world, kind):
    return json.loads(world.users[kind].run("netcheck", "--json", timeout=40).out)


@pytest.mark.parametrize("kind", sorted(FULL))
def test_behaviour_in_full_with_two_addresses(world, kind):
    told = check(world, kind)
    assert told["server"]["reached"] and told["udp"]["answered"]
    assert (told["udp"]["mapping"], told["udp"]["filtering"]) == FULL[kind]
    assert told["udp"]["seen"].startswith(world.net.requesters[kind].public + ":")
    assert told["udp"]["hairpin"] == "no"
    assert told["udp"]["port_preserved"] == (kind == "port-preserving")


def test_a_public_address(world):
    told = check(world, "none")
    assert told["public_ipv4"] and told["public_ipv6"]
    assert told["udp"]["mapping"].startswith("none") and told["udp"]["local"] == told["udp"]["seen"]
    assert any(line.startswith("host: a public IPv4 address") for line in told["for_a_call"])


def test_udp_that_is_blocked(world):
    told = check(world, "udp-blocked")
    assert told["server"]["reached"] and not told["udp"]["answered"]
    assert told["udp"]["mapping"] == "unknown"
    assert any(line.startswith("UDP gets no answer") for line in told["for_a_call"])


def test_the_relay_is_tried(world):
    told = check(world, "symmetric")
    assert told["relay"]["relayed"].startswith(f"{SERVER}:")
    assert any(line.startswith("relayed: by ") for line in told["for_a_call"])


def test_text_says_the_same(world):
    out = world.users["ei-ad"].run("netcheck", timeout=40).out
    for words in (f"mapping        {ENDPOINT}", f"filtering      {ADDRESS}", "For a call from here:"):
        assert words in out


def test_what_one_server_address_can_tell(mapped):
    told = check(mapped, "port-preserving")
    assert (told["udp"]["mapping"], told["udp"]["filtering"]) == (EITHER, PORT)


def test_port_mapping_protocols(mapped):
    told = check(mapped, "port-preserving")
    there = {row["protocol"]: row for row in told["port_mapping"]}
    assert set(there) == {"PCP", "NAT-PMP", "UPnP-IGD"} and all(row["there"] for row in there.values())
    assert there["UPnP-IGD"]["outer"] == there["NAT-PMP"]["outer"] == mapped.net.requesters["port-preserving"].public
    assert any(line.startswith("mapped: ") for line in told["for_a_call"])
    assert mapped.net.requesters["port-preserving"].router.mappings() == []  # nothing is left behind


def test_mappings_that_lead_nowhere_are_called_so(mapped):
    told = check(mapped, "cgn")
    there = {row["protocol"]: row for row in told["port_mapping"] if row["there"]}
    assert there["UPnP-IGD"]["reason"] and there["NAT-PMP"]["reason"]  # PCP tells no outer address
    assert not any(line.startswith("mapped: ") for line in told["for_a_call"])


def test_no_port_mapping_at_all(world):
    told = check(world, "port-preserving")
    assert not any(row["there"] for row in told["port_mapping"])
    assert all(row["reason"] for row in told["port_mapping"])


def test_without_the_server_the_rest_is_told(world):
    world.net.block("meta l4proto tcp", "cut")
    try:
        told = check(world, "ei-ei")
    finally:
        world.net.block_clear("cut")
    assert not told["server"]["reached"] and told["server"]["reason"]
    assert told["hosts"] and any(line.startswith("no calls: ") for line in told["for_a_call"])


def test_usage(world):
    done = world.users["none"].run("netcheck", "2133", check=False)
    assert done.status == 2 and len(done.err.strip().splitlines()) == 1
