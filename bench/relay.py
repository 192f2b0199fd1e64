"""The relay of beckond beside coturn's, both as RFC 6062 has it (TURN over TCP), both on one processor: what they carry for a
second of its time. Relay here, clients and peers on a second host of the kind that streams.py uses."""

import base64
import hashlib
import hmac
import re
import time

from frame import Missed, Server, median
from frame.process import wait_until

import streams

TITLE = "Relay: what a second of processor time carries"
ISOLATED = True

HERE, THERE = "130.74.0.1", "130.74.0.2"  # public addresses: beckond's relay leads to no others
COTURN = 3478
SECRET = b"a secret for the benchmark"
CONNECTIONS = (1, 16)
USER = "alice"


class Relay:
    """A relay that listens at HERE:port and knows a secret."""

    def __init__(self, ctx, cable, port, secret):
        self.ctx, self.cable, self.port, self.secret = ctx, cable, port, secret
        self.process = None

    def measure(self, count, ms):
        """bytes carried per second, and for a second of the relay's processor time"""
        username = f"{int(time.time()) + 600}:{USER}"
        password = base64.b64encode(hmac.new(self.secret, username.encode(), hashlib.sha1).digest()).decode()
        line = self.ctx.run([*self.cable.enter, self.ctx.tool("streams"), "relay", HERE, self.port, username, password, THERE,
                             count, "up", 300, ms, self.ctx.load_cpu, self.ctx.load_cpu, self.process.pid],
                            timeout=60).stdout
        got = {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", line)}
        return {"rate": got["bytes"] / got["seconds"], "per_cpu": got["bytes"] / got["cpu"]}


class Beckond(Relay):
    def __init__(self, ctx, cable):
        server = Server(ctx, "server", {"max_devices": 1000}, address=HERE)
        super().__init__(ctx, cable, 1201, (server.state / "relay.secret").read_bytes())
        self.process = server.start()
        server.join_user(USER)


class Coturn(Relay):
    def __init__(self, ctx, cable):
        super().__init__(ctx, cable, COTURN, SECRET)
        self.process = ctx.start(
            [ctx.find("turnserver"), "-n", "--listening-port", COTURN, "--listening-ip", HERE, "--relay-ip", HERE,
             "--use-auth-secret", f"--static-auth-secret={SECRET.decode()}", "--realm", "bench", "--no-tls", "--no-dtls",
             "--no-udp", "--no-cli", "--no-stdout-log", "--log-file", ctx.work / "turnserver.txt", "--pidfile",
             ctx.work / "turnserver.pid"], cpu=ctx.server_cpu)
        probe = ["bash", "-c", f"exec 3<>/dev/tcp/{HERE}/{COTURN}"]
        wait_until(lambda: ctx.run(probe, check=False).returncode == 0, 10, "coturn listens")


def gigabytes(results):
    return [r["per_cpu"] / 1e9 for r in results]


def run(ctx):
    ms = 400 if ctx.smoke else 1500 if ctx.quick else 3000
    cable = streams.Cable(ctx, HERE, THERE)
    relays = {"beckond": Beckond(ctx, cable)}
    missed = ""
    try:
        relays["coturn"] = Coturn(ctx, cable)
    except (Missed, RuntimeError, TimeoutError) as e:
        missed = str(e)
    rows = []
    for count in CONNECTIONS:
        got = ctx.alternate({name: lambda r=r, n=count: r.measure(n, ms) for name, r in relays.items()})
        rates = "; ".join(f"{name} {median([8e-9 * r['rate'] for r in found]):.2f} Gbit/s" for name, found in got.items())
        rows.append(ctx.row(f"relayed for a CPU second, {count} connection{'s' if count > 1 else ''}",
                            gigabytes(got["beckond"]), "GB/s", compared_with="coturn",
                            its=gigabytes(got["coturn"]) if "coturn" in got else None, at_least=1.0, of="ratio",
                            note=missed or rates))
    return rows
