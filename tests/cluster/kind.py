"""The kind mode: Kubernetes in a container, where a Docker engine answers. The same interface as the other modes."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster import programs
from tests.cluster.api import Api
from tests.cluster.archive import images_in
from tests.cluster.gpus import offer_gpus
from tests.cluster.processes import Processes
from tests.cluster.say import ClusterError, say, wait_for
from tests.cluster.settings import Mode, Settings, write_place


def docker_answers() -> bool:
    """Whether there is a Docker engine that this user may talk to."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        done = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"], capture_output=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@dataclass(frozen=True)
class Kind:
    """A cluster whose node is a container."""

    settings: Settings

    @property
    def node_name(self) -> str:
        return f"{self._cluster}-control-plane"

    @property
    def _cluster(self) -> str:
        return f"orkhaven-{self.settings.name}"

    @cached_property
    def processes(self) -> Processes:
        """Only what runs on the host beside the cluster, such as kwok."""
        return Processes(self.settings.state / "processes", self.settings.state / "logs")

    @property
    def kubeconfig(self) -> Path:
        return self.settings.state / "kubeconfig"

    @property
    def api(self) -> Api:
        # kind writes YAML, which the standard library can't read; kubectl can.
        kubectl = programs.ensure(["kubectl"])["kubectl"]
        view = _run([kubectl, f"--kubeconfig={self.kubeconfig}", "config", "view", "--raw", "--output=json"])
        document = json.loads(view)
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        folder = self.settings.state / "pki"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in (
            ("ca", cluster["certificate-authority-data"]),
            ("certificate", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(base64.b64decode(content))
        return Api(cluster["server"], ca=folder / "ca", certificate=folder / "certificate", key=folder / "key")

    def _kind(self, *arguments: str) -> str:
        return _run([programs.ensure(["kind"])["kind"], *arguments])

    def _exists(self) -> bool:
        return self._cluster in self._kind("get", "clusters").split()

    def up(self) -> None:
        """Creates the cluster, or starts its container again where it has stopped; offers the GPUs."""
        programs.ensure(("kubectl", "helm", "kind"))
        write_place(self.settings, Mode.KIND)
        self.processes.forget_dead()
        if self._exists():
            _run(["docker", "start", self.node_name])
            self._kind("export", "kubeconfig", "--name", self._cluster, "--kubeconfig", str(self.kubeconfig))
        else:
            say("kind creates the cluster; the first time it pulls its node image, about 1 GB")
            config = self.settings.state / "kind.json"
            config.write_text(json.dumps(_config(self.settings), indent=1))
            self._kind(
                *("create", "cluster", "--name", self._cluster, "--config", str(config)),
                *("--kubeconfig", str(self.kubeconfig), "--wait", "120s"),
            )
        api = self.api
        wait_for("the API server to be ready", api.ready, seconds=120)
        offer_gpus(api, self.node_name, self.settings)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for("the default service account", lambda: api.get(account) is not None, seconds=60)

    def restarted(self, process: str, *, since: float) -> None:
        """Nothing of the cluster itself is a process of the host."""

    def down(self) -> None:
        for name in self.processes.names():
            self.processes.stop(name)
        if self.settings.state.exists():
            if not docker_answers():
                raise ClusterError(
                    f"cluster {self.settings.name!r} is in Docker, which does not answer: start it first"
                )
            self._kind("delete", "cluster", "--name", self._cluster)
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        """Imports an archive; returns the names of its images that the node did not have in this version."""
        known = set(self.images())
        new = [image.name for image in images_in(archive) if (image.name, image.config) not in known]
        if new:
            self._kind("load", "image-archive", "--name", self._cluster, str(archive))
        return new

    def images(self) -> list[tuple[str, str]]:
        listed = json.loads(_run(["docker", "exec", self.node_name, "crictl", "images", "--output", "json"]))
        return sorted((tag, image["id"]) for image in listed["images"] for tag in image["repoTags"])

    def on_node(self, *command: str) -> str:
        """Runs a command among the node's processes; returns what it prints."""
        return _run(["docker", "exec", self.node_name, *command])

    def inside(self, *command: str) -> str:
        """The same: its container is the node."""
        return self.on_node(*command)


def _config(settings: Settings) -> dict[str, Any]:
    tuned = {"kube-api-qps": "500", "kube-api-burst": "1000"}
    pairs = (flag.lstrip("-").partition("=") for flag in settings.apiserver_flags)
    flags: dict[str, Any] = {"apiServer": {"extraArgs": {name: value or "true" for name, _, value in pairs}}}
    if settings.tuned:
        flags["controllerManager"] = {"extraArgs": {**tuned, "concurrent-job-syncs": "50"}}
        flags["scheduler"] = {"extraArgs": tuned}
    shared = settings.shared
    shared.mkdir(parents=True, exist_ok=True)
    patch = json.dumps({"kind": "ClusterConfiguration", **flags})
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [
            {"role": "control-plane", "extraMounts": [{"hostPath": str(shared), "containerPath": str(shared)}]},
        ],
        "kubeadmConfigPatches": [patch],
    }


def _run(argv: list[str | Path]) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, argv))} failed:\n{done.stderr.strip()}")
    return done.stdout
