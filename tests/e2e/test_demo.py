"""The demonstration: equal to the reference with the figures' mappings, and seen to differ without."""

import json
import pathlib
import subprocess
import sys

import pytest

from lab.tables import Flow

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tools/demo"))

import sequence  # noqa: E402
import tables  # noqa: E402
from verdict import Step  # noqa: E402

# Router 104a's two flows as conntrack has them, in figure 6's addresses.
REQUEST = Flow("tcp", "192.168.1.11", 1500, "130.74.23.6", 1201, "130.74.23.6", 1201, "4.17.168.2", 7000, "TIME_WAIT", True)
CALLBACK = Flow("tcp", "202.204.16.13", 2600, "4.17.168.2", 5000, "192.168.1.11", 1600, "202.204.16.13", 2600,
                "ESTABLISHED", True)
REGISTRATION = Flow("udp", "192.168.1.3", 2000, "130.74.23.6", 1200, "130.74.23.6", 1200, "202.204.16.13", 3400, None, True)
DEVICE = {"id": 2133, "address": "202.204.16.13", "port": 3400}


def test_tables_of_the_figures_are_equal():
    built = tables.build([REQUEST, CALLBACK], [REGISTRATION], [DEVICE])
    assert [t.figure for t in built] == ["6", "9", "12"]
    assert all(t.equal for t in built)


@pytest.mark.parametrize("a, b, devices, differs", [
    ([REQUEST._replace(reply_dport=1500), CALLBACK], [REGISTRATION], [DEVICE], "6"),
    ([REQUEST], [REGISTRATION], [DEVICE], "6"),
    ([REQUEST, CALLBACK, REQUEST._replace(sport=1501)], [REGISTRATION], [DEVICE], "6"),
    ([REQUEST, CALLBACK._replace(dport=5001)], [REGISTRATION], [DEVICE], "6"),
    ([REQUEST._replace(src="192.168.1.12"), CALLBACK], [REGISTRATION], [DEVICE], "6"),
    ([REQUEST, CALLBACK], [], [DEVICE], "12"),
    ([REQUEST, CALLBACK], [REGISTRATION._replace(reply_dport=3401)], [DEVICE], "12"),
    ([REQUEST, CALLBACK], [REGISTRATION._replace(sport=2001)], [DEVICE], "12"),
    ([REQUEST, CALLBACK], [REGISTRATION], [{**DEVICE, "address": "202.204.16.14"}], "9"),
    ([REQUEST, CALLBACK], [REGISTRATION], [{**DEVICE, "id": 2134}], "9"),
    ([REQUEST, CALLBACK], [REGISTRATION], [DEVICE, {**DEVICE, "id": 2134}], "9"),
    ([REQUEST, CALLBACK], [REGISTRATION], [{**DEVICE, "port": 2400}], "9"),
    ([REQUEST, CALLBACK], [REGISTRATION], [], "9"),
])
def test_any_other_row_is_a_difference(a, b, devices, differs):
    assert [t.figure for t in tables.build(a, b, devices) if not t.equal] == [differs]


def test_order_is_judged_by_the_time_of_capture():
    def steps(*times):
        return [Step({}, {}, ref, "", "wan", "a", True, time) for ref, time in zip(("211", "212", "217"), times)]

    assert sequence.order(steps(1.0, 2.0, 3.0)).equal
    assert sequence.order(steps(1.0, 1.0, 3.0)).equal
    assert not sequence.order(steps(1.0, 3.0, 2.0)).equal
    assert not sequence.order(steps(1.0, None, 2.0)).equal


def demo(bindir, out, *options):
    done = subprocess.run([sys.executable, REPOSITORY / "tools/demo", "--bin", bindir, "--out", out, *options],
                          capture_output=True, text=True, timeout=120)
    return done, json.loads((out / "report.json").read_text())


def test_demonstration_equals_the_reference(bindir, tmp_path):
    done, report = demo(bindir, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["ok"]
    refs = [step["ref"] for step in report["steps"] if step["side"] == "wan"]
    assert refs == "201 211 212 213 214 215 216 217 205 221 222 223 214 224 225 226".split()
    assert {table["figure"]: len(table["rows"]) for table in report["tables"]} == {"6": 2, "9": 1, "12": 1}
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page and "http://" not in page and "https://" not in page and "src=" not in page


def test_demonstration_notices_other_ports(bindir, tmp_path):
    done, report = demo(bindir, tmp_path, "--free-ports")
    assert done.returncode == 1
    assert not report["ok"]
    differing = {(s["ref"], s["side"]) for s in report["steps"] if not s["equal"]}
    assert {("201", "wan"), ("205", "wan"), ("217", "wan"), ("226", "wan")} <= differing
    assert ("201", "lan") not in differing
    assert [table["figure"] for table in report["tables"] if not table["equal"]] == ["6", "9", "12"]
