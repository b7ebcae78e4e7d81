"""Who made a Sweep or an Experiment, as the chart's policies keep it in a real API server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orkrun.contract import ANNOTATION_CREATED_BY
from tests.cluster import Cluster, Mode
from tests.cluster.say import wait_for
from tests.unit.helm.chart import KUBERNETES

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
GROUP = "admissionregistration.k8s.io"
OPERATOR = "system:serviceaccount:orkhaven-system:orkhaven-operator"
RESTORER = "system:serviceaccount:velero:velero"
# From Kubernetes 1.36 on they are served without a word.
BETA = ("--feature-gates=MutatingAdmissionPolicy=true", f"--runtime-config={GROUP}/v1beta1=true")

Make = Callable[..., str]


def _policies(cluster: Cluster, *, mutating: str | None) -> str:
    """What the chart has of them where the API server serves mutating ones of that version."""
    served = ("--api-versions", f"{GROUP}/{mutating}/MutatingAdmissionPolicy") if mutating else ()
    done = subprocess.run(
        [
            *(str(cluster.programs["helm"]), "template", "orkhaven", str(ROOT / "helm/orkhaven")),
            *("-n", "orkhaven-system", "-s", "templates/created-by.yaml", "--kube-version", KUBERNETES, *served),
            *("--set", f"createdBy.trusted={{{RESTORER}}}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _experiment(namespace: str, name: str, creator: str | None = None, **annotations: str) -> dict[str, Any]:
    said = annotations | ({ANNOTATION_CREATED_BY: creator} if creator else {})
    meta = {"name": name, "namespace": namespace, **({"annotations": said} if said else {})}
    return {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Experiment", "metadata": meta, "spec": {"params": {}}}


def _send(cluster: Cluster, verb: str, body: dict[str, Any], *, user: str) -> str:
    """What kubectl says, in the name of a user of the group that may do everything."""
    acting = (f"--as={user}", "--as-group=system:masters")
    return cluster.kubectl(verb, "-f", "-", *acting, input=json.dumps(body), check=False)


def _creator(cluster: Cluster, namespace: str, name: str) -> str | None:
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments/{name}"
    annotations = cluster.api.call("GET", path)["metadata"].get("annotations") or {}
    found: str | None = annotations.get(ANNOTATION_CREATED_BY)
    return found


def _installed(cluster: Cluster, namespace: str, policies: str) -> Iterator[None]:
    """The API server obeys a policy a moment after it has taken it."""
    names = [f"{body['kind']}/{body['metadata']['name']}" for body in yaml.safe_load_all(policies) if body]
    cluster.kubectl("apply", "-f", "-", input=policies)

    def obeyed() -> bool:
        probe = _experiment(namespace, "probe", "nobody")
        path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments?dryRun=All"
        status, text = cluster.api.raw("POST", path, probe)
        if any(name.startswith("Mutating") for name in names):
            made = json.loads(text)
            return status < 300 and made["metadata"]["annotations"][ANNOTATION_CREATED_BY] != "nobody"
        return status == 422

    try:
        wait_for("the policies to be obeyed", obeyed, seconds=60)
        yield
    finally:
        cluster.kubectl("delete", *names)


class TestWithoutMutatingPolicies:
    """Kubernetes 1.35 and older, as it comes."""

    @pytest.fixture(autouse=True)
    def policies(self, cluster: Cluster, namespace: str) -> Iterator[None]:
        yield from _installed(cluster, namespace, _policies(cluster, mutating=None))

    def test_one_s_own_name_or_none_is_taken(self, cluster: Cluster, namespace: str) -> None:
        assert "created" in _send(cluster, "create", _experiment(namespace, "signed", "ada"), user="ada")
        assert "created" in _send(cluster, "create", _experiment(namespace, "plain"), user="ada")
        assert _creator(cluster, namespace, "signed") == "ada"
        assert _creator(cluster, namespace, "plain") is None

    def test_anothers_name_is_refused_and_the_message_says_what_to_do(self, cluster: Cluster, namespace: str) -> None:
        said = _send(cluster, "create", _experiment(namespace, "forged", "bob"), user="eve")
        assert "names bob, but it is made by eve: leave it out" in said
        assert "NotFound" in cluster.kubectl("get", "xp", "forged", "-n", namespace, check=False)

    @pytest.mark.parametrize("user", [OPERATOR, RESTORER])
    def test_the_operator_and_whom_the_values_trust_write_anothers(
        self, cluster: Cluster, namespace: str, user: str
    ) -> None:
        assert "created" in _send(cluster, "create", _experiment(namespace, "child", "ada"), user=user)
        assert _creator(cluster, namespace, "child") == "ada"

    def test_it_does_not_change_and_all_else_does(self, cluster: Cluster, namespace: str) -> None:
        _send(cluster, "create", _experiment(namespace, "kept", "ada"), user="ada")
        path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments/kept"
        for wanted in ("bob", None):
            change = {"metadata": {"annotations": {ANNOTATION_CREATED_BY: wanted}}}
            status, text = cluster.api.raw("PATCH", path, change, content="application/merge-patch+json")
            assert (status, "does not change" in text) == (422, True), text
        cluster.api.patch(path, {"metadata": {"annotations": {"note": "x"}}, "spec": {"suspend": True}})
        assert _creator(cluster, namespace, "kept") == "ada"
        # kubectl apply of a file without it takes away only what it has written itself.
        said = _send(cluster, "apply", _experiment(namespace, "kept", note="y"), user="bob")
        assert "configured" in said
        assert _creator(cluster, namespace, "kept") == "ada"


class TestWithMutatingPolicies:
    @pytest.fixture(scope="class")
    def newer(self) -> Iterator[Cluster]:
        """A control plane that serves them."""
        made = Cluster(f"map-{os.getpid()}", mode=Mode.CONTROL_PLANE, apiserver_flags=BETA)
        try:
            made.up()
            made.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            made.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=orkhaven")
            made.kubectl("create", "namespace", "mutated")
            yield made
        finally:
            made.down()

    @pytest.fixture(autouse=True)
    def policies(self, newer: Cluster) -> Iterator[None]:
        yield from _installed(newer, "mutated", _policies(newer, mutating="v1beta1"))

    def test_the_name_is_written_for_everybody_but_the_operator(self, newer: Cluster) -> None:
        cases = {
            "none": (None, "ada", "ada"),
            "own": ("ada", "ada", "ada"),
            "forged": ("bob", "eve", "eve"),
            "child": ("ada", OPERATOR, "ada"),
            "nameless-child": (None, OPERATOR, None),
            "restored": ("ada", RESTORER, "ada"),
        }
        for name, (said, user, kept) in cases.items():
            assert "created" in _send(newer, "create", _experiment("mutated", name, said), user=user), name
            assert _creator(newer, "mutated", name) == kept, name

    def test_annotations_of_the_users_own_stay_and_a_second_apply_changes_nothing(self, newer: Cluster) -> None:
        body = _experiment("mutated", "noted", note="mine")
        for user in ("ada", "bob"):
            acting = (f"--as={user}", "--as-group=system:masters", "--server-side", "--force-conflicts")
            newer.kubectl("apply", "-f", "-", *acting, input=json.dumps(body))
        assert _creator(newer, "mutated", "noted") == "ada"
        found = newer.api.call("GET", "/apis/orkhaven.io/v1alpha1/namespaces/mutated/experiments/noted")
        assert found["metadata"]["annotations"]["note"] == "mine"
