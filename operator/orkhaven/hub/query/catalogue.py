"""The cluster's Sweeps and Experiments in memory, kept by list and watch.

What is here may be a moment behind the API server, and says since when where the watch is broken. Who may see it is
asked per request, elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from orkhaven.errors import ApiError, Gone
from orkhaven.hub.ports import Body, Gateway
from orkhaven.hub.query.revisions import Revisions
from orkhaven.hub.query.rows import ExperimentRow, SweepRow, experiment_row, sweep_row

BACKOFF_MAX = 30.0
"""Seconds. The longest pause between two tries to reach the API server."""

log = logging.getLogger(__name__)


class NotSynced(Exception):
    """Nothing can be said yet; the message says why."""


class _Row(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def version(self) -> str: ...


R = TypeVar("R", bound=_Row)


@dataclass(slots=True)
class _Kind(Generic[R]):
    """The objects of one kind, by namespace and name."""

    kind: str
    parse: Callable[[Body], R]
    on_change: Callable[[R | None, R | None], None]
    """Old and new row."""
    rows: dict[str, dict[str, R]] = field(default_factory=dict)

    def put(self, body: Body) -> None:
        metadata = body["metadata"]
        level = self.rows.setdefault(metadata["namespace"], {})
        old = level.get(metadata["name"])
        if old is not None and (old.uid, old.version) == (metadata["uid"], str(metadata["resourceVersion"])):
            return
        try:
            new = self.parse(body)
        except (KeyError, TypeError, ValueError, AttributeError):
            # Nothing that the CRD lets through; but one odd object must not hide all others.
            log.exception("an object cannot be read and is left out", extra={"object": metadata["name"]})
            self.drop(metadata["namespace"], metadata["name"])
            return
        level[new.name] = new
        self.on_change(old, new)

    def drop(self, namespace: str, name: str, *, uid: str | None = None) -> None:
        old = self.rows.get(namespace, {}).get(name)
        if old is not None and uid in (None, old.uid):
            del self.rows[namespace][name]
            self.on_change(old, None)

    def keep_only(self, seen: set[tuple[str, str]], *, namespace: str | None) -> None:
        for one in [namespace] if namespace is not None else list(self.rows):
            for name in [name for name in self.rows.get(one, {}) if (one, name) not in seen]:
                self.drop(one, name)


@dataclass(slots=True)
class _Follower:
    """One kind in one namespace, or in all."""

    kind: _Kind[ExperimentRow] | _Kind[SweepRow]
    namespace: str | None
    version: str | None = None
    """Where the watch goes on; None: to be listed."""
    synced: bool = False
    lost_at: float | None = None
    """Monotonic seconds since when nothing is heard; None: the watch stands."""
    trouble: str = "the first list is under way"
    first: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first whole list."""


