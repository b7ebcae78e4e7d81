"""The operator outside its pod: that of this checkout's environment, with the settings of the one it stands in for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.integration.operator_process import OperatorProcess
from tools.deploy import SYSTEM_NAMESPACE, Deployment

NAME = "deployment/orkhaven-operator"


@contextlib.contextmanager
def operator_outside(deployment: Deployment, folder: Path, **other: str) -> Iterator[OperatorProcess]:
    """Nobody but it leads meanwhile. `other`: settings that it has otherwise, as environment variables."""
    container = deployment.get("-n", SYSTEM_NAMESPACE, NAME)["spec"]["template"]["spec"]["containers"][0]
    settings = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    settings |= {"ORKHAVEN_LEASE_NAMESPACE": SYSTEM_NAMESPACE, "ORKHAVEN_LEASE_IDENTITY": "outside", **other}
    _scale(deployment, 0)
    operator = OperatorProcess(deployment.cluster, folder, **settings)
    try:
        yield operator.start().wait_leading()
    finally:
        operator.stop()
        _scale(deployment, 1)


def _scale(deployment: Deployment, replicas: int) -> None:
    kubectl = deployment.cluster.kubectl
    kubectl("scale", "-n", SYSTEM_NAMESPACE, NAME, f"--replicas={replicas}")
    if replicas:
        kubectl("rollout", "status", "-n", SYSTEM_NAMESPACE, NAME, "--timeout=120s")
    else:
        pods = ("pods", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/component=operator")
        kubectl("wait", *pods, "--for=delete", "--timeout=60s")
