"""What a user does in a namespace, in the words of a test: apply, wait, read. By kubectl alone."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

import yaml

from tools.deploy import ROOT, Deployment, wait_until

Body = dict[str, Any]

TINY = {
    # A real training of a few seconds: the embedded phantom, 64 pixels, the smallest encoder.
    "model": {"architecture": "Unet", "encoder": "mobilenet_v2"},
    "epochs": 2,
    "batch_size": 4,
    "threads": 1,
    "data": {"image_size": 64, "phantom": {"patients": 4, "slices": 4, "size": 64}},
}


SMALL = {"gpus": 1, "memory": "2Gi"}
"""No CPU limit: a tiny training is mostly start-up, and a limit would stretch just that."""


@dataclass(kw_only=True)
class User:
    deployment: Deployment
    namespace: str

    def apply(self, *bodies: Body) -> None:
        self.deployment.apply(*[_in_namespace(body, self.namespace) for body in bodies])

    def apply_file(self, path: Any) -> list[Body]:
        bodies = [body for body in yaml.safe_load_all(path.read_text()) if body]
        self.apply(*bodies)
        return bodies

    def kubectl(self, *args: str, check: bool = True) -> str:
        return self.deployment.cluster.kubectl("-n", self.namespace, *args, check=check)

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line as it is typed at a shell that `make demo-env` has prepared, at the root of the checkout."""
        env = self.deployment.cluster.env()
        with tempfile.NamedTemporaryFile(suffix=".kubeconfig") as own:
            shutil.copyfile(env["KUBECONFIG"], own.name)
            environment = {**os.environ, "KUBECONFIG": own.name, "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
            prepared = f"kubectl config set-context --current --namespace={self.namespace} >/dev/null && {line}"
            return subprocess.run(
                ["bash", "-c", prepared], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )

    def get(self, kind: str, name: str) -> Body:
        return self.deployment.get(kind, name, "-n", self.namespace)

    def list(self, kind: str, selector: str = "") -> list[Body]:
        items: list[Body] = self.deployment.get(kind, "-n", self.namespace, "-l", selector)["items"]
        return items

    def status(self, kind: str, name: str) -> Body:
        status: Body = self.get(kind, name).get("status", {})
        return status

    def wait_finished(self, kind: str, name: str, *, timeout_s: float = 300) -> Body:
        """The object, once its condition Finished is True: what `kubectl wait --for=condition=Finished` waits for."""
        return self.wait(kind, name, lambda status: condition(status, "Finished") == "True", timeout_s=timeout_s)

    def wait(self, kind: str, name: str, holds: Any, *, timeout_s: float = 120) -> Body:
        def look() -> Body | None:
            body = self.get(kind, name)
            return body if holds(body.get("status", {})) else None

        try:
            body: Body = wait_until(f"{kind} {name}", look, timeout_s=timeout_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.report()}") from error
        return body

    def report(self) -> str:
        """What a person would look at next."""
        parts = [
            self.kubectl("get", "sweeps,experiments,jobs,pods", "-o", "wide", check=False),
            self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False),
            self.deployment.cluster.kubectl(
                "logs", "-n", "orkhaven-system", "-l", "app.kubernetes.io/component=operator", "--tail=60", check=False
            ),
        ]
        return "\n".join(parts)


def condition(status: Body, kind: str) -> str | None:
    return next((c["status"] for c in status.get("conditions", []) if c["type"] == kind), None)


def experiment(name: str, *, params: Body | None = None, **spec: Any) -> Body:
    """A tiny real training, with what differs laid over it."""
    body: Body = {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {
            "params": overlay(TINY, params or {}),
            "objective": {"metric": "val/dice"},
            "resources": SMALL,
            "retry": {"limit": 0},
        },
    }
    body["spec"] = overlay(body["spec"], spec)
    return body


def sweep(
    name: str, parameters: list[Body], *, params: Body | None = None, template: Body | None = None, **spec: Any
) -> Body:
    """A sweep of tiny real trainings."""
    shared = {"params": overlay(TINY, params or {}), "resources": SMALL}
    return {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Sweep",
        "metadata": {"name": name},
        "spec": {
            "objective": {"metric": "val/dice"},
            "parameters": parameters,
            "template": overlay(shared, template or {}),
            **spec,
        },
    }


def overlay(base: Body, over: Body) -> Body:
    out = copy.deepcopy(base)
    for key, value in over.items():
        out[key] = overlay(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def _in_namespace(body: Body, namespace: str) -> Body:
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}
