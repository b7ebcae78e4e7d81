"""Certificates and kubeconfigs of one cluster, made by the openssl command line. Elliptic-curve keys: fast to make."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.say import ClusterError

# Throw-away clusters live for hours; ten years keeps the date out of every question.
_DAYS = "3650"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate names: user (CN), group (O), and for servers the names and addresses it answers to."""

    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Pki:
    """A certificate authority in a folder and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def create(self, subjects: dict[str, Subject]) -> None:
        """Makes what is missing: the authority, the key for service-account tokens, one key pair per subject."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.ca.exists():
            self._new_key("ca")
            self._openssl(
                # Python 3.13 and later insist on the key usage of an authority.
                f"req -x509 -new -sha256 -days {_DAYS} -subj /CN=orkhaven-cluster-ca "
                "-addext keyUsage=critical,keyCertSign,cRLSign",
                {"-key": self.key("ca"), "-out": self.ca},
            )
        if not self.key("service-accounts").exists():
            self._new_key("service-accounts")
        for name, subject in subjects.items():
            if not self.certificate(name).exists():
                self._sign(name, subject)

    def _new_key(self, name: str) -> None:
        self._openssl("ecparam -name prime256v1 -genkey -noout", {"-out": self.key(name)})
        self.key(name).chmod(0o600)

    def _sign(self, name: str, subject: Subject) -> None:
        self._new_key(name)
        alternatives = [f"DNS:{n}" for n in subject.names] + [f"IP:{a}" for a in subject.addresses]
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            + (f"subjectAltName={','.join(alternatives)}\n" if alternatives else "")
        )
        request = self.folder / f"{name}.csr"
        group = f"/O={subject.group}" if subject.group else ""
        self._openssl(f"req -new -subj {group}/CN={subject.user}", {"-key": self.key(name), "-out": request})
        self._openssl(
            f"x509 -req -sha256 -days {_DAYS} -CAcreateserial",
            {"-in": request, "-CA": self.ca, "-CAkey": self.key("ca"), "-extfile": extensions}
            | {"-out": self.certificate(name)},
        )
        request.unlink()
        extensions.unlink()

    @staticmethod
    def _openssl(words: str, files: dict[str, Path]) -> None:
        if shutil.which("openssl") is None:
            raise ClusterError("openssl is needed to make the cluster's certificates: install the package openssl")
        argv = ["openssl", *words.split()]
        for flag, path in files.items():
            argv += [flag, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"openssl {words} failed:\n{done.stderr}")

    def kubeconfig(self, path: Path, *, server: str, subject: str, context: str) -> Path:
        """Writes a kubeconfig (JSON is YAML) that carries its certificates within; mode 0600."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": context, "cluster": {"server": server, "certificate-authority-data": _base64(self.ca)}}
            ],
            "users": [
                {
                    "name": subject,
                    "user": {
                        "client-certificate-data": _base64(self.certificate(subject)),
                        "client-key-data": _base64(self.key(subject)),
                    },
                }
            ],
            "contexts": [{"name": context, "context": {"cluster": context, "user": subject}}],
            "current-context": context,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
