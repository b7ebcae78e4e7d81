"""The scene: a cluster of its own with the chart on it, the hub's small disk, the proxy, and the ways to reach in.

Bare mode only: the processes of a kind cluster are not ours to kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.proxy import FaultProxy
from tests.chaos.supervisor import Supervisor
from tests.cluster import Cluster, ClusterError
from tests.cluster.api import Api
from tests.cluster.namespaces import Subnets
from tests.e2e.conftest import FAST
from tests.e2e.user import Body, condition
from tools.deploy import SYSTEM_NAMESPACE, Deployment, volume, wait_until

NAME = "orkhaven-chaos"
GPUS = 4
HUB_CLAIM = "hub-disk"
HUB_DISK_MIB = 96
LEASE_SECONDS = 4
VALUES: Body = {
    **FAST,
    # Its history has to outlive its pod: a drain takes that away.
    "hub": {**FAST["hub"], "persistence": {"enabled": True, "existingClaim": HUB_CLAIM}},
}


@dataclass(kw_only=True)
class Stage:
    deployment: Deployment
    proxy: FaultProxy
    supervisor: Supervisor
    hub_disk: Path
    api: Api
    """Past the proxy, with the administrator's rights."""
    namespace: str = ""
    """Where the sweep under attack is."""
    sweep: str = ""

    @property
    def cluster(self) -> Cluster:
        return self.deployment.cluster

    def ask(self, path: str) -> Body | None:
        """The object or list; None where there is none to be had, for whatever reason."""
        try:
            found: Body | None = self.api.get(path)
        except ClusterError:
            return None
        return found

    def pods(self, component: str) -> list[Body]:
        """Of operator or hub; none where the API server is away."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods?labelSelector=app.kubernetes.io/component%3D{component}"
        found = self.ask(path)
        return list(found["items"]) if found else []

    def lease(self) -> Body:
        """The operator's; empty where there is none to be had."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/orkhaven-operator"
        found = self.ask(path)
        return dict(found["spec"]) if found else {}

    def try_kubectl(self, *arguments: str, seconds: float = 90) -> str:
        """kubectl, until it does not fail: whoever types it looks for a moment when it works, too."""

        def done() -> tuple[str] | None:
            try:
                return (self.cluster.kubectl(*arguments),)
            except (ClusterError, subprocess.TimeoutExpired):
                return None

        (text,) = wait_until(f"kubectl {' '.join(arguments)}", done, timeout_s=seconds)
        return str(text)

    def wrong(self) -> list[str]:
        """What is not right at this moment; empty: as it was before the storm."""
        found = [f"{name} is not there" for name, pid in self.cluster.processes().items() if pid is None]
        if not self.api.ready():
            return [*found, "the API server is not ready"]
        node = self.ask(f"/api/v1/nodes/{self.cluster.node_name}")
        if node is None or condition(node["status"], "Ready") != "True" or node["spec"].get("unschedulable"):
            found.append("the node takes no pods")
        for component in ("operator", "hub"):
            pods = [pod for pod in self.pods(component) if "deletionTimestamp" not in pod["metadata"]]
            if len(pods) != 1 or condition(pods[0]["status"], "Ready") != "True":
                found.append(f"the {component} is not ready")
        return found


def make(folder: Path, say: Callable[[str], None] = print) -> Iterator[Stage]:
    """Builds everything, yields it, and takes it down unless ORKHAVEN_KEEP says otherwise."""
    cluster = Cluster(NAME, mode="bare", gpus=GPUS)
    cluster.down()
    hub_disk = folder / "hub-disk"
    hub_disk.mkdir(parents=True)
    with _small_disk(hub_disk, HUB_DISK_MIB):
        proxy = supervisor = None
        try:
            cluster.up()
            deployment = Deployment(cluster=cluster, values=VALUES, say=say)
            deployment.images()
            proxy = _between(cluster)
            deployment.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}})
            deployment.apply(*volume(SYSTEM_NAMESPACE, HUB_CLAIM, hub_disk, read_only=False))
            deployment.install()
            supervisor = Supervisor(cluster).start()
            yield Stage(deployment=deployment, proxy=proxy, supervisor=supervisor, hub_disk=hub_disk, api=cluster.api)
        finally:
            if supervisor is not None:
                supervisor.stop()
            if not os.environ.get("ORKHAVEN_KEEP"):
                cluster.down()
            if proxy is not None:
                proxy.stop()


