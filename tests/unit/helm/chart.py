"""What the chart's tests share: the objects that helm renders, and how one is found among them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[3] / "helm" / "orkhaven"
KUBERNETES = "1.34.0"

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]
Helm = Callable[..., subprocess.CompletedProcess[str]]
# libyaml where it is there: ten times faster on the CRDs.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def template(helm: Helm, folder: Path, values: dict[str, Any], release: str) -> subprocess.CompletedProcess[str]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return helm("template", release, str(CHART), "-n", "system", "--kube-version", KUBERNETES, "-f", str(path))


def one(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def names(objects: Objects, kind: str) -> list[str]:
    return sorted(o["metadata"]["name"] for o in objects if o["kind"] == kind)


def env_of(objects: Objects, component: str) -> dict[str, Any]:
    (container,) = pod_of(objects, component)["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def pod_of(objects: Objects, component: str) -> dict[str, Any]:
    return one(objects, "Deployment", f"orkhaven-{component}")["spec"]["template"]["spec"]
