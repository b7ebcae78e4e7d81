"""Is a built image what a cluster needs? Its configuration, no trace of the machine it was built on, and its commands.

The commands run in `images.sandbox`; the trainers train one step on the phantom that they carry, on the CPU.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from images import archive, cache, catalogue, engines
from images.build import archive_of
from images.machine import PUBLIC_MIRRORS, mirrors, pip_conf
from images.sandbox import USER, Outcome, Sandbox, sandbox
from images.say import ImageError, Say, to_stderr

_PUBLIC_HOSTS = {urlsplit(PUBLIC_MIRRORS.debian).hostname, "pypi.org", "files.pythonhosted.org"}

# Small enough for a second of training; every layer of the trainer takes part.
_ONE_STEP = {
    "epochs": 1,
    "batch_size": 8,
    "data.image_size": 64,
    "data.phantom.patients": 2,
    "data.phantom.slices": 4,
    "data.phantom.size": 64,
}


def check(name: str, *, say: Say = to_stderr) -> None:
    """Raises ImageError naming what is wrong with the image that is built from what the checkout holds."""
    image = catalogue.find(name)
    config = archive.config(archive_of(name))
    problems = config_problems(config, image) + traces(config, machine_hosts())
    if problems:
        raise ImageError(f"{name}: " + "; ".join(problems))
    say(f"{name}: configuration as it should be, no trace of this machine in it")
    env = dict(item.split("=", 1) for item in config["config"]["Env"])
    with cache.lock(say), sandbox(engines.find(say), image.tag, say=say) as inside:
        run = _runner(inside, env, name, say)
        _surroundings(run)
        (_operator if image.command == "orkhaven" else _trainer)(run)


def config_problems(config: dict[str, Any], image: catalogue.Image) -> list[str]:
    """What an image's configuration lacks, as sentences."""
    inner = config["config"]
    labels = inner.get("Labels") or {}
    env = dict(item.split("=", 1) for item in inner["Env"])
    wanted = {
        "user": (inner.get("User"), USER),
        "entrypoint": (inner.get("Entrypoint"), [image.command]),
        "HOME": (env.get("HOME"), "/tmp"),
        "label licenses": (labels.get("org.opencontainers.image.licenses"), "Apache-2.0"),
        "label version": (labels.get("org.opencontainers.image.version"), _version()),
    }
    return [f"{what} is {found!r}, not {right!r}" for what, (found, right) in wanted.items() if found != right]


def traces(config: dict[str, Any], hosts: set[str]) -> list[str]:
    """Hosts of this machine's that an image's environment, labels or history name."""
    text = repr(config)
    return [f"its configuration names the host {host}" for host in sorted(hosts) if host in text]


def machine_hosts() -> set[str]:
    """Hosts of the package mirrors, indexes and proxies set here, the public ones left out."""
    here = mirrors()
    urls = [here.debian, here.security or "", *re.findall(r"\S+://\S+", pip_conf())]
    return {host for url in urls if (host := urlsplit(url).hostname)} - _PUBLIC_HOSTS


_Run = Callable[..., Outcome]


def _runner(inside: Sandbox, env: dict[str, str], name: str, say: Say) -> _Run:
    def run(what: str, *command: str, code: int = 0, says: str = "", timeout: float = 300) -> Outcome:
        outcome = inside(command, env=env, timeout=timeout)
        if outcome.code != code or says not in outcome.output:
            last = "\n".join(outcome.output.splitlines()[-25:])
            wanted = f"{code} and {says!r}" if says else f"{code}"
            raise ImageError(f"{name}: {what}: wanted exit code {wanted}, got {outcome.code}:\n{last}")
        say(f"{name}: {what}: {outcome.seconds:.1f} s")
        return outcome

    return run


def _surroundings(run: _Run) -> None:
    run("user 10001", "/bin/sh", "-c", "id -u; id -g; id -un", says="10001\n10001\norkhaven\n")
    run("read-only root", "/bin/sh", "-c", "echo x > /opt/orkhaven/written", code=2, says="Read-only file system")
    left = "find /var/lib/apt/lists /var/cache /var/log /run/secrets /etc/resolv.conf /etc/hostname -type f -size +0"
    run("nothing left of the build", "/bin/sh", "-c", f'test -z "$({left})"')
    # Where only public mirrors are set there is no name that could give this machine away.
    if hosts := "|".join(re.escape(host) for host in sorted(machine_hosts())):
        search = f"grep -rlsE '{hosts}' /etc /opt/orkhaven /var/lib; test $? = 1"
        run("no host of this machine", "/bin/sh", "-c", search)
    # Nothing has to be compiled at the start of each pod.
    run("bytecode of all modules", "python", "-c", _BYTECODE, says="all compiled")


_BYTECODE = """
import importlib.util, pathlib
bare = [p for p in pathlib.Path("/opt/orkhaven").rglob("*.py")
        if not pathlib.Path(importlib.util.cache_from_source(str(p))).exists()]
assert not bare, bare[:3]
print("all compiled")
"""


def _operator(run: _Run) -> None:
    run("orkhaven version", "orkhaven", "version", says=_version())
    run("orkhaven crds", "orkhaven", "crds", says="kind: CustomResourceDefinition")
    run("imports of operator and hub", "python", "-c", "import orkhaven.operator_main, orkhaven.hub.server")


def _trainer(run: _Run) -> None:
    train = ["ctseg", "train", "--output", "/tmp/run"]
    train += [part for key, value in _ONE_STEP.items() for part in ("--set", f"{key}={value}")]
    # A report that cannot be made is only a warning: the model is there.
    reported = f"{shlex.join(train)} && test -s /tmp/run/report/result.json"
    run("a step of training and its report", "/bin/sh", "-c", reported, says="val/dice_case")
    run("an unknown encoder", *train, "--set", "model.encoder=resnet0", code=64, says="model.encoder")
    run("ctseg models", "ctseg", "models", says="DeepLabV3Plus")


def _version() -> str:
    version: str = tomllib.loads((catalogue.ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version