@contextmanager
def _small_disk(folder: Path, mib: int) -> Iterator[None]:
    """A file system of its own. Before the cluster: the node's namespace has what the host has at that moment."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=777", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _between(cluster: Cluster) -> FaultProxy:
    """Starts the proxy and sends there what pods say to the API server's Service: operator, hub."""
    address = urlsplit(cluster.api.server).hostname or ""
    subnets = Subnets(int(address.split(".")[1]))
    pki = cluster.state / "pki"
    proxy = FaultProxy(
        cluster.api.server,
        ca=pki / "ca.crt",
        certificate=pki / "apiserver.crt",
        key=pki / "apiserver.key",
        host=subnets.host,
    ).start()
    # Before kube-proxy's own rules; its restarts and syncs leave foreign rules where they are.
    cluster.inside(
        "iptables", "-t", "nat", "-I", "PREROUTING", "1", "-s", subnets.pods, "-d", subnets.service_api,
        "-p", "tcp", "--dport", "443", "-j", "DNAT", "--to-destination", f"{subnets.host}:{proxy.port}",
    )  # fmt: skip
    return proxy


def new_namespace(stage: Stage, name: str) -> Path:
    """With its claims; returns the folder behind `results`. On a mount of its own, so that it can be made read-only."""
    folder = stage.cluster.shared / "results" / name
    stage.deployment.namespace(name, data=None, results=folder)
    stage.cluster.inside("mount", "--bind", str(folder), str(folder))
    return folder


def finished(stage: Stage, namespace: str, sweep: str, *, timeout_s: float) -> Body:
    """The sweep, once it is Finished. Patient with an API server that is away."""
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/sweeps/{sweep}"

    def over() -> Body | None:
        found = stage.ask(path)
        return found if found and condition(found.get("status", {}), "Finished") == "True" else None

    try:
        body: Body = wait_until(f"the end of {namespace}/{sweep}", over, timeout_s=timeout_s, interval_s=1)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{describe(stage, namespace)}") from error
    return body


def experiments(stage: Stage, namespace: str) -> list[Body]:
    text = stage.try_kubectl("get", "experiments", "-n", namespace, "-o", "json")
    items: list[Body] = json.loads(text)["items"]
    return items


def done_trials(stage: Stage) -> int:
    """How many have ended, by the sweep's own status; -1 where that cannot be read."""
    found = stage.ask(f"/apis/orkhaven.io/v1alpha1/namespaces/{stage.namespace}/sweeps/{stage.sweep}")
    trials = (found or {}).get("status", {}).get("trials") if found else None
    return sum(trials.get(state, 0) for state in ("succeeded", "failed", "pruned", "skipped")) if trials else -1


def settled(stage: Stage) -> bool:
    """Whether the sweep's status counts what its Experiments are."""
    group = f"/apis/orkhaven.io/v1alpha1/namespaces/{stage.namespace}"
    found = stage.ask(f"{group}/sweeps/{stage.sweep}")
    trials = stage.ask(f"{group}/experiments")
    if found is None or trials is None:
        return False
    ended = sum(item.get("status", {}).get("state") == "Succeeded" for item in trials["items"])
    counted = found.get("status", {}).get("trials", {}).get("succeeded", 0)
    return bool(ended == counted)


def describe(stage: Stage, namespace: str) -> str:
    """What a person would look at next."""
    kubectl = stage.cluster.kubectl
    parts: list[Any] = [
        stage.wrong(),
        kubectl("get", "sweeps,experiments,jobs,pods", "-n", namespace, "-o", "wide", check=False),
        kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-o", "wide", check=False),
        kubectl("logs", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/component=operator", "--tail=60", check=False),
    ]
    return "\n".join(map(str, parts))


def wait_for(what: str, holds: Callable[[], Any], *, seconds: float) -> float:
    """Seconds until it held. Raises TimeoutError."""
    start = time.monotonic()
    wait_until(what, holds, timeout_s=seconds, interval_s=0.5)
    return time.monotonic() - start
