"""spec.rerun in a real API server: entries come and go, and never change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.unit.api.cases import changed, sweep

pytestmark = pytest.mark.cluster

OOM: dict[str, Any] = {
    "id": "oom",
    "select": {"reasons": ["OutOfMemoryKilled"], "params": {"batch_size": [16, None]}},
    "overrides": {"resources": {"memory": "32Gi"}, "params": {"batch_size": 4}},
}


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ([], [OOM], ""),
        ([OOM], [], ""),
        ([OOM], [{"id": "all"}, OOM], ""),
        ([OOM], [{**OOM, "overrides": {}}], "immutable: what it selects is fixed"),
        ([OOM], [{**OOM, "select": {}}], "immutable: what it selects is fixed"),
        ([OOM], [OOM, {"id": "oom"}], "Duplicate value"),
    ],
    ids=["put in", "taken out", "one more", "other overrides", "another selection", "an id twice"],
)
def test_entries_come_and_go_and_never_change(
    cluster: Cluster, namespace: str, before: list[Any], after: list[Any], refused: str
) -> None:
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/sweeps"
    status, text = cluster.api.raw("POST", path + "?fieldValidation=Strict", sweep({"spec.rerun": before}))
    assert status == 201, text
    stored = json.loads(text)
    body = changed(stored, {"spec.rerun": after})
    status, text = cluster.api.raw("PUT", f"{path}/{body['metadata']['name']}?fieldValidation=Strict", body)
    assert (status == 200) is (refused == ""), text
    assert refused in text
