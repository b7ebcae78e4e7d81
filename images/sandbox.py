"""Runs commands of a built image as a restricted pod would: user 10001, a read-only root file system, no capabilities,
no network, an empty /tmp for each. Without a cluster.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from images.engines import Buildah, Docker, Engine, install
from images.say import ImageError, Say

USER = "10001:10001"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `output`: both streams together."""

    code: int
    output: str
    seconds: float


class Sandbox(Protocol):
    """An image that commands can be run in."""

    def __call__(self, command: Sequence[str], *, env: dict[str, str], timeout: float) -> Outcome:
        """Raises ImageError where the command does not end within `timeout` seconds."""


@contextmanager
def sandbox(engine: Engine, tag: str, *, say: Say) -> Iterator[Sandbox]:
    """A way into the engine's image of that tag. Raises ImageError where this engine has none."""
    if isinstance(engine, Docker):
        yield _InDocker(tag)
    elif isinstance(engine, Buildah):
        install("runc", say=say)
        container, root = engine.mount(tag)
        try:
            yield _InRunc(root)
        finally:
            engine.remove(container)
    else:
        raise ImageError(f"{engine.name}: no way to run {tag}")


def _outcome(argv: Sequence[str | Path], *, timeout: float) -> Outcome:
    started = time.monotonic()
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        last = "\n".join(said.splitlines()[-25:])
        raise ImageError(f"{' '.join(map(str, argv[-6:]))} did not end within {timeout:.0f} s:\n{last}") from error
    return Outcome(done.returncode, done.stdout, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _InDocker:
    tag: str

    def __call__(self, command: Sequence[str], *, env: dict[str, str], timeout: float) -> Outcome:
        name = f"orkhaven-check-{uuid.uuid4().hex[:8]}"
        options = ["--rm", "--name", name, "--read-only", "--tmpfs", "/tmp:exec", "--user", USER, "--network", "none"]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        options += [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
        try:
            return _outcome(
                ["docker", "run", *options, "--entrypoint", command[0], self.tag, *command[1:]], timeout=timeout
            )
        except ImageError:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
            raise


@dataclass(frozen=True, slots=True)
class _InRunc:
    """On the mounted files of an image."""

    root: Path

    def __call__(self, command: Sequence[str], *, env: dict[str, str], timeout: float) -> Outcome:
        name = f"orkhaven-check-{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory(prefix="orkhaven-check-") as bundle:
            Path(bundle, "config.json").write_text(json.dumps(_spec(self.root, command, env)))
            state = ["runc", "--root", f"{bundle}/state"]
            try:
                return _outcome([*state, "run", "--bundle", bundle, name], timeout=timeout)
            finally:
                subprocess.run([*state, "delete", "--force", name], capture_output=True, check=False)


def _spec(root: Path, command: Sequence[str], env: dict[str, str]) -> dict[str, Any]:
    """A runtime specification, https://github.com/opencontainers/runtime-spec."""
    user, group = map(int, USER.split(":"))
    safe = ["nosuid", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": list(command),
            "env": [f"{key}={value}" for key, value in env.items()],
            "cwd": "/tmp",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "check",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*safe, "mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [*safe, "mode=1777"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/irq"],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/sched_debug"],
        },
    }
