"""Kinds of GPUs: whole ones, slices of one (MIG), other makers'. Each is a resource of its own; none is another's.

Owns their names, the node labels that say what a node's are, and what a pod's spec asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orkhaven.api.meta import parse_quantity

NVIDIA = "nvidia.com/gpu"
DENIED = "!"
"""Before a model in resources.gpuModels: any but this one."""


@dataclass(frozen=True, slots=True)
class GpuResource:
    """One kind, as the operator's settings name it."""

    name: str = NVIDIA
    labels: tuple[str, str] = field(default=("", ""))
    """Node labels of the model and of the memory in MiB; empty: as GPU feature discovery names them."""

    @property
    def model_label(self) -> str:
        return self.labels[0] or f"{self.name}.product"

    @property
    def memory_label(self) -> str:
        return self.labels[1] or f"{self.name}.memory"


WHOLE = GpuResource()
"""NVIDIA's, which a device plugin offers without any settings."""


def named(name: str | None, known: Sequence[GpuResource]) -> GpuResource:
    """The kind of that name; the first that is known where none is said. One that the settings do not know any more has
    the usual labels: Jobs that ask for it may be there still."""
    if name is None:
        return known[0]
    return next((one for one in known if one.name == name), GpuResource(name))


def split_models(models: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(those that will do, those that will not), of resources.gpuModels."""
    return (
        tuple(model for model in models if not model.startswith(DENIED)),
        tuple(model.removeprefix(DENIED) for model in models if model.startswith(DENIED)),
    )


def amounts(resources: Any) -> dict[str, int]:
    """Of a list of resources those that device plugins offer: their names have a domain, and they are counted."""
    if not isinstance(resources, Mapping):
        return {}
    return {str(name): count for name, said in resources.items() if "/" in str(name) and (count := _count(said))}


def asked_for(pod_spec: Mapping[str, Any]) -> dict[str, int]:
    """Devices that a pod holds once it is on a node, as the scheduler counts them: those of all containers together, or
    of the largest init container where that is more; a sidecar counts with the containers."""
    together: Counter[str] = Counter()
    first: dict[str, int] = {}
    for container in _containers(pod_spec, "containers"):
        together.update(_of(container))
    for container in _containers(pod_spec, "initContainers"):
        if container.get("restartPolicy") == "Always":
            together.update(_of(container))
            continue
        for name, count in _of(container).items():
            first[name] = max(first.get(name, 0), count)
    return {name: max(together[name], first.get(name, 0)) for name in together.keys() | first.keys()}


def of_a_run(pod_spec: Mapping[str, Any]) -> tuple[str, int]:
    """The one kind that a pod of ours asks for, and how many; ("", 0): none."""
    asked = asked_for(pod_spec)
    # What a cluster adds to a pod, such as a network card, comes after the GPU that we have asked for.
    name = NVIDIA if NVIDIA in asked else min(asked, default="")
    return name, asked.get(name, 0)


def _of(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources")
    if not isinstance(resources, Mapping):
        return {}
    # A limit is the request where that says nothing.
    return amounts(resources.get("limits")) | amounts(resources.get("requests"))


def _containers(pod_spec: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = pod_spec.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def _count(value: Any) -> int:
    if isinstance(value, bool):
        return 0
    try:
        return max(int(parse_quantity(str(value))), 0)
    except (ValueError, ArithmeticError):
        return 0
