"""The operator beside a Kueue that the test plays: its CRD comes and goes while the operator runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.integration.operator_process import Body, OperatorProcess, until
from tests.integration.resources import create, path_of

pytestmark = pytest.mark.cluster

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD = "workloads.kueue.x-k8s.io"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"


class PlayedKueue:
    """Its CRD without a schema, and its writes."""

    def __init__(self, cluster: Cluster, namespace: str, version: str) -> None:
        self.api, self.namespace, self.version = cluster.api, namespace, version
        self.path = f"/apis/kueue.x-k8s.io/{version}/namespaces/{namespace}/workloads"

    def install(self) -> None:
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": self.version, "served": True, "storage": True, "schema": schema}
        names = {"plural": "workloads", "singular": "workload", "kind": "Workload", "listKind": "WorkloadList"}
        spec: Body = {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names}
        spec["versions"] = [version | {"subresources": {"status": {}}}]
        self.api.call("POST", CRDS, {"metadata": {"name": CRD}, "spec": spec})
        until("the CRD to be served", lambda: self.api.raw("GET", self.path)[0] == 200)

    def uninstall(self) -> None:
        self.api.raw("DELETE", f"{CRDS}/{CRD}")
        until("the CRD to be gone", lambda: self.api.raw("GET", f"{CRDS}/{CRD}")[0] == 404)

    def take_up(self, job: Body) -> None:
        meta = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True, "name": meta["name"], "uid": meta["uid"]}
        self.api.call(
            "POST",
            self.path,
            {
                "apiVersion": f"kueue.x-k8s.io/{self.version}",
                "kind": "Workload",
                "metadata": {"name": f"job-{meta['name']}-bc32a", "ownerReferences": [owner]},
                "spec": {"active": True, "queueName": "small"},
            },
        )

    def tell(self, job: Body, **conditions: tuple[str, str, str]) -> None:
        """All conditions: a merge patch replaces the list."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = [
            {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
            for kind, (status, reason, message) in conditions.items()
        ]
        self.api.patch(f"{self.path}/job-{job['metadata']['name']}-bc32a/status", {"status": {"conditions": told}})

    def workload(self, job: Body) -> Body:
        found = self.api.get(f"{self.path}/job-{job['metadata']['name']}-bc32a")
        assert found is not None
        return dict(found)


@pytest.fixture(params=["v1beta2", "v1beta1"])
def kueue(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> Iterator[PlayedKueue]:
    made = PlayedKueue(cluster, namespace, request.param)
    yield made
    made.uninstall()


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    made = OperatorProcess(cluster, tmp_path, namespaces=namespace)
    yield made
    made.stop()


def apply(cluster: Cluster, namespace: str) -> None:
    spec: dict[str, Any] = {"params": {"lr": 1}, "queueName": "small", "image": "trainer:1"}
    code, answer = create(
        cluster,
        namespace,
        {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": "lungs"},
            "spec": spec,
        },
    )
    assert code == 201, answer


def status(cluster: Cluster, namespace: str) -> Body:
    found = cluster.api.get(path_of(namespace, "Experiment", "lungs"))
    return dict((found or {}).get("status") or {})


def test_kueue_comes_decides_and_goes(
    cluster: Cluster, namespace: str, operator: OperatorProcess, kueue: PlayedKueue
) -> None:
    operator.start().wait_ready().wait_leading()
    apply(cluster, namespace)

    def says(text: str) -> None:
        # A Kueue that has come is looked for every 30 s.
        until(
            f"{text!r} to be said",
            lambda: text in (status(cluster, namespace).get("message") or ""),
            seconds=60,
            on_fail=operator.tail,
        )

    says("Kueue is not installed in this cluster")
    job = cluster.api.get(f"{JOBS.format(namespace)}/lungs-1")
    assert job is not None
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "small"
    assert job["spec"]["suspend"] is True

    kueue.install()
    kueue.take_up(job)
    says("is in LocalQueue small of Kueue")
    kueue.tell(job, QuotaReserved=("False", "WaitingForQuota", "1 more needed"))
    says("WaitingForQuota: 1 more needed")

    cluster.api.patch(path_of(namespace, "Experiment", "lungs"), {"spec": {"suspend": True}})
    until("the Workload to be deactivated", lambda: kueue.workload(job)["spec"]["active"] is False)
    until("it to be Suspended", lambda: status(cluster, namespace).get("state") == "Suspended")
    cluster.api.patch(path_of(namespace, "Experiment", "lungs"), {"spec": {"suspend": False}})
    until("the Workload to be active", lambda: kueue.workload(job)["spec"]["active"] is True)
    assert "orkhaven.io/held" not in kueue.workload(job)["metadata"].get("annotations", {})

    kueue.uninstall()
    says("Kueue is not installed in this cluster")
    assert not [line for line in operator.lines() if line.get("level") == "ERROR"], operator.tail()
