"""The two programs that build: Docker where an engine answers, else buildah, as root and without any daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from images import archive, cache
from images.machine import PROXIES
from images.say import ImageError, Say, run

BASE_TAG = "localhost/orkhaven-base:trixie"
PULL_SECONDS = 180
"""A slim base is 30 MB; where nothing comes within this time, no registry is reachable in a useful way."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build. `fresh`: without cached layers."""

    context: Path
    tag: str
    base: str
    secrets: Mapping[str, Path]
    labels: Mapping[str, str]
    fresh: bool
    log: Path


class Engine(Protocol):
    """What the builder asks of either program."""

    name: str

    def image_id(self, tag: str) -> str | None:
        """Digest of the configuration of a local image; None: there is none."""

    def pull(self, reference: str, tag: str) -> None:
        """Fetches an image from its registry under a tag of ours. Raises ImageError."""

    def build(self, build: Build, say: Say) -> None:
        """Raises ImageError with the end of the output."""

    def save(self, tag: str, target: Path) -> None:
        """Writes the image as an archive that containerd and Docker read."""


def find_docker() -> Docker | None:
    """A Docker engine that answers."""
    if not shutil.which("docker"):
        return None
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    return Docker() if answer.returncode == 0 else None


def find(say: Say) -> Engine:
    """The engine of this machine; installs buildah where it is missing. Raises ImageError where neither can be had."""
    if docker := find_docker():
        return docker
    if os.geteuid() != 0:
        raise ImageError("images are built by a Docker engine, which does not answer here, or by buildah as root")
    install("buildah", "skopeo", say=say)
    return Buildah()


def install(*packages: str, say: Say) -> None:
    """Debian packages, where they are missing. Raises ImageError where that cannot be done."""
    from tests.cluster.debian import apt_install, missing_packages
    from tests.cluster.say import ClusterError

    try:
        if missing := missing_packages(packages):
            say(f"needs the Debian packages {', '.join(missing)}")
            apt_install(missing)
    except ClusterError as error:
        raise ImageError(str(error)) from error


class Docker:
    """A Docker engine, with BuildKit."""

    name = "docker"

    def image_id(self, tag: str) -> str | None:
        done = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Id}}", tag], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or None

    def pull(self, reference: str, tag: str) -> None:
        run(["docker", "pull", "--quiet", reference], timeout=PULL_SECONDS)
        run(["docker", "tag", reference, tag])

    def build(self, build: Build, say: Say) -> None:
        command: list[str | Path] = ["docker", "build", "--progress", "plain", "--tag", build.tag]
        command += ["--build-arg", f"BASE={build.base}"]
        for name in PROXIES:
            # Predefined arguments: a step sees them, the image's history does not.
            if name in os.environ:
                command += ["--build-arg", name]
        command += _common(build)
        steps = Steps(say)
        run([*command, build.context], log=build.log, on_line=steps.line, env={**os.environ, "DOCKER_BUILDKIT": "1"})
        steps.end()

    def save(self, tag: str, target: Path) -> None:
        # Renamed into place: an archive is there and complete, or not there.
        scratch = target.with_name(f".{target.name}")
        run(["docker", "save", "--output", scratch, tag])
        scratch.replace(target)

    def remove(self, tag: str) -> None:
        """Removes a tag, and the image where no other tag has it."""
        run(["docker", "image", "rm", tag])


