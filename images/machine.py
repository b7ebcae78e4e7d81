"""How this machine reaches Debian and PyPI, handed to a build as secrets: an image keeps no trace of them.

A mirror, an index, a proxy and a private certificate authority are the machine's affair. They are read where apt and
pip themselves read them, and are visible only while a step of the build runs.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from images.say import ImageError

SUITE = "trixie"
_PUBLIC = "http://deb.debian.org/debian"
_PUBLIC_SECURITY = "http://deb.debian.org/debian-security"
_CODENAMES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
_SECRETS = "/run/secrets"

PROXIES = tuple(n for name in ("http_proxy", "https_proxy", "no_proxy") for n in (name, name.upper()))
"""Both engines pass these to a build's steps without keeping them."""

# Of pip's options those that say where packages come from; a folder or a user scheme of this machine means nothing
# inside of an image.
_PIP = {
    "index-url": "index-url",
    "extra-index-url": "extra-index-url",
    "find-links": "find-links",
    "trusted-host": "trusted-host",
    "proxy": "proxy",
    "timeout": "timeout",
    "default-timeout": "timeout",
    "retries": "retries",
    "no-index": "no-index",
}


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where Debian packages come from. `security`: of the security updates; None: the mirror is without them."""

    debian: str
    security: str | None

    def sources(self) -> str:
        """In the format of sources.list, for `SUITE`."""
        lines = [f"deb {self.debian} {SUITE} main", f"deb {self.debian} {SUITE}-updates main"]
        if self.security:
            lines.append(f"deb {self.security} {SUITE}-security main")
        return "\n".join(lines) + "\n"


PUBLIC_MIRRORS = Mirrors(_PUBLIC, _PUBLIC_SECURITY)


def mirrors(apt: Path = Path("/etc/apt")) -> Mirrors:
    """Those of this machine, where it is a Debian; else the public ones."""
    debian = security = None
    for uri, suite in _entries(apt):
        codename, _, part = suite.strip("/").replace("/", "-").partition("-")
        if codename not in _CODENAMES:
            continue
        if part == "":
            debian = debian or uri
        elif part == "security":
            security = security or uri
    if debian is None:
        return PUBLIC_MIRRORS
    return Mirrors(debian, security)


def _entries(apt: Path) -> list[tuple[str, str]]:
    """(URI, suite) of all binary sources with the component main, in the order that apt reads them."""
    found: list[tuple[str, str]] = []
    parts = sorted((apt / "sources.list.d").glob("*")) if (apt / "sources.list.d").is_dir() else []
    for path in [apt / "sources.list", *parts]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".list":
            for line in text.splitlines():
                match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.split("#")[0])
                if match and "main" in match[3].split():
                    found.append((match[1], match[2]))
        elif path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                found += _stanza(stanza)
    return found


def _stanza(text: str) -> list[tuple[str, str]]:
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields.setdefault(name, []).extend(line.split())
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.split()
    if "deb" not in fields.get("types", []) or "main" not in fields.get("components", []):
        return []
    if fields.get("enabled") == ["no"]:
        return []
    return [(uri, suite) for uri in fields.get("uris", []) for suite in fields.get("suites", [])]


def apt_conf(*, secrets: str = _SECRETS) -> str:
    """An apt.conf for use inside of a build: this machine's `Acquire` settings, the sources beside it, no sandbox user
    (who could not read them).
    """
    kept = []
    if shutil.which("apt-config"):
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
        wanted = re.compile(r"Acquire::(Check-|https?::|Retries|ForceIPv)", re.I)
        # Files of this machine mean nothing inside; the bundle below stands for its certificates.
        files = re.compile(r"::(Ca|Ssl|Crl|Proxy-Auto)", re.I)
        kept = [line for line in dump.splitlines() if wanted.match(line) and not files.search(line)]
    kept += [
        f'Dir::Etc::SourceList "{secrets}/sources.list";',
        'Dir::Etc::SourceParts "/dev/null";',
        'APT::Sandbox::User "root";',
        'Acquire::Languages "none";',
        f'Acquire::https::CaInfo "{secrets}/ca.crt";',
    ]
    return "\n".join(kept) + "\n"


def ca_bundle() -> bytes:
    """The certificate authorities that this machine trusts. Raises ImageError where there is no bundle."""
    candidates = [os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    for path in [*candidates, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]:
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    raise ImageError("no bundle of certificate authorities: install ca-certificates, or let SSL_CERT_FILE name one")


def pip_conf(*, secrets: str = _SECRETS) -> str:
    """A pip.conf for use inside of a build."""
    settings: dict[str, str] = {}
    for scope, name, value in _pip_settings():
        option = _PIP.get(name)
        if option is None or scope not in (":env:", "global", "install"):
            continue
        if option == "find-links":
            value = " ".join(link for link in value.split() if "://" in link and not link.startswith("file:"))
        if value:
            settings[option] = value
    lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
    return "\n".join(["[global]", f"cert = {secrets}/ca.crt", "disable-pip-version-check = true", *lines]) + "\n"


def _pip_settings() -> list[tuple[str, str, str]]:
    """(scope, option, value), the weaker first: files, then the environment."""
    for python in (sys.executable, "python3"):
        done = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found = []
            for line in done.stdout.splitlines():
                match = re.fullmatch(r"(:env:|[\w-]+)\.([\w-]+)=(.*)", line)
                if match:
                    found.append((match[1], match[2], str(ast.literal_eval(match[3]))))
            return sorted(found, key=lambda item: item[0] == ":env:")
    return [
        (":env:", name.removeprefix("PIP_").lower().replace("_", "-"), value)
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    ]


def write_secrets(folder: Path) -> dict[str, Path]:
    """Writes what the Dockerfiles mount, readable for this user alone; returns id -> file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    contents = {
        "apt.conf": apt_conf().encode(),
        "sources.list": mirrors().sources().encode(),
        "pip.conf": pip_conf().encode(),
        "ca.crt": ca_bundle(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
