"""The collector of logs against a real API server: what it sees of pods, who may read. No kubelet runs here, so that
no log has a line; `tests/e2e/test_logs.py` has those.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from orkhaven.hub.app import create_app
from orkhaven.hub.settings import HubSettings
from orkhaven.kube import Gateway, connect
from orkrun import contract
from tests.cluster import Cluster

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]


@contextlib.asynccontextmanager
async def running(cluster: Cluster, folder: Path, namespace: str) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[Gateway]:
        client = await connect(str(cluster.kubeconfig))
        try:
            yield Gateway(client)
        finally:
            await client.close()

    settings = HubSettings(
        database_url=f"sqlite:///{folder}/hub.db", namespaces=(namespace,), token_failure_cache_seconds=0
    )
    app = create_app(settings, gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub") as client,
    ):
        yield app, client


def make_pod(cluster: Cluster, namespace: str, name: str = "trial") -> str:
    """An Experiment, a Job as the operator makes it, and the pod that the Job controller makes of it."""
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments"
    experiment = cluster.api.call(
        "POST",
        path,
        {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": name},
            "spec": {"params": {"lr": 0.1}},
        },
    )
    labels = {
        contract.LABEL_EXPERIMENT: name,
        contract.LABEL_ATTEMPT: "1",
        contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
    }
    owner = {
        "apiVersion": experiment["apiVersion"],
        "kind": "Experiment",
        "name": name,
        "uid": experiment["metadata"]["uid"],
        "controller": True,
    }
    container = {"name": "trainer", "image": "localhost/nothing-runs-here:1"}
    cluster.api.call(
        "POST",
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        {
            "metadata": {"name": f"{name}-1", "labels": labels, "ownerReferences": [owner]},
            "spec": {
                "backoffLimit": 0,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"restartPolicy": "Never", "containers": [container]},
                },
            },
        },
    )

    def pods() -> list[dict[str, Any]]:
        selector = f"?labelSelector={contract.LABEL_EXPERIMENT}%3D{name}"
        return list(cluster.api.call("GET", f"/api/v1/namespaces/{namespace}/pods{selector}")["items"])

    deadline = time.monotonic() + 30
    while not (found := pods()):
        assert time.monotonic() < deadline, "the Job controller makes no pod"
        time.sleep(0.05)
    return str(found[0]["metadata"]["name"])


async def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.05)


async def test_a_pod_is_seen_when_it_runs_and_its_log_ends_when_it_is_deleted(
    cluster: Cluster, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    async with running(cluster, tmp_path, namespace) as (app, _):
        hub = app.state.hub
        pod = await asyncio.to_thread(make_pod, cluster, namespace)
        assert hub.collector.following == 0, "its container has not started"
        status = '{"status":{"phase":"Running","containerStatuses":[{"name":"trainer","image":"i","imageID":"i",'
        status += '"ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}'
        await asyncio.to_thread(kubectl, "-n", namespace, "patch", "pod", pod, "--subresource=status", "-p", status)
        await until(lambda: hub.collector.following == 1)
        await until(lambda: hub.store.logs.info(namespace, "trial", 1) is not None)
        # The Job controller would keep it: a finalizer of its own.
        await asyncio.to_thread(
            kubectl, "-n", namespace, "delete", "job", "trial-1", "--cascade=foreground", "--wait=false"
        )
        await asyncio.to_thread(
            kubectl, "-n", namespace, "delete", "pod", pod, "--force", "--grace-period=0", "--ignore-not-found"
        )
        await until(lambda: hub.store.logs.info(namespace, "trial", 1).ended is not None, seconds=90)
        info = hub.store.logs.info(namespace, "trial", 1)
        assert "the log ends here" in hub.store.logs.notes(info.id)[0].text


async def test_who_may_read_pods_logs_reads_them_and_nobody_else(
    cluster: Cluster, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    def token(name: str, *rights: str) -> str:
        kubectl("-n", namespace, "create", "serviceaccount", name)
        kubectl("-n", namespace, "create", "role", name, "--verb=get", *(f"--resource={right}" for right in rights))
        kubectl(
            "-n", namespace, "create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace}:{name}"
        )
        return kubectl("-n", namespace, "create", "token", name).strip()

    may = await asyncio.to_thread(token, "may", "pods/log")
    pods_only = await asyncio.to_thread(token, "pods-only", "pods", "experiments.orkhaven.io")
    async with running(cluster, tmp_path, namespace) as (_, client):
        path = f"/api/v1/namespaces/{namespace}/experiments/trial/logs"
        assert (await client.get(path, headers={"Authorization": f"Bearer {may}"})).status_code == 200
        refused = await client.get(path, headers={"Authorization": f"Bearer {pods_only}"})
        assert refused.status_code == 403
        assert "may not get pods/log" in refused.json()["error"]["message"]
        artifacts = f"/api/v1/namespaces/{namespace}/experiments/trial/artifacts"
        assert (await client.get(artifacts, headers={"Authorization": f"Bearer {pods_only}"})).status_code == 200