class Catalogue:
    """`start` once, `close` at the end. Of one event loop. Rows are never changed, only replaced."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        namespaces: Sequence[str] = (),
        revisions: Revisions,
        clock: Callable[[], float],
        rng: random.Random,
        retry_seconds: float = 1.0,
    ) -> None:
        """Without `namespaces`, all of the cluster. `retry_seconds` is the first pause after a failure."""
        self._gateway = gateway
        self._revisions = revisions
        self._clock = clock
        self._rng = rng
        self._retry = retry_seconds
        self._sweeps = _Kind("Sweep", sweep_row, self._sweep_changed)
        self._experiments = _Kind("Experiment", experiment_row, self._experiment_changed)
        self._by_sweep: dict[tuple[str, str], dict[str, ExperimentRow]] = {}
        started = clock()
        scopes: list[str | None] = [*namespaces] if namespaces else [None]
        self._followers = [
            _Follower(kind, scope, lost_at=started) for scope in scopes for kind in (self._sweeps, self._experiments)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._covers = None if not namespaces else frozenset(namespaces)

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._follow(follower), name=f"hub-watch-{follower.kind.kind}")
            for follower in self._followers
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what is known ---

    def require(self, namespace: str) -> None:
        """Raises NotSynced where not everything of the namespace has been seen yet."""
        if self._covers is not None and namespace not in self._covers:
            raise NotSynced(
                f"this hub looks after {', '.join(sorted(self._covers))} only (setting namespaces), not {namespace!r}"
            )
        for follower in self._followers:
            if follower.namespace in (None, namespace) and not follower.synced:
                raise NotSynced(f"the {follower.kind.kind}s are not read yet: {follower.trouble}")

    @property
    def synced(self) -> bool:
        return all(follower.synced for follower in self._followers)

    async def wait_synced(self) -> None:
        """Until everything has been read once."""
        await asyncio.gather(*(follower.first.wait() for follower in self._followers))

    def stale_seconds(self, namespace: str) -> float:
        """For how long the API server has been silent about the namespace; 0: what is here is up to date."""
        lost = [f.lost_at for f in self._followers if f.namespace in (None, namespace) and f.lost_at is not None]
        return max(0.0, self._clock() - min(lost)) if lost else 0.0

    def namespaces(self) -> list[str]:
        """Those with a Sweep or an Experiment, by name."""
        return sorted(one for one in {*self._sweeps.rows, *self._experiments.rows} if self._has_work(one))

    def _has_work(self, namespace: str) -> bool:
        return bool(self._sweeps.rows.get(namespace) or self._experiments.rows.get(namespace))

    def sweeps(self, namespace: str) -> list[SweepRow]:
        """By name."""
        rows = self._sweeps.rows.get(namespace, {})
        return [rows[name] for name in sorted(rows)]

    def sweep(self, namespace: str, name: str) -> SweepRow | None:
        return self._sweeps.rows.get(namespace, {}).get(name)

    def experiment(self, namespace: str, name: str) -> ExperimentRow | None:
        return self._experiments.rows.get(namespace, {}).get(name)

    def experiments(self, namespace: str, sweep: str | None = None) -> Mapping[str, ExperimentRow]:
        """By name, in no order: of the sweep, or all of the namespace. A view: not to be kept over an await."""
        if sweep is None:
            return self._experiments.rows.get(namespace, {})
        return self._by_sweep.get((namespace, sweep), {})

    # --- how it is kept ---

    def _sweep_changed(self, old: SweepRow | None, new: SweepRow | None) -> None:
        row = new or old
        assert row is not None
        self._revisions.bump(row.namespace, row.name)

    def _experiment_changed(self, old: ExperimentRow | None, new: ExperimentRow | None) -> None:
        if old is not None and old.sweep is not None and (new is None or new.sweep != old.sweep):
            group = self._by_sweep[old.namespace, old.sweep]
            del group[old.name]
            if not group:
                del self._by_sweep[old.namespace, old.sweep]
        if new is not None and new.sweep is not None:
            self._by_sweep.setdefault((new.namespace, new.sweep), {})[new.name] = new
        for row in (old, new):
            if row is not None and (row is new or new is None or new.sweep != row.sweep):
                self._revisions.bump(row.namespace, row.sweep)

    async def _follow(self, follower: _Follower) -> None:
        failures = 0
        while True:
            try:
                if follower.version is None:
                    follower.version = await self._list(follower)
                    follower.synced = True
                    follower.first.set()
                async with self._gateway.watch(
                    follower.kind.kind, namespace=follower.namespace, version=follower.version
                ) as events:
                    follower.lost_at, failures, opened = None, 0, self._clock()
                    async for kind, body in events:
                        self._apply(follower, kind, body)
                # The server ended it, in order; the next begins where this one stopped.
                if self._clock() - opened < self._retry:
                    await asyncio.sleep(self._retry)
                continue
            except Gone:
                log.info("the watch of %ss is too old and is begun anew", follower.kind.kind)
                follower.version = None
            except ApiError as error:
                follower.trouble = str(error)
                log.warning("the watch of %ss failed", follower.kind.kind, extra={"error": str(error)})
            except Exception as error:
                follower.trouble, follower.version = f"{type(error).__name__}: {error}", None
                log.exception("the watch of %ss failed", follower.kind.kind)
            if follower.lost_at is None:
                follower.lost_at = self._clock()
            pause = min(BACKOFF_MAX, self._retry * 2 ** min(failures, 10))
            failures += 1
            # Jitter: all hubs lost the same API server at the same moment.
            await asyncio.sleep(self._rng.uniform(pause / 2, pause))

    async def _list(self, follower: _Follower) -> str:
        """Takes in the whole list and drops what is not in it; returns the list's version."""
        seen: set[tuple[str, str]] = set()
        version = "0"
        async for bodies, listed in self._gateway.pages(follower.kind.kind, namespace=follower.namespace):
            await self._take(follower.kind, bodies, seen)
            version = listed
        follower.kind.keep_only(seen, namespace=follower.namespace)
        return version

    async def _take(
        self, kind: _Kind[ExperimentRow] | _Kind[SweepRow], bodies: Iterable[Body], seen: set[tuple[str, str]]
    ) -> None:
        for number, body in enumerate(bodies):
            kind.put(body)
            seen.add((body["metadata"]["namespace"], body["metadata"]["name"]))
            if number % 100 == 99:
                # A page is 20 ms of work: ingest goes on in between.
                await asyncio.sleep(0)

    def _apply(self, follower: _Follower, kind: str, body: Body) -> None:
        metadata = body["metadata"]
        if kind in ("ADDED", "MODIFIED"):
            follower.kind.put(body)
        elif kind == "DELETED":
            follower.kind.drop(metadata["namespace"], metadata["name"], uid=metadata["uid"])
        follower.version = str(metadata["resourceVersion"])
