"""Free GPUs by node, while they are given out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orkhaven.api import Reason
from orkhaven.core.queue.needs import unfit, wanted
from orkhaven.core.queue.request import Request
from orkhaven.core.views import NodeView, Why


class Coming(NamedTuple):
    """A node where room is being made."""

    node: str
    missing: int
    """GPUs that somebody would have to give back there; 0: what is about to end is enough."""


@dataclass(slots=True)
class _Kind:
    """What is known of all that need the same: ten thousand may wait for it."""

    fitting: list[str]
    """Nodes that could run it were they empty."""
    size: int
    """GPUs of these."""
    full: bool = False
    """It found no place: nothing is freed while GPUs are given out, so none that is alike will."""
    kept: bool = False
    """One of its nodes is kept for an earlier run."""
    said: Why | None = None
    """Until something changes."""


class Places:
    """Free GPUs by node, while they are given out."""

    def __init__(self, nodes: Sequence[NodeView], foreign: Mapping[str, int]) -> None:
        self._nodes = {node.meta.key.name: node for node in nodes}
        self._free = {name: node.gpus - foreign.get(name, 0) for name, node in self._nodes.items()}
        self.total = sum(max(free, 0) for free in self._free.values())
        """GPUs that are not others'."""
        self._coming: dict[str, int] = defaultdict(int)
        """GPUs of pods that are about to end, less what was promised of them and of what is free."""
        self._kept: set[str] = set()
        """Nodes whose free GPUs are kept for a run that waits for more of them."""
        self._kinds: dict[object, _Kind] = {}
        """By need."""
        self._last: tuple[Request | None, _Kind] = (None, _Kind([], 0))
        """Who was asked about last is asked about again."""

    def take(self, node: str, gpus: int) -> None:
        if node in self._free:
            self._free[node] -= gpus
            self._changed()

    def expect(self, node: str, gpus: int) -> None:
        """A pod there is about to end."""
        self._coming[node] += gpus

    def put(self, request: Request) -> bool:
        """Takes the tightest place that is free now; among equals the GPU with the least memory."""
        kind = self._kind(request)
        if kind.full:
            return False
        free = [
            (self._free[name] - request.gpus, self._nodes[name].gpu_memory_mib or 0, name)
            for name in kind.fitting
            if name not in self._kept and self._free[name] >= request.gpus
        ]
        if not free:
            kind.full = True
            return False
        self.take(min(free)[2], request.gpus)
        return True

    def keep(self, request: Request, *, also: bool = False) -> None:
        """Keeps the node that is nearest to having room for it from all that come later. Not where one that fits is
        kept for an earlier run already, unless `also`: with each further one more GPUs would be idle, and the next in
        line has its turn when the first one has started."""
        kind = self._kind(request)
        if not also:
            kind.kept = kind.kept or any(name in self._kept for name in kind.fitting)
            if kind.kept:
                return
        nearest = [(-self._room(name), name) for name in kind.fitting if name not in self._kept]
        if nearest:
            self._keep(min(nearest)[1])

    def _keep(self, node: str) -> None:
        self._kept.add(node)
        self._changed()

    def _room(self, node: str) -> int:
        return self._free[node] + self._coming.get(node, 0)

    def coming(self, request: Request) -> list[Coming]:
        """Where room for it is, or could be made, the nearest first."""
        nodes = [Coming(name, max(request.gpus - self._room(name), 0)) for name in self.fitting(request)]
        return sorted(nodes, key=lambda at: (at.missing, at.node))

    def promise(self, request: Request, node: str, *, freed: int) -> None:
        """What is free there is kept for it, and what comes is its own. `freed`: GPUs that others give back for it."""
        self._coming[node] += freed - request.gpus
        self._keep(node)

    def _kind(self, request: Request) -> _Kind:
        if request is self._last[0]:
            return self._last[1]
        needs = request.needs
        kind = self._kinds.get(needs.key)
        if kind is None:
            nodes = self._nodes.items()
            fitting = [name for name, node in nodes if node.gpus >= needs.gpus and unfit(needs, node) is None]
            kind = self._kinds[needs.key] = _Kind(fitting, sum(self._nodes[name].gpus for name in fitting))
        self._last = request, kind
        return kind

    def _changed(self) -> None:
        for kind in self._kinds.values():
            kind.said = None

    def fitting(self, request: Request) -> list[str]:
        """Nodes that could run it were they empty."""
        return self._kind(request).fitting

    def size(self, request: Request) -> int:
        """GPUs of all nodes that could run it."""
        return self._kind(request).size

    def wait(self, request: Request) -> Why:
        """What it waits for."""
        kind = self._kind(request)
        if kind.said is None:
            free = sum(max(self._free[name], 0) for name in kind.fitting if name not in self._kept)
            kept = sum(max(self._free[name], 0) for name in kind.fitting if name in self._kept)
            held = f", {kept} kept for the next in line" if kept else ""
            words = f"waits for {wanted(request.needs)}: {free} of {kind.size} free{held}"
            kind.said = Why(Reason.WAITING_FOR_GPUS, words)
        return kind.said

    def misfit(self, request: Request) -> str | None:
        """Why no node can ever run it, in the words of the first requirement that leaves none; None: one can."""
        if self.fitting(request):
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
