"""What a finished trial takes in etcd, as the real API server stores it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.sim.test_size import FAILED, HUBS, SUCCEEDED, ended
from tests.unit.api.cases import sweep

pytestmark = pytest.mark.cluster

APPLY = "application/apply-patch+yaml"


def stored(cluster: Cluster, namespace: str, trial: dict[str, Any]) -> int:
    """Bytes of its JSON, managedFields included: custom resources are stored as JSON."""
    group = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}"
    head = {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Experiment"}
    meta, spec, status = trial["metadata"], trial["spec"], trial["status"]
    # An owner that is not there would have it collected.
    (reference,) = meta["ownerReferences"]
    owner = sweep({"metadata.name": reference["name"], "spec.parallelism": 0})
    cluster.api.create(f"{group}/sweeps", owner)
    uid = cluster.api.call("GET", f"{group}/sweeps/{reference['name']}")["metadata"]["uid"]
    made = {"name": meta["name"], "labels": meta["labels"], "ownerReferences": [{**reference, "uid": uid}]}
    place = f"{group}/experiments"
    cluster.api.call("POST", f"{place}?fieldManager=orkhaven-operator", {**head, "metadata": made, "spec": spec})
    hubs = {key: value for key, value in status.items() if key in HUBS}
    operators = {key: value for key, value in status.items() if key not in HUBS}
    for manager, fields in (("orkhaven-hub", hubs), ("orkhaven-operator", operators)):
        body = {**head, "metadata": {"name": meta["name"]}, "status": fields}
        path = f"{place}/{meta['name']}/status?fieldManager={manager}&force=true"
        cluster.api.call("PATCH", path, body, content=APPLY)
    found = cluster.api.get(f"{place}/{meta['name']}")
    assert found is not None
    assert found["status"] == status
    return len(json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_finished_trial_takes_no_more_than_the_simulation_says(cluster: Cluster, namespace: str) -> None:
    succeeded = stored(cluster, namespace, ended(SUCCEEDED, 0, 1))
    broken = ended(FAILED, 1, 3)
    broken["metadata"]["name"] += "-f"
    failed = stored(cluster, namespace, broken)
    print(f"succeeded {succeeded} bytes, failed three times {failed} bytes")
    assert succeeded < 6 * 1024
    assert failed < 10 * 1024