class Buildah:
    """buildah with a store of its own in the cache, so that nothing of the machine's is touched."""

    name = "buildah"

    def __init__(self) -> None:
        # Mounts and locks are forgotten at a reboot, hence /run; one folder for each store.
        self._root = cache.folder() / "storage"
        self._run = Path("/run/orkhaven-images") / cache.fingerprint()
        self._command: list[str | Path] = ["buildah", "--root", self._root, "--runroot", self._run]

    def _driver(self) -> str:
        """The storage driver that buildah chose when it made the store: overlay, or vfs where it cannot be mounted."""
        info = json.loads(run([*self._command, "info"]))
        driver: str = info["store"]["GraphDriverName"]
        return driver

    def image_id(self, tag: str) -> str | None:
        done = subprocess.run(
            [*self._command, "inspect", "--type", "image", "--format", "{{.FromImageID}}", tag],
            capture_output=True,
            text=True,
            check=False,
        )
        return f"sha256:{done.stdout.strip()}" if done.returncode == 0 and done.stdout.strip() else None

    def pull(self, reference: str, tag: str) -> None:
        run([*self._command, "pull", "--quiet", reference], timeout=PULL_SECONDS)
        run([*self._command, "tag", reference, tag])

    def build(self, build: Build, say: Say) -> None:
        command = [*self._command, "bud", "--isolation", "chroot", "--layers", "--pull-never", "--tag", build.tag]
        command += ["--build-arg", f"BASE={build.base}", *_common(build)]
        steps = Steps(say)
        run([*command, build.context], log=build.log, on_line=steps.line)
        steps.end()

    def save(self, tag: str, target: Path) -> None:
        # A layer that the layout holds already is not written again, and an archive is a copy of some of its files:
        # a changed source costs one thin layer, where a push to an archive reads all of them out of the store. It
        # takes skopeo, since buildah compresses what it pushes to a layout, whatever it is told.
        layout = cache.folder() / "layout"
        layout.mkdir(exist_ok=True)
        name = tag.partition("/")[2].replace(":", "-")
        source = f"containers-storage:[{self._driver()}@{self._root}+{self._run}]{tag}"
        plain = "--dest-oci-accept-uncompressed-layers"
        run(["skopeo", "copy", "--quiet", plain, source, f"oci:{layout}:{name}"])
        archive.pack(layout, name=name, tag=tag, target=target)
        archive.collect(layout)

    def mount(self, tag: str) -> tuple[str, Path]:
        """A working container of an image: its name, and where its files are mounted."""
        name = run([*self._command, "from", "--pull-never", tag]).split()[-1]
        return name, Path(run([*self._command, "mount", name]).split()[-1])

    def remove(self, container: str) -> None:
        run([*self._command, "rm", container])

    def clean(self) -> None:
        """Removes all working containers and images of the store."""
        run([*self._command, "rm", "--all"])
        run([*self._command, "rmi", "--all", "--force"])


def _common(build: Build) -> list[str | Path]:
    options: list[str | Path] = ["--file", build.context / "Dockerfile"]
    for name, path in build.secrets.items():
        options += ["--secret", f"id={name},src={path}"]
    for name, value in build.labels.items():
        options += ["--label", f"{name}={value}"]
    if build.fresh:
        options.append("--no-cache")
    return options


class Steps:
    """Turns the output of a build into progress lines: the steps that take time, what they do, and how long."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._what = ""
        self._said = False
        self._since = 0.0

    def line(self, line: str) -> None:
        """One line of either program's plain output."""
        step = re.match(r"(?:\[\d+/\d+\] )?STEP \d+/\d+: (.*)|#\d+ \[.*\d+/\d+\] (.*)", line)
        if step:
            self.end()
            self._what, self._said, self._since = _describe(step[1] or step[2]), False, self._clock()
        elif self._what and not self._said and not re.match(r"-->|#\d+ CACHED|$", line):
            self._said = True
            self._say(f"  {self._what} ...")

    def end(self) -> None:
        """The last step is over."""
        if self._said and (seconds := self._clock() - self._since) >= 1:
            self._say(f"  {self._what}: {seconds:.0f} s")
        self._what, self._said = "", False


def _describe(instruction: str) -> str:
    if not instruction.startswith("RUN"):
        return ""
    if "/bin/pip" in instruction:
        return "Python packages of requirements.txt"
    debian = re.search(r"apt-get install (?:-\S+ )*([^&]+)", instruction)
    return f"Debian packages: {' '.join(debian[1].split())}" if debian else ""
