"""Free GPUs by node, while they are given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orkhaven.core.queue.needs import unfit, wanted
from orkhaven.core.queue.request import Request
from orkhaven.core.views import NodeView


class Places:
    """Free GPUs by node, while they are given out."""

    def __init__(self, nodes: Sequence[NodeView], foreign: Mapping[str, int]) -> None:
        self._nodes = {node.meta.key.name: node for node in nodes}
        self._free = {name: node.gpus - foreign.get(name, 0) for name, node in self._nodes.items()}
        self._kept: set[str] = set()
        """Nodes whose free GPUs are kept for a run that waits for more of them."""
        self._known: dict[object, list[str]] = {}
        """Fitting nodes by need: a sweep's trials all need the same."""

    def take(self, node: str, gpus: int) -> None:
        if node in self._free:
            self._free[node] -= gpus

    def put(self, request: Request) -> bool:
        """Takes the tightest place that is free now; among equals the GPU with the least memory."""
        free = [
            (self._free[name] - request.gpus, self._nodes[name].gpu_memory_mib or 0, name)
            for name in self._fitting(request)
            if name not in self._kept and self._free[name] >= request.gpus
        ]
        if not free:
            return False
        self.take(min(free)[2], request.gpus)
        return True

    def keep(self, request: Request) -> None:
        """Keeps the node that is nearest to having room for it from all that come later."""
        nearest = [(-self._free[name], name) for name in self._fitting(request) if name not in self._kept]
        if nearest:
            self._kept.add(min(nearest)[1])

    def _fitting(self, request: Request) -> list[str]:
        """Nodes that could run it were they empty."""
        needs = request.needs
        need = (
            needs.gpus,
            needs.gpu_models,
            needs.min_gpu_memory_mib,
            tuple(sorted(needs.node_selector.items())),
            tuple(tuple(toleration.to_dict().items()) for toleration in needs.tolerations),
            needs.avoid,
        )
        if need not in self._known:
            nodes = self._nodes.items()
            fitting = [name for name, node in nodes if node.gpus >= needs.gpus and unfit(needs, node) is None]
            self._known[need] = fitting
        return self._known[need]

    def wait_message(self, request: Request) -> str:
        fitting = self._fitting(request)
        total = sum(self._nodes[name].gpus for name in fitting)
        free = sum(max(self._free[name], 0) for name in fitting if name not in self._kept)
        kept = sum(max(self._free[name], 0) for name in fitting if name in self._kept)
        held = f", {kept} kept for the next in line" if kept else ""
        return f"waits for {wanted(request.needs)}: {free} of {total} free{held}"

    def misfit(self, request: Request) -> str | None:
        """Why no node can ever run it, in the words of the first requirement that leaves none; None: one can."""
        if self._fitting(request):
            return None
        needs = request.needs
        head = f"no node has {wanted(needs)}"
        with_gpus = [node for node in self._nodes.values() if node.gpus]
        if not with_gpus:
            return f"{head}: no node has GPUs at all"
        models = ", ".join(sorted({node.gpu_model or "unnamed" for node in with_gpus}))
        largest = max(node.gpus for node in with_gpus)
        if largest < request.gpus:
            return f"{head}: the largest node has {largest}"
        reasons = sorted({why for node in with_gpus if node.gpus >= needs.gpus and (why := unfit(needs, node))})
        return f"{head}: {'; '.join(reasons[:4])} (GPUs here: {models})"
