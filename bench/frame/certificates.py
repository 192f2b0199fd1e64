"""Certificates for the programs that we compare with."""

import subprocess


class Certificates:
    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca, self.ca_key = folder / "ca.crt", folder / "ca.key"
        self.crt, self.key = folder / "host.crt", folder / "host.key"
        self._openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", self.ca_key, "-out", self.ca,
                      "-subj", "/CN=benchmark CA", "-days", "2")
        self._openssl("req", "-newkey", "ed25519", "-nodes", "-keyout", self.key, "-out", folder / "host.csr",
                      "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self._openssl("x509", "-req", "-in", folder / "host.csr", "-CA", self.ca, "-CAkey", self.ca_key,
                      "-copy_extensions", "copy", "-out", self.crt, "-days", "2")
        for path in (self.ca_key, self.key):
            path.chmod(0o644)  # of daemons that become somebody else; worth nothing, gone in a minute

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *[str(w) for w in words]], check=True, capture_output=True)
