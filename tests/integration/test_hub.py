"""The hub against a real API server: tokens bound to real pods, status by server-side apply, reading with a person's
own rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from orkhaven.hub.app import create_app
from orkhaven.hub.settings import HubSettings
from orkhaven.kube import Gateway, connect
from orkrun import contract
from tests.cluster import Cluster

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]
IMAGE = "localhost/nothing-runs-here:1"


def _experiment_path(namespace: str, name: str = "trial", rest: str = "") -> str:
    return f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments/{name}{rest}"


def _make_run(cluster: Cluster, namespace: str, name: str = "trial") -> dict[str, Any]:
    """An Experiment and its Job as the operator would make them; returns the pod, which the Job controller makes."""
    body = {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {"params": {"lr": 0.1}, "objective": {"metric": "val/dice", "direction": "Maximize"}},
    }
    experiment = cluster.api.call("POST", _experiment_path(namespace, "").rstrip("/"), body)
    labels = {contract.LABEL_EXPERIMENT: name}
    job = {
        "metadata": {
            "name": f"{name}-1",
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": experiment["apiVersion"],
                    "kind": "Experiment",
                    "name": name,
                    "uid": experiment["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": IMAGE}]},
            },
        },
    }
    cluster.api.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)

    def pods() -> list[dict[str, Any]]:
        selector = f"?labelSelector={contract.LABEL_EXPERIMENT}%3D{name}"
        return list(cluster.api.call("GET", f"/api/v1/namespaces/{namespace}/pods{selector}")["items"])

    return _until(pods)[0]


def _until(look: Callable[[], Any], *, seconds: float = 30) -> Any:
    """What `look` returns once that is true. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


async def _seen(look: Callable[[], Any], *, seconds: float = 30) -> Any:
    return await asyncio.to_thread(_until, look, seconds=seconds)


def _pod_token(cluster: Cluster, pod: dict[str, Any], *, audience: str | None = "orkhaven") -> str:
    """As the kubelet asks for it: of the pod's service account, bound to the pod."""
    meta = pod["metadata"]
    spec: dict[str, Any] = {
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        "expirationSeconds": 600,
    }
    if audience is not None:
        spec["audiences"] = [audience]
    return _token(cluster, meta["namespace"], "default", spec)


def _token(cluster: Cluster, namespace: str, account: str, spec: dict[str, Any]) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    return str(cluster.api.call("POST", path, {"spec": spec})["status"]["token"])


