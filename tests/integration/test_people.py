"""Changes in a person's name against a real API server: by that person's rights, of that very object, and managedFields
say through what.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from orkhaven.errors import AlreadyExists, Conflict, Forbidden, NotFound
from orkhaven.kube import connect
from orkhaven.kube.people import FIELD_MANAGER, People
from tests.cluster import Cluster

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]
RESOURCE = "sweeps.orkhaven.io,experiments.orkhaven.io"


@pytest.fixture
async def people(cluster: Cluster) -> AsyncIterator[People]:
    client = await connect(str(cluster.kubeconfig))
    yield People(client)
    await client.close()


@pytest.fixture
def token_of(kubectl: Kubectl, namespace: str) -> Callable[..., str]:
    """A service account that may do these verbs to Sweeps and Experiments, by its token."""

    def make(*verbs: str) -> str:
        name = "-".join(("person", *verbs))
        kubectl("create", "serviceaccount", name, "-n", namespace)
        if verbs:
            kubectl("create", "role", name, f"--verb={','.join(verbs)}", f"--resource={RESOURCE}", "-n", namespace)
            kubectl(
                "create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace}:{name}", "-n", namespace
            )
        return kubectl("create", "token", name, "-n", namespace).strip()

    return make


def experiment(name: str) -> dict[str, object]:
    return {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {"params": {"lr": 0.1}, "objective": {"metric": "val/dice"}},
    }


async def test_an_experiment_is_made_and_deleted_by_who_may(
    people: People, token_of: Callable[..., str], kubectl: Kubectl, namespace: str
) -> None:
    token = token_of("create", "delete")
    assert await people.may(token, verb="create", kind="Experiment", namespace=namespace, name="")
    assert not await people.may(token, verb="patch", kind="Experiment", namespace=namespace, name="again")
    made = await people.create(token, "Experiment", namespace, experiment("again"))
    with pytest.raises(AlreadyExists):
        await people.create(token, "Experiment", namespace, experiment("again"))
    seen = json.loads(kubectl("get", "xp", "again", "-n", namespace, "-o", "json", "--show-managed-fields"))
    assert {field["manager"] for field in seen["metadata"]["managedFields"]} == {FIELD_MANAGER}
    with pytest.raises(Conflict):
        await people.remove(token, "Experiment", namespace, "again", uid="00000000-0000-0000-0000-000000000000")
    await people.remove(token, "Experiment", namespace, "again", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await people.remove(token, "Experiment", namespace, "again", uid=made["metadata"]["uid"])


async def test_who_may_not_is_told_so_and_nothing_happens(
    people: People, token_of: Callable[..., str], kubectl: Kubectl, namespace: str
) -> None:
    made = await people.create(token_of("create"), "Experiment", namespace, experiment("kept"))
    nobody = token_of()
    with pytest.raises(Forbidden):
        await people.create(nobody, "Experiment", namespace, experiment("other"))
    with pytest.raises(Forbidden):
        await people.remove(nobody, "Experiment", namespace, "kept", uid=made["metadata"]["uid"])
    assert kubectl("get", "xp", "-n", namespace, "-o", "name").split() == ["experiment.orkhaven.io/kept"]
