"""A periodic list of everything: drops what a missed DELETED event left, brings what a missed event did not, marks all.

A watch never tells of a deletion that happened while it was down; so no absence is trusted without this.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence

from orkhaven.core.devices import asked_for
from orkhaven.core.views import Key
from orkhaven.engine.engine import Engine
from orkhaven.engine.parsers import NOT_OURS, PARSERS, SELECTORS
from orkhaven.engine.ports import Gateway, Kind, Meters
from orkhaven.errors import Forbidden, Gone, Unavailable

log = logging.getLogger(__name__)


class Resync:
    """Lists. `namespaces` empty: all of them."""

    def __init__(self, engine: Engine, gateway: Gateway, *, meters: Meters, namespaces: Sequence[str] = ()) -> None:
        self._engine = engine
        self._gateway = gateway
        self._meters = meters
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._nodes_forbidden = False
        self._pods_forbidden = False
        self.complete = False
        """Whether every kind has been listed once: before that, nothing may be decided."""

    async def run_once(self) -> int:
        """List all kinds, then mark everything. How many differences the watch had not told of. Raises ApiError."""
        # Children before parents' absence can matter: an Experiment seen without its Jobs would be given a new one. (It
        # would be a harmless 409, but a request.)
        repaired = 0
        for kind in (Kind.NODE, Kind.POD, Kind.JOB, Kind.EXPERIMENT, Kind.SWEEP):
            repaired += await self.kind(kind)
        await self.foreign()
        await self._engine.sharing.look()
        self.complete = True
        self._engine.mark_all()
        return repaired

    async def kind(self, kind: Kind) -> int:
        """List one kind. Raises ApiError."""
        repaired = 0
        for namespace in [None] if kind is Kind.NODE else self._namespaces:
            repaired += await self._list(kind, namespace)
        self._meters.resynced(kind, repaired)
        return repaired

    async def _list(self, kind: Kind, namespace: str | None) -> int:
        try:
            return await self._list_pages(kind, namespace)
        except Gone:
            return await self._list_pages(kind, namespace)
        except Forbidden:
            if kind is not Kind.NODE:
                raise
            if not self._nodes_forbidden:
                log.warning(
                    "nodes may not be listed: GPUs cannot be counted; give the operator list and watch on nodes"
                )
                self._nodes_forbidden = True
            return 0

    async def _list_pages(self, kind: Kind, namespace: str | None) -> int:
        present: list[tuple[Key, str]] = []
        listed_at = 0
        repaired = 0
        pages = self._gateway.pages(kind, namespace=namespace, label_selector=SELECTORS.get(kind))
        async for bodies, version in pages:
            listed_at = listed_at or int(version)
            for body in bodies:
                view = self._engine.known(kind, body)
                if view is None:
                    view = PARSERS[kind](body)
                    repaired += self._engine.observe(kind, view)
                present.append((view.meta.key, view.meta.uid))
        for ghost in self._engine.store.missing(kind, present, listed_at=listed_at, namespace=namespace):
            log.info("dropped: deleted unseen", extra={"kind": str(kind), "key": str(ghost.meta.key)})
            repaired += self._engine.forget(kind, ghost.meta.key, ghost.meta.uid)
        return repaired

    async def foreign(self) -> None:
        """Devices that pods of others hold, by node and resource. Without the right to list all pods they count as
        none, said once."""
        held: dict[str, Counter[str]] = defaultdict(Counter)
        nodes = self._engine.store.nodes().values()
        # Whatever comes later, what is held there is not in this list.
        seen = frozenset(node.meta.uid for node in nodes)
        if not any(node.devices or node.capacity for node in nodes):
            self._engine.set_foreign_gpus({}, seen=frozenset())
            return
        try:
            async for bodies, _ in self._gateway.pages(
                "Pod",
                label_selector=NOT_OURS,
                field_selector="spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed",
            ):
                for body in bodies:
                    if devices := asked_for(body["spec"]):
                        held[body["spec"]["nodeName"]].update(devices)
        except Forbidden:
            if not self._pods_forbidden:
                log.warning("pods of other namespaces may not be listed: GPUs that they hold are taken for free")
                self._pods_forbidden = True
            self._engine.set_foreign_gpus({}, seen=None)
            return
        except Gone as error:
            raise Unavailable(str(error)) from error
        self._engine.set_foreign_gpus({node: dict(devices) for node, devices in held.items()}, seen=seen)
