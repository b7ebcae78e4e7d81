"""Orkhaven on a cluster of tests/cluster: images loaded, chart installed, a namespace with its two volumes.

One way to do it, shared by the demo and by the end-to-end tests. Owns no policy: what is installed is the chart with a
few values.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images import build
from tests.cluster import Cluster, Mode

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "orkhaven"
SYSTEM_NAMESPACE = "orkhaven-system"
RELEASE = "orkhaven"
DATA_CLAIM = "ct-data"
RESULTS_CLAIM = "results"


class DeployError(RuntimeError):
    """A step failed; the message says which, and what the tool said."""


@dataclass(kw_only=True)
class Deployment:
    """The product on one cluster."""

    cluster: Cluster
    values: dict[str, Any] = field(default_factory=dict)
    """Chart values on top of those that a development cluster needs."""
    say: Callable[[str], None] = print

    def images(self) -> None:
        """Build what changed, load what is missing."""
        for name in ("operator", "trainer-cpu"):
            self.cluster.load(build(name, say=self.say))

    def install(self, *, timeout_s: int = 180) -> None:
        """helm upgrade --install, and wait until operator and hub are ready."""
        values = {
            "image": {"repository": "localhost/orkhaven-operator", "tag": "dev", "pullPolicy": "IfNotPresent"},
            "trainer": {"image": "localhost/orkhaven-trainer-cpu:dev", "outputClaim": RESULTS_CLAIM},
        }
        merged = _merge(values, self.values)
        command = [
            str(self.cluster.programs["helm"]), "upgrade", "--install", RELEASE, str(CHART),
            "--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", f"{timeout_s}s",
            "--values", "-",
        ]  # fmt: skip
        done = subprocess.run(
            command,
            input=json.dumps(merged),
            text=True,
            capture_output=True,
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)},
        )
        if done.returncode != 0:
            pods = self.cluster.kubectl("get", "pods,events", "-n", SYSTEM_NAMESPACE, check=False)
            raise DeployError(f"helm could not install the chart:\n{done.stderr.strip()}\n{pods}")

    def namespace(self, name: str, *, data: Path | None, results: Path) -> None:
        """A namespace that enforces the restricted Pod Security Standard, with claims `ct-data` and `results`.

        `data` is mounted from where it lies, read-only. `results`, a folder below `cluster.shared`, is made where it is
        missing, writable for the trainer's user, and outlives the namespace.
        """
        results.mkdir(parents=True, exist_ok=True)
        results.chmod(0o777)
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        objects: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            *volume(name, RESULTS_CLAIM, results, read_only=False),
        ]
        if data is not None:
            objects += volume(name, DATA_CLAIM, self._on_node(data), read_only=True)
        self.apply(*objects)

    def _on_node(self, folder: Path) -> Path:
        """The folder as the node sees it: where it lies; for a container as node, a copy in the shared folder."""
        if self.cluster.mode is not Mode.KIND or folder.is_relative_to(self.cluster.shared):
            return folder
        copy = self.cluster.shared / folder.name
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return copy

    def apply(self, *objects: dict[str, Any]) -> str:
        return self.cluster.kubectl(
            "apply", "-f", "-", input=json.dumps({"kind": "List", "apiVersion": "v1", "items": list(objects)})
        )

    def get(self, *args: str) -> dict[str, Any]:
        """kubectl get ... -o json, parsed."""
        parsed: dict[str, Any] = json.loads(self.cluster.kubectl("get", *args, "-o", "json"))
        return parsed


def wait_until(what: str, condition: Callable[[], Any], *, timeout_s: float, interval_s: float = 0.5) -> Any:
    """The first truthy answer of `condition`. Raises TimeoutError, naming what was waited for, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}; last answer: {answer!r}")
        time.sleep(interval_s)


def volume(namespace: str, claim: str, path: Path, *, read_only: bool) -> list[dict[str, Any]]:
    """A PersistentVolume on a folder of the node and the claim that is bound to it."""
    name = f"{namespace}-{claim}"
    modes = ["ReadOnlyMany"] if read_only else ["ReadWriteMany"]
    size = {"storage": "10Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": size,
                "accessModes": modes,
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "hostPath": {"path": str(path), "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": name,
                "resources": {"requests": size},
            },
        },
    ]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = _merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out
