"""mosquitto over TLS 1.3 with devices that wait (bench/mqtt.c): the usual way to reach what is behind NAT."""

import pathlib
import re
import resource

from frame import measure

CONFIG = """per_listener_settings false
listener {port} 127.0.0.1
cafile {certificates.ca}
certfile {certificates.crt}
keyfile {certificates.key}
tls_version tlsv1.3
allow_anonymous true
max_connections -1
persistence false
log_dest stderr
log_type error
user root
"""


def kernel_bytes():
    """What the kernel holds in objects and for sockets, of the whole machine."""
    meminfo = pathlib.Path("/proc/meminfo").read_text()
    slab = int(re.search(r"^Slab:\s+(\d+)", meminfo, re.M)[1]) * 1024
    sockets = pathlib.Path("/proc/net/sockstat").read_text()
    pages = int(re.search(r"^TCP:.*\bmem (\d+)", sockets, re.M)[1])
    return slab + pages * resource.getpagesize()


class Broker:
    def __init__(self, ctx, port=1883):
        self.ctx, self.port = ctx, port
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))  # inherited by all that is started from here on
        self.most = files[1] - 200
        self.config = ctx.work / "mosquitto.conf"
        self.config.write_text(CONFIG.format(port=port, certificates=ctx.certificates()), encoding="utf-8")
        self.process = self.clients = None
        self.runs = 0

    def start(self):
        self.runs += 1
        self.process = self.ctx.start([self.ctx.find("mosquitto"), "-c", self.config], cpu=self.ctx.server_cpu,
                                      log=f"mosquitto-{self.runs}.log")
        at = f":{self.port:04X} 00000000:0000 0A"
        self.ctx.until(lambda: at in pathlib.Path("/proc/self/net/tcp").read_text(), "mosquitto listens")

    def connect(self, number, interval_s):
        """Seconds that it took."""
        self.clients = self.ctx.start([self.ctx.tool("mqtt"), self.port, self.ctx.certificates().ca, number, interval_s],
                                      cpu=self.ctx.load_cpu, log="mqtt.log")
        return float(self.clients.wait_line(r"^connected ([\d.]+)", 240)[1])

    def said(self, word):
        return [float(s) for s in re.findall(rf"^{word} ([\d.]+)", self.clients.output(), re.M)]

    def next(self, word, timeout):
        """Waits until it says so once more."""
        n = len(self.said(word))
        self.ctx.until(lambda: len(self.said(word)) > n, f"mqtt: {word}", timeout)
        return self.said(word)[-1]

    def cpu_ns(self):
        return measure.cpu_ns(self.process.pid)

    def stop(self):
        if self.clients:
            self.clients.stop(9)
        self.process.stop()
