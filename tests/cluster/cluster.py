"""`Cluster`: one cluster by name, whatever way it runs. The interface that tests, demo and bench use."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tests.cluster import bare, kwok, programs
from tests.cluster import kind as kind_module
from tests.cluster.api import Api
from tests.cluster.bare import Bare
from tests.cluster.kind import Kind
from tests.cluster.loopback import Loopback
from tests.cluster.processes import Processes
from tests.cluster.say import ClusterError, say
from tests.cluster.settings import Mode, Settings, read_place, remembered

# A pod's cgroup is named by its uid, with underscores where systemd manages cgroups. Its "pause" holds the network.
_SIGNAL_POD = """
dashes=$1 underscores=$(echo "$1" | tr - _)
for process in /proc/[0-9]*; do
  grep -qs -e "pod$dashes" -e "pod$underscores" "$process/cgroup" || continue
  [ "$(cat "$process/comm")" = pause ] || kill "-$2" "${process#/proc/}"
done
"""


class Backend(Protocol):
    """What each mode does in its own way."""

    @property
    def node_name(self) -> str | None: ...
    @property
    def processes(self) -> Processes: ...
    @property
    def kubeconfig(self) -> Path: ...
    @property
    def api(self) -> Api: ...

    def up(self) -> None: ...
    def restarted(self, process: str, *, since: float) -> None: ...
    def down(self) -> None: ...
    def load(self, archive: Path) -> list[str]: ...
    def images(self) -> list[tuple[str, str]]: ...
    def on_node(self, *command: str) -> str: ...
    def inside(self, *command: str) -> str: ...


def choose_mode() -> tuple[Mode, str]:
    """The best mode that this machine can do, and why it is that one."""
    if kind_module.docker_answers():
        return Mode.KIND, "a Docker engine answers"
    reason = bare.possible()
    if reason is None:
        return Mode.BARE, "root, and no Docker engine answers"
    return Mode.CONTROL_PLANE, f"no Docker engine answers, and {reason}: no node, so nothing can run in a container"


class Cluster:
    """A cluster by name.

    `mode`: "kind", "bare", "control-plane", or None for that of the cluster that is there, else the best one possible.
    `gpus`, `gpu_model`, `gpu_memory` (MiB): what its node offers. `tuned`: request limits of the
    controller-manager and the scheduler lifted (their defaults of 20 a second would time themselves, not the operator).
    `apiserver_flags`: more flags for kube-apiserver (process modes only), for example an audit log's.
    """

    def __init__(
        self,
        name: str = "orkhaven",
        *,
        mode: str | None = None,
        gpus: int = 2,
        gpu_model: str = "NVIDIA-A100-SXM4-40GB",
        gpu_memory: int = 40960,
        tuned: bool = True,
        apiserver_flags: Sequence[str] = (),
    ) -> None:
        self.settings = Settings(name, gpus, gpu_model, gpu_memory, tuned, tuple(apiserver_flags))
        there = read_place(self.settings).get("mode")
        if mode not in (None, "auto") and there is not None and Mode(str(mode)) != there:
            raise ClusterError(f"cluster {name!r} is there in mode {there}, not {mode}: take it down first")
        self._chosen = "chosen before" if there else "asked for"
        if there is None and mode in (None, "auto"):
            self.mode, self._chosen = choose_mode()
        else:
            self.mode = Mode(str(there or mode))

    @classmethod
    def existing(cls, name: str = "orkhaven") -> Cluster:
        """The cluster as it was last brought up. Raises ClusterError where there is none of this name."""
        stored = Settings(name)
        if not read_place(stored):
            raise ClusterError(f"no cluster {name!r} is up here; `python3 -m tests.cluster up --name {name}` makes one")
        kept = remembered(stored)
        return cls(
            name,
            gpus=kept.gpus,
            gpu_model=kept.gpu_model,
            gpu_memory=kept.gpu_memory,
            tuned=kept.tuned,
            apiserver_flags=kept.apiserver_flags,
        )

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def exists(self) -> bool:
        """Whether it was brought up and not taken down since; `problems()` says whether it is well."""
        return bool(read_place(self.settings))

    @property
    def has_node(self) -> bool:
        """Whether containers can run."""
        return self.mode is not Mode.CONTROL_PLANE

    @property
    def node_name(self) -> str | None:
        return self._backend.node_name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self._backend.kubeconfig

    @property
    def state(self) -> Path:
        """The cluster's folder: logs in `logs/<process>.log`, certificates in `pki`."""
        return self.settings.state

    @property
    def shared(self) -> Path:
        """A folder that the node has at the same path, for hostPath volumes; gone with the cluster."""
        self.settings.shared.mkdir(parents=True, exist_ok=True)
        return self.settings.shared

    @property
    def api(self) -> Api:
        """A small client with the administrator's rights."""
        return self._backend.api

    @cached_property
    def programs(self) -> dict[str, Path]:
        """Paths of kubectl and helm in fitting versions."""
        return programs.ensure(("kubectl", "helm"))

    def build_programs(self) -> dict[str, Path]:
        """Paths of everything that the tests run on this machine; builds what is missing, which takes minutes once."""
        names = ["kubectl", "helm", "kwok"]
        # The integration tests have a control plane of their own in every mode.
        names += programs.CONTROL_PLANE
        names += {Mode.KIND: ("kind",), Mode.BARE: programs.NODE}.get(self.mode, ())
        return programs.ensure(dict.fromkeys(names))

    @cached_property
    def _backend(self) -> Backend:
        match self.mode:
            case Mode.KIND:
                return Kind(self.settings)
            case Mode.BARE:
                return Bare(self.settings)
            case Mode.CONTROL_PLANE:
                return Loopback(self.settings)

    def up(self) -> Cluster:
        """Brings the cluster up, or what of it is missing; returns when it can be used."""
        with self._lock():
            say(f"cluster {self.name}: up, mode {self.mode} ({self._chosen})")
            self._backend.up()
            self._link_programs()
            say(f"cluster {self.name}: ready, KUBECONFIG={self.kubeconfig}")
        return self

    def down(self) -> None:
        """Removes the cluster and everything in it; nothing happens where there is none."""
        with self._lock():
            self._backend.down()
            say(f"cluster {self.name}: gone")

    def load(self, archive: str | Path) -> list[str]:
        """Makes the images of an OCI or docker archive known to the node; returns the names of those that were new."""
        return self._backend.load(Path(archive))

    def images(self) -> list[tuple[str, str]]:
        """Name and configuration digest of the images on the node."""
        return self._backend.images()

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Runs kubectl as administrator and returns its standard output.

        Raises ClusterError with its errors where it fails, unless `check` is false: then those are returned too.
        """
        done = subprocess.run(
            [self.programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **self._cache_folder()},
        )
        if not check:
            return done.stdout + done.stderr
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def processes(self) -> dict[str, int | None]:
        """Process id of each process of the cluster; None for one that has ended."""
        return {name: self._backend.processes.pid(name) for name in self._backend.processes.names()}

    def kill(self, process: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to a process of the cluster; after SIGKILL returns when it is gone (process modes only)."""
        if process not in self._backend.processes.names():
            raise ClusterError(
                f"no process {process!r}; there are: {', '.join(self._backend.processes.names()) or 'none'}"
            )
        self._backend.processes.kill(process, number)

    def kill_containers(self, pod_uid: str, number: int = signal.SIGKILL) -> None:
        """A signal to every process of a pod's containers; SIGKILL as an out-of-memory killer would do it: the pod
        stays.
        """
        self._backend.on_node("sh", "-c", _SIGNAL_POD, "signal-pod", pod_uid, str(int(number)))

    def inside(self, *command: str) -> str:
        """Runs a command in the node's network and file system, as root; returns what it prints."""
        return self._backend.inside(*command)

    def restart(self, process: str, *, wait: bool = True) -> None:
        """Starts a process that was killed as it ran before; for kube-apiserver and kubelet returns when it serves,
        unless told not to `wait`.
        """
        since = time.time()
        self._backend.processes.restart(process)
        if wait:
            self._backend.restarted(process, since=since)

    def add_kwok_nodes(
        self,
        count: int,
        *,
        gpus_each: int = 8,
        runs_ms: int = 1000,
        at_most_ms: int | None = None,
        gpu_model: str | None = None,
        gpu_memory: int | None = None,
        prefix: str = "kwok",
        message: str = "",
    ) -> list[str]:
        """Adds nodes that only the API knows, `<prefix>-0` and on; returns their names when they are ready.

        Pods on them "run" for `runs_ms` milliseconds (or anything from there to `at_most_ms`) and succeed with
        `message` as termination message; a pod's annotations `orkhaven.io/kwok-runs-ms`,
        `orkhaven.io/kwok-exit-code` and `orkhaven.io/kwok-message` say otherwise for it. The first call builds KWOK
        (about 2 min, once).
        """
        kwok.start(
            self._backend.processes,
            state=self.state,
            kubeconfig=self.kubeconfig,
            runs_ms=runs_ms,
            at_most_ms=at_most_ms,
            message=message,
        )
        model, memory = gpu_model or self.settings.gpu_model, gpu_memory or self.settings.gpu_memory
        settings = replace(self.settings, gpu_model=model, gpu_memory=memory)
        return kwok.add_nodes(self.api, settings, count=count, gpus_each=gpus_each, prefix=prefix)

    def env(self) -> dict[str, str]:
        """Environment for a shell or a process that is to use this cluster; PATH holds only the folder to put first."""
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": str(self.state / "bin"), **self._cache_folder()}

    def _cache_folder(self) -> dict[str, str]:
        # A new cluster at the address of an earlier one must not inherit what kubectl remembers of that one's kinds.
        return {"KUBECACHEDIR": str(self.state / "kubectl-cache")}

    def shell_lines(self) -> str:
        """`env` as lines for a shell's eval."""
        env = self.env()
        lines = [f"export {name}={shlex.quote(env[name])}" for name in ("KUBECONFIG", "KUBECACHEDIR")]
        return "\n".join([*lines, f'export PATH={shlex.quote(env["PATH"])}:"$PATH"'])

    def problems(self) -> list[str]:
        """What is wrong right now; empty where all is well."""
        if not self.exists:
            return ["it is not up"]
        found = [f"{name} has ended" for name, pid in self.processes().items() if pid is None]
        if not self.api.ready():
            found.append("the API server is not ready")
        return found

    def _link_programs(self) -> None:
        folder = self.state / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in self.programs.items():
            link = folder / name
            if not link.is_symlink() or link.readlink() != path:
                link.unlink(missing_ok=True)
                link.symlink_to(path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        folder = programs.cache_root() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"cluster-{self.name}", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
