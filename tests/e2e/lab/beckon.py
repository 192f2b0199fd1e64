"""The programs under test, put to use in the reference network: a server with its state, devices,
and the people who call them. Everything goes through the command line that users have."""

import configparser
import json
import os
import pathlib

from .network import SERVER
from .process import wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PASSWORD = "correct horse battery staple"
SERVICES = {"ssh": "tcp:127.0.0.1:22", "web": "tcp:127.0.0.1:80"}


def binaries():
    """The folder of the programs: BECKON_BIN, else the development build's."""
    folder = pathlib.Path(os.environ.get("BECKON_BIN") or REPOSITORY / "build/dev/bin").resolve()
    for name in ("beckond", "beckon-agent", "beckon"):
        assert os.access(folder / name, os.X_OK), f"{folder / name} is not there: build it, or set BECKON_BIN"
    return folder


class _Party:
    """One installation: a namespace, a state directory, a key log."""

    def __init__(self, lab, label, ns):
        self.lab = lab
        self.label = label
        self.ns = ns
        self.state = lab.workdir / f"{label}-state"
        self.keylog = lab.workdir / f"{label}.keylog"
        self.log = lab.workdir / f"{label}.log"

    def env(self, **extra):
        env = {k: v for k, v in os.environ.items() if not k.startswith("BECKON_")}
        env.update(SSLKEYLOGFILE=str(self.keylog), HOME=str(self.lab.home), **extra)
        return env

    def _argv(self, program, words):
        command, *rest = words
        return [self.lab.bin / program, command, "--state", self.state, *rest]


class Server(_Party):
    process = None

    def run(self, *words, **kw):
        return self.ns.run(self._argv("beckond", words), env=self.env(), **kw)

    def init(self, *hosts):
        words = [word for host in hosts or (SERVER,) for word in ("--host", host)]
        return self.run("init", *words)

    def configure(self, **settings):
        """Further lines of beckond.conf; a value may be a list: the setting is repeated."""
        with open(self.state / "beckond.conf", "a", encoding="utf-8") as f:
            for key, value in settings.items():
                for one in value if isinstance(value, (list, tuple)) else (value,):
                    f.write(f"{key} = {one}\n")

    def start(self, *extra):
        self.process = self.ns.start(self._argv("beckond", ("run", *extra)), env=self.env(), log=self.log)
        self.process.wait_line(r"\bready\b", 30)
        return self.process

    def stop(self):
        return self.process.stop()

    def token(self, device=None, user=None, **kw):
        who = ("--device", device) if device is not None else ("--user", user)
        return self.run("token", "create", *who, **kw).out.strip()

    def devices(self):
        """The location table, as `--json` gives it."""
        return json.loads(self.run("devices", "--json").out)

    def grant(self, user, device):
        return self.run("grant", "--user", user, "--device", device)

    def ungrant(self, user, device):
        return self.run("ungrant", "--user", user, "--device", device)

    def revoke(self, device=None, user=None):
        return self.run("revoke", *(("--device", device) if device is not None else ("--user", user)))

    def _argv(self, program, words):
        # `token create` is one command of two words.
        n = 2 if words[0] == "token" else 1
        return [self.lab.bin / program, *words[:n], "--state", self.state, *words[n:]]


class Device(_Party):
    process = None
    id = None

    def run(self, *words, **kw):
        return self.ns.run(self._argv("beckon-agent", words), env=self.env(), **kw)

    def join(self, token, **kw):
        return self.run("join", token, **kw)

    def set_password(self, password):
        return self.run("passwd", input=password)

    def configure(self, services=None, **agent):
        """Services and further settings, added to the configuration that `join` wrote."""
        path = self.state / "agent.conf"
        config = configparser.ConfigParser(interpolation=None)
        config.read(path)
        if not config.has_section("agent"):
            config.add_section("agent")
        for key, value in agent.items():
            config.set("agent", key, str(value))
        for name, target in (services or {}).items():
            config[f"service {name}"] = {"target": target}
        with open(path, "w", encoding="utf-8") as f:
            config.write(f)

    def uri(self):
        return self.run("uri").out.split()[0]

    def start(self, *extra, ready=True):
        self.process = self.ns.start(self._argv("beckon-agent", ("run", *extra)), env=self.env(), log=self.log)
        if ready:
            self.process.wait_line(r"\bready\b", 60)
        return self.process

    def stop(self):
        return self.process.stop()


class User(_Party):
    password = PASSWORD

    def _environment(self, password):
        password = self.password if password is None else password
        return self.env(**({"BECKON_PASSWORD": password} if password else {}))

    def run(self, *words, password=None, **kw):
        """A command of `beckon` to its end; password="" gives none."""
        return self.ns.run(self._argv("beckon", words), env=self._environment(password), **kw)

    def start(self, *words, password=None, **kw):
        kw.setdefault("log", self.log)
        return self.ns.start(self._argv("beckon", words), env=self._environment(password), **kw)

    def join(self, token, **kw):
        return self.run("join", token, **kw)

    def pin(self, uri):
        return self.run("pin", uri)

    def forward(self, device, *specs, options=(), timeout=40.0):
        """`beckon forward`, once all its local ports are there."""
        process = self.start("forward", *options, device, *specs)
        for spec in specs:
            port = int(str(spec).split(":")[-2])
            wait_until(lambda port=port: self.ns.listening(port) or not process.running(), timeout,
                       f"beckon forward listens on {port}; it said:\n{process.output()}")
            assert process.running(), f"beckon forward ended with {process.wait()}; it said:\n{process.output()}"
        return process

    def proxy_command(self, device, service, *options):
        """A shell word list for ssh's ProxyCommand (run inside the namespace already)."""
        return " ".join(str(w) for w in self._argv("beckon", ("connect", *options, device, service)))


class Beckon:
    """The whole of it on a network. Nothing is started that is not asked for."""

    def __init__(self, net, bindir, workdir=None):
        self.net = net
        self.bin = pathlib.Path(bindir)
        self.workdir = pathlib.Path(workdir or net.workdir)
        self.home = self.workdir / "home"
        self.home.mkdir(exist_ok=True)
        self.parties = []
        self.server = self._party(Server, "server", net.server)

    def _party(self, kind, label, ns):
        party = kind(self, label, ns)
        self.parties.append(party)
        return party

    def start_server(self, *hosts, **settings):
        self.server.init(*hosts)
        self.server.configure(**settings)
        return self.server.start()

    def enrol_device(self, device=2133, ns=None, password=PASSWORD, services=None, port=2000):
        """A device that has joined, has a password and services, and does not run yet."""
        party = self._party(Device, f"device-{device}", ns or self.net.device)
        party.id = device
        party.join(self.server.token(device=device))
        party.set_password(password)
        party.configure(SERVICES if services is None else services, port=port)
        return party

    def enrol_user(self, name="alice", ns=None, devices=(), pins=()):
        """A person who has joined, may call `devices`, and has the pins of the devices in `pins`."""
        party = self._party(User, f"user-{name}", ns or self.net.requester)
        party.join(self.server.token(user=name))
        for device in devices:
            self.server.grant(name, device)
        for device in pins:
            party.pin(device.uri())
        return party

    def keylog(self):
        """All TLS secrets so far in one file, for tshark. Empty with builds that keep none."""
        path = self.workdir / "all.keylog"
        path.write_bytes(b"".join(p.keylog.read_bytes() for p in self.parties if p.keylog.exists()))
        return path

