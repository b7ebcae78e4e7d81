"""What a run needs of a node, and whether a node has it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from orkhaven.api import ExperimentSpec
from orkhaven.api.container import Toleration
from orkhaven.core.devices import NVIDIA, WHOLE, GpuResource, split_models
from orkhaven.core.job import memory_mib, node_affinity
from orkhaven.core.views import NodeView


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run needs of a node."""

    gpus: int
    kind: GpuResource = WHOLE
    """What these GPUs are."""
    gpu_models: tuple[str, ...] = ()
    """As the spec says them: those that will do, and, after "!", those that will not."""
    min_gpu_memory_mib: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    avoid: tuple[str, ...] = ()
    """Nodes that it may not go to, sorted."""
    key: str = field(init=False, repr=False, compare=False)
    """The same for all that need the same: ten thousand in a queue are told apart by it. A string, since that knows its
    hash."""

    def __post_init__(self) -> None:
        selector = tuple(sorted(self.node_selector.items())) if self.node_selector else ()
        tolerations = tuple(tuple(toleration.to_dict().items()) for toleration in self.tolerations)
        key = (self.gpus, self.kind, self.gpu_models, self.min_gpu_memory_mib, selector, tolerations, self.avoid)
        object.__setattr__(self, "key", sys.intern(repr(key)))

    @property
    def resource(self) -> str:
        """Name of the resource that they are."""
        return self.kind.name

    def affinity(self, prefer: str | None = None) -> dict[str, Any]:
        """`prefer`: the node that it is to have of those that will do."""
        return node_affinity(
            models=self.gpu_models,
            least_mib=self.min_gpu_memory_mib,
            avoid=self.avoid,
            prefer=prefer,
            kind=self.kind,
        )

    def room(self, node: NodeView) -> bool:
        """Whether the node has as many, taken or not."""
        return node.devices.get(self.resource, 0) >= self.gpus


def needs_of(spec: ExperimentSpec, *, kind: GpuResource, gpus: int | None = None, avoid: Iterable[str] = ()) -> Needs:
    """`gpus`: where a Job asks for another number than the spec does by now."""
    return Needs(
        gpus=spec.resources.gpus if gpus is None else gpus,
        kind=kind,
        gpu_models=tuple(spec.resources.gpu_models),
        min_gpu_memory_mib=memory_mib(spec.resources.min_gpu_memory),
        node_selector=spec.node_selector,
        tolerations=tuple(spec.tolerations),
        avoid=tuple(sorted(avoid)),
    )


def could_run(needs: Needs, nodes: Mapping[str, NodeView]) -> bool:
    """Whether a node could run it, were it empty."""
    return any(needs.room(node) and unfit(needs, node) is None for node in nodes.values())


def past(needs: Needs, nodes: Mapping[str, NodeView], *, own: Set[str], all_runs: Set[str]) -> tuple[str, ...]:
    """The nodes that a Job may not go to: of those that its run goes past (`own`) and those that all runs do. Only
    where another node could run it: on a cluster of one node a run is better tried again there than never."""
    for wanted in (own | all_runs, own):
        avoid = tuple(sorted(wanted))
        if avoid and could_run(replace(needs, avoid=avoid), nodes):
            return avoid
    return ()


def unfit(needs: Needs, node: NodeView) -> str | None:
    """What about the node, apart from the number of its GPUs, is not as it should be."""
    name = node.meta.key.name
    if needs.gpu_models:
        allowed, denied = split_models(needs.gpu_models)
        model = model_on(node, needs.kind)
        if allowed and model not in allowed:
            return "not one of these models"
        if model in denied:
            return f"not a {model}"
    if needs.min_gpu_memory_mib is not None:
        memory = memory_on(node, needs.kind)
        if memory < needs.min_gpu_memory_mib:
            return "too little memory per GPU" if memory else "the node says nothing of its GPUs' memory"
    for label, value in needs.node_selector.items():
        if node.meta.labels.get(label) != value:
            return f"no node has {label}={value}"
    if name in needs.avoid:
        return f"node {name} is avoided, since attempts failed there"
    if not node.ready:
        return f"node {name} is not ready"
    if not node.schedulable:
        return f"node {name} is cordoned"
    for key, value, effect in node.taints:
        if not any(_tolerates(toleration, key, value, effect) for toleration in needs.tolerations):
            return f"node {name} has the taint {key}{f'={value}' if value else ''}:{effect}"
    return None


def model_on(node: NodeView, kind: GpuResource) -> str | None:
    return node.meta.labels.get(kind.model_label)


def memory_on(node: NodeView, kind: GpuResource) -> int:
    """In MiB, as the node's label says it; 0: it does not."""
    said = node.meta.labels.get(kind.memory_label, "")
    return int(said) if said.isdecimal() else 0


def _tolerates(toleration: Toleration, key: str, value: str, effect: str) -> bool:
    if toleration.effect not in (None, effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in (None, "", key)
    return toleration.key == key and (toleration.value or "") == value


def wanted(needs: Needs) -> str:
    words = f"{needs.gpus} GPU{'s' if needs.gpus != 1 else ''}"
    if needs.resource != NVIDIA:
        words = f"{needs.gpus} {needs.resource}"
    allowed, denied = split_models(needs.gpu_models)
    if allowed:
        words += " of model " + " or ".join(allowed)
    if denied:
        words += f"{',' if allowed else ''} not of model " + " or ".join(denied)
    if needs.min_gpu_memory_mib is not None:
        gib = needs.min_gpu_memory_mib / 1024
        words += f" with at least {gib:g}Gi" if gib >= 1 else f" with at least {needs.min_gpu_memory_mib}Mi"
    if needs.node_selector:
        words += " on a node with " + ", ".join(f"{k}={v}" for k, v in sorted(needs.node_selector.items()))
    return words + (" on one node" if needs.gpus > 1 else "")
