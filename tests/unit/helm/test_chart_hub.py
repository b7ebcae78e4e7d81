"""Where the hub of the chart keeps its metrics, and where it looks for output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orkhaven.hub.settings import HubSettings
from tests.unit.helm.chart import Objects, Render, env_of, names, one, pod_of

# --- where the hub keeps its metrics ---


def _data(objects: Objects) -> dict[str, Any] | None:
    return next((volume for volume in pod_of(objects, "hub")["volumes"] if volume["name"] == "data"), None)


def test_the_hub_keeps_its_file_in_an_empty_dir_by_default(render: Render) -> None:
    objects = render()
    assert _data(objects) == {"name": "data", "emptyDir": {}}
    assert one(objects, "Deployment", "orkhaven-hub")["spec"]["strategy"] == {"type": "Recreate"}
    assert not names(objects, "PersistentVolumeClaim")


def test_the_hub_gets_a_volume_where_asked(render: Render) -> None:
    objects = render({"hub": {"persistence": {"enabled": True, "size": "2Gi", "storageClass": "fast"}}})
    assert _data(objects) == {"name": "data", "persistentVolumeClaim": {"claimName": "orkhaven-hub"}}
    claim = one(objects, "PersistentVolumeClaim", "orkhaven-hub")["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"]["storage"] == "2Gi"


def test_the_hub_takes_a_claim_that_is_there(render: Render) -> None:
    objects = render({"hub": {"persistence": {"enabled": True, "existingClaim": "mine"}}})
    assert _data(objects) == {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}
    assert not names(objects, "PersistentVolumeClaim")


def test_with_postgresql_the_hub_has_no_volume_and_the_password_is_in_a_secret(render: Render) -> None:
    url = "postgresql+psycopg://hub:secret@db/hub"
    objects = render({"hub": {"database": {"url": url}, "replicas": 2}})
    assert _data(objects) is None
    assert one(objects, "Secret", "orkhaven-hub-database")["stringData"] == {"url": url}
    assert "secret@db" not in json.dumps(pod_of(objects, "hub"))
    hub = one(objects, "Deployment", "orkhaven-hub")["spec"]
    assert (hub["replicas"], hub["strategy"]) == (2, {"type": "RollingUpdate"})
    objects = render({"hub": {"database": {"existingSecret": "pg", "existingSecretKey": "dsn"}}})
    assert env_of(objects, "hub")["ORKHAVEN_HUB_DATABASE_URL"] == {"secretKeyRef": {"name": "pg", "key": "dsn"}}
    assert not names(objects, "Secret")


# --- output volumes ---


def test_output_volumes_are_mounted_read_only_where_the_hub_looks_for_them(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [{"namespace": "radiology", "claim": "results", "existingClaim": "radiology-results", "subPath": "a/b"}]
    objects = render({"hub": {"outputs": outputs}, "trainer": {"outputClaim": "results"}})
    pod = pod_of(objects, "hub")
    claim = {"claimName": "radiology-results", "readOnly": True}
    assert {"name": "output-0", "persistentVolumeClaim": claim} in pod["volumes"]
    assert {
        "name": "output-0",
        "mountPath": "/outputs/radiology/results",
        "readOnly": True,
        "subPath": "a/b",
    } in pod["containers"][0]["volumeMounts"]
    for name, value in env_of(objects, "hub").items():
        monkeypatch.setenv(name, value)
    assert (HubSettings().output_root, HubSettings().output_claim) == (Path("/outputs"), "results")
    assert "ORKHAVEN_HUB_OUTPUT_ROOT" not in env_of(render(), "hub")
