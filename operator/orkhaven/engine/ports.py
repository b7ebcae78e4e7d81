"""What the engine needs from outside, as Protocols: the API server, the clock, a place for Events, meters.

`kube.Gateway` and the simulator's cluster both are a Gateway. Errors are those of `orkhaven.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from orkhaven.core.actions import Note, ReadPod
from orkhaven.core.search.history import Answer, Ask
from orkhaven.core.views import Heard, Key, Meta

Body = dict[str, Any]


class Kind(StrEnum):
    """The kinds that are watched."""

    SWEEP = "Sweep"
    EXPERIMENT = "Experiment"
    JOB = "Job"
    POD = "Pod"
    NODE = "Node"
    WORKLOAD = "Workload"
    """Kueue's. Only watched where its CRD is."""


WORKLOADS = {"v1beta2": Kind.WORKLOAD.value, "v1beta1": "Workload.v1beta1"}
"""What a Gateway calls Workloads, by the version of their API; the first that is served is used."""
OPERATOR_MANAGER = "orkhaven-operator"
"""Field manager of everything in a status but progress, objective and metrics."""
RECORD_MANAGER = "orkhaven-record"
"""Field manager of progress, objective and metrics where they come out of the termination record."""


class Gateway(Protocol):
    """See `kube.gateway.Gateway` for what each verb promises."""

    async def get(self, kind: str, namespace: str, name: str) -> Body: ...

    def pages(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[list[Body], str]]: ...

    async def pod_tail(self, namespace: str, pod: str, *, container: str) -> str: ...

    async def create(self, kind: str, body: Body) -> Body: ...

    async def patch(
        self, kind: str, namespace: str, name: str, body: Body, *, uid: str, resource_version: int | None = None
    ) -> Body: ...

    async def apply_status(
        self,
        kind: str,
        namespace: str,
        name: str,
        status: Body,
        *,
        field_manager: str,
        uid: str | None = None,
        resource_version: int | None = None,
    ) -> Body: ...

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall-clock time in UTC: what decisions are made with."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: what waiting is measured with."""
        ...


class EventSink(Protocol):
    def post(self, kind: str, meta: Meta, note: Note) -> None:
        """Take a note to be posted as a Kubernetes Event. Never blocks, never raises."""
        ...


class Asker(Protocol):
    """Who computes what a search with a history is asked; see `engine.asker`."""

    def ask(self, sweep: str, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Take a question of the sweep of this uid. Never blocks, never raises: `done` is called once, sooner or later,
        from the engine's own thread."""
        ...


class Reader(Protocol):
    """Who reads what a pod's status does not say; see `engine.reader`."""

    def read(self, want: ReadPod, done: Callable[[Heard], None]) -> None:
        """Never blocks, never raises: `done` is called once, within `want.seconds` or little more, from the engine's
        own thread. A pod that is being read already is not read twice at once, and only the first `done` is called."""
        ...


class Meters(Protocol):
    """What is counted. All methods are cheap and never raise."""

    def reconciled(self, kind: str, result: str, seconds: float) -> None: ...

    def waited(self, kind: str, seconds: float) -> None: ...

    def attempt_ended(self, reason: str) -> None: ...

    def gpu_seconds(self, namespace: str, spent: str, seconds: float) -> None: ...

    def gpu_seconds_saved(self, namespace: str, seconds: float) -> None: ...

    def resynced(self, kind: str, repaired: int) -> None: ...


class Feed(Protocol):
    """What the engine gives whoever watches the cluster: parsed views, from the engine's own thread."""

    def known(self, kind: Kind, body: Mapping[str, Any]) -> Any | None:
        """The view that is held of this object, where it is of this version or a newer one: nothing has to be parsed.
        May be called from any thread."""

    def observe(self, kind: Kind, view: Any) -> bool: ...

    def forget(self, kind: Kind, key: Key, uid: str) -> bool: ...


Random = Callable[[], float]
"""A number in [0, 1)."""
