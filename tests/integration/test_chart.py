"""The chart, installed by helm into a real API server: its objects are taken, its accounts may do what they have to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster

pytestmark = pytest.mark.cluster

CHART = Path(__file__).resolve().parents[2] / "helm" / "orkhaven"
RELEASE = "chart-test"


@pytest.fixture
def installed(cluster: Cluster, namespace: str) -> Iterator[Callable[..., str]]:
    """Installs or upgrades the chart without its CRDs (they are there) and returns helm's notes; uninstalled
    afterwards."""

    def helm(*arguments: str) -> str:
        done = subprocess.run(
            [cluster.programs["helm"], "--kubeconfig", cluster.kubeconfig, "-n", namespace, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(*sets: str) -> str:
        flags = [flag for value in ("crds.enabled=false", *sets) for flag in ("--set", value)]
        return helm("upgrade", "--install", RELEASE, str(CHART), *flags)

    yield install
    helm("uninstall", RELEASE, "--ignore-not-found")


def _account(namespace: str, component: str) -> str:
    return f"system:serviceaccount:{namespace}:{RELEASE}-orkhaven-{component}"


def _may(cluster: Cluster, who: str, verb: str, what: str, namespace: str, *, name: str = "") -> bool:
    group, resource, *subresource = what.split("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": who, "resourceAttributes": attributes | {"subresource": "".join(subresource)}},
    }
    answer = cluster.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


ALLOWED = [
    ("operator", "watch", "orkhaven.io/sweeps"),
    ("operator", "create", "orkhaven.io/experiments"),
    ("operator", "patch", "orkhaven.io/experiments/status"),
    ("operator", "patch", "batch/jobs"),
    ("operator", "list", "/pods"),
    ("operator", "get", "/pods/log"),  # of a failed attempt that does not say why
    ("operator", "list", "/events"),
    ("operator", "create", "/events"),
    ("hub", "watch", "orkhaven.io/experiments"),
    ("hub", "patch", "orkhaven.io/experiments/status"),
    ("hub", "watch", "/pods"),  # whose logs it follows
    ("hub", "get", "/pods/log"),
]
REFUSED = [
    ("operator", "get", "/secrets"),
    ("operator", "delete", "/pods"),
    ("operator", "create", "/pods"),
    ("operator", "create", "coordination.k8s.io/leases"),
    ("hub", "patch", "orkhaven.io/sweeps/status"),
    ("hub", "create", "orkhaven.io/experiments"),
    ("hub", "delete", "batch/jobs"),
    ("hub", "delete", "/pods"),
    ("hub", "create", "/pods/exec"),
    ("hub", "get", "/secrets"),
]


def test_the_accounts_may_do_what_they_have_to_in_every_namespace(
    cluster: Cluster, namespace: str, installed: Callable[..., str]
) -> None:
    installed()
    for component, verb, what in ALLOWED:
        assert _may(cluster, _account(namespace, component), verb, what, "default"), (component, verb, what)
    for component, verb, what in REFUSED:
        assert not _may(cluster, _account(namespace, component), verb, what, "default"), (component, verb, what)
    assert _may(cluster, _account(namespace, "operator"), "create", "coordination.k8s.io/leases", namespace)
    usage = f"{RELEASE}-orkhaven-usage"
    assert cluster.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{usage}") is not None
    for name, where, may in ((usage, namespace, True), ("another", namespace, False), (usage, "default", False)):
        for verb in ("get", "patch"):
            assert _may(cluster, _account(namespace, "operator"), verb, "/configmaps", where, name=name) is may


def test_with_namespaces_the_accounts_may_nothing_elsewhere(
    cluster: Cluster, namespace: str, installed: Callable[..., str]
) -> None:
    installed(f"namespaces={{{namespace}}}")
    for component, verb, what in ALLOWED:
        assert _may(cluster, _account(namespace, component), verb, what, namespace), (component, verb, what)
        assert not _may(cluster, _account(namespace, component), verb, what, "default"), (component, verb, what)
    assert _may(cluster, _account(namespace, "operator"), "list", "/nodes", "")


def test_an_upgrade_leaves_what_the_operator_has_kept(
    cluster: Cluster, namespace: str, installed: Callable[..., str]
) -> None:
    installed()
    path = f"/api/v1/namespaces/{namespace}/configmaps/{RELEASE}-orkhaven-usage"
    cluster.api.patch(path, {"data": {"usage.json": "{}"}})
    installed("log.level=DEBUG")
    found = cluster.api.get(path)
    assert found is not None
    assert found["data"] == {"usage.json": "{}"}


def test_its_pods_are_taken_in_a_restricted_namespace(
    cluster: Cluster, namespace: str, installed: Callable[..., str]
) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", label)
    notes = installed("hub.persistence.enabled=true", "operator.replicas=2")
    assert "kubectl apply -n" in notes
    # The ReplicaSet controller makes the pods, or says in the Deployment's status why it cannot.
    for component, replicas in (("operator", 2), ("hub", 1)):
        cluster.kubectl(
            *("wait", "-n", namespace, f"deployment/{RELEASE}-orkhaven-{component}", "--timeout=60s"),
            f"--for=jsonpath={{.status.replicas}}={replicas}",
        )
