"""What a device serves: a real sshd and a real web server, on the loopback of its own namespace."""

import os
import pathlib
import pwd

from .process import run

PAGE = "<!doctype html><title>device 2133</title><h1>This is device 2133.</h1>\n"


class Sshd:
    """OpenSSH on 127.0.0.1:22 with a host key and one authorized key of its own."""

    def __init__(self, ns, workdir, port=22):
        self.ns = ns
        self.port = port
        self.dir = pathlib.Path(workdir) / f"sshd-{ns.label}"
        self.dir.mkdir(mode=0o700)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.host_key = self.dir / "host_ed25519"
        self.user_key = self.dir / "user_ed25519"
        for key in (self.host_key, self.user_key):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "laboratory", "-f", key])
        authorized = self.dir / "authorized_keys"
        authorized.write_bytes(self.user_key.with_suffix(".pub").read_bytes())
        config = self.dir / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {self.host_key}\nAuthorizedKeysFile {authorized}\n"
            "UsePAM no\nPidFile none\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\nUseDNS no\n"
            "MaxStartups 200\nMaxSessions 200\nSubsystem sftp internal-sftp\n")
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self._process = ns.start(["/usr/sbin/sshd", "-D", "-e", "-f", config])
        self._process.wait_line("Server listening on 127.0.0.1")

    def client_options(self, alias="device-2133"):
        """Options for ssh, scp and rsync that know this host key and no other."""
        known = self.dir / "known_hosts"
        known.write_text(f"{alias} {self.host_key.with_suffix('.pub').read_text()}")
        options = ["-F", "none", "-i", str(self.user_key)]
        for option in (f"HostKeyAlias={alias}", f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=none",
                       "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=15"):
            options += ["-o", option]
        return options

    def stop(self):
        self._process.stop()


class Nginx:
    """nginx on 127.0.0.1:80, serving a folder."""

    def __init__(self, ns, workdir, port=80):
        self.ns = ns
        self.port = port
        self.dir = pathlib.Path(workdir) / f"nginx-{ns.label}"
        self.root = self.dir / "root"
        self.root.mkdir(parents=True)
        (self.root / "index.html").write_text(PAGE)
        config = self.dir / "nginx.conf"
        config.write_text(
            f"daemon off;\nmaster_process off;\npid {self.dir}/pid;\nerror_log stderr notice;\n"
            "events { worker_connections 1024; }\nhttp {\n    access_log off;\n    sendfile on;\n"
            + "".join(f"    {kind}_temp_path {self.dir}/{kind};\n"
                      for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"    server {{ listen 127.0.0.1:{port}; root {self.root}; }}\n}}\n")
        self._process = ns.start(["/usr/sbin/nginx", "-e", "stderr", "-c", config])
        ns.wait_listening(port)

    def stop(self):
        self._process.stop()
