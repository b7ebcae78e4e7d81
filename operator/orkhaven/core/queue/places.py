"""Free GPUs by node, while they are given out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from orkhaven.api import Reason
from orkhaven.core.devices import NVIDIA
from orkhaven.core.queue.needs import Needs, memory_on, model_on, unfit, wanted
from orkhaven.core.queue.request import Request
from orkhaven.core.views import NodeView, Why

_Place = tuple[str, str]
"""Node and resource."""


NODES_FOR_ONE_KEPT = 32
"""Of so many nodes one may be kept while it empties, for a namespace each. With one of a hundred, runs that need whole
nodes come to their share much later beside small ones; with one of sixteen one GPU in a hundred is idle where runs take
hours."""


class Coming(NamedTuple):
    """A node where room is being made."""

    node: str
    missing: int
    """GPUs that somebody would have to give back there; 0: what is about to end is enough."""


@dataclass(slots=True)
class _Kind:
    """What is known of all that need the same: ten thousand may wait for it."""

    resource: str
    fitting: list[str]
    """Nodes that could run it were they empty."""
    size: int
    """GPUs of these."""
    full: bool = False
    """It found no place: nothing is freed while GPUs are given out, so none that is alike will."""
    kept: int = 0
    """Its nodes that are kept for earlier runs."""
    said: Why | None = None
    """Until something changes."""


class Places:
    """Free GPUs by node and kind, while they are given out. `unseen`: nodes of which it is not known what others hold
    there; nothing is given out on these."""

    def __init__(
        self, nodes: Sequence[NodeView], foreign: Mapping[str, Mapping[str, int]], *, unseen: Set[str] = frozenset()
    ) -> None:
        self._nodes = {node.meta.key.name: node for node in nodes}
        self._free = {
            (name, resource): 0 if name in unseen else count - foreign.get(name, {}).get(resource, 0)
            for name, node in self._nodes.items()
            for resource, count in node.devices.items()
        }
        self.total = sum(max(free, 0) for free in self._free.values())
        """GPUs that are not others'."""
        self._unseen = unseen
        self._coming: dict[_Place, int] = defaultdict(int)
        """GPUs of pods that are about to end, less what was promised of them and of what is free."""
        self._kept: set[_Place] = set()
        """Whose free GPUs are kept for a run that waits for more of them."""
        self._keepers: set[str] = set()
        """Namespaces that keep one."""
        self._kinds: dict[object, _Kind] = {}
        """By need."""
        self._last: tuple[Request | None, _Kind] = (None, _Kind("", [], 0))
        """Who was asked about last is asked about again."""

    def take(self, node: str, gpus: int, resource: str = NVIDIA) -> None:
        if (node, resource) in self._free:
            self._free[node, resource] -= gpus
            self._changed()

    def expect(self, node: str, gpus: int, resource: str = NVIDIA) -> None:
        """A pod there is about to end."""
        self._coming[node, resource] += gpus

    def put(self, request: Request) -> str | None:
        """Takes the node that it is meant for, else the tightest place that is free now; among equals the GPU with the
        least memory. The node; None: no place is free."""
        kind = self._kind(request)
        if kind.full:
            return None
        needs, resource = request.needs, request.needs.resource
        free = [
            (self._free[name, resource] - request.gpus, memory_on(self._nodes[name], needs.kind), name)
            for name in kind.fitting
            if (name, resource) not in self._kept and self._free[name, resource] >= request.gpus
        ]
        if not free:
            kind.full = True
            return None
        meant = request.meant_for
        node = meant if meant is not None and any(meant == name for _, _, name in free) else min(free)[2]
        self.take(node, request.gpus, resource)
        return node

    def keep(self, request: Request, *, also: bool = False) -> bool:
        """Keeps the node that is nearest to having room for it from all that come later. Not where this or that node
        that fits is kept for an earlier run already, or one for the same namespace, unless `also`: with each further
        one more GPUs would be idle, and the next in line has its turn when the first one has started. Whether it has
        kept one."""
        kind, namespace = self._kind(request), request.job.namespace
        if not also and (namespace in self._keepers or kind.kept >= max(1, len(kind.fitting) // NODES_FOR_ONE_KEPT)):
            return False
        places = [(name, kind.resource) for name in kind.fitting if name not in self._unseen]
        nearest = [(-self._room(place), place) for place in places if place not in self._kept]
        if not nearest:
            return False
        _, place = min(nearest)
        if not also:
            self._keepers.add(namespace)
        self._coming[place] -= request.gpus
        self._keep(place)
        return True

    def _keep(self, place: _Place) -> None:
        if place not in self._kept:
            self._kept.add(place)
            for kind in self._kinds.values():
                kind.kept += place[1] == kind.resource and place[0] in kind.fitting
        self._changed()

    def _room(self, place: _Place) -> int:
        return self._free[place] + self._coming.get(place, 0)

    def coming(self, request: Request) -> list[Coming]:
        """Where room for it is, or could be made, the nearest first."""
        resource = request.needs.resource
        nodes = [
            Coming(name, max(request.gpus - self._room((name, resource)), 0))
            for name in self.fitting(request)
            if name not in self._unseen
        ]
        return sorted(nodes, key=lambda at: (at.missing, at.node))

    def promise(self, request: Request, node: str, *, freed: int) -> None:
        """What is free there is kept for it, and what comes is its own. `freed`: GPUs that others give back for it."""
        place = (node, request.needs.resource)
        self._coming[place] += freed - request.gpus
        self._keep(place)

    def _kind(self, request: Request) -> _Kind:
        if request is self._last[0]:
            return self._last[1]
        needs = request.needs
        kind = self._kinds.get(needs.key)
        if kind is None:
            nodes = self._nodes.items()
            fitting = [name for name, node in nodes if needs.room(node) and unfit(needs, node) is None]
            size = sum(self._nodes[name].devices[needs.resource] for name in fitting)
            kept = sum((name, needs.resource) in self._kept for name in fitting)
            kind = self._kinds[needs.key] = _Kind(needs.resource, fitting, size, kept=kept)
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
            places = [(name, kind.resource) for name in kind.fitting]
            free = sum(max(self._free[place], 0) for place in places if place not in self._kept)
            kept = sum(max(self._free[place], 0) for place in places if place in self._kept)
            held = f", {kept} kept for the next in line" if kept else ""
            new = sorted(self._unseen & set(kind.fitting))
            look = f"; {_some(new)} new, and what others hold there is not known yet" if new else ""
            words = f"waits for {wanted(request.needs)}: {free} of {kind.size} free{held}{look}"
            kind.said = Why(Reason.WAITING_FOR_GPUS, words)
        return kind.said

    def misfit(self, request: Request) -> str | None:
        """Why no node can run it as things are, in the words of the first requirement that leaves none; None: one
        can."""
        if self.fitting(request):
            return None
        needs = request.needs
        head = f"no node has {wanted(needs)}"
        away = sorted(name for name, node in self._nodes.items() if _comes_back(needs, node))
        if away:
            held = ", ".join(
                f"{name} has {self._nodes[name].devices.get(needs.resource, 0)} of "
                f"{self._nodes[name].capacity[needs.resource]} fit for use"
                for name in away[:2]
            )
            return f"{head} at the moment: {held}; it starts once its device plugin offers them again"
        resource = needs.resource
        with_gpus = [node for node in self._nodes.values() if node.devices.get(resource)]
        if not with_gpus:
            what = "GPUs" if resource == NVIDIA else resource
            return f"{head}: no node has {what} at all{_others(self._nodes.values(), resource)}"
        models = ", ".join(sorted({model_on(node, needs.kind) or "unnamed" for node in with_gpus}))
        largest = max(node.devices[resource] for node in with_gpus)
        if largest < request.gpus:
            return f"{head}: the largest node has {largest}"
        reasons = sorted({why for node in with_gpus if needs.room(node) and (why := unfit(needs, node))})
        return f"{head}: {'; '.join(reasons[:4])} (GPUs here: {models})"


def _comes_back(needs: Needs, node: NodeView) -> bool:
    """Whether only devices that are not fit for use at the moment are missing: a device plugin that starts anew reports
    none for a while."""
    return node.capacity.get(needs.resource, 0) >= needs.gpus and not needs.room(node) and unfit(needs, node) is None


def _others(nodes: Iterable[NodeView], resource: str) -> str:
    found = sorted({name for node in nodes for name, count in node.devices.items() if count and name != resource})
    return f" (devices here: {', '.join(found[:6])})" if found else ""


def _some(names: Sequence[str]) -> str:
    return f"node {names[0]} is" if len(names) == 1 else f"{len(names)} nodes are"
