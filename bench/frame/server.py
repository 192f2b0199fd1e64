"""A beckond on loopback with a state directory of its own."""

import json
import os


class Server:
    """Settings are lines of beckond.conf; a setting that this beckond does not know makes it refuse to start."""

    def __init__(self, ctx, name, settings, address="127.0.0.1"):
        self.ctx, self.address = ctx, address
        self.program = ctx.program("beckond")
        self.state = ctx.work / name
        self.port = int(settings.get("udp_port", 1200))
        self.process = None
        ctx.run([self.program, "init", "--state", self.state, "--host", address])
        defaults = {"listen": address, "max_devices": 16_000_000, "requests_per_second": 0}
        with open(self.state / "beckond.conf", "a", encoding="utf-8") as f:
            for key, value in {**defaults, **settings}.items():
                for one in value if isinstance(value, (list, tuple)) else (value,):
                    f.write(f"{key} = {one}\n")

    def start(self, cpu=None):
        """Once it says that it is ready. `cpu` None: where the measured belongs."""
        self.process = self.ctx.start([self.program, "run", "--state", self.state],
                                      cpu=self.ctx.server_cpu if cpu is None else cpu, ready=r"\bready\b", timeout=30)
        return self.process

    def stop(self, signal=15):
        return self.process.stop(signal, timeout=60)

    @property
    def pid(self):
        return self.process.pid

    def command(self, *words, n=1):
        """`beckond WORDS` with this state directory; `n`: of how many words the command consists."""
        return self.ctx.run([self.program, *words[:n], "--state", self.state, *words[n:]]).stdout

    def token(self, **who):
        (kind, name), = who.items()
        return self.command("token", "create", f"--{kind}", name, n=2).strip()

    def devices(self):
        return json.loads(self.command("devices", "--json"))

    # ---- others' ends ----

    def join_device(self, number, password=None, **config):
        """A device that has joined, with its own state directory, which is returned. `config` goes into [agent]; a
        section `services` = {name: target} besides."""
        state = self.ctx.work / f"{self.state.name}-device-{number}"
        agent = self.ctx.program("beckon-agent")
        self.ctx.run([agent, "join", "--state", state, self.token(device=number)])
        services = config.pop("services", {})
        with open(state / "agent.conf", "r+", encoding="utf-8") as f:
            lines = f.read().splitlines()
            at = lines.index("[agent]") + 1 if "[agent]" in lines else 0
            extra = [f"{key} = {value}" for key, value in config.items()]
            lines[at:at] = extra if at else ["[agent]", *extra] if extra else []
            for name, target in services.items():
                lines += [f"[service {name}]", f"target = {target}"]
            f.seek(0)
            f.write("\n".join(lines) + "\n")
            f.truncate()
        if password:
            self.ctx.run([agent, "passwd", "--state", state], input=password)
        return state

    def start_agent(self, state, cpu=None, ready=True):
        return self.ctx.start([self.ctx.program("beckon-agent"), "run", "--state", state], cpu=cpu,
                              ready=r"\bready\b" if ready else None, timeout=30)

    def join_user(self, name, devices=(), pins=()):
        """A user's state directory. `pins`: state directories of devices."""
        state = self.ctx.work / f"{self.state.name}-user-{name}"
        beckon = self.ctx.program("beckon")
        self.ctx.run([beckon, "join", "--state", state, self.token(user=name)])
        for device in devices:
            self.command("grant", "--user", name, "--device", device)
        for device in pins:
            uri = self.ctx.run([self.ctx.program("beckon-agent"), "uri", "--state", device]).stdout.split()[0]
            self.ctx.run([beckon, "pin", "--state", state, uri])
        return state

    def environment(self, **extra):
        return {**{k: v for k, v in os.environ.items() if not k.startswith("BECKON_")}, **extra}