@contextlib.asynccontextmanager
async def _running(cluster: Cluster, folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[Gateway]:
        client = await connect(str(cluster.kubeconfig))
        try:
            yield Gateway(client)
        finally:
            await client.close()

    app = create_app(
        HubSettings(database_url=f"sqlite:///{folder}/hub.db", **{"flush_seconds": 0.2, **settings}), gateway
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub") as client,
    ):
        # Reports are taken from the first moment on; who reads before the first list is told so (503).
        await asyncio.wait_for(app.state.hub.queries.catalogue.wait_synced(), timeout=30)
        yield client


async def _post(
    client: httpx.AsyncClient, namespace: str, token: str, *lines: dict[str, Any], name: str = "trial"
) -> httpx.Response:
    return await client.post(
        contract.metrics_path(namespace, name),
        content="".join(json.dumps(line) + "\n" for line in lines),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )


def _line(seq: int, **metrics: float | str) -> dict[str, Any]:
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return {"attempt": 1, "seq": seq, "step": seq, "totalSteps": 10, "time": 1_790_000_000 + seq, "metrics": named}


async def test_a_pod_s_report_is_seen_in_its_experiment(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    pod = _make_run(cluster, namespace)
    token = _pod_token(cluster, pod)
    async with _running(cluster, tmp_path) as client:
        answer = await _post(client, namespace, token, _line(1, val__dice=0.5, val__loss=0.9))
        assert answer.status_code == 200, answer.text
        answer = await _post(client, namespace, token, _line(2, val__dice=0.7, val__loss="NaN"))
        assert answer.status_code == 200, answer.text

        def second() -> Any:
            body = cluster.api.call("GET", _experiment_path(namespace))
            return body if body.get("status", {}).get("progress", {}).get("step") == 2 else None

        body = await _seen(second)
    status = body["status"]
    assert status["progress"] == {"step": 2, "totalSteps": 10, "eta": "2026-09-21T14:13:30Z", "secondsPerStep": 1}
    assert status["objective"] == {"value": 0.7, "step": 2}
    assert status["metrics"] == {
        "val/dice": {"last": 0.7, "best": 0.7, "bestStep": 2},
        "val/loss": {"best": 0.9, "bestStep": 1},
    }
    managers = {entry["manager"]: entry for entry in body["metadata"]["managedFields"]}
    owned = managers["orkhaven-hub"]
    assert (owned["operation"], owned["subresource"]) == ("Apply", "status")
    assert set(owned["fieldsV1"]["f:status"]) == {"f:progress", "f:objective", "f:metrics"}


async def test_the_operator_s_fields_stay_and_a_finished_run_is_left_alone(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    token = _pod_token(cluster, _make_run(cluster, namespace))
    finished = {
        "type": "Finished", "status": "True", "reason": "Completed", "lastTransitionTime": "2026-09-01T10:00:00Z",
    }  # fmt: skip

    def apply(status: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "trial"}}
        path = _experiment_path(namespace, rest="/status") + "?fieldManager=orkhaven-operator&force=true"
        return dict(cluster.api.call("PATCH", path, {**body, "status": status}, content="application/apply-patch+yaml"))

    apply({"state": "Running"})
    async with _running(cluster, tmp_path) as client:
        await _post(client, namespace, token, _line(1, val__dice=0.5))

        def written() -> Any:
            body = cluster.api.call("GET", _experiment_path(namespace))
            return body if "progress" in body["status"] else None

        assert (await _seen(written))["status"]["state"] == "Running"
        before = apply({"state": "Succeeded", "conditions": [finished]})
        assert before["status"]["progress"]["step"] == 1
        answer = await _post(client, namespace, token, _line(2, val__dice=0.9))
        assert answer.json()["accepted"] == 1
        metrics = ""
        deadline = time.monotonic() + 10
        while 'orkhaven_hub_status_writes_total{result="finished"} 1.0' not in metrics:
            assert time.monotonic() < deadline, metrics
            metrics = (await client.get("/metrics")).text
            await asyncio.sleep(0.05)
    after = cluster.api.call("GET", _experiment_path(namespace))
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_only_the_pod_s_own_token_for_the_hub_is_accepted(
    cluster: Cluster, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    pod = _make_run(cluster, namespace)
    _make_run(cluster, namespace, "neighbour")
    token = _pod_token(cluster, pod)
    unbound = _token(cluster, namespace, "default", {"audiences": ["orkhaven"], "expirationSeconds": 600})
    async with _running(cluster, tmp_path, token_cache_seconds=0, token_failure_cache_seconds=0) as client:
        for refused, code, message in (
            ("forged", 401, "does not accept the token"),
            (_pod_token(cluster, pod, audience=None), 401, "does not accept the token for the audience 'orkhaven'"),
            (unbound, 403, "is not bound to a pod"),
        ):
            answer = await _post(client, namespace, refused, _line(1, val__dice=0.5))
            assert answer.status_code == code, answer.text
            assert message in answer.json()["error"]["message"]
        answer = await _post(client, namespace, token, _line(1, val__dice=0.5), name="neighbour")
        assert answer.status_code == 403
        assert "belongs to experiment 'trial', not 'neighbour'" in answer.json()["error"]["message"]
        assert (await _post(client, namespace, token, _line(1, val__dice=0.5))).status_code == 200
        kubectl("delete", "pod", "-n", namespace, pod["metadata"]["name"], "--now")
        answer = await _post(client, namespace, token, _line(2, val__dice=0.5))
        assert answer.status_code in (401, 403), answer.text


async def test_a_person_reads_what_kubectl_would_show_them(
    cluster: Cluster, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    token = _pod_token(cluster, _make_run(cluster, namespace))
    kubectl("create", "serviceaccount", "-n", namespace, "reader")
    kubectl("create", "serviceaccount", "-n", namespace, "stranger")
    kubectl("create", "role", "-n", namespace, "reader", "--verb=get,list", "--resource=experiments.orkhaven.io")
    kubectl("create", "rolebinding", "-n", namespace, "reader", "--role=reader", f"--serviceaccount={namespace}:reader")
    path = f"/api/v1/namespaces/{namespace}/experiments"
    # The API server learns of a role by its own watch, a moment later.
    asked = ("list", "experiments.orkhaven.io", "-n", namespace, f"--as=system:serviceaccount:{namespace}:reader")
    await _seen(lambda: kubectl("auth", "can-i", *asked, check=False).strip() == "yes")
    async with _running(cluster, tmp_path) as client:
        await _post(client, namespace, token, _line(1, val__dice=0.5))
        reader = {"Authorization": f"Bearer {_token(cluster, namespace, 'reader', {'expirationSeconds': 600})}"}
        stranger = {"Authorization": f"Bearer {_token(cluster, namespace, 'stranger', {'expirationSeconds': 600})}"}
        answer = await client.get(path, headers=reader)
        assert answer.status_code == 200, answer.text
        assert [item["name"] for item in answer.json()["items"]] == ["trial"]
        series = (await client.get(f"{path}/trial/metrics/val/dice", headers=reader)).json()
        assert (series["step"], series["value"]) == ([1], [0.5])
        answer = await client.get(path, headers=stranger)
        assert answer.status_code == 403
        assert f"system:serviceaccount:{namespace}:stranger may not get" in answer.json()["error"]["message"]
        assert (await client.get("/api/v1/namespaces/default/experiments", headers=reader)).status_code == 403


def test_the_process_starts_answers_and_ends_on_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "ORKHAVEN_HUB_HOST": "127.0.0.1",
        "ORKHAVEN_HUB_PORT": str(port),
        "ORKHAVEN_HUB_DATABASE_URL": f"sqlite:///{tmp_path}/made/hub.db",
    }
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "orkhaven", "hub"], env=environment, stderr=log)
    try:

        def ready() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            return False

        _until(ready)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    for entry in (tmp_path / "log").read_text().splitlines():
        assert json.loads(entry)["level"] == "INFO", entry


async def test_lists_follow_the_cluster_by_watches(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    body = {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "first"},
        "spec": {"params": {"model": {"name": "unet"}, "lr": 0.1}},
    }

    async def shown(client: httpx.AsyncClient, names: list[str]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 30
        while True:
            answer = await client.get(f"{path}/leaderboard", params={"columns": "state,params"})
            found = answer.json() if answer.status_code == 200 else {"items": [], "staleSeconds": None}
            # Between a list and its watch the lists may be old, and say so.
            if [item["name"] for item in found["items"]] == names and found["staleSeconds"] == 0:
                return list(found["items"])
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.05)

    cluster.api.call("POST", _experiment_path(namespace, "").rstrip("/"), body)
    async with _running(cluster, tmp_path, read_auth="none") as client:
        await shown(client, ["first"])
        body["metadata"] = {"name": "second"}
        cluster.api.call("POST", _experiment_path(namespace, "").rstrip("/"), body)
        await shown(client, ["first", "second"])
        cluster.api.call("DELETE", _experiment_path(namespace, "first"))
        cluster.api.call(
            "PATCH",
            _experiment_path(namespace, "second", "/status"),
            {"status": {"state": "Running"}},
            content="application/merge-patch+json",
        )
        (second,) = await shown(client, ["second"])
        while second["state"] != "Running":
            (second,) = await shown(client, ["second"])
    assert second == {"name": "second", "state": "Running", "params.lr": 0.1, "params.model.name": "unet"}
