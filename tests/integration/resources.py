"""Resources in a real API server, by HTTP: made, changed, refused, their status applied."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.cluster import Cluster


def path_of(namespace: str, kind: str, name: str = "", rest: str = "") -> str:
    return f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/{kind.lower()}s" + (f"/{name}" if name else "") + rest


def create(cluster: Cluster, namespace: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    path = path_of(namespace, body["kind"]) + "?fieldValidation=Strict"
    status, text = cluster.api.raw("POST", path, body)
    return status, json.loads(text)


def put(cluster: Cluster, namespace: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    path = path_of(namespace, body["kind"], body["metadata"]["name"])
    status, text = cluster.api.raw("PUT", path + "?fieldValidation=Strict", body)
    return status, json.loads(text)


def _causes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, message) of each cause. An unknown field is refused earlier, with its path in the message only."""
    unknown = re.findall(r'unknown field "([^"]+)"', answer["message"])
    causes = [(cause["field"], cause["message"]) for cause in answer.get("details", {}).get("causes", [])]
    return causes + [(field, f'unknown field "{field}"') for field in unknown]


def assert_refused(status: int, answer: dict[str, Any], path: str, message: str) -> None:
    assert status in (400, 422), answer
    causes = _causes(answer)
    assert [cause for cause in causes if cause[0] == path and message in cause[1]], causes


def apply_status(cluster: Cluster, namespace: str, manager: str, status: dict[str, Any]) -> dict[str, Any]:
    body = {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "lungs-1"},
        "status": status,
    }
    path = path_of(namespace, "Experiment", "lungs-1", f"/status?fieldManager={manager}")
    return cluster.api.call("PATCH", path, body, content="application/apply-patch+yaml")["status"]
