"""Kueue's Workloads, where they are served.

Kueue comes and goes while the operator runs. That it is not there is no error: a list finds out, and costs two requests
that are answered by 404. Only Workloads of Jobs are kept: those of a cluster's other kinds are never ours.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from orkhaven.core.kueue.workload import Kueue
from orkhaven.core.views import Key
from orkhaven.engine.engine import Engine
from orkhaven.engine.parsers import PARSERS
from orkhaven.engine.ports import WORKLOADS, Gateway, Kind
from orkhaven.errors import ApiError, Forbidden, NotFound

log = logging.getLogger(__name__)


class Workloads:
    """Lists. `namespaces` empty: all of them."""

    def __init__(self, engine: Engine, gateway: Gateway, *, namespaces: Sequence[str] = (), enabled: bool = True):
        self._engine = engine
        self._gateway = gateway
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._enabled = enabled
        self.called = ""
        """What the Gateway calls those that are served."""

    async def look(self) -> dict[str | None, str] | None:
        """List all. The resource version of each namespace's list, to watch from; None: there is nothing to watch.

        Never raises ApiError: with Kueue away the conversion of its objects may fail, and all other runs go on.
        """
        if not self._enabled:
            self._nothing(Kueue.OFF)
            return None
        try:
            for called in WORKLOADS.values():
                try:
                    found = {namespace: await self._list(called, namespace) for namespace in self._namespaces}
                except NotFound:
                    continue
                self.called = called
                self._engine.set_kueue(Kueue.SERVED)
                return found
        except Forbidden as error:
            if self._engine.reconciler.kueue is not Kueue.FORBIDDEN:
                log.warning("Kueue's Workloads may not be listed", extra={"error": str(error)})
            self._nothing(Kueue.FORBIDDEN)
            return None
        except ApiError as error:
            log.warning("Kueue's Workloads cannot be listed, tried again", extra={"error": str(error)})
            if self._engine.reconciler.kueue is not Kueue.SERVED:
                self._engine.set_kueue(Kueue.UNKNOWN)
            return None
        self._nothing(Kueue.MISSING)
        return None

    def take(self, type_: str, body: Mapping[str, Any]) -> None:
        """What the watch tells."""
        if type_ == "BOOKMARK" or not _of_a_job(body):
            return
        view = self._engine.known(Kind.WORKLOAD, body) or PARSERS[Kind.WORKLOAD](body)
        if type_ == "DELETED":
            self._engine.forget(Kind.WORKLOAD, view.meta.key, view.meta.uid)
        else:
            self._engine.observe(Kind.WORKLOAD, view)

    async def _list(self, called: str, namespace: str | None) -> str:
        present: list[tuple[Key, str]] = []
        listed_at = "0"
        async for bodies, version in self._gateway.pages(called, namespace=namespace):
            listed_at = version
            for body in bodies:
                self.take("ADDED", body)
                meta = body["metadata"]
                present.append((Key(meta.get("namespace") or "", meta["name"]), meta["uid"]))
        store = self._engine.store
        for ghost in store.missing(Kind.WORKLOAD, present, listed_at=int(listed_at), namespace=namespace):
            self._engine.forget(Kind.WORKLOAD, ghost.meta.key, ghost.meta.uid)
        return listed_at

    def _nothing(self, kueue: Kueue) -> None:
        self._engine.set_kueue(kueue)
        for view in list(self._engine.store.all(Kind.WORKLOAD).values()):
            self._engine.forget(Kind.WORKLOAD, view.meta.key, view.meta.uid)


def _of_a_job(body: Mapping[str, Any]) -> bool:
    owners = (body.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("kind") == "Job" for owner in owners)
