"""What a page does in a person's name, against a real API server: with that person's token, no right of the hub's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from orkhaven.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from orkhaven.hub.pages.gpus import LIVE_PODS
from orkhaven.kube import Gateway, connect
from orkhaven.kube.people import People
from tests.cluster import Cluster

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]
RUN = {
    "apiVersion": "orkhaven.io/v1alpha1",
    "kind": "Experiment",
    "metadata": {"generateName": "trial-again-"},
    "spec": {"params": {"lr": 0.1}, "seed": 3},
}


@pytest.fixture
async def people(cluster: Cluster) -> AsyncIterator[People]:
    client = await connect(str(cluster.kubeconfig))
    yield Gateway(client).people()
    await client.close()


@pytest.fixture
def token(cluster: Cluster, namespace: str, kubectl: Kubectl) -> Callable[..., str]:
    """Of an account that may do these verbs to that resource, and nothing else."""

    def make(name: str, verbs: str, resource: str) -> str:
        kubectl("create", "serviceaccount", "-n", namespace, name)
        kubectl("create", "role", "-n", namespace, name, f"--verb={verbs}", f"--resource={resource}")
        kubectl(
            "create", "rolebinding", "-n", namespace, name, f"--role={name}", f"--serviceaccount={namespace}:{name}"
        )
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        spec = {"spec": {"expirationSeconds": 600}}
        return str(cluster.api.call("POST", path, spec)["status"]["token"])

    return make


def _event(name: str, kind: str, of: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "involvedObject": {"kind": kind, "name": of, "apiVersion": "v1"},
        "reason": "Pulling",
        "message": f"about {of}",
        "type": "Normal",
    }


async def test_events_of_one_object_are_listed_for_whoever_may_list_events(
    cluster: Cluster, namespace: str, people: People, token: Callable[..., str]
) -> None:
    for number, (kind, of) in enumerate((("Pod", "mine"), ("Pod", "other"), ("Job", "mine"))):
        event = _event(f"e{number}", kind, of)
        event["involvedObject"]["namespace"] = namespace
        cluster.api.call("POST", f"/api/v1/namespaces/{namespace}/events", event)
    found = await people.events_of(token("watcher", "list", "events"), namespace, kind="Pod", name="mine")
    assert [one["message"] for one in found] == ["about mine"]
    with pytest.raises(Forbidden):
        await people.events_of(token("stranger", "get", "pods"), namespace, kind="Pod", name="mine")


async def test_nodes_and_pods_of_the_cluster_are_listed_for_whoever_may_list_them(
    cluster: Cluster, namespace: str, people: People, token: Callable[..., str], kubectl: Kubectl
) -> None:
    seer, role = token("seer", "get", "pods"), f"see-{namespace}"
    with pytest.raises(Forbidden):
        [body async for body in people.each(seer, "Node")]
    kubectl("create", "clusterrole", role, "--verb=list", "--resource=nodes,pods")
    kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={namespace}:seer")
    try:
        container = {"name": "c", "image": "none.example/none"}
        for name, where in (("placed", "no-such-node"), ("waiting", None)):
            spec = {"containers": [container], **({"nodeName": where} if where else {})}
            cluster.api.call("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})
        found = [body async for body in people.each(seer, "Pod", fields=LIVE_PODS)]
        assert [one["metadata"]["name"] for one in found if one["metadata"]["namespace"] == namespace] == ["placed"]
    finally:
        kubectl("delete", "clusterrolebinding", role)
        kubectl("delete", "clusterrole", role)


async def test_a_run_is_made_and_ended_in_a_persons_name_and_by_nobody_else(
    cluster: Cluster, namespace: str, people: People, token: Callable[..., str]
) -> None:
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments"
    doer, stranger = token("doer", "create,delete", "experiments.orkhaven.io"), token("reader", "get", "pods")
    with pytest.raises(Forbidden):
        await people.create(stranger, "Experiment", namespace, RUN)
    made = await people.create(doer, "Experiment", namespace, RUN)
    name, uid = made["metadata"]["name"], made["metadata"]["uid"]
    with pytest.raises(AlreadyExists):
        await people.create(doer, "Experiment", namespace, {**RUN, "metadata": {"name": name}})
    assert name.startswith("trial-again-")
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["orkhaven-dashboard"]
    assert await people.may(doer, verb="delete", kind="Experiment", namespace=namespace, name=name)
    assert not await people.may(stranger, verb="delete", kind="Experiment", namespace=namespace, name=name)
    with pytest.raises(Forbidden):
        await people.remove(stranger, "Experiment", namespace, name, uid=uid)
    with pytest.raises(Conflict):
        await people.remove(doer, "Experiment", namespace, name, uid="of-a-namesake")
    await people.remove(doer, "Experiment", namespace, name, uid=uid)
    assert cluster.api.call("GET", path)["items"] == []
    with pytest.raises(NotFound):
        await people.remove(doer, "Experiment", namespace, name, uid=uid)
    with pytest.raises(Invalid):
        await people.create(doer, "Experiment", namespace, {**RUN, "spec": {"params": {}, "seed": -1}})
